/* tests/kernels/test_draws.c: random tensors, dropout, tables of sines, the diffusion arithmetic, sums,
 * AdamW; known answers are those of spec model.md 7.5. */
#include "tests/kernels/problem.h"

#include "core/rng.h"
#include "kernels/adamw.h"
#include "kernels/ddpm.h"
#include "kernels/dropout.h"
#include "kernels/random.h"
#include "kernels/reduce.h"
#include "kernels/resize.h"
#include "kernels/sinusoid.h"

static struct kctx ctx;

/* `pictures` keys of purpose "T7". */
static struct view draws_make(int64_t pictures)
{
    struct view v = view_make(SHAPE(pictures, 4));
    v.type = DT_I32;
    for (int64_t i = 0; i < pictures; i++) {
        struct rng_key key;
        struct rng r;
        rng_key_init(&key, 7, "T7");
        rng_key_integer(&key, (uint64_t)i);
        rng_init(&r, &key);
        memcpy((int32_t *)v.data + 4 * i, r.h, sizeof r.h);
    }
    return v;
}

static void dropout_masks_are_those_of_the_words(void **state)
{
    const struct dropout_attrs at = { 0.25, 0.0f }, add = { 0.25, 1.0f };
    struct view x = view_make(SHAPE(3, 7, 31)), y = view_like(&x), draws = draws_make(3);
    const struct view in[] = { x, draws };
    float *xd = x.data, *yd = y.data;
    (void)state;
    for (int i = 0; i < 3 * 217; i++)
        xd[i] = 3.0f;
    assert_int_equal(dropout_fwd_cpu(&ctx, &y, in, &at, NULL), ST_OK);
    assert_int_equal(dropout_fwd_cpu(&ctx, &y, in, &add, NULL), ST_OK); /* the same mask again */
    int dropped = 0;
    for (int i = 0; i < 3 * 217; i++) {
        struct rng r = { 0 };
        memcpy(r.h, (int32_t *)draws.data + 4 * (i / 217), sizeof r.h);
        const bool drop = (double)(rng_word_at(&r, (uint64_t)(i % 217)) >> 11) * 0x1p-53 < 0.25;
        dropped += drop;
        assert_near(yd[i], drop ? 0.0 : 8.0, 1e-6);
    }
    assert_in_range(dropped, 120, 205); /* of 651, 163 expected */
    free(x.data);
    free(y.data);
    free(draws.data);
}

static void drop_path_drops_whole_pictures(void **state)
{
    const struct dropout_attrs at = { 0.5, 0.0f };
    struct view draws = draws_make(64), scale = view_make(SHAPE(64));
    int dropped = 0;
    (void)state;
    assert_int_equal(dropout_path_fwd_cpu(&ctx, &scale, &draws, &at, NULL), ST_OK);
    for (int i = 0; i < 64; i++) {
        struct rng r = { 0 };
        memcpy(r.h, (int32_t *)draws.data + 4 * i, sizeof r.h);
        const bool drop = rng_bernoulli(&r, 0.5);
        assert_near(((float *)scale.data)[i], drop ? 0.0 : 2.0, 0.0);
        dropped += drop;
    }
    assert_in_range(dropped, 16, 48);
    free(draws.data);
    free(scale.data);
}

static void normals_are_those_of_the_generator_in_either_layout(void **state)
{
    const struct random_normal_attrs rows = { 1.0, 2.0, 0 }, planar = { 0.0, 1.0, 1 };
    struct view draws = draws_make(2), x = view_make(SHAPE(2, 3, 5, 4));
    const float *xd = x.data;
    (void)state;
    assert_int_equal(random_normal_fwd_cpu(&ctx, &x, &draws, &rows, NULL), ST_OK);
    for (int i = 0; i < 120; i++) {
        struct rng r = { 0 };
        memcpy(r.h, (int32_t *)draws.data + 4 * (i / 60), sizeof r.h);
        assert_near(xd[i], 1.0 + 2.0 * rng_normal_at(&r, (uint64_t)(i % 60)), 1e-6);
    }
    assert_int_equal(random_normal_fwd_cpu(&ctx, &x, &draws, &planar, NULL), ST_OK);
    for (int i = 0; i < 120; i++) {
        struct rng r = { 0 };
        const uint64_t e = (uint64_t)(i % 4 * 15 + i % 60 / 4); /* [C,H,W] */
        memcpy(r.h, (int32_t *)draws.data + 4 * (i / 60), sizeof r.h);
        assert_near(xd[i], rng_normal_at(&r, e), 1e-6);
    }
    free(draws.data);
    free(x.data);
}

