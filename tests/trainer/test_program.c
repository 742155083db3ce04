/* tests/trainer/test_program.c: the builder, its backward pass, the planner and the runner on programs
 * small enough to read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/op.h"
#include "trainer/planner.h"
#include "trainer/runner.h"

static const int64_t N = 5, C = 6, D = 7;

static bool trains(const void *arg, const char *name)
{
    const char *frozen = arg;
    return !frozen || strcmp(name, frozen) != 0;
}

struct fixture {
    struct params *params;
    struct program *p;
    struct runner *r;
    int x, y; /* input, last output */
};

static void close_fixture(struct fixture *f)
{
    runner_close(&f->r);
    program_close(&f->p);
    params_close(&f->params);
}

static void open_fixture(struct fixture *f, const char *frozen)
{
    struct error err = { 0 };
    *f = (struct fixture){ 0 };
    assert_int_equal(params_open(&f->params, trains, frozen, &err), ST_OK);
    assert_int_equal(program_open(&f->p, f->params, false, &err), ST_OK);
    f->x = program_batch(f->p, "x", ROLE_STORAGE, (int64_t[]){ N, C }, 2);
}

static int dense(struct program *p, int x, int64_t in, int64_t out, const char *name)
{
    const int w = program_param(p, (int64_t[]){ out, in }, 2, "%s.weight", name);
    const int b = program_param(p, &out, 1, "%s.bias", name);
    return op_linear(p, x, w, b);
}

/* Two layers, y = b(gelu(a(x))) + gelu(a(x)) for square b; the first is a span. */
static void write_layers(struct fixture *f, int flags)
{
    struct program *p = f->p;
    const int span = program_span_begin(p, flags, "first");
    const int h = op_gelu(p, dense(p, f->x, C, D, "a"));
    program_span_end(p, span);
    f->y = program_keep(p, op_add(p, dense(p, h, D, D, "b"), h));
    program_gradient_seed(p, f->y, program_batch(p, "dy", ROLE_STORAGE, (int64_t[]){ N, D }, 2));
    program_backward(p, 0, p->n_nodes);
}

static void fill(float *x, int64_t n, unsigned seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / 16777216.0f - 0.5f;
    }
}

static void run(struct fixture *f)
{
    struct error err = { 0 };
    assert_int_equal(params_allocate(f->params, &err), ST_OK);
    for (size_t i = 0; i < f->params->count; i++)
        fill(f->params->list[i].value, f->params->list[i].count, (unsigned)i + 1);
    assert_int_equal(runner_open(&f->r, f->p, NULL, &err), ST_OK);
    fill(runner_data(f->r, f->x), N * C, 77);
    fill(runner_data(f->r, program_find(f->p, "dy")), N * D, 99);
    assert_int_equal(runner_run(f->r, 0, f->p->n_nodes, &err), ST_OK);
}

static int count_ops(const struct program *p, const char *name)
{
    int n = 0;
    for (int i = 0; i < p->n_nodes; i++)
        n += strcmp(p->nodes[i].op->name, name) == 0;
    return n;
}

static void the_dump_of_a_layer_and_its_backward_reads_as_written(void **state)
{
    static const char want[] = "x batch storage [5,6]\n"
                               "a.weight parameter storage [7,6] gradient\n"
                               "a.bias parameter storage [7] gradient\n"
                               "b.weight parameter storage [7,7] gradient\n"
                               "b.bias parameter storage [7] gradient\n"
                               "dy batch storage [5,7]\n"
                               "span first\n"
                               "  t6 = linear(x, a.weight, a.bias)\n"
                               "  t7 = gelu(t6)\n"
                               "  t12 = linear(t7, b.weight, b.bias)\n"
                               "  t13 = add(t12, t7)\n"
                               "  t15 = axpby(dy)\n"
                               "  t16 = axpby(dy)\n"
                               "  t16 = linear_dx(t15, b.weight)\n"
                               "  d(b.weight) = linear_dw(t15, t7)\n"
                               "  d(b.bias) = linear_db(t15)\n"
                               "  t17 = gelu_bwd(t16, t6)\n"
                               "  d(a.weight) = linear_dw(t17, x)\n"
                               "  d(a.bias) = linear_db(t17)\n";
    struct fixture f;
    struct buffer text = { 0 };
    struct error err = { 0 };
    (void)state;
    open_fixture(&f, NULL);
    write_layers(&f, 0);
    assert_int_equal(program_finish(f.p, &err), ST_OK);
    assert_int_equal(program_dump(f.p, &text, &err), ST_OK);
    assert_int_equal(buffer_append(&text, "", 1, &err), ST_OK);
    assert_string_equal((const char *)text.data, want);
    buffer_clear(&text);
    close_fixture(&f);
}

static void a_frozen_weight_gets_no_gradient_and_keeps_no_input(void **state)
{
    struct fixture f;
    (void)state;
    open_fixture(&f, "b.weight");
    write_layers(&f, 0);
    assert_int_equal(count_ops(f.p, "linear_dw"), 1); /* a's */
    assert_int_equal(count_ops(f.p, "linear_dx"), 1); /* b's: x itself needs none */
    for (int i = 0; i < f.p->n_nodes; i++)
        if (strcmp(f.p->nodes[i].op->name, "linear_dw") == 0)
            assert_int_equal(f.p->nodes[i].in[1], f.x);
    close_fixture(&f);
}

