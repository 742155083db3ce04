/* tests/kernels/cuda/test_cuda_pointwise.c: element-wise operations, broadcasts, moving data, tables, draws. */
#include "tests/kernels/cuda/trial.h"

#include <string.h>

#include "kernels/activation.h"
#include "kernels/adamw.h"
#include "kernels/add.h"
#include "kernels/copy.h"
#include "kernels/dropout.h"
#include "kernels/gather.h"
#include "kernels/random.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/rope.h"
#include "kernels/scale.h"

#define S TRIAL_STORAGE
#define E TRIAL_EXACT
#define FOR_SIZES(C)                                                                               \
    for (int size_ = 0; size_ < 6; size_++)                                                        \
        for (int64_t C = trial_sizes[size_], once_ = 1; once_; once_ = 0)

static void curves_and_their_slopes_agree(void **state)
{
    static const enum kernel forward[] = { KERNEL_gelu_fwd, KERNEL_silu_fwd, KERNEL_relu_fwd };
    static const enum kernel backward[] = { KERNEL_gelu_bwd, KERNEL_silu_bwd, KERNEL_relu_bwd };
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 6; i++) {
        const struct activation_attrs at = { i % 2 ? 1.0f : 0.0f };
        struct trial t = trial_make(forward[i / 2], i % 2 ? "small" : "large", &at);
        trial_in(&t, S, i % 2 ? 1.0f : 30.0f, SHAPE(5, C));
        trial_out(&t, S, SHAPE(5, C));
        trial_run(&t, 2e-6);
        t = trial_make(backward[i / 2], i % 2 ? "added" : "set", &at);
        trial_in(&t, S, 1.0f, SHAPE(5, C));
        trial_in(&t, S, i % 2 ? 1.0f : 30.0f, SHAPE(5, C));
        trial_out(&t, S, SHAPE(5, C));
        trial_run(&t, 2e-6);
    }
}

static void gated_units_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 4; i++) {
        const struct swiglu_attrs swi = { i & 1 ? 1.0f : 0.0f, i & 2 ? 1.0f : 0.0f };
        const struct activation_attrs ge = { swi.beta_da };
        struct trial t = trial_make(KERNEL_swiglu_fwd, "", &swi);
        trial_in(&t, S, 3.0f, SHAPE(3, C));
        trial_in(&t, S, 1.0f, SHAPE(3, C));
        trial_out(&t, S, SHAPE(3, C));
        trial_run(&t, 2e-6);
        t = trial_make(KERNEL_swiglu_bwd,
                       i == 3   ? "both added"
                       : i == 2 ? "da only"
                                : "both",
                       &swi);
        for (int j = 0; j < 3; j++)
            trial_in(&t, S, 2.0f, SHAPE(3, C));
        trial_out(&t, S, SHAPE(3, C));
        if (i == 2)
            trial_out_none(&t);
        else
            trial_out(&t, S, SHAPE(3, C));
        trial_run(&t, 2e-6);
        t = trial_make(KERNEL_geglu_fwd, "", &ge);
        trial_in(&t, S, 3.0f, SHAPE(3, 2 * C));
        trial_out(&t, S, SHAPE(3, C));
        trial_run(&t, 2e-6);
        t = trial_make(KERNEL_geglu_bwd, "", &ge);
        trial_in(&t, S, 1.0f, SHAPE(3, C));
        trial_in(&t, S, 3.0f, SHAPE(3, 2 * C));
        trial_out(&t, S, SHAPE(3, 2 * C));
        trial_run(&t, 2e-6);
    }
}

