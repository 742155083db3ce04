/* kernels/cpu/ddpm.c: the noise schedule, the draws and the loss around the UNet. */
#include "kernels/ddpm.h"

#include "kernels/cpu/cpu_private.h"

enum { COLUMNS = 4 }; /* of the table: beta, abar, sqrt(abar), sqrt(1 - abar) */

enum status ddpm_table_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    /* linspace in float32 runs from both ends, the product in double: as the reference's library */
    const float first = (float)sqrt(0.00085), last = (float)sqrt(0.012);
    const float step = (last - first) / (float)(DDPM_STEPS - 1);
    float *table = out[0].data;
    double product = 1.0;
    (void)k;
    (void)attrs;

    if (!view_f32(&out[0], (int64_t)DDPM_STEPS * COLUMNS))
        return check_refuse("ddpm_table", out, 1, in, 0, err);
    for (int t = 0; t < DDPM_STEPS; t++) {
        const float root = t < DDPM_STEPS / 2 ? first + step * (float)t
                                              : last - step * (float)(DDPM_STEPS - 1 - t);
        const float beta = root * root;
        product *= (double)(1.0f - beta);
        const float abar = (float)product;
        float *row = table + (size_t)t * COLUMNS;
        row[0] = beta;
        row[1] = abar;
        row[2] = sqrtf(abar);
        row[3] = sqrtf(1.0f - abar);
    }
    return ST_OK;
}

enum status ddpm_noise_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), U = view_count(&in[2]);
    const int64_t N = U > 0 ? n / U : 0;
    float *z = out[0].data;
    const float *z0 = in[0].data, *noise = in[1].data, *table = in[3].data;
    const int32_t *t = in[2].data;
    (void)k;
    (void)attrs;

    bool fits = n == U * N && view_f32(&out[0], n) && view_f32(&in[0], n) && view_f32(&in[1], n) &&
                view_is(&in[2], DT_I32, U) && view_f32(&in[3], (int64_t)DDPM_STEPS * COLUMNS);
    for (int64_t u = 0; fits && u < U; u++)
        fits = t[u] >= 0 && t[u] < DDPM_STEPS;
    if (!fits)
        return check_refuse("ddpm_noise", out, 1, in, 4, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t j = 0; j < n; j++) {
        const float *row = table + (size_t)t[j / N] * COLUMNS;
        z[j] = row[2] * z0[j] + row[3] * noise[j];
    }
    return ST_OK;
}

/* One pass: its map, its sum, its gradient. weight of element j is weight[j / per]. */
static double pass_loss(float *map, float *dpred, const float *pred, const float *noise,
                        const float *weight, int64_t per, int64_t n, float scale)
{
    double sum = 0.0;
    for (int64_t j = 0; j < n; j++) {
        const float d = pred[j] - noise[j], w = weight[j / per], e = w * (d * d);
        sum += (double)e;
        if (map)
            map[j] = e;
        if (dpred)
            dpred[j] = 2.0f * w * d * scale;
    }
    return sum;
}

enum status ddpm_loss_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const int64_t n = view_count(&in[0]), U = view_count(&out[1]);
    const int64_t N = U > 0 ? n / U : 0, W = U > 0 ? view_count(&in[2]) / U : 0;
    float *map = out[0].data, *sum = out[1].data, *dpred = out[2].data;
    const float *pred = in[0].data, *noise = in[1].data, *weight = in[2].data, *scale = in[3].data;
    (void)k;
    (void)attrs;

    if (n != U * N || (U > 0 && (W < 1 || N % W != 0)) || !view_maybe_f32(&out[0], n) ||
        !view_f32(&out[1], U) || !view_maybe_f32(&out[2], n) || !view_f32(&in[0], n) ||
        !view_f32(&in[1], n) || !view_f32(&in[2], U * W) || !view_maybe_f32(&in[3], U) ||
        (dpred && !scale))
        return check_refuse("ddpm_loss", out, 3, in, 4, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t u = 0; u < U; u++)
        sum[u] =
            (float)pass_loss(map ? map + u * N : NULL, dpred ? dpred + u * N : NULL, pred + u * N,
                             noise + u * N, weight + u * W, N / W, N, scale ? scale[u] : 0.0f);
    return ST_OK;
}

void ddpm_step_coefficients(struct ddpm_step_attrs *out, const float *table, int t, int stride)
{
    const double abar = (double)table[t * COLUMNS + 1];
    const double before = t - stride >= 0 ? (double)table[(t - stride) * COLUMNS + 1] : 1.0;
    const double alpha = abar / before, beta = 1.0 - alpha;
    const double variance = (1.0 - before) / (1.0 - abar) * beta;

    out->sqrt_abar = (float)sqrt(abar);
    out->sqrt_rest = (float)sqrt(1.0 - abar);
    out->c_x0 = (float)(sqrt(before) * beta / (1.0 - abar));
    out->c_z = (float)(sqrt(alpha) * (1.0 - before) / (1.0 - abar));
    out->sigma = (float)sqrt(variance > 1e-20 ? variance : 1e-20);
}

enum status ddpm_step_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct ddpm_step_attrs *at = attrs;
    const int64_t n = view_count(&out[0]);
    float *next = out[0].data;
    const float *z = in[0].data, *eps = in[1].data, *noise = in[2].data;
    (void)k;

    if (!view_f32(&out[0], n) || !view_f32(&in[0], n) || !view_f32(&in[1], n) ||
        !view_f32(&in[2], n) || !(at->sqrt_abar > 0.0f))
        return check_refuse("ddpm_step", out, 1, in, 3, err);
    for (int64_t j = 0; j < n; j++) {
        const float x0 = (z[j] - at->sqrt_rest * eps[j]) / at->sqrt_abar;
        next[j] = at->c_x0 * x0 + at->c_z * z[j] + at->sigma * noise[j];
    }
    return ST_OK;
}

enum status ddpm_posterior_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    const struct ddpm_posterior_attrs *at = attrs;
    const int64_t N = view_rows(&out[0]), C = view_last(&out[0]);
    float *z0 = out[0].data;
    const float *moments = in[0].data, *noise = in[1].data;
    (void)k;

    if (!view_f32(&out[0], N * C) || !view_f32(&in[0], 2 * N * C) || view_last(&in[0]) != 2 * C ||
        !view_f32(&in[1], N * C))
        return check_refuse("ddpm_posterior", out, 1, in, 2, err);
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++) {
            const float mean = moments[2 * n * C + c];
            const float logvar = fminf(fmaxf(moments[(2 * n + 1) * C + c], -30.0f), 20.0f);
            z0[n * C + c] = at->scale * (mean + expf(0.5f * logvar) * noise[n * C + c]);
        }
    return ST_OK;
}
