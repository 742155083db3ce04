/* kernels/cuda/dropout.cu: the mask is drawn where it is used. */
#include "kernels/dropout.h"

#include "kernels/cuda/draw_private.cuh"

static __global__ void drop(struct ref y, struct ref x, const int32_t *rows, int64_t n, int64_t per,
                            double p, float keep, float beta)
{
    struct draws d = draws_of(rows);
    FOR_GROUPS(i, n)
    {
        float v[GROUP];
        get8(v, x, i, n);
        for (int j = 0; j < GROUP && i + j < n; j++)
            v[j] = draw_unit(&d, (i + j) / per, (uint64_t)((i + j) % per)) < p ? 0.0f : v[j] * keep;
        blend8(y, i, n, v, beta);
    }
}

enum status dropout_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                             const void *attrs, struct error *err)
{
    const struct dropout_attrs *at = (const struct dropout_attrs *)attrs;
    const int64_t n = view_count(&in[0]), I = view_rows(&in[1]), P = I > 0 ? n / I : 0;
    if (n != I * P || !(at->p >= 0.0 && at->p < 1.0) || !view_float(&in[0], n) ||
        !view_float(&out[0], n) || !view_is(&in[1], DT_I32, 4 * I) || view_last(&in[1]) != 4)
        return check_refuse("dropout", out, 1, in, 2, err);
    LAUNCH(k, drop, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           (const int32_t *)in[1].data, n, P, at->p, (float)(1.0 / (1.0 - at->p)), at->beta);
    return launched("dropout", err);
}

static __global__ void drop_path(float *scale, const int32_t *rows, int64_t I, double p)
{
    struct draws d = draws_of(rows);
    FOR_ITEMS(i, I)
    {
        scale[i] = draw_unit(&d, i, 0) < p ? 0.0f : (float)(1.0 / (1.0 - p));
    }
}

enum status dropout_path_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                  const void *attrs, struct error *err)
{
    const struct dropout_attrs *at = (const struct dropout_attrs *)attrs;
    const int64_t I = view_count(&out[0]);
    if (!(at->p >= 0.0 && at->p < 1.0) || !view_f32(&out[0], I) ||
        !view_is(&in[0], DT_I32, 4 * I) || view_last(&in[0]) != 4)
        return check_refuse("dropout_path", out, 1, in, 1, err);
    LAUNCH(k, drop_path, blocks_for(I, THREADS), THREADS, 0, (float *)out[0].data,
           (const int32_t *)in[0].data, I, at->p);
    return launched("dropout_path", err);
}
