/* tests/kernels/test_threads.c: large calls on one and on three threads give the same bits. Products that
 * are one BLAS call are left out: their order is BLAS's. */
#include "tests/kernels/problem.h"

#ifdef _OPENMP
#include <omp.h>
#endif

#include "kernels/attention.h"
#include "kernels/conv2d.h"
#include "kernels/depthwise.h"
#include "kernels/gather.h"
#include "kernels/groupnorm.h"
#include "kernels/layernorm.h"
#include "kernels/linear.h"
#include "kernels/mmfs.h"
#include "kernels/reduce.h"

/* Runs `kernel` on p's inputs twice; out[0..n_out) have the given shapes. */
static void assert_threads_agree(struct problem *p, kernel_fn *kernel, const struct view *shapes,
                                 int n_out)
{
    struct view one[OPERANDS] = { { 0 } }, three[OPERANDS] = { { 0 } };
    struct kctx k = { 0 };
    struct error err = { 0 };
    for (int i = 0; i < n_out; i++) {
        one[i] = view_like(&shapes[i]);
        three[i] = view_like(&shapes[i]);
    }
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    assert_int_equal(kernel(&k, one, p->in, p->attrs, &err), ST_OK);
#ifdef _OPENMP
    omp_set_num_threads(3);
#endif
    assert_int_equal(kernel(&k, three, p->in, p->attrs, &err), ST_OK);
    for (int i = 0; i < n_out; i++) {
        if (memcmp(one[i].data, three[i].data, (size_t)view_count(&one[i]) * sizeof(float)) != 0)
            fail_msg("%s: output %d depends on the threads", p->name, i);
        free(one[i].data);
        free(three[i].data);
    }
}

static struct view shape_of(int rank, const int64_t *shape)
{
    struct view v = { NULL, DT_F32, rank, { 0 } };
    memcpy(v.shape, shape, (size_t)rank * sizeof *shape);
    return v;
}

static void norms_agree(void **state)
{
    static const struct layernorm_attrs layer = { 1e-6f, 0, 0, 0 };
    static const struct groupnorm_attrs group = { 8, 1, 1e-6f, 0, 0, 0 };
    const struct view row = shape_of(SHAPE(257)), x = shape_of(SHAPE(1031, 257));
    const struct view channel = shape_of(SHAPE(64)), map = shape_of(SHAPE(2, 33, 41, 64));
    const struct view layer_out[] = { x, row, row }, group_out[] = { map, channel, channel };
    struct problem p = problem_make("layernorm_bwd", 201), q = problem_make("groupnorm_bwd", 203);
    (void)state;
    problem_input(&p, 0, -1, 1, SHAPE(1031, 257));
    problem_input(&p, 1, -1, 1, SHAPE(1031, 257));
    problem_input(&p, 2, -1, 1, SHAPE(257));
    problem_input(&p, 3, -1, 1, SHAPE(1031));
    problem_input(&p, 4, 1, 2, SHAPE(1031));
    p.attrs = &layer;
    assert_threads_agree(&p, layernorm_bwd_cpu, layer_out, 3);
    assert_threads_agree(&p, linear_db_cpu, &row, 1);
    problem_input(&q, 0, -1, 1, SHAPE(2, 33, 41, 64));
    problem_input(&q, 1, -1, 1, SHAPE(2, 33, 41, 64));
    problem_input(&q, 2, -1, 1, SHAPE(64));
    problem_input(&q, 3, -1, 1, SHAPE(64));
    problem_input(&q, 4, -1, 1, SHAPE(2, 8));
    problem_input(&q, 5, 1, 2, SHAPE(2, 8));
    q.attrs = &group;
    assert_threads_agree(&q, groupnorm_bwd_cpu, group_out, 3);
    problem_free(&p);
    problem_free(&q);
}

static void convolutions_agree(void **state)
{
    static const struct conv2d_attrs same = { 1, 1, 1, 1, 1, 0 }, patch = { 2, 0, 0, 0, 0, 0 };
    static const struct depthwise_attrs depth = { 0 };
    const struct view map = shape_of(SHAPE(2, 40, 36, 48)), taps = shape_of(SHAPE(48, 1, 7, 7));
    struct problem p = problem_make("conv2d", 205), q = problem_make("depthwise", 207),
                   r = problem_make("conv2d 2x2/2 dx", 209);
    (void)state;
    problem_input(&p, 0, -1, 1, SHAPE(2, 40, 36, 48));
    problem_input(&p, 1, -1, 1, SHAPE(48, 48, 3, 3));
    p.attrs = &same;
    assert_threads_agree(&p, conv2d_fwd_cpu, &map, 1);
    assert_threads_agree(&p, conv2d_dx_cpu, &map, 1);
    problem_input(&q, 0, -1, 1, SHAPE(2, 40, 36, 48));
    problem_input(&q, 1, -1, 1, SHAPE(48, 1, 7, 7));
    q.attrs = &depth;
    assert_threads_agree(&q, depthwise_fwd_cpu, &map, 1);
    assert_threads_agree(&q, depthwise_dx_cpu, &map, 1);
    free(q.in[1].data);
    free(q.exact[1]);
    problem_input(&q, 1, -1, 1, SHAPE(2, 40, 36, 48));
    assert_threads_agree(&q, depthwise_dw_cpu, &taps, 1);
    problem_input(&r, 0, -1, 1, SHAPE(2, 20, 18, 64));
    problem_input(&r, 1, -1, 1, SHAPE(64, 48, 2, 2));
    r.attrs = &patch;
    assert_threads_agree(&r, conv2d_dx_cpu, &map, 1);
    problem_free(&p);
    problem_free(&q);
    problem_free(&r);
}

