/* kernels/cuda/pool.cu: a block averages 32 channels of a picture, 8 pixels at a time; lanes add in order. */
#include "kernels/pool.h"

#include "kernels/cuda/cuda_private.cuh"

enum { LANES = THREADS / WARP };

struct sizes {
    int64_t I, P, C; /* pictures, pixels of each, channels */
};
static struct sizes sizes_of(const struct view *x, const struct view *y)
{
    struct sizes z = { view_rows(y), 0, view_last(y) };
    z.P = z.I * z.C > 0 ? view_count(x) / (z.I * z.C) : 0;
    return z;
}
static bool sizes_fit(const struct sizes *z, const struct view *x, const struct view *y)
{
    return view_last(x) == z->C && view_float(x, z->I * z->P * z->C) &&
           view_float(y, z->I * z->C) && (z->P > 0 || view_count(x) == 0);
}

/* Sum of a picture's mask in every thread; the number of pixels without one. */
__device__ static double weight_of(const float *mask, const struct sizes z, int64_t i, double *room)
{
    double sum = 0.0;
    if (!mask)
        return (double)z.P;
    for (int64_t p = threadIdx.x; p < z.P; p += blockDim.x)
        sum += (double)mask[i * z.P + p];
    return block_sum(sum, room) + 1e-8;
}

static __global__ void pool_fwd(struct ref y, struct ref x, const float *mask, const struct sizes z)
{
    __shared__ double room[BLOCK_WARPS_MAX], lanes[LANES][WARP];
    const int tx = (int)threadIdx.x % WARP, ty = (int)threadIdx.x / WARP;
    const int64_t tiles = (z.C + WARP - 1) / WARP;
    for (int64_t t = blockIdx.x; t < z.I * tiles; t += gridDim.x) {
        const int64_t i = t / tiles, c = t % tiles * WARP + tx;
        const double weight = weight_of(mask, z, i, room);
        double sum = 0.0;
        for (int64_t p = ty; p < z.P && c < z.C; p += LANES)
            sum += (mask ? (double)mask[i * z.P + p] : 1.0) *
                   (double)ref_get(x, (i * z.P + p) * z.C + c);
        lanes[ty][tx] = sum;
        __syncthreads();
        for (int r = 1; r < LANES && ty == 0; r++)
            sum += lanes[r][tx];
        if (ty == 0 && c < z.C)
            ref_put(y, i * z.C + c, (float)(sum / weight));
        __syncthreads();
    }
}

/* A block goes over a picture. */
static __global__ void pool_bwd(struct ref dx, struct ref dy, const float *mask,
                                const struct sizes z, float beta)
{
    __shared__ double room[BLOCK_WARPS_MAX];
    for (int64_t i = blockIdx.x; i < z.I; i += gridDim.x) {
        const double weight = weight_of(mask, z, i, room);
        for (int64_t j = threadIdx.x; j < z.P * z.C; j += blockDim.x) {
            const int64_t p = j / z.C, c = j % z.C;
            const float m = (float)((mask ? (double)mask[i * z.P + p] : 1.0) / weight);
            ref_blend(dx, i * z.P * z.C + j, ref_get(dy, i * z.C + c) * m, beta);
        }
    }
}

static enum status forward(struct kctx *k, const char *op, const struct sizes *z,
                           const struct view *out, const struct view *in, const float *mask,
                           struct error *err)
{
    LAUNCH(k, pool_fwd, blocks_for(z->I * ((z->C + WARP - 1) / WARP), 1), THREADS, 0,
           ref_of(&out[0]), ref_of(&in[0]), mask, *z);
    return launched(op, err);
}
static enum status backward(struct kctx *k, const char *op, const struct sizes *z,
                            const struct view *out, const struct view *in, const float *mask,
                            const void *attrs, struct error *err)
{
    const struct pool_attrs *at = (const struct pool_attrs *)attrs;
    LAUNCH(k, pool_bwd, blocks_for(z->I, 1), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]), mask, *z,
           at->beta);
    return launched(op, err);
}

enum status pool_mean_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct sizes z = sizes_of(&in[0], &out[0]);
    (void)attrs;
    if (!sizes_fit(&z, &in[0], &out[0]))
        return check_refuse("pool_mean", out, 1, in, 1, err);
    return forward(k, "pool_mean", &z, out, in, NULL, err);
}
enum status pool_mean_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct sizes z = sizes_of(&out[0], &in[0]);
    if (!sizes_fit(&z, &out[0], &in[0]))
        return check_refuse("pool_mean_bwd", out, 1, in, 1, err);
    return backward(k, "pool_mean_bwd", &z, out, in, NULL, attrs, err);
}
enum status pool_mask_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct sizes z = sizes_of(&in[0], &out[0]);
    (void)attrs;
    if (!sizes_fit(&z, &in[0], &out[0]) || !view_f32(&in[1], z.I * z.P))
        return check_refuse("pool_mask", out, 1, in, 2, err);
    return forward(k, "pool_mask", &z, out, in, (const float *)in[1].data, err);
}
enum status pool_mask_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct sizes z = sizes_of(&out[0], &in[0]);
    if (!sizes_fit(&z, &out[0], &in[0]) || !view_f32(&in[1], z.I * z.P))
        return check_refuse("pool_mask_bwd", out, 1, in, 2, err);
    return backward(k, "pool_mask_bwd", &z, out, in, (const float *)in[1].data, attrs, err);
}
