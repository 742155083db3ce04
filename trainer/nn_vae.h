/* trainer/nn_vae.h: the autoencoder of Stable Diffusion 2.1: pictures to the moments of their latent, and
 * latents back to pictures; spec model.md 2.8.1. It never trains. */
#ifndef DEEM_TRAINER_NN_VAE_H
#define DEEM_TRAINER_NN_VAE_H

#include "trainer/program.h"

enum { VAE_LEVELS = 4, VAE_LATENT = 4 };

struct vae_config {
    int64_t widths[VAE_LEVELS];
    int64_t resnets; /* of an encoder level; the decoder has one more */
    int64_t groups;
};

/* image [I,H,W,3] in [-1,1], sides divisible by 8 -> moments [I,H/8,W/8,8]: mean, log-variance (not
 * clamped). Declares prefix + "encoder.*", "quant_conv.*". Probes `probe` + "conv_in", "block{i}",
 * "mid"; NULL: none. */
int nn_vae_encode(struct program *p, const struct vae_config *c, const char *prefix, int image,
                  const char *probe);
/* z [I,h,w,4], the latent without its scale -> [I,8h,8w,3]. Declares prefix + "decoder.*" and
 * "post_quant_conv.*". */
int nn_vae_decode(struct program *p, const struct vae_config *c, const char *prefix, int z,
                  const char *probe);

#endif
