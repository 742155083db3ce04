/* trainer/deem_check.c: sizes that cannot work, all of them in one go. See deem.h. */
#include <inttypes.h>
#include <stdio.h>

#include "trainer/deem.h"

/* `width` is cut into `parts` equal pieces. */
static void divides(struct findings *f, const char *what, int64_t width, const char *of,
                    int64_t parts)
{
    if (parts < 1 || width % parts)
        finding_add(f, "%s: %" PRId64 " is not divisible by %" PRId64 " %s", what, width, parts,
                    of);
}

static void equal(struct findings *f, const char *what, int64_t got, const char *other,
                  int64_t want)
{
    if (got != want)
        finding_add(f, "%s: %" PRId64 ", but %s is %" PRId64, what, got, other, want);
}

static bool is_level(const struct deem_config *c, int64_t side)
{
    for (int l = 0; l < VISTOK_LEVELS; l++)
        if (vistok_side(&c->tokenizer, l) == side)
            return true;
    return false;
}

static void check_llm(struct findings *f, const struct deem_config *c)
{
    const struct mmfs_config *m = &c->llm.mmfs;
    divides(f, "llm.hidden", c->llm.hidden, "heads", c->llm.heads);
    if (c->llm.heads >= 1 && c->llm.hidden % c->llm.heads == 0 && c->llm.hidden / c->llm.heads % 2)
        finding_add(f, "llm.heads: a head is %" PRId64 " wide, which rotates no pairs",
                    c->llm.hidden / c->llm.heads);
    divides(f, "llm_mmfs.inner", m->inner_width, "heads", m->heads);
    for (int i = 0; i < m->levels; i++) {
        if (!is_level(c, m->shape[i]))
            finding_add(f, "llm_mmfs.shapes: %" PRId64 " is the side of no level of %" PRId64,
                        m->shape[i], c->tokenizer.side);
        if (i > 0 && m->shape[i] >= m->shape[i - 1])
            finding_add(f, "llm_mmfs.shapes: %" PRId64 " does not follow a larger side",
                        m->shape[i]);
    }
    if (c->vocab_published > c->vocab)
        finding_add(f, "vocab_size_base: %" PRId64 ", but vocab_size is %" PRId64,
                    c->vocab_published, c->vocab);
}

static void check_tokenizer(struct findings *f, const struct deem_config *c)
{
    const struct vistok_config *t = &c->tokenizer;
    divides(f, "image_side", t->side, "pixels", 32);
    divides(f, "feature_width", t->width, "parts of the position table", 4);
    divides(f, "perceiver1.hidden", t->perceiver.hidden, "heads", t->perceiver.heads);
    equal(f, "perceiver1.queries", t->perceiver.queries, "num_queries", c->queries);
    equal(f, "perceiver1.encoder", t->perceiver.encoder, "feature_width", t->width);
}

static void check_contexts(struct findings *f, const struct deem_config *c)
{
    const struct qformer_config *q = &c->perceiver2;
    divides(f, "perceiver2.hidden", q->hidden, "heads", q->heads);
    equal(f, "perceiver2.queries", q->queries, "num_queries", c->queries);
    equal(f, "perceiver2.hidden", q->hidden, "feature_width", c->tokenizer.diffusion_width);
    equal(f, "perceiver2.encoder", q->encoder, "llm.hidden", c->llm.hidden);
}

static void check_diffusion(struct findings *f, const struct deem_config *c)
{
    divides(f, "decode_side", c->decode_side, "pixels", 64);
    equal(f, "unet.cross", c->unet.cross, "feature_width", c->tokenizer.diffusion_width);
    divides(f, "unet.widths", c->unet.widths[0], "halves of the time table", 2);
    for (int i = 0; i < UNET_LEVELS; i++) {
        divides(f, "unet.widths", c->unet.widths[i], "groups", c->unet.groups);
        divides(f, "unet.widths", c->unet.widths[i], "heads", c->unet.heads[i]);
        divides(f, "unet.widths", c->unet.widths[i], "parts of the position table", 4);
    }
    for (int i = 0; i < VAE_LEVELS; i++)
        divides(f, "vae.widths", c->vae.widths[i], "groups", c->vae.groups);
    divides(f, "mmfs_net.inner", c->side_net.inner, "heads", c->side_net.heads);
    if (unet_skips(&c->unet) > 3L * MMFSNET_BASES)
        finding_add(f, "unet.resnets: %" PRId64 ", but mmfs_net.bases reaches 12 skip tensors",
                    c->unet.resnets);
}

void deem_check(const struct deem_config *c, const struct deem_options *o, struct findings *f)
{
    check_tokenizer(f, c);
    check_llm(f, c);
    if (o->weight_nip != 0.0)
        check_contexts(f, c);
    if (o->weight_nip != 0.0 || o->weight_csr != 0.0)
        check_diffusion(f, c);
}
