/* kernels/rope.h: rotary position embedding, half-split form.
 *     a = position base^(-2c/D)     y[c] = x[c] cos a - x[c + D/2] sin a
 *                                   y[c + D/2] = x[c + D/2] cos a + x[c] sin a        c < D/2
 * Angles as the reference: inverse frequency and product in float32. Tolerance between backends: 1e-5
 * absolute. Source: Su et al. 2021, arXiv:2104.09864; spec model.md 2.5. */
#ifndef DEEM_KERNELS_ROPE_H
#define DEEM_KERNELS_ROPE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct rope_attrs {
    int heads; /* the last axis is `heads` heads of an even width D */
    float base;
    int inverse; /* 1: rotate back, which is the gradient */
    float beta;  /* 0: overwrite, 1: add */
};
/* out 0: y [B,L,H D]. in 0: x [B,L,H D]; in 1: position i32 [L] (all rows alike) or [B,L]. y may be x. */
kernel_fn rope_fwd_cpu, rope_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
