/* tests/trainer/dist_plan.h: what a seed draws for N ranks in one process: sizes, numbers, the collectives of
 * some training steps, and often a fault of one rank. Made in full before the first thread starts; after
 * that only `ended` changes. */
#ifndef DEEM_TESTS_TRAINER_DIST_PLAN_H
#define DEEM_TESTS_TRAINER_DIST_PLAN_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { WORLDS = 8, STEPS = 5, OPS = 6, COUNT = 60, TABLE = 4099, PATIENCE = 60 };
enum kind { BARRIER, REDUCE_SCATTER, ALL_GATHER, ALL_SUM, ALL_MAX, BROADCAST, KINDS };
enum fault { NONE, ABORTS, LEAVES, STALLS, DISAGREES, FAULTS };

struct op {
    enum kind kind;
    int count, root;
    int64_t offsets[WORLDS + 1]; /* elements; the last is `count` */
    size_t salt;
};

struct state {
    float *values, *m, *v;
    int64_t updates;
};

struct plan {
    uint64_t seed;
    int world, steps, n_ops[STEPS];
    struct op ops[STEPS][OPS];
    int64_t sizes[2]; /* of the parameters */
    int64_t elements; /* of their block */
    float table[TABLE];
    int bad_step, bad_rank; /* a gradient that is not finite; -1: none */
    enum fault fault;
    int fault_rank, fault_step, fault_at; /* before op `fault_at`; n_ops: before the optimizer */
    struct op wrong;                      /* DISAGREES: what that rank calls instead */
    double deadline;
    struct state states[STEPS + 1]; /* of one rank, after each number of steps */
    atomic_int ended;               /* ranks */
};

/* Fills a zeroed plan, but for `elements` and `states`. */
void dist_plan_draw(struct plan *p, uint64_t seed);
/* Element i of what `rank` brings to the collective of this salt; magnitudes far apart, so that another
 * order of a sum gives other bits. */
float dist_plan_element(const struct plan *p, size_t salt, int rank, int64_t i);
/* Of a parameter element that has `value`: a step from wrong values shows for ever after. */
float dist_plan_gradient(const struct plan *p, int step, int rank, int64_t i, float value);

#endif
