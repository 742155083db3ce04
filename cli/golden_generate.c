/* cli/golden_generate.c: kind "generate": text by greedy and beam search, a picture by guided DDPM steps.
 * The network is run anew over the whole row for every token; what it costs does not matter here. */
#include <inttypes.h>
#include <string.h>

#include "cli/golden_model.h"
#include "trainer/continuation.h"
#include "trainer/sampler.h"

/* One of the two batches of the case. */
struct prompt {
    struct golden_batch batch;
    struct deem *m;
    struct runner *r;
};

struct gen_case {
    struct golden *g;
    struct deem_config c;
    struct deem_options o;
    struct params *params;
    struct prompt text, image;
};

static void close_prompt(struct prompt *p)
{
    runner_close(&p->r);
    deem_close(&p->m);
    golden_batch_clear(&p->batch);
}

static enum status open_deem(struct gen_case *s, struct deem **m, const struct deem_shape *shape,
                             struct error *err)
{
    struct error one = { 0 };
    if (deem_open(m, &s->c, shape, &s->o, s->params, &one) == ST_OK)
        return ST_OK;
    golden_problem(s->g, "%s", one.text);
    return golden_ready(s->g, err);
}

static enum status read_prompt(struct gen_case *s, const char *prefix, struct prompt *p,
                               struct error *err)
{
    struct deem_options plain = { 0 };
    if (golden_read_batch(s->g, &s->c, &plain, prefix, &p->batch, err) != ST_OK)
        return ST_FAIL;
    layout_close(&p->batch.layout); /* contexts start at 0 here: laid out again */
    p->batch.text.context_from_zero = true;
    if (layout_open(&p->batch.layout, &p->batch.text, err) != ST_OK)
        return ST_FAIL;
    p->batch.b.layout = p->batch.layout;
    return golden_ready(s->g, err);
}

/* Settings number i of case.json. */
static void read_settings(struct golden *g, const struct deem_config *c, int i,
                          struct generate_settings *s)
{
    const struct json_value *v = golden_value(g, "text_settings");
    v = v ? v->child : NULL;
    for (int k = 0; v && k < i; k++)
        v = v->next;
    const struct json_value *rho = v ? json_get(v, "repetition_penalty") : NULL;
    const struct json_value *lp = v ? json_get(v, "length_penalty") : NULL;
    *s = (struct generate_settings){
        .bos = c->ids.bos, .pad = c->ids.pad, .stops = { c->ids.eos, c->ids.soi }, .n_stops = 2
    };
    if (!v || !json_value_int64(json_get(v, "beams"), &s->beams) ||
        !json_value_int64(json_get(v, "max_new_tokens"), &s->max_new_tokens) ||
        !json_value_int64(json_get(v, "min_length"), &s->min_length) || !rho || !lp ||
        rho->type != JSON_T_NUMBER || lp->type != JSON_T_NUMBER || s->beams < 1 || s->beams > 64 ||
        s->max_new_tokens < 1 || s->max_new_tokens > 4096) {
        golden_problem(g, "case.json: text_settings[%d]: missing or out of range", i);
        return;
    }
    s->repetition_penalty = rho->number;
    s->length_penalty = lp->number;
}

static enum status run_text(struct gen_case *s, int i, struct error *err)
{
    struct generate_settings set;
    struct generated made = { 0 };
    char name[64];
    read_settings(s->g, &s->c, i, &set);
    if (golden_ready(s->g, err) != ST_OK)
        return ST_FAIL;
    const struct continuation_prompt prompt = { &s->text.batch.text, s->text.batch.b.image, NULL };
    struct continuation *k = NULL;
    enum status st = continuation_open(&k, &s->c, &s->o, s->params, &prompt, set.beams,
                                       set.max_new_tokens, s->g->where, err);
    if (st == ST_OK)
        st = generate_run(&made, s->text.batch.text.B, s->c.vocab, &set, continuation_logits, k,
                          err);
    if (st == ST_OK) {
        snprintf(name, sizeof name, "text.%d.ids", i);
        golden_put_ids(s->g, name, made.ids, made.B * made.length);
        snprintf(name, sizeof name, "text.%d.score", i);
        if (made.scores)
            golden_put(s->g, name, made.scores, made.B);
    }
    generated_clear(&made);
    continuation_close(&k);
    return st;
}

/* A prompt as it is: logits at the last position, positions. */
static enum status run_prompt(struct gen_case *s, struct prompt *p, struct error *err)
{
    if (micro_batch_fill_evaluation(p->m, p->r, &p->batch.b, err) != ST_OK)
        return ST_FAIL;
    int32_t *wanted = runner_data(p->r, p->m->wanted);
    for (int64_t b = 0; b < p->batch.text.B; b++)
        wanted[b] = (int32_t)((b + 1) * p->batch.text.L - 1);
    (void)s;
    return runner_run(p->r, 0, p->m->p->n_nodes, err);
}

