/* trainer/op_linear.c: y = x W' + b. The example of an operation: the shape rule, the count, the
 * gradient, the entries, the call. A frozen weight gets no gradient and then x is not kept; a frozen
 * input gets none and then the weight is not read again. */

#include "kernels/linear.h"
#include "trainer/op_private.h"

static enum status shape(const struct program *p, const struct node *n, struct op_shape *out,
                         struct error *err)
{
    const struct tensor *x = op_in(p, n, 0), *w = op_in(p, n, 1), *b = op_in(p, n, 2);
    if (w->rank != 2 || x->rank < 1 || op_last(x) != w->shape[1] ||
        (n->in[2] != TENSOR_NONE && b->count != w->shape[0]))
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    out[0].shape[x->rank - 1] = w->shape[0];
    return ST_OK;
}

static enum status shape_exact(const struct program *p, const struct node *n, struct op_shape *out,
                               struct error *err)
{
    const enum status st = shape(p, n, out, err);
    out[0].role = ROLE_EXACT;
    return st;
}

/* Forward and dx: input 0 are rows, input 1 is the weight. */
static double flops(const struct program *p, const struct node *n)
{
    return 2.0 * (double)op_rows(op_in(p, n, 0)) * (double)op_in(p, n, 1)->count;
}

static double flops_dw(const struct program *p, const struct node *n)
{
    return 2.0 * (double)op_in(p, n, 0)->count * (double)op_last(op_in(p, n, 1));
}

static const struct op linear_dx = { .name = "linear_dx", .run = RUN(linear_dx), .flops = flops };
static const struct op linear_dw = { .name = "linear_dw",
                                     .run = RUN(linear_dw),
                                     .flops = flops_dw };
static const struct op linear_db = { .name = "linear_db", .run = RUN(linear_db) };

void op_bias_gradient(struct program *p, int bias, int dy)
{
    struct linear_attrs a = { 0 };
    const int db = program_gradient_target(p, bias, &a.beta);
    if (db != TENSOR_NONE)
        program_append(p, &linear_db, &db, 1, &dy, 1, &a, sizeof a);
}

static void gradient(struct program *p, const struct node *n)
{
    struct linear_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    if (dx != TENSOR_NONE)
        program_append(p, &linear_dx, &dx, 1, (int[]){ dy, n->in[1] }, 2, &a, sizeof a);
    const int dw = program_gradient_target(p, n->in[1], &a.beta);
    if (dw != TENSOR_NONE)
        program_append(p, &linear_dw, &dw, 1, (int[]){ dy, n->in[0] }, 2, &a, sizeof a);
    op_bias_gradient(p, n->in[2], dy);
}

static const struct op linear = {
    .name = "linear",
    .shape = shape,
    .run = RUN(linear_fwd),
    .gradient = gradient,
    .flops = flops,
    .saves_in = 1 << 0 | 1 << 1, /* x for dW; W, where it was computed, for dx */
};
static const struct op exact = {
    .name = "linear_exact",
    .shape = shape_exact,
    .run = RUN(linear_fwd),
    .gradient = gradient,
    .flops = flops,
    .saves_in = 1 << 0 | 1 << 1,
};

int op_linear(struct program *p, int x, int w, int bias)
{
    const struct linear_attrs a = { 0 };
    return program_apply_one(p, &linear, (int[]){ x, w, bias }, 3, &a, sizeof a);
}

int op_linear_exact(struct program *p, int x, int w, int bias)
{
    const struct linear_attrs a = { 0 };
    return program_apply_one(p, &exact, (int[]){ x, w, bias }, 3, &a, sizeof a);
}
