/* trainer/draws.h: the keys of the trainer's random draws: a function of the recipe's seed, the optimizer
 * step, the position of the sequence in the global batch and the picture's index in it, so that
 * nothing depends on ranks, micro-batches or chunks. Normative: spec model.md 3.5, data.md 2.3.1. */
#ifndef DEEM_TRAINER_DRAWS_H
#define DEEM_TRAINER_DRAWS_H

#include <stdint.h>

#include "core/rng.h"

struct draw_key {
    uint64_t seed, step, sequence, picture;
};

/* The draws of one purpose ("T1".."T8", "D10"); `name` is the last field of T7 and T8, NULL for the
 * others. */
void draw_open(struct rng *r, const struct draw_key *key, const char *purpose, const char *name);
/* T9, initialisation: no integers, the parameter's composite name. */
void draw_open_initial(struct rng *r, uint64_t seed, const char *name);
/* The state as kernels take it (kernels/dropout.h). */
void draw_state(int32_t out[4], const struct rng *r);

#endif
