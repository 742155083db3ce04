/* tests/kernels/test_pointwise.c: activations, sums, products with vectors. */
#include "tests/kernels/problem.h"

#include "kernels/activation.h"
#include "kernels/add.h"
#include "kernels/scale.h"

/* ---- one input, element by element: the function and both kernels in a row of a table ---- */

static double gelu(double x)
{
    return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
}
static double silu(double x)
{
    return x / (1.0 + exp(-x));
}
static double relu(double x)
{
    return x > 0.0 ? x : 0.0;
}

struct curve {
    struct activation_attrs at; /* first: the kernel's attributes */
    const char *name;
    double (*f)(double);
    kernel_fn *fwd, *bwd;
};

static void curve_reference(const struct problem *p, double *y, double *const *x)
{
    const struct curve *c = p->attrs;
    for (int64_t i = 0; i < view_count(&p->in[0]); i++)
        y[i] = c->f(x[0][i]);
}

static enum status curve_backward(const struct problem *p, const struct view *dy,
                                  struct view *grads, float beta, struct error *err)
{
    const struct activation_attrs at = { beta };
    const struct curve *c = p->attrs;
    const struct view in[] = { *dy, p->in[0] };
    struct kctx k = { 0 };
    return c->bwd(&k, grads, in, &at, err);
}

static void curves_and_their_slopes_match_the_library_in_double(void **state)
{
    static const struct curve curves[] = {
        { { 0 }, "gelu", gelu, gelu_fwd_cpu, gelu_bwd_cpu },
        { { 0 }, "silu", silu, silu_fwd_cpu, silu_bwd_cpu },
        { { 0 }, "relu", relu, relu_fwd_cpu, relu_bwd_cpu },
    };
    (void)state;
    for (int i = 0; i < 3 * ODD_SIZES; i++) {
        const struct curve *c = &curves[i / ODD_SIZES];
        struct problem p = problem_make(c->name, 9 + (uint64_t)i);
        problem_input(&p, 0, -6, 6, SHAPE(odd_sizes[i % ODD_SIZES], 3));
        problem_output(&p, SHAPE(odd_sizes[i % ODD_SIZES], 3));
        p.attrs = c;
        p.reference = curve_reference;
        p.backward = curve_backward;
        p.differentiable = 1;
        problem_forward(&p, c->fwd, 1e-6);
        problem_backward(&p, 1e-5);
        problem_free(&p);
    }
}

static void extreme_inputs_stay_finite(void **state)
{
    float x[] = { -200.0f, -90.0f, 0.0f, 90.0f, 3e38f, -3e38f }, y[6];
    const float want[] = { 0.0f, 0.0f, 0.0f, 90.0f, 3e38f, 0.0f };
    const struct view in = { x, DT_F32, 1, { 6 } }, out = { y, DT_F32, 1, { 6 } };
    kernel_fn *const kernels[] = { gelu_fwd_cpu, silu_fwd_cpu };
    struct kctx k = { 0 };
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kernels[i](&k, &out, &in, NULL, NULL), ST_OK);
        for (int e = 0; e < 6; e++)
            assert_near(y[e], want[e], 1e-30);
    }
}

/* ---- problems with the shapes of a transformer: [2,5,C] ---- */

static void swiglu_reference(const struct problem *p, double *y, double *const *x)
{
    for (int64_t i = 0; i < view_count(&p->in[0]); i++)
        y[i] = silu(x[0][i]) * x[1][i];
}
static enum status swiglu_backward(const struct problem *p, const struct view *dy,
                                   struct view *grads, float beta, struct error *err)
{
    const struct swiglu_attrs at = { beta, beta };
    const struct view in[] = { *dy, p->in[0], p->in[1] };
    struct kctx k = { 0 };
    return swiglu_bwd_cpu(&k, grads, in, &at, err);
}

