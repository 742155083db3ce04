/* tests/kernels/cuda/test_cuda_tables.c: tables, draws, resampling, pooling, the noise schedule, sums, AdamW. */
#include "tests/kernels/cuda/trial.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/adamw.h"
#include "kernels/ddpm.h"
#include "kernels/dropout.h"
#include "kernels/pool.h"
#include "kernels/random.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/rope.h"

#define S TRIAL_STORAGE
#define E TRIAL_EXACT
#define FOR_SIZES(C)                                                                               \
    for (int size_ = 0; size_ < 6; size_++)                                                        \
        for (int64_t C = trial_sizes[size_], once_ = 1; once_; once_ = 0)

/* Keys of I pictures. */
static void draws(struct trial *t, int64_t I)
{
    trial_index(t, INT32_MIN, INT32_MAX, SHAPE(I, 4));
}

static void draws_are_those_of_the_cpu(void **state)
{
    static const struct random_uniform_attrs uniform = { -0.25, 0.75 };
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 2; i++) {
        const struct random_normal_attrs normal = { 0.5, 2.0, i };
        const struct dropout_attrs drop = { 0.3, (float)i };
        struct trial t = trial_make(KERNEL_random_normal_fwd, i ? "planar" : "as it lies", &normal);
        draws(&t, 3);
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_random_uniform_fwd, "", &uniform);
        draws(&t, 3);
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 0.0);
        t = trial_make(KERNEL_dropout_fwd, "", &drop);
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        draws(&t, 3);
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 1e-7);
        t = trial_make(KERNEL_dropout_path_fwd, "", &drop);
        draws(&t, C);
        trial_out(&t, E, SHAPE(C));
        trial_run(&t, 0.0);
    }
}

static void angles_and_tables_agree(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        static const int64_t widths[] = { 2, 6, 64, 128 };
        const int64_t D = widths[i % 4];
        const struct rope_attrs at = { 3, 10000.0f, i & 1, i & 2 ? 1.0f : 0.0f };
        struct trial t = trial_make(KERNEL_rope_fwd, i & 1 ? "back" : "forth", &at);
        trial_in(&t, S, 1.0f, SHAPE(2, 17, 3 * D));
        if (i < 4)
            trial_index(&t, 0, 4096, SHAPE(17));
        else
            trial_index(&t, 0, 4096, SHAPE(2, 17));
        trial_out(&t, S, SHAPE(2, 17, 3 * D));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_sinusoid_grid_fwd, "", NULL);
        trial_out(&t, S, SHAPE(7, 33, 2 * D));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_sinusoid_row_fwd, "", NULL);
        trial_out(&t, S, SHAPE(2048, D));
        trial_run(&t, 2e-6);
        t = trial_make(KERNEL_sinusoid_time_fwd, "", NULL);
        trial_index(&t, 0, 1000, SHAPE(9));
        trial_out(&t, S, SHAPE(9, D));
        trial_run(&t, 2e-6);
    }
}

static void resampling_agrees(void **state)
{
    static const int64_t sides[][2] = { { 16, 32 }, { 5, 7 }, { 24, 8 }, { 1, 3 }, { 9, 9 } };
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int64_t C = 1; C <= 33; C += 8) {
            const int64_t a = sides[i][0], b = sides[i][1];
            const struct resize_bilinear_attrs mask = { (int)(C % 16 == 1) };
            const struct upsample2_attrs up = { C % 16 == 1 ? 1.0f : 0.0f };
            struct trial t = trial_make(KERNEL_resize_bicubic_fwd, "", NULL);
            trial_in(&t, S, 1.0f, SHAPE(a, a + 1, C));
            trial_out(&t, S, SHAPE(b, b + 2, C));
            trial_run(&t, 1e-6);
            t = trial_make(KERNEL_resize_bilinear_fwd, mask.binarise ? "binarised" : "", &mask);
            float *x = trial_in(&t, E, 1.0f, SHAPE(C, a, a));
            for (int64_t j = 0; j < C * a * a; j++)
                x[j] = x[j] > 0.5f ? 1.0f : 0.0f;
            trial_out(&t, E, SHAPE(C, b, b));
            trial_run(&t, 0.0);
            t = trial_make(KERNEL_upsample2_fwd, "", &up);
            trial_in(&t, S, 1.0f, SHAPE(2, a, b, C));
            trial_out(&t, S, SHAPE(2, 2 * a, 2 * b, C));
            trial_run(&t, 0.0);
            t = trial_make(KERNEL_upsample2_bwd, "", &up);
            trial_in(&t, S, 1.0f, SHAPE(2, 2 * a, 2 * b, C));
            trial_out(&t, S, SHAPE(2, a, b, C));
            trial_run(&t, 1e-6);
        }
}

