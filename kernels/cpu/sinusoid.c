/* kernels/cpu/sinusoid.c: tables of sines and cosines, frequencies and products in float32. */
#include "kernels/sinusoid.h"

#include "kernels/cpu/cpu_private.h"

/* 10000^(-k / n) */
static float frequency(int64_t k, int64_t n)
{
    return 1.0f / powf(10000.0f, (float)k / (float)n);
}

enum status sinusoid_grid_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                  const void *attrs, struct error *err)
{
    float *y = out[0].data;
    (void)k;
    (void)attrs;

    if (out[0].rank != 3 || out[0].shape[2] % 4 != 0 || !view_f32(&out[0], view_count(&out[0])))
        return check_refuse("sinusoid_grid", out, 1, in, 0, err);
    const int64_t H = out[0].shape[0], W = out[0].shape[1], C = out[0].shape[2], Q = C / 4;
#pragma omp parallel for schedule(static) if (H * W * C > PARALLEL_MIN)
    for (int64_t n = 0; n < H * W; n++)
        for (int64_t c = 0; c < Q; c++) {
            const int64_t y_at = n / W, x_at = n % W;
            const float w = frequency(c, Q), row = (float)y_at * w, col = (float)x_at * w;
            float *cell = y + n * C + c;
            cell[0] = sinf(row);
            cell[Q] = cosf(row);
            cell[2 * Q] = sinf(col);
            cell[3 * Q] = cosf(col);
        }
    return ST_OK;
}

enum status sinusoid_row_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                 const void *attrs, struct error *err)
{
    const int64_t N = view_rows(&out[0]), C = view_last(&out[0]);
    float *y = out[0].data;
    (void)k;
    (void)attrs;

    if (C % 2 != 0 || !view_f32(&out[0], N * C))
        return check_refuse("sinusoid_row", out, 1, in, 0, err);
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C / 2; c++) {
            const float angle = (float)n * frequency(c, C / 2);
            y[n * C + c] = sinf(angle);
            y[n * C + C / 2 + c] = cosf(angle);
        }
    return ST_OK;
}

enum status sinusoid_time_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                  const void *attrs, struct error *err)
{
    const int64_t N = view_rows(&out[0]), C = view_last(&out[0]);
    float *y = out[0].data;
    const int32_t *t = in[0].data;
    (void)k;
    (void)attrs;

    if (C % 2 != 0 || !view_f32(&out[0], N * C) || !view_is(&in[0], DT_I32, N))
        return check_refuse("sinusoid_time", out, 1, in, 1, err);
    const int64_t half = C / 2;
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < half; c++) {
            /* the reference takes exp of a product here */
            const float f = expf(-logf(10000.0f) * (float)c / (float)half);
            y[n * C + c] = cosf((float)t[n] * f);
            y[n * C + half + c] = sinf((float)t[n] * f);
        }
    return ST_OK;
}
