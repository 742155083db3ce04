/* trainer/micro_batch.c: see micro_batch.h. */
#include "trainer/micro_batch.h"

#include <inttypes.h>
#include <string.h>

#include "trainer/nn_picture.h"
#include "trainer/objective.h"

/* Mean and standard deviation of CLIP's pictures (model.md 2.2.1). */
const float micro_batch_clip_mean[3] = { 0.48145466f, 0.4578275f, 0.40821073f };
const float micro_batch_clip_std[3] = { 0.26862954f, 0.26130258f, 0.27577711f };

struct job {
    struct deem *m;
    struct runner *r;
    const struct micro_batch *b;
    const struct layout *l;
    int64_t k;      /* latent side */
    float *region;  /* CSR's pixel weights [I,k,k] */
    double sums[2]; /* of squared errors, by loss */
    int64_t passes;
};

/* One row of the table of passes. */
struct pass {
    enum deem_loss loss;
    int64_t image;
};

static void *data(const struct job *j, int tensor)
{
    return runner_data(j->r, tensor);
}

void micro_batch_shape(struct deem_shape *out, const struct layout *l, int64_t passes)
{
    *out =
        (struct deem_shape){ .B = l->B, .L = l->L, .I = l->I, .context = 1, .pairs = l->n_pairs };
    for (int64_t i = 0; i < l->I; i++)
        if (l->images[i].length > out->context)
            out->context = l->images[i].length;
    out->I = out->I > 0 ? out->I : 1;
    out->pairs = out->pairs > 0 ? out->pairs : 1;
    out->passes = passes > 0 ? passes : out->I;
}

static enum status check_fit(const struct job *j, struct error *err)
{
    struct deem_shape need;
    const struct deem_shape *s = &j->m->shape;
    micro_batch_shape(&need, j->l, 1);
    if (need.B != s->B || need.L != s->L || need.I > s->I || need.context > s->context ||
        need.pairs > s->pairs)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "batch of %" PRId64 " rows of %" PRId64 ", %" PRId64
                         " pictures does not fit a program for %" PRId64 ", %" PRId64 ", %" PRId64,
                         need.B, need.L, need.I, s->B, s->L, s->I);
    if (j->l->max_rank >= j->m->config.llm.mmfs.max_images)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%" PRId64 " pictures in view, but %" PRId64 " relative positions",
                         j->l->max_rank, j->m->config.llm.mmfs.max_images);
    return ST_OK;
}

/* Pictures past the true ones are zeros. */
static void fill_pictures(const struct job *j, int tensor, const float *from)
{
    if (tensor == TENSOR_NONE || !from)
        return;
    const struct tensor *t = program_tensor(j->m->p, tensor);
    const size_t one = (size_t)(t->count / j->m->shape.I), true_count = (size_t)j->l->I * one;
    float *to = data(j, tensor);
    memcpy(to, from, true_count * sizeof *to);
    memset(to + true_count, 0, ((size_t)t->count - true_count) * sizeof *to);
}

static void fill_text(const struct job *j)
{
    const struct deem *m = j->m;
    const struct layout *l = j->l;
    const int64_t T = l->B * l->L, slots = m->shape.I * m->config.queries;
    int32_t *soi = data(j, m->soi), *slot = data(j, m->slots), *at = data(j, m->positions);
    float *centre = data(j, m->view.points);
    memcpy(data(j, m->text_ids), j->b->text->text_ids, (size_t)T * sizeof(int32_t));
    for (int64_t i = 0; i < slots; i++)
        slot[i] = -1;
    for (int64_t t = 0; t < T; t++) {
        soi[t] = l->source[t] == -2 ? 0 : -1;
        at[t] = (int32_t)(t % l->L);
        if (l->source[t] >= 0)
            slot[l->source[t]] = (int32_t)t;
    }
    memcpy(data(j, m->view.begin), l->pair_begin, (size_t)(T + 1) * sizeof(int32_t));
    memcpy(data(j, m->view.image), l->pair_image, (size_t)l->n_pairs * sizeof(int32_t));
    memcpy(data(j, m->view.rank), l->pair_rank, (size_t)l->n_pairs * sizeof(int32_t));
    centre[0] = centre[1] = 0.5f;
}

