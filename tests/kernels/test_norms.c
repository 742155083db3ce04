/* tests/kernels/test_norms.c: layernorm, rmsnorm, groupnorm. */
#include "tests/kernels/problem.h"

#include "kernels/groupnorm.h"
#include "kernels/layernorm.h"
#include "kernels/rmsnorm.h"

static void layernorm_reference(const struct problem *p, double *y, double *const *x)
{
    const struct layernorm_attrs *at = p->attrs;
    const int64_t C = p->in[0].shape[p->in[0].rank - 1], N = view_count(&p->in[0]) / C;
    for (int64_t n = 0; n < N; n++) {
        const double *xn = x[0] + n * C;
        double mean = 0.0, variance = 0.0;
        for (int64_t c = 0; c < C; c++)
            mean += xn[c] / (double)C;
        for (int64_t c = 0; c < C; c++)
            variance += (xn[c] - mean) * (xn[c] - mean) / (double)C;
        for (int64_t c = 0; c < C; c++)
            y[n * C + c] =
                (xn[c] - mean) / sqrt(variance + (double)at->eps) * (x[1] ? x[1][c] : 1.0) +
                (x[2] ? x[2][c] : 0.0);
    }
}

/* Statistics of a forward run, which backward reads. */
static struct view stats[2];

static enum status layernorm_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    struct layernorm_attrs at = *(const struct layernorm_attrs *)p->attrs;
    const struct view in[] = { *dy, p->in[0], p->in[1], stats[0], stats[1] };
    struct kctx k = { 0 };
    at.beta_dx = at.beta_dw = at.beta_db = beta;
    return layernorm_bwd_cpu(&k, grads, in, &at, err);
}

static void layer_norms_match_loops(void **state)
{
    static const struct layernorm_attrs at = { 1e-6f, 0, 0, 0 };
    (void)state;
    for (int i = 1; i < 2 * ODD_SIZES;
         i++) { /* affine, then bare; a single channel has no spread */
        const int64_t C = odd_sizes[i % ODD_SIZES] == 1 ? 6 : odd_sizes[i % ODD_SIZES];
        const bool affine = i < ODD_SIZES;
        struct problem p = problem_make("layernorm", 3 + (uint64_t)i);
        problem_input(&p, 0, -1, 3, SHAPE(2, 5, C));
        if (affine) {
            problem_input(&p, 1, -1, 1, SHAPE(C));
            problem_input(&p, 2, -1, 1, SHAPE(C));
        }
        problem_output(&p, SHAPE(2, 5, C));
        stats[0] = view_make(SHAPE(2, 5));
        stats[1] = view_make(SHAPE(2, 5));
        p.attrs = &at;
        p.reference = layernorm_reference;
        p.backward = layernorm_backward;
        p.differentiable = affine ? 7 : 1;
        problem_forward_outs(&p, layernorm_fwd_cpu, stats, 2, 1e-5);
        problem_backward(&p, 2e-5);
        problem_free(&p);
        free(stats[0].data);
        free(stats[1].data);
    }
}

static void a_constant_row_normalises_to_the_bias(void **state)
{
    const struct layernorm_attrs at = { 1e-12f, 0, 0, 0 };
    float x[3] = { 5, 5, 5 }, w[3] = { 1, 2, 3 }, b[3] = { 7, 8, 9 }, y[3];
    const struct view in[] = { { x, DT_F32, 2, { 1, 3 } },
                               { w, DT_F32, 1, { 3 } },
                               { b, DT_F32, 1, { 3 } } };
    const struct view out[] = { { y, DT_F32, 2, { 1, 3 } }, { 0 }, { 0 } };
    struct kctx k = { 0 };
    (void)state;
    assert_int_equal(layernorm_fwd_cpu(&k, out, in, &at, NULL), ST_OK);
    assert_memory_equal(y, b, sizeof y);
}

static void rmsnorm_reference(const struct problem *p, double *y, double *const *x)
{
    const struct rmsnorm_attrs *at = p->attrs;
    const int64_t C = p->in[0].shape[p->in[0].rank - 1], N = view_count(&p->in[0]) / C;
    for (int64_t n = 0; n < N; n++) {
        double squares = 0.0;
        for (int64_t c = 0; c < C; c++)
            squares += x[0][n * C + c] * x[0][n * C + c] / (double)C;
        for (int64_t c = 0; c < C; c++)
            y[n * C + c] =
                x[0][n * C + c] / sqrt(squares + (double)at->eps) * (x[1] ? x[1][c] : 1.0);
    }
}

static enum status rmsnorm_backward(const struct problem *p, const struct view *dy,
                                    struct view *grads, float beta, struct error *err)
{
    struct rmsnorm_attrs at = *(const struct rmsnorm_attrs *)p->attrs;
    const struct view in[] = { *dy, p->in[0], p->in[1], stats[0] };
    struct kctx k = { 0 };
    at.beta_dx = at.beta_dw = beta;
    return rmsnorm_bwd_cpu(&k, grads, in, &at, err);
}

