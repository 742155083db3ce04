/* kernels/cuda/rope.cu: a thread has one angle of one row and turns that pair of every head. */
#include "kernels/rope.h"

#include "kernels/cuda/cuda_private.cuh"

static __global__ void rotate(struct ref y, struct ref x, const int32_t *position, int64_t N,
                              int64_t L, int64_t D, const struct rope_attrs at)
{
    const int64_t half = D / 2;
    FOR_ITEMS(t, N * half)
    {
        const int64_t n = t / half, c = t % half;
        /* base^(-2c/D): the power in double, rounded once, the rest in float32 as the reference */
        const float inverse =
            1.0f / (float)pow((double)at.base, (double)((float)(2 * c) / (float)D));
        const float angle = (float)position[n % L] * inverse;
        const float cosine = cosf(angle), sine = at.inverse ? -sinf(angle) : sinf(angle);
        for (int h = 0; h < at.heads; h++) {
            const int64_t i = (n * at.heads + h) * D + c, j = i + half;
            const float a = ref_get(x, i), b = ref_get(x, j);
            ref_blend(y, i, a * cosine - b * sine, at.beta);
            ref_blend(y, j, b * cosine + a * sine, at.beta);
        }
    }
}

enum status rope_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct rope_attrs *at = (const struct rope_attrs *)attrs;
    const int64_t N = view_rows(&in[0]), W = view_last(&in[0]), L = view_count(&in[1]);
    const int64_t D = at->heads > 0 ? W / at->heads : 0;
    if (D < 2 || D % 2 != 0 || D * at->heads != W || L < 1 || N % L != 0 ||
        !view_float(&in[0], N * W) || !view_float(&out[0], N * W) || !view_is(&in[1], DT_I32, L) ||
        !(at->base > 0.0f))
        return check_refuse("rope", out, 1, in, 2, err);
    LAUNCH(k, rotate, blocks_for(N * (D / 2), THREADS), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           (const int32_t *)in[1].data, N, L, D, *at);
    return launched("rope", err);
}
