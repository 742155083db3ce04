/* kernels/cpu/scale.c: products with a vector per channel or per row. */
#include "kernels/scale.h"

#include "kernels/cpu/cpu_private.h"

enum status scale_channels_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    float *y = out[0].data;
    const float *x = in[0].data, *g = in[1].data, *b = in[2].data;
    (void)k;
    (void)attrs;

    if (!view_f32(&out[0], N * C) || !view_f32(&in[0], N * C) || !view_f32(&in[1], C) ||
        !view_maybe_f32(&in[2], C))
        return check_refuse("scale_channels", out, 1, in, 3, err);
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            y[n * C + c] = x[n * C + c] * g[c] + (b ? b[c] : 0.0f);
    return ST_OK;
}

static enum status vectors_bwd(const struct view *out, const struct view *in, int64_t N, int64_t C,
                               const struct scale_channels_attrs *at, struct error *err)
{
    const float *dy = in[0].data, *x = in[1].data;
    double *dg = slabs_open(C, err), *db = slabs_open(C, err);
    const enum status st = dg && db ? ST_OK : ST_FAIL;

#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t s = 0; s < (st == ST_OK ? SLABS : 0); s++)
        for (int64_t n = slab_begin(N, s); n < slab_begin(N, s + 1); n++)
            for (int64_t c = 0; c < C; c++) {
                dg[s * C + c] += (double)dy[n * C + c] * (double)x[n * C + c];
                db[s * C + c] += (double)dy[n * C + c];
            }
    if (st == ST_OK && out[1].data)
        slabs_sum(out[1].data, dg, C, at->beta_dg);
    if (st == ST_OK && out[2].data)
        slabs_sum(out[2].data, db, C, at->beta_db);
    mem_free(dg);
    mem_free(db);
    return st;
}

enum status scale_channels_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    const struct scale_channels_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    float *dx = out[0].data;
    const float *dy = in[0].data, *g = in[2].data;
    (void)k;

    if (!view_maybe_f32(&out[0], N * C) || !view_maybe_f32(&out[1], C) ||
        !view_maybe_f32(&out[2], C) || !view_f32(&in[0], N * C) || !view_f32(&in[1], N * C) ||
        !view_f32(&in[2], C))
        return check_refuse("scale_channels_bwd", out, 3, in, 3, err);
    if ((out[1].data || out[2].data) && vectors_bwd(out, in, N, C, at, err) != ST_OK)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < (dx ? N : 0); n++)
        for (int64_t c = 0; c < C; c++)
            dx[n * C + c] = blend(dy[n * C + c] * g[c], dx[n * C + c], at->beta_dx);
    return ST_OK;
}

enum status scale_rows_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct scale_rows_attrs *at = attrs;
    const int64_t n = view_count(&in[0]), N = view_count(&in[1]);
    const int64_t C = N > 0 ? n / N : 0;
    float *y = out[0].data;
    const float *x = in[0].data, *m = in[1].data;
    (void)k;

    if (n != N * C || !view_f32(&out[0], n) || !view_f32(&in[0], n) || !view_f32(&in[1], N))
        return check_refuse("scale_rows", out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t r = 0; r < N; r++)
        for (int64_t c = 0; c < C; c++)
            y[r * C + c] = blend(x[r * C + c] * m[r], y[r * C + c], at->beta);
    return ST_OK;
}
