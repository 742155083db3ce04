/* trainer/train_pictures.c: what the diffusion model makes of the pictures of a micro-batch, for people: each
 * sampled from noise under the conditions that its losses train, beside the picture itself. CSR: the
 * picture's own tokens and features (spec model.md 6.3, reconstruction). NIP: what stands before it.
 * Programs and memory live for the call; nothing that trains is touched. */
#include <math.h>
#include <string.h>

#include "core/image.h"
#include "trainer/sampler.h"
#include "trainer/train_private.h"

enum { SHOWN_MAX = 4, SAMPLE_STEPS = 25 };
static const double guidance = 3.5;

/* One picture to make. */
struct wanted {
    enum deem_loss loss;
    int64_t image;
};

struct studio {
    struct train *t;
    struct deem *m; /* evaluation of the micro-batch */
    struct runner *r;
    struct sampler *sampler;
    struct runner *unet, *decoder;
    struct wanted list[2 * SHOWN_MAX];
    int64_t n;
    float *conditions, *picture, *z; /* [n,Q,F], [n,Rd,Rd,3], [n,k,k,4] */
    const float *features[2 * SHOWN_MAX];
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sample pictures");
}

/* The first pictures that the losses count. */
static void choose(struct studio *s)
{
    const struct layout *l = s->t->input.layout;
    const double weights[2] = {
        [DEEM_NIP] = s->t->losses.weight_nip, [DEEM_CSR] = s->t->losses.weight_csr
    };
    for (int loss = 0; loss < 2; loss++) {
        int64_t shown = 0;
        for (int64_t i = 0; weights[loss] != 0.0 && i < l->I && shown < SHOWN_MAX; i++)
            if (loss == DEEM_CSR || l->images[i].counts) {
                s->list[s->n++] = (struct wanted){ (enum deem_loss)loss, i };
                shown++;
            }
    }
}

static enum status evaluate(struct studio *s, struct error *err)
{
    struct train *t = s->t;
    struct deem_options options = t->losses;
    struct deem_shape shape;
    options.evaluation = true;
    micro_batch_shape(&shape, t->input.layout, 1);
    shape.wanted = 1;
    enum status st = deem_open(&s->m, &t->config, &shape, &options, t->params, err);
    if (st == ST_OK)
        st = runner_open(&s->r, s->m->p, t->where, err);
    if (st == ST_OK)
        st = micro_batch_fill_evaluation(s->m, s->r, &t->input.batch, err);
    return st == ST_OK ? runner_run(s->r, 0, s->m->p->n_nodes, err) : st;
}

static enum status open_sampler(struct studio *s, struct error *err)
{
    struct train *t = s->t;
    const int64_t k = deem_latent_side(&t->config), Rd = t->config.decode_side;
    const size_t one = (size_t)(t->config.queries * t->config.tokenizer.diffusion_width);
    const size_t n = (size_t)s->n;
    s->conditions = mem_alloc(n * one * sizeof *s->conditions);
    s->picture = mem_alloc(n * (size_t)(3 * Rd * Rd) * sizeof *s->picture);
    s->z = mem_alloc(n * (size_t)(VAE_LATENT * k * k) * sizeof *s->z);
    enum status st = s->conditions && s->picture && s->z ? ST_OK : no_memory(err);
    if (st == ST_OK)
        st = sampler_open(&s->sampler, &t->config, s->n, t->params, err);
    if (st == ST_OK)
        st = runner_open(&s->unet, s->sampler->p, t->where, err);
    return st == ST_OK ? runner_open(&s->decoder, s->sampler->decode, t->where, err) : st;
}

static enum status fill_sampler(struct studio *s, struct error *err)
{
    const struct deem_config *c = &s->t->config;
    const struct param *negative = params_find(s->t->params, "image_decoder.neg_prompt_embeds");
    const size_t one = (size_t)(c->queries * c->tokenizer.diffusion_width);
    const size_t rows = (size_t)(deem_feature_rows(c) * c->tokenizer.width);
    const float *features = runner_data(s->r, s->m->features);
    if (!negative)
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "no neg_prompt_embeds");
    for (int64_t g = 0; g < s->n; g++) {
        const struct wanted *w = &s->list[g];
        const bool csr = w->loss == DEEM_CSR;
        const int64_t looks = csr ? w->image : s->t->input.layout->images[w->image].previous;
        const float *from = runner_data(s->r, csr ? s->m->dif_embed : s->m->ctx);
        memcpy(s->conditions + (size_t)g * one, from + (size_t)w->image * one, one * sizeof *from);
        s->features[g] = looks >= 0 ? features + (size_t)looks * rows : NULL;
    }
    const struct sampler_inputs in = { s->conditions, negative->value, s->features };
    sampler_fill(s->sampler, c, s->unet, &in);
    return ST_OK;
}

