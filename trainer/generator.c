/* trainer/generator.c: see generator.h. */
#include "trainer/generator.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/resample.h"
#include "core/rng.h"
#include "trainer/checkpoint.h"
#include "trainer/continuation.h"
#include "trainer/params.h"
#include "trainer/sampler.h"
#include "trainer/setup.h"

struct generator {
    struct checkpoint *checkpoint;
    struct recipe *recipe;
    struct deem_config config;
    struct params *params;
    struct placement *where;
    struct sampler *sampler; /* for one picture; NULL until the first, and in stage III */
    struct runner *unet, *decoder;
    struct buffer ids;             /* int32_t */
    struct buffer pictures, masks; /* float [n,3,R,R] in [0,1], [n,R,R] */
    int64_t n_pictures;
    bool regions; /* some picture is seen through a region */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: generation");
}

/* The checkpoint that `given` means. */
static enum status find_checkpoint(char **path, const char *given, struct error *err)
{
    *path = NULL;
    if (!file_exists(given))
        return error_set(err, ST_FAIL, CAUSE_IO, "%s: no such checkpoint", given);
    if (checkpoint_is(given)) {
        *path = str_format("%s", given);
        return *path ? ST_OK : no_memory(err);
    }
    char *folder = path_join(given, "checkpoints");
    if (!folder)
        return no_memory(err);
    enum status st = checkpoint_find(path, folder, err);
    if (st == ST_END)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT,
                       "%s: neither a checkpoint nor a run that holds a complete one", given);
    mem_free(folder);
    return st;
}

static enum status read_recipe(struct generator *g, struct error *err)
{
    char *path = path_join(g->checkpoint->path, "recipe.yaml");
    enum status st = path ? recipe_open(&g->recipe, path, NULL, 0, err) : no_memory(err);
    mem_free(path);
    if (st == ST_FAIL && err && err->cause == CAUSE_ARG)
        err->cause = CAUSE_FORMAT; /* not the user's words, the file's */
    return st;
}

static enum status read_model(struct generator *g, const struct placement_options *place,
                              struct error *err)
{
    setup_model(&g->config, g->recipe);
    g->config.trunk.drop_path = 0.0;
    enum status st = params_open(&g->params, NULL, NULL, err);
    if (st == ST_OK)
        st = placement_open(&g->where, g->params, place, err);
    if (st == ST_OK)
        st = setup_declare(g->params, &g->config, g->recipe, err);
    if (st == ST_OK && generator_paints(g))
        st = sampler_open(&g->sampler, &g->config, 1, g->params, err);
    if (st == ST_OK)
        st = params_allocate(g->params, err);
    if (st == ST_OK)
        st = placement_allocate(g->where, err);
    if (st == ST_OK)
        st = checkpoint_load_values(g->checkpoint, g->params, err);
    return st == ST_OK ? placement_upload(g->where, err) : st;
}

enum status generator_open(struct generator **out, const char *path,
                           const struct placement_options *place, struct error *err)
{
    struct generator *g = mem_calloc(1, sizeof *g);
    char *folder = NULL;
    *out = NULL;
    if (!g)
        return no_memory(err);
    enum status st = find_checkpoint(&folder, path, err);
    if (st == ST_OK)
        st = checkpoint_open(&g->checkpoint, folder, err);
    if (st == ST_OK)
        st = read_recipe(g, err);
    if (st == ST_OK)
        st = read_model(g, place, err);
    mem_free(folder);
    if (st != ST_OK)
        generator_close(&g);
    *out = g;
    return st;
}

void generator_close(struct generator **gp)
{
    struct generator *g = *gp;
    if (!g)
        return;
    runner_close(&g->unet);
    runner_close(&g->decoder);
    sampler_close(&g->sampler);
    placement_close(&g->where);
    params_close(&g->params);
    recipe_close(&g->recipe);
    checkpoint_close(&g->checkpoint);
    buffer_clear(&g->ids);
    buffer_clear(&g->pictures);
    buffer_clear(&g->masks);
    mem_free(g);
    *gp = NULL;
}

const char *generator_path(const struct generator *g)
{
    return g->checkpoint->path;
}

int64_t generator_step(const struct generator *g)
{
    return g->checkpoint->step;
}

const struct recipe *generator_recipe(const struct generator *g)
{
    return g->recipe;
}

const struct deem_config *generator_config(const struct generator *g)
{
    return &g->config;
}

int64_t generator_length(const struct generator *g)
{
    return (int64_t)(g->ids.size / sizeof(int32_t));
}

const int32_t *generator_ids(const struct generator *g)
{
    return (const int32_t *)(const void *)g->ids.data;
}

bool generator_fits_picture(const struct generator *g)
{
    return generator_length(g) + g->config.queries + 1 <= g->recipe->seq_len;
}

bool generator_paints(const struct generator *g)
{
    return g->recipe->stage != STAGE_3;
}

enum status generator_add_ids(struct generator *g, const int32_t *ids, int64_t n, struct error *err)
{
    return n > 0 ? buffer_append(&g->ids, ids, (size_t)n * sizeof *ids, err) : ST_OK;
}

