/* trainer/train_private.h: a run while it runs; shared by train.c (opening, the loop) and train_step.c (one
 * step). */
#ifndef DEEM_TRAINER_TRAIN_PRIVATE_H
#define DEEM_TRAINER_TRAIN_PRIVATE_H

#include "core/mem.h"
#include "loader/loader.h"
#include "trainer/checkpoint.h"
#include "trainer/deem_cache.h"
#include "trainer/dist.h"
#include "trainer/metrics.h"
#include "trainer/optimizer.h"
#include "trainer/param_groups.h"
#include "trainer/params.h"
#include "trainer/recipe.h"
#include "trainer/train.h"
#include "trainer/train_input.h"

struct train {
    const struct train_options *opt;
    struct recipe *recipe;
    struct dist *dist;
    int lock; /* descriptor of OUT/lock on rank 0, else -1 */
    struct group_rules rules;
    struct params *params;
    struct placement *where;
    struct optimizer *optimizer;
    struct loader *loader;
    struct loader_source *sources;
    struct metrics *metrics;          /* rank 0 */
    struct checkpoint_writer *writer; /* rank 0 */
    struct deem_config config;
    struct deem_options losses;
    struct train_input input;
    struct deem_cache *programs;
    float *m, *v; /* whole moments, for checkpoints and hashes */
    struct buffer identity, recipe_text;
    int64_t step;  /* done */
    int64_t saved; /* step of the newest checkpoint, -1 */
    bool agreed;   /* the failure is that of all ranks */
    int64_t skipped, skipped_in_a_row;
    int64_t damaged;        /* records replaced */
    struct buffer rows;     /* struct batch_row: this rank's sequences of the step */
    double peak;            /* FLOP/s of all ranks */
    double blocked_seconds; /* in checkpoints, since the last metrics row */
    double aside_seconds;   /* of the step, for pictures: no part of what is reported */
};

/* One optimizer step: this rank's micro-batches, the update, a row of metrics. */
enum status train_step(struct train *t, struct metrics_row *row, struct error *err);

/* What a message about numbers that are not finite needs to know: the sequences of the step so far. */
void train_forget_rows(struct train *t);
enum status train_note_rows(struct train *t, const struct batch *b, struct error *err);
/* A warning with step, loss and records of one micro-batch. */
enum status train_note_bad_loss(const struct train *t, const struct batch *b,
                                const struct micro_losses *losses, struct error *err);
/* A step that is not applied: counted, or the end of the run, as the recipe says; always the end after
 * TRAIN_SKIPS_MOST in a row. `parameter`: whose gradient is not finite, NULL where this rank does not know.
 * ST_FAIL: CAUSE_LIMIT, on all ranks alike. */
enum { TRAIN_SKIPS_MOST = 100 };
enum status train_skip(struct train *t, bool loss, const char *parameter, struct error *err);
/* No weight that is not finite is ever saved. ST_FAIL: CAUSE_LIMIT naming the first such parameter. */
enum status train_check_weights(struct train *t, struct error *err);

/* Rank 0: sample pictures of the micro-batch that lies in t->input go to the metrics. */
enum status train_pictures(struct train *t, struct error *err);

#endif
