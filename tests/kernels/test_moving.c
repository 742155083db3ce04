/* tests/kernels/test_moving.c: copies, rows by index, resampling, means over pixels. */
#include "tests/kernels/problem.h"

#include "kernels/copy.h"
#include "kernels/gather.h"
#include "kernels/pool.h"
#include "kernels/resize.h"

static const float no_attrs[8] = { 0 };

/* ---- copies ---- */

static void concat_reference(const struct problem *p, double *y, double *const *x)
{
    const struct concat_attrs *at = p->attrs;
    int64_t outer = 1, a = 1, b = 1;
    for (int i = 0; i < 3; i++) {
        outer *= i < at->axis ? p->out.shape[i] : 1;
        a *= i >= at->axis ? p->in[0].shape[i] : 1;
        b *= i >= at->axis ? p->in[1].shape[i] : 1;
    }
    for (int64_t i = 0; i < outer * (a + b); i++)
        y[i] = i % (a + b) < a ? x[0][i / (a + b) * a + i % (a + b)]
                               : x[1][i / (a + b) * b + i % (a + b) - a];
}

static enum status concat_backward(const struct problem *p, const struct view *dy,
                                   struct view *grads, float beta, struct error *err)
{
    const struct concat_attrs at = { ((const struct concat_attrs *)p->attrs)->axis, beta, beta };
    const struct view second[] = { { 0 }, grads[1] };
    struct view first[] = { grads[0], { 0 } };
    struct kctx k = { 0 };
    if (beta == 0.0f) /* both at once, then one by one */
        return split_fwd_cpu(&k, grads, dy, &at, err);
    return split_fwd_cpu(&k, first, dy, &at, err) == ST_OK ? split_fwd_cpu(&k, second, dy, &at, err)
                                                           : ST_FAIL;
}

static void joining_and_cutting_along_any_axis_are_inverse(void **state)
{
    (void)state;
    for (int axis = 0; axis < 3; axis++) {
        const struct concat_attrs at = { axis, 0, 0 };
        int64_t a[] = { 3, 7, 5 }, b[] = { 3, 7, 5 }, z[] = { 3, 7, 5 };
        struct problem p = problem_make("concat", 91);
        b[axis] = 2;
        z[axis] = a[axis] + 2;
        problem_input(&p, 0, -1, 1, 3, a);
        problem_input(&p, 1, -1, 1, 3, b);
        problem_output(&p, 3, z);
        p.attrs = &at;
        p.reference = concat_reference;
        p.backward = concat_backward;
        p.differentiable = 3;
        problem_forward(&p, concat_fwd_cpu, 0.0);
        problem_backward(&p, 1e-6);
        problem_free(&p);
    }
}

static void transpose_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t I = p->in[0].shape[0], A = p->in[0].shape[1], B = p->in[0].shape[2];
    for (int64_t i = 0; i < I; i++)
        for (int64_t n = 0; n < A * B; n++)
            y[i * A * B + n % B * A + n / B] = x[0][i * A * B + n];
}

static enum status transpose_backward(const struct problem *p, const struct view *dy,
                                      struct view *grads, float beta, struct error *err)
{
    const struct transpose_attrs at = { beta };
    struct kctx k = { 0 };
    (void)p;
    return transpose_fwd_cpu(&k, grads, dy, &at, err);
}

static void transposing_is_its_own_gradient(void **state)
{
    (void)state;
    for (int i = 0; i < ODD_SIZES; i++) {
        struct problem p = problem_make("transpose", 95);
        problem_input(&p, 0, -1, 1, SHAPE(2, 3, odd_sizes[i]));
        problem_output(&p, SHAPE(2, odd_sizes[i], 3));
        p.attrs = no_attrs;
        p.reference = transpose_reference;
        p.backward = transpose_backward;
        p.differentiable = 1;
        problem_forward(&p, transpose_fwd_cpu, 0.0);
        problem_backward(&p, 1e-6);
        problem_free(&p);
    }
}

