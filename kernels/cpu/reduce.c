/* kernels/cpu/reduce.c: runs of fixed length, summed in double, added in order. */
#include "kernels/reduce.h"

#include "kernels/cpu/cpu_private.h"

static int64_t runs_of(int64_t n)
{
    return (n + REDUCE_RUN - 1) / REDUCE_RUN;
}

enum status reduce_sum_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct reduce_attrs *at = attrs;
    const int64_t n = view_count(&in[0]), runs = runs_of(n);
    float *y = out[0].data;
    const float *x = in[0].data, *divisor = in[1].data;
    double total = 0.0;
    (void)k;

    if (!view_f32(&out[0], 1) || !view_f32(&in[0], n) || !view_maybe_f32(&in[1], 1))
        return check_refuse("reduce_sum", out, 1, in, 2, err);
    double *sums = mem_calloc((size_t)max_i64(runs, 1), sizeof *sums);
    if (!sums)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: reduce_sum");
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t r = 0; r < runs; r++)
        for (int64_t i = r * REDUCE_RUN; i < min_i64(n, (r + 1) * REDUCE_RUN); i++)
            sums[r] += (double)x[i];
    for (int64_t r = 0; r < runs; r++)
        total += sums[r];
    mem_free(sums);
    total *= (double)at->scale;
    if (divisor)
        total = *divisor != 0.0f ? total / (double)*divisor : 0.0;
    *y = blend((float)total, *y, at->beta);
    return ST_OK;
}

enum status reduce_squares_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    const int64_t n = view_count(&in[0]), runs = runs_of(n);
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;
    (void)attrs;

    if (!view_f32(&out[0], runs) || !view_f32(&in[0], n))
        return check_refuse("reduce_squares", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t r = 0; r < runs; r++) {
        double sum = 0.0;
        for (int64_t i = r * REDUCE_RUN; i < min_i64(n, (r + 1) * REDUCE_RUN); i++)
            sum += (double)x[i] * (double)x[i];
        y[r] = (float)sum;
    }
    return ST_OK;
}
