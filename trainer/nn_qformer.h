/* trainer/nn_qformer.h: the Perceiver Resampler, a post-LN BERT-like stack with query-only input; spec
 * model.md 2.2.7. Cross-attention in layer i iff i mod cross_every = 0. */
#ifndef DEEM_TRAINER_NN_QFORMER_H
#define DEEM_TRAINER_NN_QFORMER_H

#include "trainer/program.h"

struct qformer_config {
    int64_t queries, hidden, heads, layers, cross_every, ffn, encoder;
    bool qk_norm;
    /* Probabilities of dropout after norms and projections, and of attention weights; 0: none. */
    double dropout, attention_dropout;
};

/* What the queries look at: either tokens of each picture [I,T,encoder], or a context of other
 * tokens, given as rows, the index of every context place and a position table. In the second form
 * keys and values are projected once per token and once per table row, then gathered and added
 * (exact, for there is no norm between: model.md 2.7); it allows no qk_norm. */
struct qformer_keys {
    int64_t images, length; /* I, T */
    int tokens;             /* [I,T,encoder] */
    int rows;               /* [N,encoder], or TENSOR_NONE: the first form */
    int index;              /* [I*T] int32: row, -1 past the end */
    int table;              /* [T,encoder], the position term of place j of every context */
    int count;              /* [I] int32: places that are there; TENSOR_NONE: all */
};

/* The draws of a dropout are the batch tensor "T7:" and its composite name, one state a picture [I,4]
 * (draws.h). Declares prefix + "queries" and "blip2qformer.*"; returns [I,queries,hidden]. Layers are probed as
 * `probe` printf-ed with the layer, all but the last if `probe_last` is false. */
int nn_qformer(struct program *p, const struct qformer_config *c, const struct qformer_keys *keys,
               const char *prefix, const char *probe, const char *probe_suffix, bool probe_last);

#endif