static void random_tensors_have_the_asked_mean_and_spread(void **state)
{
    enum { N = 20000 };
    const struct random_normal_attrs normal = { 0.5, 0.02, 0 };
    const struct random_uniform_attrs uniform = { -3.0, 3.0 };
    struct view draws = draws_make(1), x = view_make(SHAPE(1, N));
    const float *xd = x.data;
    double sum = 0.0, squares = 0.0;
    (void)state;
    assert_int_equal(random_normal_fwd_cpu(&ctx, &x, &draws, &normal, NULL), ST_OK);
    for (int i = 0; i < N; i++) {
        sum += (double)xd[i] / N;
        squares += ((double)xd[i] - 0.5) * ((double)xd[i] - 0.5) / N;
    }
    assert_near(sum, 0.5, 0.001);
    assert_near(sqrt(squares), 0.02, 0.001);
    assert_int_equal(random_uniform_fwd_cpu(&ctx, &x, &draws, &uniform, NULL), ST_OK);
    sum = squares = 0.0;
    for (int i = 0; i < N; i++) {
        struct rng r = { 0 };
        memcpy(r.h, draws.data, sizeof r.h);
        const double unit = (double)(rng_word_at(&r, (uint64_t)i) >> 11) * 0x1p-53;
        assert_near(xd[i], 3.0 * (2.0 * unit - 1.0), 1e-6);
        sum += (double)xd[i] / N;
        squares += (double)xd[i] * (double)xd[i] / N;
    }
    assert_near(sum, 0.0, 0.05);
    assert_near(sqrt(squares), sqrt(3.0), 0.05);
    free(draws.data);
    free(x.data);
}

/* ---- tables ---- */

static double sum_of(const struct view *v)
{
    double sum = 0.0;
    for (int64_t i = 0; i < view_count(v); i++)
        sum += (double)((const float *)v->data)[i];
    return sum;
}

static void position_tables_have_the_known_values(void **state)
{
    struct view grid = view_make(SHAPE(16, 16, 1024)), wide = view_make(SHAPE(64, 64, 320));
    const float *g = grid.data, *w = wide.data;
    (void)state;
    assert_int_equal(sinusoid_grid_fwd_cpu(&ctx, &grid, NULL, NULL, NULL), ST_OK);
    assert_near(g[1 * 1024 + 512], 0.8414710, 1e-6); /* table row 2 is cell 1 */
    assert_near(g[1 * 1024 + 513], 0.8218562, 1e-6);
    assert_near(g[16 * 1024 + 0], 0.8414710, 1e-6);
    assert_near(g[16 * 1024 + 1], 0.8218562, 1e-6);
    assert_near(g[16 * 1024 + 256], 0.5403023, 1e-6);
    assert_near(g[255 * 1024 + 0], 0.6502879, 1e-6);
    assert_near(g[255 * 1024 + 511], 0.9999988, 1e-6);
    assert_near(sum_of(&grid), 119619.458, 0.01);
    assert_int_equal(sinusoid_grid_fwd_cpu(&ctx, &wide, NULL, NULL, NULL), ST_OK);
    assert_near(w[0], 0.0, 0.0);
    assert_near(w[80], 1.0, 0.0);
    assert_near(w[320 + 160], 0.841471, 1e-6);
    assert_near(w[64 * 320], 0.841471, 1e-6);
    assert_near(w[4095 * 320], 0.167356, 1e-6);
    free(grid.data);
    free(wide.data);
}

