/* trainer/train_profile.h: where the time and memory of a run go, for `deem bench train`; filled by train_run
 * when the options name one. The ledger is the program's own list: seconds of every operation inside the
 * step, and bare: the same operation alone on the same operands, best of several, right after the
 * micro-batch. The roof of a step is the sum of the bare costs and of the optimizer's best update. Seconds are by the
 * clock, and those that the training thread ran: the second ones stand also while others use the machine. */
#ifndef DEEM_TRAINER_TRAIN_PROFILE_H
#define DEEM_TRAINER_TRAIN_PROFILE_H

#include <stdint.h>

#include "core/error.h"
#include "trainer/deem.h"
#include "trainer/runner.h"

enum { PROFILE_ROWS_MAX = 24, PROFILE_STEPS_MAX = 1000, PROFILE_REPEATS = 5 };

/* Sums over the ledger's steps. */
struct profile_row {
    char name[32];
    struct runner_seconds step, bare;
};

struct train_profile {
    /* Asked for: steps that are only timed; then steps with the ledger. The first of a run is neither. */
    int64_t plain_steps, ledger_steps;

    double begin;      /* clock_seconds() at the start of the run */
    double first_step; /* seconds from there until the first step was done */
    int64_t steps;     /* done */
    double plain[PROFILE_STEPS_MAX], waits[PROFILE_STEPS_MAX]; /* seconds of each plain step */
    int64_t n_plain, n_ledger;
    struct profile_row part[PROFILE_ROWS_MAX], span[PROFILE_ROWS_MAX];
    int n_parts, n_spans;
    struct profile_row nodes;     /* all operations */
    struct profile_row update;    /* gradient norm and AdamW; bare: the best one for every step */
    struct runner_seconds ledger; /* of the ledger's steps, without what measures */
    struct runner_seconds started,
        aside; /* of the step under way: its start, spent on bare costs */
    double checkpoint_blocked,
        checkpoint_seconds; /* of the last checkpoint: until the step may go on; all */
    /* Bytes: what the plan says, and what the system says. */
    int64_t parameters, gradients, optimizer, programs, loader, checkpoint, resident_before,
        resident;
};

bool profile_plain(const struct train_profile *p);  /* the step under way is only timed */
bool profile_ledger(const struct train_profile *p); /* it has the ledger */
/* Resident memory of the process now, and at most, bytes; 0 where the system does not say. */
int64_t profile_resident(bool most);

/* A micro-batch of the ledger: profile_watch before it, profile_book after it. `runs`: of the picture span. */
enum status profile_watch(struct deem *m, struct runner *r, struct error *err);
enum status profile_book(struct train_profile *p, struct deem *m, struct runner *r, double runs,
                         struct params *params, struct error *err);

/* An optimizer's update of the ledger that began at `begin`. */
void profile_update(struct train_profile *p, struct runner_seconds begin);
struct runner_seconds profile_now(void);
void profile_step_begin(struct train_profile *p);
/* The step is done; `seconds`, `waited` as its metrics have them. */
void profile_step(struct train_profile *p, double seconds, double waited);

#endif