static void geglu_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t C = p->out.shape[2];
    for (int64_t i = 0; i < view_count(&p->out); i++)
        y[i] = x[0][i / C * 2 * C + i % C] * gelu(x[0][i / C * 2 * C + C + i % C]);
}
static enum status geglu_backward(const struct problem *p, const struct view *dy,
                                  struct view *grads, float beta, struct error *err)
{
    const struct activation_attrs at = { beta };
    const struct view in[] = { *dy, p->in[0] };
    struct kctx k = { 0 };
    return geglu_bwd_cpu(&k, grads, in, &at, err);
}

static void add_table_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t T = view_count(&p->in[1]);
    for (int64_t i = 0; i < view_count(&p->out); i++)
        y[i] = (x[0] ? x[0][i] : 0.0) + x[1][i % T];
}
static enum status add_table_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    const struct add_table_attrs at = { beta };
    const struct axpby_attrs same = { 1.0f, beta };
    struct kctx k = { 0 };
    (void)p;
    if (grads[0].data && axpby_fwd_cpu(&k, &grads[0], dy, &same, err) != ST_OK)
        return ST_FAIL;
    return add_table_bwd_cpu(&k, &grads[1], dy, &at, err);
}

static void add_image_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t I = p->in[1].shape[0], C = p->in[1].shape[1], n = view_count(&p->out);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[0][i] + x[1][i / (n / I) * C + i % C];
}
static enum status add_image_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    const struct add_table_attrs at = { beta };
    struct kctx k = { 0 };
    (void)p;
    return add_image_bwd_cpu(&k, &grads[1], dy, &at, err);
}

static void gated_add_reference(const struct problem *p, double *y, double *const *x)
{
    for (int64_t i = 0; i < view_count(&p->out); i++)
        y[i] = x[0][i] + tanh(x[2][0]) * x[1][i];
}
static enum status gated_add_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    const struct gated_add_attrs at = { beta, beta };
    const struct view in[] = { *dy, p->in[1], p->in[2] };
    struct kctx k = { 0 };
    return gated_add_bwd_cpu(&k, &grads[1], in, &at, err);
}

static void add_scaled_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t n = view_count(&p->out), I = view_count(&p->in[2]);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[0][i] + x[2][i / (n / I)] * x[1][i];
}
static enum status add_scaled_backward(const struct problem *p, const struct view *dy,
                                       struct view *grads, float beta, struct error *err)
{
    const struct scale_rows_attrs at = { beta };
    const struct view in[] = { *dy, p->in[2] };
    struct kctx k = { 0 };
    return scale_rows_fwd_cpu(&k, &grads[1], in, &at, err);
}

static void scale_channels_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t C = p->in[0].shape[2];
    for (int64_t i = 0; i < view_count(&p->out); i++)
        y[i] = x[0][i] * x[1][i % C] + (x[2] ? x[2][i % C] : 0.0);
}
static enum status scale_channels_backward(const struct problem *p, const struct view *dy,
                                           struct view *grads, float beta, struct error *err)
{
    const struct scale_channels_attrs at = { beta, beta, beta };
    const struct view in[] = { *dy, p->in[0], p->in[1] };
    struct kctx k = { 0 };
    return scale_channels_bwd_cpu(&k, grads, in, &at, err);
}

struct layer {
    const char *name;
    kernel_fn *fwd;
    void (*reference)(const struct problem *, double *, double *const *);
    enum status (*backward)(const struct problem *, const struct view *, struct view *, float,
                            struct error *);
    unsigned inputs; /* bit i: input i is there */
    unsigned differentiable;
    int kind
        [3]; /* of each input: 0 = [2,5,C], 1 = [C], 2 = [2,C], 3 = [1], 4 = [2], 5 = [2,5,2C] */
};

static void shape_input(struct problem *p, int i, int kind, int64_t C)
{
    switch (kind) {
    case 0:
        problem_input(p, i, -3, 3, SHAPE(2, 5, C));
        break;
    case 1:
        problem_input(p, i, -3, 3, SHAPE(C));
        break;
    case 2:
        problem_input(p, i, -3, 3, SHAPE(2, C));
        break;
    case 3:
        problem_input(p, i, 0.2, 0.9, SHAPE(1));
        break;
    case 4:
        problem_input(p, i, 0.2, 0.9, SHAPE(2));
        break;
    default:
        problem_input(p, i, -3, 3, SHAPE(2, 5, 2 * C));
    }
}

