/* kernels/scale.h: products with a vector: per channel, per row.
 * Tolerance between backends: 1e-6 relative (f32), 1e-2 (bf16). */
#ifndef DEEM_KERNELS_SCALE_H
#define DEEM_KERNELS_SCALE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct scale_channels_attrs {
    float beta_dx, beta_dg, beta_db; /* backward: 0 overwrites that output, 1 adds to it */
};
/* out 0: y [...,C] = x g + b. in 0: x [...,C]; in 1: g [C]; in 2: b [C], optional. y may be x. Layer
 * scale, input normalisation, norms folded into weights. */
kernel_fn scale_channels_fwd_cpu, scale_channels_fwd_cuda;
/* out 0: dx; out 1: dg [C]; out 2: db [C]; each optional. in 0: dy; in 1: x; in 2: g. */
kernel_fn scale_channels_bwd_cpu, scale_channels_bwd_cuda;

struct scale_rows_attrs {
    float beta; /* 0: overwrite, 1: add */
};
/* out 0: y [N...,...] = x[n] m[n]. in 0: x; in 1: m, float32: count(m) rows of count(x) / count(m)
 * elements. Region masks and drop path; it is its own gradient in x. y may be x. */
kernel_fn scale_rows_fwd_cpu, scale_rows_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
