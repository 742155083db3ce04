/* trainer/nn_cliptext.h: the text encoder of Stable Diffusion 2.1, forward only: it makes the embedding
 * of the empty prompt once, at import; spec model.md 2.8.5. */
#ifndef DEEM_TRAINER_NN_CLIPTEXT_H
#define DEEM_TRAINER_NN_CLIPTEXT_H

#include "trainer/program.h"

struct cliptext_config {
    int64_t vocab, positions, width, heads, ffn, layers;
    float eps;
};

/* ids [B*positions] int32 -> last hidden state [B,positions,width]. Declares "text_model.*"; probes
 * "hidden.{i}", the stream before layer i and, last, before the final norm. */
int nn_cliptext(struct program *p, const struct cliptext_config *c, int64_t B, int ids);
/* The ids of the empty prompt: bos, eos, then pad. */
void cliptext_empty_prompt(int32_t *ids, int64_t positions, int32_t bos, int32_t eos, int32_t pad);

#endif