static void layers_of_several_inputs_match_loops(void **state)
{
    static const struct layer layers[] = {
        { "swiglu", swiglu_fwd_cpu, swiglu_reference, swiglu_backward, 3, 3, { 0, 0, 0 } },
        { "geglu", geglu_fwd_cpu, geglu_reference, geglu_backward, 1, 1, { 5, 0, 0 } },
        { "add_table",
          add_table_fwd_cpu,
          add_table_reference,
          add_table_backward,
          3,
          3,
          { 0, 1, 0 } },
        { "repeat", add_table_fwd_cpu, add_table_reference, add_table_backward, 2, 2, { 0, 1, 0 } },
        { "add_image",
          add_image_fwd_cpu,
          add_image_reference,
          add_image_backward,
          3,
          2,
          { 0, 2, 0 } },
        { "gated_add",
          gated_add_fwd_cpu,
          gated_add_reference,
          gated_add_backward,
          7,
          6,
          { 0, 0, 3 } },
        { "add_scaled",
          add_scaled_fwd_cpu,
          add_scaled_reference,
          add_scaled_backward,
          7,
          2,
          { 0, 0, 4 } },
        { "scale_channels",
          scale_channels_fwd_cpu,
          scale_channels_reference,
          scale_channels_backward,
          7,
          7,
          { 0, 1, 1 } },
        { "scale_channels",
          scale_channels_fwd_cpu,
          scale_channels_reference,
          scale_channels_backward,
          3,
          3,
          { 0, 1, 1 } },
    };
    (void)state;
    for (size_t n = 0; n < ODD_SIZES * sizeof layers / sizeof *layers; n++) {
        const struct layer *l = &layers[n / ODD_SIZES];
        const int64_t C = odd_sizes[n % ODD_SIZES];
        static const float no_attrs[4] = { 0 };
        struct problem p = problem_make(l->name, 31 + n);
        for (int i = 0; i < 3; i++)
            if (l->inputs >> i & 1)
                shape_input(&p, i, l->kind[i], C);
        problem_output(&p, SHAPE(2, 5, C));
        p.attrs = no_attrs;
        p.reference = l->reference;
        p.backward = l->backward;
        p.differentiable = l->differentiable;
        problem_forward(&p, l->fwd, 1e-6);
        problem_backward(&p, 1e-5);
        problem_free(&p);
    }
}

static void sums_weigh_their_parts(void **state)
{
    const struct add_attrs at = { 2.0f, -3.0f };
    float x[] = { 1, 2, 3 }, y[] = { 10, 20, 30 }, z[3];
    const struct view in[] = { { x, DT_F32, 1, { 3 } }, { y, DT_F32, 1, { 3 } } };
    const struct view out = { z, DT_F32, 1, { 3 } };
    struct kctx k = { 0 };
    (void)state;
    assert_int_equal(add_fwd_cpu(&k, &out, in, &at, NULL), ST_OK);
    for (int i = 0; i < 3; i++)
        assert_near(z[i], 2 * x[i] - 3 * y[i], 0.0);
}

static void a_table_that_does_not_divide_is_refused(void **state)
{
    float m[12] = { 0 };
    const struct view y = { m, DT_F32, 2, { 3, 4 } }, table = { m, DT_F32, 1, { 5 } };
    const struct view in[] = { y, table };
    (void)state;
    assert_refused(add_table_fwd_cpu, &y, in, NULL, "add_table");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_and_their_slopes_match_the_library_in_double),
        cmocka_unit_test(extreme_inputs_stay_finite),
        cmocka_unit_test(layers_of_several_inputs_match_loops),
        cmocka_unit_test(sums_weigh_their_parts),
        cmocka_unit_test(a_table_that_does_not_divide_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
