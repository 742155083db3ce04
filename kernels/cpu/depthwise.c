/* kernels/cpu/depthwise.c: plain loops, channels innermost, the weights turned to [k k, C] first. */
#include "kernels/depthwise.h"

#include "kernels/cpu/cpu_private.h"

struct geometry {
    int64_t I, H, W, C, k;
};

static bool geometry_of(struct geometry *g, const struct view *x, const struct view *y,
                        const struct view *w)
{
    if (x->rank != 4 || w->rank != 4)
        return false;
    *g = (struct geometry){ x->shape[0], x->shape[1], x->shape[2], x->shape[3], w->shape[2] };
    return view_f32(x, view_count(x)) && view_f32(y, view_count(x)) &&
           view_f32(w, g->C * g->k * g->k) && w->shape[0] == g->C && w->shape[3] == g->k &&
           g->k % 2 == 1 && y->rank == 4 && y->shape[1] == g->H && y->shape[2] == g->W;
}

/* [C,1,k,k] to [k k, C], the kernel turned round for the gradient of the input. */
static float *turn_weights(const float *w, const struct geometry *g, bool flip, struct error *err)
{
    const int64_t area = g->k * g->k;
    float *t = mem_alloc((size_t)max_i64(area * g->C, 1) * sizeof *t);
    if (!t) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: depthwise weights");
        return NULL;
    }
    for (int64_t c = 0; c < g->C; c++)
        for (int64_t a = 0; a < area; a++)
            t[(flip ? area - 1 - a : a) * g->C + c] = w[c * area + a];
    return t;
}

/* One row of pixels: y (W,C) += the taps of kernel row r on x's row (W,C). */
static void add_row(float *y, const float *x, const float *taps, const struct geometry *g)
{
    for (int64_t q = 0; q < g->W; q++)
        for (int64_t s = 0; s < g->k; s++) {
            const int64_t v = q + s - g->k / 2;
            if (v < 0 || v >= g->W)
                continue;
            for (int64_t c = 0; c < g->C; c++)
                y[q * g->C + c] += x[v * g->C + c] * taps[s * g->C + c];
        }
}

/* bias NULL: y (+)= by beta alone. */
static void correlate(float *y, const float *x, const float *taps, const float *bias,
                      const struct geometry *g, float beta)
{
    const int64_t row = g->W * g->C;
#pragma omp parallel for schedule(static) if (g->I * g->H * row > PARALLEL_MIN)
    for (int64_t n = 0; n < g->I * g->H; n++) {
        const int64_t h = n % g->H;
        scale_in_place(y + n * row, row, beta);
        for (int64_t j = 0; j < (bias ? row : 0); j++)
            y[n * row + j] += bias[j % g->C];
        for (int64_t r = 0; r < g->k; r++) {
            const int64_t from = h + r - g->k / 2;
            if (from >= 0 && from < g->H)
                add_row(y + n * row, x + (n - h + from) * row, taps + r * g->k * g->C, g);
        }
    }
}

enum status depthwise_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct depthwise_attrs *at = attrs;
    struct geometry g;
    (void)k;

    if (!geometry_of(&g, &in[0], &out[0], &in[1]) || !view_maybe_f32(&in[2], g.C))
        return check_refuse("depthwise", out, 1, in, 3, err);
    float *taps = turn_weights(in[1].data, &g, false, err);
    if (!taps)
        return ST_FAIL;
    correlate(out[0].data, in[0].data, taps, in[2].data, &g, at->beta);
    mem_free(taps);
    return ST_OK;
}

enum status depthwise_dx_cpu(struct kctx *k, const struct view *out, const struct view *in,
                             const void *attrs, struct error *err)
{
    const struct depthwise_attrs *at = attrs;
    struct geometry g;
    (void)k;

    if (!geometry_of(&g, &in[0], &out[0], &in[1]))
        return check_refuse("depthwise_dx", out, 1, in, 2, err);
    float *taps = turn_weights(in[1].data, &g, true, err);
    if (!taps)
        return ST_FAIL;
    correlate(out[0].data, in[0].data, taps, NULL, &g, at->beta);
    mem_free(taps);
    return ST_OK;
}

/* sums (C) += over all pixels of dy x moved by (r, s). */
static void sum_tap(double *sums, const float *dy, const float *x, const struct geometry *g,
                    int64_t r, int64_t s)
{
    const int64_t dh = r - g->k / 2, dv = s - g->k / 2;
    for (int64_t n = 0; n < g->I * g->H; n++) {
        if (n % g->H + dh < 0 || n % g->H + dh >= g->H)
            continue;
        for (int64_t q = max_i64(0, -dv); q < min_i64(g->W, g->W - dv); q++) {
            const float *a = dy + (n * g->W + q) * g->C;
            const float *b = x + ((n + dh) * g->W + q + dv) * g->C;
            for (int64_t c = 0; c < g->C; c++)
                sums[c] += (double)a[c] * (double)b[c];
        }
    }
}

enum status depthwise_dw_cpu(struct kctx *k, const struct view *out, const struct view *in,
                             const void *attrs, struct error *err)
{
    const struct depthwise_attrs *at = attrs;
    struct geometry g;
    float *dw = out[0].data;
    const float *dy = in[0].data, *x = in[1].data;
    (void)k;

    if (!geometry_of(&g, &in[1], &in[0], &out[0]))
        return check_refuse("depthwise_dw", out, 1, in, 2, err);
    const int64_t area = g.k * g.k;
    double *sums = mem_calloc((size_t)max_i64(area * g.C, 1), sizeof *sums);
    if (!sums)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: depthwise gradients");
#pragma omp parallel for schedule(dynamic) if (g.I * g.H * g.W * g.C > PARALLEL_MIN)
    for (int64_t a = 0; a < area; a++)
        sum_tap(sums + a * g.C, dy, x, &g, a / g.k, a % g.k);
    for (int64_t c = 0; c < g.C; c++)
        for (int64_t a = 0; a < area; a++)
            dw[c * area + a] = blend((float)sums[a * g.C + c], dw[c * area + a], at->beta);
    mem_free(sums);
    return ST_OK;
}
