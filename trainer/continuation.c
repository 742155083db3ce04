/* trainer/continuation.c: see continuation.h. */
#include "trainer/continuation.h"

#include <string.h>

#include "trainer/micro_batch.h"

struct continuation {
    const struct deem_config *config;
    struct continuation_prompt prompt;
    struct layout_batch text; /* `beams` rows a prompt, `more` tokens longer */
    struct layout *layout;
    struct deem *m;
    struct runner *r;
    bool tokenised;                /* what the language model reads of the pictures is there */
    int32_t *ids, *mask, *per_row; /* [rows,L], [rows,L], [rows] */
    float *image, *region;         /* of all rows */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: continuation");
}

/* Token of the prompt whose view token t of a lengthened row has. */
static int64_t viewer(int64_t t, int64_t prompt, int64_t L)
{
    return t % L < prompt ? t : t / L * L + prompt - 1;
}

static enum status extend_pairs(struct layout *l, int64_t prompt, struct error *err)
{
    const int64_t L = l->L, T = l->B * L;
    int64_t n = 0;
    for (int64_t t = 0; t < T; t++) {
        const int64_t q = viewer(t, prompt, L);
        n += l->pair_begin[q + 1] - l->pair_begin[q];
    }
    int32_t *begin = mem_calloc((size_t)T + 1, sizeof *begin);
    int32_t *image = mem_calloc((size_t)n + 1, sizeof *image);
    int32_t *rank = mem_calloc((size_t)n + 1, sizeof *rank);
    if (!begin || !image || !rank) {
        mem_free(begin);
        mem_free(image);
        mem_free(rank);
        return no_memory(err);
    }
    int32_t at = 0;
    for (int64_t t = 0; t < T; t++) {
        const int64_t q = viewer(t, prompt, L);
        for (int32_t k = l->pair_begin[q]; k < l->pair_begin[q + 1]; k++, at++) {
            image[at] = l->pair_image[k];
            rank[at] = l->pair_rank[k];
        }
        begin[t + 1] = at;
    }
    mem_free(l->pair_begin);
    mem_free(l->pair_image);
    mem_free(l->pair_rank);
    l->pair_begin = begin;
    l->pair_image = image;
    l->pair_rank = rank;
    l->n_pairs = n;
    return ST_OK;
}

static void copy_row(const struct continuation *k, int64_t to, int64_t from)
{
    const struct layout_batch *p = k->prompt.text;
    const int64_t L = k->text.L;
    for (int64_t j = 0; j < L; j++) {
        k->ids[to * L + j] = j < p->L ? p->text_ids[from * p->L + j] : p->ids.pad;
        k->mask[to * L + j] = j < p->L ? p->mask[from * p->L + j] : 1;
    }
    k->per_row[to] = p->images_per_row[from];
}

/* Every prompt row `beams` times, with its pictures and room for the new tokens. */
static enum status copy_prompts(struct continuation *k, int64_t beams, int64_t more,
                                struct error *err)
{
    const struct layout_batch *p = k->prompt.text;
    const int64_t rows = p->B * beams, L = p->L + more, R = k->config->tokenizer.side;
    const size_t pixels = (size_t)(R * R);
    size_t I = 0, first = 0, at = 0;
    for (int64_t b = 0; b < p->B; b++)
        I += (size_t)p->images_per_row[b];
    k->text = *p;
    k->text.B = rows;
    k->text.L = L;
    k->text.nearest_bos = NULL;
    k->text.text_ids = k->ids = mem_calloc((size_t)(rows * L), sizeof *k->ids);
    k->text.mask = k->mask = mem_calloc((size_t)(rows * L), sizeof *k->mask);
    k->text.images_per_row = k->per_row = mem_calloc((size_t)rows, sizeof *k->per_row);
    k->image = mem_calloc(I * (size_t)beams + 1, 3 * pixels * sizeof *k->image);
    k->region = mem_calloc(I * (size_t)beams + 1, pixels * sizeof *k->region);
    if (!k->ids || !k->mask || !k->per_row || !k->image || !k->region)
        return no_memory(err);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t b = r / beams;
        const size_t n = (size_t)p->images_per_row[b];
        copy_row(k, r, b);
        if (n > 0)
            memcpy(k->image + at * 3 * pixels, k->prompt.image + first * 3 * pixels,
                   n * 3 * pixels * sizeof *k->image);
        if (n > 0 && k->prompt.mask)
            memcpy(k->region + at * pixels, k->prompt.mask + first * pixels,
                   n * pixels * sizeof *k->region);
        at += n;
        first += r % beams == beams - 1 ? n : 0;
    }
    return ST_OK;
}

