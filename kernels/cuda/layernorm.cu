/* kernels/cuda/layernorm.cu: a block to a row, as many warps as the row has groups for; the row's second and
 * third reading come from the cache. */
#include "kernels/layernorm.h"

#include "kernels/cuda/sums_private.cuh"

struct norm_call {
    int64_t N, C;
    struct ref y, x, w, b;
    float *mean, *rstd;
    float eps;
};

static __global__ void normalise(const struct norm_call z)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    const int64_t C = z.C;
    for (int64_t n = blockIdx.x; n < z.N; n += gridDim.x) {
        const int64_t row = n * C, end = row + C;
        float v[GROUP], u[GROUP], sum = 0.0f, squares = 0.0f;
        FOR_ROW(c, C)
        {
            get8(v, z.x, row + c, end);
            for (int j = 0; j < GROUP; j++)
                sum += v[j];
        }
        const float mean = block_sum(sum, room) / (float)C;
        FOR_ROW(c, C)
        {
            get8(v, z.x, row + c, end);
            for (int j = 0; j < GROUP && c + j < C; j++)
                squares += (v[j] - mean) * (v[j] - mean);
        }
        const float rstd = 1.0f / sqrtf(block_sum(squares, room) / (float)C + z.eps);
        FOR_ROW(c, C)
        {
            get8(v, z.x, row + c, end);
            for (int j = 0; j < GROUP; j++)
                v[j] = (v[j] - mean) * rstd;
            if (z.w.data) {
                get8(u, z.w, c, C);
                for (int j = 0; j < GROUP; j++)
                    v[j] *= u[j];
            }
            if (z.b.data) {
                get8(u, z.b, c, C);
                for (int j = 0; j < GROUP; j++)
                    v[j] += u[j];
            }
            put8(z.y, row + c, end, v);
        }
        if (threadIdx.x == 0) {
            if (z.mean)
                z.mean[n] = mean;
            if (z.rstd)
                z.rstd[n] = rstd;
        }
    }
}

enum status layernorm_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct layernorm_attrs *at = (const struct layernorm_attrs *)attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    struct norm_call z;
    if (C < 1 || !(at->eps > 0.0f) || !view_float(&out[0], N * C) || !view_float(&in[0], N * C) ||
        !view_maybe_f32(&out[1], N) || !view_maybe_f32(&out[2], N) ||
        !view_maybe_float(&in[1], C) || !view_maybe_float(&in[2], C))
        return check_refuse("layernorm", out, 3, in, 3, err);
    z.N = N;
    z.C = C;
    z.y = row_ref(&out[0], C);
    z.x = row_ref(&in[0], C);
    z.w = ref_of(&in[1]);
    z.b = ref_of(&in[2]);
    z.mean = (float *)out[1].data;
    z.rstd = (float *)out[2].data;
    z.eps = at->eps;
    LAUNCH(k, normalise, blocks_for(N, 1), row_threads(C), 0, z);
    return launched("layernorm", err);
}

struct norm_bwd_call {
    int64_t N, C;
    struct ref dx, dy, x, w;
    const float *mean, *rstd;
    float beta;
};

/* g = dy w and xhat of a group. */
__device__ static inline void bwd_group(float g[GROUP], float xhat[GROUP],
                                        const struct norm_bwd_call z, int64_t n, int64_t c)
{
    const float mean = z.mean[n], rstd = z.rstd[n];
    float w[GROUP];
    get8(g, z.dy, n * z.C + c, (n + 1) * z.C);
    get8(xhat, z.x, n * z.C + c, (n + 1) * z.C);
    for (int j = 0; j < GROUP; j++)
        xhat[j] = (xhat[j] - mean) * rstd;
    if (!z.w.data)
        return;
    get8(w, z.w, c, z.C);
    for (int j = 0; j < GROUP; j++)
        g[j] *= w[j];
}

/* dx = rstd (g - mean(g) - xhat mean(g xhat)) */
static __global__ void normalise_bwd(const struct norm_bwd_call z)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    const int64_t C = z.C;
    for (int64_t n = blockIdx.x; n < z.N; n += gridDim.x) {
        float g[GROUP], xhat[GROUP], sum = 0.0f, dot = 0.0f;
        FOR_ROW(c, C)
        {
            bwd_group(g, xhat, z, n, c);
            for (int j = 0; j < GROUP && c + j < C; j++) {
                sum += g[j];
                dot += g[j] * xhat[j];
            }
        }
        const float mean = block_sum(sum, room) / (float)C;
        const float slope = block_sum(dot, room) / (float)C;
        FOR_ROW(c, C)
        {
            bwd_group(g, xhat, z, n, c);
            for (int j = 0; j < GROUP; j++)
                g[j] = z.rstd[n] * (g[j] - mean - xhat[j] * slope);
            blend8(z.dx, n * C + c, (n + 1) * C, g, z.beta);
        }
    }
}

enum status layernorm_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct layernorm_attrs *at = (const struct layernorm_attrs *)attrs;
    const int64_t N = view_rows(&in[1]), C = view_last(&in[1]);
    struct column_sums s = {};
    struct norm_bwd_call z;
    if (C < 1 || !view_maybe_float(&out[0], N * C) || !view_maybe_float(&out[1], C) ||
        !view_maybe_float(&out[2], C) || !view_float(&in[0], N * C) || !view_float(&in[1], N * C) ||
        !view_maybe_float(&in[2], C) || !view_f32(&in[3], N) || !view_f32(&in[4], N))
        return check_refuse("layernorm_bwd", out, 3, in, 5, err);
    s.I = 1;
    s.P = N;
    s.C = C;
    s.dy = ref_of(&in[0]);
    s.x = ref_of(&in[1]);
    s.term = TERM_XHAT;
    s.mean = (const float *)in[3].data;
    s.rstd = (const float *)in[4].data;
    s.product = ref_of(&out[1]);
    s.plain = ref_of(&out[2]);
    s.beta_product = at->beta_dw;
    s.beta_plain = at->beta_db;
    /* the vectors first: dx may take the place of dy */
    if (column_sums_run(k, &s, "layernorm_bwd", err) != ST_OK)
        return ST_FAIL;
    z.N = N;
    z.C = C;
    z.dx = row_ref(&out[0], C);
    z.dy = row_ref(&in[0], C);
    z.x = row_ref(&in[1], C);
    z.w = ref_of(&in[2]);
    z.mean = s.mean;
    z.rstd = s.rstd;
    z.beta = at->beta_dx;
    if (out[0].data)
        LAUNCH(k, normalise_bwd, blocks_for(N, 1), row_threads(C), 0, z);
    return launched("layernorm_bwd", err);
}
