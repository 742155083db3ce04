/* trainer/train_input.h: a loader's micro-batch, with the trainer's draws, as the model takes it: pictures as numbers
 * in [0,1], timesteps, noise, drops. Draws are functions of (seed, step, position in the global batch,
 * picture in its sequence): spec model.md 3.5. Memory is kept from batch to batch. One thread. */
#ifndef DEEM_TRAINER_TRAIN_INPUT_H
#define DEEM_TRAINER_TRAIN_INPUT_H

#include "core/error.h"
#include "loader/batch.h"
#include "trainer/micro_batch.h"
#include "trainer/recipe.h"

/* Every array of struct micro_batch, owned. */
struct train_input {
    struct layout_batch text;
    struct layout *layout;
    struct micro_batch batch; /* points into the arrays below */
    float *image, *image_dec, *mask;
    float *eps[2], *vae_eps[2];
    int32_t *t[2], *drop;
    struct draw_key *keys;
    int64_t cap_pictures;
};

void train_input_init(struct train_input *f);
void train_input_clear(struct train_input *f);
/* Valid until the next call or until `b` is released. ST_FAIL: CAUSE_FORMAT (ids that do not fit the
 * model), CAUSE_NOMEM. */
enum status train_input_fill(struct train_input *f, const struct batch *b, const struct recipe *r,
                             const struct deem_config *config, struct error *err);

#endif
