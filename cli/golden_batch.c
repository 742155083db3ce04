/* cli/golden_batch.c: the inputs of one micro-batch of a whole-model case. */
#include "cli/golden_model.h"

#include <inttypes.h>
#include <string.h>

#include "trainer/objective.h"

static const char *const loss_names[] = { "nip", "csr" };

void golden_read_losses(struct golden *g, struct deem_options *o)
{
    o->weight_ntp = golden_real(g, "loss_weights.txt");
    o->weight_nip = golden_real(g, "loss_weights.img");
    o->weight_csr = golden_real(g, "loss_weights.sniffer");
    const char *norm = golden_text(g, "config.nip_norm");
    if (strcmp(norm, "all") != 0 && strcmp(norm, "valid") != 0)
        golden_problem(g, "case.json: config.nip_norm: got \"%s\", want all or valid", norm);
    o->nip_valid = strcmp(norm, "valid") == 0;
    o->nip_double_normalise = golden_flag(g, "config.nip_double_normalise");
}

/* prefix + name, in the case's memory. */
static const char *join(struct golden *g, const char *prefix, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const char *copy = arena_strndup(&g->memory, full, strlen(full));
    if (!copy)
        golden_problem(g, "out of memory: name");
    return copy ? copy : "";
}

static void read_text(struct golden *g, const struct deem_config *c, const struct deem_options *o,
                      const char *prefix, struct layout_batch *t)
{
    int64_t shape[2] = { -1, -1 };
    const char *bos = join(g, prefix, "nearest_bos_idxs");
    t->ids = c->ids;
    t->image_tokens = c->queries;
    t->vocab = c->vocab;
    t->text_ids = golden_ids(g, join(g, prefix, "text_ids"), 2, shape);
    t->B = shape[0];
    t->L = shape[1];
    t->mask = golden_ids(g, join(g, prefix, "attention_mask"), 2, shape);
    t->images_per_row = golden_ids(g, join(g, prefix, "num_image_per_seq"), 1, (int64_t[]){ t->B });
    int64_t I = 0;
    for (int64_t b = 0; t->images_per_row && b < t->B; b++)
        I += t->images_per_row[b];
    if (o->weight_nip != 0.0 || golden_has_input(g, bos))
        t->nearest_bos = golden_ids(g, bos, 1, &I);
    if (t->text_ids && t->L < 2)
        golden_problem(g, "inputs.safetensors: %stext_ids: rows of %" PRId64, prefix, t->L);
}

static void make_targets(struct golden *g, const char *prefix, struct golden_batch *b)
{
    const struct layout_batch *t = &b->text;
    const char *given = join(g, prefix, "gt_text_ids"), *prompt = join(g, prefix, "prompt_offset");
    const int32_t *offsets = NULL;
    b->targets = golden_memory(g, t->B * (t->L - 1), sizeof *b->targets);
    if (!b->targets)
        return;
    if (golden_has_input(g, given)) {
        const int32_t *ids = golden_ids(g, given, 2, (int64_t[]){ t->B, t->L });
        if (ids)
            layout_given_targets(b->targets, ids, t->B, t->L);
        return;
    }
    if (golden_has_input(g, prompt))
        offsets = golden_ids(g, prompt, 1, (int64_t[]){ t->B });
    layout_targets(b->targets, t, offsets, false);
}

static void check_targets(struct golden *g, const struct deem_config *c,
                          const struct golden_batch *b)
{
    for (int64_t i = 0; b->targets && i < b->text.B * (b->text.L - 1); i++)
        if (b->targets[i] != LAYOUT_IGNORE && (b->targets[i] < 0 || b->targets[i] >= c->vocab)) {
            golden_problem(g,
                           "inputs.safetensors: target %" PRId32 " is outside the table of "
                           "%" PRId64 " rows",
                           b->targets[i], c->vocab);
            return;
        }
}

