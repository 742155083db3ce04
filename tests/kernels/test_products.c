/* tests/kernels/test_products.c: matmul, linear, conv2d, depthwise. */
#include "tests/kernels/problem.h"

#include "kernels/conv2d.h"
#include "kernels/depthwise.h"
#include "kernels/linear.h"
#include "kernels/matmul.h"

/* ---- matmul ---- */

struct matmul_case {
    struct matmul_attrs at; /* first: the kernel's attributes */
    int64_t batch_a, batch_b, batch, M, N, K;
};

static void matmul_reference(const struct problem *p, double *y, double *const *x)
{
    const struct matmul_case *c = p->attrs;
    for (int64_t b = 0; b < c->batch; b++)
        for (int64_t m = 0; m < c->M; m++)
            for (int64_t n = 0; n < c->N; n++) {
                const double *A = x[0] + (c->batch_a == 1 ? 0 : b * c->M * c->K);
                const double *B = x[1] + (c->batch_b == 1 ? 0 : b * c->K * c->N);
                double sum = 0.0;
                for (int64_t k = 0; k < c->K; k++)
                    sum += (c->at.trans_a ? A[k * c->M + m] : A[m * c->K + k]) *
                           (c->at.trans_b ? B[n * c->K + k] : B[k * c->N + n]);
                y[(b * c->M + m) * c->N + n] = (double)c->at.alpha * sum;
            }
}

static void run_matmul(struct matmul_case c)
{
    struct problem p = problem_make("matmul", 1);
    p.attrs = &c;
    p.reference = matmul_reference;
    if (c.at.trans_a)
        problem_input(&p, 0, -1, 1, SHAPE(c.batch_a, c.K, c.M));
    else
        problem_input(&p, 0, -1, 1, SHAPE(c.batch_a, c.M, c.K));
    if (c.at.trans_b)
        problem_input(&p, 1, -1, 1, SHAPE(c.batch_b, c.N, c.K));
    else
        problem_input(&p, 1, -1, 1, SHAPE(c.batch_b, c.K, c.N));
    problem_output(&p, SHAPE(c.batch, c.M, c.N));
    problem_forward(&p, matmul_fwd_cpu, 1e-5);
    problem_free(&p);
}

static void products_of_all_transposes_and_batches_match_loops(void **state)
{
    (void)state;
    for (int i = 0; i < ODD_SIZES; i++)
        for (int t = 0; t < 4; t++)
            run_matmul((struct matmul_case){ { t & 1, t >> 1, 0.5f, 0.0f },
                                             1,
                                             1,
                                             1,
                                             odd_sizes[i] > 33 ? 5 : odd_sizes[i],
                                             7,
                                             odd_sizes[i] });
    run_matmul((struct matmul_case){ { 0, 1, 1.0f, 0.0f }, 3, 3, 3, 7, 5, 33 });
    run_matmul((struct matmul_case){ { 1, 0, 1.0f, 0.0f }, 3, 1, 3, 7, 5, 33 });
    run_matmul((struct matmul_case){ { 0, 0, 1.0f, 0.0f }, 1, 2, 2, 1, 31, 6 });
    run_matmul((struct matmul_case){ { 0, 0, 1.0f, 0.0f }, 2, 2, 2, 129, 131, 130 });
}

/* ---- linear ---- */

static void linear_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t D = p->in[1].shape[0], C = p->in[1].shape[1], N = view_count(&p->in[0]) / C;
    for (int64_t n = 0; n < N; n++)
        for (int64_t d = 0; d < D; d++) {
            double sum = x[2] ? x[2][d] : 0.0;
            for (int64_t c = 0; c < C; c++)
                sum += x[0][n * C + c] * x[1][d * C + c];
            y[n * D + d] = sum;
        }
}