/* Batch tensors "T7:NAME" and "T8:NAME" hold the draws of that dropout, a state a picture. */
static enum status fill_draws(const struct job *j, struct error *err)
{
    const struct program *p = j->m->p;
    for (int t = 1; t < p->n_tensors; t++) {
        const char *name = p->tensors[t].name;
        const bool dropout = strncmp(name, "T7:", 3) == 0, path = strncmp(name, "T8:", 3) == 0;
        if (p->tensors[t].place != PLACE_BATCH || (!dropout && !path))
            continue;
        if (!j->b->keys)
            return error_set(err, ST_FAIL, CAUSE_ARG, "%s: the batch has no keys for draws", name);
        int32_t *state = data(j, t);
        for (int64_t i = 0; i < j->l->I; i++) {
            struct rng r;
            draw_open(&r, &j->b->keys[i], dropout ? "T7" : "T8", name + 3);
            draw_state(state + 4 * i, &r);
        }
    }
    return ST_OK;
}

static int64_t fill_targets(const struct job *j)
{
    const int64_t L = j->l->L, T = j->l->B * L;
    if (j->m->target == TENSOR_NONE)
        return 0;
    int32_t *target = data(j, j->m->target);
    float *divisor = data(j, j->m->divisor);
    for (int64_t t = 0; t < T; t++) /* the last token of a row predicts nothing */
        target[t] = t % L == L - 1 ? LAYOUT_IGNORE : j->b->targets[t / L * (L - 1) + t % L];
    const int64_t valid = objective_count_targets(target, T);
    divisor[0] = (float)valid;
    return valid;
}

static void fill_contexts(const struct job *j)
{
    const struct deem *m = j->m;
    const int64_t places = m->shape.context;
    if (m->context_index == TENSOR_NONE)
        return;
    int32_t *index = data(j, m->context_index), *count = data(j, m->context_count);
    for (int64_t i = 0; i < m->shape.I; i++) {
        count[i] = i < j->l->I ? (int32_t)j->l->images[i].length : 0;
        for (int64_t n = 0; n < places; n++)
            index[i * places + n] = n < count[i] ? (int32_t)layout_context(j->l, i, n) : -1;
    }
    const int place = program_find(m->p, "context.place");
    int32_t *at = place != TENSOR_NONE ? data(j, place) : NULL;
    for (int64_t i = 0; at && i < m->shape.I * places; i++)
        at[i] = index[i] >= 0 ? (int32_t)(i % places) : -1;
}

/* Planar noise of one picture as channels-last. */
static void put_noise(const struct job *j, float *to, const float *from)
{
    const int64_t pixels = j->k * j->k;
    for (int64_t s = 0; s < pixels; s++)
        for (int64_t c = 0; c < VAE_LATENT; c++)
            to[s * VAE_LATENT + c] = from[c * pixels + s];
}

static void fill_noise(const struct job *j)
{
    const int64_t one = VAE_LATENT * j->k * j->k;
    for (int loss = 0; loss < 2; loss++) {
        float *to = data(j, j->m->vae_eps[loss]);
        memset(to, 0, (size_t)(j->m->shape.I * one) * sizeof *to);
        for (int64_t i = 0; j->b->vae_eps[loss] && i < j->l->I; i++)
            put_noise(j, to + i * one, j->b->vae_eps[loss] + i * one);
    }
}

/* Constants of the program: pixel centres, the trunk's normalisation. */
static void fill_constants(const struct job *j)
{
    const struct program *p = j->m->p;
    convnext_normalise(data(j, j->m->clip_scale), data(j, j->m->clip_shift), micro_batch_clip_mean,
                       micro_batch_clip_std);
    for (int t = 1; t < p->n_tensors; t++) {
        const int64_t side =
            p->tensors[t].place == PLACE_BATCH ? mmfsnet_points_side(p->tensors[t].name) : 0;
        if (side > 0)
            nn_pixel_centres(data(j, t), side, side);
    }
}

/* Positions of evaluation: counted over real tokens. */
static enum status fill_positions(const struct job *j, struct error *err)
{
    const int64_t L = j->l->L;
    int32_t *at = data(j, j->m->positions), *first = data(j, j->m->first);
    for (int64_t b = 0; b < j->l->B; b++) {
        const int32_t *mask = j->b->text->mask + b * L;
        int32_t seen = 0;
        first[b] = 0;
        for (int64_t i = 0; i < L; i++) {
            if (mask[i] && seen && !mask[i - 1])
                return error_set(err, ST_FAIL, CAUSE_FORMAT,
                                 "attention_mask: row %" PRId64 " has padding between tokens", b);
            if (mask[i] && seen == 0)
                first[b] = (int32_t)i;
            at[b * L + i] = mask[i] ? seen++ : 1;
        }
    }
    return ST_OK;
}

