/* kernels/cpu/conv2d.c: convolutions as products. Patches of a run of output pixels are laid out as rows
 * [kh kw C] and multiplied with the weights in the same order, a run at a time, so memory stays small.
 * Each run belongs to one thread. The gradient of the input is the same with dy and the weights turned
 * round, or, where patches do not overlap, a product whose rows are laid back. */
#include "kernels/conv2d.h"

#include "kernels/cpu/cpu_private.h"

struct geometry {
    int64_t I, H, W, C; /* input */
    int64_t P, Q, D;    /* output */
    int64_t kh, kw;     /* kernel */
    int64_t stride, top, left;
};

enum { RUN_FLOATS = 1 << 18, RUN_ROWS_MIN = 32 }; /* floats of a run's patches */

static int64_t run_rows(int64_t width)
{
    return max_i64(RUN_ROWS_MIN, RUN_FLOATS / max_i64(width, 1));
}

static bool geometry_of(struct geometry *g, const struct view *x, const struct view *w,
                        const struct view *y, const struct conv2d_attrs *at)
{
    if (x->rank != 4 || w->rank != 4 || y->rank != 4 || at->stride < 1 || at->pad_top < 0 ||
        at->pad_left < 0 || at->pad_bottom < 0 || at->pad_right < 0)
        return false;
    *g = (struct geometry){ x->shape[0], x->shape[1], x->shape[2], x->shape[3],
                            y->shape[1], y->shape[2], y->shape[3], w->shape[2],
                            w->shape[3], at->stride,  at->pad_top, at->pad_left };
    const int64_t K = g->kh * g->kw * g->C, KD = g->kh * g->kw * g->D;
    return view_f32(x, view_count(x)) && view_f32(w, view_count(w)) && view_f32(y, view_count(y)) &&
           g->kh > 0 && g->kw > 0 && y->shape[0] == g->I && w->shape[0] == g->D &&
           w->shape[1] == g->C &&
           g->P == conv2d_side(g->H, g->kh, at->stride, at->pad_top + at->pad_bottom) &&
           g->Q == conv2d_side(g->W, g->kw, at->stride, at->pad_left + at->pad_right) &&
           fits_blas(K) && fits_blas(KD);
}

/* [D,C,kh,kw] to [D, kh kw C]: the order of a patch. NULL: out of memory, *err is set. */
static float *weights_by_patch(const float *w, const struct geometry *g, struct error *err)
{
    const int64_t area = g->kh * g->kw;
    float *p = mem_alloc((size_t)max_i64(g->D * area * g->C, 1) * sizeof *p);
    if (!p) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: conv2d weights");
        return NULL;
    }
    for (int64_t d = 0; d < g->D; d++)
        for (int64_t c = 0; c < g->C; c++)
            for (int64_t a = 0; a < area; a++)
                p[(d * area + a) * g->C + c] = w[(d * g->C + c) * area + a];
    return p;
}

/* [D,C,kh,kw] to [C, kh kw D], what an input pixel sees of the outputs around it. */
static float *weights_by_pixel(const float *w, const struct geometry *g, struct error *err)
{
    const int64_t area = g->kh * g->kw;
    float *p = mem_alloc((size_t)max_i64(g->D * area * g->C, 1) * sizeof *p);
    if (!p) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: conv2d weights");
        return NULL;
    }
    for (int64_t d = 0; d < g->D; d++)
        for (int64_t c = 0; c < g->C; c++)
            for (int64_t a = 0; a < area; a++)
                p[(c * area + a) * g->D + d] = w[(d * g->C + c) * area + a];
    return p;
}

/* The patches of output pixels [begin, end) of all pictures, one a row. */
static void lay_patches(float *rows, const float *x, const struct geometry *g, int64_t begin,
                        int64_t end)
{
    const size_t C_bytes = (size_t)g->C * sizeof *rows;
    for (int64_t n = begin; n < end; n++) {
        const int64_t i = n / (g->P * g->Q), p = n / g->Q % g->P, q = n % g->Q;
        for (int64_t r = 0; r < g->kh; r++) {
            const int64_t h = p * g->stride + r - g->top;
            for (int64_t s = 0; s < g->kw; s++, rows += g->C) {
                const int64_t v = q * g->stride + s - g->left;
                if (h < 0 || h >= g->H || v < 0 || v >= g->W)
                    memset(rows, 0, C_bytes);
                else
                    memcpy(rows, x + ((i * g->H + h) * g->W + v) * g->C, C_bytes);
            }
        }
    }
}

