/* trainer/op_attention.c: attention and rotary positions. */
#include <math.h>

#include "kernels/attention.h"
#include "kernels/rope.h"
#include "trainer/op_private.h"

/* Outputs: o like q, and the log of the sum of exponentials [B,H,Lq], which backward reads. */
static enum status shape(const struct program *p, const struct node *n, struct op_shape *out,
                         struct error *err)
{
    const struct tensor *q = op_in(p, n, 0), *k = op_in(p, n, 1), *v = op_in(p, n, 2);
    const struct attention_attrs *a = n->attrs;
    if (q->rank != 3 || k->rank != 3 || v->rank != 3 || a->heads < 1 || q->shape[2] % a->heads ||
        k->shape[2] != q->shape[2] || v->shape[2] != q->shape[2] || k->shape[1] != v->shape[1] ||
        k->shape[0] != v->shape[0] || (k->shape[0] != q->shape[0] && k->shape[0] != 1))
        return op_misfit(p, n, err);
    out[0] = op_shape_of(q);
    out[1] = (struct op_shape){ .role = ROLE_EXACT,
                                .rank = 3,
                                .shape = { q->shape[0], a->heads, q->shape[1] } };
    return ST_OK;
}

/* Two products of Lq x Lk a channel; half of them under the causal mask. */
static double products(const struct node *n, const struct tensor *q, const struct tensor *k)
{
    const struct attention_attrs *a = n->attrs;
    return 4.0 * (double)q->count * (double)k->shape[1] * (a->causal ? 0.5 : 1.0);
}

static double flops(const struct program *p, const struct node *n)
{
    return products(n, op_in(p, n, 0), op_in(p, n, 1));
}

static double flops_backward(const struct program *p, const struct node *n)
{
    return 2.0 * products(n, op_in(p, n, 1), op_in(p, n, 2));
}

/* The tiled backward makes the probabilities again: 5 products for the 4 counted. */
static const struct op backward = {
    .name = "attention_bwd", .run = RUN(attention_bwd), .flops = flops_backward, .hardware = 1.25
};

static void gradient(struct program *p, const struct node *n)
{
    struct attention_attrs a = *(const struct attention_attrs *)n->attrs;
    const int dy = program_gradient(p, n->out[0]);
    const int dq = program_gradient_target(p, n->in[0], &a.beta_dq);
    const int dk = program_gradient_target(p, n->in[1], &a.beta_dk);
    const int dv = program_gradient_target(p, n->in[2], &a.beta_dv);
    program_append(p, &backward, (int[]){ dq, dk, dv }, 3,
                   (int[]){ dy, n->in[0], n->in[1], n->in[2], n->out[0], n->out[1], n->in[3],
                            n->in[4], n->in[5] },
                   9, &a, sizeof a);
}

static const struct op attention = {
    .name = "attention",
    .shape = shape,
    .run = RUN(attention_fwd),
    .gradient = gradient,
    .flops = flops,
    .saves_in = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4,
    .saves_out = 1 << 0 | 1 << 1,
};

int op_attention(struct program *p, int q, int k, int v, struct attention_geometry g)
{
    if (p->failed || g.heads < 1)
        return program_fault(p, "attention: no heads");
    const double width = (double)program_axis(p, q, program_tensor(p, q)->rank - 1);
    const struct attention_attrs a = {
        .heads = (int)g.heads,
        .causal = g.causal,
        .scale = (float)(1.0 / sqrt(width / (double)g.heads)),
        .dropout = g.dropout,
    };
    int out[2];
    program_apply(p, &attention, out, 2, (int[]){ q, k, v, g.first, g.count, g.draws }, 6, &a,
                  sizeof a);
    return out[0];
}

static enum status shape_rope(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    const struct tensor *x = op_in(p, n, 0), *at = op_in(p, n, 1);
    const struct rope_attrs *a = n->attrs;
    if (x->rank != 3 || a->heads < 1 || x->shape[2] % (2L * a->heads) ||
        (at->count != x->shape[1] && at->count != x->shape[0] * x->shape[1]))
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    return ST_OK;
}

static const struct op rope_backward = { .name = "rope_bwd", .run = RUN(rope_fwd) };

static void rope_gradient(struct program *p, const struct node *n)
{
    struct rope_attrs a = *(const struct rope_attrs *)n->attrs;
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    a.inverse = 1;
    program_append(p, &rope_backward, &dx, 1, (int[]){ dy, n->in[1] }, 2, &a, sizeof a);
}

static const struct op rope = {
    .name = "rope", .shape = shape_rope, .run = RUN(rope_fwd), .gradient = rope_gradient
};

int op_rope(struct program *p, int x, int positions, int64_t heads, double base)
{
    const struct rope_attrs a = { .heads = (int)heads, .base = (float)base };
    return program_apply_one(p, &rope, (int[]){ x, positions }, 2, &a, sizeof a);
}