static void types_change_with_rounding_to_nearest_even(void **state)
{
    const struct cast_attrs one = { 1.0f }, pixel = { 1.0f / 255.0f };
    float f[] = { 1.0f, 1.00390625f, 1.01171875f, -2.5f, NAN }, back[5];
    uint16_t h[5];
    uint8_t u[] = { 0, 255, 51 };
    int32_t i[] = { -3, 7 };
    const struct view fv = { f, DT_F32, 1, { 5 } }, hv = { h, DT_BF16, 1, { 5 } },
                      bv = { back, DT_F32, 1, { 5 } }, uv = { u, DT_U8, 1, { 3 } },
                      iv = { i, DT_I32, 1, { 2 } }, b3 = { back, DT_F32, 1, { 3 } },
                      b2 = { back, DT_F32, 1, { 2 } };
    struct kctx k = { 0 };
    (void)state;
    assert_int_equal(cast_fwd_cpu(&k, &hv, &fv, &one, NULL), ST_OK);
    assert_int_equal(h[0], 0x3f80);
    assert_int_equal(h[1], 0x3f80); /* a tie goes to the even one */
    assert_int_equal(h[2], 0x3f82);
    assert_int_equal(cast_fwd_cpu(&k, &bv, &hv, &one, NULL), ST_OK);
    assert_near(back[3], -2.5, 0.0);
    assert_true(isnan(back[4]));
    assert_int_equal(cast_fwd_cpu(&k, &b3, &uv, &pixel, NULL), ST_OK);
    assert_near(back[2], 0.2, 1e-7);
    assert_int_equal(cast_fwd_cpu(&k, &b2, &iv, &one, NULL), ST_OK);
    assert_near(back[0], -3.0, 0.0);
    assert_refused(cast_fwd_cpu, &iv, &iv, &one, "cast");
}

static void filling_writes_every_element(void **state)
{
    const struct fill_attrs at = { 2.5f };
    struct view v = view_make(SHAPE(33));
    struct kctx k = { 0 };
    (void)state;
    assert_int_equal(fill_fwd_cpu(&k, &v, NULL, &at, NULL), ST_OK);
    for (int i = 0; i < 33; i++)
        assert_near(((float *)v.data)[i], 2.5, 0.0);
    free(v.data);
}

/* ---- rows by index ---- */

static void gather_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t C = p->in[0].shape[1];
    for (int64_t i = 0; i < view_count(&p->out); i++) {
        const int32_t a = ((const int32_t *)p->in[1].data)[i / C];
        y[i] = a < 0 ? 0.0 : x[0][a * C + i % C];
        if (p->in[2].data) {
            const int32_t b = ((const int32_t *)p->in[3].data)[i / C];
            y[i] += b < 0 ? 0.0 : x[2][b * C + i % C];
        }
    }
}

static enum status gather_backward(const struct problem *p, const struct view *dy,
                                   struct view *grads, float beta, struct error *err)
{
    const struct gather_attrs at = { beta };
    const struct view rows[] = { *dy, p->in[1] }, table[] = { *dy, p->in[3] };
    struct kctx k = { 0 };
    if (gather_bwd_cpu(&k, &grads[0], rows, &at, err) != ST_OK)
        return ST_FAIL;
    return grads[2].data ? gather_bwd_cpu(&k, &grads[2], table, &at, err) : ST_OK;
}

static void rows_are_gathered_and_their_gradients_summed(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * ODD_SIZES; i++) {
        const int64_t C = odd_sizes[i % ODD_SIZES];
        const bool two = i >= ODD_SIZES;
        struct problem p = problem_make("gather", 101 + (uint64_t)i);
        problem_input(&p, 0, -1, 1, SHAPE(6, C));
        problem_index(&p, 1, -1, 6, SHAPE(17)); /* repeats and holes */
        if (two) {
            problem_input(&p, 2, -1, 1, SHAPE(9, C));
            problem_index(&p, 3, -1, 9, SHAPE(17));
        }
        problem_output(&p, SHAPE(17, C));
        p.attrs = no_attrs;
        p.reference = gather_reference;
        p.backward = gather_backward;
        p.differentiable = two ? 5 : 1;
        problem_forward(&p, two ? gather_sum_fwd_cpu : gather_fwd_cpu, 1e-7);
        problem_backward(&p, 1e-6);
        problem_free(&p);
    }
}

