/* trainer/op_conv.c: convolutions, channels last. */
#include "kernels/conv2d.h"
#include "kernels/depthwise.h"
#include "trainer/op_private.h"

static enum status shape(const struct program *p, const struct node *n, struct op_shape *out,
                         struct error *err)
{
    const struct tensor *x = op_in(p, n, 0), *w = op_in(p, n, 1), *b = op_in(p, n, 2);
    const struct conv2d_attrs *a = n->attrs;
    if (x->rank != 4 || w->rank != 4 || x->shape[3] != w->shape[1] ||
        (n->in[2] != TENSOR_NONE && b->count != w->shape[0]))
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    out[0].shape[1] = conv2d_side(x->shape[1], w->shape[2], a->stride, a->pad_top + a->pad_bottom);
    out[0].shape[2] = conv2d_side(x->shape[2], w->shape[3], a->stride, a->pad_left + a->pad_right);
    out[0].shape[3] = w->shape[0];
    return out[0].shape[1] < 1 || out[0].shape[2] < 1 ? op_misfit(p, n, err) : ST_OK;
}

/* Every output pixel and channel reads the whole of its filter. `out` and `w` say how many. */
static double flops_of(const struct tensor *out, const struct tensor *w)
{
    const int64_t pixels = out->count / w->shape[0];
    return 2.0 * (double)pixels * (double)w->count;
}

static double flops(const struct program *p, const struct node *n)
{
    return flops_of(&p->tensors[n->out[0]], op_in(p, n, 1));
}

static double flops_dx(const struct program *p, const struct node *n)
{
    return flops_of(op_in(p, n, 0), op_in(p, n, 1));
}

static double flops_dw(const struct program *p, const struct node *n)
{
    return flops_of(op_in(p, n, 0), &p->tensors[n->out[0]]);
}

static const struct op conv_dx = { .name = "conv2d_dx", .run = RUN(conv2d_dx), .flops = flops_dx };
static const struct op conv_dw = { .name = "conv2d_dw", .run = RUN(conv2d_dw), .flops = flops_dw };

static void gradient(struct program *p, const struct node *n)
{
    struct conv2d_attrs a = *(const struct conv2d_attrs *)n->attrs;
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    if (dx != TENSOR_NONE)
        program_append(p, &conv_dx, &dx, 1, (int[]){ dy, n->in[1] }, 2, &a, sizeof a);
    const int dw = program_gradient_target(p, n->in[1], &a.beta);
    if (dw != TENSOR_NONE)
        program_append(p, &conv_dw, &dw, 1, (int[]){ dy, n->in[0] }, 2, &a, sizeof a);
    op_bias_gradient(p, n->in[2], dy);
}

static const struct op conv = {
    .name = "conv2d",
    .shape = shape,
    .run = RUN(conv2d_fwd),
    .gradient = gradient,
    .flops = flops,
    .saves_in = 1 << 0,
};

int op_conv2d(struct program *p, int x, int w, int bias, struct conv_geometry g)
{
    const struct conv2d_attrs a = { g.stride, g.pad_top, g.pad_left, g.pad_bottom, g.pad_right, 0 };
    return program_apply_one(p, &conv, (int[]){ x, w, bias }, 3, &a, sizeof a);
}

static enum status shape_depthwise(const struct program *p, const struct node *n,
                                   struct op_shape *out, struct error *err)
{
    const struct tensor *x = op_in(p, n, 0), *w = op_in(p, n, 1);
    if (x->rank != 4 || w->rank != 4 || w->shape[0] != x->shape[3] || w->shape[1] != 1)
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    return ST_OK;
}

static double flops_depthwise(const struct program *p, const struct node *n)
{
    return 2.0 * (double)op_in(p, n, 0)->count *
           (double)(op_in(p, n, 1)->shape[2] * op_in(p, n, 1)->shape[3]);
}

static double flops_depthwise_dw(const struct program *p, const struct node *n)
{
    const struct tensor *dw = &p->tensors[n->out[0]];
    return 2.0 * (double)op_in(p, n, 0)->count * (double)(dw->shape[2] * dw->shape[3]);
}

static const struct op depthwise_dx = { .name = "depthwise_dx",
                                        .run = RUN(depthwise_dx),
                                        .flops = flops_depthwise };
static const struct op depthwise_dw = { .name = "depthwise_dw",
                                        .run = RUN(depthwise_dw),
                                        .flops = flops_depthwise_dw };

static void gradient_depthwise(struct program *p, const struct node *n)
{
    struct depthwise_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    if (dx != TENSOR_NONE)
        program_append(p, &depthwise_dx, &dx, 1, (int[]){ dy, n->in[1] }, 2, &a, sizeof a);
    const int dw = program_gradient_target(p, n->in[1], &a.beta);
    if (dw != TENSOR_NONE)
        program_append(p, &depthwise_dw, &dw, 1, (int[]){ dy, n->in[0] }, 2, &a, sizeof a);
    op_bias_gradient(p, n->in[2], dy);
}

static const struct op depthwise = {
    .name = "depthwise",
    .shape = shape_depthwise,
    .run = RUN(depthwise_fwd),
    .gradient = gradient_depthwise,
    .flops = flops_depthwise,
    .saves_in = 1 << 0,
};

int op_depthwise(struct program *p, int x, int w, int bias)
{
    const struct depthwise_attrs a = { 0 };
    return program_apply_one(p, &depthwise, (int[]){ x, w, bias }, 3, &a, sizeof a);
}