enum status micro_batch_fill_evaluation(struct deem *m, struct runner *r,
                                        const struct micro_batch *b, struct error *err)
{
    struct job j = { .m = m, .r = r, .b = b, .l = b->layout };
    if (check_fit(&j, err) != ST_OK)
        return ST_FAIL;
    fill_constants(&j);
    fill_pictures(&j, m->image, b->image);
    fill_pictures(&j, m->mask, b->mask);
    fill_text(&j);
    fill_contexts(&j);
    return fill_positions(&j, err);
}

/* What the errors of a loss are divided by: all pictures, or those that count in L_NIP. */
static int64_t divisor_of(const struct job *j, enum deem_loss loss)
{
    int64_t n = j->l->I;
    if (loss == DEEM_NIP && j->m->options.nip_valid)
        for (int64_t i = n = 0; i < j->l->I; i++)
            n += j->l->images[i].counts;
    return n * VAE_LATENT * j->k * j->k;
}

static void fill_pass(const struct job *j, int64_t u, const struct pass *a)
{
    const struct deem *m = j->m;
    const int64_t pixels = j->k * j->k, one = VAE_LATENT * pixels;
    const struct layout_image *im = &j->l->images[a->image];
    const bool csr = a->loss == DEEM_CSR;
    const int64_t feature = csr ? a->image : im->previous;
    const bool dropped = !csr && j->b->drop && j->b->drop[a->image];
    float *weight = (float *)data(j, m->pass.weight) + u * pixels;
    int32_t *begin = data(j, m->pass.begin);
    ((int32_t *)data(j, m->pass.latent))[u] =
        (int32_t)deem_latent_row(&m->shape, a->loss, a->image);
    ((int32_t *)data(j, m->pass.t))[u] = j->b->t[a->loss][a->image];
    ((int32_t *)data(j, m->pass.condition))[u] =
        (int32_t)deem_condition_row(m, a->loss, a->image, dropped);
    ((int32_t *)data(j, m->pass.feature))[u] = (int32_t)feature;
    if (m->pass.mask != TENSOR_NONE) /* NIP looks at unmasked features: the row of ones */
        ((int32_t *)data(j, m->pass.mask))[u] = (int32_t)(csr ? a->image : m->shape.I);
    if (feature >= 0) {
        ((int32_t *)data(j, m->pass.image))[begin[u]] = (int32_t)u;
        ((int32_t *)data(j, m->pass.rank))[begin[u]] = 1;
    }
    begin[u + 1] = begin[u] + (feature >= 0);
    put_noise(j, (float *)data(j, m->pass.noise) + u * one, j->b->eps[a->loss] + a->image * one);
    for (int64_t s = 0; s < pixels; s++)
        weight[s] = csr ? j->region[a->image * pixels + s] : im->counts ? 1.0f : 0.0f;
    const double w = csr ? m->options.weight_csr : m->options.weight_nip;
    const int64_t n = divisor_of(j, a->loss); /* 0: this pass counts nothing */
    ((float *)data(j, m->pass.scale))[u] = n > 0 ? (float)(w / (double)n) : 0.0f;
}

/* A row that counts nothing, so that the span always runs with U of them. */
static void fill_padding(const struct job *j, int64_t u)
{
    const struct deem *m = j->m;
    const int64_t pixels = j->k * j->k, one = VAE_LATENT * pixels;
    const int rows[] = { m->pass.latent, m->pass.condition, m->pass.feature, m->pass.mask };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i] != TENSOR_NONE)
            ((int32_t *)data(j, rows[i]))[u] = -1;
    int32_t *begin = data(j, m->pass.begin);
    begin[u + 1] = begin[u];
    ((int32_t *)data(j, m->pass.t))[u] = 0;
    ((float *)data(j, m->pass.scale))[u] = 0.0f;
    memset((float *)data(j, m->pass.weight) + u * pixels, 0, (size_t)pixels * sizeof(float));
    memset((float *)data(j, m->pass.noise) + u * one, 0, (size_t)one * sizeof(float));
}

static enum status run_passes(struct job *j, const struct pass *list, int64_t n, struct error *err)
{
    const struct deem *m = j->m;
    ((int32_t *)data(j, m->pass.begin))[0] = 0;
    for (int64_t u = 0; u < m->shape.passes; u++)
        if (u < n)
            fill_pass(j, u, &list[u]);
        else
            fill_padding(j, u);
    if (runner_run_span(j->r, m->picture, err) != ST_OK)
        return ST_FAIL;
    const float *sum = data(j, m->pass_sum);
    for (int64_t u = 0; u < n; u++)
        j->sums[list[u].loss] += (double)sum[u];
    j->passes += n;
    if (j->b->after_passes)
        j->b->after_passes(j->b->arg, list[0].loss, n);
    return ST_OK;
}

