/* trainer/train_private.h: the state of a training run, shared by train_setup.c (opening and closing) and
 * train.c (the steps). */
#ifndef DEEM_TRAINER_TRAIN_PRIVATE_H
#define DEEM_TRAINER_TRAIN_PRIVATE_H

#include "core/mem.h"
#include "loader/loader.h"
#include "trainer/checkpoint.h"
#include "trainer/deem_cache.h"
#include "trainer/dist.h"
#include "trainer/metrics.h"
#include "trainer/model_config.h"
#include "trainer/optimizer.h"
#include "trainer/param_groups.h"
#include "trainer/train.h"

struct train {
    const struct train_options *opt;
    struct recipe *recipe;
    struct deem_config config;
    struct deem_options options;
    struct group_rules rules;
    struct dist *dist;
    bool root;      /* rank 0: writes */
    int64_t micros; /* micro-batches of the global batch */
    int64_t share;  /* of them this rank's */
    struct params *params;
    struct deem_cache *cache;
    struct optimizer *optimizer;
    struct loader *loader;
    struct loader_source *sources;
    struct buffer identity; /* of the data */
    struct buffer printed;  /* the effective recipe */
    char *checkpoints;      /* OUT/checkpoints */
    int lock;               /* on OUT */
    struct metrics *metrics;
    struct checkpoint_writer *writer;
    float *m, *v; /* whole moments, gathered for a checkpoint */
    int64_t step, end;
    int64_t skipped, saved; /* saved: step of the newest checkpoint, -1 none */
};

/* Everything up to the first step: recipe, ranks, model, weights or checkpoint, data. */
enum status train_setup(struct train *t, const struct train_options *opt, struct error *err);
/* Waits for the checkpoint that is being written; its failure is reported if *err holds none. */
enum status train_teardown(struct train *t, struct error *err);

#endif
