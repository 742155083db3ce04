/* kernels/cuda/copy.cu: fill, cast, concat, split as copies of rows, transpose by tiles in shared memory. */
#include "kernels/copy.h"

#include "kernels/cuda/cuda_private.cuh"

static __global__ void fill(struct ref y, int64_t n, float value)
{
    float v[GROUP];
    for (int j = 0; j < GROUP; j++)
        v[j] = value;
    FOR_GROUPS(i, n)
    {
        put8(y, i, n, v);
    }
}

enum status fill_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct fill_attrs *at = (const struct fill_attrs *)attrs;
    const int64_t n = view_count(&out[0]);
    if (!view_float(&out[0], n))
        return check_refuse("fill", out, 1, in, 0, err);
    LAUNCH(k, fill, group_blocks(n), THREADS, 0, ref_of(&out[0]), n, at->value);
    return launched("fill", err);
}

static __global__ void cast_float(struct ref y, struct ref x, int64_t n, float scale)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP];
        get8(v, x, i, n);
        for (int j = 0; j < GROUP; j++)
            v[j] *= scale;
        put8(y, i, n, v);
    }
}

static __global__ void cast_whole(struct ref y, const void *x, enum dtype from, int64_t n,
                                  float scale)
{
    FOR_ITEMS(i, n)
    {
        const float v =
            from == DT_I32 ? (float)((const int32_t *)x)[i] : (float)((const uint8_t *)x)[i];
        ref_put(y, i, scale * v);
    }
}

enum status cast_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct cast_attrs *at = (const struct cast_attrs *)attrs;
    const int64_t n = view_count(&out[0]);
    const enum dtype from = in[0].type;
    if (!view_float(&out[0], n) || !view_is(&in[0], from, n) ||
        (from != DT_F32 && from != DT_BF16 && from != DT_I32 && from != DT_U8))
        return check_refuse("cast", out, 1, in, 1, err);
    if (from == DT_F32 || from == DT_BF16)
        LAUNCH(k, cast_float, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]), n,
               at->scale);
    else
        LAUNCH(k, cast_whole, blocks_for(n, THREADS), THREADS, 0, ref_of(&out[0]), in[0].data, from,
               n, at->scale);
    return launched("cast", err);
}

/* `rows` runs of `width` elements: to[r step_to + j] = from[r step_from + j]. */
static __global__ void copy_rows(struct ref to, int64_t step_to, struct ref from, int64_t step_from,
                                 int64_t rows, int64_t width, float beta)
{
    const int64_t groups = (width + GROUP - 1) / GROUP;
    FOR_ITEMS(t, rows * groups)
    {
        const int64_t r = t / groups, j = t % groups * GROUP;
        float v[GROUP];
        get8(v, from, r * step_from + j, r * step_from + width);
        blend8(to, r * step_to + j, r * step_to + width, v, beta);
    }
}

/* A view from element `at` on. */
static struct ref ref_from(const struct view *v, int64_t at)
{
    struct view moved = *v;
    moved.data = (char *)v->data + at * (int64_t)dtype_size(v->type);
    return ref_of(&moved);
}

static void copy_part(struct kctx *k, struct ref to, int64_t step_to, struct ref from,
                      int64_t step_from, int64_t rows, int64_t width, float beta)
{
    const int64_t groups = (width + GROUP - 1) / GROUP;
    const int aligned = step_to % GROUP == 0 && step_from % GROUP == 0;
    to.wide = to.wide && aligned;
    from.wide = from.wide && aligned;
    LAUNCH(k, copy_rows, blocks_for(rows * groups, THREADS), THREADS, 0, to, step_to, from,
           step_from, rows, width, beta);
}

/* A tensor as [outer, axis, inner]. */
struct axes {
    int64_t outer, axis, inner;
};
static struct axes axes_of(const struct view *v, int axis)
{
    struct axes a = { 1, v->shape[axis], 1 };
    for (int i = 0; i < axis; i++)
        a.outer *= v->shape[i];
    for (int i = axis + 1; i < v->rank; i++)
        a.inner *= v->shape[i];
    return a;
}
static bool part_of(const struct view *part, const struct view *whole, const struct axes *a,
                    int axis, int64_t *length)
{
    if (view_left_out(part))
        return true;
    if (part->rank != whole->rank)
        return false;
    *length = part->shape[axis];
    return *length <= a->axis && view_float(part, a->outer * *length * a->inner);
}

