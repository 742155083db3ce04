/* kernels/cpu/activation.c: element by element, with the library's erf and exp. */
#include "kernels/activation.h"

#include "kernels/cpu/cpu_private.h"

static inline float gelu(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}
/* Phi(x) + x phi(x) */
static inline float gelu_slope(float x)
{
    return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) +
           x * 0.39894228040143268f * expf(-0.5f * x * x);
}
static inline float silu(float x)
{
    return x / (1.0f + expf(-x));
}
static inline float silu_slope(float x)
{
    const float s = 1.0f / (1.0f + expf(-x));
    return s * (1.0f + x * (1.0f - s));
}
static inline float relu(float x)
{
    return x > 0.0f ? x : 0.0f;
}
static inline float relu_slope(float x)
{
    return x > 0.0f ? 1.0f : 0.0f;
}

typedef float curve_fn(float x);

static inline enum status forward(curve_fn *f, const char *op, const struct view *out,
                                  const struct view *in, struct error *err)
{
    const int64_t n = view_count(&in[0]);
    float *y = out[0].data;
    const float *x = in[0].data;
    if (!view_f32(&in[0], n) || !view_f32(&out[0], n))
        return check_refuse(op, out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        y[i] = f(x[i]);
    return ST_OK;
}

static inline enum status backward(curve_fn *slope, const char *op, const struct view *out,
                                   const struct view *in, float beta, struct error *err)
{
    const int64_t n = view_count(&in[1]);
    float *dx = out[0].data;
    const float *dy = in[0].data, *x = in[1].data;
    if (!view_f32(&in[0], n) || !view_f32(&in[1], n) || !view_f32(&out[0], n))
        return check_refuse(op, out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        dx[i] = blend(dy[i] * slope(x[i]), dx[i], beta);
    return ST_OK;
}

static float beta_of(const void *attrs)
{
    const struct activation_attrs *at = attrs;
    return at->beta;
}

enum status gelu_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    (void)k;
    (void)attrs;
    return forward(gelu, "gelu", out, in, err);
}
enum status silu_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    (void)k;
    (void)attrs;
    return forward(silu, "silu", out, in, err);
}
enum status relu_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    (void)k;
    (void)attrs;
    return forward(relu, "relu", out, in, err);
}
enum status gelu_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    (void)k;
    return backward(gelu_slope, "gelu_bwd", out, in, beta_of(attrs), err);
}
enum status silu_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    (void)k;
    return backward(silu_slope, "silu_bwd", out, in, beta_of(attrs), err);
}
enum status relu_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    (void)k;
    return backward(relu_slope, "relu_bwd", out, in, beta_of(attrs), err);
}

enum status swiglu_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const int64_t n = view_count(&in[0]);
    float *y = out[0].data;
    const float *a = in[0].data, *b = in[1].data;
    (void)k;
    (void)attrs;

    if (!view_f32(&in[0], n) || !view_f32(&in[1], n) || !view_f32(&out[0], n))
        return check_refuse("swiglu", out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        y[i] = silu(a[i]) * b[i];
    return ST_OK;
}

enum status swiglu_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct swiglu_attrs *at = attrs;
    const int64_t n = view_count(&in[0]);
    float *da = out[0].data, *db = out[1].data;
    const float *dy = in[0].data, *a = in[1].data, *b = in[2].data;
    (void)k;

    if (!view_f32(&in[0], n) || !view_f32(&in[1], n) || !view_f32(&in[2], n) ||
        !view_maybe_f32(&out[0], n) || !view_maybe_f32(&out[1], n))
        return check_refuse("swiglu_bwd", out, 2, in, 3, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        const float ai = a[i], bi = b[i]; /* both may be overwritten */
        if (da)
            da[i] = blend(dy[i] * bi * silu_slope(ai), da[i], at->beta_da);
        if (db)
            db[i] = blend(dy[i] * silu(ai), db[i], at->beta_db);
    }
    return ST_OK;
}

enum status geglu_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const int64_t N = view_rows(&out[0]), C = view_last(&out[0]);
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;
    (void)attrs;

    if (!view_f32(&out[0], N * C) || !view_f32(&in[0], 2 * N * C) || view_last(&in[0]) != 2 * C)
        return check_refuse("geglu", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            y[n * C + c] = x[2 * n * C + c] * gelu(x[(2 * n + 1) * C + c]);
    return ST_OK;
}

enum status geglu_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const float beta = beta_of(attrs);
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    float *dx = out[0].data;
    const float *dy = in[0].data, *x = in[1].data;
    (void)k;

    if (!view_f32(&in[0], N * C) || !view_f32(&in[1], 2 * N * C) || view_last(&in[1]) != 2 * C ||
        !view_f32(&out[0], 2 * N * C))
        return check_refuse("geglu_bwd", out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++) {
            const int64_t ia = 2 * n * C + c, ib = ia + C;
            const float g = dy[n * C + c], a = x[ia], b = x[ib];
            dx[ia] = blend(g * gelu(b), dx[ia], beta);
            dx[ib] = blend(g * a * gelu_slope(b), dx[ib], beta);
        }
    return ST_OK;
}
