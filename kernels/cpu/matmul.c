/* kernels/cpu/matmul.c: batches of products by BLAS. Small matrices run one a thread, large ones one
 * after the other on BLAS's own threads. */
#include "kernels/matmul.h"

#include "kernels/cpu/cpu_private.h"

/* Axes of the last two dimensions and the product of the others. */
struct matrices {
    int64_t batch, rows, cols;
};
static struct matrices matrices_of(const struct view *v)
{
    struct matrices m = { 1, 1, 1 };
    for (int i = 0; i + 2 < v->rank; i++)
        m.batch *= v->shape[i];
    m.rows = v->rank > 1 ? v->shape[v->rank - 2] : 1;
    m.cols = view_last(v);
    return m;
}

static struct product product_at(const struct product *first, int64_t b, int64_t a_step,
                                 int64_t b_step)
{
    struct product p = *first;
    p.A += b * a_step;
    p.B += b * b_step;
    p.C += b * p.M * p.N;
    return p;
}

enum status matmul_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct matmul_attrs *at = attrs;
    const struct matrices a = matrices_of(&in[0]), b = matrices_of(&in[1]),
                          c = matrices_of(&out[0]);
    const int64_t M = c.rows, N = c.cols, K = at->trans_a ? a.rows : a.cols;
    const int64_t a_step = a.batch == 1 ? 0 : a.rows * a.cols;
    const int64_t b_step = b.batch == 1 ? 0 : b.rows * b.cols;
    (void)k;

    if (!view_f32(&out[0], c.batch * M * N) || !view_f32(&in[0], a.batch * M * K) ||
        !view_f32(&in[1], b.batch * K * N) || (at->trans_a ? a.cols : a.rows) != M ||
        (at->trans_b ? b.cols : b.rows) != K || (at->trans_b ? b.rows : b.cols) != N ||
        (a.batch != 1 && a.batch != c.batch) || (b.batch != 1 && b.batch != c.batch) ||
        !fits_blas(M) || !fits_blas(N) || !fits_blas(K))
        return check_refuse("matmul", out, 1, in, 2, err);

    const struct product first = { at->trans_a, at->trans_b, M,           N,      K,
                                   in[0].data,  in[1].data,  out[0].data, a.cols, b.cols,
                                   N,           at->alpha,   at->beta };
    const bool small = c.batch > 1 && M * N * K < (1 << 21);
#pragma omp parallel for schedule(static) if (small && c.batch * M * N * K > PARALLEL_MIN)
    for (int64_t i = 0; i < (small ? c.batch : 0); i++) {
        const struct product p = product_at(&first, i, a_step, b_step);
        product_run(&p);
    }
    for (int64_t i = 0; i < (small ? 0 : c.batch); i++) {
        const struct product p = product_at(&first, i, a_step, b_step);
        product_run(&p);
    }
    return ST_OK;
}
