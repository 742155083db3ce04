/* trainer/finding.h: checks that say everything they find, where an error has room for one thing only. */
#ifndef DEEM_TRAINER_FINDING_H
#define DEEM_TRAINER_FINDING_H

#include "core/error.h"

/* Who listens: one call a finding, `text` lives as long as the call. */
typedef void finding_fn(void *arg, const char *text);

/* A check while it runs. */
struct findings {
    finding_fn *say;
    void *arg;
    int count;
};

void finding_add(struct findings *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A listener (`arg` is one of these, zeroed at first) that joins findings with "; " as far as they fit
 * in an error. */
struct finding_text {
    char text[900];
};
finding_fn finding_join;

#endif
