/* trainer/nn_llama.h: LLaMA with visual cross-attention (MMFS) between attention and MLP of every
 * cross_every-th layer; spec model.md 2.5. */
#ifndef DEEM_TRAINER_NN_LLAMA_H
#define DEEM_TRAINER_NN_LLAMA_H

#include "trainer/nn_mmfs.h"
#include "trainer/program.h"

struct llama_config {
    int64_t hidden, heads, ffn, layers, cross_every;
    float rms_eps;
    double rope_base;
    bool recompute; /* each layer is a span marked for recomputation */
    struct mmfs_config mmfs;
};

struct llama_inputs {
    int x;         /* [B,L,C] */
    int positions; /* [B,L] int32 */
    /* Keys [first, first + count) of each row are there, [B] int32; TENSOR_NONE: plain causal, the
     * training form. */
    int first, count;
    int features; /* [I,S,F]; TENSOR_NONE: no picture in the batch */
    struct mmfs_view view;
};

/* Declares prefix + "layers.{i}.*" and "norm.weight"; returns h [B,L,C]. Layers are probed as `layer`,
 * number and a suffix for what comes after attention, MMFS, the layer; NULL: not at all. */
struct llama_names {
    const char *layer, *attention, *mmfs, *out;
};
int nn_llama(struct program *p, const struct llama_config *c, const struct llama_inputs *in,
             const char *prefix, const struct llama_names *names);

#endif
