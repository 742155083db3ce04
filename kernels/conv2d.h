/* kernels/conv2d.h: 2-D convolution (cross-correlation), channels last, zero padding on each side.
 *     y[i,p,q,d] = b[d] + sum over r,s,c of x[i, p stride + r - pad_top, q stride + s - pad_left, c] w[d,c,r,s]
 * H' = (H + pad_top + pad_bottom - kh) / stride + 1, rounded down; W' likewise. Patches (4x4/4, 2x2/2) are
 * the same call with stride = kernel. The bias gradient is linear_db over [I H' W', D].
 * Tolerance between backends: 1e-5 relative (f32), 1e-2 (bf16). Source: PyTorch's Conv2d (weights are
 * [out, in, kh, kw]). */
#ifndef DEEM_KERNELS_CONV2D_H
#define DEEM_KERNELS_CONV2D_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct conv2d_attrs {
    int stride;
    int pad_top, pad_left, pad_bottom, pad_right; /* zeros, >= 0 */
    float beta;                                   /* 0: overwrite the output, 1: add to it */
};
/* out 0: y [I,H',W',D]. in 0: x [I,H,W,C]; in 1: w [D,C,kh,kw]; in 2: b [D], optional. */
kernel_fn conv2d_fwd_cpu, conv2d_fwd_cuda;
/* out 0: dx [I,H,W,C]. in 0: dy [I,H',W',D]; in 1: w [D,C,kh,kw]. */
kernel_fn conv2d_dx_cpu, conv2d_dx_cuda;
/* out 0: dw [D,C,kh,kw]. in 0: dy [I,H',W',D]; in 1: x [I,H,W,C]. */
kernel_fn conv2d_dw_cpu, conv2d_dw_cuda;
/* The side of the output, or -1 where the kernel does not fit. */
static inline int64_t conv2d_side(int64_t side, int64_t kernel, int stride, int pad_both)
{
    const int64_t room = side + pad_both - kernel;
    return room < 0 || stride < 1 ? -1 : room / stride + 1;
}

#ifdef __cplusplus
}
#endif
#endif
