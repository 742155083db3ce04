/* trainer/deem.c: see deem.h. */
#include "trainer/deem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "trainer/nn_perceiver2.h"
#include "trainer/nn_text_head.h"
#include "trainer/op.h"

static const char TRUNK[] = "visual_tokenizer.sniffer.vision_model.";
enum { TRUNK_BLOCKS_MAX = 256 };

/* What the spans hand to each other. */
struct wires {
    struct vistok tokens;
    int features, llm_features; /* [I,S,F] of all levels, of the LLM's */
    int feature_masks;          /* [I+1,S]: region masks, and a row of ones; or TENSOR_NONE */
    int latents;                /* [2I,k,k,4] */
    int x, hidden;              /* [B,L,C] */
    struct text_head head;
    int ctx, conditions; /* [I,Q,F], [rows,Q,F] */
};

static bool uses_diffusion(const struct deem *m)
{
    return m->options.weight_nip != 0.0 || m->options.weight_csr != 0.0;
}

int64_t deem_feature_rows(const struct deem_config *c)
{
    int64_t n = 0;
    for (int l = 0; l < VISTOK_LEVELS; l++)
        n += vistok_side(&c->tokenizer, l) * vistok_side(&c->tokenizer, l);
    return n;
}

int64_t deem_condition_row(const struct deem *m, enum deem_loss loss, int64_t i, bool dropped)
{
    const int64_t contexts = m->options.weight_nip != 0.0 ? m->shape.I : 0;
    if (loss == DEEM_CSR)
        return contexts + i;
    return dropped ? contexts + (m->options.weight_csr != 0.0 ? m->shape.I : 0) : i;
}

/* Levels of the LLM's MMFS are those whose side is in its list, finest first. */
static void choose_levels(struct deem *m)
{
    struct mmfs_config *c = &m->config.llm.mmfs;
    for (int i = 0; i < c->levels; i++)
        c->height[i] = c->width[i] = c->shape[i];
    for (int l = 0; l < VISTOK_LEVELS; l++)
        m->config.side_net.sides[l] = vistok_side(&m->config.tokenizer, l);
    m->config.side_net.levels = VISTOK_LEVELS;
}

static void check_sizes(struct deem *m)
{
    const struct deem_shape *s = &m->shape;
    struct finding_text said = { 0 };
    struct findings f = { .say = finding_join, .arg = &said };
    deem_check(&m->config, &m->options, &f);
    if (s->B < 1 || s->L < 2 || s->I < 1 || s->context < 1 || s->pairs < 1 || s->passes < 1)
        finding_add(&f, "shape: %" PRId64 " rows of %" PRId64 ", %" PRId64 " pictures", s->B, s->L,
                    s->I);
    if (f.count)
        program_fault(m->p, "%s", said.text);
}

/* Levels [I,side,side,F] as rows behind each other, finest first. `all` false: the LLM's only. */
static int join_levels(struct deem *m, const int *level, bool all)
{
    const struct mmfs_config *c = &m->config.llm.mmfs;
    int rows = TENSOR_NONE;
    for (int l = 0; l < VISTOK_LEVELS; l++) {
        const int64_t side = vistok_side(&m->config.tokenizer, l);
        bool wanted = all;
        for (int i = 0; i < c->levels; i++)
            wanted |= c->shape[i] == side;
        if (!wanted)
            continue;
        const int flat = program_reshape(
            m->p, level[l], (int64_t[]){ m->shape.I, side * side, m->config.tokenizer.width }, 3);
        rows = rows == TENSOR_NONE ? flat : op_concat(m->p, rows, flat, 1);
    }
    return rows;
}

static void join_masks(struct deem *m, struct wires *w)
{
    int rows = TENSOR_NONE;
    for (int l = 0; l < VISTOK_LEVELS; l++) {
        const int64_t side = vistok_side(&m->config.tokenizer, l);
        const int flat =
            program_reshape(m->p, w->tokens.mask[l], (int64_t[]){ m->shape.I, side * side }, 2);
        rows = rows == TENSOR_NONE ? flat : op_concat(m->p, rows, flat, 1);
    }
    const int64_t ones[] = { 1, deem_feature_rows(&m->config) };
    w->feature_masks = op_concat(m->p, rows, op_constant(m->p, ROLE_EXACT, ones, 2, 1.0f), 0);
}

