/* trainer/nn_vae.c: see nn_vae.h. */
#include "trainer/nn_vae.h"

#include <inttypes.h>
#include <stdio.h>

#include "trainer/nn_picture.h"

static const float VAE_EPS = 1e-6f;

struct vae {
    struct program *p;
    const struct vae_config *c;
    const char *half;  /* prefix with "encoder." or "decoder." */
    const char *probe; /* or NULL */
};

static int probed(struct vae *m, int x, const char *name, int i)
{
    if (!m->probe)
        return x;
    return i < 0 ? program_probe(m->p, x, "%s%s", m->probe, name)
                 : program_probe(m->p, x, "%s%s%d", m->probe, name, i);
}

static int resnet(struct vae *m, int x, const char *block, int64_t j, int64_t out)
{
    const struct resnet_config r = { m->c->groups, VAE_EPS, TENSOR_NONE };
    char at[300];
    snprintf(at, sizeof at, "%s%s.resnets.%" PRId64 ".", m->half, block, j);
    return nn_resnet(m->p, &r, at, x, out);
}

/* One head over all pixels. */
static int attention(struct vae *m, int x, int64_t C)
{
    struct program *p = m->p;
    char at[200];
    snprintf(at, sizeof at, "%smid_block.attentions.0.", m->half);
    const int y = nn_tokens(p, nn_groupnorm(p, at, "group_norm", x, m->c->groups, VAE_EPS, false));
    const int q = nn_linear(p, at, "to_q", y, C, true);
    const int k = nn_linear(p, at, "to_k", y, C, true);
    const int v = nn_linear(p, at, "to_v", y, C, true);
    const int a = op_attention(p, q, k, v, (struct attention_geometry){ .heads = 1 });
    return op_add(p, nn_map(p, nn_linear(p, at, "to_out.0", a, C, true), x), x);
}

static int middle(struct vae *m, int x, int64_t C)
{
    x = resnet(m, x, "mid_block", 0, C);
    x = attention(m, x, C);
    return probed(m, resnet(m, x, "mid_block", 1, C), "mid", -1);
}

int nn_vae_encode(struct program *p, const struct vae_config *c, const char *prefix, int image,
                  const char *probe)
{
    char half[120], block[80];
    struct vae m = { p, c, half, probe };
    const int64_t deep = c->widths[VAE_LEVELS - 1];
    const char *part = program_part(p, "vae");

    if (!p->failed && (program_axis(p, image, 1) % 8 || program_axis(p, image, 2) % 8))
        program_fault(p, "VAE: side %" PRId64 " is no multiple of 8", program_axis(p, image, 1));
    snprintf(half, sizeof half, "%sencoder.", prefix);
    int x = probed(&m, nn_conv3(p, half, "conv_in", image, c->widths[0]), "conv_in", -1);
    for (int i = 0; i < VAE_LEVELS; i++) {
        snprintf(block, sizeof block, "down_blocks.%d", i);
        for (int64_t j = 0; j < c->resnets; j++)
            x = resnet(&m, x, block, j, c->widths[i]);
        snprintf(block, sizeof block, "down_blocks.%d.downsamplers.0.conv", i);
        if (i < VAE_LEVELS - 1)
            x = nn_conv(p, half, block, x, c->widths[i], 3,
                        (struct conv_geometry){ 2, 0, 0, 1, 1 });
        probed(&m, x, "block", i);
    }
    x = middle(&m, x, deep);
    x = nn_groupnorm(p, half, "conv_norm_out", x, c->groups, VAE_EPS, true);
    x = nn_conv3(p, half, "conv_out", x, 2L * VAE_LATENT);
    x = nn_conv1(p, prefix, "quant_conv", x, 2L * VAE_LATENT);
    program_part(p, part);
    return x;
}

int nn_vae_decode(struct program *p, const struct vae_config *c, const char *prefix, int z,
                  const char *probe)
{
    char half[120], block[80];
    struct vae m = { p, c, half, probe };
    const int64_t deep = c->widths[VAE_LEVELS - 1];
    const char *part = program_part(p, "vae");

    snprintf(half, sizeof half, "%sdecoder.", prefix);
    int x = nn_conv1(p, prefix, "post_quant_conv", z, VAE_LATENT);
    x = probed(&m, nn_conv3(p, half, "conv_in", x, deep), "conv_in", -1);
    x = middle(&m, x, deep);
    for (int i = 0; i < VAE_LEVELS; i++) {
        const int64_t C = c->widths[VAE_LEVELS - 1 - i];
        snprintf(block, sizeof block, "up_blocks.%d", i);
        for (int64_t j = 0; j < c->resnets + 1; j++)
            x = resnet(&m, x, block, j, C);
        snprintf(block, sizeof block, "up_blocks.%d.upsamplers.0.conv", i);
        if (i < VAE_LEVELS - 1)
            x = nn_conv3(p, half, block, op_upsample2(p, x), C);
        probed(&m, x, "block", i);
    }
    x = nn_groupnorm(p, half, "conv_norm_out", x, c->groups, VAE_EPS, true);
    x = nn_conv3(p, half, "conv_out", x, 3);
    program_part(p, part);
    return x;
}
