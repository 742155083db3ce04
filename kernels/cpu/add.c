/* kernels/cpu/add.c: sums, broadcasts and residuals. */
#include "kernels/add.h"

#include "kernels/cpu/cpu_private.h"

enum status add_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                        const void *attrs, struct error *err)
{
    const struct add_attrs *at = attrs;
    const int64_t n = view_count(&out[0]);
    float *z = out[0].data;
    const float *x = in[0].data, *y = in[1].data;
    (void)k;

    if (!view_f32(&out[0], n) || !view_f32(&in[0], n) || !view_f32(&in[1], n))
        return check_refuse("add", out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        z[i] = at->alpha * x[i] + at->beta * y[i];
    return ST_OK;
}

enum status axpby_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct axpby_attrs *at = attrs;
    const int64_t n = view_count(&out[0]);
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;

    if (!view_f32(&out[0], n) || !view_f32(&in[0], n))
        return check_refuse("axpby", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        y[i] = blend(at->scale * x[i], y[i], at->beta);
    return ST_OK;
}

enum status add_table_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), T = view_count(&in[1]);
    float *y = out[0].data;
    const float *x = in[0].data, *table = in[1].data;
    (void)k;
    (void)attrs;

    if (T < 1 || n % T != 0 || !view_f32(&out[0], n) || !view_maybe_f32(&in[0], n) ||
        !view_f32(&in[1], T))
        return check_refuse("add_table", out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t r = 0; r < n / T; r++)
        for (int64_t t = 0; t < T; t++)
            y[r * T + t] = (x ? x[r * T + t] : 0.0f) + table[t];
    return ST_OK;
}

enum status add_table_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct add_table_attrs *at = attrs;
    const int64_t n = view_count(&in[0]), T = view_count(&out[0]);
    float *dtable = out[0].data;
    const float *dy = in[0].data;
    (void)k;

    if (T < 1 || n % T != 0 || !view_f32(&out[0], T) || !view_f32(&in[0], n))
        return check_refuse("add_table_bwd", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t t = 0; t < T; t++) {
        double sum = 0.0;
        for (int64_t r = 0; r < n / T; r++)
            sum += (double)dy[r * T + t];
        dtable[t] = blend((float)sum, dtable[t], at->beta);
    }
    return ST_OK;
}

enum status add_image_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), I = view_rows(&in[1]), C = view_last(&in[1]);
    const int64_t P = I * C > 0 ? n / (I * C) : 0; /* pixels of a picture */
    float *y = out[0].data;
    const float *x = in[0].data, *v = in[1].data;
    (void)k;
    (void)attrs;

    if (n != I * P * C || view_last(&out[0]) != C || !view_f32(&out[0], n) ||
        !view_maybe_f32(&in[0], n) || !view_f32(&in[1], I * C))
        return check_refuse("add_image", out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t p = 0; p < I * P; p++)
        for (int64_t c = 0; c < C; c++)
            y[p * C + c] = (x ? x[p * C + c] : 0.0f) + v[p / P * C + c];
    return ST_OK;
}

enum status add_image_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct add_table_attrs *at = attrs;
    const int64_t n = view_count(&in[0]), I = view_rows(&out[0]), C = view_last(&out[0]);
    const int64_t P = I * C > 0 ? n / (I * C) : 0;
    float *dv = out[0].data;
    const float *dy = in[0].data;
    (void)k;

    if (n != I * P * C || view_last(&in[0]) != C || !view_f32(&out[0], I * C) ||
        !view_f32(&in[0], n))
        return check_refuse("add_image_bwd", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t j = 0; j < I * C; j++) {
        double sum = 0.0;
        for (int64_t p = 0; p < P; p++)
            sum += (double)dy[(j / C * P + p) * C + j % C];
        dv[j] = blend((float)sum, dv[j], at->beta);
    }
    return ST_OK;
}

enum status gated_add_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]);
    float *y = out[0].data;
    const float *x = in[0].data, *b = in[1].data, *gate = in[2].data;
    (void)k;
    (void)attrs;

    if (!view_f32(&out[0], n) || !view_f32(&in[0], n) || !view_f32(&in[1], n) ||
        !view_f32(&in[2], 1))
        return check_refuse("gated_add", out, 1, in, 3, err);
    const float g = tanhf(*gate);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] + g * b[i];
    return ST_OK;
}

/* Sum of a[i] b[i] in fixed parts. */
static enum status dot(double *sum, const float *a, const float *b, int64_t n, struct error *err)
{
    double *slabs = slabs_open(1, err);
    if (!slabs)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t s = 0; s < SLABS; s++)
        for (int64_t i = slab_begin(n, s); i < slab_begin(n, s + 1); i++)
            slabs[s] += (double)a[i] * (double)b[i];
    *sum = 0.0;
    for (int64_t s = 0; s < SLABS; s++)
        *sum += slabs[s];
    mem_free(slabs);
    return ST_OK;
}

enum status gated_add_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct gated_add_attrs *at = attrs;
    const int64_t n = view_count(&in[0]);
    float *db = out[0].data, *dgate = out[1].data;
    const float *dy = in[0].data, *b = in[1].data, *gate = in[2].data;
    double sum = 0.0;
    (void)k;

    if (!view_maybe_f32(&out[0], n) || !view_maybe_f32(&out[1], 1) || !view_f32(&in[0], n) ||
        !view_f32(&in[1], n) || !view_f32(&in[2], 1))
        return check_refuse("gated_add_bwd", out, 2, in, 3, err);
    const double g = tanh((double)*gate);
    if (dgate) {
        if (dot(&sum, dy, b, n, err) != ST_OK)
            return ST_FAIL;
        *dgate = blend((float)(sum * (1.0 - g * g)), *dgate, at->beta_dgate);
    }
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < (db ? n : 0); i++)
        db[i] = blend((float)g * dy[i], db[i], at->beta_db);
    return ST_OK;
}

enum status add_scaled_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), I = view_count(&in[2]);
    const int64_t P = I > 0 ? n / I : 0;
    float *y = out[0].data;
    const float *x = in[0].data, *b = in[1].data, *scale = in[2].data;
    (void)k;
    (void)attrs;

    if (n != I * P || !view_f32(&out[0], n) || !view_f32(&in[0], n) || !view_f32(&in[1], n) ||
        !view_f32(&in[2], I))
        return check_refuse("add_scaled", out, 1, in, 3, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t j = 0; j < n; j++)
        y[j] = x[j] + scale[j / P] * b[j];
    return ST_OK;
}
