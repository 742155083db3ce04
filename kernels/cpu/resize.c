/* kernels/cpu/resize.c: separable weights, computed per row and column of the target. */
#include "kernels/resize.h"

#include "kernels/cpu/cpu_private.h"

/* The four taps of target cell `i`: clamped source indices and weights (Keys, a = -0.75). */
struct cubic {
    int64_t at[4];
    double weight[4];
};

static struct cubic cubic_at(int64_t i, int64_t from, int64_t to)
{
    const double a = -0.75;
    const double source = ((double)i + 0.5) * (double)from / (double)to - 0.5;
    const double base = floor(source), t = source - base;
    struct cubic q;
    for (int j = 0; j < 4; j++) {
        const double d = fabs((double)(j - 1) - t); /* distance of the tap */
        q.weight[j] = d <= 1.0 ? ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
                               : ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a;
        q.at[j] = min_i64(max_i64((int64_t)base + j - 1, 0), from - 1);
    }
    return q;
}

enum status resize_bicubic_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;
    (void)attrs;

    if (in[0].rank != 3 || out[0].rank != 3 || in[0].shape[2] != out[0].shape[2] ||
        in[0].shape[0] < 1 || in[0].shape[1] < 1 || !view_f32(&in[0], view_count(&in[0])) ||
        !view_f32(&out[0], view_count(&out[0])))
        return check_refuse("resize_bicubic", out, 1, in, 1, err);
    const int64_t h = in[0].shape[0], w = in[0].shape[1], C = in[0].shape[2];
    const int64_t H = out[0].shape[0], W = out[0].shape[1];
#pragma omp parallel for schedule(static) if (H * W * C > PARALLEL_MIN)
    for (int64_t n = 0; n < H * W; n++) {
        const struct cubic rows = cubic_at(n / W, h, H), cols = cubic_at(n % W, w, W);
        for (int64_t c = 0; c < C; c++) {
            double sum = 0.0;
            for (int t = 0; t < 16; t++)
                sum += rows.weight[t / 4] * cols.weight[t % 4] *
                       (double)x[(rows.at[t / 4] * w + cols.at[t % 4]) * C + c];
            y[n * C + c] = (float)sum;
        }
    }
    return ST_OK;
}

/* The two taps of target cell `i`, in float32 like the reference: whether a weight is exactly 0 decides
 * whether a mask touches the cell. */
struct linear {
    int64_t at, next;
    float weight, next_weight;
};

static struct linear linear_at(int64_t i, int64_t from, int64_t to)
{
    const float ratio = (float)from / (float)to;
    const float source = fmaxf(ratio * ((float)i + 0.5f) - 0.5f, 0.0f);
    struct linear l;
    l.at = min_i64((int64_t)source, from - 1);
    l.next = min_i64(l.at + 1, from - 1);
    l.next_weight = source - (float)l.at;
    l.weight = 1.0f - l.next_weight;
    return l;
}

enum status resize_bilinear_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                    const void *attrs, struct error *err)
{
    const struct resize_bilinear_attrs *at = attrs;
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;

    if (in[0].rank != 3 || out[0].rank != 3 || in[0].shape[0] != out[0].shape[0] ||
        in[0].shape[1] < 1 || in[0].shape[2] < 1 || !view_f32(&in[0], view_count(&in[0])) ||
        !view_f32(&out[0], view_count(&out[0])))
        return check_refuse("resize_bilinear", out, 1, in, 1, err);
    const int64_t I = in[0].shape[0], h = in[0].shape[1], w = in[0].shape[2];
    const int64_t H = out[0].shape[1], W = out[0].shape[2];
#pragma omp parallel for schedule(static) if (I * H * W > PARALLEL_MIN)
    for (int64_t n = 0; n < I * H * W; n++) {
        const struct linear r = linear_at(n / W % H, h, H), c = linear_at(n % W, w, W);
        const float *top = x + (n / (H * W) * h + r.at) * w;
        const float *low = x + (n / (H * W) * h + r.next) * w;
        const float v = r.weight * (c.weight * top[c.at] + c.next_weight * top[c.next]) +
                        r.next_weight * (c.weight * low[c.at] + c.next_weight * low[c.next]);
        y[n] = at->binarise ? (v > 0.0f ? 1.0f : 0.0f) : v;
    }
    return ST_OK;
}

static bool doubled(const struct view *small, const struct view *large)
{
    return small->rank == 4 && large->rank == 4 && large->shape[0] == small->shape[0] &&
           large->shape[1] == 2 * small->shape[1] && large->shape[2] == 2 * small->shape[2] &&
           large->shape[3] == small->shape[3] && view_f32(small, view_count(small)) &&
           view_f32(large, view_count(large));
}

enum status upsample2_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;
    (void)attrs;

    if (!doubled(&in[0], &out[0]))
        return check_refuse("upsample2", out, 1, in, 1, err);
    const int64_t I = in[0].shape[0], H = in[0].shape[1], W = in[0].shape[2], C = in[0].shape[3];
#pragma omp parallel for schedule(static) if (I * H * W * C > PARALLEL_MIN)
    for (int64_t n = 0; n < I * 2 * H;
         n++) /* rows of the target; 2 H a picture, so n / 2 is the source */
        for (int64_t v = 0; v < 2 * W; v++)
            memcpy(y + (n * 2 * W + v) * C, x + (n / 2 * W + v / 2) * C, (size_t)C * sizeof *y);
    return ST_OK;
}

enum status upsample2_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct upsample2_attrs *at = attrs;
    float *dx = out[0].data;
    const float *dy = in[0].data;
    (void)k;

    if (!doubled(&out[0], &in[0]))
        return check_refuse("upsample2_bwd", out, 1, in, 1, err);
    const int64_t I = out[0].shape[0], H = out[0].shape[1], W = out[0].shape[2];
    const int64_t C = out[0].shape[3];
#pragma omp parallel for schedule(static) if (I * H * W * C > PARALLEL_MIN)
    for (int64_t n = 0; n < I * H * W; n++) {
        const float *a = dy + (n / W * 2 * 2 * W + n % W * 2) * C, *b = a + 2 * W * C;
        for (int64_t c = 0; c < C; c++)
            dx[n * C + c] = blend(a[c] + a[C + c] + b[c] + b[C + c], dx[n * C + c], at->beta);
    }
    return ST_OK;
}
