/* trainer/nn_mmfs.c: see nn_mmfs.h. By linearity the projections of u + E_rel[rank] are the projection
 * of u, once a query, plus the projection of E_rel, a table of a few rows. */
#include "trainer/nn_mmfs.h"

#include <inttypes.h>

#include "trainer/op.h"

void nn_mmfs_check(struct program *p, const struct mmfs_config *c, const char *prefix)
{
    if (c->heads < 1 || c->points < 1 || c->inner_width % c->heads)
        program_fault(p, "mmfs %s: width %" PRId64 " is not divisible by %" PRId64 " heads", prefix,
                      c->inner_width, c->heads);
    if (c->levels < 1 || c->levels > MMFS_LEVELS_MAX || c->max_images < 2 || !(c->base > 0))
        program_fault(p, "mmfs %s: %d levels, %" PRId64 " relative positions, base %g", prefix,
                      c->levels, c->max_images, c->base);
}

static int weight(struct program *p, const char *prefix, const char *name, int64_t out, int64_t in)
{
    return program_param(p, (int64_t[]){ out, in }, 2, "%s%s.weight", prefix, name);
}

static int bias(struct program *p, const char *prefix, const char *name, int64_t out)
{
    return program_param(p, (int64_t[]){ out }, 1, "%s%s.bias", prefix, name);
}

int nn_mmfs_value(struct program *p, const struct mmfs_config *c, const char *prefix, int features,
                  int norm_weight, int norm_bias)
{
    int w = weight(p, prefix, "value_proj", c->inner_width, c->value_width);
    int b = bias(p, prefix, "value_proj", c->inner_width);
    if (norm_bias != TENSOR_NONE) {
        const int row = program_reshape(p, norm_bias, (int64_t[]){ 1, c->value_width }, 2);
        b = program_reshape(p, op_linear(p, row, w, b), (int64_t[]){ c->inner_width }, 1);
    }
    if (norm_weight != TENSOR_NONE)
        w = op_scale_channels(p, w, norm_weight, TENSOR_NONE);
    return op_linear(p, features, w, b);
}

static struct mmfs_attrs kernel_attrs(const struct mmfs_config *c, const struct mmfs_view *view)
{
    struct mmfs_attrs a = { .heads = (int)c->heads,
                            .points = (int)c->points,
                            .levels = c->levels,
                            .base = (float)c->base,
                            .queries_per_list = (int)view->queries_per_list };
    for (int i = 0; i < c->levels; i++) {
        a.height[i] = (int)c->height[i];
        a.width[i] = (int)c->width[i];
        a.shape[i] = (int)c->shape[i];
    }
    return a;
}

static void probe(struct program *p, int u, const struct op_mmfs_operands *o, int sampled)
{
    program_probe(p, u, "u");
    program_probe(p, o->offsets, "query_offsets");
    program_probe(p, o->rank_offsets, "rank_offsets");
    program_probe(p, o->logits, "query_logits");
    program_probe(p, o->rank_logits, "rank_logits");
    program_probe(p, o->value, "value");
    program_probe(p, sampled, "sampled");
}

int nn_mmfs(struct program *p, const struct mmfs_config *c, const char *prefix, int query,
            int value, const struct mmfs_view *view)
{
    const int64_t offsets = c->heads * c->points * 2;
    const int64_t logits = c->heads * c->levels * (c->points + 1);
    nn_mmfs_check(p, c, prefix);
    const int wd = weight(p, prefix, "dynamic_offset_mask", c->query_width, c->query_width);
    const int u = op_linear(p, query, wd, bias(p, prefix, "dynamic_offset_mask", c->query_width));
    const int relpos = weight(p, prefix, "query_relpos", c->max_images, c->query_width);
    const int wo = weight(p, prefix, "sampling_offsets", offsets, c->query_width);
    const int wa = weight(p, prefix, "attention_weights", logits, c->query_width);
    const int token =
        program_param(p, (int64_t[]){ 1, 1, 1, c->inner_width }, 4, "%signore_token", prefix);
    const struct op_mmfs_operands operands = {
        .offsets = op_linear_exact(p, u, wo, bias(p, prefix, "sampling_offsets", offsets)),
        .logits = op_linear_exact(p, u, wa, bias(p, prefix, "attention_weights", logits)),
        .rank_offsets = op_linear_exact(p, relpos, wo, TENSOR_NONE),
        .rank_logits = op_linear_exact(p, relpos, wa, TENSOR_NONE),
        .value = value,
        .token = program_reshape(p, token, (int64_t[]){ c->inner_width }, 1),
        .points = view->points,
        .begin = view->begin,
        .image = view->image,
        .rank = view->rank,
    };
    const struct mmfs_attrs attrs = kernel_attrs(c, view);
    const int sampled = op_mmfs(p, &operands, &attrs);
    if (c->probe)
        probe(p, u, &operands, sampled);
    const int w = weight(p, prefix, "output_proj", c->out_width, c->inner_width);
    return op_linear(p, sampled, w, bias(p, prefix, "output_proj", c->out_width));
}
