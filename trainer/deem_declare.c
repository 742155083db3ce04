/* trainer/deem_declare.c: the names of the whole model, and its computed tables. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "kernels/sinusoid.h"
#include "trainer/deem.h"
#include "trainer/micro_batch.h"
#include "trainer/op.h"

static const char TOKENIZER[] = "visual_tokenizer.";
static const char SIDE_NET[] = "visual_tokenizer.encoder.mmfs_module.";

/* A program of the smallest shape is written and thrown away; what it declared stays. */
static enum status declare_losses(const struct deem_config *c, bool diffusion,
                                  struct params *params, struct error *err)
{
    const struct deem_shape shape = {
        .B = 1, .L = c->queries + 2, .I = 1, .context = 1, .pairs = 1, .passes = 1
    };
    const struct deem_options all = { .weight_ntp = 1.0,
                                      .weight_nip = diffusion ? 1.0 : 0.0,
                                      .weight_csr = diffusion ? 1.0 : 0.0,
                                      .region_masks = c->tokenizer.mask_align };
    struct deem *m = NULL;
    const enum status st = deem_open(&m, c, &shape, &all, params, err);
    deem_close(&m);
    return st;
}

/* Width of block j of the side network, -1 the middle one: that of its skip tensor. */
static int64_t block_width(const struct deem_config *c, int j)
{
    if (j < 0)
        return c->unet.widths[UNET_LEVELS - 1];
    if (j == 0)
        return c->unet.widths[0];
    return c->unet.widths[(j - 1) / (c->unet.resnets + 1)]; /* resnets and a step down a level */
}

static void block_name(char *out, size_t size, int j)
{
    if (j < 0)
        snprintf(out, size, "%smmfs_mid_block.pos_embed", SIDE_NET);
    else
        snprintf(out, size, "%smmfs_down_blocks.%d.pos_embed", SIDE_NET, j);
}

static void declare_tables(struct program *p, const struct deem_config *c, bool diffusion)
{
    const int64_t pos[] = { 1 + c->tokenizer.grid * c->tokenizer.grid, c->tokenizer.width };
    const int64_t channels[] = { 1, 3, 1, 1 };
    program_buffer(p, pos, 2, "%spos_embed", TOKENIZER);
    program_buffer(p, channels, 4, "%sclip_mean", TOKENIZER);
    program_buffer(p, channels, 4, "%sclip_std", TOKENIZER);
    for (int j = -1; diffusion && j < unet_skips(&c->unet); j++) {
        char name[128];
        block_name(name, sizeof name, j);
        program_buffer(p, (int64_t[]){ c->side_net.grid * c->side_net.grid, block_width(c, j) }, 2,
                       "%s", name);
    }
}

/* Training does not decode, and stage III does not need its own condition: their weights travel along. */
static void declare_rest(struct program *p, const struct deem_config *c, bool diffusion)
{
    const int64_t k = deem_latent_side(c), C = c->llm.hidden;
    program_param(p, (int64_t[]){ C, C }, 2, "context_feat_proj.weight");
    program_param(p, &C, 1, "context_feat_proj.bias");
    if (!diffusion)
        return;
    const int z = program_batch(p, "z", ROLE_EXACT, (int64_t[]){ 1, k, k, VAE_LATENT }, 4);
    nn_vae_decode(p, &c->vae, "visual_tokenizer.encoder.vae.", z, NULL);
}

enum status deem_declare(const struct deem_config *config, bool diffusion, struct params *params,
                         struct error *err)
{
    struct program *p = NULL;
    enum status st = declare_losses(config, diffusion, params, err);
    if (st == ST_OK)
        st = program_open(&p, params, false, err);
    if (st == ST_OK) {
        declare_rest(p, config, diffusion);
        declare_tables(p, config, diffusion);
        st = program_finish(p, err);
    }
    program_close(&p);
    return st;
}

/* 2-D sin-cos rows behind `skip` rows of zeros. */
static enum status fill_grid(struct params *params, const char *name, int64_t skip, int64_t grid,
                             struct error *err)
{
    const struct param *q = params_find(params, name);
    struct kctx host = { 0 };
    if (!q || !q->value)
        return ST_OK;
    const int64_t C = q->shape[1];
    memset(q->value, 0, (size_t)(skip * C) * sizeof *q->value);
    const struct view out = { q->value + skip * C, DT_F32, 3, { grid, grid, C } };
    return sinusoid_grid_fwd_cpu(&host, &out, NULL, NULL, err);
}

static void fill_channels(struct params *params, const char *name, const float *values)
{
    const struct param *q = params_find(params, name);
    if (q && q->value)
        memcpy(q->value, values, 3 * sizeof *values);
}

enum status deem_fill_tables(const struct deem_config *config, struct params *params,
                             struct error *err)
{
    enum status st =
        fill_grid(params, "visual_tokenizer.pos_embed", 1, config->tokenizer.grid, err);
    for (int j = -1; j < unet_skips(&config->unet) && st == ST_OK; j++) {
        char name[128];
        block_name(name, sizeof name, j);
        st = fill_grid(params, name, 0, config->side_net.grid, err);
    }
    fill_channels(params, "visual_tokenizer.clip_mean", micro_batch_clip_mean);
    fill_channels(params, "visual_tokenizer.clip_std", micro_batch_clip_std);
    return st;
}
