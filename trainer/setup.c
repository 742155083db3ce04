/* trainer/setup.c: see setup.h. Every size comes from the recipe; nothing is decided here. */
#include "trainer/setup.h"

#include <string.h>

static void copy_sides(int64_t *out, int cap, const struct setting_ints *from)
{
    for (int i = 0; i < cap && i < from->count; i++)
        out[i] = from->items[i];
}

/* The levels the language model sees: all but the finest (model.md 2.3), finest first. */
static void setup_llm_mmfs(struct mmfs_config *c, const struct recipe *r)
{
    const struct recipe_model *m = &r->model;
    *c = (struct mmfs_config){
        .query_width = m->llm_hidden,
        .value_width = m->feature_width,
        .inner_width = m->mmfs_inner,
        .out_width = m->llm_hidden,
        .heads = m->mmfs_heads,
        .points = m->mmfs_points,
        .max_images = m->mmfs_max_images,
        .levels = 3,
        .base = (double)m->mmfs_base,
    };
    for (int l = 0; l < c->levels; l++)
        c->shape[l] = r->image_side / (8 << l);
}

static void setup_diffusion(struct deem_config *c, const struct recipe *r)
{
    const struct recipe_model *m = &r->model;
    copy_sides(c->unet.widths, UNET_LEVELS, &m->unet_widths);
    copy_sides(c->unet.heads, UNET_LEVELS, &m->unet_heads);
    c->unet.resnets = m->unet_resnets;
    c->unet.groups = m->unet_groups;
    c->unet.cross = m->feature_width;
    copy_sides(c->vae.widths, VAE_LEVELS, &m->vae_widths);
    c->vae.resnets = m->vae_resnets;
    c->vae.groups = m->vae_groups;
    c->vae_scale = (float)m->vae_scale;
    c->side_net = (struct mmfsnet_config){
        .feature_width = m->feature_width,
        .inner = m->net_inner,
        .heads = m->net_heads,
        .points = m->net_points,
        .max_images = m->net_max_images,
        .levels = 4,
        .grid = m->net_grid,
    };
    copy_sides(c->side_net.shapes, 4, &m->net_shapes);
    copy_sides(c->side_net.bases, 4, &m->net_bases);
    for (int l = 0; l < 4; l++) {
        c->side_net.sides[l] = r->image_side / (4 << l);
        if (r->mmfs_scale_actual)
            c->side_net.shapes[l] = c->side_net.sides[l];
    }
}

void setup_model(struct deem_config *out, const struct recipe *r)
{
    const struct recipe_model *m = &r->model;
    const int32_t pieces = (int32_t)m->vocab_base;

    *out = (struct deem_config){
        .vocab = m->vocab,
        .vocab_published = m->vocab_base,
        .ids = { .bos = 1, .eos = 2, .pad = pieces - 1, .soi = pieces, .image = pieces + 1 },
        .queries = r->image_tokens,
        .decode_side = r->decode_side,
    };
    copy_sides(out->trunk.depths, 4, &m->convnext_depths);
    copy_sides(out->trunk.dims, 4, &m->convnext_dims);
    out->trunk.feature_width = m->feature_width;
    out->trunk.drop_path = r->drop_path;
    out->tokenizer = (struct vistok_config){
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
                       .qk_norm = true,
                       .dropout = r->dropout,
                       .attention_dropout = r->dropout },
    };
    out->llm = (struct llama_config){
        .hidden = m->llm_hidden,
        .heads = m->llm_heads,
        .ffn = m->llm_ffn,
        .layers = m->llm_layers,
        .cross_every = m->llm_cross_every,
        .rms_eps = (float)m->llm_rms_eps,
        .rope_base = m->llm_rope_base,
    };
    setup_llm_mmfs(&out->llm.mmfs, r);
    out->perceiver2 = (struct qformer_config){
        .queries = r->image_tokens,
        .hidden = m->perceiver2_hidden,
        .heads = m->perceiver2_heads,
        .layers = m->perceiver2_layers,
        .cross_every = m->perceiver2_cross_every,
        .ffn = m->perceiver2_ffn,
        .encoder = m->llm_hidden,
    };
    setup_diffusion(out, r);
}

void setup_losses(struct deem_options *out, const struct recipe *r)
{
    *out = (struct deem_options){
        .weight_ntp = r->loss_txt,
        .weight_nip = recipe_weight_nip(r),
        .weight_csr = recipe_weight_csr(r),
        .nip_valid = r->nip_norm == NIP_VALID,
        .nip_double_normalise = r->nip_double_normalise,
        .region_masks = r->stage == STAGE_3,
        .text_chunk = 2048,
    };
}

/* A program of the smallest shape is written and thrown away; what it declared stays. */
static enum status declare_losses(struct params *params, const struct deem_config *c,
                                  bool diffusion, bool masks, struct error *err)
{
    const struct deem_options all = { .weight_ntp = 1.0,
                                      .weight_nip = diffusion ? 1.0 : 0.0,
                                      .weight_csr = diffusion ? 1.0 : 0.0,
                                      .region_masks = masks };
    const struct deem_shape smallest = {
        .B = 1, .L = 2, .I = 1, .context = 1, .pairs = 1, .passes = 1
    };
    struct deem *m = NULL;
    const enum status st = deem_open(&m, c, &smallest, &all, params, err);
    deem_close(&m);
    return st;
}

/* Training never decodes a latent; generation does. */
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

enum status setup_declare(struct params *params, const struct deem_config *c,
                          const struct recipe *r, struct error *err)
{
    const bool diffusion = r->stage != STAGE_3;
    enum status st = declare_losses(params, c, diffusion, r->stage == STAGE_3, err);
    if (st == ST_OK && diffusion)
        st = declare_decoder(params, c, err);
    return st;
}

void setup_loader(struct loader_options *out, struct loader_source *sources, const struct recipe *r,
                  int world, int rank, unsigned threads)
{
    for (size_t i = 0; i < r->n_sources; i++)
        sources[i] = (struct loader_source){
            .name = r->sources[i].name,
            .datasets = r->sources[i].datasets,
            .n_datasets = r->sources[i].n_datasets,
            .weight = (uint64_t)r->sources[i].weight,
        };
    loader_options_init(out);
    out->seed = (uint64_t)r->seed;
    out->sources = sources;
    out->n_sources = r->n_sources;
    out->mixing = r->mixing == MIXING_IID ? PLAN_IID : PLAN_STRATIFIED;
    out->order = r->order == ORDER_BLOCK ? PLAN_BLOCK : PLAN_PERMUTATION;
    out->batch_global = (uint64_t)r->batch_global;
    out->batch_micro = (uint64_t)r->batch_micro;
    out->world = (uint64_t)world;
    out->rank = (uint64_t)rank;
    out->decode.geometry = r->geometry == GEOMETRY_SQUASH ? RESAMPLE_SQUASH : RESAMPLE_CROP;
    out->decode.mode = r->fast_decode ? DECODE_FAST : DECODE_EXACT;
    out->decode.side_a = (uint32_t)r->image_side;
    out->decode.side_b = r->stage == STAGE_3 ? 0 : (uint32_t)r->decode_side;
    out->flip = r->flip;
    out->masks = r->stage == STAGE_3;
    out->seq_len = r->seq_len;
    out->threads = threads;
    out->memory = r->loader_memory;
    out->skip_damaged = r->damaged == DAMAGED_SKIP;
}