static void rms_norms_match_loops(void **state)
{
    static const struct rmsnorm_attrs at = { 1e-5f, 0, 0 };
    (void)state;
    for (int i = 0; i < 2 * ODD_SIZES; i++) {
        const int64_t C = odd_sizes[i % ODD_SIZES];
        struct problem p = problem_make("rmsnorm", 5 + (uint64_t)i);
        problem_input(&p, 0, -1, 3, SHAPE(9, C));
        if (i < ODD_SIZES)
            problem_input(&p, 1, -1, 1, SHAPE(C));
        problem_output(&p, SHAPE(9, C));
        stats[0] = view_make(SHAPE(9));
        p.attrs = &at;
        p.reference = rmsnorm_reference;
        p.backward = rmsnorm_backward;
        /* a single channel is nearly constant: its gradient is nothing but rounding */
        p.differentiable = (i < ODD_SIZES ? 3u : 1u) & (C == 1 ? 2u : 3u);
        problem_forward_outs(&p, rmsnorm_fwd_cpu, stats, 1, 1e-5);
        problem_backward(&p, 2e-5);
        problem_free(&p);
        free(stats[0].data);
    }
}

static void groupnorm_reference(const struct problem *p, double *y, double *const *x)
{
    const struct groupnorm_attrs *at = p->attrs;
    const int64_t I = p->in[0].shape[0], C = p->in[0].shape[p->in[0].rank - 1];
    const int64_t P = view_count(&p->in[0]) / I / C, width = C / at->groups;
    for (int64_t i = 0; i < I; i++)
        for (int64_t c = 0; c < C; c++) {
            const double count = (double)(P * width);
            double mean = 0.0, variance = 0.0;
            for (int64_t n = 0; n < P * width; n++)
                mean += x[0][(i * P + n / width) * C + c / width * width + n % width] / count;
            for (int64_t n = 0; n < P * width; n++) {
                const double d =
                    x[0][(i * P + n / width) * C + c / width * width + n % width] - mean;
                variance += d * d / count;
            }
            for (int64_t n = 0; n < P; n++) {
                const double v = (x[0][(i * P + n) * C + c] - mean) /
                                     sqrt(variance + (double)at->eps) * x[1][c] +
                                 x[2][c];
                y[(i * P + n) * C + c] = at->silu ? v / (1.0 + exp(-v)) : v;
            }
        }
}

static enum status groupnorm_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    struct groupnorm_attrs at = *(const struct groupnorm_attrs *)p->attrs;
    const struct view in[] = { *dy, p->in[0], p->in[1], p->in[2], stats[0], stats[1] };
    struct kctx k = { 0 };
    at.beta_dx = at.beta_dw = at.beta_db = beta;
    return groupnorm_bwd_cpu(&k, grads, in, &at, err);
}

static void group_norms_with_and_without_silu_match_loops(void **state)
{
    static const int64_t cases[][5] = { /* I, H, W, C, groups */
                                        { 2, 3, 5, 32, 8 },
                                        { 1, 1, 1, 160, 32 },
                                        { 3, 2, 2, 6, 3 },
                                        { 1, 7, 1, 33, 1 },
                                        { 2, 4, 4, 12, 4 }
    };
    (void)state;
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const int64_t *c = cases[i / 2];
        const struct groupnorm_attrs at = { (int)c[4], (int)(i % 2), 1e-5f, 0, 0, 0 };
        struct problem p = problem_make("groupnorm", 7 + i);
        problem_input(&p, 0, -1, 3, SHAPE(c[0], c[1], c[2], c[3]));
        problem_input(&p, 1, -1, 1, SHAPE(c[3]));
        problem_input(&p, 2, -1, 1, SHAPE(c[3]));
        problem_output(&p, SHAPE(c[0], c[1], c[2], c[3]));
        stats[0] = view_make(SHAPE(c[0], c[4]));
        stats[1] = view_make(SHAPE(c[0], c[4]));
        p.attrs = &at;
        p.reference = groupnorm_reference;
        p.backward = groupnorm_backward;
        p.differentiable = 7;
        problem_forward_outs(&p, groupnorm_fwd_cpu, stats, 2, 1e-5);
        problem_backward(&p, 3e-5);
        problem_free(&p);
        free(stats[0].data);
        free(stats[1].data);
    }
}

static void groups_that_do_not_divide_the_channels_are_refused(void **state)
{
    const struct groupnorm_attrs at = { 4, 0, 1e-5f, 0, 0, 0 };
    float m[6] = { 0 };
    const struct view x = { m, DT_F32, 4, { 1, 1, 1, 6 } }, w = { m, DT_F32, 1, { 6 } };
    const struct view in[] = { x, w, w }, out[] = { x, { 0 }, { 0 } };
    (void)state;
    assert_refused(groupnorm_fwd_cpu, out, in, &at, "groupnorm");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norms_match_loops),
        cmocka_unit_test(a_constant_row_normalises_to_the_bias),
        cmocka_unit_test(rms_norms_match_loops),
        cmocka_unit_test(group_norms_with_and_without_silu_match_loops),
        cmocka_unit_test(groups_that_do_not_divide_the_channels_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