enum status concat_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct concat_attrs *at = (const struct concat_attrs *)attrs;
    const struct view *z = &out[0];
    int64_t X = 0, Y = 0;
    if (at->axis < 0 || at->axis >= z->rank)
        return check_refuse("concat", out, 1, in, 2, err);
    const struct axes a = axes_of(z, at->axis);
    if (!part_of(&in[0], z, &a, at->axis, &X) || !part_of(&in[1], z, &a, at->axis, &Y) ||
        X + Y != a.axis || !view_float(z, a.outer * a.axis * a.inner))
        return check_refuse("concat", out, 1, in, 2, err);
    const int64_t step = a.axis * a.inner;
    if (X > 0)
        copy_part(k, ref_of(z), step, ref_of(&in[0]), X * a.inner, a.outer, X * a.inner, 0.0f);
    if (Y > 0)
        copy_part(k, ref_from(z, X * a.inner), step, ref_of(&in[1]), Y * a.inner, a.outer,
                  Y * a.inner, 0.0f);
    return launched("concat", err);
}

enum status split_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct concat_attrs *at = (const struct concat_attrs *)attrs;
    const struct view *z = &in[0];
    int64_t X = -1, Y = -1;
    if (at->axis < 0 || at->axis >= z->rank || (view_left_out(&out[0]) && view_left_out(&out[1])))
        return check_refuse("split", out, 2, in, 1, err);
    const struct axes a = axes_of(z, at->axis);
    if (!part_of(&out[0], z, &a, at->axis, &X) || !part_of(&out[1], z, &a, at->axis, &Y) ||
        !view_float(z, a.outer * a.axis * a.inner))
        return check_refuse("split", out, 2, in, 1, err);
    X = X < 0 ? a.axis - Y : X;
    Y = Y < 0 ? a.axis - X : Y;
    if (X + Y != a.axis)
        return check_refuse("split", out, 2, in, 1, err);
    const int64_t step = a.axis * a.inner;
    if (out[0].data && X > 0)
        copy_part(k, ref_of(&out[0]), X * a.inner, ref_of(z), step, a.outer, X * a.inner,
                  at->beta_dx);
    if (out[1].data && Y > 0)
        copy_part(k, ref_of(&out[1]), Y * a.inner, ref_from(z, X * a.inner), step, a.outer,
                  Y * a.inner, at->beta_dy);
    return launched("split", err);
}

enum { TILE = 32, TILE_ROWS = THREADS / TILE };

static __global__ void transpose(struct ref y, struct ref x, int64_t I, int64_t A, int64_t B,
                                 float beta)
{
    __shared__ float room[TILE][TILE + 1];
    const int tx = (int)threadIdx.x % TILE, ty = (int)threadIdx.x / TILE;
    const int64_t across = (B + TILE - 1) / TILE, down = (A + TILE - 1) / TILE;
    for (int64_t t = blockIdx.x; t < I * across * down; t += gridDim.x) {
        const int64_t i = t / (across * down), a0 = t / across % down * TILE,
                      b0 = t % across * TILE;
        for (int r = ty; r < TILE; r += TILE_ROWS)
            if (a0 + r < A && b0 + tx < B)
                room[r][tx] = ref_get(x, (i * A + a0 + r) * B + b0 + tx);
        __syncthreads();
        for (int r = ty; r < TILE; r += TILE_ROWS)
            if (b0 + r < B && a0 + tx < A)
                ref_blend(y, (i * B + b0 + r) * A + a0 + tx, room[tx][r], beta);
        __syncthreads();
    }
}

enum status transpose_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct transpose_attrs *at = (const struct transpose_attrs *)attrs;
    const int64_t n = view_count(&in[0]);
    if (in[0].rank != 3 || out[0].rank != 3 || in[0].shape[0] != out[0].shape[0] ||
        in[0].shape[1] != out[0].shape[2] || in[0].shape[2] != out[0].shape[1] ||
        !view_float(&in[0], n) || !view_float(&out[0], n))
        return check_refuse("transpose", out, 1, in, 1, err);
    const int64_t I = in[0].shape[0], A = in[0].shape[1], B = in[0].shape[2];
    const int64_t tiles = ((A + TILE - 1) / TILE) * ((B + TILE - 1) / TILE);
    LAUNCH(k, transpose, blocks_for(I * tiles, 1), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]), I,
           A, B, at->beta);
    return launched("transpose", err);
}
