/* kernels/depthwise.h: depthwise convolution, channels last, odd square kernel, same size (padding (k-1)/2).
 *     y[i,p,q,c] = b[c] + sum over r,s of x[i, p + r - k/2, q + s - k/2, c] w[c,0,r,s]
 * The bias gradient is linear_db. Tolerance between backends: 1e-5 relative (f32), 1e-2 (bf16).
 * Source: PyTorch's Conv2d with groups = channels (weights are [C,1,k,k]); spec model.md 2.2.2. */
#ifndef DEEM_KERNELS_DEPTHWISE_H
#define DEEM_KERNELS_DEPTHWISE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct depthwise_attrs {
    float beta; /* 0: overwrite the output, 1: add to it */
};
/* out 0: y [I,H,W,C]. in 0: x [I,H,W,C]; in 1: w [C,1,k,k]; in 2: b [C], optional. */
kernel_fn depthwise_fwd_cpu, depthwise_fwd_cuda;
/* out 0: dx [I,H,W,C]. in 0: dy [I,H,W,C]; in 1: w. */
kernel_fn depthwise_dx_cpu, depthwise_dx_cuda;
/* out 0: dw [C,1,k,k]. in 0: dy [I,H,W,C]; in 1: x [I,H,W,C]. */
kernel_fn depthwise_dw_cpu, depthwise_dw_cuda;

#ifdef __cplusplus
}
#endif
#endif
