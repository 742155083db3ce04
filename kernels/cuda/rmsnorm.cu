/* kernels/cuda/rmsnorm.cu: a block to a row, as many warps as the row has groups for; the row's second reading
 * comes from the cache. */
#include "kernels/rmsnorm.h"

#include "kernels/cuda/sums_private.cuh"

static __global__ void normalise(struct ref y, float *rstd, struct ref x, struct ref w, int64_t N,
                                 int64_t C, float eps)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    for (int64_t n = blockIdx.x; n < N; n += gridDim.x) {
        float v[GROUP], u[GROUP], squares = 0.0f;
        FOR_ROW(c, C)
        {
            get8(v, x, n * C + c, (n + 1) * C);
            for (int j = 0; j < GROUP; j++)
                squares += v[j] * v[j];
        }
        const float r = 1.0f / sqrtf(block_sum(squares, room) / (float)C + eps);
        FOR_ROW(c, C)
        {
            get8(v, x, n * C + c, (n + 1) * C);
            for (int j = 0; j < GROUP; j++)
                v[j] *= r;
            if (w.data) {
                get8(u, w, c, C);
                for (int j = 0; j < GROUP; j++)
                    v[j] *= u[j];
            }
            put8(y, n * C + c, (n + 1) * C, v);
        }
        if (threadIdx.x == 0 && rstd)
            rstd[n] = r;
    }
}

enum status rmsnorm_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                             const void *attrs, struct error *err)
{
    const struct rmsnorm_attrs *at = (const struct rmsnorm_attrs *)attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    if (C < 1 || !(at->eps > 0.0f) || !view_float(&out[0], N * C) || !view_float(&in[0], N * C) ||
        !view_maybe_f32(&out[1], N) || !view_maybe_float(&in[1], C))
        return check_refuse("rmsnorm", out, 2, in, 2, err);
    LAUNCH(k, normalise, blocks_for(N, 1), row_threads(C), 0, row_ref(&out[0], C),
           (float *)out[1].data, row_ref(&in[0], C), ref_of(&in[1]), N, C, at->eps);
    return launched("rmsnorm", err);
}

struct norm_bwd_call {
    int64_t N, C;
    struct ref dx, dy, x, w;
    const float *rstd;
    float beta;
};

/* g = dy w and u = x rstd of a group. */
__device__ static inline void bwd_group(float g[GROUP], float u[GROUP],
                                        const struct norm_bwd_call z, int64_t n, int64_t c)
{
    float w[GROUP];
    get8(g, z.dy, n * z.C + c, (n + 1) * z.C);
    get8(u, z.x, n * z.C + c, (n + 1) * z.C);
    for (int j = 0; j < GROUP; j++)
        u[j] *= z.rstd[n];
    if (!z.w.data)
        return;
    get8(w, z.w, c, z.C);
    for (int j = 0; j < GROUP; j++)
        g[j] *= w[j];
}

/* dx = rstd (g - u mean(g u)) */
static __global__ void normalise_bwd(const struct norm_bwd_call z)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    const int64_t C = z.C;
    for (int64_t n = blockIdx.x; n < z.N; n += gridDim.x) {
        float g[GROUP], u[GROUP], dot = 0.0f;
        FOR_ROW(c, C)
        {
            bwd_group(g, u, z, n, c);
            for (int j = 0; j < GROUP; j++)
                dot += g[j] * u[j];
        }
        const float slope = block_sum(dot, room) / (float)C;
        FOR_ROW(c, C)
        {
            bwd_group(g, u, z, n, c);
            for (int j = 0; j < GROUP; j++)
                g[j] = z.rstd[n] * (g[j] - u[j] * slope);
            blend8(z.dx, n * C + c, (n + 1) * C, g, z.beta);
        }
    }
}

enum status rmsnorm_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                             const void *attrs, struct error *err)
{
    const struct rmsnorm_attrs *at = (const struct rmsnorm_attrs *)attrs;
    const int64_t N = view_rows(&in[1]), C = view_last(&in[1]);
    struct column_sums s = {};
    struct norm_bwd_call z;
    if (C < 1 || !view_maybe_float(&out[0], N * C) || !view_maybe_float(&out[1], C) ||
        !view_float(&in[0], N * C) || !view_float(&in[1], N * C) || !view_maybe_float(&in[2], C) ||
        !view_f32(&in[3], N))
        return check_refuse("rmsnorm_bwd", out, 2, in, 4, err);
    s.I = 1;
    s.P = N;
    s.C = C;
    s.dy = ref_of(&in[0]);
    s.x = ref_of(&in[1]);
    s.term = TERM_XHAT;
    s.rstd = (const float *)in[3].data;
    s.product = ref_of(&out[1]);
    s.beta_product = at->beta_dw;
    /* the weight first: dx may take the place of dy */
    if (column_sums_run(k, &s, "rmsnorm_bwd", err) != ST_OK)
        return ST_FAIL;
    z.N = N;
    z.C = C;
    z.dx = row_ref(&out[0], C);
    z.dy = row_ref(&in[0], C);
    z.x = row_ref(&in[1], C);
    z.w = ref_of(&in[2]);
    z.rstd = s.rstd;
    z.beta = at->beta_dx;
    if (out[0].data)
        LAUNCH(k, normalise_bwd, blocks_for(N, 1), row_threads(C), 0, z);
    return launched("rmsnorm_bwd", err);
}
