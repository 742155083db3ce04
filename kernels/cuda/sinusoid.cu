/* kernels/cuda/sinusoid.cu: tables of sines and cosines. Powers and exponentials are taken in double and rounded
 * once, which is what the host's float functions give. */
#include "kernels/sinusoid.h"

#include "kernels/cuda/cuda_private.cuh"

/* 10000^(-k / n) */
__device__ static inline float frequency(int64_t k, int64_t n)
{
    return 1.0f / (float)pow(10000.0, (double)((float)k / (float)n));
}

static __global__ void grid_table(struct ref y, int64_t H, int64_t W, int64_t Q)
{
    FOR_ITEMS(t, H * W * Q)
    {
        const int64_t n = t / Q, c = t % Q, cell = n * 4 * Q + c;
        const float w = frequency(c, Q), row = (float)(n / W) * w, col = (float)(n % W) * w;
        ref_put(y, cell, sinf(row));
        ref_put(y, cell + Q, cosf(row));
        ref_put(y, cell + 2 * Q, sinf(col));
        ref_put(y, cell + 3 * Q, cosf(col));
    }
}

enum status sinusoid_grid_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    (void)attrs;
    if (out[0].rank != 3 || out[0].shape[2] % 4 != 0 || !view_float(&out[0], view_count(&out[0])))
        return check_refuse("sinusoid_grid", out, 1, in, 0, err);
    const int64_t H = out[0].shape[0], W = out[0].shape[1], Q = out[0].shape[2] / 4;
    LAUNCH(k, grid_table, blocks_for(H * W * Q, THREADS), THREADS, 0, ref_of(&out[0]), H, W, Q);
    return launched("sinusoid_grid", err);
}

/* half: C / 2. `steps` NULL: row n stands for n, sines first; else cosines of steps[n] first. */
static __global__ void row_table(struct ref y, const int32_t *steps, int64_t N, int64_t half)
{
    FOR_ITEMS(t, N * half)
    {
        const int64_t n = t / half, c = t % half, cell = n * 2 * half + c;
        if (steps) {
            /* the reference takes exp of a product here */
            const float f = (float)exp((double)(-(float)log(10000.0) * (float)c / (float)half));
            const float angle = (float)steps[n] * f;
            ref_put(y, cell, cosf(angle));
            ref_put(y, cell + half, sinf(angle));
        } else {
            const float angle = (float)n * frequency(c, half);
            ref_put(y, cell, sinf(angle));
            ref_put(y, cell + half, cosf(angle));
        }
    }
}

static enum status rows_launch(struct kctx *k, const char *op, const struct view *out,
                               const int32_t *steps, struct error *err)
{
    const int64_t N = view_rows(&out[0]), half = view_last(&out[0]) / 2;
    LAUNCH(k, row_table, blocks_for(N * half, THREADS), THREADS, 0, ref_of(&out[0]), steps, N,
           half);
    return launched(op, err);
}

enum status sinusoid_row_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                  const void *attrs, struct error *err)
{
    (void)attrs;
    if (view_last(&out[0]) % 2 != 0 || !view_float(&out[0], view_count(&out[0])))
        return check_refuse("sinusoid_row", out, 1, in, 0, err);
    return rows_launch(k, "sinusoid_row", out, NULL, err);
}

enum status sinusoid_time_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    (void)attrs;
    if (view_last(&out[0]) % 2 != 0 || !view_float(&out[0], view_count(&out[0])) ||
        !view_is(&in[0], DT_I32, view_rows(&out[0])))
        return check_refuse("sinusoid_time", out, 1, in, 1, err);
    return rows_launch(k, "sinusoid_time", out, (const int32_t *)in[0].data, err);
}
