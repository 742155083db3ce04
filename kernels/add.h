/* kernels/add.h: sums of tensors, with and without broadcasting, and residuals.
 * Tolerance between backends: 1e-6 relative (f32), 1e-2 (bf16). */
#ifndef DEEM_KERNELS_ADD_H
#define DEEM_KERNELS_ADD_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* z = alpha x + beta y: plain sums, differences, guidance of samplers. */
struct add_attrs {
    float alpha, beta;
};
/* out 0: z. in 0: x; in 1: y; same count. z may be x or y. */
kernel_fn add_fwd_cpu, add_fwd_cuda;

/* y = scale x + beta y: copies, gradient accumulation. */
struct axpby_attrs {
    float scale;
    float beta; /* 0: y is not read */
};
/* out 0: y. in 0: x, same count. y may be x. */
kernel_fn axpby_fwd_cpu, axpby_fwd_cuda;

/* Broadcast over leading axes: position tables, shared queries. */
struct add_table_attrs {
    float beta; /* backward: 0 overwrites, 1 adds */
};
/* out 0: y [N...,tail]. in 0: x [N...,tail], optional: zeros, so that y repeats the table; in 1: table
 * [tail], whose count divides y's. y may be x. */
kernel_fn add_table_fwd_cpu, add_table_fwd_cuda;
/* out 0: dtable [tail]. in 0: dy [N...,tail]: the sum over the leading axes. dx is dy (axpby). */
kernel_fn add_table_bwd_cpu, add_table_bwd_cuda;

/* Broadcast over the axes in the middle: a vector for each picture (time embedding). */
/* out 0: y [I,...,C]. in 0: x [I,...,C], optional as above; in 1: v [I,C]. */
kernel_fn add_image_fwd_cpu, add_image_fwd_cuda;
/* out 0: dv [I,C]. in 0: dy [I,...,C]: the sum over the middle axes. add_table_attrs. */
kernel_fn add_image_bwd_cpu, add_image_bwd_cuda;

/* y = x + tanh(gate) b: the gated residual of the LLM's cross-attention. */
struct gated_add_attrs {
    float beta_db, beta_dgate; /* backward: 0 overwrites that output, 1 adds to it */
};
/* out 0: y. in 0: x; in 1: b; in 2: gate [1]. y may be x. */
kernel_fn gated_add_fwd_cpu, gated_add_fwd_cuda;
/* out 0: db; out 1: dgate [1]; each optional. in 0: dy; in 1: b; in 2: gate. dx is dy (axpby). */
kernel_fn gated_add_bwd_cpu, gated_add_bwd_cuda;

/* y[i] = x[i] + scale[i] b[i]: residual with drop path. */
/* out 0: y [I,...]. in 0: x [I,...]; in 1: b [I,...]; in 2: scale [I], data without gradient. The
 * gradient of b is scale_rows (scale.h), that of x is dy (axpby). */
kernel_fn add_scaled_fwd_cpu, add_scaled_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
