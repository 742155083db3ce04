/* ingest/source.c: the calls of source.h go to the format's own. */
#include "ingest/source.h"

#include "ingest/source_private.h"

enum status source_next(struct source *s, const struct document **d, struct source_damage *damage,
                        struct error *err)
{
    *d = NULL;
    *damage = (struct source_damage){ .stage = "read" };
    return s->calls->next(s, d, damage, err);
}

enum status source_skip(struct source *s, uint64_t records, struct error *err)
{
    return s->calls->skip(s, records, err);
}

bool source_incomplete(const struct source *s, const char **why)
{
    return s->calls->incomplete(s, why);
}

void source_close(struct source **s)
{
    if (!s || !*s)
        return;
    (*s)->calls->close(*s);
    *s = NULL;
}
