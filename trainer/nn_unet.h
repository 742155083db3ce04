/* trainer/nn_unet.h: the denoising UNet of Stable Diffusion 2.1 with the side network between its middle
 * block and its way up; spec model.md 2.8.3. */
#ifndef DEEM_TRAINER_NN_UNET_H
#define DEEM_TRAINER_NN_UNET_H

#include "trainer/nn_mmfsnet.h"

enum { UNET_LEVELS = 4, UNET_SKIPS_MAX = 64 };

struct unet_config {
    int64_t widths[UNET_LEVELS], heads[UNET_LEVELS];
    int64_t resnets; /* of a down level; an up level has one more */
    int64_t groups;
    int64_t cross;  /* width of the condition */
    bool recompute; /* resnets and transformers are spans marked for recomputation */
};

/* Skip tensors: conv_in, every resnet of the way down, and its steps down. The side network has a block
 * for each. */
static inline int64_t unet_skips(const struct unet_config *c)
{
    return 1 + UNET_LEVELS * c->resnets + (UNET_LEVELS - 1);
}

/* Names of intermediates: two halves around the number. */
struct unet_names {
    const char *sinusoid, *time; /* or NULL */
    const char *before[2], *after[2];
    const char *mid_before, *mid_after;
    const char *up[2]; /* NULL: not probed */
};

/* latent [U,s,s,4], t [U] int32, condition [U,l,cross] -> predicted noise [U,s,s,4]. `net` NULL: no
 * side network; names NULL: no probes. Declares prefix + all of the UNet. */
int nn_unet(struct program *p, const struct unet_config *c, const char *prefix, int latent, int t,
            int condition, struct mmfsnet *net, const struct unet_names *names);

#endif
