/* kernels/cuda/add.cu: sums, broadcasts and residuals, groups of 8. */
#include "kernels/add.h"

#include "kernels/cuda/sums_private.cuh"

/* z = alpha x + beta y; y left out: only x. beta_z: what z keeps of itself. */
static __global__ void combine(struct ref z, struct ref x, struct ref y, int64_t n, float alpha,
                               float beta, float beta_z)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP], w[GROUP];
        get8(v, x, i, n);
        for (int j = 0; j < GROUP; j++)
            v[j] *= alpha;
        if (y.data) {
            get8(w, y, i, n);
            for (int j = 0; j < GROUP; j++)
                v[j] += beta * w[j];
        }
        blend8(z, i, n, v, beta_z);
    }
}

static const struct ref none = { NULL, 0, 0 };

enum status add_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    const struct add_attrs *at = (const struct add_attrs *)attrs;
    const int64_t n = view_count(&out[0]);
    if (!view_float(&out[0], n) || !view_float(&in[0], n) || !view_float(&in[1], n))
        return check_refuse("add", out, 1, in, 2, err);
    LAUNCH(k, combine, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]), ref_of(&in[1]),
           n, at->alpha, at->beta, 0.0f);
    return launched("add", err);
}

enum status axpby_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct axpby_attrs *at = (const struct axpby_attrs *)attrs;
    const int64_t n = view_count(&out[0]);
    if (!view_float(&out[0], n) || !view_float(&in[0], n))
        return check_refuse("axpby", out, 1, in, 1, err);
    LAUNCH(k, combine, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]), none, n,
           at->scale, 0.0f, at->beta);
    return launched("axpby", err);
}

/* y = x + table, repeated; x left out: zeros. */
static __global__ void add_cycled(struct ref y, struct ref x, struct ref table, int64_t n,
                                  int64_t tail)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP], w[GROUP];
        get8_cycled(w, table, i, tail);
        if (x.data) {
            get8(v, x, i, n);
            for (int j = 0; j < GROUP; j++)
                w[j] += v[j];
        }
        put8(y, i, n, w);
    }
}

enum status add_table_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), tail = view_count(&in[1]);
    (void)attrs;
    if (!view_float(&out[0], n) || !view_maybe_float(&in[0], n) || !view_float(&in[1], tail) ||
        tail < 1 || n % tail != 0)
        return check_refuse("add_table", out, 1, in, 2, err);
    LAUNCH(k, add_cycled, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), n, tail);
    return launched("add_table", err);
}

static enum status sum_rows(struct kctx *k, const char *op, const struct view *out,
                            const struct view *in, int64_t I, int64_t C, const void *attrs,
                            struct error *err)
{
    const struct add_table_attrs *at = (const struct add_table_attrs *)attrs;
    const int64_t n = view_count(&in[0]), cells = I * C;
    struct column_sums s = {};
    if (cells < 1 || n % cells != 0 || !view_float(&out[0], cells) || !view_float(&in[0], n))
        return check_refuse(op, out, 1, in, 1, err);
    s.I = I;
    s.P = n / cells;
    s.C = C;
    s.dy = ref_of(&in[0]);
    s.plain = ref_of(&out[0]);
    s.beta_plain = at->beta;
    return column_sums_run(k, &s, op, err);
}

enum status add_table_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    return sum_rows(k, "add_table_bwd", out, in, 1, view_count(&out[0]), attrs, err);
}

/* y = x + v of the picture; x left out: zeros. */
static __global__ void add_vectors(struct ref y, struct ref x, struct ref v, int64_t I, int64_t P,
                                   int64_t C)
{
    const int64_t groups = (C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, I * P * groups)
    {
        const int64_t row = t / groups, c = t % groups * GROUP, i = row / P;
        float a[GROUP], b[GROUP];
        get8(b, v, i * C + c, (i + 1) * C);
        if (x.data) {
            get8(a, x, row * C + c, (row + 1) * C);
            for (int j = 0; j < GROUP; j++)
                b[j] += a[j];
        }
        put8(y, row * C + c, (row + 1) * C, b);
    }
}

