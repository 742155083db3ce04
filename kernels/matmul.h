/* kernels/matmul.h: matrix products, one or a batch of them.
 *     C[b] = alpha op(A[b]) op(B[b]) + beta C[b]        op(X) = X or its transpose
 * Tolerance between backends: 1e-5 relative (f32), 1e-2 (bf16). Source: BLAS, gemm. */
#ifndef DEEM_KERNELS_MATMUL_H
#define DEEM_KERNELS_MATMUL_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct matmul_attrs {
    int trans_a, trans_b; /* 0 or 1 */
    float alpha, beta;
};
/* out 0: C [...,M,N]. in 0: A [...,M,K] ([...,K,M] if trans_a); in 1: B [...,K,N] ([...,N,K] if
 * trans_b). The leading axes of A and B multiply to the same batch as those of C, or to 1: then the
 * one matrix serves the whole batch. C must not overlap A or B. CAUSE_ARG: axes that do not meet. */
kernel_fn matmul_fwd_cpu, matmul_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
