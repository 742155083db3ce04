/* kernels/adamw.h: one step of AdamW with decoupled weight decay, element by element.
 *     p -= lr wd p    m = b1 m + (1-b1) g    v = b2 v + (1-b2) g^2
 *     p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * Tolerance between backends: 1e-6 absolute. Source: Loshchilov, Hutter 2017, arXiv:1711.05101; spec
 * model.md 4.2. */
#ifndef DEEM_KERNELS_ADAMW_H
#define DEEM_KERNELS_ADAMW_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct adamw_attrs {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;      /* t, from 1 */
    double grad_scale; /* g is multiplied by it first: 1 / micro-batches */
};
/* out 0: p; out 1: m; out 2: v: float32, read and written. in 0: g, same count; in 1: clip [1] float32,
 * optional: another factor of g, made where the norm was (reduce.h). */
kernel_fn adamw_fwd_cpu, adamw_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