static void sums_and_broadcasts_agree(void **state)
{
    static const struct add_attrs add = { 0.5f, -2.0f };
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 2; i++) {
        const struct axpby_attrs axpby = { 3.0f, (float)i };
        const struct add_table_attrs table = { (float)i };
        struct trial t = trial_make(KERNEL_add_fwd, "", &add);
        trial_in(&t, S, 1.0f, SHAPE(4, C));
        trial_in(&t, S, 1.0f, SHAPE(4, C));
        trial_out(&t, S, SHAPE(4, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_axpby_fwd, "", &axpby);
        trial_in(&t, S, 1.0f, SHAPE(4, C));
        trial_out(&t, E, SHAPE(4, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_add_table_fwd, i ? "x" : "no x", &table);
        if (i)
            trial_in(&t, S, 1.0f, SHAPE(5, 3, C));
        else
            trial_in_none(&t);
        trial_in(&t, S, 1.0f, SHAPE(3, C));
        trial_out(&t, S, SHAPE(5, 3, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_add_table_bwd, "", &table);
        trial_in(&t, S, 1.0f, SHAPE(150, 3, C));
        trial_out(&t, E, SHAPE(3, C));
        trial_run(&t, 2e-6);
        t = trial_make(KERNEL_add_image_fwd, i ? "x" : "no x", &table);
        if (i)
            trial_in(&t, S, 1.0f, SHAPE(3, 2, 5, C));
        else
            trial_in_none(&t);
        trial_in(&t, S, 1.0f, SHAPE(3, C));
        trial_out(&t, S, SHAPE(3, 2, 5, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_add_image_bwd, "", &table);
        trial_in(&t, S, 1.0f, SHAPE(3, 20, 7, C));
        trial_out(&t, S, SHAPE(3, C));
        trial_run(&t, 2e-6);
    }
}

static void gated_and_scaled_residuals_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 2; i++) {
        const struct gated_add_attrs gated = { (float)i, 1.0f - (float)i };
        const struct scale_rows_attrs rows = { (float)i };
        struct trial t = trial_make(KERNEL_gated_add_fwd, "", &gated);
        trial_in(&t, S, 1.0f, SHAPE(90, C));
        trial_in(&t, S, 1.0f, SHAPE(90, C));
        trial_in(&t, E, 1.0f, SHAPE(1));
        trial_out(&t, S, SHAPE(90, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_gated_add_bwd, "", &gated);
        trial_in(&t, S, 1.0f, SHAPE(90, C));
        trial_in(&t, S, 1.0f, SHAPE(90, C));
        trial_in(&t, S, 1.0f, SHAPE(1));
        trial_out(&t, S, SHAPE(90, C));
        trial_out(&t, E, SHAPE(1));
        trial_run(&t, 2e-5);
        t = trial_make(KERNEL_add_scaled_fwd, "", NULL);
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_in(&t, E, 1.0f, SHAPE(3));
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_scale_rows_fwd, "", &rows);
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_in(&t, E, 1.0f, SHAPE(3, 5));
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 1e-6);
    }
}

static void products_with_channels_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 4; i++) {
        const struct scale_channels_attrs at = { (float)(i & 1), (float)(i & 1), (float)(i >> 1) };
        struct trial t = trial_make(KERNEL_scale_channels_fwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(2, 50, C));
        trial_in(&t, S, 1.0f, SHAPE(C));
        if (i)
            trial_in(&t, S, 1.0f, SHAPE(C));
        else
            trial_in_none(&t);
        trial_out(&t, S, SHAPE(2, 50, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_scale_channels_bwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(2, 50, C));
        trial_in(&t, S, 1.0f, SHAPE(2, 50, C));
        trial_in(&t, S, 1.0f, SHAPE(C));
        for (int j = 0; j < 3; j++)
            if (j == i)
                trial_out_none(&t);
            else
                trial_out(&t, j ? E : S, j ? (const int64_t[]){ C } : (const int64_t[]){ 2, 50, C },
                          j ? 1 : 3);
        trial_run(&t, 5e-6);
    }
}

static void moving_data_is_exact(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 3; i++) {
        static const struct fill_attrs value = { -1.5f };
        static const struct cast_attrs bytes = { 1.0f / 255.0f }, as_is = { 1.0f };
        const struct concat_attrs join = { i, i == 1 ? 1.0f : 0.0f, i == 2 ? 1.0f : 0.0f };
        const struct transpose_attrs turn = { i == 1 ? 1.0f : 0.0f };
        const int64_t x[3] = { i == 0 ? 2 : 3, i == 1 ? 5 : 4, i == 2 ? 8 : C };
        const int64_t y[3] = { i == 0 ? 1 : 3, i == 1 ? 1 : 4, C };
        const int64_t z[3] = { i == 0 ? 3 : 3, i == 1 ? 6 : 4, i == 2 ? 8 + C : C };
        struct trial t = trial_make(KERNEL_fill_fwd, "", &value);
        trial_out(&t, S, SHAPE(5, C));
        trial_run(&t, 0.0);
        t = trial_make(KERNEL_cast_fwd, "to storage", &as_is);
        trial_in(&t, E, 1.0f, SHAPE(5, C));
        trial_out(&t, S, SHAPE(5, C));
        trial_run(&t, 0.0);
        t = trial_make(KERNEL_cast_fwd, "from whole numbers", &bytes);
        trial_index(&t, 0, 256, SHAPE(5, C));
        trial_out(&t, S, SHAPE(5, C));
        trial_run(&t, 0.0);
        t = trial_make(KERNEL_concat_fwd, "", &join);
        trial_in(&t, S, 1.0f, x, 3);
        trial_in(&t, S, 1.0f, y, 3);
        trial_out(&t, S, z, 3);
        trial_run(&t, 0.0);
        for (int left_out = 0; left_out < 3; left_out++) {
            t = trial_make(KERNEL_split_fwd, "", &join);
            trial_in(&t, S, 1.0f, z, 3);
            if (left_out == 1)
                trial_out_none(&t);
            else
                trial_out(&t, S, x, 3);
            if (left_out == 2)
                trial_out_none(&t);
            else
                trial_out(&t, S, y, 3);
            trial_run(&t, 1e-7);
        }
        t = trial_make(KERNEL_transpose_fwd, "", &turn);
        trial_in(&t, S, 1.0f, SHAPE(2, 37, C));
        trial_out(&t, S, SHAPE(2, C, 37));
        trial_run(&t, 1e-7);
    }
}

