/* trainer/cost.h: what a program costs, read off its list: products as each operation counts them, part
 * by part, and bytes as the planner places them. Model FLOPs leave out what recomputation and tiled
 * backward passes do again; hardware FLOPs hold it (spec model.md 8). */
#ifndef DEEM_TRAINER_COST_H
#define DEEM_TRAINER_COST_H

#include "trainer/planner.h"
#include "trainer/program.h"

enum { COST_PARTS_MAX = 24 };

struct cost_part {
    const char *name; /* what program_part said; "" for the rest */
    int64_t nodes;
    double model, hardware; /* FLOP of one micro-batch */
    int64_t peak_bytes;     /* largest sum of live tensors that this part made */
};

struct cost {
    struct cost_part part[COST_PARTS_MAX]; /* in order of first use */
    int n_parts;
    int64_t nodes;
    double model, hardware;
};

/* `runs`: how often spans marked as repeated run, fractions included (passes / passes a run). */
enum status cost_count(struct cost *out, const struct program *p, const struct memory_plan *plan,
                       double runs, struct error *err);
/* Model FLOP alone; cheap enough for every micro-batch. */
double cost_model_flops(const struct program *p, double runs);
/* NULL where the program has no such part. */
const struct cost_part *cost_find(const struct cost *c, const char *name);

#endif