/* All passes of a loss behind `list`; NIP passes that count nothing are left out where allowed. */
static int64_t list_passes(const struct job *j, enum deem_loss loss, struct pass *list)
{
    int64_t n = 0;
    const double w = loss == DEEM_CSR ? j->m->options.weight_csr : j->m->options.weight_nip;
    for (int64_t i = 0; w != 0.0 && i < j->l->I; i++)
        if (loss == DEEM_CSR || j->l->images[i].counts || j->b->masked_passes)
            list[n++] = (struct pass){ loss, i };
    return n;
}

static enum status run_diffusion(struct job *j, struct error *err)
{
    const int64_t U = j->m->shape.passes, I = j->l->I;
    struct pass *list = mem_calloc((size_t)(2 * I + 1), sizeof *list);
    j->region = mem_calloc((size_t)(j->m->shape.I * j->k * j->k), sizeof *j->region);
    enum status st = ST_FAIL;
    if (!list || !j->region) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: passes");
        goto done;
    }
    if (I > 0 && objective_region_weights(j->region, j->b->mask, I, j->m->config.tokenizer.side,
                                          j->k, err) != ST_OK)
        goto done;
    int64_t n = list_passes(j, DEEM_CSR, list);
    const int64_t csr = n;
    n += list_passes(j, DEEM_NIP, list + n);
    st = ST_OK;
    for (int64_t first = 0; first < n && st == ST_OK;) {
        int64_t count = n - first < U ? n - first : U;
        if (j->b->after_passes && first < csr && first + count > csr)
            count = csr - first; /* one loss a run, so that its intermediates can be told apart */
        st = run_passes(j, list + first, count, err);
        first += count;
    }
done:
    mem_free(list);
    mem_free(j->region);
    return st;
}

static double text_loss(const struct job *j, int64_t valid)
{
    double sum = 0.0;
    for (int c = 0; c < j->m->n_chunks; c++) {
        const float *loss = data(j, j->m->token_loss[c]);
        const int64_t n = program_tensor(j->m->p, j->m->token_loss[c])->count;
        for (int64_t i = 0; i < n; i++)
            sum += (double)loss[i];
    }
    return objective_mean(sum, valid);
}

/* Nodes from the begin of the program to the picture span, or to the backward where there is none. */
static enum status run_forward(const struct job *j, struct error *err)
{
    const struct deem *m = j->m;
    const int next = m->picture >= 0 ? m->picture : m->backward;
    return runner_run(j->r, 0, m->p->spans[next].begin, err);
}

enum status micro_batch_run(struct deem *m, struct runner *r, const struct micro_batch *b,
                            struct micro_losses *out, struct error *err)
{
    struct job j = { .m = m, .r = r, .b = b, .l = b->layout };
    j.k = deem_latent_side(&m->config);
    *out = (struct micro_losses){ 0 };
    if (check_fit(&j, err) != ST_OK)
        return ST_FAIL;
    fill_constants(&j);
    fill_pictures(&j, m->image, b->image);
    fill_pictures(&j, m->image_dec, b->image_dec);
    fill_pictures(&j, m->mask, b->mask);
    fill_text(&j);
    fill_contexts(&j);
    if (m->picture >= 0)
        fill_noise(&j);
    const int64_t valid = fill_targets(&j);
    if (fill_draws(&j, err) != ST_OK || run_forward(&j, err) != ST_OK ||
        (m->picture >= 0 && run_diffusion(&j, err) != ST_OK) ||
        runner_run_span(r, m->backward, err) != ST_OK)
        return ST_FAIL;
    *out = (struct micro_losses){
        .ntp = text_loss(&j, valid),
        .nip = objective_mean(j.sums[DEEM_NIP], divisor_of(&j, DEEM_NIP)),
        .csr = objective_mean(j.sums[DEEM_CSR], divisor_of(&j, DEEM_CSR)),
        .targets = valid,
        .pictures = j.l->I,
        .passes = j.passes,
    };
    out->total = m->options.weight_ntp * out->ntp + m->options.weight_nip * out->nip +
                 m->options.weight_csr * out->csr;
    return ST_OK;
}
