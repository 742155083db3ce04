/* kernels/cpu/rope.c: one row of angles a position, applied to every head. */
#include "kernels/rope.h"

#include "kernels/cpu/cpu_private.h"

/* inverse[c] = base^(-2c/D), in float32 as the reference. */
static void frequencies(float *inverse, int64_t D, float base)
{
    for (int64_t c = 0; c < D / 2; c++)
        inverse[c] = 1.0f / powf(base, (float)(2 * c) / (float)D);
}

static void rotate_row(float *y, const float *x, const float *inverse, float position,
                       int64_t heads, int64_t D, float sign, float beta)
{
    for (int64_t c = 0; c < D / 2; c++) {
        const float angle = position * inverse[c];
        const float cosine = cosf(angle), sine = sign * sinf(angle);
        for (int64_t h = 0; h < heads; h++) {
            const int64_t i = h * D + c, j = i + D / 2;
            const float a = x[i], b = x[j];
            y[i] = blend(a * cosine - b * sine, y[i], beta);
            y[j] = blend(b * cosine + a * sine, y[j], beta);
        }
    }
}

enum status rope_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    const struct rope_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), W = view_last(&in[0]), L = view_count(&in[1]);
    const int64_t D = at->heads > 0 ? W / at->heads : 0;
    float *y = out[0].data;
    const float *x = in[0].data;
    const int32_t *position = in[1].data;
    (void)k;

    if (D < 2 || D % 2 != 0 || D * at->heads != W || L < 1 || N % L != 0 ||
        !view_f32(&in[0], N * W) || !view_f32(&out[0], N * W) || !view_is(&in[1], DT_I32, L) ||
        !(at->base > 0.0f))
        return check_refuse("rope", out, 1, in, 2, err);
    float *inverse = mem_alloc((size_t)(D / 2) * sizeof *inverse);
    if (!inverse)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: rope");
    frequencies(inverse, D, at->base);
#pragma omp parallel for schedule(static) if (N * W > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++)
        rotate_row(y + n * W, x + n * W, inverse, (float)position[n % L], at->heads, D,
                   at->inverse ? -1.0f : 1.0f, at->beta);
    mem_free(inverse);
    return ST_OK;
}
