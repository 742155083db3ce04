/* trainer/train.h: the training loop: loader, model, objectives, optimizer, checkpoints, metrics, ranks. It only
 * calls the others. Files it leaves: OUT/recipe.yaml, metrics.jsonl, tensorboard/, checkpoints/. */
#ifndef DEEM_TRAINER_TRAIN_H
#define DEEM_TRAINER_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "trainer/program.h"

struct train_profile;

struct train_options {
    const char *recipe;             /* path of the YAML file */
    const char *const *assignments; /* --set key=value, in order */
    size_t n_assignments;
    const char *const *overrides; /* keys whose difference to the checkpoint is accepted */
    size_t n_overrides;
    bool resume; /* go on from the newest complete checkpoint, or start where there is none */
    int64_t stop_after; /* steps done when the run ends; 0: the recipe's */
    enum backend backend;
    enum dtype storage;            /* of weights and activations: float32, or bf16 on CUDA */
    struct train_profile *profile; /* where time and memory go; NULL: nobody asks */
    bool hash_steps; /* metrics carry a hash of weights, moments and position of each step */
};
void train_options_init(struct train_options *opt);

/* Trains to the end (ST_OK) or until it was asked to stop: ST_FAIL with CAUSE_SIGNAL after a checkpoint was
 * written (exit 75). Other ST_FAIL: CAUSE_ARG (recipe, an OUT with checkpoints without `resume`, differences
 * that were not named), CAUSE_FORMAT and CAUSE_CHECKSUM (data, weights, checkpoint), CAUSE_PEER (a rank is
 * gone), CAUSE_IO, CAUSE_NOMEM; a loss or gradient that is not finite is CAUSE_LIMIT and names step, tensor
 * and records. */
enum status train_run(const struct train_options *opt, struct error *err);

#endif