static void probe_tokens(struct deem *m, const struct wires *w, const struct convnext_out *trunk)
{
    struct program *p = m->p;
    for (int l = 0; l < VISTOK_LEVELS; l++) {
        program_probe(p, trunk->stage[l], "trunk.c%d", l + 2);
        program_probe(p, w->tokens.pos[l], "pos.%" PRId64, vistok_side(&m->config.tokenizer, l));
        program_probe(p, w->tokens.feature[l], "feat.%d", l);
    }
    program_probe(p, trunk->cls, "cls");
    program_probe(p, w->tokens.tokens, "tok.G");
    program_probe(p, w->tokens.mask_tokens, "tok.mask");
    program_probe(p, w->tokens.v, "v");
    program_probe(p, w->tokens.vis_embed, "vis_embed");
    program_probe(p, w->tokens.dif_embed, "dif_embed");
}

/* One state a picture for the drop path of every block of the trunk. */
static void declare_drop_path(struct deem *m, int *draws, int cap)
{
    const struct convnext_config *c = &m->config.trunk;
    char name[160];
    int n = 0;
    if (convnext_blocks(c) > cap) {
        program_fault(m->p, "trunk: more than %d blocks", cap);
        return;
    }
    for (int s = 0; s < CONVNEXT_STAGES; s++)
        for (int64_t b = 0; b < c->depths[s]; b++) {
            snprintf(name, sizeof name, "T8:%svisual.trunk.stages.%d.blocks.%" PRId64, TRUNK, s, b);
            draws[n++] = program_batch(m->p, name, ROLE_INDEX, (int64_t[]){ m->shape.I, 4 }, 2);
        }
}

static void write_tokenise(struct deem *m, struct wires *w)
{
    struct program *p = m->p;
    const int64_t I = m->shape.I, R = m->config.tokenizer.side, three = 3;
    m->tokenise = program_span_begin(p, 0, "tokenise");
    m->image = program_batch(p, "image", ROLE_STORAGE, (int64_t[]){ I, 3, R, R }, 4);
    m->clip_scale = program_batch(p, "clip.scale", ROLE_STORAGE, &three, 1);
    m->clip_shift = program_batch(p, "clip.shift", ROLE_STORAGE, &three, 1);
    if (m->options.region_masks)
        m->mask = program_batch(p, "mask", ROLE_EXACT, (int64_t[]){ I, R, R }, 3);
    struct convnext_out trunk = { 0 };
    program_part(p, "convnext");
    const bool drops = m->config.trunk.drop_path > 0.0 && !m->options.evaluation;
    int draws[TRUNK_BLOCKS_MAX];
    if (drops)
        declare_drop_path(m, draws, TRUNK_BLOCKS_MAX);
    nn_convnext(p, &m->config.trunk, TRUNK, op_nhwc(p, m->image), m->clip_scale, m->clip_shift,
                drops ? draws : NULL, &trunk);
    program_part(p, "tokenizer");
    struct vistok_inputs in = { .cls = trunk.cls, .mask = m->mask };
    memcpy(in.adapted, trunk.level, sizeof in.adapted);
    w->tokens = nn_vistok(p, &m->config.tokenizer, &in, "visual_tokenizer.", "p1.layer", "", false);
    w->llm_features = program_probe(p, join_levels(m, w->tokens.feature, false), "llm_features");
    if (uses_diffusion(m))
        w->features = join_levels(m, w->tokens.feature, true);
    if (uses_diffusion(m) && m->options.region_masks)
        join_masks(m, w);
    probe_tokens(m, w, &trunk);
    program_span_end(p, m->tokenise);
}

/* Moments of the pictures x as a x + b. */
static int encode(struct deem *m, int pictures, float a, float b)
{
    struct program *p = m->p;
    const int64_t three = 3;
    const int scale = op_constant(p, ROLE_STORAGE, &three, 1, a);
    const int shift = op_constant(p, ROLE_STORAGE, &three, 1, b);
    return nn_vae_encode(p, &m->config.vae, "visual_tokenizer.encoder.vae.",
                         op_scale_channels(p, pictures, scale, shift), NULL);
}