static enum status run_all_text(struct gen_case *s, struct error *err)
{
    const struct prompt *p = &s->text;
    const struct json_value *v = golden_value(s->g, "text_settings");
    const int n = v && v->type == JSON_T_ARRAY ? (int)v->count : 0;
    if (run_prompt(s, &s->text, err) != ST_OK)
        return ST_FAIL;
    golden_put_ids(s->g, "text.position", runner_data(p->r, p->m->positions),
                   p->batch.text.B * p->batch.text.L);
    golden_put(s->g, "text.prefill_logits", runner_data(p->r, p->m->logits),
               p->batch.text.B * s->c.vocab);
    for (int i = 0; i < n; i++)
        if (run_text(s, i, err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

/* Pictures. */
struct painting {
    struct gen_case *s;
    struct sampler *sampler;
    struct runner *unet, *decoder;
    struct ddpm_sampler ddpm;
    int64_t G, n; /* pictures to make; numbers of their latents */
    const int32_t *target;
    float *z; /* channels-last [G,k,k,4] */
};

static void to_last(float *to, const float *from, int64_t I, int64_t pixels, int64_t C)
{
    for (int64_t i = 0; i < I; i++)
        for (int64_t s = 0; s < pixels; s++)
            for (int64_t c = 0; c < C; c++)
                to[(i * pixels + s) * C + c] = from[(i * C + c) * pixels + s];
}

static void put_map(struct painting *a, int64_t step, const char *what, const float *data)
{
    char name[64];
    const int64_t k = deem_latent_side(&a->s->c);
    snprintf(name, sizeof name, "image.step%d.%s", (int)step, what);
    golden_put_nchw(a->s->g, name, data, a->G, k, k, VAE_LATENT);
}

static enum status read_painting(struct painting *a, struct error *err)
{
    struct golden *g = a->s->g;
    const int64_t k = deem_latent_side(&a->s->c);
    a->G = -1;
    a->target = golden_ids(g, "image.target", 1, &a->G);
    for (int64_t i = 0; a->target && i < a->G; i++)
        if (a->target[i] < 0 || a->target[i] >= a->s->image.batch.layout->I)
            golden_problem(g, "inputs.safetensors: image.target: %" PRId32 " is no picture",
                           a->target[i]);
    const int64_t steps = golden_int(g, "image_settings.steps");
    const double guidance = golden_real(g, "image_settings.guidance");
    if (golden_ready(g, err) != ST_OK || ddpm_sampler_init(&a->ddpm, steps, guidance, err) != ST_OK)
        return ST_FAIL;
    a->n = a->G * VAE_LATENT * k * k;
    a->z = golden_memory(g, a->n, sizeof *a->z);
    const float *z = golden_input(g, "image.z_T", 4, (int64_t[]){ a->G, VAE_LATENT, k, k });
    if (golden_ready(g, err) != ST_OK)
        return ST_FAIL;
    to_last(a->z, z, a->G, k * k, VAE_LATENT);
    return ST_OK;
}

/* Conditions of the pictures to make, and the picture each may look at. */
static enum status fill_painting(struct painting *a, struct error *err)
{
    const struct gen_case *s = a->s;
    const struct layout *l = s->image.batch.layout;
    const size_t one = (size_t)(s->c.queries * s->c.tokenizer.diffusion_width);
    const size_t rows = (size_t)(deem_feature_rows(&s->c) * s->c.tokenizer.width);
    const struct param *negative = params_find(s->params, "image_decoder.neg_prompt_embeds");
    const float *ctx = runner_data(s->image.r, s->image.m->ctx);
    const float *features = runner_data(s->image.r, s->image.m->features);
    float *mine = golden_memory(s->g, a->G * (int64_t)one, sizeof *mine);
    const float **looks = golden_memory(s->g, a->G, sizeof(const float *));
    int32_t *mask = golden_memory(s->g, l->I, sizeof *mask);
    if (golden_ready(s->g, err) != ST_OK || !negative)
        return ST_FAIL;
    for (int64_t i = 0; i < l->I; i++)
        mask[i] = l->images[i].previous >= 0;
    golden_put_ids(s->g, "image.mmfs_mask", mask, l->I);
    for (int64_t i = 0; i < a->G; i++) {
        const int64_t previous = l->images[a->target[i]].previous;
        memcpy(mine + (size_t)i * one, ctx + (size_t)a->target[i] * one, one * sizeof *mine);
        looks[i] = previous >= 0 ? features + (size_t)previous * rows : NULL;
    }
    golden_put(s->g, "image.ctx", mine, a->G * (int64_t)one);
    const struct sampler_inputs in = { mine, negative->value, looks };
    sampler_fill(a->sampler, &s->c, a->unet, &in);
    return ST_OK;
}

static enum status read_noise(void *arg, int64_t i, float *out, struct error *err)
{
    const struct painting *a = arg;
    const int64_t k = deem_latent_side(&a->s->c);
    const float *eps =
        golden_input(a->s->g, "image.eps", 5, (int64_t[]){ a->ddpm.steps, a->G, VAE_LATENT, k, k });
    if (!eps)
        return golden_ready(a->s->g, err);
    to_last(out, eps + i * a->n, a->G, k * k, VAE_LATENT);
    return ST_OK;
}

static enum status put_step(void *arg, int64_t i, const float *uncond, const float *cond,
                            const float *guided, const float *z, struct error *err)
{
    struct painting *a = arg;
    put_map(a, i, "eps_uncond", uncond);
    put_map(a, i, "eps_cond", cond);
    put_map(a, i, "eps_guided", guided);
    put_map(a, i, "z", z);
    return golden_ready(a->s->g, err);
}

static enum status paint(struct painting *a, struct error *err)
{
    const struct sampler_draws draws = { read_noise, put_step, a };
    int32_t *times = golden_memory(a->s->g, a->ddpm.steps, sizeof *times);
    if (golden_ready(a->s->g, err) != ST_OK ||
        sampler_run(a->sampler, a->unet, &a->ddpm, &draws, a->z, err) != ST_OK)
        return ST_FAIL;
    for (int64_t i = 0; i < a->ddpm.steps; i++)
        times[i] = ddpm_sampler_timestep(&a->ddpm, i);
    golden_put_ids(a->s->g, "image.timesteps", times, a->ddpm.steps);
    return ST_OK;
}

static enum status put_picture(struct painting *a, struct error *err)
{
    const int64_t side = a->s->c.decode_side, n = a->G * side * side * 3;
    float *picture = golden_memory(a->s->g, n, sizeof *picture);
    if (golden_ready(a->s->g, err) != ST_OK ||
        sampler_decode(a->sampler, &a->s->c, a->decoder, a->z, picture, err) != ST_OK)
        return ST_FAIL;
    golden_put_nchw(a->s->g, "image.out", picture, a->G, side, side, 3);
    return ST_OK;
}

static enum status run_image(struct gen_case *s, struct painting *a, struct error *err)
{
    if (run_prompt(s, &s->image, err) != ST_OK || fill_painting(a, err) != ST_OK ||
        paint(a, err) != ST_OK)
        return ST_FAIL;
    return put_picture(a, err);
}

/* All programs declare before the parameters get memory. */
static enum status open_programs(struct gen_case *s, struct painting *a, struct error *err)
{
    struct prompt *const prompts[] = { &s->text, &s->image };
    struct error one = { 0 };
    for (int i = 0; i < 2; i++) {
        struct deem_shape shape;
        micro_batch_shape(&shape, prompts[i]->batch.layout, 1);
        shape.wanted = prompts[i]->batch.text.B;
        if (open_deem(s, &prompts[i]->m, &shape, err) != ST_OK)
            return ST_FAIL;
    }
    if (sampler_open(&a->sampler, &s->c, a->G, s->params, &one) != ST_OK)
        golden_problem(s->g, "%s", one.text);
    for (int i = 0; i < 2; i++)
        if (golden_check_memory(s->g, prompts[i]->m->p, err) != ST_OK)
            return ST_FAIL;
    if (golden_ready(s->g, err) != ST_OK ||
        golden_check_memory(s->g, a->sampler->p, err) != ST_OK ||
        golden_check_memory(s->g, a->sampler->decode, err) != ST_OK ||
        golden_load(s->g, s->params, err) != ST_OK)
        return ST_FAIL;
    for (int i = 0; i < 2; i++)
        if (runner_open(&prompts[i]->r, prompts[i]->m->p, s->g->where, err) != ST_OK)
            return ST_FAIL;
    if (runner_open(&a->unet, a->sampler->p, s->g->where, err) != ST_OK)
        return ST_FAIL;
    return runner_open(&a->decoder, a->sampler->decode, s->g->where, err);
}

static enum status run(struct gen_case *s, struct painting *a, struct error *err)
{
    if (read_prompt(s, "text.", &s->text, err) != ST_OK ||
        read_prompt(s, "image.", &s->image, err) != ST_OK || read_painting(a, err) != ST_OK ||
        golden_params(s->g, &s->params, NULL, NULL, err) != ST_OK ||
        open_programs(s, a, err) != ST_OK || run_all_text(s, err) != ST_OK)
        return ST_FAIL;
    return run_image(s, a, err);
}

enum status golden_generate(struct golden *g, struct error *err)
{
    struct gen_case s = { .g = g };
    struct painting a = { .s = &s };
    golden_read_model(g, &s.c);
    s.o.evaluation = true;
    s.o.weight_nip = 1.0; /* contexts and features are wanted */
    const enum status st = golden_ready(g, err) == ST_OK ? run(&s, &a, err) : ST_FAIL;
    runner_close(&a.unet);
    runner_close(&a.decoder);
    sampler_close(&a.sampler);
    close_prompt(&s.text);
    close_prompt(&s.image);
    params_close(&s.params);
    return st == ST_OK ? golden_ready(g, err) : st;
}
