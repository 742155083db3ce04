/* trainer/op_elementwise.c: activations, sums, products with vectors, dropout. */
#include "kernels/activation.h"
#include "kernels/add.h"
#include "kernels/dropout.h"
#include "kernels/scale.h"
#include "trainer/op_private.h"

/* Activations of one input: the gradient reads the input. */
static void activation_gradient(struct program *p, const struct node *n, const struct op *backward)
{
    struct activation_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    program_append(p, backward, &dx, 1, (int[]){ dy, n->in[0] }, 2, &a, sizeof a);
}

static const struct op gelu_backward = { .name = "gelu_bwd", .run = RUN(gelu_bwd) };
static const struct op silu_backward = { .name = "silu_bwd", .run = RUN(silu_bwd) };
static const struct op relu_backward = { .name = "relu_bwd", .run = RUN(relu_bwd) };
static const struct op geglu_backward = { .name = "geglu_bwd", .run = RUN(geglu_bwd) };
static const struct op swiglu_backward = { .name = "swiglu_bwd", .run = RUN(swiglu_bwd) };

static void gelu_gradient(struct program *p, const struct node *n)
{
    activation_gradient(p, n, &gelu_backward);
}
static void silu_gradient(struct program *p, const struct node *n)
{
    activation_gradient(p, n, &silu_backward);
}
static void relu_gradient(struct program *p, const struct node *n)
{
    activation_gradient(p, n, &relu_backward);
}
static void geglu_gradient(struct program *p, const struct node *n)
{
    activation_gradient(p, n, &geglu_backward);
}

static void swiglu_gradient(struct program *p, const struct node *n)
{
    struct swiglu_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int da = program_gradient_target(p, n->in[0], &a.beta_da);
    const int db = program_gradient_target(p, n->in[1], &a.beta_db);
    program_append(p, &swiglu_backward, (int[]){ da, db }, 2, (int[]){ dy, n->in[0], n->in[1] }, 3,
                   &a, sizeof a);
}

static enum status shape_half(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    out[0] = op_shape_of(x);
    if (x->rank < 1 || op_last(x) % 2)
        return op_misfit(p, n, err);
    out[0].shape[x->rank - 1] /= 2;
    return ST_OK;
}

/* Both operands have the same number of elements. */
static enum status shape_pair(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    out[0] = op_shape_of(op_in(p, n, 0));
    return op_in(p, n, 0)->count == op_in(p, n, 1)->count ? ST_OK : op_misfit(p, n, err);
}

static const struct op gelu = { .name = "gelu",
                                .shape = op_shape_like_first,
                                .run = RUN(gelu_fwd),
                                .gradient = gelu_gradient,
                                .saves_in = 1 };
static const struct op silu = { .name = "silu",
                                .shape = op_shape_like_first,
                                .run = RUN(silu_fwd),
                                .gradient = silu_gradient,
                                .saves_in = 1 };
static const struct op relu = { .name = "relu",
                                .shape = op_shape_like_first,
                                .run = RUN(relu_fwd),
                                .gradient = relu_gradient,
                                .saves_in = 1 };
static const struct op geglu = { .name = "geglu",
                                 .shape = shape_half,
                                 .run = RUN(geglu_fwd),
                                 .gradient = geglu_gradient,
                                 .saves_in = 1 };
static const struct op swiglu = { .name = "swiglu",
                                  .shape = shape_pair,
                                  .run = RUN(swiglu_fwd),
                                  .gradient = swiglu_gradient,
                                  .saves_in = 1 << 0 | 1 << 1 };

static int activate(struct program *p, const struct op *op, int x)
{
    const struct activation_attrs a = { 0 };
    return program_apply_one(p, op, &x, 1, &a, sizeof a);
}
int op_gelu(struct program *p, int x)
{
    return activate(p, &gelu, x);
}
int op_silu(struct program *p, int x)
{
    return activate(p, &silu, x);
}
int op_relu(struct program *p, int x)
{
    return activate(p, &relu, x);
}
int op_geglu(struct program *p, int x)
{
    return activate(p, &geglu, x);
}
int op_swiglu(struct program *p, int gate, int up)
{
    const struct swiglu_attrs a = { 0 };
    return program_apply_one(p, &swiglu, (int[]){ gate, up }, 2, &a, sizeof a);
}

/* Sums. */
static const struct op axpby = { .name = "axpby", .run = RUN(axpby_fwd) };

void op_pass_gradient(struct program *p, int x, int dy)
{
    struct axpby_attrs a = { .scale = 1.0f };
    const int dx = program_gradient_target(p, x, &a.beta);
    if (dx != TENSOR_NONE)
        program_append(p, &axpby, &dx, 1, &dy, 1, &a, sizeof a);
}

