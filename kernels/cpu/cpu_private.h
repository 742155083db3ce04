/* kernels/cpu/cpu_private.h: what the CPU kernels share. Loops run on OpenMP threads over an outer axis
 * and never split a sum by the number of threads: sums over rows are cut into SLABS fixed parts that are
 * added in order, so results do not depend on the threads. */
#ifndef DEEM_KERNELS_CPU_PRIVATE_H
#define DEEM_KERNELS_CPU_PRIVATE_H

#include <limits.h>
#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "kernels/check.h"

enum {
    /* Work below which a call stays on one thread: on a busy machine waking another one can cost a
     * time slice. In elements of a loop, and in multiplications of a product. */
    PARALLEL_MIN = 1 << 17,
    PARALLEL_PRODUCT_MIN = 1 << 23,
    SLABS = 16, /* parts of a sum over rows */
};

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
/* First row of slab s of N rows. */
static inline int64_t slab_begin(int64_t N, int64_t s)
{
    return N / SLABS * s + min_i64(s, N % SLABS);
}

/* SLABS x C doubles, zeroed; C < 1 counts as 1. NULL: out of memory, *err is set. */
double *slabs_open(int64_t C, struct error *err);
/* y[c] = beta y[c] + sum of the slabs in order. */
void slabs_sum(float *y, const double *slabs, int64_t C, float beta);
/* y[i] *= beta for beta other than 1; 0 clears. */
void scale_in_place(float *y, int64_t n, float beta);
/* beta y + v, without reading y for beta 0. */
static inline float blend(float v, float y, float beta)
{
    return beta == 0.0f ? v : v + beta * y;
}

/* C (M,N; row length ldc) = alpha op(A) op(B) + beta C. Sizes are checked to fit BLAS's int by the
 * callers (fits_blas). Zero sizes are legal. */
struct product {
    int trans_a, trans_b;
    int64_t M, N, K;
    const float *A, *B;
    float *C;
    int64_t lda, ldb, ldc;
    float alpha, beta;
};
void product_run(const struct product *p);
static inline bool fits_blas(int64_t n)
{
    return n >= 0 && n <= INT_MAX;
}

#endif
