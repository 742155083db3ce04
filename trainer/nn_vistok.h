/* trainer/nn_vistok.h: the visual tokenizer behind the trunk's adapters: position tables, region masks,
 * mask tokens, Perceiver #1, projections; spec model.md 2.2.4 to 2.2.8. */
#ifndef DEEM_TRAINER_NN_VISTOK_H
#define DEEM_TRAINER_NN_VISTOK_H

#include "trainer/nn_qformer.h"
#include "trainer/program.h"

enum { VISTOK_LEVELS = 4 };

struct vistok_config {
    int64_t width;     /* F */
    int64_t side;      /* R, divisible by 32; level l has side R / 4 >> l */
    int64_t grid;      /* of the base position table */
    int64_t mask_side; /* to which the region mask is resized for the MLP */
    int64_t llm_width, diffusion_width;
    bool mask_align; /* prepend the five mask tokens */
    struct qformer_config perceiver;
};

struct vistok_inputs {
    int cls;                    /* [I,F] */
    int adapted[VISTOK_LEVELS]; /* F' [I,side,side,F], finest first */
    int mask;                   /* [I,R,R] exact, or TENSOR_NONE: all ones */
};

struct vistok {
    int pos_embed;              /* [1 + grid^2, F]: the base table with its CLS row */
    int pos[VISTOK_LEVELS];     /* resized tables [side,side,F] */
    int pos_tokens;             /* [1 + (R/16)^2, F] */
    int mask[VISTOK_LEVELS];    /* m [I,side,side], or TENSOR_NONE without a mask */
    int mlp_input;              /* [I, mask_side^2] */
    int mask_tokens;            /* [I,5,F], or TENSOR_NONE */
    int feature[VISTOK_LEVELS]; /* F_l [I,side,side,F] */
    int tokens;                 /* G after post_ln [I,T,F] */
    int v;                      /* [I,Q,h] */
    int vis_embed, dif_embed;   /* [I,Q,C], [I,Q,F] */
};

static inline int64_t vistok_side(const struct vistok_config *c, int level)
{
    return c->side / (4 << level);
}

/* Names have `prefix` ("visual_tokenizer."); layers of Perceiver #1 are probed as `probe`, number,
 * `suffix`. */
struct vistok nn_vistok(struct program *p, const struct vistok_config *c,
                        const struct vistok_inputs *in, const char *prefix, const char *probe,
                        const char *suffix, bool probe_last);
/* Perceiver #1 and the projections over tokens [I,T,F]; fills v, vis_embed, dif_embed. */
void nn_vistok_perceive(struct program *p, const struct vistok_config *c, struct vistok *t,
                        int tokens, const char *prefix, const char *probe, const char *suffix,
                        bool probe_last);

#endif
