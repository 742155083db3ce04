/* kernels/adamw.h: one step of AdamW with decoupled weight decay, element by element.
 *     p -= lr wd p    m = b1 m + (1-b1) g    v = b2 v + (1-b2) g^2
 *     p -= lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
 * Tolerance between backends: 1e-6 absolute. Source: Loshchilov, Hutter 2017, arXiv:1711.05101; spec
 * model.md 4.2. */
#ifndef DEEM_KERNELS_ADAMW_H
#define DEEM_KERNELS_ADAMW_H

#include "kernels/backend.h"

#ifdef __CUDACC__
#define ADAMW_INLINE __host__ __device__ static inline
#else
#define ADAMW_INLINE static inline
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct adamw_attrs {
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;      /* t, from 1 */
    double grad_scale; /* g is multiplied by it first: 1 / micro-batches */
};
/* A float32 number as two halves: a bf16 that is nearest to it (halves away from zero) and 16 low bits, together
 * exact for every finite pattern. CUDA keeps trained weights so: the model reads the bf16 half. */
ADAMW_INLINE uint16_t adamw_high(uint32_t bits)
{
    return (uint16_t)((bits + 0x8000u) >> 16);
}
ADAMW_INLINE uint16_t adamw_low(uint32_t bits)
{
    return (uint16_t)(bits & 0xffffu);
}
ADAMW_INLINE uint32_t adamw_join(uint16_t high, uint16_t low)
{
    return (uint32_t)(uint16_t)(high - (low >> 15)) << 16 | low;
}

/* out 0: p; out 1: m; out 2: v: float32, read and written. CUDA only: p may be bf16, and then out 3 has the low
 * bits of each element, 16 bits of type bf16 that are no numbers. in 0: g, same count; in 1: clip [1] float32,
 * optional: another factor of g, made where the norm was (reduce.h). */
kernel_fn adamw_fwd_cpu, adamw_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
