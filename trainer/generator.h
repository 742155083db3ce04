/* trainer/generator.h: a trained model that goes on with a prompt of text and pictures: words by search or
 * sampling, pictures by the guided DDPM sampler; spec model.md 6. Token ids in, token ids out: texts are the
 * caller's. One prompt, one thread.
 *
 *     generator_open(&g, "runs/tiny", &place, err);
 *     generator_add_ids(g, ids, n, err);                 bos first
 *     generator_add_picture(g, rgb, NULL, err);
 *     generator_text(g, &settings, &made, err);          made.ids follow the prompt from now on
 *     generator_paint(g, &painting, &picture, err);      so does the picture
 *     generator_close(&g);
 */
#ifndef DEEM_TRAINER_GENERATOR_H
#define DEEM_TRAINER_GENERATOR_H

#include "core/image.h"
#include "trainer/deem.h"
#include "trainer/generate.h"
#include "trainer/placement.h"
#include "trainer/recipe.h"

struct generator;
/* `path`: a checkpoint's folder, or a run's OUT, whose newest complete one is meant. ST_FAIL: CAUSE_IO
 * (nothing there), CAUSE_FORMAT, CAUSE_CHECKSUM, CAUSE_NOMEM, as placement_open. */
enum status generator_open(struct generator **out, const char *path,
                           const struct placement_options *place, struct error *err);
void generator_close(struct generator **g);
const char *generator_path(const struct generator *g); /* of the checkpoint's folder */
int64_t generator_step(const struct generator *g);     /* optimizer steps it has seen */
const struct recipe *generator_recipe(const struct generator *g);
const struct deem_config *generator_config(const struct generator *g);
int64_t generator_length(const struct generator *g);     /* tokens so far */
const int32_t *generator_ids(const struct generator *g); /* they; borrowed until one is added */
bool generator_paints(const struct generator *g);        /* has a diffusion model */
bool generator_fits_picture(const struct generator *g);  /* within seq_len */

enum status generator_add_ids(struct generator *g, const int32_t *ids, int64_t n,
                              struct error *err);
/* soi and slots of a picture rgb (3,R,R), seen through region (R,R) of 0 and 1, NULL: all of it. */
enum status generator_add_picture(struct generator *g, const uint8_t *rgb, const uint8_t *region,
                                  struct error *err);
/* At most settings->max_new_tokens, fewer where the recipe's seq_len is reached. settings->bos, pad, stops
 * are set here: eos, and soi where the model paints. `out` [1,..] as generate_run gives it. What was made, without bos,
 * stop and pads, is added to the prompt. ST_FAIL: CAUSE_ARG (no room, a prompt without bos), the model's. */
enum status generator_text(struct generator *g, const struct generate_settings *settings,
                           struct generated *out, struct error *err);

/* Noise of picture n of a prompt: element e is draw e of the keys (seed, "G2", n), where the sampler starts,
 * and (seed, "G3", n, step), row-major over [C,k,k]. */
struct generator_painting {
    int64_t steps;   /* 1..1000; the paper's 250 */
    double guidance; /* the paper's 3.5 */
    uint64_t seed;
};
/* Adds a picture of the model's own to the prompt; *out [Rd,Rd] is the caller's to clear. ST_FAIL: CAUSE_ARG
 * (a model that does not paint, no room), the model's. */
enum status generator_paint(struct generator *g, const struct generator_painting *settings,
                            struct image *out, struct error *err);

#endif