static void scatter_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t C = p->in[0].shape[1];
    memcpy(y, x[0], (size_t)view_count(&p->out) * sizeof *y);
    for (int64_t m = 0; m < view_count(&p->in[2]); m++)
        for (int64_t c = 0; c < (((const int32_t *)p->in[2].data)[m] < 0 ? 0 : C); c++)
            y[((const int32_t *)p->in[2].data)[m] * C + c] = x[1][m * C + c];
}

static enum status scatter_backward(const struct problem *p, const struct view *dy,
                                    struct view *grads, float beta, struct error *err)
{
    const struct gather_attrs at = { beta };
    const struct view in[] = { *dy, p->in[2] };
    struct kctx k = { 0 };
    return scatter_dx_cpu(&k, &grads[0], in, &at, err) == ST_OK
               ? gather_fwd_cpu(&k, &grads[1], in, &at, err)
               : ST_FAIL;
}

static void rows_written_over_take_the_gradient_with_them(void **state)
{
    static const int32_t index[] = { 4, -1, 0, 6 };
    (void)state;
    for (int i = 0; i < ODD_SIZES; i++) {
        struct problem p = problem_make("scatter", 111 + (uint64_t)i);
        problem_input(&p, 0, -1, 1, SHAPE(7, odd_sizes[i]));
        problem_input(&p, 1, -1, 1, SHAPE(4, odd_sizes[i]));
        problem_index(&p, 2, 0, 1, SHAPE(4));
        memcpy(p.in[2].data, index, sizeof index);
        problem_output(&p, SHAPE(7, odd_sizes[i]));
        p.attrs = no_attrs;
        p.reference = scatter_reference;
        p.backward = scatter_backward;
        p.differentiable = 3;
        problem_forward(&p, scatter_fwd_cpu, 0.0);
        problem_backward(&p, 1e-6);
        problem_free(&p);
    }
}

static void an_index_outside_the_table_is_named(void **state)
{
    float m[8] = { 0 };
    int32_t index[] = { 0, 2 };
    const struct view rows = { m, DT_F32, 2, { 2, 2 } }, list = { index, DT_I32, 1, { 2 } };
    const struct view in[] = { rows, list };
    (void)state;
    assert_refused(gather_fwd_cpu, &rows, in, no_attrs, "index 1: got 2, want -1 or [0, 2)");
    index[1] = -2;
    assert_refused(gather_bwd_cpu, &rows, in, no_attrs, "index 1: got -2");
}

/* ---- resampling ---- */

/* Keys, a = -0.75, by distance. */
static double cubic(double d)
{
    const double a = -0.75, x = fabs(d);
    if (x <= 1.0)
        return (a + 2.0) * x * x * x - (a + 3.0) * x * x + 1.0;
    return x < 2.0 ? a * (x * x * x - 5.0 * x * x + 8.0 * x - 4.0) : 0.0;
}

static void bicubic_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t h = p->in[0].shape[0], w = p->in[0].shape[1], C = p->in[0].shape[2];
    const int64_t H = p->out.shape[0], W = p->out.shape[1];
    for (int64_t n = 0; n < H * W * C; n++) {
        const double v = ((double)(n / C / W) + 0.5) * (double)h / (double)H - 0.5;
        const double u = ((double)(n / C % W) + 0.5) * (double)w / (double)W - 0.5;
        for (int64_t i = (int64_t)floor(v) - 1; i <= (int64_t)floor(v) + 2; i++)
            for (int64_t j = (int64_t)floor(u) - 1; j <= (int64_t)floor(u) + 2; j++) {
                const int64_t r = i < 0    ? 0
                                  : i >= h ? h - 1
                                           : i,
                              s = j < 0    ? 0
                                  : j >= w ? w - 1
                                           : j;
                y[n] += cubic(v - (double)i) * cubic(u - (double)j) * x[0][(r * w + s) * C + n % C];
            }
    }
}