static enum status linear_backward(const struct problem *p, const struct view *dy,
                                   struct view *grads, float beta, struct error *err)
{
    const struct linear_attrs at = { beta };
    const struct view dx[] = { *dy, p->in[1] }, dw[] = { *dy, p->in[0] };
    struct kctx k = { 0 };
    if (linear_dx_cpu(&k, &grads[0], dx, &at, err) != ST_OK ||
        linear_dw_cpu(&k, &grads[1], dw, &at, err) != ST_OK)
        return ST_FAIL;
    return grads[2].data ? linear_db_cpu(&k, &grads[2], dy, &at, err) : ST_OK;
}

static void a_linear_layer_and_its_gradients_match_loops(void **state)
{
    static const struct linear_attrs at = { 0.0f };
    (void)state;
    for (int i = 0; i < ODD_SIZES; i++) {
        struct problem p = problem_make("linear", 2 + (uint64_t)i);
        const int64_t C = odd_sizes[i], D = i % 2 ? 7 : 33;
        problem_input(&p, 0, -1, 1, SHAPE(2, 3, C));
        problem_input(&p, 1, -1, 1, SHAPE(D, C));
        if (i != 1)
            problem_input(&p, 2, -1, 1, SHAPE(D));
        problem_output(&p, SHAPE(2, 3, D));
        p.attrs = &at;
        p.reference = linear_reference;
        p.backward = linear_backward;
        p.differentiable = i != 1 ? 7 : 3;
        problem_forward(&p, linear_fwd_cpu, 1e-5);
        problem_backward(&p, 1e-5);
        problem_free(&p);
    }
}

static void linear_forward_adds_to_what_is_there(void **state)
{
    const struct linear_attrs at = { 1.0f };
    float x[] = { 2, 3 }, w[] = { 5, 7 }, b[] = { 11 }, y[] = { 13 };
    const struct view in[] = { { x, DT_F32, 2, { 1, 2 } },
                               { w, DT_F32, 2, { 1, 2 } },
                               { b, DT_F32, 1, { 1 } } };
    const struct view out = { y, DT_F32, 2, { 1, 1 } };
    struct kctx k = { 0 };
    (void)state;
    assert_int_equal(linear_fwd_cpu(&k, &out, in, &at, NULL), ST_OK);
    assert_near(y[0], 2 * 5 + 3 * 7 + 11 + 13, 0.0);
}

/* ---- convolutions ---- */

static void conv2d_reference(const struct problem *p, double *y, double *const *x)
{
    const struct conv2d_attrs *at = p->attrs;
    const int64_t I = p->in[0].shape[0], H = p->in[0].shape[1], W = p->in[0].shape[2];
    const int64_t C = p->in[0].shape[3], D = p->in[1].shape[0], kh = p->in[1].shape[2];
    const int64_t kw = p->in[1].shape[3], P = p->out.shape[1], Q = p->out.shape[2];
    for (int64_t n = 0; n < I * P * Q * D; n++) {
        const int64_t d = n % D, q = n / D % Q, v = n / D / Q % P, i = n / D / Q / P;
        double sum = x[2] ? x[2][d] : 0.0;
        for (int64_t t = 0; t < kh * kw * C; t++) {
            const int64_t c = t % C, s = t / C % kw, r = t / C / kw;
            const int64_t h = v * at->stride + r - at->pad_top;
            const int64_t w = q * at->stride + s - at->pad_left;
            if (h >= 0 && h < H && w >= 0 && w < W)
                sum += x[0][((i * H + h) * W + w) * C + c] * x[1][((d * C + c) * kh + r) * kw + s];
        }
        y[n] = sum;
    }
}