static void resized_position_tables_have_the_known_values(void **state)
{
    static const struct {
        int64_t side;
        double sum, first, middle, below; /* (0,0), (0,512), (side+1,0) */
    } known[] = {
        { 64, 1914119.04, -0.092447, -0.092447, -0.060399 },
        { 32, 478525.77, -0.088749, -0.088749, 0.188261 },
        { 8, 29904.864, 0.414377, 0.414377, 0.615748 },
        { 56, 1465493.6, -0.093147, -0.093147, -0.038869 },
        { 14, 91590.70, 0.047904, 0.047904, 0.958648 },
    };
    struct view grid = view_make(SHAPE(16, 16, 1024));
    (void)state;
    assert_int_equal(sinusoid_grid_fwd_cpu(&ctx, &grid, NULL, NULL, NULL), ST_OK);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const int64_t side = known[i].side;
        struct view y = view_make(SHAPE(side, side, 1024));
        const float *v = y.data;
        assert_int_equal(resize_bicubic_fwd_cpu(&ctx, &y, &grid, NULL, NULL), ST_OK);
        assert_near(sum_of(&y) / known[i].sum, 1.0, 1e-6);
        assert_near(v[0], known[i].first, 2e-6);
        assert_near(v[512], known[i].middle, 2e-6);
        assert_near(v[(side + 1) * 1024], known[i].below, 2e-6);
        free(y.data);
    }
    free(grid.data);
}

static void context_and_time_tables_have_the_known_values(void **state)
{
    struct view pe = view_make(SHAPE(2048, 4096)), time = view_make(SHAPE(1, 320));
    int32_t t = 799;
    const struct view tv = { &t, DT_I32, 1, { 1 } };
    const float *p = pe.data, *e = time.data;
    (void)state;
    assert_int_equal(sinusoid_row_fwd_cpu(&ctx, &pe, NULL, NULL, NULL), ST_OK);
    assert_near(p[4096], 0.841471, 1e-6);
    assert_near(p[4096 + 1], 0.839038, 1e-6);
    assert_near(p[4096 + 2048], 0.540302, 1e-6);
    assert_near(p[100 * 4096 + 5], -0.377499, 1e-4);
    assert_near(p[2047 * 4096], -0.968319, 5e-4);
    assert_near(p[2047 * 4096 + 1], 0.881455, 5e-4);
    assert_near(p[2047 * 4096 + 2047], 0.204177, 5e-4);
    assert_near(p[2047 * 4096 + 2048], 0.249715, 5e-4);
    assert_int_equal(sinusoid_time_fwd_cpu(&ctx, &time, &tv, NULL, NULL), ST_OK);
    assert_near(e[0], 0.510125, 1e-4);
    assert_near(e[1], 0.948481, 1e-4);
    assert_near(e[10], -0.998017, 1e-4);
    assert_near(e[159], 0.996421, 1e-6);
    assert_near(e[160], 0.860100, 1e-4);
    assert_near(e[161], 0.316834, 1e-4);
    assert_near(e[319], 0.084533, 1e-6);
    free(pe.data);
    free(time.data);
}

/* ---- diffusion ---- */

static void the_noise_schedule_has_the_known_values(void **state)
{
    static const double known[][5] = {
        { 0, 0.00085, 0.999149978, 0.9995749, 0.0291551 },
        { 1, 0.000854698592, 0.998296022, 0.9991477, 0.0412793 },
        { 10, 0.000897569291, 0.990431309, 0.9952042, 0.0978197 },
        { 100, 0.00138397247, 0.894223154, 0.9456337, 0.3252335 },
        { 200, 0.00204745424, 0.753691733, 0.8681542, 0.4962945 },
        { 500, 0.00481495447, 0.276332498, 0.5256734, 0.8506865 },
        { 799, 0.00873298943, 0.0371949747, 0.1928600, 0.9812263 },
        { 999, 0.0119999992, 0.00466009602, 0.0682649, 0.9976673 },
    };
    struct view table = view_make(SHAPE(DDPM_STEPS, 4));
    (void)state;
    assert_int_equal(ddpm_table_fwd_cpu(&ctx, &table, NULL, NULL, NULL), ST_OK);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (int c = 0; c < 4; c++) {
            const float v = ((float *)table.data)[(int)known[i][0] * 4 + c];
            assert_near((double)v / known[i][1 + c], 1.0, 2e-6);
        }
    free(table.data);
}

