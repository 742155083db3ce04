/* trainer/nn_text_head.h: logits of the published vocabulary and of the new tokens; spec model.md 2.6.
 * head and head_new of the new rows are added before the product, in float32: -100 and +95 never meet
 * in bf16. */
#ifndef DEEM_TRAINER_NN_TEXT_HEAD_H
#define DEEM_TRAINER_NN_TEXT_HEAD_H

#include "trainer/program.h"

struct text_head {
    int64_t published;        /* rows before the new ones */
    int weight, bias;         /* of the published rows */
    int new_weight, new_bias; /* folded */
};

/* Declares prefix + "head.*", "head_new.*" and folds the new rows. */
struct text_head nn_text_head(struct program *p, int64_t vocab, int64_t published, int64_t width,
                              const char *prefix);
/* h [R,C] -> logits [R,vocab], exact. */
int nn_text_head_logits(struct program *p, const struct text_head *t, int h);

#endif
