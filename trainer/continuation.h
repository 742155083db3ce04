/* trainer/continuation.h: the network under a search for text: logits of the next token of every row of a
 * batch of prompts. Pictures are tokenised once; the language model then walks the whole row anew for
 * every token (no key-value cache). New tokens see what the last token of their prompt sees; spec
 * model.md 6.1. Also the way to a prompt's contexts and features, from which pictures are made. One
 * thread. */
#ifndef DEEM_TRAINER_CONTINUATION_H
#define DEEM_TRAINER_CONTINUATION_H

#include "trainer/deem.h"
#include "trainer/generate.h"
#include "trainer/layout.h"
#include "trainer/runner.h"

/* Prompts; borrowed while the continuation is open. */
struct continuation_prompt {
    const struct layout_batch *text; /* [B,L] */
    const float *image;              /* [I,3,R,R] in [0,1] */
    const float *mask;               /* [I,R,R] where the options have region masks, else NULL */
};

struct continuation;
/* `beams` rows a prompt, each with room for `more` tokens (0: contexts and features only). `options` must be
 * those of an evaluation. The table of parameters must hold values, or all names already. ST_FAIL:
 * CAUSE_ARG, CAUSE_FORMAT (ids that do not fit the model), CAUSE_NOMEM. */
enum status continuation_open(struct continuation **out, const struct deem_config *config,
                              const struct deem_options *options, struct params *params,
                              const struct continuation_prompt *prompt, int64_t beams, int64_t more,
                              struct placement *where, struct error *err);
void continuation_close(struct continuation **k);
/* A generate_logits_fn; `arg` is the continuation. */
enum status continuation_logits(void *arg, float *out, const int32_t *ids, int64_t rows, int64_t n,
                                struct error *err);

/* Runs the prompts as they are. */
enum status continuation_run(struct continuation *k, struct error *err);
/* After continuation_run, borrowed until the next run: context of picture i [Q,F], features of picture i
 * [S,F], which picture comes before it (-1: none). */
const float *continuation_context(const struct continuation *k, int64_t i);
const float *continuation_features(const struct continuation *k, int64_t i);
int64_t continuation_previous(const struct continuation *k, int64_t i);

#endif
