/* kernels/groupnorm.h: group normalisation, channels last, with an optional silu behind it.
 *     u = (x - mean[i,g]) rstd[i,g] w[c] + b[c]     y = u, or u sigmoid(u)
 * Mean and biased variance of one picture and one group of C / groups neighbouring channels. Backward
 * computes u again from x. Tolerance between backends: 1e-5 relative (f32), 1e-2 (bf16).
 * Source: Wu, He 2018, arXiv:1803.08494. */
#ifndef DEEM_KERNELS_GROUPNORM_H
#define DEEM_KERNELS_GROUPNORM_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct groupnorm_attrs {
    int groups;                      /* divides C */
    int silu;                        /* 0 or 1 */
    float eps;                       /* > 0, unit of x^2 */
    float beta_dx, beta_dw, beta_db; /* backward: 0 overwrites that output, 1 adds to it */
};
/* out 0: y [I,...,C]; out 1: mean [I,groups], out 2: rstd [I,groups], float32, optional.
 * in 0: x [I,...,C]; in 1: w [C]; in 2: b [C]. y may be x. */
kernel_fn groupnorm_fwd_cpu, groupnorm_fwd_cuda;
/* out 0: dx [I,...,C]; out 1: dw [C]; out 2: db [C]; each optional.
 * in 0: dy; in 1: x; in 2: w [C]; in 3: b [C]; in 4: mean; in 5: rstd. dx may be dy. */
kernel_fn groupnorm_bwd_cpu, groupnorm_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