static void means_agree(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 2; i++) {
        const struct pool_attrs at = { (float)i };
        struct trial t = trial_make(KERNEL_pool_mean_fwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(2, 5, 7, C));
        trial_out(&t, S, SHAPE(2, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_pool_mean_bwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(2, C));
        trial_out(&t, S, SHAPE(2, 5, 7, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_pool_mask_fwd, i ? "" : "an empty mask", &at);
        trial_in(&t, S, 1.0f, SHAPE(2, 5, 7, C));
        float *mask = trial_in(&t, E, 1.0f, SHAPE(2, 5, 7));
        for (int j = 0; j < 70; j++)
            mask[j] = mask[j] > 0.0f && (i || j >= 35) ? 1.0f : 0.0f;
        trial_out(&t, S, SHAPE(2, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_pool_mask_bwd, "", &at);
        trial_in(&t, S, 1.0f, SHAPE(2, C));
        mask = trial_in(&t, E, 1.0f, SHAPE(2, 5, 7));
        for (int j = 0; j < 70; j++)
            mask[j] = mask[j] > 0.0f ? 1.0f : 0.0f;
        trial_out(&t, S, SHAPE(2, 5, 7, C));
        trial_run(&t, 1e-6);
    }
}

static void the_noise_schedule_and_its_loss_agree(void **state)
{
    static const struct ddpm_step_attrs step = { 0.8f, 0.6f, 0.3f, 0.7f, 0.1f };
    static const struct ddpm_posterior_attrs draw = { 0.18215f };
    static float table[DDPM_STEPS * 4];
    (void)state;
    struct trial t = trial_make(KERNEL_ddpm_table_fwd, "", NULL);
    trial_out(&t, E, SHAPE(DDPM_STEPS, 4));
    trial_cpu(&t, (float *[]){ table });
    trial_run(&t, 1e-7);
    FOR_SIZES(C)
    for (int i = 0; i < 3; i++) {
        t = trial_make(KERNEL_ddpm_noise_fwd, "", NULL);
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_index(&t, 0, DDPM_STEPS, SHAPE(3));
        memcpy(trial_in(&t, E, 1.0f, SHAPE(DDPM_STEPS, 4)), table, sizeof table);
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_ddpm_loss_fwd, i ? "a weight a pixel" : "a weight a pass", NULL);
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_in(&t, S, 1.0f, SHAPE(3, 5, C));
        trial_in(&t, E, 1.0f, i ? (const int64_t[]){ 3, 5 } : (const int64_t[]){ 3 }, i ? 2 : 1);
        trial_in(&t, E, 1.0f, SHAPE(3));
        if (i == 2)
            trial_out_none(&t);
        else
            trial_out(&t, E, SHAPE(3, 5, C));
        trial_out(&t, E, SHAPE(3));
        trial_out(&t, S, SHAPE(3, 5, C));
        trial_run(&t, 2e-5);
        t = trial_make(KERNEL_ddpm_step_fwd, "", &step);
        for (int j = 0; j < 3; j++)
            trial_in(&t, S, 1.0f, SHAPE(4, C));
        trial_out(&t, S, SHAPE(4, C));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_ddpm_posterior_fwd, "", &draw);
        trial_in(&t, E, i ? 40.0f : 2.0f, SHAPE(4, 2 * C));
        trial_in(&t, E, 1.0f, SHAPE(4, C));
        trial_out(&t, S, SHAPE(4, C));
        trial_run(&t, 2e-6);
    }
}

static void whole_sums_agree(void **state)
{
    static const int64_t sizes[] = {
        1, 7, 33, 768, REDUCE_RUN - 1, REDUCE_RUN, 3 * REDUCE_RUN + 5
    };
    (void)state;
    for (int i = 0; i < 7; i++) {
        const struct reduce_attrs at = { 0.5f, i % 2 ? 1.0f : 0.0f };
        const int64_t runs = (sizes[i] + REDUCE_RUN - 1) / REDUCE_RUN;
        struct trial t = trial_make(KERNEL_reduce_sum_fwd, "", &at);
        float *x = trial_in(&t, S, 1.0f, SHAPE(sizes[i]));
        for (int64_t j = 0; j < sizes[i]; j++)
            x[j] += 0.5f;
        float *divisor = trial_in(&t, E, 1.0f, SHAPE(1));
        *divisor = i == 3 ? 0.0f : 3.0f;
        trial_out(&t, E, SHAPE(1));
        trial_run(&t, 1e-6);
        t = trial_make(KERNEL_reduce_squares_fwd, "", NULL);
        trial_in(&t, S, 1.0f, SHAPE(sizes[i]));
        trial_out(&t, E, SHAPE(runs));
        trial_run(&t, 1e-6);
    }
}

