/* kernels/layernorm.h: layer normalisation over the last axis, affine or not.
 *     y[n,c] = (x[n,c] - mean[n]) rstd[n] w[c] + b[c]     rstd = 1 / sqrt(biased variance + eps)
 * Per-head norms of queries and keys are the same call on [..., heads, 64]. Statistics are float32,
 * summed in double on the CPU. Tolerance between backends: 1e-5 relative (f32), 1e-2 (bf16).
 * Source: Ba, Kiros, Hinton 2016, arXiv:1607.06450. */
#ifndef DEEM_KERNELS_LAYERNORM_H
#define DEEM_KERNELS_LAYERNORM_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct layernorm_attrs {
    float eps;                       /* > 0, unit of x^2 */
    float beta_dx, beta_dw, beta_db; /* backward: 0 overwrites that output, 1 adds to it */
};
/* out 0: y [...,C]; out 1: mean [N], out 2: rstd [N], float32, N = product of the leading axes; both
 * optional. in 0: x [...,C]; in 1: w [C], in 2: b [C], each optional. y may be x. */
kernel_fn layernorm_fwd_cpu, layernorm_fwd_cuda;
/* out 0: dx [...,C]; out 1: dw [C]; out 2: db [C]; each optional.
 * in 0: dy [...,C]; in 1: x [...,C]; in 2: w [C], optional; in 3: mean [N]; in 4: rstd [N].
 * dx may be dy. */
kernel_fn layernorm_bwd_cpu, layernorm_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
