/* kernels/copy.h: moving data: fill, change of type, joining and cutting along an axis, transposing.
 * Exact on every backend. */
#ifndef DEEM_KERNELS_COPY_H
#define DEEM_KERNELS_COPY_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct fill_attrs {
    float value;
};
/* out 0: any tensor. No inputs. */
kernel_fn fill_fwd_cpu, fill_fwd_cuda;

struct cast_attrs {
    float scale; /* y = scale x; 1 / 255 for pixels */
};
/* out 0: y. in 0: x, same count; any of f32, bf16, i32, u8 to f32 or bf16 (nearest even). */
kernel_fn cast_fwd_cpu, cast_fwd_cuda;

/* Both tensors as [outer, axis, inner]; count(outer) is that of the axes before `axis`. */
struct concat_attrs {
    int axis;               /* 0..rank-1, counted in the joined tensor */
    float beta_dx, beta_dy; /* split: 0 overwrites that output, 1 adds to it */
};
/* out 0: z [...,X+Y,...]. in 0: x [...,X,...]; in 1: y [...,Y,...]; same rank, other axes equal. */
kernel_fn concat_fwd_cpu, concat_fwd_cuda;
/* The gradient. out 0: dx; out 1: dy; each optional, at least one. in 0: dz. The axis of a left-out
 * output is what remains, behind x or before y. */
kernel_fn split_fwd_cpu, split_fwd_cuda;

struct transpose_attrs {
    float beta; /* 0: overwrite, 1: add */
};
/* out 0: y [I,B,A]. in 0: x [I,A,B]. Planar pictures to channels-last and back: [I,C,HW] to [I,HW,C]. */
kernel_fn transpose_fwd_cpu, transpose_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
