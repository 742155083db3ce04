/* kernels/cuda/random.cu: every element is computed from its own number, in double as on the CPU. */
#include "kernels/random.h"

#include "kernels/cuda/draw_private.cuh"

/* N elements a picture, P pixels of C channels where planar. */
static __global__ void fill_normal(struct ref x, const int32_t *rows, int64_t n, int64_t N,
                                   int64_t P, int64_t C, struct random_normal_attrs at)
{
    struct draws d = draws_of(rows);
    FOR_ITEMS(j, n)
    {
        const int64_t here = j % N, e = at.planar ? here % C * P + here / C : here;
        ref_put(x, j, (float)(at.mean + at.std * draw_normal(&d, j / N, (uint64_t)e)));
    }
}

static __global__ void fill_uniform(struct ref x, const int32_t *rows, int64_t n, int64_t N,
                                    double middle, double half)
{
    struct draws d = draws_of(rows);
    FOR_ITEMS(j, n)
    {
        const double u = draw_unit(&d, j / N, (uint64_t)(j % N));
        ref_put(x, j, (float)(middle + half * (2.0 * u - 1.0)));
    }
}

enum status random_normal_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                   const void *attrs, struct error *err)
{
    const struct random_normal_attrs *at = (const struct random_normal_attrs *)attrs;
    const int64_t n = view_count(&out[0]), I = view_rows(&in[0]), C = view_last(&out[0]);
    const int64_t N = I > 0 ? n / I : 0, P = C > 0 ? N / C : 0;
    if (n != I * N || !view_float(&out[0], n) || !view_is(&in[0], DT_I32, 4 * I) ||
        view_last(&in[0]) != 4 || (at->planar && N != P * C))
        return check_refuse("random_normal", out, 1, in, 1, err);
    LAUNCH(k, fill_normal, blocks_for(n, THREADS), THREADS, 0, ref_of(&out[0]),
           (const int32_t *)in[0].data, n, N, P, C, *at);
    return launched("random_normal", err);
}

enum status random_uniform_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                    const void *attrs, struct error *err)
{
    const struct random_uniform_attrs *at = (const struct random_uniform_attrs *)attrs;
    const int64_t n = view_count(&out[0]), I = view_rows(&in[0]), N = I > 0 ? n / I : 0;
    if (n != I * N || !view_float(&out[0], n) || !view_is(&in[0], DT_I32, 4 * I) ||
        view_last(&in[0]) != 4)
        return check_refuse("random_uniform", out, 1, in, 1, err);
    LAUNCH(k, fill_uniform, blocks_for(n, THREADS), THREADS, 0, ref_of(&out[0]),
           (const int32_t *)in[0].data, n, N, 0.5 * (at->low + at->high),
           0.5 * (at->high - at->low));
    return launched("random_uniform", err);
}
