/* kernels/activation.h: element-wise non-linearities. Backward reads the input, not the output.
 *     gelu(x) = x Phi(x), exact (erf)    silu(x) = x sigmoid(x)    relu(x) = max(x, 0)
 *     swiglu(a, b) = silu(a) b           geglu([a | b]) = a gelu(b)
 * Tolerance between backends: 1e-6 relative (f32), 1e-2 (bf16). Source: Hendrycks, Gimpel 2016,
 * arXiv:1606.08415; Shazeer 2020, arXiv:2002.05202; spec model.md 0, 2.5, 2.8.3. */
#ifndef DEEM_KERNELS_ACTIVATION_H
#define DEEM_KERNELS_ACTIVATION_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct activation_attrs {
    float beta; /* backward: 0 overwrites the outputs, 1 adds to them; forward ignores it */
};
/* out 0: y. in 0: x, same shape. y may be x. */
kernel_fn gelu_fwd_cpu, gelu_fwd_cuda;
kernel_fn silu_fwd_cpu, silu_fwd_cuda;
kernel_fn relu_fwd_cpu, relu_fwd_cuda;
/* out 0: dx. in 0: dy; in 1: x. dx may be dy. */
kernel_fn gelu_bwd_cpu, gelu_bwd_cuda;
kernel_fn silu_bwd_cpu, silu_bwd_cuda;
kernel_fn relu_bwd_cpu, relu_bwd_cuda;

struct swiglu_attrs {
    float beta_da, beta_db; /* backward: 0 overwrites that output, 1 adds to it */
};
/* out 0: y. in 0: a (goes through silu); in 1: b; same shapes. */
kernel_fn swiglu_fwd_cpu, swiglu_fwd_cuda;
/* out 0: da; out 1: db; each optional. in 0: dy; in 1: a; in 2: b. da may be a, db may be b. */
kernel_fn swiglu_bwd_cpu, swiglu_bwd_cuda;
/* out 0: y [...,C]. in 0: x [...,2C]: a is the first half of the last axis, b the second. */
kernel_fn geglu_fwd_cpu, geglu_fwd_cuda;
/* out 0: dx [...,2C]. in 0: dy [...,C]; in 1: x [...,2C]. activation_attrs. */
kernel_fn geglu_bwd_cpu, geglu_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
