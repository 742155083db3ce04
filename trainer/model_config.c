/* trainer/model_config.c: see model_config.h. */
#include "trainer/model_config.h"

#include <stdio.h>
#include <string.h>

#include "trainer/nn_vae.h"

static void copy_list(int64_t *out, const struct setting_ints *from, int want, const char *key,
                      struct error *err)
{
    if (from->count != want)
        error_set(err, ST_FAIL, CAUSE_ARG, "%s: got %d numbers, want %d", key, from->count, want);
    else
        memcpy(out, from->items, (size_t)want * sizeof *out);
}

static void read_llm(struct deem_config *c, const struct recipe *r)
{
    const struct recipe_model *m = &r->model;
    struct llama_config *l = &c->llm;
    l->hidden = m->llm_hidden;
    l->heads = m->llm_heads;
    l->ffn = m->llm_ffn;
    l->layers = m->llm_layers;
    l->cross_every = m->llm_cross_every;
    l->rms_eps = (float)m->llm_rms_eps;
    l->rope_base = m->llm_rope_base;
    l->mmfs.query_width = l->mmfs.out_width = m->llm_hidden;
    l->mmfs.value_width = m->feature_width;
    l->mmfs.inner_width = m->mmfs_inner;
    l->mmfs.heads = m->mmfs_heads;
    l->mmfs.points = m->mmfs_points;
    l->mmfs.max_images = m->mmfs_max_images;
    l->mmfs.base = (double)m->mmfs_base;
    l->mmfs.levels = 3; /* R/8, R/16, R/32 */
    for (int i = 0; i < 3; i++)
        l->mmfs.shape[i] = r->image_side / (8 << i);
}

static void read_diffusion(struct deem_config *c, const struct recipe *r, struct error *err)
{
    const struct recipe_model *m = &r->model;
    struct mmfsnet_config *n = &c->side_net;
    copy_list(c->unet.widths, &m->unet_widths, UNET_LEVELS, "model.unet.widths", err);
    copy_list(c->unet.heads, &m->unet_heads, UNET_LEVELS, "model.unet.heads", err);
    copy_list(c->vae.widths, &m->vae_widths, VAE_LEVELS, "model.vae.widths", err);
    copy_list(n->shapes, &m->net_shapes, VISTOK_LEVELS, "model.mmfs_net.shapes", err);
    copy_list(n->bases, &m->net_bases, MMFSNET_BASES, "model.mmfs_net.bases", err);
    c->unet.resnets = m->unet_resnets;
    c->unet.groups = m->unet_groups;
    c->unet.cross = m->feature_width;
    c->vae.resnets = m->vae_resnets;
    c->vae.groups = m->vae_groups;
    c->vae_scale = (float)m->vae_scale;
    n->feature_width = m->feature_width;
    n->inner = m->net_inner;
    n->heads = m->net_heads;
    n->points = m->net_points;
    n->max_images = m->net_max_images;
    n->grid = m->net_grid;
    for (int i = 0; i < VISTOK_LEVELS && r->mmfs_scale_actual; i++)
        n->shapes[i] = r->image_side / (4 << i);
}

static void read_tokenizer(struct deem_config *c, const struct recipe *r, struct error *err)
{
    const struct recipe_model *m = &r->model;
    copy_list(c->trunk.depths, &m->convnext_depths, CONVNEXT_STAGES, "model.convnext.depths", err);
    copy_list(c->trunk.dims, &m->convnext_dims, CONVNEXT_STAGES, "model.convnext.dims", err);
    c->trunk.feature_width = m->feature_width;
    c->tokenizer = (struct vistok_config){
        .width = m->feature_width,
        .side = r->image_side,
        .grid = m->pos_grid,
        .mask_side = m->mask_side,
        .llm_width = m->llm_hidden,
        .diffusion_width = m->feature_width,
        .mask_align = r->stage == STAGE_3 && m->mask_align,
        .perceiver = { .queries = r->image_tokens,
                       .hidden = m->perceiver1_hidden,
                       .heads = m->perceiver1_heads,
                       .layers = m->perceiver1_layers,
                       .cross_every = m->perceiver1_cross_every,
                       .ffn = m->perceiver1_ffn,
                       .encoder = m->feature_width,
                       .qk_norm = true },
    };
    c->perceiver2 = (struct qformer_config){ .queries = r->image_tokens,
                                             .hidden = m->perceiver2_hidden,
                                             .heads = m->perceiver2_heads,
                                             .layers = m->perceiver2_layers,
                                             .cross_every = m->perceiver2_cross_every,
                                             .ffn = m->perceiver2_ffn,
                                             .encoder = m->llm_hidden };
}

enum status model_config(struct deem_config *out, const struct recipe *r, struct error *err)
{
    const int32_t V = (int32_t)r->model.vocab_base;
    struct error own = { 0 };

    memset(out, 0, sizeof *out);
    out->vocab = r->model.vocab;
    out->vocab_published = r->model.vocab_base;
    out->ids = (struct layout_ids){ .bos = 1, .eos = 2, .pad = V - 1, .soi = V, .image = V + 1 };
    out->queries = r->image_tokens;
    out->decode_side = r->decode_side;
    read_tokenizer(out, r, &own);
    read_llm(out, r);
    read_diffusion(out, r, &own);
    if (own.cause != CAUSE_NONE)
        return error_set(err, ST_FAIL, own.cause, "recipe: %s", own.text);
    return ST_OK;
}

void model_options(struct deem_options *out, const struct recipe *r)
{
    const bool diffusion = r->stage != STAGE_3;
    *out = (struct deem_options){
        .weight_ntp = r->loss_txt,
        .weight_nip = diffusion ? r->loss_img : 0.0,
        .weight_csr = diffusion ? r->loss_sniffer : 0.0,
        .region_masks = r->stage == STAGE_3,
        .text_chunk = 2048,
    };
}

/* A program of the smallest shape is written and thrown away; what it declared stays. */
static enum status declare_losses(struct params *params, const struct deem_config *c,
                                  const struct deem_options *o, struct error *err)
{
    const struct deem_shape shape = {
        .B = 1, .L = c->queries + 8, .I = 1, .context = 4, .pairs = c->queries + 8, .passes = 1
    };
    struct deem *m = NULL;
    const enum status st = deem_open(&m, c, &shape, o, params, err);
    deem_close(&m);
    return st;
}

static enum status declare_decoder(struct params *params, const struct deem_config *c,
                                   struct error *err)
{
    const int64_t k = deem_latent_side(c);
    struct program *p = NULL;
    enum status st = program_open(&p, params, false, err);
    if (st != ST_OK)
        return st;
    const int z = program_batch(p, "z", ROLE_EXACT, (int64_t[]){ 1, k, k, VAE_LATENT }, 4);
    nn_vae_decode(p, &c->vae, "visual_tokenizer.encoder.vae.", z, NULL);
    st = program_finish(p, err);
    program_close(&p);
    return st;
}

enum status model_declare(struct params *params, const struct deem_config *c,
                          const struct recipe *r, struct error *err)
{
    const bool diffusion = r->stage != STAGE_3;
    const struct deem_options all = { .weight_ntp = 1.0,
                                      .weight_nip = diffusion ? 1.0 : 0.0,
                                      .weight_csr = diffusion ? 1.0 : 0.0,
                                      .region_masks = r->stage == STAGE_3 };
    enum status st = declare_losses(params, c, &all, err);
    if (st == ST_OK && diffusion)
        st = declare_decoder(params, c, err);
    return st;
}