/* I: -1 where the text did not tell. */
static void read_noise(struct golden *g, const struct deem_config *c, const char *prefix,
                       enum deem_loss loss, int64_t I, struct golden_batch *b)
{
    const bool remap = loss == DEEM_CSR && golden_flag(g, "config.csr_t_remap");
    const int64_t k = deem_latent_side(c);
    char name[32];
    snprintf(name, sizeof name, "%s.eps", loss_names[loss]);
    b->b.eps[loss] = golden_input(g, join(g, prefix, name), 4, (int64_t[]){ I, 4, k, k });
    snprintf(name, sizeof name, "%s.vae_eps", loss_names[loss]);
    b->b.vae_eps[loss] = golden_input(g, join(g, prefix, name), 4, (int64_t[]){ I, 4, k, k });
    snprintf(name, sizeof name, "%s.t", loss_names[loss]);
    const int32_t *drawn = golden_ids(g, join(g, prefix, name), 1, &I);
    b->t[loss] = golden_memory(g, I, sizeof(int32_t));
    for (int64_t i = 0; drawn && b->t[loss] && i < I; i++) {
        if (drawn[i] < 0 || drawn[i] > 999)
            golden_problem(g, "inputs.safetensors: %s: %" PRId32 " is outside 0..999", name,
                           drawn[i]);
        b->t[loss][i] = remap ? objective_csr_timestep(drawn[i]) : drawn[i];
    }
    b->b.t[loss] = b->t[loss];
}

static void read_pictures(struct golden *g, const struct deem_config *c,
                          const struct deem_options *o, const char *prefix, struct golden_batch *b)
{
    const int64_t I = b->layout ? b->layout->I : -1, R = c->tokenizer.side, Rd = c->decode_side;
    b->b.image = golden_input(g, join(g, prefix, "image"), 4, (int64_t[]){ I, 3, R, R });
    if (o->region_masks)
        b->b.mask = golden_input(g, join(g, prefix, "mask"), 4, (int64_t[]){ I, 1, R, R });
    if (o->weight_nip != 0.0 || o->weight_csr != 0.0)
        b->b.image_dec =
            golden_input(g, join(g, prefix, "image_dec"), 4, (int64_t[]){ I, 3, Rd, Rd });
    if (o->weight_csr != 0.0)
        read_noise(g, c, prefix, DEEM_CSR, I, b);
    if (o->weight_nip != 0.0) {
        read_noise(g, c, prefix, DEEM_NIP, I, b);
        b->b.drop = golden_ids(g, join(g, prefix, "nip.drop"), 1, (int64_t[]){ I });
    }
}

/* A batch that does not fit together is a problem of the case like any other: *out stays NULL. */
static enum status make_layout(struct golden *g, struct golden_batch *b, struct error *err)
{
    struct error one = { 0 };
    struct findings f = { .say = golden_note, .arg = g };
    layout_check(&b->text, &f);
    if (f.count || layout_open(&b->layout, &b->text, &one) == ST_OK)
        return ST_OK;
    if (one.cause == CAUSE_NOMEM)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", one.text);
    golden_problem(g, "inputs.safetensors: %s", one.text);
    return ST_OK;
}

enum status golden_read_batch(struct golden *g, const struct deem_config *c,
                              const struct deem_options *o, const char *prefix,
                              struct golden_batch *out, struct error *err)
{
    *out = (struct golden_batch){ 0 };
    const int before = g->n_findings;
    read_text(g, c, o, prefix, &out->text);
    const bool whole = g->n_findings == before;
    if (whole && make_layout(g, out, err) != ST_OK)
        return ST_FAIL;
    if (whole) {
        make_targets(g, prefix, out);
        check_targets(g, c, out);
    }
    read_pictures(g, c, o, prefix, out);
    if (out->layout && out->layout->max_rank >= c->llm.mmfs.max_images)
        golden_problem(g,
                       "inputs.safetensors: %" PRId64 " pictures in view, but %" PRId64
                       " relative positions",
                       out->layout->max_rank, c->llm.mmfs.max_images);
    out->b.text = &out->text;
    out->b.layout = out->layout;
    out->b.targets = out->targets;
    return golden_ready(g, err);
}

void golden_batch_clear(struct golden_batch *b)
{
    layout_close(&b->layout);
}