static void recomputation_changes_no_bit_of_output_or_gradient(void **state)
{
    struct fixture plain, again;
    (void)state;
    open_fixture(&plain, NULL);
    open_fixture(&again, NULL);
    write_layers(&plain, 0);
    write_layers(&again, SPAN_RECOMPUTE);
    assert_int_equal(count_ops(plain.p, "gelu"), 1);
    assert_int_equal(count_ops(again.p, "gelu"), 2);
    run(&plain);
    run(&again);
    assert_memory_equal(runner_data(plain.r, plain.y), runner_data(again.r, again.y),
                        (size_t)(N * D) * sizeof(float));
    assert_int_equal(plain.params->trainable_elements, again.params->trainable_elements);
    assert_memory_equal(plain.params->gradients, again.params->gradients,
                        (size_t)plain.params->trainable_elements * sizeof(float));
    close_fixture(&plain);
    close_fixture(&again);
}

/* Rows of one tensor used by two consumers; the middle row by none. */
static void gradients_of_rows_add_up_and_untouched_rows_are_zero(void **state)
{
    struct fixture f;
    struct error err = { 0 };
    (void)state;
    open_fixture(&f, NULL);
    struct program *p = f.p;
    const int w = program_param(p, (int64_t[]){ 3, C }, 2, "table");
    const int top = program_rows(p, w, 0, 1), bottom = program_rows(p, w, 2, 1);
    const int y = program_keep(p, op_add(p, op_add(p, top, bottom), top));
    program_gradient_seed(p, y, program_batch(p, "dy", ROLE_STORAGE, (int64_t[]){ 1, C }, 2));
    program_backward(p, 0, p->n_nodes);
    assert_int_equal(params_allocate(f.params, &err), ST_OK);
    assert_int_equal(runner_open(&f.r, p, NULL, &err), ST_OK);
    float *dy = runner_data(f.r, program_find(p, "dy"));
    for (int64_t c = 0; c < C; c++)
        dy[c] = (float)(c + 1);
    assert_int_equal(runner_run(f.r, 0, p->n_nodes, &err), ST_OK);
    const float *g = params_find(f.params, "table")->gradient;
    for (int64_t c = 0; c < C; c++) {
        assert_true(g[c] == 2.0f * (float)(c + 1));
        assert_true(g[C + c] == 0.0f);
        assert_true(g[2 * C + c] == (float)(c + 1));
    }
    close_fixture(&f);
}

/* A long chain with residuals from far back: many lives of many sizes. */
static void write_chain(struct program *p, int x)
{
    int far = dense(p, x, C, D, "in");
    int y = far;
    for (int i = 0; i < 40; i++) {
        char name[32];
        snprintf(name, sizeof name, "layer%d", i);
        const int64_t wide = 3 + i * 7 % 29;
        y = op_gelu(p, dense(p, y, D, wide, name));
        snprintf(name, sizeof name, "back%d", i);
        y = op_add(p, dense(p, y, wide, D, name), far);
        far = i % 5 == 4 ? y : far;
    }
    program_gradient_seed(p, y, program_batch(p, "dy", ROLE_STORAGE, (int64_t[]){ N, D }, 2));
    program_backward(p, 0, p->n_nodes);
}

static void no_two_live_tensors_share_a_byte(void **state)
{
    struct fixture f;
    struct memory_plan *plan = NULL;
    struct error err = { 0 };
    (void)state;
    open_fixture(&f, NULL);
    write_chain(f.p, f.x);
    assert_int_equal(planner_open(&plan, f.p, DT_F32, &err), ST_OK);
    assert_int_equal(planner_check(plan, f.p, &err), ST_OK);
    assert_true(plan->arena_bytes >= plan->live_bytes);
    assert_true(plan->arena_bytes * 100 <= plan->live_bytes * 105);
    plan->items[3].offset = plan->items[2].offset; /* neighbours in life */
    assert_int_equal(planner_check(plan, f.p, &err), ST_FAIL);
    planner_close(&plan);
    close_fixture(&f);
}

static void the_first_fault_is_the_one_reported(void **state)
{
    struct fixture f;
    struct error err = { 0 };
    (void)state;
    open_fixture(&f, NULL);
    const int w = program_param(f.p, (int64_t[]){ D, C + 1 }, 2, "w");
    const int y = op_linear(f.p, f.x, w, TENSOR_NONE);
    assert_int_equal(y, TENSOR_NONE);
    assert_int_equal(op_gelu(f.p, y), TENSOR_NONE);
    program_fault(f.p, "a later one");
    assert_int_equal(program_finish(f.p, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, "linear: operands do not fit: x[5,6], w[7,7]"));
    close_fixture(&f);
}

static void a_parameter_with_two_shapes_is_refused(void **state)
{
    struct fixture f;
    struct error err = { 0 };
    (void)state;
    open_fixture(&f, NULL);
    program_param(f.p, (int64_t[]){ D, C }, 2, "w");
    program_param(f.p, (int64_t[]){ C, D }, 2, "w");
    assert_int_equal(program_finish(f.p, &err), ST_FAIL);
    assert_non_null(strstr(err.text, "parameter w: declared twice"));
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dump_of_a_layer_and_its_backward_reads_as_written),
        cmocka_unit_test(a_frozen_weight_gets_no_gradient_and_keeps_no_input),
        cmocka_unit_test(recomputation_changes_no_bit_of_output_or_gradient),
        cmocka_unit_test(gradients_of_rows_add_up_and_untouched_rows_are_zero),
        cmocka_unit_test(no_two_live_tensors_share_a_byte),
        cmocka_unit_test(the_first_fault_is_the_one_reported),
        cmocka_unit_test(a_parameter_with_two_shapes_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
