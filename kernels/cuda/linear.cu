/* kernels/cuda/linear.cu: three products of the same operands, and the sum of rows. Weights stay [D,C] as
 * published. */
#include "kernels/linear.h"

#include "kernels/cuda/products_private.cuh"
#include "kernels/cuda/sums_private.cuh"

static bool sizes_fit(const struct view *x, const struct view *y, const struct view *w)
{
    const int64_t N = view_rows(x), C = view_last(x), D = view_last(y);
    return view_rows(y) == N && view_float(x, N * C) && view_float(y, N * D) &&
           view_float(w, D * C) && w->rank == 2 && w->shape[0] == D && w->shape[1] == C;
}

/* C [M,N] = op(A) op(B) of row-major matrices. */
static struct product product_of(const struct kctx *k, const struct view *a, int trans_a,
                                 const struct view *b, int trans_b, const struct view *c, int64_t K,
                                 float beta)
{
    struct product p = {};
    p.trans_a = trans_a;
    p.trans_b = trans_b;
    p.M = view_rows(c);
    p.N = view_last(c);
    p.K = K;
    p.batch = 1;
    p.A = ref_of(a);
    p.B = ref_of(b);
    p.C = ref_of(c);
    p.lda = view_last(a);
    p.ldb = view_last(b);
    p.ldc = p.N;
    p.alpha = 1.0f;
    p.room = k->scratch;
    p.room_bytes = k->scratch_bytes;
    p.beta = beta;
    return p;
}

enum status linear_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct linear_attrs *at = (const struct linear_attrs *)attrs;
    if (!sizes_fit(&in[0], &out[0], &in[1]) || !view_maybe_float(&in[2], view_last(&out[0])))
        return check_refuse("linear", out, 1, in, 3, err);
    struct product p = product_of(k, &in[0], 0, &in[1], 1, &out[0], view_last(&in[0]), at->beta);
    p.bias = ref_of(&in[2]);
    return product_run(k, &p, "linear", err);
}

enum status linear_dx_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct linear_attrs *at = (const struct linear_attrs *)attrs;
    if (!sizes_fit(&out[0], &in[0], &in[1]))
        return check_refuse("linear_dx", out, 1, in, 2, err);
    const struct product p =
        product_of(k, &in[0], 0, &in[1], 0, &out[0], view_last(&in[0]), at->beta);
    return product_run(k, &p, "linear_dx", err);
}

enum status linear_dw_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct linear_attrs *at = (const struct linear_attrs *)attrs;
    if (!sizes_fit(&in[1], &in[0], &out[0]))
        return check_refuse("linear_dw", out, 1, in, 2, err);
    const struct product p =
        product_of(k, &in[0], 1, &in[1], 0, &out[0], view_rows(&in[0]), at->beta);
    return product_run(k, &p, "linear_dw", err);
}

enum status linear_db_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct linear_attrs *at = (const struct linear_attrs *)attrs;
    const int64_t N = view_rows(&in[0]), D = view_last(&in[0]);
    struct column_sums s = {};
    if (!view_float(&out[0], D) || !view_float(&in[0], N * D))
        return check_refuse("linear_db", out, 1, in, 1, err);
    s.I = 1;
    s.P = N;
    s.C = D;
    s.dy = ref_of(&in[0]);
    s.plain = ref_of(&out[0]);
    s.beta_plain = at->beta;
    return column_sums_run(k, &s, "linear_db", err);
}
