/* kernels/ddpm.h: the diffusion arithmetic around the UNet; float32 on every backend.
 * Tolerance between backends: 1e-5 relative. Source: Ho, Jain, Abbeel 2020, arXiv:2006.11239; spec
 * model.md 2.8.1, 2.8.2, 3.2, 3.3, 6.3. */
#ifndef DEEM_KERNELS_DDPM_H
#define DEEM_KERNELS_DDPM_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { DDPM_STEPS = 1000 };
/* out 0: table [DDPM_STEPS,4] float32: beta, abar, sqrt(abar), sqrt(1 - abar). No inputs, no
 * attributes. beta_t = linspace(sqrt 0.00085, sqrt 0.012)^2, abar = running product of 1 - beta. */
kernel_fn ddpm_table_fwd_cpu, ddpm_table_fwd_cuda;

/* out 0: z_t [U,...]. in 0: z0 [U,...]; in 1: noise [U,...]; in 2: t [U] i32; in 3: table [T,4].
 *     z_t[u] = sqrt(abar_t) z0[u] + sqrt(1 - abar_t) noise[u] */
kernel_fn ddpm_noise_fwd_cpu, ddpm_noise_fwd_cuda;

/* The weighted squared error of the predicted noise.
 * out 0: map [U,...,C] float32 = weight (pred - noise)^2, optional;
 * out 1: sum [U] float32 = sum of the map, in double on the CPU;
 * out 2: dpred [U,...,C] = 2 weight (pred - noise) scale[u], optional.
 * in 0: pred [U,...,C]; in 1: noise [U,...,C]; in 2: weight, float32: [U] or [U,...] (one per pixel);
 * in 3: scale [U] float32 (weight of the loss in the total / its divisor), needed for dpred. */
kernel_fn ddpm_loss_fwd_cpu, ddpm_loss_fwd_cuda;

/* One step of the sampler, no clipping:
 *     x0 = (z - sqrt(1 - abar) eps) / sqrt(abar)        z' = c_x0 x0 + c_z z + sigma noise */
struct ddpm_step_attrs {
    float sqrt_abar, sqrt_rest; /* sqrt(abar_t), sqrt(1 - abar_t) */
    float c_x0, c_z, sigma;
};
/* The coefficients of step t of a sampler that goes to t - stride (model.md 6.3), from `table`
 * [DDPM_STEPS,4] on the host; t in [0, DDPM_STEPS). */
void ddpm_step_coefficients(struct ddpm_step_attrs *out, const float *table, int t, int stride);
/* out 0: z' . in 0: z; in 1: eps; in 2: noise. z' may be z. */
kernel_fn ddpm_step_fwd_cpu, ddpm_step_fwd_cuda;

struct ddpm_posterior_attrs {
    float scale; /* 0.18215 */
};
/* The VAE's draw. out 0: z0 [I,...,C]. in 0: moments [I,...,2C]: mu, log-variance (clamped to
 * [-30, 20]); in 1: noise [I,...,C].    z0 = scale (mu + exp(logvar / 2) noise) */
kernel_fn ddpm_posterior_fwd_cpu, ddpm_posterior_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