enum status continuation_open(struct continuation **out, const struct deem_config *config,
                              const struct deem_options *options, struct params *params,
                              const struct continuation_prompt *prompt, int64_t beams, int64_t more,
                              struct placement *where, struct error *err)
{
    struct continuation *k = mem_calloc(1, sizeof *k);
    struct deem_shape shape;
    *out = NULL;
    if (!k)
        return no_memory(err);
    k->config = config;
    k->prompt = *prompt;
    enum status st = copy_prompts(k, beams, more, err);
    if (st == ST_OK)
        st = layout_open(&k->layout, &k->text, err);
    if (st == ST_OK)
        st = extend_pairs(k->layout, prompt->text->L, err);
    if (st == ST_OK) {
        micro_batch_shape(&shape, k->layout, 1);
        shape.wanted = k->text.B;
        st = deem_open(&k->m, config, &shape, options, params, err);
    }
    if (st == ST_OK && !params->values)
        st = params_allocate(params, err);
    if (st == ST_OK)
        st = runner_open(&k->r, k->m->p, where, err);
    if (st != ST_OK)
        continuation_close(&k);
    *out = k;
    return st;
}

void continuation_close(struct continuation **kp)
{
    struct continuation *k = *kp;
    if (!k)
        return;
    runner_close(&k->r);
    deem_close(&k->m);
    layout_close(&k->layout);
    mem_free(k->ids);
    mem_free(k->mask);
    mem_free(k->per_row);
    mem_free(k->image);
    mem_free(k->region);
    mem_free(k);
    *kp = NULL;
}

static enum status fill(struct continuation *k, int64_t wanted_position, struct error *err)
{
    const struct micro_batch b = {
        .text = &k->text, .layout = k->layout, .image = k->image, .mask = k->region
    };
    if (micro_batch_fill_evaluation(k->m, k->r, &b, err) != ST_OK)
        return ST_FAIL;
    int32_t *wanted = runner_data(k->r, k->m->wanted);
    for (int64_t r = 0; r < k->text.B; r++)
        wanted[r] = (int32_t)(r * k->text.L + wanted_position);
    return ST_OK;
}

/* Nodes up to `end`, without the pictures' where they have run. */
static enum status run_to(struct continuation *k, int end, struct error *err)
{
    const int again = k->m->p->spans[k->m->evaluate].begin;
    const enum status st = runner_run(k->r, k->tokenised ? again : 0, end, err);
    k->tokenised = st == ST_OK;
    return st;
}

enum status continuation_logits(void *arg, float *out, const int32_t *ids, int64_t rows, int64_t n,
                                struct error *err)
{
    struct continuation *k = arg;
    const int64_t L = k->prompt.text->L;
    const struct program *p = k->m->p;
    for (int64_t r = 0; r < rows; r++)
        memcpy(k->ids + r * k->text.L + L, ids + r * n, (size_t)n * sizeof *ids);
    const int end = k->m->contexts >= 0 ? p->spans[k->m->contexts].begin : p->n_nodes;
    if (fill(k, L + n - 1, err) != ST_OK || run_to(k, end, err) != ST_OK)
        return ST_FAIL;
    memcpy(out, runner_data(k->r, k->m->logits), (size_t)(rows * k->config->vocab) * sizeof *out);
    return ST_OK;
}

enum status continuation_run(struct continuation *k, struct error *err)
{
    if (fill(k, k->prompt.text->L - 1, err) != ST_OK)
        return ST_FAIL;
    return run_to(k, k->m->p->n_nodes, err);
}

const float *continuation_context(const struct continuation *k, int64_t i)
{
    return (const float *)runner_data(k->r, k->m->ctx) +
           i * k->config->queries * k->config->tokenizer.diffusion_width;
}

const float *continuation_features(const struct continuation *k, int64_t i)
{
    return (const float *)runner_data(k->r, k->m->features) +
           i * deem_feature_rows(k->config) * k->config->tokenizer.width;
}

int64_t continuation_previous(const struct continuation *k, int64_t i)
{
    return k->layout->images[i].previous;
}
