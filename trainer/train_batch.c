/* trainer/train_batch.c: see train_batch.h. */
#include "trainer/train_batch.h"

#include <string.h>

#include "core/rng.h"
#include "trainer/objective.h"

/* What keys the draws of one picture. */
struct picture_key {
    uint64_t seed, step, sequence, picture;
};

static struct rng draw(const struct picture_key *at, const char *purpose)
{
    struct rng_key k;
    struct rng r;
    rng_key_init(&k, at->seed, purpose);
    rng_key_integer(&k, at->step);
    rng_key_integer(&k, at->sequence);
    rng_key_integer(&k, at->picture);
    rng_init(&r, &k);
    return r;
}

static void fill_normal(float *out, int64_t n, const struct picture_key *at, const char *purpose)
{
    const struct rng r = draw(at, purpose);
    for (int64_t e = 0; e < n; e++)
        out[e] = (float)rng_normal_at(&r, (uint64_t)e);
}

static void *take(struct train_batch *b, int64_t n, size_t size, struct error *err)
{
    void *p = arena_alloc(&b->memory, n > 0 ? (size_t)n : 1, size);
    if (!p)
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: micro-batch");
    return p;
}

static const float *to_floats(struct train_batch *b, const uint8_t *from, int64_t n, float scale,
                              struct error *err)
{
    float *out = from ? take(b, n, sizeof *out, err) : NULL;
    for (int64_t i = 0; out && i < n; i++)
        out[i] = (float)from[i] / scale;
    return out;
}

/* Timesteps, noises and drops of every picture. */
static void make_draws(struct train_batch *b, const struct batch *from, int64_t k,
                       const struct recipe *r, uint64_t seed, struct error *err)
{
    static const char *const eps_of[2] = { "T3", "T4" }, *const vae_of[2] = { "T5", "T6" };
    const int64_t n = 4 * k * k;
    int32_t *t[2], *drop = take(b, from->I, sizeof *drop, err);
    float *eps[2], *vae[2];
    for (int l = 0; l < 2; l++) {
        t[l] = take(b, from->I, sizeof *t[l], err);
        eps[l] = take(b, from->I * n, sizeof(float), err);
        vae[l] = take(b, from->I * n, sizeof(float), err);
        if (!t[l] || !eps[l] || !vae[l] || !drop)
            return;
    }
    for (int64_t i = 0; i < from->I; i++) {
        const struct picture_key at = { seed, from->step, from->rows[from->images[i].row].position,
                                        (uint64_t)from->images[i].slot };
        struct rng nip = draw(&at, "T1"), csr = draw(&at, "T2"), uncond = draw(&at, "D10");
        t[DEEM_NIP][i] = (int32_t)rng_below(&nip, 1000);
        t[DEEM_CSR][i] = (int32_t)rng_below(&csr, 1000);
        if (r->csr_t == CSR_REMAP)
            t[DEEM_CSR][i] = objective_csr_timestep(t[DEEM_CSR][i]);
        drop[i] = rng_bernoulli(&uncond, r->uncond_prob);
        for (int l = 0; l < 2; l++) {
            fill_normal(eps[l] + i * n, n, &at, eps_of[l]);
            fill_normal(vae[l] + i * n, n, &at, vae_of[l]);
        }
    }
    for (int l = 0; l < 2; l++) {
        b->b.t[l] = t[l];
        b->b.eps[l] = eps[l];
        b->b.vae_eps[l] = vae[l];
    }
    b->b.drop = drop;
}

static void make_targets(struct train_batch *b, const struct batch *from, struct error *err)
{
    int32_t *out = NULL;
    b->b.targets = from->targets;
    if (!from->gt_text_ids)
        return;
    out = take(b, from->B * (from->L - 1), sizeof *out, err);
    if (out)
        layout_given_targets(out, from->gt_text_ids, from->B, from->L);
    b->b.targets = out;
}

enum status train_batch_make(struct train_batch *out, const struct batch *from,
                             const struct deem_config *c, const struct recipe *r, uint64_t seed,
                             struct error *err)
{
    const bool diffusion = r->stage != STAGE_3 && (r->loss_img > 0 || r->loss_sniffer > 0);
    const int64_t side = from->R * from->R;
    struct error own = { 0 };

    *out = (struct train_batch){ 0 };
    arena_init(&out->memory, 0);
    out->text = (struct layout_batch){ .ids = c->ids,
                                       .B = from->B,
                                       .L = from->L,
                                       .image_tokens = c->queries,
                                       .vocab = c->vocab,
                                       .text_ids = from->text_ids,
                                       .mask = from->attention_mask,
                                       .images_per_row = from->num_image_per_seq,
                                       .nearest_bos = from->nearest_bos_idxs };
    if (layout_open(&out->layout, &out->text, err) != ST_OK)
        return ST_FAIL;
    out->b.text = &out->text;
    out->b.layout = out->layout;
    make_targets(out, from, &own);
    out->b.image = to_floats(out, from->image, from->I * 3 * side, 255.0f, &own);
    out->b.mask = to_floats(out, from->mask, from->I * side, 1.0f, &own);
    if (diffusion) {
        out->b.image_dec =
            to_floats(out, from->image_dec, from->I * 3 * from->Rd * from->Rd, 255.0f, &own);
        make_draws(out, from, deem_latent_side(c), r, seed, &own);
    }
    for (int64_t i = 0; i < from->B; i++)
        out->tokens += from->rows[i].length;
    out->pictures = from->I;
    if (own.cause != CAUSE_NONE)
        return error_set(err, ST_FAIL, own.cause, "%s", own.text);
    return ST_OK;
}

void train_batch_clear(struct train_batch *b)
{
    layout_close(&b->layout);
    arena_clear(&b->memory);
}

static int64_t round_up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

void train_batch_shape(struct deem_shape *out, const struct train_batch *b, int64_t passes)
{
    micro_batch_shape(out, b->layout, passes);
    const int64_t pictures = round_up(out->I, 8), context = round_up(out->context, 128);
    out->I = pictures;
    out->context = context < out->L ? context : out->L;
    out->pairs = round_up(out->pairs, out->B * out->L * 4);
}