/* For input pixels [begin, end): the gradient at every output that a pixel took part in, one row. */
static void lay_outputs(float *rows, const float *dy, const struct geometry *g, int64_t begin,
                        int64_t end)
{
    const size_t D_bytes = (size_t)g->D * sizeof *rows;
    for (int64_t n = begin; n < end; n++) {
        const int64_t i = n / (g->H * g->W), h = n / g->W % g->H, v = n % g->W;
        for (int64_t r = 0; r < g->kh; r++) {
            const int64_t ph = h + g->top - r, p = ph / g->stride;
            for (int64_t s = 0; s < g->kw; s++, rows += g->D) {
                const int64_t qv = v + g->left - s, q = qv / g->stride;
                if (ph < 0 || qv < 0 || ph % g->stride || qv % g->stride || p >= g->P || q >= g->Q)
                    memset(rows, 0, D_bytes);
                else
                    memcpy(rows, dy + ((i * g->P + p) * g->Q + q) * g->D, D_bytes);
            }
        }
    }
}

/* Adds a run's patches back to the input; patches do not overlap. */
static void lay_back(float *dx, const float *rows, const struct geometry *g, int64_t begin,
                     int64_t end)
{
    for (int64_t n = begin; n < end; n++) {
        const int64_t i = n / (g->P * g->Q), p = n / g->Q % g->P, q = n % g->Q;
        for (int64_t r = 0; r < g->kh; r++) {
            const int64_t h = p * g->stride + r - g->top;
            for (int64_t s = 0; s < g->kw; s++, rows += g->C) {
                const int64_t v = q * g->stride + s - g->left;
                if (h < 0 || h >= g->H || v < 0 || v >= g->W)
                    continue;
                float *to = dx + ((i * g->H + h) * g->W + v) * g->C;
                for (int64_t c = 0; c < g->C; c++)
                    to[c] += rows[c];
            }
        }
    }
}

static bool is_pointwise(const struct geometry *g)
{
    return g->kh == 1 && g->kw == 1 && g->stride == 1 && g->top == 0 && g->left == 0 &&
           g->P == g->H && g->Q == g->W;
}

static void bias_rows(float *y, const float *bias, int64_t rows, int64_t D, float beta)
{
    for (int64_t n = 0; n < rows; n++)
        for (int64_t d = 0; d < D; d++)
            y[n * D + d] = blend(bias[d], y[n * D + d], beta);
}

typedef void lay_fn(float *rows, const float *x, const struct geometry *g, int64_t begin,
                    int64_t end);

/* y (N,D) = rows (N,K) w^T (D,K) + bias: the rows are laid run by run, one run a thread. */
static enum status run_products(float *y, const float *x, const float *w, const float *bias,
                                const struct geometry *g, lay_fn *lay, int64_t N, int64_t K,
                                int64_t D, float beta, struct error *err)
{
    const int64_t step = min_i64(run_rows(K), max_i64(N, 1));
    int failed = 0;
#pragma omp parallel for schedule(dynamic) if (N * K * D > PARALLEL_PRODUCT_MIN)                   \
    reduction(|                                                                                    \
              : failed)
    for (int64_t begin = 0; begin < N; begin += step) {
        const int64_t M = min_i64(step, N - begin);
        float *rows = mem_alloc((size_t)(M * K) * sizeof *rows);
        if (!rows) {
            failed |= 1;
            continue;
        }
        lay(rows, x, g, begin, begin + M);
        if (bias)
            bias_rows(y + begin * D, bias, M, D, beta);
        const struct product p = {
            0, 1, M, D, K, rows, w, y + begin * D, K, K, D, 1.0f, bias ? 1.0f : beta
        };
        product_run(&p);
        mem_free(rows);
    }
    return failed ? error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: conv2d patches") : ST_OK;
}

enum status conv2d_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct conv2d_attrs *at = attrs;
    struct geometry g;
    const float *x = in[0].data, *w = in[1].data, *bias = in[2].data;
    float *y = out[0].data;
    (void)k;

    if (!geometry_of(&g, &in[0], &in[1], &out[0], at) || !view_maybe_f32(&in[2], g.D))
        return check_refuse("conv2d", out, 1, in, 3, err);
    const int64_t N = g.I * g.P * g.Q, K = g.kh * g.kw * g.C;
    if (is_pointwise(&g) && fits_blas(N)) {
        if (bias)
            bias_rows(y, bias, N, g.D, at->beta);
        const struct product p = {
            0, 1, N, g.D, K, x, w, y, K, K, g.D, 1.0f, bias ? 1.0f : at->beta
        };
        product_run(&p);
        return ST_OK;
    }
    float *by_patch = weights_by_patch(w, &g, err);
    if (!by_patch)
        return ST_FAIL;
    const enum status st =
        run_products(y, x, by_patch, bias, &g, lay_patches, N, K, g.D, at->beta, err);
    mem_free(by_patch);
    return st;
}

