/* trainer/model_config.h: the model that a recipe describes, and its table of parameters. */
#ifndef DEEM_TRAINER_MODEL_CONFIG_H
#define DEEM_TRAINER_MODEL_CONFIG_H

#include "trainer/deem.h"
#include "trainer/params.h"
#include "trainer/recipe.h"

/* ST_FAIL: CAUSE_ARG, all that cannot be in one text (lists of the wrong length). */
enum status model_config(struct deem_config *out, const struct recipe *r, struct error *err);
/* Losses that the recipe evaluates, with their weights. */
void model_options(struct deem_options *out, const struct recipe *r);
/* Declares every parameter of the model, whether the recipe's losses use it or not, so that a checkpoint
 * carries it on; in stage III those of the diffusion model are left out (spec model.md 4.1). */
enum status model_declare(struct params *params, const struct deem_config *c,
                          const struct recipe *r, struct error *err);

#endif