static enum status conv2d_backward(const struct problem *p, const struct view *dy,
                                   struct view *grads, float beta, struct error *err)
{
    struct conv2d_attrs at = *(const struct conv2d_attrs *)p->attrs;
    const struct linear_attrs bias = { beta };
    const struct view dx[] = { *dy, p->in[1] }, dw[] = { *dy, p->in[0] };
    struct kctx k = { 0 };
    at.beta = beta;
    if (conv2d_dx_cpu(&k, &grads[0], dx, &at, err) != ST_OK ||
        conv2d_dw_cpu(&k, &grads[1], dw, &at, err) != ST_OK)
        return ST_FAIL;
    return grads[2].data ? linear_db_cpu(&k, &grads[2], dy, &bias, err) : ST_OK;
}

struct conv_case {
    struct conv2d_attrs at;
    int64_t I, H, W, C, D, kh, kw;
    bool bias;
};

static void run_conv(const struct conv_case *c)
{
    struct problem p = problem_make("conv2d", 17);
    const int64_t P = conv2d_side(c->H, c->kh, c->at.stride, c->at.pad_top + c->at.pad_bottom);
    const int64_t Q = conv2d_side(c->W, c->kw, c->at.stride, c->at.pad_left + c->at.pad_right);
    problem_input(&p, 0, -1, 1, SHAPE(c->I, c->H, c->W, c->C));
    problem_input(&p, 1, -1, 1, SHAPE(c->D, c->C, c->kh, c->kw));
    if (c->bias)
        problem_input(&p, 2, -1, 1, SHAPE(c->D));
    problem_output(&p, SHAPE(c->I, P, Q, c->D));
    p.attrs = &c->at;
    p.reference = conv2d_reference;
    p.backward = conv2d_backward;
    p.differentiable = c->bias ? 7 : 3;
    problem_forward(&p, conv2d_fwd_cpu, 1e-5);
    problem_backward(&p, 2e-5);
    problem_free(&p);
}

static void convolutions_of_all_geometries_match_loops(void **state)
{
    static const struct conv_case cases[] = {
        { { 1, 1, 1, 1, 1, 0 }, 2, 5, 7, 3, 4, 3, 3, true }, /* 3x3 */
        { { 2, 1, 1, 1, 1, 0 }, 1, 8, 8, 7, 5, 3, 3, true }, /* UNet's downsampler */
        { { 2, 0, 0, 1, 1, 0 }, 1, 8, 6, 4, 6, 3, 3, true }, /* the VAE's: right and bottom only */
        { { 1, 0, 0, 0, 0, 0 }, 2, 3, 5, 31, 33, 1, 1, true },  /* 1x1 */
        { { 1, 0, 0, 0, 0, 0 }, 2, 3, 3, 6, 5, 1, 1, false },   /* 1x1 without bias */
        { { 4, 0, 0, 0, 0, 0 }, 2, 8, 12, 3, 32, 4, 4, true },  /* stem */
        { { 2, 0, 0, 0, 0, 0 }, 1, 6, 6, 32, 7, 2, 2, true },   /* downsample */
        { { 2, 0, 0, 0, 0, 0 }, 1, 7, 5, 3, 2, 2, 2, true },    /* a rest at the border */
        { { 1, 2, 0, 1, 3, 0 }, 1, 4, 5, 2, 3, 3, 5, false },   /* nothing alike */
        { { 3, 1, 1, 1, 1, 0 }, 1, 7, 7, 2, 3, 3, 3, true },    /* apart, with padding */
        { { 1, 1, 1, 1, 1, 0 }, 1, 1, 1, 1, 1, 3, 3, true },    /* a single pixel */
        { { 1, 1, 1, 1, 1, 0 }, 1, 33, 31, 40, 3, 3, 3, true }, /* several runs */
        { { 1, 1, 1, 1, 1, 0 },
          1,
          25,
          25,
          200,
          1,
          3,
          3,
          false }, /* of the weights' gradient, too */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run_conv(&cases[i]);
}

static void depthwise_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t I = p->in[0].shape[0], H = p->in[0].shape[1], W = p->in[0].shape[2];
    const int64_t C = p->in[0].shape[3], k = p->in[1].shape[2];
    for (int64_t n = 0; n < I * H * W * C; n++) {
        const int64_t c = n % C, w = n / C % W, h = n / C / W % H, i = n / C / W / H;
        double sum = x[2] ? x[2][c] : 0.0;
        for (int64_t t = 0; t < k * k; t++) {
            const int64_t r = h + t / k - k / 2, s = w + t % k - k / 2;
            if (r >= 0 && r < H && s >= 0 && s < W)
                sum += x[0][((i * H + r) * W + s) * C + c] * x[1][c * k * k + t];
        }
        y[n] = sum;
    }
}

