/* trainer/train_batch.h: what the loader delivers, as the model wants it: layout, targets, pictures in
 * [0,1], and every random draw of the step (spec model.md 3.5). Draws are functions of (seed, step,
 * position in the global batch, picture), so nothing depends on ranks, threads or micro-batches. */
#ifndef DEEM_TRAINER_TRAIN_BATCH_H
#define DEEM_TRAINER_TRAIN_BATCH_H

#include "loader/batch.h"
#include "trainer/micro_batch.h"
#include "trainer/recipe.h"

struct train_batch {
    struct micro_batch b; /* borrows everything below */
    struct layout_batch text;
    struct layout *layout;
    struct arena memory;
    int64_t tokens, pictures; /* real ones */
};

/* `seed` and `step` key the draws. ST_FAIL: CAUSE_FORMAT (ids that do not fit the model), CAUSE_NOMEM. */
enum status train_batch_make(struct train_batch *out, const struct batch *from,
                             const struct deem_config *c, const struct recipe *r, uint64_t seed,
                             struct error *err);
void train_batch_clear(struct train_batch *b);
/* A shape with room for the batch, out of few: capacities are rounded up. */
void train_batch_shape(struct deem_shape *out, const struct train_batch *b, int64_t passes);

#endif
