/* kernels/pool.h: means over the pixels of a picture. Sums in double on the CPU.
 * Tolerance between backends: 1e-5 relative. Source: spec model.md 2.2.3, 2.2.6. */
#ifndef DEEM_KERNELS_POOL_H
#define DEEM_KERNELS_POOL_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct pool_attrs {
    float beta; /* backward: 0 overwrites, 1 adds */
};
/* out 0: y [I,C]. in 0: x [I,...,C]: the mean over the middle axes. */
kernel_fn pool_mean_fwd_cpu, pool_mean_fwd_cuda;
/* out 0: dx [I,...,C]. in 0: dy [I,C]. */
kernel_fn pool_mean_bwd_cpu, pool_mean_bwd_cuda;
/* out 0: y [I,C]. in 0: x [I,...,C]; in 1: mask [I,...], float32.
 *     y[i] = (sum over pixels of x mask) / (sum of mask + 1e-8) */
kernel_fn pool_mask_fwd_cpu, pool_mask_fwd_cuda;
/* out 0: dx [I,...,C]. in 0: dy [I,C]; in 1: mask [I,...]. */
kernel_fn pool_mask_bwd_cpu, pool_mask_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
