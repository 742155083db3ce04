/* trainer/op_mmfs.c: deformable sampling over visible pictures (kernels/mmfs.h). */
#include "kernels/mmfs.h"
#include "trainer/op_private.h"

static enum status shape(const struct program *p, const struct node *n, struct op_shape *out,
                         struct error *err)
{
    const struct tensor *offsets = op_in(p, n, 0), *value = op_in(p, n, 4);
    const struct mmfs_attrs *a = n->attrs;
    if (op_last(offsets) != (int64_t)a->heads * a->points * 2 || value->rank != 3 ||
        value->shape[2] % a->heads)
        return op_misfit(p, n, err);
    out[0] = (struct op_shape){ .role = value->role,
                                .rank = 2,
                                .shape = { op_rows(offsets), value->shape[2] } };
    return ST_OK;
}

/* Five multiplications a channel of a sample: four corners and the weight. Lists of single queries
 * (the LLM's) have a length that is data; they are not counted, as in gpu.md 5.1 (below 2 % of the
 * projections beside them). */
static double samples(const struct node *n, const struct tensor *offsets,
                      const struct tensor *value)
{
    const struct mmfs_attrs *a = n->attrs;
    if (a->queries_per_list == 1)
        return 0.0;
    return 2.0 * 5.0 * (double)op_rows(offsets) * a->levels * a->points * (double)op_last(value);
}

static double flops(const struct program *p, const struct node *n)
{
    return samples(n, op_in(p, n, 0), op_in(p, n, 4));
}

static double flops_backward(const struct program *p, const struct node *n)
{
    return 2.0 * samples(n, op_in(p, n, 1), op_in(p, n, 5));
}

static const struct op backward = { .name = "mmfs_bwd",
                                    .run = RUN(mmfs_bwd),
                                    .flops = flops_backward };

static void gradient(struct program *p, const struct node *n)
{
    struct mmfs_attrs a = *(const struct mmfs_attrs *)n->attrs;
    const int out[] = {
        program_gradient_target(p, n->in[0], &a.beta_doff_q),
        program_gradient_target(p, n->in[1], &a.beta_doff_r),
        program_gradient_target(p, n->in[2], &a.beta_datt_q),
        program_gradient_target(p, n->in[3], &a.beta_datt_r),
        program_gradient_target(p, n->in[4], &a.beta_dvalue),
        program_gradient_target(p, n->in[5], &a.beta_dignore),
    };
    int in[11] = { program_gradient(p, n->out[0]) };
    for (int i = 0; i < 10; i++)
        in[i + 1] = n->in[i];
    program_append(p, &backward, out, 6, in, 11, &a, sizeof a);
}

static const struct op mmfs = {
    .name = "mmfs",
    .shape = shape,
    .run = RUN(mmfs_fwd),
    .gradient = gradient,
    .flops = flops,
    .saves_in = (1 << 10) - 1,
};

int op_mmfs(struct program *p, const struct op_mmfs_operands *in, const struct mmfs_attrs *attrs)
{
    const int ids[] = { in->offsets, in->rank_offsets, in->logits, in->rank_logits, in->value,
                        in->token,   in->points,       in->begin,  in->image,       in->rank };
    return program_apply_one(p, &mmfs, ids, 10, attrs, sizeof *attrs);
}
