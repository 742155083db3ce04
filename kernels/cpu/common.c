/* kernels/cpu/common.c: sums in fixed parts, and the one place that calls BLAS. */
#include <cblas.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/cpu/cpu_private.h"

/* BLAS asks OpenMP how many threads it may use: one, for a small product. */
static int threads_limit(int count)
{
#ifdef _OPENMP
    const int before = omp_get_max_threads();
    if (count != before)
        omp_set_num_threads(count);
    return before;
#else
    return count;
#endif
}

double *slabs_open(int64_t C, struct error *err)
{
    double *slabs = mem_calloc(SLABS * (size_t)max_i64(C, 1), sizeof *slabs);
    if (!slabs)
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: partial sums of %lld channels",
                  (long long)C);
    return slabs;
}

void slabs_sum(float *y, const double *slabs, int64_t C, float beta)
{
    for (int64_t c = 0; c < C; c++) {
        double sum = 0.0;
        for (int64_t s = 0; s < SLABS; s++)
            sum += slabs[s * C + c];
        y[c] = blend((float)sum, y[c], beta);
    }
}

void scale_in_place(float *y, int64_t n, float beta)
{
    if (beta == 0.0f)
        memset(y, 0, (size_t)n * sizeof *y);
    else if (beta != 1.0f)
        for (int64_t i = 0; i < n; i++)
            y[i] *= beta;
}

void product_run(const struct product *p)
{
    if (p->M == 0 || p->N == 0)
        return;
    if (p->K == 0) {
        for (int64_t m = 0; m < p->M; m++)
            scale_in_place(p->C + m * p->ldc, p->N, p->beta);
        return;
    }
    const bool small = p->M * p->N * p->K < PARALLEL_PRODUCT_MIN;
    const int threads = small ? threads_limit(1) : 0;
    cblas_sgemm(CblasRowMajor, p->trans_a ? CblasTrans : CblasNoTrans,
                p->trans_b ? CblasTrans : CblasNoTrans, (int)p->M, (int)p->N, (int)p->K, p->alpha,
                p->A, (int)p->lda, p->B, (int)p->ldb, p->beta, p->C, (int)p->ldc);
    if (small)
        threads_limit(threads);
}
