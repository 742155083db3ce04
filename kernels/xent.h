/* kernels/xent.h: softmax cross-entropy of chunks of rows; the gradient takes the place of the logits.
 *     loss[r] = logsumexp(x[r]) - x[r,target[r]]     dx[r] = (softmax(x[r]) - onehot) scale / divisor
 * Rows with target -100 have loss 0 and gradient 0. A target outside [0,V) is CAUSE_ARG. divisor 0:
 * gradient 0. Tolerance between backends: 1e-5 relative. Source: spec model.md 3.1. */
#ifndef DEEM_KERNELS_XENT_H
#define DEEM_KERNELS_XENT_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { XENT_IGNORE = -100 };
struct xent_attrs {
    float scale; /* weight of the loss in the total */
};
/* out 0: dlogits [R,V], optional, may be the logits; out 1: loss [R] float32.
 * in 0: logits [R,V]; in 1: target [R] i32; in 2: divisor [1] float32, the true count of valid targets
 * of the whole micro-batch, needed for dlogits. */
kernel_fn xent_fwd_cpu, xent_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
