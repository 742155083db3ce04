/* kernels/cpu/random.c: every element is computed from its own number. */
#include "kernels/random.h"

#include "kernels/cpu/cpu_private.h"
#include "kernels/cpu/draw_private.h"

enum status random_normal_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                  const void *attrs, struct error *err)
{
    const struct random_normal_attrs *at = attrs;
    const int64_t n = view_count(&out[0]), I = view_rows(&in[0]), C = view_last(&out[0]);
    const int64_t N = I > 0 ? n / I : 0, P = C > 0 ? N / C : 0; /* of a picture: elements, pixels */
    float *x = out[0].data;
    (void)k;

    if (n != I * N || !view_f32(&out[0], n) || !view_is(&in[0], DT_I32, 4 * I) ||
        view_last(&in[0]) != 4 || (at->planar && N != P * C))
        return check_refuse("random_normal", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN / 16)
    for (int64_t j = 0; j < n; j++) {
        const struct rng r = draw_row(&in[0], j / N);
        const int64_t at_x = j % N, e = at->planar ? at_x % C * P + at_x / C : at_x;
        x[j] = (float)(at->mean + at->std * rng_normal_at(&r, (uint64_t)e));
    }
    return ST_OK;
}

enum status random_uniform_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    const struct random_uniform_attrs *at = attrs;
    const int64_t n = view_count(&out[0]), I = view_rows(&in[0]);
    const int64_t N = I > 0 ? n / I : 0;
    float *x = out[0].data;
    const double middle = 0.5 * (at->low + at->high), half = 0.5 * (at->high - at->low);
    (void)k;

    if (n != I * N || !view_f32(&out[0], n) || !view_is(&in[0], DT_I32, 4 * I) ||
        view_last(&in[0]) != 4)
        return check_refuse("random_uniform", out, 1, in, 1, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN / 16)
    for (int64_t j = 0; j < n; j++) {
        const struct rng r = draw_row(&in[0], j / N);
        const double u = draw_unit(rng_word_at(&r, (uint64_t)(j % N)));
        x[j] = (float)(middle + half * (2.0 * u - 1.0));
    }
    return ST_OK;
}