static void sampler_steps_have_the_known_coefficients(void **state)
{
    static const double known[][4] = { { 997, 0.00333555, 0.97603536, 0.21655029 },
                                       { 501, 0.01394854, 0.98308975, 0.13768848 },
                                       { 1, 1, 0, 1e-10 } };
    struct view table = view_make(SHAPE(DDPM_STEPS, 4));
    struct ddpm_step_attrs at;
    float z = 2.0f, eps = 0.5f, noise = -1.0f, next;
    const struct view in[] = { { &z, DT_F32, 1, { 1 } },
                               { &eps, DT_F32, 1, { 1 } },
                               { &noise, DT_F32, 1, { 1 } } };
    const struct view out = { &next, DT_F32, 1, { 1 } };
    (void)state;
    assert_int_equal(ddpm_table_fwd_cpu(&ctx, &table, NULL, NULL, NULL), ST_OK);
    for (int i = 0; i < 3; i++) {
        ddpm_step_coefficients(&at, table.data, (int)known[i][0], 4);
        assert_near(at.c_x0, known[i][1], 2e-6);
        assert_near(at.c_z, known[i][2], 2e-6);
        assert_near(at.sigma, known[i][3], 2e-6);
    }
    ddpm_step_coefficients(&at, table.data, 501, 4);
    assert_int_equal(ddpm_step_fwd_cpu(&ctx, &out, in, &at, NULL), ST_OK);
    const double x0 = (2.0 - (double)at.sqrt_rest * 0.5) / (double)at.sqrt_abar;
    assert_near(next, (double)at.c_x0 * x0 + (double)at.c_z * 2.0 - (double)at.sigma, 1e-6);
    free(table.data);
}

static void noise_is_mixed_by_the_table(void **state)
{
    struct view table = view_make(SHAPE(DDPM_STEPS, 4));
    float z0[] = { 1, 2, 3, 4 }, eps[] = { 5, 6, 7, 8 }, z[4];
    int32_t t[] = { 500, 0 };
    const struct view out = { z, DT_F32, 2, { 2, 2 } };
    struct view in[] = {
        { z0, DT_F32, 2, { 2, 2 } }, { eps, DT_F32, 2, { 2, 2 } }, { t, DT_I32, 1, { 2 } }, table
    };
    (void)state;
    assert_int_equal(ddpm_table_fwd_cpu(&ctx, &table, NULL, NULL, NULL), ST_OK);
    assert_int_equal(ddpm_noise_fwd_cpu(&ctx, &out, in, NULL, NULL), ST_OK);
    assert_near(z[1], 0.5256734 * 2 + 0.8506865 * 6, 1e-5);
    assert_near(z[2], 0.9995749 * 3 + 0.0291551 * 7, 1e-5);
    t[1] = DDPM_STEPS;
    assert_refused(ddpm_noise_fwd_cpu, &out, in, NULL, "ddpm_noise");
    free(table.data);
}

/* L = sum over passes of scale[u] sum of the map: the gradient that ddpm_loss writes. */
static void loss_reference(const struct problem *p, double *y, double *const *x)
{
    const int64_t N = view_count(&p->in[0]) / p->out.shape[0],
                  W = view_count(&p->in[2]) / p->out.shape[0];
    for (int64_t j = 0; j < view_count(&p->in[0]); j++)
        y[j / N] += x[2][j / N * W + j % N / (N / W)] * (x[0][j] - x[1][j]) * (x[0][j] - x[1][j]);
}
static struct view loss_map, loss_gradient;

