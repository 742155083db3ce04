/* kernels/cuda/resize.cu: weights computed per target cell; doubling and its gradient in groups of 8. */
#include "kernels/resize.h"

#include "kernels/cuda/cuda_private.cuh"

/* The four taps of target cell `i`: clamped source indices and weights (Keys, a = -0.75). */
struct cubic {
    int64_t at[4];
    double weight[4];
};
__device__ static struct cubic cubic_at(int64_t i, int64_t from, int64_t to)
{
    const double a = -0.75;
    const double source = ((double)i + 0.5) * (double)from / (double)to - 0.5;
    const double base = floor(source), t = source - base;
    struct cubic q;
    for (int j = 0; j < 4; j++) {
        const double d = fabs((double)(j - 1) - t);
        const int64_t at = (int64_t)base + j - 1;
        q.weight[j] = d <= 1.0 ? ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
                               : ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
        q.at[j] = at < 0 ? 0 : at > from - 1 ? from - 1 : at;
    }
    return q;
}

struct table_size {
    int64_t h, w, H, W, C; /* source, target */
};
static __global__ void resize_cubic(struct ref y, struct ref x, const struct table_size z)
{
    FOR_ITEMS(t, z.H * z.W * z.C)
    {
        const int64_t n = t / z.C, c = t % z.C;
        const struct cubic rows = cubic_at(n / z.W, z.h, z.H), cols = cubic_at(n % z.W, z.w, z.W);
        double sum = 0.0;
        for (int j = 0; j < 16; j++)
            sum += rows.weight[j / 4] * cols.weight[j % 4] *
                   (double)ref_get(x, (rows.at[j / 4] * z.w + cols.at[j % 4]) * z.C + c);
        ref_put(y, t, (float)sum);
    }
}

enum status resize_bicubic_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                    const void *attrs, struct error *err)
{
    (void)attrs;
    if (in[0].rank != 3 || out[0].rank != 3 || in[0].shape[2] != out[0].shape[2] ||
        in[0].shape[0] < 1 || in[0].shape[1] < 1 || !view_float(&in[0], view_count(&in[0])) ||
        !view_float(&out[0], view_count(&out[0])))
        return check_refuse("resize_bicubic", out, 1, in, 1, err);
    const struct table_size z = { in[0].shape[0], in[0].shape[1], out[0].shape[0], out[0].shape[1],
                                  in[0].shape[2] };
    LAUNCH(k, resize_cubic, blocks_for(z.H * z.W * z.C, THREADS), THREADS, 0, ref_of(&out[0]),
           ref_of(&in[0]), z);
    return launched("resize_bicubic", err);
}

/* The two taps of target cell `i`, rounded after each operation like the reference: whether a weight is exactly
 * 0 decides whether a mask touches the cell. */
struct linear {
    int64_t at, next;
    float weight, next_weight;
};
__device__ static struct linear linear_at(int64_t i, int64_t from, int64_t to)
{
    const float ratio = __fdiv_rn((float)from, (float)to);
    const float source = fmaxf(__fsub_rn(__fmul_rn(ratio, __fadd_rn((float)i, 0.5f)), 0.5f), 0.0f);
    struct linear l;
    l.at = (int64_t)source;
    l.at = l.at > from - 1 ? from - 1 : l.at;
    l.next = l.at + 1 > from - 1 ? from - 1 : l.at + 1;
    l.next_weight = __fsub_rn(source, (float)l.at);
    l.weight = __fsub_rn(1.0f, l.next_weight);
    return l;
}
__device__ static inline float mix(float a, float u, float b, float v)
{
    return __fadd_rn(__fmul_rn(a, u), __fmul_rn(b, v));
}

struct mask_size {
    int64_t I, h, w, H, W;
};
static __global__ void resize_linear(float *y, const float *x, const struct mask_size z,
                                     int binarise)
{
    FOR_ITEMS(n, z.I * z.H * z.W)
    {
        const struct linear r = linear_at(n / z.W % z.H, z.h, z.H),
                            c = linear_at(n % z.W, z.w, z.W);
        const float *top = x + (n / (z.H * z.W) * z.h + r.at) * z.w;
        const float *low = x + (n / (z.H * z.W) * z.h + r.next) * z.w;
        const float v = mix(r.weight, mix(c.weight, top[c.at], c.next_weight, top[c.next]),
                            r.next_weight, mix(c.weight, low[c.at], c.next_weight, low[c.next]));
        y[n] = binarise ? (v > 0.0f ? 1.0f : 0.0f) : v;
    }
}