static void attention_agrees(void **state)
{
    static const struct attention_attrs at = { 4, 1, 0.3f, 0, 0, 0, 0 };
    const struct view x = shape_of(SHAPE(2, 300, 64)), lse = shape_of(SHAPE(2, 4, 300));
    const struct view out[] = { x, lse }, grads[] = { x, x, x };
    struct problem p = problem_make("attention", 211), q = problem_make("attention_bwd", 213);
    (void)state;
    for (int i = 0; i < 3; i++)
        problem_input(&p, i, -1, 1, SHAPE(2, 300, 64));
    for (int i = 0; i < 5; i++)
        problem_input(&q, i, -1, 1, SHAPE(2, 300, 64));
    problem_input(&q, 5, 3, 4, SHAPE(2, 4, 300));
    p.attrs = q.attrs = &at;
    assert_threads_agree(&p, attention_fwd_cpu, out, 2);
    assert_threads_agree(&q, attention_bwd_cpu, grads, 3);
    problem_free(&p);
    problem_free(&q);
}

static void sampling_agrees(void **state)
{
    static const struct mmfs_attrs at = { .heads = 4,
                                          .points = 4,
                                          .levels = 2,
                                          .height = { 8, 4 },
                                          .width = { 8, 4 },
                                          .shape = { 8, 4 },
                                          .base = 4,
                                          .queries_per_list = 100 };
    static const int32_t lists[] = { 0, 2, 3 };
    const struct view o = shape_of(SHAPE(200, 64));
    const struct view out[] = { shape_of(SHAPE(200, 32)),   shape_of(SHAPE(3, 32)),
                                shape_of(SHAPE(200, 40)),   shape_of(SHAPE(3, 40)),
                                shape_of(SHAPE(2, 80, 64)), shape_of(SHAPE(64)) };
    struct problem p = problem_make("mmfs", 215), q = problem_make("mmfs_bwd", 217);
    (void)state;
    problem_input(&q, 0, -1, 1, SHAPE(200, 64));
    for (int i = 0; i < 2; i++) {
        struct problem *to = i ? &q : &p;
        problem_input(to, i, -3, 3, SHAPE(200, 32));
        problem_input(to, i + 1, -1, 1, SHAPE(3, 32));
        problem_input(to, i + 2, -1, 1, SHAPE(200, 40));
        problem_input(to, i + 3, -1, 1, SHAPE(3, 40));
        problem_input(to, i + 4, -1, 1, SHAPE(2, 80, 64));
        problem_input(to, i + 5, -1, 1, SHAPE(64));
        problem_input(to, i + 6, 0, 1, SHAPE(100, 2));
        problem_index(to, i + 7, 0, 1, SHAPE(3));
        memcpy(to->in[i + 7].data, lists, sizeof lists);
        problem_index(to, i + 8, 0, 2, SHAPE(3));
        problem_index(to, i + 9, 1, 3, SHAPE(3));
        to->attrs = &at;
    }
    assert_threads_agree(&p, mmfs_fwd_cpu, &o, 1);
    assert_threads_agree(&q, mmfs_bwd_cpu, out, 6);
    problem_free(&p);
    problem_free(&q);
}

static void sums_and_rows_agree(void **state)
{
    static const struct reduce_attrs sum = { 1, 0 };
    static const struct gather_attrs gather = { 0 };
    const struct view one = shape_of(SHAPE(1)), runs = shape_of(SHAPE(5));
    const struct view rows = shape_of(SHAPE(7, 300));
    struct problem p = problem_make("reduce", 219), q = problem_make("gather_bwd", 221);
    (void)state;
    problem_input(&p, 0, -1, 1, SHAPE(5 * REDUCE_RUN));
    p.attrs = &sum;
    assert_threads_agree(&p, reduce_sum_fwd_cpu, &one, 1);
    assert_threads_agree(&p, reduce_squares_fwd_cpu, &runs, 1);
    problem_input(&q, 0, -1, 1, SHAPE(700, 300));
    problem_index(&q, 1, -1, 7, SHAPE(700));
    q.attrs = &gather;
    assert_threads_agree(&q, gather_bwd_cpu, &rows, 1);
    problem_free(&p);
    problem_free(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(norms_agree),         cmocka_unit_test(convolutions_agree),
        cmocka_unit_test(attention_agrees),    cmocka_unit_test(sampling_agrees),
        cmocka_unit_test(sums_and_rows_agree),
    };
#ifndef _OPENMP
    print_message("built without OpenMP: nothing to compare\n");
    return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
