/* tests/kernels/test_mmfs.c: the sampling against the equations of the specification written out, with
 * invisible images, ranks, levels of different sides and a trained ignore token. */
#include "tests/kernels/problem.h"

#include "kernels/mmfs.h"

enum { OFF_Q, OFF_R, ATT_Q, ATT_R, VALUE, IGNORE, REF, START, IMAGE, RANK };

struct mmfs_case {
    struct mmfs_attrs at; /* first: the kernel's attributes */
    int64_t Q, N, R, K, d;
    const int32_t *start, *image, *rank;
    bool ignore;
};

/* Value channel e of head h at pixel (x, y) of a level, bilinear, zero outside. */
static double bilinear(const struct problem *p, const double *value, int64_t image, int level,
                       double x, double y, int64_t channel)
{
    const struct mmfs_case *c = p->attrs;
    const int w = c->at.width[level], h = c->at.height[level];
    const int64_t D = p->out.shape[1], S = p->in[VALUE].shape[1];
    double sum = 0.0;
    int64_t first = 0;
    for (int l = 0; l < level; l++)
        first += (int64_t)c->at.width[l] * c->at.height[l];
    if (x <= -1.0 || y <= -1.0 || x >= w || y >= h)
        return 0.0;
    for (int i = 0; i < h; i++)
        for (int j = 0; j < w; j++) {
            const double a = 1.0 - fabs(x - j), b = 1.0 - fabs(y - i);
            if (a > 0.0 && b > 0.0)
                sum += a * b * value[(image * S + first + i * w + j) * D + channel];
        }
    return sum;
}

static void head_reference(const struct problem *p, double *o, double *const *x, int64_t q,
                           int64_t h)
{
    const struct mmfs_case *c = p->attrs;
    const int H = c->at.heads, P = c->at.points, L = c->at.levels;
    const int64_t list = q / c->at.queries_per_list;
    double sum = 1.0;
    for (int64_t e = 0; e < c->d; e++)
        o[e] = x[IGNORE] ? x[IGNORE][h * c->d + e] : 0.0;
    for (int64_t n = c->start[list] * L * P; n < (int64_t)c->start[list + 1] * L * P; n++) {
        const int64_t pair = n / L / P, k = n % P, l = n / P % L, r = c->rank[pair];
        const int64_t att = (h * L + l) * (P + 1) + k, off = (h * P + k) * 2;
        const double weight =
            exp(x[ATT_Q][q * H * L * (P + 1) + att] + x[ATT_R][r * H * L * (P + 1) + att]);
        const double s = (double)c->at.shape[l] / (double)c->at.base;
        const double dx = x[OFF_Q][q * H * P * 2 + off] + x[OFF_R][r * H * P * 2 + off];
        const double dy = x[OFF_Q][q * H * P * 2 + off + 1] + x[OFF_R][r * H * P * 2 + off + 1];
        const double u = x[REF][q % c->K * 2] * c->at.width[l] + dx * s - 0.5;
        const double v = x[REF][q % c->K * 2 + 1] * c->at.height[l] + dy * s - 0.5;
        sum += weight;
        for (int64_t e = 0; e < c->d; e++)
            o[e] += weight * bilinear(p, x[VALUE], c->image[pair], (int)l, u, v, h * c->d + e);
    }
    for (int64_t e = 0; e < c->d; e++)
        o[e] /= sum;
}

static void mmfs_reference(const struct problem *p, double *y, double *const *x)
{
    const struct mmfs_case *c = p->attrs;
    for (int64_t n = 0; n < c->Q * c->at.heads; n++)
        head_reference(p, y + n * c->d, x, n / c->at.heads, n % c->at.heads);
}

static enum status mmfs_backward(const struct problem *p, const struct view *dy, struct view *grads,
                                 float beta, struct error *err)
{
    struct mmfs_attrs at = *(const struct mmfs_attrs *)p->attrs;
    struct view in[11] = { *dy };
    struct kctx k = { 0 };
    memcpy(in + 1, p->in, 10 * sizeof *in);
    at.beta_doff_q = at.beta_doff_r = at.beta_datt_q = beta;
    at.beta_datt_r = at.beta_dvalue = at.beta_dignore = beta;
    return mmfs_bwd_cpu(&k, grads, in, &at, err);
}

static void given_index(struct problem *p, int i, const int32_t *values, int64_t n)
{
    problem_index(p, i, 0, 1, SHAPE(n));
    memcpy(p->in[i].data, values, (size_t)n * sizeof *values);
}

static struct problem mmfs_problem(const struct mmfs_case *c, uint64_t seed)
{
    struct problem p = problem_make("mmfs", seed);
    const int64_t lists = c->Q / c->at.queries_per_list, pairs = c->start[lists];
    const int64_t off = (int64_t)c->at.heads * c->at.points * 2;
    const int64_t att = (int64_t)c->at.heads * c->at.levels * (c->at.points + 1);
    int64_t S = 0;
    for (int l = 0; l < c->at.levels; l++)
        S += (int64_t)c->at.width[l] * c->at.height[l];
    problem_input(&p, OFF_Q, -3, 3, SHAPE(c->Q, off));
    problem_input(&p, OFF_R, -1, 1, SHAPE(c->R, off));
    problem_input(&p, ATT_Q, -2, 2, SHAPE(c->Q, att));
    problem_input(&p, ATT_R, -1, 1, SHAPE(c->R, att));
    problem_input(&p, VALUE, -1, 1, SHAPE(c->N, S, c->at.heads * c->d));
    if (c->ignore)
        problem_input(&p, IGNORE, -1, 1, SHAPE(c->at.heads * c->d));
    problem_input(&p, REF, 0.1, 0.9, SHAPE(c->K, 2));
    given_index(&p, START, c->start, lists + 1);
    given_index(&p, IMAGE, c->image, pairs);
    given_index(&p, RANK, c->rank, pairs);
    problem_output(&p, SHAPE(c->Q, c->at.heads * c->d));
    p.attrs = c;
    p.reference = mmfs_reference;
    p.backward = mmfs_backward;
    p.differentiable = c->ignore ? 0x3f : 0x1f;
    return p;
}

