/* kernels/rmsnorm.h: root-mean-square normalisation over the last axis.
 *     rstd[n] = 1 / sqrt(mean over c of x[n,c]^2 + eps)    y[n,c] = x[n,c] rstd[n] w[c]
 * Tolerance between backends: 1e-5 relative (f32), 1e-2 (bf16). Source: Zhang, Sennrich 2019,
 * arXiv:1910.07467. */
#ifndef DEEM_KERNELS_RMSNORM_H
#define DEEM_KERNELS_RMSNORM_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rmsnorm_attrs {
    float eps;              /* > 0, unit of x^2 */
    float beta_dx, beta_dw; /* backward: 0 overwrites that output, 1 adds to it */
};
/* out 0: y [...,C]; out 1: rstd [N] float32, optional. in 0: x [...,C]; in 1: w [C], optional.
 * y may be x. */
kernel_fn rmsnorm_fwd_cpu, rmsnorm_fwd_cuda;
/* out 0: dx [...,C]; out 1: dw [C]; each optional.
 * in 0: dy [...,C]; in 1: x [...,C]; in 2: w [C], optional; in 3: rstd [N]. dx may be dy. */
kernel_fn rmsnorm_bwd_cpu, rmsnorm_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