static enum status add_slot(struct generator *g, struct error *err)
{
    enum status st = generator_add_ids(g, &g->config.ids.soi, 1, err);
    for (int64_t q = 0; q < g->config.queries && st == ST_OK; q++)
        st = generator_add_ids(g, &g->config.ids.image, 1, err);
    g->n_pictures += st == ST_OK;
    return st;
}

/* `count` numbers of value v / 255 behind the others; v NULL: of value `fill`. */
static enum status add_floats(struct buffer *to, const uint8_t *v, size_t count, float unit,
                              float fill, struct error *err)
{
    if (buffer_reserve(to, count * sizeof(float), err) != ST_OK)
        return ST_FAIL;
    float *at = (float *)(void *)(to->data + to->size);
    for (size_t i = 0; i < count; i++)
        at[i] = v ? (float)v[i] * unit : fill;
    to->size += count * sizeof(float);
    return ST_OK;
}

enum status generator_add_picture(struct generator *g, const uint8_t *rgb, const uint8_t *region,
                                  struct error *err)
{
    const size_t pixels = (size_t)(g->config.tokenizer.side * g->config.tokenizer.side);
    enum status st = add_floats(&g->pictures, rgb, 3 * pixels, 1.0f / 255.0f, 0.5f, err);
    if (st == ST_OK)
        st = add_floats(&g->masks, region, pixels, 1.0f, 1.0f, err);
    g->regions = g->regions || region;
    return st == ST_OK ? add_slot(g, err) : st;
}

/* The prompt as one row, all of it real. */
struct row {
    struct layout_batch text;
    int32_t *mask;
    int32_t pictures;
};

static enum status make_row(struct row *r, const struct generator *g, struct error *err)
{
    const int64_t L = generator_length(g);
    const int32_t *ids = generator_ids(g);
    *r = (struct row){ .pictures = (int32_t)g->n_pictures };
    if (L < 1 || ids[0] != g->config.ids.bos)
        return error_set(err, ST_FAIL, CAUSE_ARG, "prompt: does not begin with bos");
    r->mask = mem_alloc((size_t)L * sizeof *r->mask);
    if (!r->mask)
        return no_memory(err);
    for (int64_t i = 0; i < L; i++)
        r->mask[i] = 1;
    r->text = (struct layout_batch){
        .ids = g->config.ids,
        .B = 1,
        .L = L,
        .image_tokens = g->config.queries,
        .vocab = g->config.vocab,
        .text_ids = ids,
        .mask = r->mask,
        .images_per_row = &r->pictures,
        .context_from_zero = true,
    };
    return ST_OK;
}

static enum status open_continuation(struct continuation **k, const struct generator *g,
                                     const struct row *row, int64_t beams, int64_t more,
                                     bool contexts, struct error *err)
{
    const bool regions = g->regions || g->recipe->stage == STAGE_3;
    const struct deem_options options = { .evaluation = true,
                                          .weight_ntp = 1.0,
                                          .weight_nip = contexts ? 1.0 : 0.0,
                                          .region_masks = regions };
    const struct continuation_prompt prompt = { &row->text,
                                                (const float *)(const void *)g->pictures.data,
                                                regions ? (const float *)(const void *)g->masks.data
                                                        : NULL };
    return continuation_open(k, &g->config, &options, g->params, &prompt, beams, more, g->where,
                             err);
}

enum status generator_text(struct generator *g, const struct generate_settings *settings,
                           struct generated *out, struct error *err)
{
    struct generate_settings s = *settings;
    struct continuation *k = NULL;
    struct row row;
    const int64_t room = g->recipe->seq_len - generator_length(g);

    *out = (struct generated){ 0 };
    if (room < 1)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "prompt: %" PRId64 " tokens leave no room within seq_len %" PRId64,
                         generator_length(g), g->recipe->seq_len);
    s.bos = g->config.ids.bos;
    s.pad = g->config.ids.pad;
    s.stops[0] = g->config.ids.eos;
    s.stops[1] = g->config.ids.soi;
    s.n_stops = 2;
    s.max_new_tokens = s.max_new_tokens < room ? s.max_new_tokens : room;
    if (make_row(&row, g, err) != ST_OK)
        return ST_FAIL;
    enum status st = open_continuation(&k, g, &row, s.beams, s.max_new_tokens, false, err);
    if (st == ST_OK)
        st = generate_run(out, 1, g->config.vocab, &s, continuation_logits, k, err);
    continuation_close(&k);
    mem_free(row.mask);
    return st == ST_OK ? generator_add_ids(g, out->ids + 1, out->counts[0], err) : st;
}

/* Where the sampler gets its noise from. */
struct noise {
    const struct generator *g;
    uint64_t seed, picture;
    int64_t k;
};

static void draw(const struct noise *n, const char *purpose, const uint64_t *step, float *out)
{
    const int64_t pixels = n->k * n->k;
    struct rng_key key;
    struct rng r;
    rng_key_init(&key, n->seed, purpose);
    rng_key_integer(&key, n->picture);
    if (step)
        rng_key_integer(&key, *step);
    rng_init(&r, &key);
    for (int64_t c = 0; c < VAE_LATENT; c++)
        for (int64_t i = 0; i < pixels; i++)
            out[i * VAE_LATENT + c] = (float)rng_normal_at(&r, (uint64_t)(c * pixels + i));
}

