/* kernels/cpu/linear.c: one BLAS product each; the bias is laid into y before it. */
#include "kernels/linear.h"

#include "kernels/cpu/cpu_private.h"

/* x (N,C), y (N,D), w (D,C): whether the three meet. */
static bool sizes_fit(const struct view *x, const struct view *y, const struct view *w)
{
    const int64_t N = view_rows(x), C = view_last(x), D = view_last(y);
    return view_f32(x, N * C) && view_f32(y, N * D) && view_f32(w, D * C) && w->rank == 2 &&
           w->shape[0] == D && fits_blas(N) && fits_blas(C) && fits_blas(D);
}

enum status linear_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct linear_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]), D = view_last(&out[0]);
    float *y = out[0].data;
    const float *bias = in[2].data;
    (void)k;

    if (!sizes_fit(&in[0], &out[0], &in[1]) || !view_maybe_f32(&in[2], D))
        return check_refuse("linear", out, 1, in, 3, err);
    if (bias) {
#pragma omp parallel for schedule(static) if (N * D > PARALLEL_MIN)
        for (int64_t n = 0; n < N; n++)
            for (int64_t d = 0; d < D; d++)
                y[n * D + d] = blend(bias[d], y[n * D + d], at->beta);
    }
    const struct product p = {
        0, 1, N, D, C, in[0].data, in[1].data, y, C, C, D, 1.0f, bias ? 1.0f : at->beta
    };
    product_run(&p);
    return ST_OK;
}

enum status linear_dx_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct linear_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&out[0]), D = view_last(&in[0]);
    (void)k;

    if (!sizes_fit(&out[0], &in[0], &in[1]))
        return check_refuse("linear_dx", out, 1, in, 2, err);
    const struct product p = { 0,           0, N, C, D,    in[0].data, in[1].data,
                               out[0].data, D, C, C, 1.0f, at->beta };
    product_run(&p);
    return ST_OK;
}

enum status linear_dw_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct linear_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[1]), D = view_last(&in[0]);
    (void)k;

    if (!sizes_fit(&in[1], &in[0], &out[0]))
        return check_refuse("linear_dw", out, 1, in, 2, err);
    const struct product p = { 1,           0, D, C, N,    in[0].data, in[1].data,
                               out[0].data, D, C, C, 1.0f, at->beta };
    product_run(&p);
    return ST_OK;
}

enum status linear_db_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct linear_attrs *at = attrs;
    const int64_t N = view_rows(&in[0]), D = view_last(&in[0]);
    const float *dy = in[0].data;
    (void)k;

    if (!view_f32(&in[0], N * D) || !view_f32(&out[0], D))
        return check_refuse("linear_db", out, 1, in, 1, err);
    double *slabs = slabs_open(D, err);
    if (!slabs)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (N * D > PARALLEL_MIN)
    for (int64_t s = 0; s < SLABS; s++)
        for (int64_t n = slab_begin(N, s); n < slab_begin(N, s + 1); n++)
            for (int64_t d = 0; d < D; d++)
                slabs[s * D + d] += (double)dy[n * D + d];
    slabs_sum(out[0].data, slabs, D, at->beta);
    mem_free(slabs);
    return ST_OK;
}