static enum status depthwise_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    const struct depthwise_attrs at = { beta };
    const struct linear_attrs bias = { beta };
    const struct view dx[] = { *dy, p->in[1] }, dw[] = { *dy, p->in[0] };
    struct kctx k = { 0 };
    if (depthwise_dx_cpu(&k, &grads[0], dx, &at, err) != ST_OK ||
        depthwise_dw_cpu(&k, &grads[1], dw, &at, err) != ST_OK)
        return ST_FAIL;
    return linear_db_cpu(&k, &grads[2], dy, &bias, err);
}

static void depthwise_convolutions_match_loops(void **state)
{
    static const struct depthwise_attrs at = { 0.0f };
    static const int64_t cases[][5] = { { 2, 5, 9, 3, 7 },
                                        { 1, 1, 1, 7, 7 },
                                        { 1, 8, 3, 32, 7 },
                                        { 2, 4, 4, 33, 3 },
                                        { 1, 10, 10, 31, 7 } };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int64_t *c = cases[i];
        struct problem p = problem_make("depthwise", 23 + i);
        problem_input(&p, 0, -1, 1, SHAPE(c[0], c[1], c[2], c[3]));
        problem_input(&p, 1, -1, 1, SHAPE(c[3], 1, c[4], c[4]));
        problem_input(&p, 2, -1, 1, SHAPE(c[3]));
        problem_output(&p, SHAPE(c[0], c[1], c[2], c[3]));
        p.attrs = &at;
        p.reference = depthwise_reference;
        p.backward = depthwise_backward;
        p.differentiable = 7;
        problem_forward(&p, depthwise_fwd_cpu, 1e-5);
        problem_backward(&p, 1e-5);
        problem_free(&p);
    }
}

static void operands_that_do_not_meet_are_refused(void **state)
{
    const struct conv2d_attrs conv = { 1, 1, 1, 1, 1, 0 };
    const struct linear_attrs linear = { 0 };
    const struct matmul_attrs product = { 0, 0, 1.0f, 0.0f };
    float m[64] = { 0 };
    const struct view x = { m, DT_F32, 2, { 2, 3 } }, w = { m, DT_F32, 2, { 5, 4 } },
                      y = { m, DT_F32, 2, { 2, 5 } }, none = { 0 };
    const struct view in[] = { x, w, none };
    const struct view pictures[] = { { m, DT_F32, 4, { 1, 2, 2, 3 } },
                                     { m, DT_F32, 4, { 1, 2, 3, 3 } },
                                     none };
    (void)state;
    assert_refused(linear_fwd_cpu, &y, in, &linear,
                   "linear: operands or attributes do not fit: "
                   "f32[2,5] <- f32[2,3] f32[5,4] none");
    assert_refused(matmul_fwd_cpu, &y, in, &product, "matmul");
    assert_refused(conv2d_fwd_cpu, &pictures[0], pictures, &conv, "conv2d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_all_transposes_and_batches_match_loops),
        cmocka_unit_test(a_linear_layer_and_its_gradients_match_loops),
        cmocka_unit_test(linear_forward_adds_to_what_is_there),
        cmocka_unit_test(convolutions_of_all_geometries_match_loops),
        cmocka_unit_test(depthwise_convolutions_match_loops),
        cmocka_unit_test(operands_that_do_not_meet_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