/* The picture is encoded once, as 2x - 1; each loss has its own draw from the posterior. */
static void write_latents(struct deem *m, struct wires *w)
{
    struct program *p = m->p;
    const int64_t I = m->shape.I, Rd = m->config.decode_side, k = deem_latent_side(&m->config);
    const int64_t shape[] = { I, k, k, VAE_LATENT };
    m->latents = program_span_begin(p, 0, "latents");
    program_part(p, "vae");
    m->image_dec = program_batch(p, "image_dec", ROLE_STORAGE, (int64_t[]){ I, 3, Rd, Rd }, 4);
    m->vae_eps[DEEM_NIP] = program_batch(p, "nip.vae_eps", ROLE_EXACT, shape, 4);
    m->vae_eps[DEEM_CSR] = program_batch(p, "csr.vae_eps", ROLE_EXACT, shape, 4);
    const int pictures = op_nhwc(p, m->image_dec);
    const int moments = encode(m, pictures, 2.0f, -1.0f);
    const bool twice = m->options.nip_double_normalise && m->options.weight_nip != 0.0;
    const int nip_moments = twice ? encode(m, pictures, 4.0f, -3.0f) : moments;
    const float scale = m->config.vae_scale;
    const int nip = op_posterior(p, nip_moments, m->vae_eps[DEEM_NIP], scale);
    const int csr = op_posterior(p, moments, m->vae_eps[DEEM_CSR], scale);
    program_probe(p, nip, "nip.z0");
    program_probe(p, csr, "csr.z0");
    w->latents = op_concat(p, nip, csr, 0);
    program_span_end(p, m->latents);
}

/* X of 2.3: rows of the table, soi_token added to every soi, image tokens written over their slots. */
static int assemble(struct deem *m, const struct wires *w)
{
    struct program *p = m->p;
    const struct deem_shape *s = &m->shape;
    const int64_t C = m->config.llm.hidden, T = s->B * s->L, slots = s->I * m->config.queries;
    m->text_ids = program_batch(p, "text_ids", ROLE_INDEX, &T, 1);
    m->soi = program_batch(p, "soi", ROLE_INDEX, &T, 1);
    m->slots = program_batch(p, "slots", ROLE_INDEX, &slots, 1);
    const int table =
        program_param(p, (int64_t[]){ m->config.vocab, C }, 2, "mm_decoder.embed_tokens.weight");
    const int soi = program_param(p, (int64_t[]){ 1, C }, 2, "soi_token");
    const int text = op_gather_sum(p, table, m->text_ids, soi, m->soi);
    const int image = program_reshape(p, w->tokens.vis_embed, (int64_t[]){ slots, C }, 2);
    return program_reshape(p, op_scatter(p, text, image, m->slots), (int64_t[]){ s->B, s->L, C },
                           3);
}

/* Head and cross-entropy in chunks of tokens; the gradient of a chunk's logits is used up at once. */
static void write_losses(struct deem *m, struct wires *w)
{
    struct program *p = m->p;
    const int64_t T = m->shape.B * m->shape.L, C = m->config.llm.hidden, one = 1;
    int64_t chunk = m->options.text_chunk > 0 ? m->options.text_chunk : T;
    const int64_t most = (int64_t)(sizeof m->token_loss / sizeof m->token_loss[0]);
    chunk = (T + chunk - 1) / chunk > most ? (T + most - 1) / most : chunk;
    m->target = program_batch(p, "target", ROLE_INDEX, &T, 1);
    m->divisor = program_batch(p, "divisor", ROLE_EXACT, &one, 1);
    const int rows = program_reshape(p, w->hidden, (int64_t[]){ T, C }, 2);
    program_part(p, "head");
    for (int64_t first = 0; first < T; first += chunk) {
        const int64_t n = T - first < chunk ? T - first : chunk;
        const int begin = p->n_nodes;
        const int h = program_rows(p, rows, first, n);
        const int logits = nn_text_head_logits(p, &w->head, h);
        const int loss = op_cross_entropy(p, logits, program_rows(p, m->target, first, n),
                                          m->divisor, (float)m->options.weight_ntp);
        if (m->n_chunks == 0)
            program_probe(p, logits, "logits");
        m->token_loss[m->n_chunks++] = program_keep(p, loss);
        program_backward(p, begin, p->n_nodes);
    }
}

/* Evaluation: the logits of the tokens that are asked for. */
static void write_logits(struct deem *m, struct wires *w)
{
    struct program *p = m->p;
    const int64_t T = m->shape.B * m->shape.L;
    m->wanted = program_batch(p, "wanted", ROLE_INDEX, &m->shape.wanted, 1);
    const int rows = program_reshape(p, w->hidden, (int64_t[]){ T, m->config.llm.hidden }, 2);
    m->logits = program_keep(p, nn_text_head_logits(p, &w->head, op_gather(p, rows, m->wanted)));
}

