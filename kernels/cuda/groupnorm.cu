/* kernels/cuda/groupnorm.cu: a block to a picture and group, silu fused. The group's second and third reading
 * come from the cache: a picture of the UNet is a few MB. */
#include "kernels/groupnorm.h"

#include "kernels/cuda/cuda_private.cuh"

enum { GROUP_THREADS = 512 };

/* A group is `width` neighbouring channels of all P pixels of a picture. */
struct sizes {
    int64_t I, P, C, groups, width;
};
static struct sizes sizes_of(const struct view *x, int groups)
{
    struct sizes z = { x->rank > 1 ? x->shape[0] : 1, 1, view_last(x), groups, 0 };
    for (int i = 1; i + 1 < x->rank; i++)
        z.P *= x->shape[i];
    if (groups > 0 && z.C % groups == 0)
        z.width = z.C / groups;
    return z;
}

/* Element t of group g of picture i: where it lies, and its channel. */
struct place {
    int64_t at, channel;
};
__device__ static inline struct place place_of(const struct sizes z, int64_t i, int64_t g,
                                               int64_t t)
{
    const int64_t channel = g * z.width + t % z.width;
    const struct place p = { (i * z.P + t / z.width) * z.C + channel, channel };
    return p;
}

static __global__ void group_fwd(struct ref y, float *means, float *rstds, struct ref x,
                                 struct ref w, struct ref b, const struct sizes z, float eps,
                                 int silu)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    const int64_t n = z.P * z.width;
    for (int64_t job = blockIdx.x; job < z.I * z.groups; job += gridDim.x) {
        const int64_t i = job / z.groups, g = job % z.groups;
        float sum = 0.0f, squares = 0.0f;
        for (int64_t t = threadIdx.x; t < n; t += blockDim.x)
            sum += ref_get(x, place_of(z, i, g, t).at);
        const float mean = block_sum(sum, room) / (float)n;
        for (int64_t t = threadIdx.x; t < n; t += blockDim.x) {
            const float d = ref_get(x, place_of(z, i, g, t).at) - mean;
            squares += d * d;
        }
        const float rstd = 1.0f / sqrtf(block_sum(squares, room) / (float)n + eps);
        for (int64_t t = threadIdx.x; t < n; t += blockDim.x) {
            const struct place p = place_of(z, i, g, t);
            const float u =
                (ref_get(x, p.at) - mean) * rstd * ref_get(w, p.channel) + ref_get(b, p.channel);
            ref_put(y, p.at, silu ? u / (1.0f + expf(-u)) : u);
        }
        if (threadIdx.x == 0 && means)
            means[job] = mean;
        if (threadIdx.x == 0 && rstds)
            rstds[job] = rstd;
    }
}

enum status groupnorm_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct groupnorm_attrs *at = (const struct groupnorm_attrs *)attrs;
    const struct sizes z = sizes_of(&in[0], at->groups);
    const int64_t n = z.I * z.P * z.C;
    if (z.width < 1 || !(at->eps > 0.0f) || !view_float(&out[0], n) || !view_float(&in[0], n) ||
        !view_maybe_f32(&out[1], z.I * z.groups) || !view_maybe_f32(&out[2], z.I * z.groups) ||
        !view_float(&in[1], z.C) || !view_float(&in[2], z.C))
        return check_refuse("groupnorm", out, 3, in, 3, err);
    LAUNCH(k, group_fwd, blocks_for(z.I * z.groups, 1), GROUP_THREADS, 0, ref_of(&out[0]),
           (float *)out[1].data, (float *)out[2].data, ref_of(&in[0]), ref_of(&in[1]),
           ref_of(&in[2]), z, at->eps, at->silu);
    return launched("groupnorm", err);
}

struct bwd_call {
    struct sizes z;
    struct ref dx, dw, db, dy, x, w, b;
    const float *mean, *rstd;
    int silu;
    float beta_dx, beta_dw, beta_db;
};