static void add_gradient(struct program *p, const struct node *n)
{
    const int dy = program_gradient(p, n->out[0]);
    op_pass_gradient(p, n->in[0], dy);
    op_pass_gradient(p, n->in[1], dy);
}

static const struct op add = {
    .name = "add", .shape = shape_pair, .run = RUN(add_fwd), .gradient = add_gradient
};

int op_add(struct program *p, int x, int y)
{
    const struct add_attrs a = { 1.0f, 1.0f };
    return program_apply_one(p, &add, (int[]){ x, y }, 2, &a, sizeof a);
}

static enum status shape_table(const struct program *p, const struct node *n, struct op_shape *out,
                               struct error *err)
{
    const int64_t x = op_in(p, n, 0)->count, t = op_in(p, n, 1)->count;
    out[0] = op_shape_of(op_in(p, n, 0));
    return t < 1 || x % t ? op_misfit(p, n, err) : ST_OK;
}

static const struct op table_backward = { .name = "add_table_bwd", .run = RUN(add_table_bwd) };
static const struct op image_backward = { .name = "add_image_bwd", .run = RUN(add_image_bwd) };

static void broadcast_gradient(struct program *p, const struct node *n, const struct op *backward)
{
    struct add_table_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    op_pass_gradient(p, n->in[0], dy);
    const int dt = program_gradient_target(p, n->in[1], &a.beta);
    if (dt != TENSOR_NONE)
        program_append(p, backward, &dt, 1, &dy, 1, &a, sizeof a);
}
static void table_gradient(struct program *p, const struct node *n)
{
    broadcast_gradient(p, n, &table_backward);
}
static void image_gradient(struct program *p, const struct node *n)
{
    broadcast_gradient(p, n, &image_backward);
}

static const struct op add_table = {
    .name = "add_table", .shape = shape_table, .run = RUN(add_table_fwd), .gradient = table_gradient
};

int op_add_table(struct program *p, int x, int table)
{
    const struct add_table_attrs a = { 0 };
    return program_apply_one(p, &add_table, (int[]){ x, table }, 2, &a, sizeof a);
}

/* The same kernel without x: the table over and over. The rule finds how often in `times`, which
 * stands behind the kernel's own attributes. */
struct repeat_attrs {
    struct add_table_attrs kernel;
    int64_t times;
};

static enum status shape_repeat(const struct program *p, const struct node *n, struct op_shape *out,
                                struct error *err)
{
    const struct repeat_attrs *a = n->attrs;
    out[0] = op_shape_of(op_in(p, n, 1));
    if (a->times < 1 || out[0].rank < 1)
        return op_misfit(p, n, err);
    out[0].shape[0] *= a->times;
    return ST_OK;
}

static const struct op repeat = {
    .name = "repeat", .shape = shape_repeat, .run = RUN(add_table_fwd), .gradient = table_gradient
};

int op_repeat(struct program *p, int table, int64_t times)
{
    const struct repeat_attrs a = { .times = times };
    return program_apply_one(p, &repeat, (int[]){ TENSOR_NONE, table }, 2, &a, sizeof a);
}

static enum status shape_image(const struct program *p, const struct node *n, struct op_shape *out,
                               struct error *err)
{
    const struct tensor *x = op_in(p, n, 0), *v = op_in(p, n, 1);
    out[0] = op_shape_of(x);
    return v->count == x->shape[0] * op_last(x) ? ST_OK : op_misfit(p, n, err);
}

static const struct op add_image = {
    .name = "add_image", .shape = shape_image, .run = RUN(add_image_fwd), .gradient = image_gradient
};

int op_add_image(struct program *p, int x, int v)
{
    const struct add_table_attrs a = { 0 };
    return program_apply_one(p, &add_image, (int[]){ x, v }, 2, &a, sizeof a);
}

static const struct op gated_backward = { .name = "gated_add_bwd", .run = RUN(gated_add_bwd) };

static void gated_gradient(struct program *p, const struct node *n)
{
    struct gated_add_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    op_pass_gradient(p, n->in[0], dy);
    const int db = program_gradient_target(p, n->in[1], &a.beta_db);
    const int dg = program_gradient_target(p, n->in[2], &a.beta_dgate);
    if (db != TENSOR_NONE || dg != TENSOR_NONE)
        program_append(p, &gated_backward, (int[]){ db, dg }, 2, (int[]){ dy, n->in[1], n->in[2] },
                       3, &a, sizeof a);
}

static const struct op gated_add = { .name = "gated_add",
                                     .shape = shape_pair,
                                     .run = RUN(gated_add_fwd),
                                     .gradient = gated_gradient,
                                     .saves_in = 1 << 1 };

int op_gated_add(struct program *p, int x, int y, int gate)
{
    const struct gated_add_attrs a = { 0 };
    return program_apply_one(p, &gated_add, (int[]){ x, y, gate }, 3, &a, sizeof a);
}