/* Patches that do not overlap: rows = dy w, laid back. */
static enum status dx_apart(float *dx, const float *dy, const float *w, const struct geometry *g,
                            float beta, struct error *err)
{
    const int64_t N = g->I * g->P * g->Q, K = g->kh * g->kw * g->C;
    const int64_t step = min_i64(run_rows(K), max_i64(N, 1));
    int failed = 0;
    float *by_patch = weights_by_patch(w, g, err);
    if (!by_patch)
        return ST_FAIL;
    scale_in_place(dx, g->I * g->H * g->W * g->C, beta);
#pragma omp parallel for schedule(dynamic) if (N * K * g->D > PARALLEL_PRODUCT_MIN)                \
    reduction(|                                                                                    \
              : failed)
    for (int64_t begin = 0; begin < N; begin += step) {
        const int64_t M = min_i64(step, N - begin);
        float *rows = mem_alloc((size_t)(M * K) * sizeof *rows);
        if (!rows) {
            failed |= 1;
            continue;
        }
        const struct product p = { 0,    0, M, K,    g->D, dy + begin * g->D, by_patch, rows,
                                   g->D, K, K, 1.0f, 0.0f };
        product_run(&p);
        lay_back(dx, rows, g, begin, begin + M);
        mem_free(rows);
    }
    mem_free(by_patch);
    return failed ? error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: conv2d patches") : ST_OK;
}

enum status conv2d_dx_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct conv2d_attrs *at = attrs;
    struct geometry g;
    const float *dy = in[0].data, *w = in[1].data;
    float *dx = out[0].data;
    (void)k;

    if (!geometry_of(&g, &out[0], &in[1], &in[0], at))
        return check_refuse("conv2d_dx", out, 1, in, 2, err);
    if (g.stride >= g.kh && g.stride >= g.kw)
        return dx_apart(dx, dy, w, &g, at->beta, err);
    float *by_pixel = weights_by_pixel(w, &g, err);
    if (!by_pixel)
        return ST_FAIL;
    const enum status st = run_products(dx, dy, by_pixel, NULL, &g, lay_outputs, g.I * g.H * g.W,
                                        g.kh * g.kw * g.D, g.C, at->beta, err);
    mem_free(by_pixel);
    return st;
}

/* dw [D,C,kh,kw] (+)= by_patch [D, kh kw C]. */
static void dw_from_patch(float *dw, const float *by_patch, const struct geometry *g, float beta)
{
    const int64_t area = g->kh * g->kw;
    for (int64_t d = 0; d < g->D; d++)
        for (int64_t c = 0; c < g->C; c++)
            for (int64_t a = 0; a < area; a++) {
                const int64_t to = (d * g->C + c) * area + a;
                dw[to] = blend(by_patch[(d * area + a) * g->C + c], dw[to], beta);
            }
}

enum status conv2d_dw_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct conv2d_attrs *at = attrs;
    struct geometry g;
    const float *dy = in[0].data, *x = in[1].data;
    enum status st = ST_FAIL;
    (void)k;

    if (!geometry_of(&g, &in[1], &out[0], &in[0], at))
        return check_refuse("conv2d_dw", out, 1, in, 2, err);
    /* Runs in order, so that the sum over pixels has one order; the threads are BLAS's. */
    const int64_t N = g.I * g.P * g.Q, K = g.kh * g.kw * g.C;
    const int64_t step = min_i64(run_rows(K) * 4, max_i64(N, 1));
    float *rows = mem_alloc((size_t)max_i64(step * K, 1) * sizeof *rows);
    float *by_patch = mem_calloc((size_t)max_i64(g.D * K, 1), sizeof *by_patch);
    if (!rows || !by_patch) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: conv2d patches");
        goto done;
    }
    for (int64_t begin = 0; begin < N; begin += step) {
        const int64_t M = min_i64(step, N - begin), part = 16;
#pragma omp parallel for schedule(static) if (M * K > PARALLEL_MIN)
        for (int64_t m = 0; m < M; m += part)
            lay_patches(rows + m * K, x, &g, begin + m, begin + min_i64(m + part, M));
        const struct product p = { 1,   0, g.D, K,    M,   dy + begin * g.D, rows, by_patch,
                                   g.D, K, K,   1.0f, 1.0f };
        product_run(&p);
    }
    dw_from_patch(out[0].data, by_patch, &g, at->beta);
    st = ST_OK;
done:
    mem_free(rows);
    mem_free(by_patch);
    return st;
}
