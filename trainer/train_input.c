/* trainer/train_input.c: see train_input.h. */
#include "trainer/train_input.h"

#include <string.h>

#include "core/mem.h"
#include "core/rng.h"
#include "trainer/draws.h"
#include "trainer/objective.h"

enum { LATENT_CHANNELS = 4 };

void train_input_init(struct train_input *f)
{
    *f = (struct train_input){ 0 };
}

static void free_pictures(struct train_input *f)
{
    mem_free(f->image);
    mem_free(f->image_dec);
    mem_free(f->mask);
    mem_free(f->drop);
    mem_free(f->keys);
    for (int loss = 0; loss < 2; loss++) {
        mem_free(f->eps[loss]);
        mem_free(f->vae_eps[loss]);
        mem_free(f->t[loss]);
    }
    const struct layout_batch text = f->text;
    struct layout *layout = f->layout;
    *f = (struct train_input){ .text = text, .layout = layout };
}

void train_input_clear(struct train_input *f)
{
    layout_close(&f->layout);
    free_pictures(f);
    train_input_init(f);
}

/* Room for the pictures of `b`; grows only. */
static enum status reserve(struct train_input *f, const struct batch *b, struct error *err)
{
    const size_t n = (size_t)b->I_padded + 1, R = (size_t)b->R, Rd = (size_t)b->Rd, k = Rd / 8;
    bool good = true;

    if (b->I_padded <= f->cap_pictures)
        return ST_OK;
    free_pictures(f);
    f->image = mem_calloc(n, 3 * R * R * sizeof *f->image);
    f->mask = mem_calloc(n, R * R * sizeof *f->mask);
    f->drop = mem_calloc(n, sizeof *f->drop);
    f->keys = mem_calloc(n, sizeof *f->keys);
    if (Rd > 0)
        f->image_dec = mem_calloc(n, 3 * Rd * Rd * sizeof *f->image_dec);
    good = f->image && f->mask && f->drop && f->keys && (Rd == 0 || f->image_dec);
    for (int loss = 0; loss < 2; loss++) {
        f->eps[loss] = mem_calloc(n, (LATENT_CHANNELS * k * k + 1) * sizeof *f->eps[loss]);
        f->vae_eps[loss] = mem_calloc(n, (LATENT_CHANNELS * k * k + 1) * sizeof *f->vae_eps[loss]);
        f->t[loss] = mem_calloc(n, sizeof *f->t[loss]);
        good = good && f->eps[loss] && f->vae_eps[loss] && f->t[loss];
    }
    if (!good)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: a micro-batch of %lld pictures",
                         (long long)b->I_padded);
    f->cap_pictures = b->I_padded;
    return ST_OK;
}

static void to_unit(float *out, const uint8_t *in, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (float)in[i] / 255.0f;
}

static void draw_normal(float *out, size_t count, const struct draw_key *at, const char *purpose)
{
    struct rng r;
    draw_open(&r, at, purpose, NULL);
    for (size_t e = 0; e < count; e++)
        out[e] = (float)rng_normal_at(&r, e);
}

/* The draws of picture i. */
static void draw_picture(struct train_input *f, int64_t i, const struct draw_key *at, size_t latent,
                         const struct recipe *recipe)
{
    static const char *const timestep[2] = { [DEEM_NIP] = "T1", [DEEM_CSR] = "T2" };
    static const char *const noise[2] = { [DEEM_NIP] = "T3", [DEEM_CSR] = "T4" };
    static const char *const posterior[2] = { [DEEM_NIP] = "T5", [DEEM_CSR] = "T6" };

    struct rng r;
    for (int loss = 0; loss < 2; loss++) {
        draw_open(&r, at, timestep[loss], NULL);
        const int32_t t = (int32_t)rng_below(&r, 1000);
        const bool remap = loss == DEEM_CSR && recipe->csr_t == CSR_REMAP;
        f->t[loss][i] = remap ? objective_csr_timestep(t) : t;
        draw_normal(f->eps[loss] + (size_t)i * latent, latent, at, noise[loss]);
        draw_normal(f->vae_eps[loss] + (size_t)i * latent, latent, at, posterior[loss]);
    }
    draw_open(&r, at, "D10", NULL);
    f->drop[i] = rng_bernoulli(&r, recipe->uncond_prob);
}

enum status train_input_fill(struct train_input *f, const struct batch *b, const struct recipe *r,
                             const struct deem_config *config, struct error *err)
{
    const size_t R = (size_t)b->R, Rd = (size_t)b->Rd;
    const size_t latent = LATENT_CHANNELS * (Rd / 8) * (Rd / 8), I = (size_t)b->I;

    layout_close(&f->layout);
    f->text = (struct layout_batch){
        .ids = config->ids,
        .B = b->B,
        .L = b->L,
        .image_tokens = config->queries,
        .vocab = config->vocab,
        .text_ids = b->text_ids,
        .mask = b->attention_mask,
        .images_per_row = b->num_image_per_seq,
        .nearest_bos = b->nearest_bos_idxs,
    };
    if (layout_open(&f->layout, &f->text, err) != ST_OK || reserve(f, b, err) != ST_OK)
        return ST_FAIL;
    to_unit(f->image, b->image, I * 3 * R * R);
    if (b->image_dec)
        to_unit(f->image_dec, b->image_dec, I * 3 * Rd * Rd);
    for (size_t i = 0; b->mask && i < I * R * R; i++)
        f->mask[i] = (float)b->mask[i];
    for (int64_t i = 0; i < b->I; i++) {
        const struct batch_image *image = &b->images[i];
        f->keys[i] = (struct draw_key){ (uint64_t)r->seed, b->step, b->rows[image->row].position,
                                        (uint64_t)image->slot };
        if (latent > 0)
            draw_picture(f, i, &f->keys[i], latent, r);
    }
    f->batch = (struct micro_batch){
        .text = &f->text,
        .layout = f->layout,
        .targets = b->targets,
        .image = f->image,
        .image_dec = b->image_dec ? f->image_dec : NULL,
        .mask = b->mask ? f->mask : NULL,
        .t = { f->t[0], f->t[1] },
        .eps = { f->eps[0], f->eps[1] },
        .vae_eps = { f->vae_eps[0], f->vae_eps[1] },
        .drop = f->drop,
        .keys = f->keys,
    };
    return ST_OK;
}