static enum status ddpm_loss_checked(struct kctx *k, const struct view *out, const struct view *in,
                                     const void *attrs, struct error *err)
{
    const struct view outs[] = { loss_map, out[0], loss_gradient };
    return ddpm_loss_fwd_cpu(k, outs, in, attrs, err);
}

static void the_noise_loss_and_its_gradient_match_loops(void **state)
{
    (void)state;
    for (int per_pixel = 0; per_pixel < 2; per_pixel++) {
        struct problem p = problem_make("ddpm_loss", 171);
        problem_input(&p, 0, -1, 1, SHAPE(3, 4, 5, 2));
        problem_input(&p, 1, -1, 1, SHAPE(3, 4, 5, 2));
        if (per_pixel)
            problem_input(&p, 2, 0, 2, SHAPE(3, 4, 5));
        else
            problem_input(&p, 2, 0, 2, SHAPE(3));
        problem_input(&p, 3, 0, 1, SHAPE(3));
        problem_output(&p, SHAPE(3));
        loss_map = view_like(&p.in[0]);
        loss_gradient = view_like(&p.in[0]);
        p.reference = loss_reference;
        problem_forward(&p, ddpm_loss_checked, 1e-6);
        const float *map = loss_map.data, *g = loss_gradient.data;
        for (int64_t j = 0; j < 120; j++) {
            const double w = p.exact[2][per_pixel ? j / 2 : j / 40];
            const double d = p.exact[0][j] - p.exact[1][j];
            assert_near(map[j], w * d * d, 1e-6);
            assert_near(g[j], 2.0 * w * d * p.exact[3][j / 40], 1e-6);
        }
        problem_free(&p);
        free(loss_map.data);
        free(loss_gradient.data);
    }
}

static void the_posterior_is_drawn_with_a_clamped_variance(void **state)
{
    const struct ddpm_posterior_attrs at = { 0.18215f };
    float moments[] = { 1, -2, 0.5f, 50, 3, 4, -99, -1 }, noise[] = { 2, 3, 4, 5 }, z[4];
    const struct view in[] = { { moments, DT_F32, 2, { 2, 4 } }, { noise, DT_F32, 2, { 2, 2 } } };
    const struct view out = { z, DT_F32, 2, { 2, 2 } };
    (void)state;
    assert_int_equal(ddpm_posterior_fwd_cpu(&ctx, &out, in, &at, NULL), ST_OK);
    assert_near(z[0], 0.18215 * (1 + exp(0.25) * 2), 1e-5);
    assert_near((double)z[1] / (0.18215 * (-2 + exp(10.0) * 3)), 1.0, 1e-5);
    assert_near(z[2], 0.18215 * (3 + exp(-15.0) * 4), 1e-5);
    assert_near(z[3], 0.18215 * (4 + exp(-0.5) * 5), 1e-5);
}

/* ---- sums and the optimizer ---- */

