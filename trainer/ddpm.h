/* trainer/ddpm.h: the sampler that makes pictures: ancestral DDPM steps with guidance; spec model.md 6.3.
 * "Leading" spacing with offset 1: step i of K is t = (K - 1 - i) (1000 div K) + 1. No clipping; noise is
 * added at the last step, too, where its deviation is 1e-10. Host memory, float32. */
#ifndef DEEM_TRAINER_DDPM_H
#define DEEM_TRAINER_DDPM_H

#include <stdint.h>

#include "core/error.h"
#include "kernels/ddpm.h"

struct ddpm_sampler {
    int steps, stride;
    double guidance;
    float table[4 * DDPM_STEPS]; /* kernels/ddpm.h */
};

/* ST_FAIL: CAUSE_ARG, steps outside 1..1000. */
enum status ddpm_sampler_init(struct ddpm_sampler *s, int64_t steps, double guidance,
                              struct error *err);
int32_t ddpm_sampler_timestep(const struct ddpm_sampler *s, int64_t i);
/* eps = uncond + guidance (cond - uncond); `eps` may be either input. */
void ddpm_guide(float *eps, const float *uncond, const float *cond, int64_t n, double guidance);
/* One step: z [n] from t_i to the next, with the predicted and a fresh noise. x0 [n], the predicted
 * clean latent, may be NULL. */
enum status ddpm_sampler_step(const struct ddpm_sampler *s, int64_t i, float *z, float *x0,
                              const float *eps, const float *noise, int64_t n, struct error *err);

#endif
