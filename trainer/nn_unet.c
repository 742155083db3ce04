/* trainer/nn_unet.c: see nn_unet.h. */
#include "trainer/nn_unet.h"

#include <inttypes.h>
#include <stdio.h>

#include "trainer/nn_picture.h"

static const float RESNET_EPS = 1e-5f, WRAPPER_EPS = 1e-6f, BLOCK_EPS = 1e-5f;

struct unet {
    struct program *p;
    const struct unet_config *c;
    const char *prefix;
    const struct unet_names *names;
    int condition;
    int time; /* silu of the time embedding */
    int skips[UNET_SKIPS_MAX];
    int n_skips;
};

static int attend(struct unet *m, const char *at, const char *name, int x, int context, int64_t C,
                  int64_t heads)
{
    struct program *p = m->p;
    char to[220];
    snprintf(to, sizeof to, "%s%s.", at, name);
    const int q = nn_linear(p, to, "to_q", x, C, false);
    const int k = nn_linear(p, to, "to_k", context, C, false);
    const int v = nn_linear(p, to, "to_v", context, C, false);
    const int a = op_attention(p, q, k, v, (struct attention_geometry){ .heads = heads });
    return nn_linear(p, to, "to_out.0", a, C, true);
}

static int transformer_block(struct unet *m, const char *at, int y, int64_t C, int64_t heads)
{
    struct program *p = m->p;
    const int first = nn_layernorm(p, at, "norm1", y, BLOCK_EPS);
    y = op_add(p, attend(m, at, "attn1", first, first, C, heads), y);
    const int second = nn_layernorm(p, at, "norm2", y, BLOCK_EPS);
    y = op_add(p, attend(m, at, "attn2", second, m->condition, C, heads), y);
    const int third = nn_layernorm(p, at, "norm3", y, BLOCK_EPS);
    const int gated = op_geglu(p, nn_linear(p, at, "ff.net.0.proj", third, 8 * C, true));
    return op_add(p, nn_linear(p, at, "ff.net.2", gated, C, true), y);
}

static int transformer(struct unet *m, const char *block, int64_t j, int x, int64_t C,
                       int64_t heads)
{
    struct program *p = m->p;
    char at[140], inner[180];
    if (heads < 1 || C % heads)
        return program_fault(p, "UNet: width %" PRId64 " is not divisible by %" PRId64 " heads", C,
                             heads);
    snprintf(at, sizeof at, "%s%s.attentions.%" PRId64 ".", m->prefix, block, j);
    snprintf(inner, sizeof inner, "%stransformer_blocks.0.", at);
    const int span = program_span_begin(p, m->c->recompute ? SPAN_RECOMPUTE : 0, "%s", at);
    int y = nn_tokens(p, nn_groupnorm(p, at, "norm", x, m->c->groups, WRAPPER_EPS, false));
    y = transformer_block(m, inner, nn_linear(p, at, "proj_in", y, C, true), C, heads);
    y = op_add(p, nn_map(p, nn_linear(p, at, "proj_out", y, C, true), x), x);
    program_span_end(p, span);
    return y;
}

static int resnet(struct unet *m, const char *block, int64_t j, int x, int64_t out)
{
    const struct resnet_config r = { m->c->groups, RESNET_EPS, m->time };
    char at[140];
    snprintf(at, sizeof at, "%s%s.resnets.%" PRId64 ".", m->prefix, block, j);
    const int span = program_span_begin(m->p, m->c->recompute ? SPAN_RECOMPUTE : 0, "%s", at);
    const int y = nn_resnet(m->p, &r, at, x, out);
    program_span_end(m->p, span);
    return y;
}

static void push(struct unet *m, int x)
{
    if (m->n_skips == UNET_SKIPS_MAX)
        program_fault(m->p, "UNet: more than %d skip tensors", UNET_SKIPS_MAX);
    else
        m->skips[m->n_skips++] = x;
}

static int down(struct unet *m, int x)
{
    char block[80];
    push(m, x);
    for (int i = 0; i < UNET_LEVELS; i++) {
        const int64_t C = m->c->widths[i];
        snprintf(block, sizeof block, "down_blocks.%d", i);
        for (int64_t j = 0; j < m->c->resnets; j++) {
            x = resnet(m, block, j, x, C);
            if (i < UNET_LEVELS - 1)
                x = transformer(m, block, j, x, C, m->c->heads[i]);
            push(m, x);
        }
        if (i < UNET_LEVELS - 1) {
            snprintf(block, sizeof block, "down_blocks.%d.downsamplers.0.conv", i);
            x = nn_conv(m->p, m->prefix, block, x, C, 3, (struct conv_geometry){ 2, 1, 1, 1, 1 });
            push(m, x);
        }
    }
    return x;
}