/* xhat of an element and the gradient at u = xhat w + b, the input of silu. */
__device__ static inline float at_norm(float *xhat, const struct bwd_call c, int64_t job,
                                       struct place p)
{
    const float dy = ref_get(c.dy, p.at);
    *xhat = (ref_get(c.x, p.at) - c.mean[job]) * c.rstd[job];
    if (!c.silu)
        return dy;
    const float u = *xhat * ref_get(c.w, p.channel) + ref_get(c.b, p.channel);
    const float s = 1.0f / (1.0f + expf(-u));
    return dy * s * (1.0f + u * (1.0f - s));
}

static __global__ void group_bwd(const struct bwd_call c)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    const int64_t n = c.z.P * c.z.width;
    for (int64_t job = blockIdx.x; job < c.z.I * c.z.groups; job += gridDim.x) {
        const int64_t i = job / c.z.groups, g = job % c.z.groups;
        float xhat, sum = 0.0f, dot = 0.0f;
        for (int64_t t = threadIdx.x; t < n; t += blockDim.x) {
            const struct place p = place_of(c.z, i, g, t);
            const float d = at_norm(&xhat, c, job, p) * ref_get(c.w, p.channel);
            sum += d;
            dot += d * xhat;
        }
        sum = block_sum(sum, room) / (float)n;
        dot = block_sum(dot, room) / (float)n;
        for (int64_t t = threadIdx.x; t < n; t += blockDim.x) {
            const struct place p = place_of(c.z, i, g, t);
            const float d = at_norm(&xhat, c, job, p) * ref_get(c.w, p.channel);
            ref_blend(c.dx, p.at, c.rstd[job] * (d - sum - xhat * dot), c.beta_dx);
        }
    }
}

/* dw and db: a block to a channel, pictures and pixels in a fixed order. */
static __global__ void channel_bwd(const struct bwd_call c)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    for (int64_t channel = blockIdx.x; channel < c.z.C; channel += gridDim.x) {
        float dw = 0.0f, db = 0.0f;
        for (int64_t t = threadIdx.x; t < c.z.I * c.z.P; t += blockDim.x) {
            const struct place p = { t * c.z.C + channel, channel };
            float xhat;
            const float g = at_norm(&xhat, c, t / c.z.P * c.z.groups + channel / c.z.width, p);
            dw += g * xhat;
            db += g;
        }
        dw = block_sum(dw, room);
        db = block_sum(db, room);
        if (threadIdx.x == 0 && c.dw.data)
            ref_blend(c.dw, channel, dw, c.beta_dw);
        if (threadIdx.x == 0 && c.db.data)
            ref_blend(c.db, channel, db, c.beta_db);
    }
}

enum status groupnorm_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct groupnorm_attrs *at = (const struct groupnorm_attrs *)attrs;
    struct bwd_call c;
    c.z = sizes_of(&in[1], at->groups);
    const int64_t n = c.z.I * c.z.P * c.z.C, stats = c.z.I * c.z.groups;
    if (c.z.width < 1 || !view_maybe_float(&out[0], n) || !view_maybe_float(&out[1], c.z.C) ||
        !view_maybe_float(&out[2], c.z.C) || !view_float(&in[0], n) || !view_float(&in[1], n) ||
        !view_float(&in[2], c.z.C) || !view_float(&in[3], c.z.C) || !view_f32(&in[4], stats) ||
        !view_f32(&in[5], stats))
        return check_refuse("groupnorm_bwd", out, 3, in, 6, err);
    c.dx = ref_of(&out[0]);
    c.dw = ref_of(&out[1]);
    c.db = ref_of(&out[2]);
    c.dy = ref_of(&in[0]);
    c.x = ref_of(&in[1]);
    c.w = ref_of(&in[2]);
    c.b = ref_of(&in[3]);
    c.mean = (const float *)in[4].data;
    c.rstd = (const float *)in[5].data;
    c.silu = at->silu;
    c.beta_dx = at->beta_dx;
    c.beta_dw = at->beta_dw;
    c.beta_db = at->beta_db;
    /* the vectors first: dx may take the place of dy */
    if (out[1].data || out[2].data)
        LAUNCH(k, channel_bwd, blocks_for(c.z.C, 1), THREADS, 0, c);
    if (out[0].data)
        LAUNCH(k, group_bwd, blocks_for(stats, 1), GROUP_THREADS, 0, c);
    return launched("groupnorm_bwd", err);
}