enum status resize_bilinear_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                     const void *attrs, struct error *err)
{
    const struct resize_bilinear_attrs *at = (const struct resize_bilinear_attrs *)attrs;
    if (in[0].rank != 3 || out[0].rank != 3 || in[0].shape[0] != out[0].shape[0] ||
        in[0].shape[1] < 1 || in[0].shape[2] < 1 || !view_f32(&in[0], view_count(&in[0])) ||
        !view_f32(&out[0], view_count(&out[0])))
        return check_refuse("resize_bilinear", out, 1, in, 1, err);
    const struct mask_size z = { in[0].shape[0], in[0].shape[1], in[0].shape[2], out[0].shape[1],
                                 out[0].shape[2] };
    LAUNCH(k, resize_linear, blocks_for(z.I * z.H * z.W, THREADS), THREADS, 0, (float *)out[0].data,
           (const float *)in[0].data, z, at->binarise);
    return launched("resize_bilinear", err);
}

static bool doubled(const struct view *small, const struct view *large)
{
    return small->rank == 4 && large->rank == 4 && large->shape[0] == small->shape[0] &&
           large->shape[1] == 2 * small->shape[1] && large->shape[2] == 2 * small->shape[2] &&
           large->shape[3] == small->shape[3] && view_float(small, view_count(small)) &&
           view_float(large, view_count(large));
}

/* rows: I 2H of the target; two of them have one source. */
static __global__ void double_up(struct ref y, struct ref x, int64_t rows, int64_t W, int64_t C)
{
    const int64_t groups = (C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, rows * 2 * W * groups)
    {
        const int64_t c = t % groups * GROUP, v = t / groups % (2 * W), n = t / groups / (2 * W);
        const int64_t from = n / 2 * W + v / 2, to = n * 2 * W + v;
        float a[GROUP];
        get8(a, x, from * C + c, (from + 1) * C);
        put8(y, to * C + c, (to + 1) * C, a);
    }
}

/* rows: I H of dx. */
static __global__ void double_up_bwd(struct ref dx, struct ref dy, int64_t rows, int64_t W,
                                     int64_t C, float beta)
{
    const int64_t groups = (C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, rows * W * groups)
    {
        const int64_t c = t % groups * GROUP, v = t / groups % W, n = t / groups / W;
        float sum[GROUP] = { 0.0f }, a[GROUP];
        for (int corner = 0; corner < 4; corner++) {
            const int64_t from = (2 * n + corner / 2) * 2 * W + 2 * v + corner % 2;
            get8(a, dy, from * C + c, (from + 1) * C);
            for (int j = 0; j < GROUP; j++)
                sum[j] += a[j];
        }
        blend8(dx, (n * W + v) * C + c, (n * W + v + 1) * C, sum, beta);
    }
}

enum status upsample2_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    (void)attrs;
    if (!doubled(&in[0], &out[0]))
        return check_refuse("upsample2", out, 1, in, 1, err);
    const int64_t rows = in[0].shape[0] * 2 * in[0].shape[1], W = in[0].shape[2],
                  C = in[0].shape[3];
    LAUNCH(k, double_up, group_blocks(view_count(&out[0])), THREADS, 0, row_ref(&out[0], C),
           row_ref(&in[0], C), rows, W, C);
    return launched("upsample2", err);
}

enum status upsample2_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct upsample2_attrs *at = (const struct upsample2_attrs *)attrs;
    if (!doubled(&out[0], &in[0]))
        return check_refuse("upsample2_bwd", out, 1, in, 1, err);
    const int64_t rows = out[0].shape[0] * out[0].shape[1], W = out[0].shape[2],
                  C = out[0].shape[3];
    LAUNCH(k, double_up_bwd, group_blocks(view_count(&out[0])), THREADS, 0, row_ref(&out[0], C),
           row_ref(&in[0], C), rows, W, C, at->beta);
    return launched("upsample2_bwd", err);
}