static int middle(struct unet *m, int x)
{
    const int64_t C = m->c->widths[UNET_LEVELS - 1];
    x = resnet(m, "mid_block", 0, x, C);
    x = transformer(m, "mid_block", 0, x, C, m->c->heads[UNET_LEVELS - 1]);
    return resnet(m, "mid_block", 1, x, C);
}

static int side_network(struct unet *m, struct mmfsnet *net, int x)
{
    const struct unet_names *s = m->names;
    if (net && m->n_skips > 3 * MMFSNET_BASES)
        return program_fault(m->p, "side network: %d skip tensors, but bases for %d", m->n_skips,
                             3 * MMFSNET_BASES);
    for (int j = 0; j < m->n_skips; j++) {
        if (s)
            program_probe(m->p, m->skips[j], "%s%d%s", s->before[0], j, s->before[1]);
        if (net)
            m->skips[j] = mmfsnet_block(net, j, m->skips[j]);
        if (s)
            program_probe(m->p, m->skips[j], "%s%d%s", s->after[0], j, s->after[1]);
    }
    if (s)
        program_probe(m->p, x, "%s", s->mid_before);
    if (net)
        x = mmfsnet_block(net, -1, x);
    if (s)
        program_probe(m->p, x, "%s", s->mid_after);
    return x;
}

static int up(struct unet *m, int x)
{
    char block[80];
    for (int i = 0; i < UNET_LEVELS; i++) {
        const int level = UNET_LEVELS - 1 - i;
        const int64_t C = m->c->widths[level];
        snprintf(block, sizeof block, "up_blocks.%d", i);
        for (int64_t j = 0; j < m->c->resnets + 1; j++) {
            x = op_concat(m->p, x, m->skips[--m->n_skips], 3);
            x = resnet(m, block, j, x, C);
            if (i > 0)
                x = transformer(m, block, j, x, C, m->c->heads[level]);
        }
        snprintf(block, sizeof block, "up_blocks.%d.upsamplers.0.conv", i);
        if (i < UNET_LEVELS - 1)
            x = nn_conv3(m->p, m->prefix, block, op_upsample2(m->p, x), C);
        if (m->names && m->names->up[0])
            program_probe(m->p, x, "%s%d%s", m->names->up[0], i, m->names->up[1]);
    }
    return x;
}

static int time_embedding(struct unet *m, int t)
{
    struct program *p = m->p;
    const int64_t C = m->c->widths[0];
    const int s = op_time_table(p, t, C);
    int e = nn_linear(p, m->prefix, "time_embedding.linear_1", s, 4 * C, true);
    e = nn_linear(p, m->prefix, "time_embedding.linear_2", op_silu(p, e), 4 * C, true);
    if (m->names && m->names->sinusoid)
        program_probe(p, s, "%s", m->names->sinusoid);
    if (m->names)
        program_probe(p, e, "%s", m->names->time);
    return op_silu(p, e);
}

int nn_unet(struct program *p, const struct unet_config *c, const char *prefix, int latent, int t,
            int condition, struct mmfsnet *net, const struct unet_names *names)
{
    struct unet m = { .p = p, .c = c, .prefix = prefix, .names = names, .condition = condition };
    const char *part = program_part(p, "unet");

    if (!p->failed && program_axis(p, latent, 1) % 8)
        program_fault(p, "UNet: latent side %" PRId64 " is no multiple of 8",
                      program_axis(p, latent, 1));
    m.time = time_embedding(&m, t);
    int x = down(&m, nn_conv3(p, prefix, "conv_in", latent, c->widths[0]));
    x = side_network(&m, net, middle(&m, x));
    x = p->failed ? TENSOR_NONE : up(&m, x);
    x = nn_groupnorm(p, prefix, "conv_norm_out", x, c->groups, RESNET_EPS, true);
    x = nn_conv3(p, prefix, "conv_out", x, program_axis(p, latent, 3));
    program_part(p, part);
    return x;
}