/* Queries see 0, 1, 2 and 3 images; image 1 of four is seen by several. */
static const int32_t llm_start[] = { 0, 0, 1, 3, 6, 6 };
static const int32_t llm_image[] = { 1, 1, 0, 3, 1, 0 };
static const int32_t llm_rank[] = { 1, 2, 1, 3, 2, 1 };
static const struct mmfs_case llm_case = {
    { .heads = 3,
      .points = 2,
      .levels = 3,
      .height = { 8, 4, 2 },
      .width = { 8, 4, 2 },
      .shape = { 8, 4, 2 },
      .base = 4.0f,
      .queries_per_list = 1 },
    5,
    4,
    5,
    1,
    4,
    llm_start,
    llm_image,
    llm_rank,
    true,
};

static void tokens_that_see_any_number_of_images_match_the_equations(void **state)
{
    struct problem p = mmfs_problem(&llm_case, 81);
    (void)state;
    problem_forward(&p, mmfs_fwd_cpu, 1e-5);
    problem_backward(&p, 3e-5);
    problem_free(&p);
}

/* 3 pictures of 2 x 3 pixels, the second sees nothing; real sides unlike the nominal ones, and unlike
 * each other. */
static void pixels_with_one_image_or_none_match_the_equations(void **state)
{
    static const int32_t start[] = { 0, 1, 1, 2 }, image[] = { 1, 0 }, rank[] = { 1, 1 };
    static const struct mmfs_case c = {
        { .heads = 2,
          .points = 3,
          .levels = 4,
          .height = { 7, 5, 3, 1 },
          .width = { 9, 3, 3, 2 },
          .shape = { 4, 3, 2, 1 },
          .base = 3.0f,
          .queries_per_list = 6 },
        18,
        2,
        2,
        6,
        5,
        start,
        image,
        rank,
        false,
    };
    struct problem p = mmfs_problem(&c, 83);
    (void)state;
    problem_forward(&p, mmfs_fwd_cpu, 1e-5);
    problem_backward(&p, 3e-5);
    problem_free(&p);
}

static void the_null_entry_of_the_logits_gets_no_gradient(void **state)
{
    struct problem p = mmfs_problem(&llm_case, 85);
    struct view grads[6] = { 0 }, dy = view_like(&p.out);
    struct error err = { 0 };
    (void)state;
    for (int64_t i = 0; i < view_count(&dy); i++)
        ((float *)dy.data)[i] = 1.0f;
    grads[ATT_Q] = view_like(&p.in[ATT_Q]);
    assert_int_equal(mmfs_backward(&p, &dy, grads, 0.0f, &err), ST_OK);
    const float *g = grads[ATT_Q].data;
    double others = 0.0;
    for (int64_t i = 0; i < view_count(&grads[ATT_Q]); i++) {
        if (i % 3 == 2)
            assert_near(g[i], 0.0, 0.0);
        else
            others += fabs((double)g[i]);
    }
    assert_true(others > 0.1);
    free(grads[ATT_Q].data);
    free(dy.data);
    problem_free(&p);
}

static void large_logits_leave_the_null_slot_nothing(void **state)
{
    struct problem p = mmfs_problem(&llm_case, 87);
    struct kctx k = { 0 };
    (void)state;
    for (int64_t i = 0; i < view_count(&p.in[ATT_Q]); i++)
        ((float *)p.in[ATT_Q].data)[i] = 900.0f;
    assert_int_equal(mmfs_fwd_cpu(&k, &p.out, p.in, p.attrs, NULL), ST_OK);
    for (int64_t i = 0; i < view_count(&p.out); i++)
        assert_true(isfinite(((float *)p.out.data)[i]));
    problem_free(&p);
}

static void lists_and_ranks_outside_their_tables_are_refused(void **state)
{
    struct problem p = mmfs_problem(&llm_case, 89);
    int32_t *start = p.in[START].data, *image = p.in[IMAGE].data, *rank = p.in[RANK].data;
    (void)state;
    rank[2] = 5;
    assert_refused(mmfs_fwd_cpu, &p.out, p.in, p.attrs, "pair 2");
    rank[2] = 0;
    assert_refused(mmfs_fwd_cpu, &p.out, p.in, p.attrs, "rank 0");
    rank[2] = 1;
    image[5] = 4;
    assert_refused(mmfs_fwd_cpu, &p.out, p.in, p.attrs, "pair 5");
    image[5] = 0;
    start[2] = 7;
    assert_refused(mmfs_fwd_cpu, &p.out, p.in, p.attrs, "list 1");
    problem_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_that_see_any_number_of_images_match_the_equations),
        cmocka_unit_test(pixels_with_one_image_or_none_match_the_equations),
        cmocka_unit_test(the_null_entry_of_the_logits_gets_no_gradient),
        cmocka_unit_test(large_logits_leave_the_null_slot_nothing),
        cmocka_unit_test(lists_and_ranks_outside_their_tables_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
