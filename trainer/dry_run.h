/* trainer/dry_run.h: a recipe on paper: parameters, operations, FLOPs and planned memory of one micro-batch of
 * the full model, without weights, data or memory for them. */
#ifndef DEEM_TRAINER_DRY_RUN_H
#define DEEM_TRAINER_DRY_RUN_H

#include "core/mem.h"
#include "trainer/cost.h"
#include "trainer/recipe.h"

/* Parameters of one part of the model by composite name. */
struct dry_part {
    const char *name;
    int64_t tensors, parameters, trainable;
};
enum { DRY_PARTS_MAX = 24 };

struct dry_run {
    struct dry_part part[DRY_PARTS_MAX];
    int n_parts;
    int64_t parameters, buffers, trainable; /* as handed to the optimizer */
    int64_t reached;                        /* of these, elements that get a gradient */
    struct cost cost;
    int64_t arena_bytes, live_bytes, batch_bytes; /* bf16 storage; what the host fills */
    int64_t rows, tokens, pictures;               /* of the micro-batch */
};

/* ST_FAIL: CAUSE_ARG, sizes that cannot work, CAUSE_NOMEM. */
enum status dry_run_make(struct dry_run *out, const struct recipe *r, struct error *err);
/* The tables of `deem train --dry-run`. */
enum status dry_run_print(struct buffer *out, const struct dry_run *d, const struct recipe *r,
                          struct error *err);

#endif