static void rows_by_index_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 2; i++) {
        const struct gather_attrs at = { (float)i };
        struct trial t = trial_make(KERNEL_gather_fwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(9, C));
        trial_index(&t, -1, 9, SHAPE(33));
        trial_out(&t, S, SHAPE(33, C));
        trial_run(&t, 1e-7);
        t = trial_make(KERNEL_gather_bwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(700, C));
        trial_index(&t, -1, 40, SHAPE(700));
        trial_out(&t, E, SHAPE(50, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_gather_sum_fwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(9, C));
        trial_index(&t, -1, 9, SHAPE(33));
        trial_in(&t, S, 1.0f, SHAPE(4, C));
        trial_index(&t, -1, 4, SHAPE(33));
        trial_out(&t, S, SHAPE(33, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_scatter_fwd, "", NULL);
        trial_in(&t, S, 1.0f, SHAPE(40, C));
        trial_in(&t, S, 1.0f, SHAPE(7, C));
        int32_t *index = trial_index(&t, 0, 1, SHAPE(7));
        for (int m = 0; m < 7; m++)
            index[m] = m == 3 ? -1 : 5 * m + 2;
        trial_out(&t, S, SHAPE(40, C));
        trial_run(&t, 0.0);
        t = trial_make(KERNEL_scatter_dx, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(40, C));
        trial_index(&t, -1, 40, SHAPE(7));
        trial_out(&t, S, SHAPE(40, C));
        trial_run(&t, 1e-7);
    }
}

static void an_index_outside_its_table_is_reported(void **state)
{
    struct device *d = trial_device();
    float numbers[12] = { 0 };
    const int32_t index[3] = { 0, 7, 1 };
    const struct gather_attrs at = { 0.0f };
    void *rows = NULL, *list = NULL, *y = NULL;
    struct error err = { 0 };
    (void)state;
    assert_int_equal(device_alloc(d, &rows, sizeof numbers, "rows", &err), ST_OK);
    assert_int_equal(device_alloc(d, &y, sizeof numbers, "y", &err), ST_OK);
    assert_int_equal(device_alloc(d, &list, sizeof index, "index", &err), ST_OK);
    assert_int_equal(device_copy_in(d, rows, numbers, sizeof numbers, &err), ST_OK);
    assert_int_equal(device_copy_in(d, list, index, sizeof index, &err), ST_OK);
    const struct view in[] = { { rows, DT_F32, 2, { 3, 4 } }, { list, DT_I32, 1, { 3 } } };
    const struct view out = { y, DT_F32, 2, { 3, 4 } };
    assert_int_equal(device_kernel(d, KERNEL_gather_fwd)(device_context(d), &out, in, &at, &err),
                     ST_OK);
    assert_int_equal(device_wait(d, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, "index outside its table: 7"));
    struct error again = { 0 };
    assert_int_equal(device_wait(d, &again), ST_OK);
    device_free(d, rows);
    device_free(d, list);
    device_free(d, y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_and_their_slopes_agree),
        cmocka_unit_test(gated_units_agree),
        cmocka_unit_test(sums_and_broadcasts_agree),
        cmocka_unit_test(gated_and_scaled_residuals_agree),
        cmocka_unit_test(products_with_channels_agree),
        cmocka_unit_test(moving_data_is_exact),
        cmocka_unit_test(rows_by_index_agree),
        cmocka_unit_test(an_index_outside_its_table_is_reported),
    };
    return trial_main(tests, sizeof tests / sizeof *tests, sizeof tests / sizeof *tests,
                      "pointwise");
}