static void sums_are_exact_on_small_integers_in_any_run(void **state)
{
    enum { N = 2 * REDUCE_RUN + 33 };
    struct view x = view_make(SHAPE(N)), runs = view_make(SHAPE(3));
    float *v = x.data, total = 5.0f, divisor = 0.0f;
    const struct view out = { &total, DT_F32, 1, { 1 } };
    struct view in[] = { x, { 0 } };
    struct reduce_attrs at = { 2.0f, 1.0f };
    double sum = 0.0;
    (void)state;
    for (int i = 0; i < N; i++) {
        v[i] = (float)(i % 7 - 2);
        sum += i % 7 - 2;
    }
    assert_int_equal(reduce_sum_fwd_cpu(&ctx, &out, in, &at, NULL), ST_OK);
    assert_near(total, 5.0 + 2.0 * sum, 0.0);
    at.beta = 0.0f;
    in[1] = (struct view){ &divisor, DT_F32, 1, { 1 } };
    assert_int_equal(reduce_sum_fwd_cpu(&ctx, &out, in, &at, NULL), ST_OK);
    assert_near(total, 0.0, 0.0);
    divisor = 4.0f;
    assert_int_equal(reduce_sum_fwd_cpu(&ctx, &out, in, &at, NULL), ST_OK);
    assert_near(total, sum / 2.0, 0.0);
    v[N - 1] = 100.0f;
    assert_int_equal(reduce_squares_fwd_cpu(&ctx, &runs, &x, NULL, NULL), ST_OK);
    double last = 10000.0;
    for (int i = 2 * REDUCE_RUN; i < N - 1; i++)
        last += (double)v[i] * (double)v[i];
    assert_near(((float *)runs.data)[2], last, 0.0);
    v[REDUCE_RUN - 1] = 1000.0f; /* the last of its run */
    assert_int_equal(reduce_squares_fwd_cpu(&ctx, &runs, &x, NULL, NULL), ST_OK);
    assert_true(((float *)runs.data)[0] > 1e6f && ((float *)runs.data)[1] < 1e6f);
    v[REDUCE_RUN] = NAN;
    assert_int_equal(reduce_squares_fwd_cpu(&ctx, &runs, &x, NULL, NULL), ST_OK);
    assert_true(isnan(((float *)runs.data)[1]) && isfinite(((float *)runs.data)[0]));
    free(x.data);
    free(runs.data);
}

static void adamw_follows_its_equations_over_three_steps(void **state)
{
    struct adamw_attrs at = { 0.01, 0.9, 0.995, 1e-6, 0.05, 1, 0.5 };
    float p = 0.7f, m = 0.0f, v = 0.0f, g, clip = 0.25f;
    const struct view out[] = { { &p, DT_F32, 1, { 1 } },
                                { &m, DT_F32, 1, { 1 } },
                                { &v, DT_F32, 1, { 1 } } };
    const struct view in[] = { { &g, DT_F32, 1, { 1 } }, { &clip, DT_F32, 1, { 1 } } };
    double P = 0.7, M = 0.0, V = 0.0;
    (void)state;
    for (int t = 1; t <= 3; t++) {
        g = (float)t - 1.5f;
        const double G = (double)g * 0.5 * 0.25;
        at.step = t;
        assert_int_equal(adamw_fwd_cpu(&ctx, out, in, &at, NULL), ST_OK);
        P -= 0.01 * 0.05 * P;
        M = 0.9 * M + 0.1 * G;
        V = 0.995 * V + 0.005 * G * G;
        P -= 0.01 / (1.0 - pow(0.9, t)) * M / (sqrt(V) / sqrt(1.0 - pow(0.995, t)) + 1e-6);
        assert_near(p, P, 1e-6);
        assert_near(m, M, 1e-7);
        assert_near(v, V, 1e-8);
    }
    at.step = 0;
    assert_refused(adamw_fwd_cpu, out, in, &at, "adamw");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropout_masks_are_those_of_the_words),
        cmocka_unit_test(drop_path_drops_whole_pictures),
        cmocka_unit_test(normals_are_those_of_the_generator_in_either_layout),
        cmocka_unit_test(random_tensors_have_the_asked_mean_and_spread),
        cmocka_unit_test(position_tables_have_the_known_values),
        cmocka_unit_test(resized_position_tables_have_the_known_values),
        cmocka_unit_test(context_and_time_tables_have_the_known_values),
        cmocka_unit_test(the_noise_schedule_has_the_known_values),
        cmocka_unit_test(sampler_steps_have_the_known_coefficients),
        cmocka_unit_test(noise_is_mixed_by_the_table),
        cmocka_unit_test(the_noise_loss_and_its_gradient_match_loops),
        cmocka_unit_test(the_posterior_is_drawn_with_a_clamped_variance),
        cmocka_unit_test(sums_are_exact_on_small_integers_in_any_run),
        cmocka_unit_test(adamw_follows_its_equations_over_three_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