static void tables_resize_by_the_cubic_of_the_specification(void **state)
{
    static const int64_t cases[][4] = {
        { 16, 16, 32, 33 }, { 16, 16, 8, 7 }, { 4, 5, 4, 5 }, { 1, 1, 3, 2 }, { 2, 3, 1, 1 }
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct problem p = problem_make("resize_bicubic", 121 + i);
        problem_input(&p, 0, -1, 1, SHAPE(cases[i][0], cases[i][1], 3));
        problem_output(&p, SHAPE(cases[i][2], cases[i][3], 3));
        p.reference = bicubic_reference;
        problem_forward(&p, resize_bicubic_fwd_cpu, 1e-6);
        problem_free(&p);
    }
}

static void bilinear_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t h = p->in[0].shape[1], w = p->in[0].shape[2];
    const int64_t H = p->out.shape[1], W = p->out.shape[2];
    for (int64_t n = 0; n < view_count(&p->out); n++) {
        const double v = fmax(0.0, ((double)(n / W % H) + 0.5) * (double)h / (double)H - 0.5);
        const double u = fmax(0.0, ((double)(n % W) + 0.5) * (double)w / (double)W - 0.5);
        for (int k = 0; k < 4; k++) {
            const int64_t i = (int64_t)v + k / 2, j = (int64_t)u + k % 2;
            const double weight = (1.0 - fabs(v - (double)i)) * (1.0 - fabs(u - (double)j));
            y[n] += weight * x[0][(n / W / H * h + (i < h ? i : h - 1)) * w + (j < w ? j : w - 1)];
        }
    }
}

static void masks_resize_bilinearly(void **state)
{
    static const int64_t cases[][4] = {
        { 32, 32, 8, 8 }, { 7, 5, 9, 11 }, { 14, 14, 14, 14 }, { 1, 1, 3, 2 }
    };
    static const struct resize_bilinear_attrs at = { 0 };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct problem p = problem_make("resize_bilinear", 131 + i);
        problem_input(&p, 0, 0, 1, SHAPE(2, cases[i][0], cases[i][1]));
        problem_output(&p, SHAPE(2, cases[i][2], cases[i][3]));
        p.attrs = &at;
        p.reference = bilinear_reference;
        problem_forward(&p, resize_bilinear_fwd_cpu, 1e-6);
        problem_free(&p);
    }
}

static void one_pixel_sets_a_cell_only_where_it_is_sampled(void **state)
{
    const struct resize_bilinear_attrs at = { 1 };
    float m[64] = { 0 }, y[4];
    const struct view in = { m, DT_F32, 3, { 1, 8, 8 } }, out = { y, DT_F32, 3, { 1, 2, 2 } };
    struct kctx k = { 0 };
    (void)state;
    m[0] = 1.0f; /* between the sampled pixels: vanishes */
    assert_int_equal(resize_bilinear_fwd_cpu(&k, &out, &in, &at, NULL), ST_OK);
    assert_near(y[0] + y[1] + y[2] + y[3], 0.0, 0.0);
    m[1 * 8 + 6] = 0.25f; /* rows 1, 2 and columns 5, 6 are sampled by cell (0,1) */
    assert_int_equal(resize_bilinear_fwd_cpu(&k, &out, &in, &at, NULL), ST_OK);
    assert_near(y[1], 1.0, 0.0);
    assert_near(y[0] + y[2] + y[3], 0.0, 0.0);
}

static void upsample_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t W = p->out.shape[2], C = p->out.shape[3], H = p->out.shape[1];
    for (int64_t n = 0; n < view_count(&p->out); n++)
        y[n] = x[0][((n / C / W / H * (H / 2) + n / C / W % H / 2) * (W / 2) + n / C % W / 2) * C +
                    n % C];
}

static enum status upsample_backward(const struct problem *p, const struct view *dy,
                                     struct view *grads, float beta, struct error *err)
{
    const struct upsample2_attrs at = { beta };
    struct kctx k = { 0 };
    (void)p;
    return upsample2_bwd_cpu(&k, grads, dy, &at, err);
}

