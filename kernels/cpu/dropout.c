/* kernels/cpu/dropout.c: the mask is drawn where it is used. */
#include "kernels/dropout.h"

#include "kernels/cpu/cpu_private.h"
#include "kernels/cpu/draw_private.h"

enum status dropout_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct dropout_attrs *at = attrs;
    const int64_t n = view_count(&in[0]), I = view_rows(&in[1]);
    const int64_t P = I > 0 ? n / I : 0;
    float *y = out[0].data;
    const float *x = in[0].data;
    (void)k;

    if (n != I * P || !(at->p >= 0.0 && at->p < 1.0) || !view_f32(&in[0], n) ||
        !view_f32(&out[0], n) || !view_is(&in[1], DT_I32, 4 * I) || view_last(&in[1]) != 4)
        return check_refuse("dropout", out, 1, in, 2, err);
    const float keep = (float)(1.0 / (1.0 - at->p));
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < I; i++) {
        struct rng r = draw_row(&in[1], i);
        for (int64_t e = 0; e < P; e++) {
            const bool drop = draw_unit(rng_word(&r)) < at->p;
            y[i * P + e] = blend(drop ? 0.0f : x[i * P + e] * keep, y[i * P + e], at->beta);
        }
    }
    return ST_OK;
}

enum status dropout_path_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                 const void *attrs, struct error *err)
{
    const struct dropout_attrs *at = attrs;
    const int64_t I = view_count(&out[0]);
    float *scale = out[0].data;
    (void)k;

    if (!(at->p >= 0.0 && at->p < 1.0) || !view_f32(&out[0], I) ||
        !view_is(&in[0], DT_I32, 4 * I) || view_last(&in[0]) != 4)
        return check_refuse("dropout_path", out, 1, in, 1, err);
    for (int64_t i = 0; i < I; i++) {
        struct rng r = draw_row(&in[0], i);
        scale[i] = rng_bernoulli(&r, at->p) ? 0.0f : (float)(1.0 / (1.0 - at->p));
    }
    return ST_OK;
}
