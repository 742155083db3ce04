/* cli/golden_model.h: what the whole-model cases share: configuration, trainable set, optimizer, the
 * inputs of one micro-batch. */
#ifndef DEEM_CLI_GOLDEN_MODEL_H
#define DEEM_CLI_GOLDEN_MODEL_H

#include "cli/golden.h"
#include "trainer/deem.h"
#include "trainer/layout.h"
#include "trainer/micro_batch.h"
#include "trainer/optimizer.h"

/* Checks the member; true: stage III. */
bool golden_read_stage(struct golden *g);
void golden_read_model(struct golden *g, struct deem_config *c);
/* Problems: sizes that cannot work, weights that do not fit them. ST_FAIL: CAUSE_NOMEM. */
enum status golden_check_model(struct golden *g, const struct deem_config *c,
                               const struct deem_options *o, struct error *err);

/* Names of the case's trainable set; what no loss reaches counts as frozen. ST_FAIL: CAUSE_NOMEM. */
enum status golden_trainable_open(struct golden *g, struct hash_map **names, struct error *err);
bool golden_trains(const void *names, const char *name); /* params_trainable_fn */

enum { GOLDEN_GROUPS_MAX = 32 };
struct golden_rates {
    struct hash_map *group_of;
    double lr[GOLDEN_GROUPS_MAX], weight_decay[GOLDEN_GROUPS_MAX];
    int n;
};
/* The optimizer of case.json over the table; `rates` must outlive it. */
enum status golden_optimizer(struct golden *g, struct params *params, struct golden_rates *rates,
                             struct optimizer **out, struct error *err);
void golden_rates_clear(struct golden_rates *r);

/* One micro-batch of a stage case, in the case's memory. */
struct golden_batch {
    struct layout_batch text;
    struct layout *layout;
    struct micro_batch b;
    int32_t *targets, *t[2];
};
/* Which losses a case evaluates. */
void golden_read_losses(struct golden *g, struct deem_options *o);
/* Reads the inputs named `prefix` + "text_ids" etc. ST_FAIL: problems, these and earlier ones. */
enum status golden_read_batch(struct golden *g, const struct deem_config *c,
                              const struct deem_options *o, const char *prefix,
                              struct golden_batch *out, struct error *err);
void golden_batch_clear(struct golden_batch *b);

golden_fn golden_generate, golden_stage, golden_steps;

#endif
