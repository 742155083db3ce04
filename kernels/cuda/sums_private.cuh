/* kernels/cuda/sums_private.cuh: sums over rows and over whole tensors, in an order that depends on shapes
 * alone: gradients of vectors that every row shares, norms, losses. */
#ifndef DEEM_KERNELS_CUDA_SUMS_PRIVATE_CUH
#define DEEM_KERNELS_CUDA_SUMS_PRIVATE_CUH

#include "kernels/cuda/cuda_private.cuh"

enum sum_term {
    TERM_X,
    TERM_XHAT
}; /* what dy is multiplied by: x, or (x - mean) rstd of the row */
/* For each of I pictures with P rows of C:
 *     product[i,c] (+)= sum over p of dy[i,p,c] term      plain[i,c] (+)= sum over p of dy[i,p,c] */
struct column_sums {
    int64_t I, P, C;
    struct ref dy, x;
    enum sum_term term;
    const float *mean, *rstd;  /* [I P]; mean NULL: 0 */
    struct ref product, plain; /* each may be left out */
    float beta_product, beta_plain;
};
enum status column_sums_run(struct kctx *k, const struct column_sums *s, const char *op,
                            struct error *err);

/* y [1] (+)= scale sum over n of a b / divisor, times 1 - tanh(gate)^2. b, divisor, gate may be left out; a
 * divisor of 0 gives 0. */
struct total_sum {
    int64_t n;
    struct ref a, b, divisor, gate, y;
    float scale, beta;
};
enum status total_sum_run(struct kctx *k, const struct total_sum *s, const char *op,
                          struct error *err);

#endif
