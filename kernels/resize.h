/* kernels/resize.h: resampling of tables, masks and maps; half-pixel centres, no antialiasing.
 * Tolerance between backends: 1e-5 absolute. Source: spec model.md 2.2.4, 2.2.5, 2.8.1; Keys 1981. */
#ifndef DEEM_KERNELS_RESIZE_H
#define DEEM_KERNELS_RESIZE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out 0: y [h',w',C]. in 0: x [h,w,C]. Bicubic, a = -0.75, edge clamp: position tables. Same size: a
 * copy. Tables are fixed: there is no gradient. No attributes. */
kernel_fn resize_bicubic_fwd_cpu, resize_bicubic_fwd_cuda;

struct resize_bilinear_attrs {
    int binarise; /* 1: 1 where the sampled value > 0, else 0 */
};
/* out 0: y [I,h',w']. in 0: x [I,h,w], float32. Region masks: the 2 x 2 pixels around each centre. */
kernel_fn resize_bilinear_fwd_cpu, resize_bilinear_fwd_cuda;

struct upsample2_attrs {
    float beta; /* backward: 0 overwrites, 1 adds */
};
/* out 0: y [I,2H,2W,C]. in 0: x [I,H,W,C]. Nearest. */
kernel_fn upsample2_fwd_cpu, upsample2_fwd_cuda;
/* out 0: dx [I,H,W,C]. in 0: dy [I,2H,2W,C]: the sum of each 2 x 2. */
kernel_fn upsample2_bwd_cpu, upsample2_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
