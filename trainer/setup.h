/* trainer/setup.h: from a recipe to what the other parts want: sizes of the model, options of the loader. */
#ifndef DEEM_TRAINER_SETUP_H
#define DEEM_TRAINER_SETUP_H

#include "core/error.h"
#include "loader/loader.h"
#include "trainer/deem.h"
#include "trainer/params.h"
#include "trainer/recipe.h"

/* The model of the recipe's stage; special ids by the rule of design.md 8. Whether the sizes fit each other is
 * deem_open's question. */
void setup_model(struct deem_config *out, const struct recipe *r);
/* Loss weights of the stage and what follows from them. */
void setup_losses(struct deem_options *out, const struct recipe *r);
/* Declares every parameter of the model, whether the recipe's losses reach it or not, so that checkpoints
 * carry it on to the next stage and to generation; stage III leaves the diffusion model out (spec
 * model.md 4.1). ST_FAIL: CAUSE_ARG, sizes that do not fit each other. */
enum status setup_declare(struct params *params, const struct deem_config *c,
                          const struct recipe *r, struct error *err);
/* Loader options of rank `rank` of `world`. `sources` [r->n_sources] is filled and must live as long as the
 * options are used. `threads`: the rank's share of the cores. */
void setup_loader(struct loader_options *out, struct loader_source *sources, const struct recipe *r,
                  int world, int rank, unsigned threads);

#endif
