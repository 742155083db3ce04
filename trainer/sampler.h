/* trainer/sampler.h: makes pictures from conditions: the UNet with and without the condition, guidance,
 * DDPM steps, the VAE's decoder; spec model.md 6.3. Programs of their own over the same parameters. */
#ifndef DEEM_TRAINER_SAMPLER_H
#define DEEM_TRAINER_SAMPLER_H

#include "trainer/ddpm.h"
#include "trainer/deem.h"
#include "trainer/runner.h"

struct sampler {
    struct program *p; /* one UNet call for 2 G passes: without the condition, then with it */
    struct program *decode;
    int64_t G;
    int latent, t, condition, features, begin, image, rank; /* batch tensors */
    int eps;                                                /* [2G,k,k,4] */
    int z, picture;                                         /* decoder: [G,k,k,4], [G,Rd,Rd,3] */
};

/* For G pictures at once. The parameters must not have memory yet, or hold all names already. */
enum status sampler_open(struct sampler **out, const struct deem_config *config, int64_t G,
                         struct params *params, struct error *err);
void sampler_close(struct sampler **s);

/* What the passes look at: condition [G,Q,F] each, features [S,F] of the picture before or NULL. */
struct sampler_inputs {
    const float *condition;       /* [G,Q,F] */
    const float *unconditional;   /* [Q,F]: neg_prompt_embeds */
    const float *const *features; /* [G] of [S,F]; NULL: no picture is looked at */
};
void sampler_fill(const struct sampler *s, const struct deem_config *c, struct runner *r,
                  const struct sampler_inputs *in);
/* Predicted noise for latents z [G,k,k,4] (channels-last) at timestep t: both [G,k,k,4]. */
enum status sampler_predict(const struct sampler *s, struct runner *r, const float *z, int32_t t,
                            float *uncond, float *cond, struct error *err);
/* All steps of `d` from the noise z [G,k,k,4] down to a latent. `noise` fills fresh numbers [G,k,k,4] for
 * step i; `seen` (may be NULL) looks at what the step made, z being the latent after it. */
struct sampler_draws {
    enum status (*noise)(void *arg, int64_t i, float *out, struct error *err);
    enum status (*seen)(void *arg, int64_t i, const float *uncond, const float *cond,
                        const float *guided, const float *z, struct error *err);
    void *arg;
};
enum status sampler_run(const struct sampler *s, struct runner *r, const struct ddpm_sampler *d,
                        const struct sampler_draws *draws, float *z, struct error *err);
/* Pictures [G,Rd,Rd,3] in [0,1] of latents (scaled as the UNet has them). */
enum status sampler_decode(const struct sampler *s, const struct deem_config *c, struct runner *r,
                           const float *z, float *picture, struct error *err);

#endif