static void write_language(struct deem *m, struct wires *w)
{
    static const struct llama_names names = { "llm.", ".attn", ".mmfs", ".out" };
    struct program *p = m->p;
    const struct deem_shape *s = &m->shape;
    m->language = program_span_begin(p, 0, "language");
    program_part(p, "llm");
    m->positions = program_batch(p, "positions", ROLE_INDEX, (int64_t[]){ s->B, s->L }, 2);
    m->view = (struct mmfs_view){
        .begin = program_batch(p, "pair.begin", ROLE_INDEX, (int64_t[]){ s->B * s->L + 1 }, 1),
        .image = program_batch(p, "pair.image", ROLE_INDEX, &s->pairs, 1),
        .rank = program_batch(p, "pair.rank", ROLE_INDEX, &s->pairs, 1),
        .points = program_batch(p, "centre", ROLE_EXACT, (int64_t[]){ 1, 2 }, 2),
        .queries_per_list = 1,
    };
    w->x = program_probe(p, assemble(m, w), "X");
    if (m->options.evaluation)
        m->first = program_batch(p, "first", ROLE_INDEX, &s->B, 1);
    const struct llama_inputs in = { .x = w->x,
                                     .positions = m->positions,
                                     .first = m->first,
                                     .features = w->llm_features,
                                     .view = m->view };
    w->hidden = nn_llama(p, &m->config.llm, &in, "mm_decoder.", &names);
    m->hidden = program_probe(p, w->hidden, "h");
    program_part(p, "head");
    w->head = nn_text_head(p, m->config.vocab, m->config.vocab_published, m->config.llm.hidden,
                           "text_decoder.");
    program_span_end(p, m->language);
    if (m->options.evaluation) {
        write_logits(m, w);
    } else if (m->options.weight_ntp != 0.0) {
        const int losses = program_span_begin(p, 0, "text losses");
        write_losses(m, w);
        program_span_end(p, losses);
    }
}

/* All conditions a pass may name: contexts, CSR's own tokens, the dropped one. */
static void write_contexts(struct deem *m, struct wires *w)
{
    struct program *p = m->p;
    const struct deem_shape *s = &m->shape;
    const int64_t Q = m->config.queries, F = m->config.tokenizer.diffusion_width;
    const int64_t places = s->I * s->context;
    m->contexts = program_span_begin(p, 0, "contexts");
    program_part(p, "contexts");
    w->conditions = m->options.weight_csr != 0.0 ? w->tokens.dif_embed : TENSOR_NONE;
    if (m->options.weight_nip != 0.0) {
        m->context_index = program_batch(p, "context.index", ROLE_INDEX, &places, 1);
        m->context_count = program_batch(p, "context.count", ROLE_INDEX, &s->I, 1);
        const struct perceiver2_inputs in = {
            .hidden =
                program_reshape(p, w->hidden, (int64_t[]){ s->B * s->L, m->config.llm.hidden }, 2),
            .images = s->I,
            .length = s->context,
            .index = m->context_index,
            .count = m->context_count,
        };
        const struct perceiver2 out = nn_perceiver2(p, &m->config.perceiver2, &in);
        m->ctx = program_probe(p, out.ctx, "ctx");
        const int negative =
            program_param(p, (int64_t[]){ 1, Q, F }, 3, "image_decoder.neg_prompt_embeds");
        const int own = w->conditions;
        w->conditions = own == TENSOR_NONE ? out.ctx : op_concat(p, out.ctx, own, 0);
        w->conditions = op_concat(p, w->conditions, negative, 0);
        if (m->options.probes) { /* keys are projected by token; the case wants them by place */
            const int place = program_batch(p, "context.place", ROLE_INDEX, &places, 1);
            program_probe(p, op_gather_sum(p, out.projected, m->context_index, out.table, place),
                          "nip.context");
        }
    }
    program_span_end(p, m->contexts);
}

static void declare_passes(struct deem *m)
{
    struct program *p = m->p;
    const int64_t U = m->shape.passes, next = U + 1, k = deem_latent_side(&m->config);
    m->pass.latent = program_batch(p, "pass.latent", ROLE_INDEX, &U, 1);
    m->pass.noise =
        program_batch(p, "pass.noise", ROLE_EXACT, (int64_t[]){ U, k, k, VAE_LATENT }, 4);
    m->pass.t = program_batch(p, "pass.t", ROLE_INDEX, &U, 1);
    m->pass.condition = program_batch(p, "pass.condition", ROLE_INDEX, &U, 1);
    m->pass.feature = program_batch(p, "pass.feature", ROLE_INDEX, &U, 1);
    if (m->options.region_masks)
        m->pass.mask = program_batch(p, "pass.mask", ROLE_INDEX, &U, 1);
    m->pass.begin = program_batch(p, "pass.begin", ROLE_INDEX, &next, 1);
    m->pass.image = program_batch(p, "pass.image", ROLE_INDEX, &U, 1);
    m->pass.rank = program_batch(p, "pass.rank", ROLE_INDEX, &U, 1);
    m->pass.weight = program_batch(p, "pass.weight", ROLE_EXACT, (int64_t[]){ U, k, k }, 3);
    m->pass.scale = program_batch(p, "pass.scale", ROLE_EXACT, &U, 1);
}

