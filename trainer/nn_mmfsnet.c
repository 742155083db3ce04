/* trainer/nn_mmfsnet.c: see nn_mmfsnet.h. */
#include "trainer/nn_mmfsnet.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/nn_picture.h"

static const float MMFSNET_EPS = 1e-6f;

void mmfsnet_begin(struct mmfsnet *n, struct program *p, const struct mmfsnet_config *c,
                   const char *prefix, const struct mmfsnet_inputs *in)
{
    *n = (struct mmfsnet){ .p = p, .c = c, .prefix = prefix, .in = *in };
    n->normalised = op_layernorm(p, in->features, TENSOR_NONE, TENSOR_NONE, MMFSNET_EPS);
}

/* The position table of width C at side `side`, made once a width and size. */
static int position(struct mmfsnet *n, int64_t C, int64_t side)
{
    int table = TENSOR_NONE;
    for (int i = 0; i < n->n_tables; i++)
        if (n->widths[i] == C)
            table = n->tables[i];
    if (table == TENSOR_NONE) {
        table = op_grid_table(n->p, n->c->grid, C);
        if (n->n_tables < 8) {
            n->widths[n->n_tables] = C;
            n->tables[n->n_tables++] = table;
        }
    }
    return op_resize_table(n->p, table, side);
}

static int centres(struct mmfsnet *n, int64_t side)
{
    char name[40];
    for (int i = 0; i < n->n_points; i++)
        if (n->sides[i] == side)
            return n->points[i];
    if (n->n_points == 8)
        return program_fault(n->p, "MMFSNet: more than 8 sides");
    snprintf(name, sizeof name, "points.%" PRId64, side);
    n->sides[n->n_points] = side;
    const int known = program_find(n->p, name);
    n->points[n->n_points] = known != TENSOR_NONE ? known
                                                  : program_batch(n->p, name, ROLE_EXACT,
                                                                  (int64_t[]){ side * side, 2 }, 2);
    return n->points[n->n_points++];
}

int64_t mmfsnet_points_side(const char *name)
{
    return strncmp(name, "points.", 7) == 0 ? strtoll(name + 7, NULL, 10) : 0;
}

static struct mmfs_config block_config(const struct mmfsnet *n, int j, int64_t C)
{
    const struct mmfsnet_config *c = n->c;
    const int base = j < 0 ? MMFSNET_BASES - 1 : j / 3;
    struct mmfs_config m = { .query_width = C,
                             .value_width = c->feature_width,
                             .inner_width = c->inner,
                             .out_width = C,
                             .heads = c->heads,
                             .points = c->points,
                             .max_images = c->max_images,
                             .levels = c->levels,
                             .base = (double)c->bases[base] };
    for (int i = 0; i < c->levels; i++) {
        m.height[i] = m.width[i] = c->sides[i];
        m.shape[i] = c->shapes[i];
    }
    return m;
}

static int norm_part(struct mmfsnet *n, const char *at, const char *part)
{
    return program_param(n->p, (int64_t[]){ n->c->feature_width }, 1, "%sfeat_norm.%s", at, part);
}

int mmfsnet_block(struct mmfsnet *n, int j, int x)
{
    struct program *p = n->p;
    char at[160], inner[180];
    if (p->failed)
        return TENSOR_NONE;
    const int64_t U = program_axis(p, x, 0), side = program_axis(p, x, 1);
    const int64_t C = program_axis(p, x, 3);
    const struct mmfs_config c = block_config(n, j, C);
    const char *part = program_part(p, "mmfsnet");

    if (j < 0)
        snprintf(at, sizeof at, "%smmfs_mid_block.", n->prefix);
    else
        snprintf(at, sizeof at, "%smmfs_down_blocks.%d.", n->prefix, j);
    snprintf(inner, sizeof inner, "%smmfs.", at);
    const int value = nn_mmfs_value(p, &c, inner, n->normalised, norm_part(n, at, "weight"),
                                    norm_part(n, at, "bias"));
    const int normed = nn_layernorm(p, at, "query_norm", x, MMFSNET_EPS);
    const int query = program_reshape(p, op_add_table(p, normed, position(n, C, side)),
                                      (int64_t[]){ U * side * side, C }, 2);
    const struct mmfs_view view = { .begin = n->in.begin,
                                    .image = n->in.image,
                                    .rank = n->in.rank,
                                    .points = centres(n, side),
                                    .queries_per_list = side * side };
    const int y = nn_map(p, nn_mmfs(p, &c, inner, query, value, &view), x);
    const int out = op_add(p, nn_conv1(p, at, "conv", y, C), x);
    program_part(p, part);
    return out;
}
