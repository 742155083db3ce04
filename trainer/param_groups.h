/* trainer/param_groups.h: what trains in a stage, and at which rate and weight decay, from a parameter's
 * composite name alone; spec model.md 4.1 to 4.3. Rates and decay are those of the paper's groups or of
 * the released trainer's. Pure functions. */
#ifndef DEEM_TRAINER_PARAM_GROUPS_H
#define DEEM_TRAINER_PARAM_GROUPS_H

#include <stdbool.h>

#include "trainer/recipe.h"

enum param_state {
    PARAM_ABSENT = -1, /* the stage has no such parameter */
    PARAM_FROZEN = 0,
    PARAM_TRAINS = 1,
};

struct group_rules {
    int stage;                   /* enum recipe_stage */
    int groups;                  /* enum recipe_groups */
    bool trunk, llm, unet, head; /* whether these train */
    bool nip, csr;               /* whether these losses are evaluated */
    double lr, lr_trunk, lr_offsets, lr_mmfsnet, lr_llm, lr_cross, lr_unet;
    double weight_decay;
};

/* The published numbers of a stage under a grouping. */
void group_rules_init(struct group_rules *r, enum recipe_stage stage, enum recipe_groups groups);
void group_rules_from_recipe(struct group_rules *r, const struct recipe *recipe);

/* As the authors hand parameters to the optimizer: some of them never get a gradient. */
enum param_state param_state(const struct group_rules *r, const char *name);
/* Trains and is reached by a loss. `rules` is a struct group_rules (params_trainable_fn). */
bool param_reached(const void *rules, const char *name);

struct param_rates {
    double lr, weight_decay;
};
struct param_rates param_rates(const struct group_rules *r, const char *name);
/* LayerNorm parameters and names with "bias" never decay. */
bool param_decays(const char *name);

#endif