static enum status draw_step(void *arg, int64_t i, float *out, struct error *err)
{
    const uint64_t step = (uint64_t)i;
    (void)err;
    draw(arg, "G3", &step, out);
    return ST_OK;
}

/* Condition and features of the last picture's place in the prompt, for the UNet. */
static enum status fill_sampler(struct generator *g, struct error *err)
{
    const struct param *negative = params_find(g->params, "image_decoder.neg_prompt_embeds");
    const int64_t last = g->n_pictures - 1;
    struct continuation *k = NULL;
    struct row row;

    if (!negative)
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "no neg_prompt_embeds");
    enum status st = make_row(&row, g, err);
    if (st == ST_OK)
        st = open_continuation(&k, g, &row, 1, 0, true, err);
    if (st == ST_OK)
        st = continuation_run(k, err);
    if (st == ST_OK) {
        const int64_t previous = continuation_previous(k, last);
        const float *looks = previous >= 0 ? continuation_features(k, previous) : NULL;
        const struct sampler_inputs in = { continuation_context(k, last), negative->value, &looks };
        sampler_fill(g->sampler, &g->config, g->unet, &in);
    }
    continuation_close(&k);
    mem_free(row.mask);
    return st;
}

static enum status run_sampler(struct generator *g, const struct generator_painting *s,
                               float *picture, struct error *err)
{
    const int64_t k = deem_latent_side(&g->config);
    struct noise noise = { g, s->seed, (uint64_t)(g->n_pictures - 1), k };
    const struct sampler_draws draws = { draw_step, NULL, &noise };
    struct ddpm_sampler *d = mem_calloc(1, sizeof *d);
    float *z = mem_calloc((size_t)(VAE_LATENT * k * k), sizeof *z);

    enum status st = d && z ? ddpm_sampler_init(d, s->steps, s->guidance, err) : no_memory(err);
    if (st == ST_OK) {
        draw(&noise, "G2", NULL, z);
        st = sampler_run(g->sampler, g->unet, d, &draws, z, err);
    }
    if (st == ST_OK)
        st = sampler_decode(g->sampler, &g->config, g->decoder, z, picture, err);
    mem_free(d);
    mem_free(z);
    return st;
}

/* The placeholder of the last picture becomes the one that was made. */
static enum status replace_placeholder(struct generator *g, const struct image *made,
                                       struct error *err)
{
    const uint32_t R = (uint32_t)g->config.tokenizer.side;
    const size_t count = 3 * (size_t)R * R;
    uint8_t *rgb = mem_alloc(count);
    if (!rgb)
        return no_memory(err);
    const struct resample_target target = { rgb, R };
    enum status st = resample_tensors(&target, 1, RESAMPLE_SQUASH, made->rgb, made->width,
                                      made->height, RESAMPLE_BEST, err);
    if (st == ST_OK) {
        g->pictures.size -= count * sizeof(float);
        st = add_floats(&g->pictures, rgb, count, 1.0f / 255.0f, 0.0f, err);
    }
    mem_free(rgb);
    return st;
}

static enum status to_image(struct image *out, const float *picture, int64_t side,
                            struct error *err)
{
    const size_t count = (size_t)(3 * side * side);
    *out = (struct image){ mem_alloc(count), (uint32_t)side, (uint32_t)side };
    if (!out->rgb)
        return no_memory(err);
    for (size_t i = 0; i < count; i++)
        out->rgb[i] = (uint8_t)lrintf(picture[i] * 255.0f);
    return ST_OK;
}

enum status generator_paint(struct generator *g, const struct generator_painting *settings,
                            struct image *out, struct error *err)
{
    const int64_t side = g->config.decode_side;
    float *picture = NULL;

    *out = (struct image){ 0 };
    if (!g->sampler)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "%s: a model of stage III has no diffusion model to paint with",
                         generator_path(g));
    if (!generator_fits_picture(g))
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "prompt: %" PRId64
                         " tokens leave no room for a picture within seq_len %" PRId64,
                         generator_length(g), g->recipe->seq_len);
    enum status st = generator_add_picture(g, NULL, NULL, err);
    if (st == ST_OK && !g->unet)
        st = runner_open(&g->unet, g->sampler->p, g->where, err);
    if (st == ST_OK && !g->decoder)
        st = runner_open(&g->decoder, g->sampler->decode, g->where, err);
    if (st == ST_OK)
        st = fill_sampler(g, err);
    if (st == ST_OK) {
        picture = mem_alloc((size_t)(3 * side * side) * sizeof *picture);
        st = picture ? run_sampler(g, settings, picture, err) : no_memory(err);
    }
    if (st == ST_OK)
        st = to_image(out, picture, side, err);
    if (st == ST_OK)
        st = replace_placeholder(g, out, err);
    mem_free(picture);
    if (st != ST_OK)
        image_clear(out);
    return st;
}
