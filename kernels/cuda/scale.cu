/* kernels/cuda/scale.cu: products with a vector per channel or per row, groups of 8. */
#include "kernels/scale.h"

#include "kernels/cuda/sums_private.cuh"

/* y = beta y + x g + b; b may be left out. */
static __global__ void scale_channels(struct ref y, struct ref x, struct ref g, struct ref b,
                                      int64_t n, int64_t C, float beta)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP], w[GROUP];
        get8(v, x, i, n);
        get8_cycled(w, g, i, C);
        for (int j = 0; j < GROUP; j++)
            v[j] *= w[j];
        if (b.data) {
            get8_cycled(w, b, i, C);
            for (int j = 0; j < GROUP; j++)
                v[j] += w[j];
        }
        blend8(y, i, n, v, beta);
    }
}

enum status scale_channels_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                    const void *attrs, struct error *err)
{
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    (void)attrs;
    if (!view_float(&out[0], N * C) || !view_float(&in[0], N * C) || !view_float(&in[1], C) ||
        !view_maybe_float(&in[2], C))
        return check_refuse("scale_channels", out, 1, in, 3, err);
    LAUNCH(k, scale_channels, group_blocks(N * C), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), ref_of(&in[2]), N * C, C, 0.0f);
    return launched("scale_channels", err);
}

enum status scale_channels_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                    const void *attrs, struct error *err)
{
    const struct scale_channels_attrs *at = (const struct scale_channels_attrs *)attrs;
    const int64_t N = view_rows(&in[0]), C = view_last(&in[0]);
    const struct ref none = { NULL, 0, 0 };
    struct column_sums s = {};

    if (!view_maybe_float(&out[0], N * C) || !view_maybe_float(&out[1], C) ||
        !view_maybe_float(&out[2], C) || !view_float(&in[0], N * C) || !view_float(&in[1], N * C) ||
        !view_float(&in[2], C))
        return check_refuse("scale_channels_bwd", out, 3, in, 3, err);
    s.I = 1;
    s.P = N;
    s.C = C;
    s.dy = ref_of(&in[0]);
    s.x = ref_of(&in[1]);
    s.term = TERM_X;
    s.product = ref_of(&out[1]);
    s.plain = ref_of(&out[2]);
    s.beta_product = at->beta_dg;
    s.beta_plain = at->beta_db;
    if (column_sums_run(k, &s, "scale_channels_bwd", err) != ST_OK)
        return ST_FAIL;
    if (out[0].data)
        LAUNCH(k, scale_channels, group_blocks(N * C), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
               ref_of(&in[2]), none, N * C, C, at->beta_dx);
    return launched("scale_channels_bwd", err);
}

static __global__ void scale_rows(struct ref y, struct ref x, const float *m, int64_t n, int64_t C,
                                  float beta)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP];
        get8(v, x, i, n);
        for (int j = 0; j < GROUP; j++)
            if (i + j < n)
                v[j] *= m[(i + j) / C];
        blend8(y, i, n, v, beta);
    }
}

enum status scale_rows_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                const void *attrs, struct error *err)
{
    const struct scale_rows_attrs *at = (const struct scale_rows_attrs *)attrs;
    const int64_t n = view_count(&in[0]), N = view_count(&in[1]), C = N > 0 ? n / N : 0;
    if (n != N * C || !view_float(&out[0], n) || !view_float(&in[0], n) || !view_f32(&in[1], N))
        return check_refuse("scale_rows", out, 1, in, 2, err);
    LAUNCH(k, scale_rows, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           (const float *)in[1].data, n, C, at->beta);
    return launched("scale_rows", err);
}