enum status add_image_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), I = view_rows(&in[1]), C = view_last(&in[1]);
    (void)attrs;
    if (I * C < 1 || n % (I * C) != 0 || !view_float(&out[0], n) || !view_maybe_float(&in[0], n) ||
        !view_float(&in[1], I * C))
        return check_refuse("add_image", out, 1, in, 2, err);
    LAUNCH(k, add_vectors, group_blocks(n), THREADS, 0, row_ref(&out[0], C), row_ref(&in[0], C),
           row_ref(&in[1], C), I, n / (I * C), C);
    return launched("add_image", err);
}

enum status add_image_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    return sum_rows(k, "add_image_bwd", out, in, view_rows(&out[0]), view_last(&out[0]), attrs,
                    err);
}

/* y = beta y + x + tanh(gate) b, x left out: zeros. */
static __global__ void add_gated(struct ref y, struct ref x, struct ref b, struct ref gate,
                                 int64_t n, float beta)
{
    const float g = tanhf(ref_get(gate, 0));
    FOR_GROUPS(i, n)
    {
        float v[GROUP], w[GROUP];
        get8(w, b, i, n);
        for (int j = 0; j < GROUP; j++)
            w[j] *= g;
        if (x.data) {
            get8(v, x, i, n);
            for (int j = 0; j < GROUP; j++)
                w[j] += v[j];
        }
        blend8(y, i, n, w, beta);
    }
}

enum status gated_add_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]);
    (void)attrs;
    if (!view_float(&out[0], n) || !view_float(&in[0], n) || !view_float(&in[1], n) ||
        !view_float(&in[2], 1))
        return check_refuse("gated_add", out, 1, in, 3, err);
    LAUNCH(k, add_gated, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), ref_of(&in[2]), n, 0.0f);
    return launched("gated_add", err);
}

enum status gated_add_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct gated_add_attrs *at = (const struct gated_add_attrs *)attrs;
    const int64_t n = view_count(&in[0]);
    struct total_sum s = {};

    if (!view_maybe_float(&out[0], n) || !view_maybe_float(&out[1], 1) || !view_float(&in[0], n) ||
        !view_float(&in[1], n) || !view_float(&in[2], 1))
        return check_refuse("gated_add_bwd", out, 2, in, 3, err);
    if (out[1].data) {
        s.n = n;
        s.a = ref_of(&in[0]);
        s.b = ref_of(&in[1]);
        s.gate = ref_of(&in[2]);
        s.y = ref_of(&out[1]);
        s.scale = 1.0f;
        s.beta = at->beta_dgate;
        if (total_sum_run(k, &s, "gated_add_bwd", err) != ST_OK)
            return ST_FAIL;
    }
    if (out[0].data)
        LAUNCH(k, add_gated, group_blocks(n), THREADS, 0, ref_of(&out[0]), none, ref_of(&in[0]),
               ref_of(&in[2]), n, at->beta_db);
    return launched("gated_add_bwd", err);
}

static __global__ void add_by_picture(struct ref y, struct ref x, struct ref b, struct ref scale,
                                      int64_t n, int64_t per)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP], w[GROUP];
        get8(v, x, i, n);
        get8(w, b, i, n);
        for (int j = 0; j < GROUP; j++)
            if (i + j < n)
                v[j] += ref_get(scale, (i + j) / per) * w[j];
        put8(y, i, n, v);
    }
}

enum status add_scaled_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), I = view_count(&in[2]), P = I > 0 ? n / I : 0;
    (void)attrs;
    if (n != I * P || !view_float(&out[0], n) || !view_float(&in[0], n) || !view_float(&in[1], n) ||
        !view_float(&in[2], I))
        return check_refuse("add_scaled", out, 1, in, 3, err);
    LAUNCH(k, add_by_picture, group_blocks(n), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), ref_of(&in[2]), n, P);
    return launched("add_scaled", err);
}
