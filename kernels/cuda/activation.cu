/* kernels/cuda/activation.cu: element by element, groups of 8. */
#include "kernels/activation.h"

#include "kernels/cuda/cuda_private.cuh"

enum curve { CURVE_GELU, CURVE_SILU, CURVE_RELU };

__device__ static inline float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}
__device__ static inline float gelu(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}
/* Phi(x) + x phi(x) */
__device__ static inline float gelu_slope(float x)
{
    return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) +
           x * 0.39894228040143268f * expf(-0.5f * x * x);
}
__device__ static inline float silu_slope(float x)
{
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}
__device__ static inline float value_at(enum curve c, float x)
{
    return c == CURVE_GELU ? gelu(x) : c == CURVE_SILU ? x * sigmoid(x) : fmaxf(x, 0.0f);
}
__device__ static inline float slope_at(enum curve c, float x)
{
    return c == CURVE_GELU   ? gelu_slope(x)
           : c == CURVE_SILU ? silu_slope(x)
           : x > 0.0f        ? 1.0f
                             : 0.0f;
}

static __global__ void curve_fwd(struct ref y, struct ref x, int64_t n, enum curve c)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP];
        get8(v, x, i, n);
        for (int j = 0; j < GROUP; j++)
            v[j] = value_at(c, v[j]);
        put8(y, i, n, v);
    }
}

static __global__ void curve_bwd(struct ref dx, struct ref dy, struct ref x, int64_t n,
                                 enum curve c, float beta)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP], g[GROUP];
        get8(v, x, i, n);
        get8(g, dy, i, n);
        for (int j = 0; j < GROUP; j++)
            v[j] = g[j] * slope_at(c, v[j]);
        blend8(dx, i, n, v, beta);
    }
}

static enum status forward(struct kctx *k, const char *op, enum curve c, const struct view *out,
                           const struct view *in, struct error *err)
{
    const int64_t n = view_count(&in[0]);
    if (!view_float(&in[0], n) || !view_float(&out[0], n))
        return check_refuse(op, out, 1, in, 1, err);
    LAUNCH(k, curve_fwd, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]), n, c);
    return launched(op, err);
}

static enum status backward(struct kctx *k, const char *op, enum curve c, const struct view *out,
                            const struct view *in, const void *attrs, struct error *err)
{
    const struct activation_attrs *at = (const struct activation_attrs *)attrs;
    const int64_t n = view_count(&in[1]);
    if (!view_float(&in[0], n) || !view_float(&in[1], n) || !view_float(&out[0], n))
        return check_refuse(op, out, 1, in, 2, err);
    LAUNCH(k, curve_bwd, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), n, c, at->beta);
    return launched(op, err);
}

enum status gelu_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    (void)attrs;
    return forward(k, "gelu", CURVE_GELU, out, in, err);
}
enum status silu_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    (void)attrs;
    return forward(k, "silu", CURVE_SILU, out, in, err);
}
enum status relu_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    (void)attrs;
    return forward(k, "relu", CURVE_RELU, out, in, err);
}
enum status gelu_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    return backward(k, "gelu_bwd", CURVE_GELU, out, in, attrs, err);
}
enum status silu_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    return backward(k, "silu_bwd", CURVE_SILU, out, in, attrs, err);
}
enum status relu_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    return backward(k, "relu_bwd", CURVE_RELU, out, in, attrs, err);
}

static __global__ void swiglu_fwd(struct ref y, struct ref a, struct ref b, int64_t n)
{
    FOR_GROUPS(i, n)
    {
        float va[GROUP], vb[GROUP];
        get8(va, a, i, n);
        get8(vb, b, i, n);
        for (int j = 0; j < GROUP; j++)
            va[j] *= sigmoid(va[j]) * vb[j];
        put8(y, i, n, va);
    }
}

static __global__ void swiglu_bwd(struct ref da, struct ref db, struct ref dy, struct ref a,
                                  struct ref b, int64_t n, float beta_da, float beta_db)
{
    FOR_GROUPS(i, n)
    {
        float g[GROUP], va[GROUP], vb[GROUP];
        get8(g, dy, i, n);
        get8(va, a, i, n); /* both may be overwritten below */
        get8(vb, b, i, n);
        for (int j = 0; j < GROUP; j++) {
            const float to_b = g[j] * va[j] * sigmoid(va[j]);
            va[j] = g[j] * vb[j] * silu_slope(va[j]);
            vb[j] = to_b;
        }
        if (da.data)
            blend8(da, i, n, va, beta_da);
        if (db.data)
            blend8(db, i, n, vb, beta_db);
    }
}

