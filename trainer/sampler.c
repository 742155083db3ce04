/* trainer/sampler.c: see sampler.h. */
#include "trainer/sampler.h"

#include <string.h>

#include "trainer/nn_picture.h"
#include "trainer/op.h"

static void write_unet(struct sampler *s, const struct deem_config *c)
{
    struct program *p = s->p;
    const int64_t U = 2 * s->G, next = U + 1, k = deem_latent_side(c);
    struct mmfsnet_config net_config = c->side_net;
    for (int l = 0; l < VISTOK_LEVELS; l++)
        net_config.sides[l] = vistok_side(&c->tokenizer, l);
    net_config.levels = VISTOK_LEVELS;
    s->latent = program_batch(p, "latent", ROLE_EXACT, (int64_t[]){ U, k, k, VAE_LATENT }, 4);
    s->t = program_batch(p, "t", ROLE_INDEX, &U, 1);
    s->condition = program_batch(p, "condition", ROLE_STORAGE,
                                 (int64_t[]){ U, c->queries, c->tokenizer.diffusion_width }, 3);
    s->features = program_batch(p, "features", ROLE_STORAGE,
                                (int64_t[]){ s->G, deem_feature_rows(c), c->tokenizer.width }, 3);
    s->begin = program_batch(p, "begin", ROLE_INDEX, &next, 1);
    s->image = program_batch(p, "image", ROLE_INDEX, &U, 1);
    s->rank = program_batch(p, "rank", ROLE_INDEX, &U, 1);
    const struct mmfsnet_inputs in = {
        .features = s->features, .begin = s->begin, .image = s->image, .rank = s->rank
    };
    struct mmfsnet net;
    mmfsnet_begin(&net, p, &net_config, "visual_tokenizer.encoder.mmfs_module.", &in);
    s->eps = program_keep(p, nn_unet(p, &c->unet, "visual_tokenizer.encoder.unet.", s->latent, s->t,
                                     s->condition, &net, NULL));
}

static void write_decoder(struct sampler *s, const struct deem_config *c)
{
    struct program *p = s->decode;
    const int64_t k = deem_latent_side(c);
    s->z = program_batch(p, "z", ROLE_EXACT, (int64_t[]){ s->G, k, k, VAE_LATENT }, 4);
    s->picture =
        program_keep(p, nn_vae_decode(p, &c->vae, "visual_tokenizer.encoder.vae.", s->z, NULL));
}

enum status sampler_open(struct sampler **out, const struct deem_config *config, int64_t G,
                         struct params *params, struct error *err)
{
    struct sampler *s = mem_calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sampler");
    s->G = G;
    if (program_open(&s->p, params, false, err) != ST_OK ||
        program_open(&s->decode, params, false, err) != ST_OK)
        goto fail;
    write_unet(s, config);
    write_decoder(s, config);
    if (program_finish(s->p, err) != ST_OK || program_finish(s->decode, err) != ST_OK)
        goto fail;
    *out = s;
    return ST_OK;
fail:
    sampler_close(&s);
    return ST_FAIL;
}

void sampler_close(struct sampler **s)
{
    if (!*s)
        return;
    program_close(&(*s)->p);
    program_close(&(*s)->decode);
    mem_free(*s);
    *s = NULL;
}

void sampler_fill(const struct sampler *s, const struct deem_config *c, struct runner *r,
                  const struct sampler_inputs *in)
{
    const size_t one = (size_t)(c->queries * c->tokenizer.diffusion_width);
    const size_t rows = (size_t)(deem_feature_rows(c) * c->tokenizer.width);
    float *condition = runner_data(r, s->condition), *features = runner_data(r, s->features);
    int32_t *begin = runner_data(r, s->begin), *image = runner_data(r, s->image);
    int32_t *rank = runner_data(r, s->rank);
    const size_t G = (size_t)s->G;
    for (size_t g = 0; g < G; g++) {
        memcpy(condition + g * one, in->unconditional, one * sizeof *condition);
        memcpy(condition + (G + g) * one, in->condition + g * one, one * sizeof *condition);
        if (in->features[g])
            memcpy(features + g * rows, in->features[g], rows * sizeof *features);
        else
            memset(features + g * rows, 0, rows * sizeof *features);
    }
    begin[0] = 0;
    for (size_t u = 0; u < 2 * G; u++) { /* both branches look at the same picture */
        const bool looks = in->features[u % G] != NULL;
        image[begin[u]] = (int32_t)(u % G);
        rank[begin[u]] = 1;
        begin[u + 1] = begin[u] + looks;
    }
    for (int t = 1; t < s->p->n_tensors; t++) {
        const int64_t side =
            s->p->tensors[t].place == PLACE_BATCH ? mmfsnet_points_side(s->p->tensors[t].name) : 0;
        if (side > 0)
            nn_pixel_centres(runner_data(r, t), side, side);
    }
}

enum status sampler_predict(const struct sampler *s, struct runner *r, const float *z, int32_t t,
                            float *uncond, float *cond, struct error *err)
{
    const size_t half = (size_t)(program_tensor(s->p, s->latent)->count / 2);
    float *latent = runner_data(r, s->latent);
    int32_t *times = runner_data(r, s->t);
    memcpy(latent, z, half * sizeof *z);
    memcpy(latent + half, z, half * sizeof *z);
    for (int64_t u = 0; u < 2 * s->G; u++)
        times[u] = t;
    if (runner_run(r, 0, s->p->n_nodes, err) != ST_OK)
        return ST_FAIL;
    const float *eps = runner_data(r, s->eps);
    memcpy(uncond, eps, half * sizeof *eps);
    memcpy(cond, eps + half, half * sizeof *eps);
    return ST_OK;
}

enum status sampler_run(const struct sampler *s, struct runner *r, const struct ddpm_sampler *d,
                        const struct sampler_draws *draws, float *z, struct error *err)
{
    const int64_t n = program_tensor(s->p, s->latent)->count / 2;
    float *memory = mem_alloc((size_t)(4 * n) * sizeof *memory);
    float *uncond = memory, *cond = memory + n, *guided = memory + 2 * n, *noise = memory + 3 * n;
    enum status st =
        memory ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sampler");
    for (int64_t i = 0; i < d->steps && st == ST_OK; i++) {
        st = sampler_predict(s, r, z, ddpm_sampler_timestep(d, i), uncond, cond, err);
        if (st == ST_OK)
            st = draws->noise(draws->arg, i, noise, err);
        if (st != ST_OK)
            break;
        ddpm_guide(guided, uncond, cond, n, d->guidance);
        st = ddpm_sampler_step(d, i, z, NULL, guided, noise, n, err);
        if (st == ST_OK && draws->seen)
            st = draws->seen(draws->arg, i, uncond, cond, guided, z, err);
    }
    mem_free(memory);
    return st;
}

enum status sampler_decode(const struct sampler *s, const struct deem_config *c, struct runner *r,
                           const float *z, float *picture, struct error *err)
{
    const int64_t n = program_tensor(s->decode, s->z)->count;
    const int64_t pixels = program_tensor(s->decode, s->picture)->count;
    float *latent = runner_data(r, s->z);
    for (int64_t i = 0; i < n; i++)
        latent[i] = z[i] / c->vae_scale;
    if (runner_run(r, 0, s->decode->n_nodes, err) != ST_OK)
        return ST_FAIL;
    const float *x = runner_data(r, s->picture);
    for (int64_t i = 0; i < pixels; i++) {
        const float v = x[i] / 2.0f + 0.5f;
        picture[i] = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
    }
    return ST_OK;
}