/* Noise by the run's seed, the optimizer step, the sampler's: the same picture of a training set looks
 * alike whatever else is shown. */
static void draw(const struct studio *s, uint64_t step, float *out)
{
    const int64_t k = deem_latent_side(&s->t->config), one = VAE_LATENT * k * k;
    for (int64_t g = 0; g < s->n; g++) {
        struct rng_key key;
        struct rng r;
        rng_key_init(&key, (uint64_t)s->t->recipe->seed, "G4");
        rng_key_integer(&key, (uint64_t)s->t->step);
        rng_key_integer(&key, (uint64_t)s->list[g].loss);
        rng_key_integer(&key, (uint64_t)s->list[g].image);
        rng_key_integer(&key, step);
        rng_init(&r, &key);
        for (int64_t e = 0; e < one; e++)
            out[g * one + e] = (float)rng_normal_at(&r, (uint64_t)e);
    }
}

static enum status draw_step(void *arg, int64_t i, float *out, struct error *err)
{
    (void)err;
    draw(arg, (uint64_t)i + 1, out);
    return ST_OK;
}

static enum status sample(struct studio *s, struct error *err)
{
    const struct sampler_draws draws = { draw_step, NULL, s };
    struct ddpm_sampler *d = mem_calloc(1, sizeof *d);
    enum status st = d ? ddpm_sampler_init(d, SAMPLE_STEPS, guidance, err) : no_memory(err);
    if (st == ST_OK) {
        draw(s, 0, s->z);
        st = sampler_run(s->sampler, s->unet, d, &draws, s->z, err);
    }
    if (st == ST_OK)
        st = sampler_decode(s->sampler, &s->t->config, s->decoder, s->z, s->picture, err);
    mem_free(d);
    return st;
}

static uint8_t byte_of(float v)
{
    return (uint8_t)lrintf(255.0f * (v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v));
}

/* The picture above, what was made of it below. */
static void put_column(const struct studio *s, struct image *to, int64_t g, uint32_t column)
{
    const size_t side = (size_t)s->t->config.decode_side, pixels = side * side;
    const float *original = s->t->input.image_dec + (size_t)s->list[g].image * 3 * pixels;
    const float *made = s->picture + (size_t)g * 3 * pixels;
    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < 3; c++) {
            const size_t x = column * side + p % side, y = p / side;
            to->rgb[3 * (y * to->width + x) + c] = byte_of(original[c * pixels + p]);
            to->rgb[3 * ((y + side) * to->width + x) + c] = byte_of(made[3 * p + c]);
        }
}

static enum status show(struct studio *s, enum deem_loss loss, const char *tag, struct error *err)
{
    const uint32_t side = (uint32_t)s->t->config.decode_side;
    struct buffer png;
    struct image img = { .height = 2 * side };
    uint32_t column = 0;
    for (int64_t g = 0; g < s->n; g++)
        img.width += s->list[g].loss == loss ? side : 0;
    if (img.width == 0)
        return ST_OK;
    buffer_init(&png);
    img.rgb = mem_alloc((size_t)img.width * img.height * 3);
    for (int64_t g = 0; img.rgb && g < s->n; g++)
        if (s->list[g].loss == loss)
            put_column(s, &img, g, column++);
    enum status st = img.rgb ? image_encode_png(&png, &img, err) : no_memory(err);
    if (st == ST_OK)
        st = metrics_picture(s->t->metrics, s->t->step, tag, (int)img.width, (int)img.height,
                             png.data, png.size, err);
    image_clear(&img);
    buffer_clear(&png);
    return st;
}

enum status train_pictures(struct train *t, struct error *err)
{
    struct studio s = { .t = t };
    choose(&s);
    if (s.n == 0)
        return ST_OK;
    enum status st = evaluate(&s, err);
    if (st == ST_OK)
        st = open_sampler(&s, err);
    if (st == ST_OK)
        st = fill_sampler(&s, err);
    if (st == ST_OK)
        st = sample(&s, err);
    if (st == ST_OK)
        st = show(&s, DEEM_NIP, "pictures/nip", err);
    if (st == ST_OK)
        st = show(&s, DEEM_CSR, "pictures/csr", err);
    runner_close(&s.unet);
    runner_close(&s.decoder);
    sampler_close(&s.sampler);
    runner_close(&s.r);
    deem_close(&s.m);
    mem_free(s.conditions);
    mem_free(s.picture);
    mem_free(s.z);
    return st;
}