static void doubling_repeats_and_sums_back(void **state)
{
    (void)state;
    for (int i = 0; i < ODD_SIZES; i++) {
        struct problem p = problem_make("upsample2", 141 + (uint64_t)i);
        problem_input(&p, 0, -1, 1, SHAPE(2, 3, 2, odd_sizes[i]));
        problem_output(&p, SHAPE(2, 6, 4, odd_sizes[i]));
        p.reference = upsample_reference;
        p.backward = upsample_backward;
        p.differentiable = 1;
        problem_forward(&p, upsample2_fwd_cpu, 0.0);
        problem_backward(&p, 1e-6);
        problem_free(&p);
    }
}

/* ---- means over pixels; the mask, where there is one, is input 1 ---- */

static void pool_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t I = p->out.shape[0], C = p->out.shape[1], P = view_count(&p->in[0]) / I / C;
    for (int64_t i = 0; i < I; i++) {
        double weight = x[1] ? 1e-8 : (double)P;
        for (int64_t n = 0; n < (x[1] ? P : 0); n++)
            weight += x[1][i * P + n];
        for (int64_t n = 0; n < P * C; n++)
            y[i * C + n % C] += x[0][i * P * C + n] * (x[1] ? x[1][i * P + n / C] : 1.0) / weight;
    }
}

static enum status pool_backward(const struct problem *p, const struct view *dy, struct view *grads,
                                 float beta, struct error *err)
{
    const struct pool_attrs at = { beta };
    const struct view in[] = { *dy, p->in[1] };
    struct kctx k = { 0 };
    return (p->in[1].data ? pool_mask_bwd_cpu : pool_mean_bwd_cpu)(&k, grads, in, &at, err);
}

static void means_with_and_without_mask_match_loops(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * ODD_SIZES; i++) {
        const int64_t C = odd_sizes[i % ODD_SIZES];
        struct problem p = problem_make("pool", 151 + (uint64_t)i);
        problem_input(&p, 0, -1, 1, SHAPE(2, 3, 5, C));
        if (i < ODD_SIZES)
            problem_input(&p, 1, 0, 1, SHAPE(2, 3, 5));
        problem_output(&p, SHAPE(2, C));
        p.attrs = no_attrs;
        p.reference = pool_reference;
        p.backward = pool_backward;
        p.differentiable = 1;
        problem_forward(&p, i < ODD_SIZES ? pool_mask_fwd_cpu : pool_mean_fwd_cpu, 1e-6);
        problem_backward(&p, 1e-5);
        problem_free(&p);
    }
}

static void an_empty_mask_gives_zeros(void **state)
{
    float x[] = { 1, 2, 3, 4 }, m[] = { 0, 0 }, y[2];
    const struct view in[] = { { x, DT_F32, 3, { 1, 2, 2 } }, { m, DT_F32, 2, { 1, 2 } } };
    const struct view out = { y, DT_F32, 2, { 1, 2 } };
    struct kctx k = { 0 };
    (void)state;
    assert_int_equal(pool_mask_fwd_cpu(&k, &out, in, no_attrs, NULL), ST_OK);
    assert_near(y[0], 0.0, 0.0);
    assert_near(y[1], 0.0, 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joining_and_cutting_along_any_axis_are_inverse),
        cmocka_unit_test(transposing_is_its_own_gradient),
        cmocka_unit_test(types_change_with_rounding_to_nearest_even),
        cmocka_unit_test(filling_writes_every_element),
        cmocka_unit_test(rows_are_gathered_and_their_gradients_summed),
        cmocka_unit_test(rows_written_over_take_the_gradient_with_them),
        cmocka_unit_test(an_index_outside_the_table_is_named),
        cmocka_unit_test(tables_resize_by_the_cubic_of_the_specification),
        cmocka_unit_test(masks_resize_bilinearly),
        cmocka_unit_test(one_pixel_sets_a_cell_only_where_it_is_sampled),
        cmocka_unit_test(doubling_repeats_and_sums_back),
        cmocka_unit_test(means_with_and_without_mask_match_loops),
        cmocka_unit_test(an_empty_mask_gives_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
