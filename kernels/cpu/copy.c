/* kernels/cpu/copy.c: fill, cast, concat, split, transpose. */
#include "kernels/copy.h"

#include "kernels/cpu/cpu_private.h"

enum status fill_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    const struct fill_attrs *at = attrs;
    const int64_t n = view_count(&out[0]);
    float *y = out[0].data;
    (void)k;

    if (!view_f32(&out[0], n))
        return check_refuse("fill", out, 1, in, 0, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++)
        y[i] = at->value;
    return ST_OK;
}

static float bf16_load(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
/* Nearest even; NaN stays NaN. */
static uint16_t bf16_store(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if (f != f)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static float element(const struct view *x, int64_t i)
{
    switch (x->type) {
    case DT_F32:
        return ((const float *)x->data)[i];
    case DT_BF16:
        return bf16_load(((const uint16_t *)x->data)[i]);
    case DT_I32:
        return (float)((const int32_t *)x->data)[i];
    case DT_U8:
        return (float)((const uint8_t *)x->data)[i];
    case DT_NONE:
    case DT_I64:
        break;
    }
    return 0.0f;
}

enum status cast_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    const struct cast_attrs *at = attrs;
    const int64_t n = view_count(&out[0]);
    const enum dtype from = in[0].type, to = out[0].type;
    (void)k;

    if ((to != DT_F32 && to != DT_BF16) || !view_is(&out[0], to, n) || !view_is(&in[0], from, n) ||
        (from != DT_F32 && from != DT_BF16 && from != DT_I32 && from != DT_U8))
        return check_refuse("cast", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        const float v = at->scale * element(&in[0], i);
        if (to == DT_F32)
            ((float *)out[0].data)[i] = v;
        else
            ((uint16_t *)out[0].data)[i] = bf16_store(v);
    }
    return ST_OK;
}

/* A tensor as [outer, axis, inner]. */
struct axes {
    int64_t outer, axis, inner;
};
static struct axes axes_of(const struct view *v, int axis)
{
    struct axes a = { 1, 1, 1 };
    for (int i = 0; i < v->rank; i++) {
        if (i < axis)
            a.outer *= v->shape[i];
        else if (i == axis)
            a.axis = v->shape[i];
        else
            a.inner *= v->shape[i];
    }
    return a;
}

enum status concat_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct concat_attrs *at = attrs;
    const struct axes z = axes_of(&out[0], at->axis), x = axes_of(&in[0], at->axis),
                      y = axes_of(&in[1], at->axis);
    const size_t x_run = (size_t)(x.axis * x.inner), y_run = (size_t)(y.axis * y.inner);
    float *zd = out[0].data;
    const float *xd = in[0].data, *yd = in[1].data;
    (void)k;

    if (at->axis < 0 || at->axis >= out[0].rank || in[0].rank != out[0].rank ||
        in[1].rank != out[0].rank || x.outer != z.outer || y.outer != z.outer ||
        x.inner != z.inner || y.inner != z.inner || z.axis != x.axis + y.axis ||
        !view_f32(&out[0], view_count(&out[0])) || !view_f32(&in[0], view_count(&in[0])) ||
        !view_f32(&in[1], view_count(&in[1])))
        return check_refuse("concat", out, 1, in, 2, err);
#pragma omp parallel for schedule(static) if (view_count(&out[0]) > PARALLEL_MIN)
    for (int64_t o = 0; o < z.outer; o++) {
        float *run = zd + (size_t)o * (x_run + y_run);
        memcpy(run, xd + (size_t)o * x_run, x_run * sizeof *run);
        memcpy(run + x_run, yd + (size_t)o * y_run, y_run * sizeof *run);
    }
    return ST_OK;
}

/* The part of dz that starts `first` elements into each outer run. */
static void cut(float *y, const float *dz, int64_t outer, int64_t run, int64_t first,
                int64_t dz_run, float beta)
{
#pragma omp parallel for schedule(static) if (outer * run > PARALLEL_MIN)
    for (int64_t o = 0; o < outer; o++)
        for (int64_t i = 0; i < run; i++)
            y[o * run + i] = blend(dz[o * dz_run + first + i], y[o * run + i], beta);
}

enum status split_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct concat_attrs *at = attrs;
    const struct axes z = axes_of(&in[0], at->axis);
    const bool has_x = !view_left_out(&out[0]), has_y = !view_left_out(&out[1]);
    struct axes x = axes_of(&out[0], at->axis), y = axes_of(&out[1], at->axis);
    (void)k;

    if (!has_x)
        x = (struct axes){ z.outer, z.axis - y.axis, z.inner };
    if (!has_y)
        y = (struct axes){ z.outer, z.axis - x.axis, z.inner };
    if (at->axis < 0 || at->axis >= in[0].rank || (!has_x && !has_y) || x.outer != z.outer ||
        y.outer != z.outer || x.inner != z.inner || y.inner != z.inner ||
        z.axis != x.axis + y.axis || x.axis < 0 || y.axis < 0 ||
        !view_f32(&in[0], view_count(&in[0])) || !view_maybe_f32(&out[0], view_count(&out[0])) ||
        !view_maybe_f32(&out[1], view_count(&out[1])))
        return check_refuse("split", out, 2, in, 1, err);
    const int64_t x_run = x.axis * x.inner, y_run = y.axis * y.inner;
    if (has_x)
        cut(out[0].data, in[0].data, z.outer, x_run, 0, x_run + y_run, at->beta_dx);
    if (has_y)
        cut(out[1].data, in[0].data, z.outer, y_run, x_run, x_run + y_run, at->beta_dy);
    return ST_OK;
}

enum status transpose_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct transpose_attrs *at = attrs;
    const int64_t n = view_count(&in[0]);
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;

    if (in[0].rank != 3 || out[0].rank != 3 || in[0].shape[0] != out[0].shape[0] ||
        in[0].shape[1] != out[0].shape[2] || in[0].shape[2] != out[0].shape[1] ||
        !view_f32(&in[0], n) || !view_f32(&out[0], n))
        return check_refuse("transpose", out, 1, in, 1, err);
    const int64_t I = in[0].shape[0], A = in[0].shape[1], B = in[0].shape[2];
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t r = 0; r < I * B; r++)
        for (int64_t a = 0; a < A; a++)
            y[r * A + a] = blend(x[(r / B * A + a) * B + r % B], y[r * A + a], at->beta);
    return ST_OK;
}
