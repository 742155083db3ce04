/* trainer/op_picture.c: maps, masks and tables. Tables and masks have no gradient. */
#include "kernels/pool.h"
#include "kernels/resize.h"
#include "kernels/sinusoid.h"
#include "trainer/op_private.h"

static enum status shape_upsample(const struct program *p, const struct node *n,
                                  struct op_shape *out, struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    if (x->rank != 4)
        return op_misfit(p, n, err);
    out[0] = op_shape_of(x);
    out[0].shape[1] *= 2;
    out[0].shape[2] *= 2;
    return ST_OK;
}

static const struct op upsample_backward = { .name = "upsample2_bwd", .run = RUN(upsample2_bwd) };

static void upsample_gradient(struct program *p, const struct node *n)
{
    struct upsample2_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    program_append(p, &upsample_backward, &dx, 1, &dy, 1, &a, sizeof a);
}

static const struct op upsample = { .name = "upsample2",
                                    .shape = shape_upsample,
                                    .run = RUN(upsample2_fwd),
                                    .gradient = upsample_gradient };

int op_upsample2(struct program *p, int x)
{
    const struct upsample2_attrs a = { 0 };
    return program_apply_one(p, &upsample, &x, 1, &a, sizeof a);
}

/* [I,...,C] -> [I,C]; a mask, where there is one, has a value for every pixel. */
static enum status shape_pool(const struct program *p, const struct node *n, struct op_shape *out,
                              struct error *err)
{
    const struct tensor *x = op_in(p, n, 0);
    if (x->rank < 2 || (n->n_in == 2 && op_in(p, n, 1)->count != op_rows(x)))
        return op_misfit(p, n, err);
    out[0] = (struct op_shape){ .role = x->role, .rank = 2, .shape = { x->shape[0], op_last(x) } };
    return ST_OK;
}

static const struct op mean_backward = { .name = "pool_mean_bwd", .run = RUN(pool_mean_bwd) };
static const struct op mask_backward = { .name = "pool_mask_bwd", .run = RUN(pool_mask_bwd) };

static void pool_gradient(struct program *p, const struct node *n)
{
    struct pool_attrs a = { 0 };
    const int dy = program_gradient(p, n->out[0]);
    const int dx = program_gradient_target(p, n->in[0], &a.beta);
    const int mask = n->n_in == 2 ? n->in[1] : TENSOR_NONE;
    program_append(p, n->n_in == 2 ? &mask_backward : &mean_backward, &dx, 1, (int[]){ dy, mask },
                   n->n_in, &a, sizeof a);
}

static const struct op pool_mean = {
    .name = "pool_mean", .shape = shape_pool, .run = RUN(pool_mean_fwd), .gradient = pool_gradient
};
static const struct op pool_mask = { .name = "pool_mask",
                                     .shape = shape_pool,
                                     .run = RUN(pool_mask_fwd),
                                     .gradient = pool_gradient,
                                     .saves_in = 1 << 1 };

int op_mean_pixels(struct program *p, int x)
{
    const struct pool_attrs a = { 0 };
    return program_apply_one(p, &pool_mean, &x, 1, &a, sizeof a);
}

int op_pool_mask(struct program *p, int x, int mask)
{
    const struct pool_attrs a = { 0 };
    return program_apply_one(p, &pool_mask, (int[]){ x, mask }, 2, &a, sizeof a);
}

/* Tables and resized masks: the size is wanted, so it stands behind the kernel's attributes. */
struct sized_attrs {
    struct resize_bilinear_attrs kernel;
    struct op_shape shape;
};

static enum status shape_sized(const struct program *p, const struct node *n, struct op_shape *out,
                               struct error *err)
{
    const struct sized_attrs *a = n->attrs;
    (void)p;
    (void)err;
    out[0] = a->shape;
    return ST_OK;
}

static const struct op bicubic = { .name = "resize_bicubic",
                                   .shape = shape_sized,
                                   .run = RUN(resize_bicubic_fwd) };
static const struct op bilinear = { .name = "resize_bilinear",
                                    .shape = shape_sized,
                                    .run = RUN(resize_bilinear_fwd) };
static const struct op grid_table = { .name = "sinusoid_grid",
                                      .shape = shape_sized,
                                      .run = RUN(sinusoid_grid_fwd) };
static const struct op row_table = { .name = "sinusoid_row",
                                     .shape = shape_sized,
                                     .run = RUN(sinusoid_row_fwd) };
static const struct op time_table = { .name = "sinusoid_time",
                                      .shape = shape_sized,
                                      .run = RUN(sinusoid_time_fwd) };

int op_resize_table(struct program *p, int table, int64_t side)
{
    if (p->failed)
        return TENSOR_NONE;
    const struct sized_attrs a = {
        .shape = { ROLE_STORAGE, 3, { side, side, program_axis(p, table, 2) } }
    };
    return program_apply_one(p, &bicubic, &table, 1, &a, sizeof a);
}

int op_resize_mask(struct program *p, int mask, int64_t side, bool binarise)
{
    if (p->failed)
        return TENSOR_NONE;
    const struct sized_attrs a = {
        .kernel = { .binarise = binarise },
        .shape = { ROLE_EXACT, 3, { program_axis(p, mask, 0), side, side } },
    };
    return program_apply_one(p, &bilinear, &mask, 1, &a, sizeof a);
}

int op_grid_table(struct program *p, int64_t side, int64_t C)
{
    const struct sized_attrs a = { .shape = { ROLE_STORAGE, 3, { side, side, C } } };
    return program_apply_one(p, &grid_table, NULL, 0, &a, sizeof a);
}

int op_row_table(struct program *p, int64_t rows, int64_t C)
{
    const struct sized_attrs a = { .shape = { ROLE_STORAGE, 2, { rows, C } } };
    return program_apply_one(p, &row_table, NULL, 0, &a, sizeof a);
}

int op_time_table(struct program *p, int t, int64_t C)
{
    if (p->failed)
        return TENSOR_NONE;
    const struct sized_attrs a = { .shape = { ROLE_EXACT, 2, { program_axis(p, t, 0), C } } };
    return program_apply_one(p, &time_table, &t, 1, &a, sizeof a);
}
