/* trainer/op_norm.c: layer, root-mean-square and group normalisation. The statistics of a row are
 * outputs (exact) that backward reads again. */
#include "kernels/groupnorm.h"
#include "kernels/layernorm.h"
#include "kernels/rmsnorm.h"
#include "trainer/op_private.h"

/* y like x, then one exact number a row for each further output. */
static enum status shape_rows(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    for (int i = 1; i < n->n_in; i++)
        if (n->in[i] != TENSOR_NONE && op_in(p, n, i)->count != op_last(x))
            return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    for (int i = 1; i < n->n_out; i++)
        out[i] = (struct op_shape){ .role = ROLE_EXACT, .rank = 1, .shape = { op_rows(x) } };
    return ST_OK;
}

static const struct op layernorm_backward = { .name = "layernorm_bwd", .run = RUN(layernorm_bwd) };

static void layernorm_gradient(struct program *p, const struct node *n)
{
    struct layernorm_attrs a = *(const struct layernorm_attrs *)n->attrs;
    const int dx = program_gradient_target(p, n->in[0], &a.beta_dx);
    const int dw = program_gradient_target(p, n->in[1], &a.beta_dw);
    const int db = program_gradient_target(p, n->in[2], &a.beta_db);
    const int dy = program_gradient(p, n->out[0]);
    program_append(p, &layernorm_backward, (int[]){ dx, dw, db }, 3,
                   (int[]){ dy, n->in[0], n->in[1], n->out[1], n->out[2] }, 5, &a, sizeof a);
}

static const struct op layernorm = {
    .name = "layernorm",
    .shape = shape_rows,
    .run = RUN(layernorm_fwd),
    .gradient = layernorm_gradient,
    .saves_in = 1 << 0 | 1 << 1,
    .saves_out = 1 << 1 | 1 << 2,
};

int op_layernorm(struct program *p, int x, int weight, int bias, float eps)
{
    const struct layernorm_attrs a = { .eps = eps };
    int out[3];
    program_apply(p, &layernorm, out, 3, (int[]){ x, weight, bias }, 3, &a, sizeof a);
    return out[0];
}

static const struct op rmsnorm_backward = { .name = "rmsnorm_bwd", .run = RUN(rmsnorm_bwd) };

static void rmsnorm_gradient(struct program *p, const struct node *n)
{
    struct rmsnorm_attrs a = *(const struct rmsnorm_attrs *)n->attrs;
    const int dx = program_gradient_target(p, n->in[0], &a.beta_dx);
    const int dw = program_gradient_target(p, n->in[1], &a.beta_dw);
    const int dy = program_gradient(p, n->out[0]);
    program_append(p, &rmsnorm_backward, (int[]){ dx, dw }, 2,
                   (int[]){ dy, n->in[0], n->in[1], n->out[1] }, 4, &a, sizeof a);
}

static const struct op rmsnorm = {
    .name = "rmsnorm",
    .shape = shape_rows,
    .run = RUN(rmsnorm_fwd),
    .gradient = rmsnorm_gradient,
    .saves_in = 1 << 0 | 1 << 1,
    .saves_out = 1 << 1,
};

int op_rmsnorm(struct program *p, int x, int weight, float eps)
{
    const struct rmsnorm_attrs a = { .eps = eps };
    int out[2];
    program_apply(p, &rmsnorm, out, 2, (int[]){ x, weight }, 2, &a, sizeof a);
    return out[0];
}

static enum status shape_groups(const struct program *p, const struct node *n, struct op_shape *out,
                                struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    const struct groupnorm_attrs *a = n->attrs;
    if (a->groups < 1 || op_last(x) % a->groups || op_in(p, n, 1)->count != op_last(x) ||
        op_in(p, n, 2)->count != op_last(x))
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    for (int i = 1; i < 3; i++)
        out[i] =
            (struct op_shape){ .role = ROLE_EXACT, .rank = 2, .shape = { x->shape[0], a->groups } };
    return ST_OK;
}

static const struct op groupnorm_backward = { .name = "groupnorm_bwd", .run = RUN(groupnorm_bwd) };

static void groupnorm_gradient(struct program *p, const struct node *n)
{
    struct groupnorm_attrs a = *(const struct groupnorm_attrs *)n->attrs;
    const int dx = program_gradient_target(p, n->in[0], &a.beta_dx);
    const int dw = program_gradient_target(p, n->in[1], &a.beta_dw);
    const int db = program_gradient_target(p, n->in[2], &a.beta_db);
    const int dy = program_gradient(p, n->out[0]);
    program_append(p, &groupnorm_backward, (int[]){ dx, dw, db }, 3,
                   (int[]){ dy, n->in[0], n->in[1], n->in[2], n->out[1], n->out[2] }, 6, &a,
                   sizeof a);
}

static const struct op groupnorm = {
    .name = "groupnorm",
    .shape = shape_groups,
    .run = RUN(groupnorm_fwd),
    .gradient = groupnorm_gradient,
    .saves_in = 1 << 0 | 1 << 1 | 1 << 2,
    .saves_out = 1 << 1 | 1 << 2,
};

int op_groupnorm(struct program *p, int x, int weight, int bias, int64_t groups, float eps,
                 bool silu)
{
    const struct groupnorm_attrs a = { .groups = (int)groups, .silu = silu, .eps = eps };
    int out[3];
    program_apply(p, &groupnorm, out, 3, (int[]){ x, weight, bias }, 3, &a, sizeof a);
    return out[0];
}
