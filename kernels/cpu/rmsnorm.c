/* kernels/cpu/rmsnorm.c: one row after the other, sums in double. */
#include "kernels/rmsnorm.h"

#include "kernels/cpu/cpu_private.h"

enum status rmsnorm_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct rmsnorm_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    float *y = out[0].data, *rstd = out[1].data;
    const float *x = in[0].data, *w = in[1].data;
    (void)k;

    if (C < 1 || !(at->eps > 0.0f) || !view_f32(&out[0], N * C) || !view_f32(&in[0], N * C) ||
        !view_maybe_f32(&out[1], N) || !view_maybe_f32(&in[1], C))
        return check_refuse("rmsnorm", out, 2, in, 2, err);
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++) {
        const float *xn = x + n * C;
        double squares = 0.0;
        for (int64_t c = 0; c < C; c++)
            squares += (double)xn[c] * (double)xn[c];
        const float r = (float)(1.0 / sqrt(squares / (double)C + (double)at->eps));
        for (int64_t c = 0; c < C; c++)
            y[n * C + c] = w ? xn[c] * r * w[c] : xn[c] * r;
        if (rstd)
            rstd[n] = r;
    }
    return ST_OK;
}

static enum status weight_bwd(const struct view *out, const struct view *in, int64_t N, int64_t C,
                              float beta, struct error *err)
{
    const float *dy = in[0].data, *x = in[1].data, *rstd = in[3].data;
    double *slabs = slabs_open(C, err);
    if (!slabs)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t s = 0; s < SLABS; s++)
        for (int64_t n = slab_begin(N, s); n < slab_begin(N, s + 1); n++)
            for (int64_t c = 0; c < C; c++)
                slabs[s * C + c] += (double)dy[n * C + c] * (double)x[n * C + c] * (double)rstd[n];
    slabs_sum(out[1].data, slabs, C, beta);
    mem_free(slabs);
    return ST_OK;
}

/* dx = rstd (g - u mean(g u)), g = dy w, u = x rstd. */
static void row_bwd(float *dx, const float *dy, const float *x, const float *w, double rstd,
                    int64_t C, float beta)
{
    double dot = 0.0;
    for (int64_t c = 0; c < C; c++)
        dot += (double)dy[c] * (w ? (double)w[c] : 1.0) * (double)x[c] * rstd;
    for (int64_t c = 0; c < C; c++) {
        const double g = (double)dy[c] * (w ? (double)w[c] : 1.0);
        const double u = (double)x[c] * rstd;
        dx[c] = blend((float)(rstd * (g - u * dot / (double)C)), dx[c], beta);
    }
}

enum status rmsnorm_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct rmsnorm_attrs *at = attrs;
    const int64_t N = view_rows(&in[1]), C = view_last(&in[1]);
    float *dx = out[0].data;
    const float *dy = in[0].data, *x = in[1].data, *w = in[2].data, *rstd = in[3].data;
    (void)k;

    if (C < 1 || !view_maybe_f32(&out[0], N * C) || !view_maybe_f32(&out[1], C) ||
        !view_f32(&in[0], N * C) || !view_f32(&in[1], N * C) || !view_maybe_f32(&in[2], C) ||
        !view_f32(&in[3], N))
        return check_refuse("rmsnorm_bwd", out, 2, in, 4, err);
    /* The weight first: dx may take the place of dy. */
    if (out[1].data && weight_bwd(out, in, N, C, at->beta_dw, err) != ST_OK)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < (dx ? N : 0); n++)
        row_bwd(dx + n * C, dy + n * C, x + n * C, w, (double)rstd[n], C, at->beta_dx);
    return ST_OK;
}