static void a_step_of_the_optimizer_agrees(void **state)
{
    (void)state;
    FOR_SIZES(C)
    for (int i = 0; i < 2; i++) {
        const struct adamw_attrs at = { 1e-3, 0.9, 0.95, 1e-8, 0.05, 1 + 99 * i, 0.25 };
        struct trial t = trial_make(KERNEL_adamw_fwd, "float32", &at);
        trial_in(&t, S, 1.0f, SHAPE(C));
        if (i)
            trial_in(&t, E, 0.1f, SHAPE(1));
        else
            trial_in_none(&t);
        for (int j = 0; j < 3; j++)
            trial_out(&t, E, SHAPE(C));
        for (int64_t j = 0; j < C; j++)
            t.out[2].numbers[j] = t.out[2].numbers[j] * t.out[2].numbers[j];
        trial_run(&t, 1e-6);
    }
}

/* The two halves are the float32 number that the CPU keeps whole. */
static void halves_step_like_whole_numbers(void **state)
{
    enum { N = 1000 };
    struct device *d = trial_device();
    const struct adamw_attrs at = { 1e-2, 0.9, 0.95, 1e-8, 0.05, 3, 1.0 };
    static float whole[N], m[N], v[N], g[N];
    static uint16_t high[N], low[N];
    void *dev[5] = { 0 };
    void *const host[5] = { high, m, v, low, g };
    const size_t bytes[5] = { sizeof high, sizeof m, sizeof v, sizeof low, sizeof g };
    struct error err = { 0 };
    struct kctx k = { 0 };
    (void)state;
    for (int i = 0; i < N; i++) {
        uint32_t bits;
        whole[i] = (float)(i - N / 2) * 0.00123f;
        g[i] = (float)(i % 7 - 3) * 0.1f;
        m[i] = v[i] = 0.0f;
        memcpy(&bits, &whole[i], sizeof bits);
        high[i] = adamw_high(bits);
        low[i] = adamw_low(bits);
    }
    for (int j = 0; j < 5; j++) {
        assert_int_equal(device_alloc(d, &dev[j], bytes[j], "operand", &err), ST_OK);
        assert_int_equal(device_copy_in(d, dev[j], host[j], bytes[j], &err), ST_OK);
    }
    const struct view out[] = { { dev[0], DT_BF16, 1, { N } },
                                { dev[1], DT_F32, 1, { N } },
                                { dev[2], DT_F32, 1, { N } },
                                { dev[3], DT_BF16, 1, { N } } };
    const struct view in[] = { { dev[4], DT_F32, 1, { N } }, { 0 } };
    const struct view cpu_out[] = { { whole, DT_F32, 1, { N } },
                                    { m, DT_F32, 1, { N } },
                                    { v, DT_F32, 1, { N } } };
    const struct view cpu_in[] = { { g, DT_F32, 1, { N } }, { 0 } };
    assert_int_equal(device_kernel(d, KERNEL_adamw_fwd)(device_context(d), out, in, &at, &err),
                     ST_OK);
    assert_int_equal(device_copy_out(d, high, dev[0], sizeof high, &err), ST_OK);
    assert_int_equal(device_copy_out(d, low, dev[3], sizeof low, &err), ST_OK);
    assert_int_equal(device_wait(d, &err), ST_OK);
    assert_int_equal(adamw_fwd_cpu(&k, cpu_out, cpu_in, &at, &err), ST_OK);
    for (int i = 0; i < N; i++) {
        const uint32_t bits = adamw_join(high[i], low[i]);
        float joined;
        memcpy(&joined, &bits, sizeof joined);
        assert_true(joined >= whole[i] - 1e-7f && joined <= whole[i] + 1e-7f);
    }
    for (int j = 0; j < 5; j++)
        device_free(d, dev[j]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_are_those_of_the_cpu),
        cmocka_unit_test(angles_and_tables_agree),
        cmocka_unit_test(resampling_agrees),
        cmocka_unit_test(means_agree),
        cmocka_unit_test(the_noise_schedule_and_its_loss_agree),
        cmocka_unit_test(whole_sums_agree),
        cmocka_unit_test(a_step_of_the_optimizer_agrees),
        cmocka_unit_test(halves_step_like_whole_numbers),
    };
    return trial_main(tests, sizeof tests / sizeof *tests, sizeof tests / sizeof *tests, "tables");
}
