/* trainer/op_loss.c: diffusion arithmetic and losses. A loss makes the gradient of its input on the
 * way, so it is where a backward pass starts: the gradient is seeded, not derived. */
#include "kernels/ddpm.h"
#include "kernels/xent.h"
#include "trainer/op_private.h"

static enum status shape_ddpm_table(const struct program *p, const struct node *n,
                                    struct op_shape *out, struct error *err)
{
    (void)p;
    (void)n;
    (void)err;
    out[0] = (struct op_shape){ .role = ROLE_EXACT, .rank = 2, .shape = { DDPM_STEPS, 4 } };
    return ST_OK;
}

static enum status shape_pair(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    out[0] = op_shape_of(op_in(p, n, 0));
    return op_in(p, n, 0)->count == op_in(p, n, 1)->count ? ST_OK : op_misfit(p, n, err);
}

static enum status shape_posterior(const struct program *p, const struct node *n,
                                   struct op_shape *out, struct error *err)
{
    const struct tensor *m = op_in(p, n, 0);
    out[0] = op_shape_of(m);
    out[0].shape[m->rank - 1] /= 2;
    return m->count == 2 * op_in(p, n, 1)->count ? ST_OK : op_misfit(p, n, err);
}

static const struct op ddpm_table = { .name = "ddpm_table",
                                      .shape = shape_ddpm_table,
                                      .run = RUN(ddpm_table_fwd) };
static const struct op ddpm_noise = { .name = "ddpm_noise",
                                      .shape = shape_pair,
                                      .run = RUN(ddpm_noise_fwd) };
static const struct op posterior = { .name = "ddpm_posterior",
                                     .shape = shape_posterior,
                                     .run = RUN(ddpm_posterior_fwd) };

int op_ddpm_table(struct program *p)
{
    return program_apply_one(p, &ddpm_table, NULL, 0, NULL, 0);
}

int op_ddpm_noise(struct program *p, int z0, int noise, int t, int table)
{
    return program_apply_one(p, &ddpm_noise, (int[]){ z0, noise, t, table }, 4, NULL, 0);
}

int op_posterior(struct program *p, int moments, int noise, float scale)
{
    const struct ddpm_posterior_attrs a = { scale };
    return program_apply_one(p, &posterior, (int[]){ moments, noise }, 2, &a, sizeof a);
}

/* Outputs: gradient of the logits (like them), loss a row. */
static enum status shape_xent(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    if (x->rank != 2 || op_in(p, n, 1)->count != x->shape[0])
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    out[1] = (struct op_shape){ .role = ROLE_EXACT, .rank = 1, .shape = { x->shape[0] } };
    return ST_OK;
}

static const struct op xent = { .name = "xent", .shape = shape_xent, .run = RUN(xent_fwd) };

/* The gradient of x is what the loss made. */
static void seed(struct program *p, int x, int gradient)
{
    if (!p->failed && program_tensor(p, x)->needs_gradient)
        program_gradient_seed(p, x, gradient);
}

int op_cross_entropy(struct program *p, int logits, int target, int divisor, float scale)
{
    const struct xent_attrs a = { scale };
    int out[2];
    program_apply(p, &xent, out, 2, (int[]){ logits, target, divisor }, 3, &a, sizeof a);
    seed(p, logits, out[0]);
    return out[1];
}

int op_cross_entropy_only(struct program *p, int logits, int target, int divisor)
{
    const struct xent_attrs a = { 0 };
    int out[2];
    program_apply(p, &xent, out, 2, (int[]){ logits, target, divisor }, 3, &a, sizeof a);
    return out[1];
}

/* Outputs: map, sums, gradient of the prediction. */
static enum status shape_loss(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    const int64_t U = x->shape[0];
    if (x->rank < 2 || op_in(p, n, 1)->count != x->count || op_in(p, n, 3)->count != U ||
        (op_in(p, n, 2)->count != U && op_in(p, n, 2)->count != op_rows(x)))
        return op_misfit(p, n, err);
    out[0] = out[2] = op_shape_of(x);
    out[0].role = ROLE_EXACT;
    out[1] = (struct op_shape){ .role = ROLE_EXACT, .rank = 1, .shape = { U } };
    return ST_OK;
}

static const struct op noise_loss = { .name = "ddpm_loss",
                                      .shape = shape_loss,
                                      .run = RUN(ddpm_loss_fwd) };

int op_noise_loss(struct program *p, int *map, int pred, int noise, int weight, int scale)
{
    int out[3];
    program_apply(p, &noise_loss, out, 3, (int[]){ pred, noise, weight, scale }, 4, NULL, 0);
    *map = out[0];
    seed(p, pred, out[2]);
    return out[1];
}