/* Products with vectors. */
static const struct op channels_backward = { .name = "scale_channels_bwd",
                                             .run = RUN(scale_channels_bwd) };

static void channels_gradient(struct program *p, const struct node *n)
{
    struct scale_channels_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta_dx);
    const int dg = program_gradient_target(p, n->in[1], &a.beta_dg);
    const int db = program_gradient_target(p, n->in[2], &a.beta_db);
    program_append(p, &channels_backward, (int[]){ dx, dg, db }, 3,
                   (int[]){ dy, n->in[0], n->in[1] }, 3, &a, sizeof a);
}

static enum status shape_channels(const struct program *p, const struct node *n,
                                  struct op_shape *out, struct error *err)
{
    out[0] = op_shape_of(op_in(p, n, 0));
    return op_in(p, n, 1)->count == op_last(op_in(p, n, 0)) ? ST_OK : op_misfit(p, n, err);
}

static const struct op channels = { .name = "scale_channels",
                                    .shape = shape_channels,
                                    .run = RUN(scale_channels_fwd),
                                    .gradient = channels_gradient,
                                    .saves_in = 1 << 0 | 1 << 1 };

int op_scale_channels(struct program *p, int x, int g, int b)
{
    const struct scale_channels_attrs a = { 0 };
    return program_apply_one(p, &channels, (int[]){ x, g, b }, 3, &a, sizeof a);
}

static const struct op rows_backward = { .name = "scale_rows_bwd", .run = RUN(scale_rows_fwd) };

/* Appends dx += dy * m by rows. */
static void pass_scaled(struct program *p, int x, int dy, int m)
{
    struct scale_rows_attrs a = { 0 };
    const int dx = program_gradient_target(p, x, &a.beta);
    if (dx != TENSOR_NONE)
        program_append(p, &rows_backward, &dx, 1, (int[]){ dy, m }, 2, &a, sizeof a);
}

static void rows_gradient(struct program *p, const struct node *n)
{
    pass_scaled(p, n->in[0], program_gradient(p, n->out[0]), n->in[1]);
}

static const struct op scale_rows = { .name = "scale_rows",
                                      .shape = shape_table,
                                      .run = RUN(scale_rows_fwd),
                                      .gradient = rows_gradient,
                                      .saves_in = 1 << 1 };

int op_scale_rows(struct program *p, int x, int mask)
{
    const struct scale_rows_attrs a = { 0 };
    return program_apply_one(p, &scale_rows, (int[]){ x, mask }, 2, &a, sizeof a);
}

static void scaled_gradient(struct program *p, const struct node *n)
{
    const int dy = program_gradient(p, n->out[0]);
    op_pass_gradient(p, n->in[0], dy);
    pass_scaled(p, n->in[1], dy, n->in[2]);
}

static const struct op add_scaled = { .name = "add_scaled",
                                      .shape = shape_pair,
                                      .run = RUN(add_scaled_fwd),
                                      .gradient = scaled_gradient,
                                      .saves_in = 1 << 2 };

int op_add_scaled(struct program *p, int x, int y, int scale)
{
    const struct scale_rows_attrs a = { 0 };
    return program_apply_one(p, &add_scaled, (int[]){ x, y, scale }, 3, &a, sizeof a);
}

/* Dropout: its gradient draws the same mask again. */
static const struct op dropout_backward = { .name = "dropout_bwd", .run = RUN(dropout_fwd) };

static void dropout_gradient(struct program *p, const struct node *n)
{
    struct dropout_attrs a = *(const struct dropout_attrs *)n->attrs;
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    program_append(p, &dropout_backward, &dx, 1, (int[]){ dy, n->in[1] }, 2, &a, sizeof a);
}

static const struct op dropout = { .name = "dropout",
                                   .shape = op_shape_like_first,
                                   .run = RUN(dropout_fwd),
                                   .gradient = dropout_gradient };

int op_dropout(struct program *p, int x, int draws, double probability)
{
    const struct dropout_attrs a = { .p = probability };
    return program_apply_one(p, &dropout, (int[]){ x, draws }, 2, &a, sizeof a);
}

static enum status shape_path(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    (void)err;
    out[0] =
        (struct op_shape){ .role = ROLE_EXACT, .rank = 1, .shape = { op_in(p, n, 0)->shape[0] } };
    return ST_OK;
}

static const struct op drop_path = { .name = "drop_path",
                                     .shape = shape_path,
                                     .run = RUN(dropout_path_fwd) };

int op_drop_path(struct program *p, int draws, double probability)
{
    const struct dropout_attrs a = { .p = probability };
    return program_apply_one(p, &drop_path, &draws, 1, &a, sizeof a);
}
