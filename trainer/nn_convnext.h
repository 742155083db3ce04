/* trainer/nn_convnext.h: the ConvNeXt-B trunk of the picture encoder with its five adapters; spec
 * model.md 2.2.1 to 2.2.3. Source: Liu et al. 2022, arXiv:2201.03545. */
#ifndef DEEM_TRAINER_NN_CONVNEXT_H
#define DEEM_TRAINER_NN_CONVNEXT_H

#include "trainer/program.h"

enum { CONVNEXT_STAGES = 4 };

struct convnext_config {
    int64_t depths[CONVNEXT_STAGES], dims[CONVNEXT_STAGES];
    int64_t feature_width;
    double drop_path; /* of the last block; block j of n drops at drop_path * j / (n - 1) */
    bool recompute;   /* each block is a span marked for recomputation */
};

/* Channels-last. `level` are the adapter outputs before positions. */
struct convnext_out {
    int stage[CONVNEXT_STAGES]; /* c2..c5 [I,s,s,C] */
    int level[CONVNEXT_STAGES]; /* F' [I,s,s,F] */
    int pooled, cls;            /* [I,C5], [I,F] */
};

int64_t convnext_blocks(const struct convnext_config *c);
/* `image` [I,R,R,3] as the trunk wants it, R a multiple of 32: (x - mean) / std is `scale` [3] times
 * x plus `shift` [3]. `draws`: one [I,4] int32 tensor a block, or NULL for no drop path. Declares
 * prefix + "visual.trunk.*" and "adapter_*"; probes nothing. */
void nn_convnext(struct program *p, const struct convnext_config *c, const char *prefix, int image,
                 int scale, int shift, const int *draws, struct convnext_out *out);
/* scale and shift of the three channels from mean and standard deviation. */
void convnext_normalise(float scale[3], float shift[3], const float mean[3], const float std[3]);

#endif
