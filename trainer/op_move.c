/* trainer/op_move.c: moving data: fill, joining, transposing, rows by index. */
#include "kernels/add.h"
#include "kernels/copy.h"
#include "kernels/gather.h"
#include "trainer/op_private.h"

static const struct op zero = { .name = "zero", .run = RUN(fill_fwd) };

void op_zero(struct program *p, int t)
{
    const struct fill_attrs a = { 0.0f };
    program_append(p, &zero, &t, 1, NULL, 0, &a, sizeof a);
}

int op_constant(struct program *p, enum role role, const int64_t *shape, int rank, float value)
{
    static const struct op constant = { .name = "constant", .run = RUN(fill_fwd) };
    const struct fill_attrs a = { value };
    const int t = program_arena(p, role, shape, rank);
    program_append(p, &constant, &t, 1, NULL, 0, &a, sizeof a);
    return t;
}

static enum status shape_concat(const struct program *p, const struct node *n, struct op_shape *out,
                                struct error *err)
{
    const struct tensor *x = op_in(p, n, 0), *y = op_in(p, n, 1);
    const struct concat_attrs *a = n->attrs;
    if (x->rank != y->rank || a->axis < 0 || a->axis >= x->rank)
        return op_misfit(p, n, err);
    for (int i = 0; i < x->rank; i++)
        if (i != a->axis && x->shape[i] != y->shape[i])
            return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    out[0].shape[a->axis] += y->shape[a->axis];
    return ST_OK;
}

static const struct op split = { .name = "split", .run = RUN(split_fwd) };

static void concat_gradient(struct program *p, const struct node *n)
{
    struct concat_attrs a = *(const struct concat_attrs *)n->attrs;
    const int dz = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta_dx);
    const int dy = program_gradient_target(p, n->in[1], &a.beta_dy);
    program_append(p, &split, (int[]){ dx, dy }, 2, &dz, 1, &a, sizeof a);
}

static const struct op concat = {
    .name = "concat", .shape = shape_concat, .run = RUN(concat_fwd), .gradient = concat_gradient
};

int op_concat(struct program *p, int x, int y, int axis)
{
    const struct concat_attrs a = { .axis = axis };
    return program_apply_one(p, &concat, (int[]){ x, y }, 2, &a, sizeof a);
}

static enum status shape_transpose(const struct program *p, const struct node *n,
                                   struct op_shape *out, struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    if (x->rank != 3)
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    out[0].shape[1] = x->shape[2];
    out[0].shape[2] = x->shape[1];
    return ST_OK;
}

static const struct op transpose_backward = { .name = "transpose_bwd", .run = RUN(transpose_fwd) };

static void transpose_gradient(struct program *p, const struct node *n)
{
    struct transpose_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    program_append(p, &transpose_backward, &dx, 1, &dy, 1, &a, sizeof a);
}

static const struct op transpose = { .name = "transpose",
                                     .shape = shape_transpose,
                                     .run = RUN(transpose_fwd),
                                     .gradient = transpose_gradient };

int op_transpose(struct program *p, int x)
{
    const struct transpose_attrs a = { 0 };
    return program_apply_one(p, &transpose, &x, 1, &a, sizeof a);
}

int op_nhwc(struct program *p, int x)
{
    if (p->failed)
        return TENSOR_NONE;
    const struct tensor t = *program_tensor(p, x);
    if (t.rank != 4)
        return program_fault(p, "channels-last: %s is no picture", t.name);
    const int planes =
        program_reshape(p, x, (int64_t[]){ t.shape[0], t.shape[1], t.shape[2] * t.shape[3] }, 3);
    return program_reshape(p, op_transpose(p, planes),
                           (int64_t[]){ t.shape[0], t.shape[2], t.shape[3], t.shape[1] }, 4);
}

static enum status shape_gather(const struct program *p, const struct node *n, struct op_shape *out,
                                struct error *err)
{
    const struct tensor *rows = op_in(p, n, 0);
    if (rows->rank < 1)
        return op_misfit(p, n, err);
    if (n->n_in == 4 && (op_last(op_in(p, n, 2)) != op_last(rows) ||
                         op_in(p, n, 3)->count != op_in(p, n, 1)->count))
        return op_misfit(p, n, err);
    out[0] = op_shape_of(rows);
    out[0].shape[0] = op_in(p, n, 1)->count;
    return ST_OK;
}

static const struct op gather_backward = { .name = "gather_bwd", .run = RUN(gather_bwd) };

static void pass_gathered(struct program *p, int rows, int index, int dy)
{
    struct gather_attrs a = { 0 };
    const int d = program_gradient_target(p, rows, &a.beta);
    if (d != TENSOR_NONE)
        program_append(p, &gather_backward, &d, 1, (int[]){ dy, index }, 2, &a, sizeof a);
}

static void gather_gradient(struct program *p, const struct node *n)
{
    const int dy = program_gradient(p, n->out[0]);
    pass_gathered(p, n->in[0], n->in[1], dy);
    if (n->n_in == 4)
        pass_gathered(p, n->in[2], n->in[3], dy);
}

static const struct op gather = {
    .name = "gather", .shape = shape_gather, .run = RUN(gather_fwd), .gradient = gather_gradient
};
static const struct op gather_sum = { .name = "gather_sum",
                                      .shape = shape_gather,
                                      .run = RUN(gather_sum_fwd),
                                      .gradient = gather_gradient };

int op_gather(struct program *p, int rows, int index)
{
    const struct gather_attrs a = { 0 };
    return program_apply_one(p, &gather, (int[]){ rows, index }, 2, &a, sizeof a);
}

int op_gather_sum(struct program *p, int rows, int index, int table, int place)
{
    const struct gather_attrs a = { 0 };
    return program_apply_one(p, &gather_sum, (int[]){ rows, index, table, place }, 4, &a, sizeof a);
}

static enum status shape_scatter(const struct program *p, const struct node *n,
                                 struct op_shape *out, struct error *err)
{
    const struct tensor *x = op_in(p, n, 0), *rows = op_in(p, n, 1);
    out[0] = op_shape_of(x);
    if (op_last(x) != op_last(rows) || op_rows(rows) != op_in(p, n, 2)->count)
        return op_misfit(p, n, err);
    return ST_OK;
}

static const struct op scatter_dx = { .name = "scatter_dx", .run = RUN(scatter_dx) };
static const struct op scatter_rows = { .name = "scatter_drows", .run = RUN(gather_fwd) };

static void scatter_gradient(struct program *p, const struct node *n)
{
    struct gather_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    if (dx != TENSOR_NONE)
        program_append(p, &scatter_dx, &dx, 1, (int[]){ dy, n->in[2] }, 2, &a, sizeof a);
    const int drows = program_gradient_target(p, n->in[1], &a.beta);
    if (drows != TENSOR_NONE)
        program_append(p, &scatter_rows, &drows, 1, (int[]){ dy, n->in[2] }, 2, &a, sizeof a);
}

static const struct op scatter = {
    .name = "scatter", .shape = shape_scatter, .run = RUN(scatter_fwd), .gradient = scatter_gradient
};

int op_scatter(struct program *p, int x, int rows, int index)
{
    const struct gather_attrs a = { 0 };
    return program_apply_one(p, &scatter, (int[]){ x, rows, index }, 3, &a, sizeof a);
}
