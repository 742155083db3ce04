/* kernels/cuda/matmul.cu: products of the last two axes; see products.cu. */
#include "kernels/matmul.h"

#include "kernels/cuda/products_private.cuh"

static int64_t axis(const struct view *v, int from_end)
{
    return v->rank >= from_end ? v->shape[v->rank - from_end] : 1;
}
static int64_t batch_of(const struct view *v)
{
    int64_t n = 1;
    for (int i = 0; i + 2 < v->rank; i++)
        n *= v->shape[i];
    return n;
}

enum status matmul_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct matmul_attrs *at = (const struct matmul_attrs *)attrs;
    const int64_t batch_a = batch_of(&in[0]), batch_b = batch_of(&in[1]);
    struct product p = {};

    p.trans_a = at->trans_a;
    p.trans_b = at->trans_b;
    p.M = axis(&out[0], 2);
    p.N = axis(&out[0], 1);
    p.K = axis(&in[0], at->trans_a ? 2 : 1);
    p.batch = batch_of(&out[0]);
    if (axis(&in[0], at->trans_a ? 1 : 2) != p.M || axis(&in[1], at->trans_b ? 1 : 2) != p.K ||
        axis(&in[1], at->trans_b ? 2 : 1) != p.N || (batch_a != p.batch && batch_a != 1) ||
        (batch_b != p.batch && batch_b != 1) || !view_float(&out[0], p.batch * p.M * p.N) ||
        !view_float(&in[0], batch_a * p.M * p.K) || !view_float(&in[1], batch_b * p.K * p.N))
        return check_refuse("matmul", out, 1, in, 2, err);
    p.A = ref_of(&in[0]);
    p.B = ref_of(&in[1]);
    p.C = ref_of(&out[0]);
    p.lda = axis(&in[0], 1);
    p.ldb = axis(&in[1], 1);
    p.ldc = p.N;
    p.step_a = batch_a == 1 ? 0 : p.M * p.K;
    p.step_b = batch_b == 1 ? 0 : p.K * p.N;
    p.step_c = p.M * p.N;
    p.alpha = at->alpha;
    p.room = k->scratch;
    p.room_bytes = k->scratch_bytes;
    p.beta = at->beta;
    return product_run(k, &p, "matmul", err);
}