static void write_picture(struct deem *m, struct wires *w)
{
    static const struct unet_names names = { .time = "pass.temb",
                                             .before = { "pass.skip.", "" },
                                             .after = { "pass.skip_out.", "" },
                                             .mid_before = "pass.mid",
                                             .mid_after = "pass.mid_out" };
    struct program *p = m->p;
    int map = TENSOR_NONE;
    declare_passes(m);
    program_gradient_prepare(p, w->conditions); /* several runs add to these */
    program_gradient_prepare(p, w->features);
    m->picture = program_span_begin(p, SPAN_REPEATED, "picture");
    const int begin = p->n_nodes;
    program_part(p, "mmfsnet");
    int features = op_gather(p, w->features, m->pass.feature);
    if (m->options.region_masks)
        features = op_scale_rows(p, features, op_gather(p, w->feature_masks, m->pass.mask));
    const struct mmfsnet_inputs in = {
        .features = features, .begin = m->pass.begin, .image = m->pass.image, .rank = m->pass.rank
    };
    struct mmfsnet net;
    mmfsnet_begin(&net, p, &m->config.side_net, "visual_tokenizer.encoder.mmfs_module.", &in);
    program_part(p, "unet");
    const int condition = op_gather(p, w->conditions, m->pass.condition);
    const int z0 = op_gather(p, w->latents, m->pass.latent);
    const int zt = op_ddpm_noise(p, z0, m->pass.noise, m->pass.t, op_ddpm_table(p));
    const int eps = nn_unet(p, &m->config.unet, "visual_tokenizer.encoder.unet.", zt, m->pass.t,
                            condition, &net, &names);
    m->pass_sum =
        program_keep(p, op_noise_loss(p, &map, eps, m->pass.noise, m->pass.weight, m->pass.scale));
    program_probe(p, condition, "pass.cond");
    program_probe(p, zt, "pass.zt");
    program_probe(p, eps, "pass.eps_hat");
    program_probe(p, map, "pass.map");
    program_backward(p, begin, p->n_nodes);
    program_span_end(p, m->picture);
}

static void backward_of(struct deem *m, int span)
{
    if (span >= 0 && !m->p->failed)
        program_backward(m->p, m->p->spans[span].begin, m->p->spans[span].end);
}

static void write_all(struct deem *m)
{
    struct wires w = { 0 };
    check_sizes(m);
    choose_levels(m);
    write_tokenise(m, &w);
    if (uses_diffusion(m) && !m->options.evaluation)
        write_latents(m, &w);
    if (m->options.evaluation)
        m->evaluate = program_span_begin(m->p, SPAN_REPEATED, "evaluate");
    write_language(m, &w);
    if (uses_diffusion(m))
        write_contexts(m, &w);
    if (m->options.evaluation) {
        program_span_end(m->p, m->evaluate);
        m->features = program_keep(m->p, w.features);
        if (m->options.weight_csr != 0.0)
            m->dif_embed = program_keep(m->p, w.tokens.dif_embed);
        m->ctx = program_keep(m->p, m->ctx);
        return;
    }
    if (uses_diffusion(m))
        write_picture(m, &w);
    m->backward = program_span_begin(m->p, 0, "backward");
    backward_of(m, m->contexts);
    backward_of(m, m->language);
    backward_of(m, m->tokenise);
    program_span_end(m->p, m->backward);
}

enum status deem_open(struct deem **out, const struct deem_config *config,
                      const struct deem_shape *shape, const struct deem_options *options,
                      struct params *params, struct error *err)
{
    struct deem *m = mem_calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: model");
    m->config = *config;
    m->shape = *shape;
    m->options = *options;
    if (options->evaluation)
        m->config.tokenizer.perceiver.dropout = m->config.tokenizer.perceiver.attention_dropout =
            0.0;
    m->tokenise = m->latents = m->language = m->contexts = m->picture = m->backward = m->evaluate =
        -1;
    if (program_open(&m->p, params, options->probes, err) != ST_OK)
        goto fail;
    write_all(m);
    if (program_finish(m->p, err) != ST_OK)
        goto fail;
    *out = m;
    return ST_OK;
fail:
    deem_close(&m);
    return ST_FAIL;
}

void deem_close(struct deem **m)
{
    if (!*m)
        return;
    program_close(&(*m)->p);
    mem_free(*m);
    *m = NULL;
}