enum status swiglu_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const int64_t n = view_count(&in[0]);
    (void)attrs;
    if (!view_float(&in[0], n) || !view_float(&in[1], n) || !view_float(&out[0], n))
        return check_refuse("swiglu", out, 1, in, 2, err);
    LAUNCH(k, swiglu_fwd, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), n);
    return launched("swiglu", err);
}

enum status swiglu_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct swiglu_attrs *at = (const struct swiglu_attrs *)attrs;
    const int64_t n = view_count(&in[0]);
    if (!view_float(&in[0], n) || !view_float(&in[1], n) || !view_float(&in[2], n) ||
        !view_maybe_float(&out[0], n) || !view_maybe_float(&out[1], n))
        return check_refuse("swiglu_bwd", out, 2, in, 3, err);
    LAUNCH(k, swiglu_bwd, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&out[1]),
           ref_of(&in[0]), ref_of(&in[1]), ref_of(&in[2]), n, at->beta_da, at->beta_db);
    return launched("swiglu_bwd", err);
}

/* Group i of row n of y [N,C]; its two halves lie at 2 n C and (2 n + 1) C of x. */
static __global__ void geglu_fwd(struct ref y, struct ref x, int64_t N, int64_t C)
{
    const int64_t groups = (C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, N * groups)
    {
        const int64_t n = t / groups, c = t % groups * GROUP;
        float a[GROUP], b[GROUP];
        get8(a, x, 2 * n * C + c, (2 * n + 1) * C);
        get8(b, x, (2 * n + 1) * C + c, 2 * (n + 1) * C);
        for (int j = 0; j < GROUP; j++)
            a[j] *= gelu(b[j]);
        put8(y, n * C + c, (n + 1) * C, a);
    }
}

static __global__ void geglu_bwd(struct ref dx, struct ref dy, struct ref x, int64_t N, int64_t C,
                                 float beta)
{
    const int64_t groups = (C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, N * groups)
    {
        const int64_t n = t / groups, c = t % groups * GROUP;
        float g[GROUP], a[GROUP], b[GROUP];
        get8(g, dy, n * C + c, (n + 1) * C);
        get8(a, x, 2 * n * C + c, (2 * n + 1) * C);
        get8(b, x, (2 * n + 1) * C + c, 2 * (n + 1) * C);
        for (int j = 0; j < GROUP; j++) {
            const float to_b = g[j] * a[j] * gelu_slope(b[j]);
            a[j] = g[j] * gelu(b[j]);
            b[j] = to_b;
        }
        blend8(dx, 2 * n * C + c, (2 * n + 1) * C, a, beta);
        blend8(dx, (2 * n + 1) * C + c, 2 * (n + 1) * C, b, beta);
    }
}

enum status geglu_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const int64_t N = view_rows(&out[0]), C = view_last(&out[0]);
    (void)attrs;
    if (!view_float(&out[0], N * C) || !view_float(&in[0], 2 * N * C) || view_last(&in[0]) != 2 * C)
        return check_refuse("geglu", out, 1, in, 1, err);
    LAUNCH(k, geglu_fwd, group_blocks(N * C), THREADS, 0, row_ref(&out[0], C), row_ref(&in[0], C),
           N, C);
    return launched("geglu", err);
}

enum status geglu_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct activation_attrs *at = (const struct activation_attrs *)attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    if (!view_float(&in[0], N * C) || !view_float(&in[1], 2 * N * C) ||
        view_last(&in[1]) != 2 * C || !view_float(&out[0], 2 * N * C))
        return check_refuse("geglu_bwd", out, 1, in, 2, err);
    LAUNCH(k, geglu_bwd, group_blocks(N * C), THREADS, 0, row_ref(&out[0], C), row_ref(&in[0], C),
           row_ref(&in[1], C), N, C, at->beta);
    return launched("geglu_bwd", err);
}
