/* trainer/finding.c: see finding.h. */
#include "trainer/finding.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void finding_add(struct findings *f, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    f->count++;
    f->say(f->arg, text);
}

void finding_join(void *arg, const char *text)
{
    struct finding_text *t = arg;
    const size_t used = strlen(t->text);
    snprintf(t->text + used, sizeof t->text - used, "%s%s", used ? "; " : "", text);
}
