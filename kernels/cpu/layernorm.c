/* kernels/cpu/layernorm.c: one row after the other, sums in double. */
#include "kernels/layernorm.h"

#include "kernels/cpu/cpu_private.h"

enum status layernorm_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct layernorm_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    float *y = out[0].data, *mean = out[1].data, *rstd = out[2].data;
    const float *x = in[0].data, *w = in[1].data, *b = in[2].data;
    (void)k;

    if (C < 1 || !(at->eps > 0.0f) || !view_f32(&out[0], N * C) || !view_f32(&in[0], N * C) ||
        !view_maybe_f32(&out[1], N) || !view_maybe_f32(&out[2], N) || !view_maybe_f32(&in[1], C) ||
        !view_maybe_f32(&in[2], C))
        return check_refuse("layernorm", out, 3, in, 3, err);
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++) {
        const float *xn = x + n * C;
        double sum = 0.0, squares = 0.0;
        for (int64_t c = 0; c < C; c++)
            sum += (double)xn[c];
        const double m = sum / (double)C;
        for (int64_t c = 0; c < C; c++)
            squares += ((double)xn[c] - m) * ((double)xn[c] - m);
        const double r = 1.0 / sqrt(squares / (double)C + (double)at->eps);
        for (int64_t c = 0; c < C; c++) {
            const float u = (float)(((double)xn[c] - m) * r);
            y[n * C + c] = (w ? u * w[c] : u) + (b ? b[c] : 0.0f);
        }
        if (mean)
            mean[n] = (float)m;
        if (rstd)
            rstd[n] = (float)r;
    }
    return ST_OK;
}

/* dw and db of one slab of rows. */
static void slab_params(double *dw, double *db, const float *dy, const float *x, const float *mean,
                        const float *rstd, int64_t begin, int64_t end, int64_t C)
{
    for (int64_t n = begin; n < end; n++)
        for (int64_t c = 0; c < C; c++) {
            const double g = (double)dy[n * C + c];
            dw[c] += g * (((double)x[n * C + c] - (double)mean[n]) * (double)rstd[n]);
            db[c] += g;
        }
}

static enum status params_bwd(const struct view *out, const struct view *in, int64_t N, int64_t C,
                              const struct layernorm_attrs *at, struct error *err)
{
    double *dw = slabs_open(C, err), *db = slabs_open(C, err);
    const enum status st = dw && db ? ST_OK : ST_FAIL;

#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t s = 0; s < (st == ST_OK ? SLABS : 0); s++)
        slab_params(dw + s * C, db + s * C, in[0].data, in[1].data, in[3].data, in[4].data,
                    slab_begin(N, s), slab_begin(N, s + 1), C);
    if (st == ST_OK && out[1].data)
        slabs_sum(out[1].data, dw, C, at->beta_dw);
    if (st == ST_OK && out[2].data)
        slabs_sum(out[2].data, db, C, at->beta_db);
    mem_free(dw);
    mem_free(db);
    return st;
}

/* dx = rstd (g - mean(g) - u mean(g u)), g = dy w, u = (x - mean) rstd. */
static void row_bwd(float *dx, const float *dy, const float *x, const float *w, double mean,
                    double rstd, int64_t C, float beta)
{
    double sum = 0.0, dot = 0.0;
    for (int64_t c = 0; c < C; c++) {
        const double g = (double)dy[c] * (w ? (double)w[c] : 1.0);
        sum += g;
        dot += g * ((double)x[c] - mean) * rstd;
    }
    for (int64_t c = 0; c < C; c++) {
        const double g = (double)dy[c] * (w ? (double)w[c] : 1.0);
        const double u = ((double)x[c] - mean) * rstd;
        dx[c] = blend((float)(rstd * (g - sum / (double)C - u * dot / (double)C)), dx[c], beta);
    }
}

enum status layernorm_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct layernorm_attrs *at = attrs;
    const int64_t N = view_rows(&in[1]), C = view_last(&in[1]);
    float *dx = out[0].data;
    const float *dy = in[0].data, *x = in[1].data, *w = in[2].data;
    const float *mean = in[3].data, *rstd = in[4].data;
    (void)k;

    if (C < 1 || !view_maybe_f32(&out[0], N * C) || !view_maybe_f32(&out[1], C) ||
        !view_maybe_f32(&out[2], C) || !view_f32(&in[0], N * C) || !view_f32(&in[1], N * C) ||
        !view_maybe_f32(&in[2], C) || !view_f32(&in[3], N) || !view_f32(&in[4], N))
        return check_refuse("layernorm_bwd", out, 3, in, 5, err);
    /* The parameters first: dx may take the place of dy. */
    if ((out[1].data || out[2].data) && params_bwd(out, in, N, C, at, err) != ST_OK)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < (dx ? N : 0); n++)
        row_bwd(dx + n * C, dy + n * C, x + n * C, w, (double)mean[n], (double)rstd[n], C,
                at->beta_dx);
    return ST_OK;
}
