/* kernels/cpu/pool.c: means over pixels; a mean is the masked one with every pixel counted. */
#include "kernels/pool.h"

#include "kernels/cpu/cpu_private.h"

struct sizes {
    int64_t I, P, C; /* pictures, pixels of each, channels */
};
static struct sizes sizes_of(const struct view *x, const struct view *y)
{
    struct sizes z = { view_rows(y), 0, view_last(y) };
    z.P = z.I * z.C > 0 ? view_count(x) / (z.I * z.C) : 0;
    return z;
}
static bool sizes_fit(const struct sizes *z, const struct view *x, const struct view *y)
{
    return view_last(x) == z->C && view_f32(x, z->I * z->P * z->C) && view_f32(y, z->I * z->C) &&
           (z->P > 0 || view_count(x) == 0);
}

/* Sum of a picture's mask; the number of pixels without one. */
static double weight_of(const float *mask, const struct sizes *z, int64_t i)
{
    double sum = 0.0;
    if (!mask)
        return (double)z->P;
    for (int64_t p = 0; p < z->P; p++)
        sum += (double)mask[i * z->P + p];
    return sum + 1e-8;
}

static enum status pool_fwd(const struct sizes *z, float *y, const float *x, const float *mask,
                            struct error *err)
{
    double *sums = mem_calloc((size_t)max_i64(z->I * z->C, 1), sizeof *sums);
    if (!sums)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: pool");
#pragma omp parallel for schedule(static) if (z->I * z->P * z->C > PARALLEL_MIN)
    for (int64_t i = 0; i < z->I; i++) {
        const double weight = weight_of(mask, z, i);
        for (int64_t p = 0; p < z->P; p++) {
            const double m = mask ? (double)mask[i * z->P + p] : 1.0;
            for (int64_t c = 0; c < z->C; c++)
                sums[i * z->C + c] += m * (double)x[(i * z->P + p) * z->C + c];
        }
        for (int64_t c = 0; c < z->C; c++)
            y[i * z->C + c] = (float)(sums[i * z->C + c] / weight);
    }
    mem_free(sums);
    return ST_OK;
}

static void pool_bwd(const struct sizes *z, float *dx, const float *dy, const float *mask,
                     float beta)
{
#pragma omp parallel for schedule(static) if (z->I * z->P * z->C > PARALLEL_MIN)
    for (int64_t i = 0; i < z->I; i++) {
        const double weight = weight_of(mask, z, i);
        for (int64_t p = 0; p < z->P; p++) {
            const float m = (float)((mask ? (double)mask[i * z->P + p] : 1.0) / weight);
            for (int64_t c = 0; c < z->C; c++) {
                const int64_t at = (i * z->P + p) * z->C + c;
                dx[at] = blend(dy[i * z->C + c] * m, dx[at], beta);
            }
        }
    }
}

enum status pool_mean_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct sizes z = sizes_of(&in[0], &out[0]);
    (void)k;
    (void)attrs;
    if (!sizes_fit(&z, &in[0], &out[0]))
        return check_refuse("pool_mean", out, 1, in, 1, err);
    return pool_fwd(&z, out[0].data, in[0].data, NULL, err);
}

enum status pool_mean_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct pool_attrs *at = attrs;
    const struct sizes z = sizes_of(&out[0], &in[0]);
    (void)k;
    if (!sizes_fit(&z, &out[0], &in[0]))
        return check_refuse("pool_mean_bwd", out, 1, in, 1, err);
    pool_bwd(&z, out[0].data, in[0].data, NULL, at->beta);
    return ST_OK;
}

enum status pool_mask_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct sizes z = sizes_of(&in[0], &out[0]);
    (void)k;
    (void)attrs;
    if (!sizes_fit(&z, &in[0], &out[0]) || !view_f32(&in[1], z.I * z.P))
        return check_refuse("pool_mask", out, 1, in, 2, err);
    return pool_fwd(&z, out[0].data, in[0].data, in[1].data, err);
}

enum status pool_mask_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct pool_attrs *at = attrs;
    const struct sizes z = sizes_of(&out[0], &in[0]);
    (void)k;
    if (!sizes_fit(&z, &out[0], &in[0]) || !view_f32(&in[1], z.I * z.P))
        return check_refuse("pool_mask_bwd", out, 1, in, 2, err);
    pool_bwd(&z, out[0].data, in[0].data, in[1].data, at->beta);
    return ST_OK;
}
