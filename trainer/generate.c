/* trainer/generate.c: see generate.h. Scores are float32 as in the reference; candidates of equal score
 * come in the order of beam, then id. */
#include "trainer/generate.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "core/rng.h"

/* A finished hypothesis: its history without the stop. */
struct hypothesis {
    int32_t *ids; /* [length] */
    int64_t length;
    float score;
    int32_t stop; /* -1: cut at the end */
};

struct candidate {
    float score;
    int64_t beam;
    int32_t id;
};

struct search {
    const struct generate_settings *s;
    int64_t B, V, rows, cap; /* rows = B beams; cap = 1 + max_new_tokens */
    int64_t n;               /* length of every history */
    int32_t *history;        /* [rows,cap] */
    int32_t *next;           /* [rows,cap], the histories after reordering */
    int32_t *fed;            /* [rows,n-1] for the network */
    float *logits;           /* [rows,V] */
    float *sums;             /* [rows] log-probability of each beam */
    struct candidate *best;  /* [candidates] of one prompt */
    struct hypothesis *hyps; /* [B,beams + 1] */
    int64_t *n_hyps;         /* [B] */
    bool *done;              /* [B] */
    int64_t *counts;         /* [B] of rows of one beam: ids before the stop */
    int32_t *stops;          /* [B] of rows of one beam */
};

static bool is_stop(const struct generate_settings *s, int32_t id)
{
    for (int i = 0; i < s->n_stops; i++)
        if (s->stops[i] == id)
            return true;
    return false;
}

static void close_search(struct search *x)
{
    for (int64_t i = 0; x->hyps && i < x->B * (x->s->beams + 1); i++)
        mem_free(x->hyps[i].ids);
    mem_free(x->history);
    mem_free(x->next);
    mem_free(x->fed);
    mem_free(x->logits);
    mem_free(x->sums);
    mem_free(x->best);
    mem_free(x->hyps);
    mem_free(x->n_hyps);
    mem_free(x->done);
    mem_free(x->counts);
    mem_free(x->stops);
}

static int64_t wanted(const struct search *x)
{
    if (x->s->temperature > 0.0)
        return x->V;
    return (x->s->n_stops + 1 > 2 ? x->s->n_stops + 1 : 2) * x->s->beams;
}

static enum status open_search(struct search *x, struct error *err)
{
    const size_t rows = (size_t)x->rows, B = (size_t)x->B;
    x->cap = 1 + x->s->max_new_tokens;
    x->history = mem_calloc(rows * (size_t)x->cap, sizeof *x->history);
    x->next = mem_calloc(rows * (size_t)x->cap, sizeof *x->next);
    x->fed = mem_calloc(rows * (size_t)x->cap, sizeof *x->fed);
    x->logits = mem_calloc(rows * (size_t)x->V, sizeof *x->logits);
    x->sums = mem_calloc(rows, sizeof *x->sums);
    x->best = mem_calloc((size_t)wanted(x) + 1, sizeof *x->best);
    x->hyps = mem_calloc(B * (size_t)(x->s->beams + 1), sizeof *x->hyps);
    x->n_hyps = mem_calloc(B, sizeof *x->n_hyps);
    x->done = mem_calloc(B, sizeof *x->done);
    x->counts = mem_calloc(B, sizeof *x->counts);
    x->stops = mem_calloc(B, sizeof *x->stops);
    if (!x->history || !x->next || !x->fed || !x->logits || !x->sums || !x->best || !x->hyps ||
        !x->n_hyps || !x->done || !x->counts || !x->stops)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: search");
    for (int64_t b = 0; b < x->B; b++)
        x->stops[b] = -1;
    for (int64_t r = 0; r < x->rows; r++) {
        x->history[r * x->cap] = x->s->bos;
        x->sums[r] = r % x->s->beams == 0 ? 0.0f : -1e9f; /* the beams start out alike */
    }
    x->n = 1;
    return ST_OK;
}

static enum status ask(struct search *x, generate_logits_fn *logits, void *arg, struct error *err)
{
    for (int64_t r = 0; r < x->rows; r++)
        memcpy(x->fed + r * (x->n - 1), x->history + r * x->cap + 1,
               (size_t)(x->n - 1) * sizeof *x->fed);
    return logits(arg, x->logits, x->fed, x->rows, x->n - 1, err);
}

static void log_softmax(float *x, int64_t V)
{
    double sum = 0.0;
    float most = x[0];
    for (int64_t i = 1; i < V; i++)
        most = x[i] > most ? x[i] : most;
    for (int64_t i = 0; i < V; i++)
        sum += exp((double)(x[i] - most));
    const float shift = (float)((double)most + log(sum));
    for (int64_t i = 0; i < V; i++)
        x[i] -= shift;
}

/* Repetition penalty on every id of the history once, then the minimum length. */
static void process(const struct search *x, float *scores, const int32_t *history)
{
    const float rho = (float)x->s->repetition_penalty;
    for (int64_t i = 0; i < x->n && rho != 1.0f; i++) {
        bool seen = history[i] < 0 || history[i] >= x->V;
        for (int64_t k = 0; k < i && !seen; k++)
            seen = history[k] == history[i];
        if (!seen)
            scores[history[i]] =
                scores[history[i]] > 0.0f ? scores[history[i]] / rho : scores[history[i]] * rho;
    }
    for (int i = 0; i < x->s->n_stops && x->n < x->s->min_length; i++)
        if (x->s->stops[i] < x->V)
            scores[x->s->stops[i]] = -HUGE_VALF;
}

static int better_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

/* An id drawn from the best ones. */
static int32_t sample(const struct search *x, const float *scores, int64_t row)
{
    struct candidate *c = x->best;
    struct rng_key key;
    struct rng r;
    double sum = 0.0, kept = 0.0;
    int64_t n = 0;
    for (int64_t i = 0; i < x->V; i++)
        c[i] = (struct candidate){ scores[i], 0, (int32_t)i };
    qsort(c, (size_t)x->V, sizeof *c, better_first);
    const double most = (double)c[0].score, temperature = x->s->temperature;
    for (int64_t i = 0; i < x->V; i++)
        sum += exp(((double)c[i].score - most) / temperature);
    while (n < x->V && (n == 0 || kept < x->s->top_p * sum))
        kept += exp(((double)c[n++].score - most) / temperature);
    rng_key_init(&key, x->s->seed, "G1");
    rng_key_integer(&key, (uint64_t)row);
    rng_init(&r, &key);
    r.position = (uint64_t)(x->n - 1);
    double left = rng_unit(&r) * kept;
    for (int64_t i = 0; i < n; i++) {
        left -= exp(((double)c[i].score - most) / temperature);
        if (left < 0.0)
            return c[i].id;
    }
    return c[n - 1].id;
}

static int32_t best_of(const float *scores, int64_t V)
{
    int32_t best = 0;
    for (int64_t i = 1; i < V; i++)
        best = scores[i] > scores[best] ? (int32_t)i : best;
    return best;
}

/* One beam: greedy or sampled. */
static int64_t step_greedy(struct search *x)
{
    int64_t open = 0;
    for (int64_t r = 0; r < x->rows; r++) {
        float *scores = x->logits + r * x->V;
        int32_t *history = x->history + r * x->cap;
        process(x, scores, history);
        const int32_t id = x->s->temperature > 0.0 ? sample(x, scores, r) : best_of(scores, x->V);
        history[x->n] = x->done[r] ? x->s->pad : id;
        if (!x->done[r] && is_stop(x->s, id)) {
            x->stops[r] = id;
            x->done[r] = true;
        }
        x->counts[r] += !x->done[r];
        open += !x->done[r];
    }
    x->n++;
    return open;
}

static enum status finish_greedy(struct generated *out, const struct search *x, struct error *err)
{
    const size_t row = (size_t)x->n * sizeof *out->ids;
    out->ids = mem_alloc((size_t)x->B * row);
    out->counts = mem_dup(x->counts, (size_t)x->B * sizeof *out->counts);
    out->stops = mem_dup(x->stops, (size_t)x->B * sizeof *out->stops);
    if (!out->ids || !out->counts || !out->stops)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: generated ids");
    out->length = x->n;
    for (int64_t b = 0; b < x->B; b++)
        memcpy(out->ids + b * x->n, x->history + b * x->cap, row);
    return ST_OK;
}

/* Beam search. */
static float final_score(const struct search *x, float sum, int64_t length)
{
    return (float)((double)sum / pow((double)length, x->s->length_penalty));
}

static int64_t worst_of(const struct search *x, int64_t b)
{
    const struct hypothesis *h = x->hyps + b * (x->s->beams + 1);
    int64_t worst = 0;
    for (int64_t i = 1; i < x->n_hyps[b]; i++)
        worst = h[i].score < h[worst].score ? i : worst;
    return worst;
}

/* Stores the history of row r, ended by `stop`, unless `beams` better ones are there. */
static enum status store(struct search *x, int64_t b, int64_t r, float sum, int32_t stop,
                         struct error *err)
{
    struct hypothesis *h = x->hyps + b * (x->s->beams + 1);
    const float score = final_score(x, sum, x->n);
    if (x->n_hyps[b] >= x->s->beams && score <= h[worst_of(x, b)].score)
        return ST_OK;
    int32_t *ids = mem_dup(x->history + r * x->cap, (size_t)x->n * sizeof *ids);
    if (!ids)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: hypothesis");
    h[x->n_hyps[b]++] = (struct hypothesis){ ids, x->n, score, stop };
    if (x->n_hyps[b] > x->s->beams) {
        const int64_t worst = worst_of(x, b);
        mem_free(h[worst].ids);
        h[worst] = h[--x->n_hyps[b]];
        h[x->n_hyps[b]].ids = NULL;
    }
    return ST_OK;
}

/* The best candidates over all beams of prompt b, best first. */
static void find_best(struct search *x, int64_t b)
{
    const int64_t most = wanted(x);
    int64_t n = 0;
    for (int64_t beam = 0; beam < x->s->beams; beam++) {
        const int64_t r = b * x->s->beams + beam;
        const float *scores = x->logits + r * x->V;
        for (int64_t i = 0; i < x->V; i++) {
            const struct candidate c = { scores[i] + x->sums[r], beam, (int32_t)i };
            if (n == most && c.score <= x->best[n - 1].score)
                continue;
            int64_t at = n < most ? n++ : n - 1;
            for (; at > 0 && x->best[at - 1].score < c.score; at--)
                x->best[at] = x->best[at - 1];
            x->best[at] = c;
        }
    }
    for (; n < most; n++)
        x->best[n] = (struct candidate){ -HUGE_VALF, 0, x->s->pad };
}

/* Continues row `to` from row `from` with id. */
static void extend(struct search *x, int64_t to, int64_t from, int32_t id)
{
    memcpy(x->next + to * x->cap, x->history + from * x->cap, (size_t)x->n * sizeof *x->next);
    x->next[to * x->cap + x->n] = id;
}

static enum status step_prompt(struct search *x, int64_t b, float *sums, struct error *err)
{
    const int64_t beams = x->s->beams, most = wanted(x);
    int64_t filled = 0;
    find_best(x, b);
    for (int64_t rank = 0; rank < most && filled < beams; rank++) {
        const struct candidate c = x->best[rank];
        const int64_t from = b * beams + c.beam;
        if (is_stop(x->s, c.id)) {
            if (rank < beams && store(x, b, from, c.score, c.id, err) != ST_OK)
                return ST_FAIL;
            continue;
        }
        sums[b * beams + filled] = c.score;
        extend(x, b * beams + filled++, from, c.id);
    }
    const float attainable = final_score(x, x->best[0].score, x->n + 1);
    x->done[b] =
        x->n_hyps[b] >= beams && x->hyps[b * (beams + 1) + worst_of(x, b)].score >= attainable;
    return ST_OK;
}

/* ST_END when every prompt is finished. */
static enum status step_beams(struct search *x, struct error *err)
{
    int64_t open = 0;
    for (int64_t r = 0; r < x->rows; r++) {
        log_softmax(x->logits + r * x->V, x->V);
        process(x, x->logits + r * x->V, x->history + r * x->cap);
    }
    for (int64_t b = 0; b < x->B; b++) {
        if (x->done[b]) {
            for (int64_t i = 0; i < x->s->beams; i++)
                extend(x, b * x->s->beams + i, b * x->s->beams + i, x->s->pad);
            continue;
        }
        if (step_prompt(x, b, x->sums, err) != ST_OK)
            return ST_FAIL;
        open += !x->done[b];
    }
    int32_t *swap = x->history;
    x->history = x->next;
    x->next = swap;
    x->n++;
    return open ? ST_OK : ST_END;
}

/* What is still open counts as it stands; the best of each prompt wins, the first of equals last. */
static enum status finish_beams(struct generated *out, struct search *x, struct error *err)
{
    int64_t longest = 0, shortest = INT64_MAX;
    const struct hypothesis **win = mem_calloc((size_t)x->B, sizeof(const struct hypothesis *));
    enum status st =
        win ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: hypotheses");
    for (int64_t b = 0; b < x->B && st == ST_OK; b++) {
        for (int64_t i = 0; !x->done[b] && i < x->s->beams && st == ST_OK; i++)
            st = store(x, b, b * x->s->beams + i, x->sums[b * x->s->beams + i], -1, err);
        const struct hypothesis *h = x->hyps + b * (x->s->beams + 1);
        win[b] = h;
        for (int64_t i = 1; i < x->n_hyps[b]; i++)
            win[b] = h[i].score >= win[b]->score ? &h[i] : win[b];
        longest = win[b]->length > longest ? win[b]->length : longest;
        shortest = win[b]->length < shortest ? win[b]->length : shortest;
    }
    const int64_t length = longest + 1 < x->cap ? longest + 1 : x->cap;
    if (st == ST_OK) {
        out->length = length;
        out->ids = mem_alloc((size_t)(x->B * length) * sizeof *out->ids);
        out->scores = mem_alloc((size_t)x->B * sizeof *out->scores);
        out->counts = mem_alloc((size_t)x->B * sizeof *out->counts);
        out->stops = mem_alloc((size_t)x->B * sizeof *out->stops);
        if (!out->ids || !out->scores || !out->counts || !out->stops)
            st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: generated ids");
    }
    for (int64_t b = 0; b < x->B && st == ST_OK; b++) {
        int32_t *row = out->ids + b * length;
        for (int64_t i = 0; i < length; i++)
            row[i] = i < win[b]->length    ? win[b]->ids[i]
                     : i == win[b]->length ? x->s->stops[0]
                                           : x->s->pad;
        out->scores[b] = win[b]->score;
        out->counts[b] = win[b]->length - 1;
        out->stops[b] = win[b]->stop;
    }
    mem_free(win);
    return st;
}

static enum status run_greedy(struct generated *out, struct search *x, generate_logits_fn *logits,
                              void *arg, struct error *err)
{
    for (int64_t open = 1; open && x->n < x->cap;) {
        if (ask(x, logits, arg, err) != ST_OK)
            return ST_FAIL;
        open = step_greedy(x);
    }
    return finish_greedy(out, x, err);
}

static enum status run_beams(struct generated *out, struct search *x, generate_logits_fn *logits,
                             void *arg, struct error *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && x->n < x->cap) {
        st = ask(x, logits, arg, err);
        st = st == ST_OK ? step_beams(x, err) : st;
    }
    return st == ST_FAIL ? st : finish_beams(out, x, err);
}

enum status generate_run(struct generated *out, int64_t B, int64_t V,
                         const struct generate_settings *s, generate_logits_fn *logits, void *arg,
                         struct error *err)
{
    struct search x = { .s = s, .B = B, .V = V, .rows = B * s->beams };
    *out = (struct generated){ .B = B };
    if (B < 1 || V < 2 || s->beams < 1 || s->max_new_tokens < 1 || s->n_stops < 1 ||
        s->n_stops > GENERATE_STOPS_MAX || !(s->repetition_penalty > 0.0) ||
        !(s->temperature >= 0.0) ||
        (s->temperature > 0.0 && (s->beams != 1 || !(s->top_p > 0.0 && s->top_p <= 1.0))))
        return error_set(err, ST_FAIL, CAUSE_ARG, "generation: settings that cannot work");
    enum status st = open_search(&x, err);
    if (st == ST_OK)
        st = s->beams == 1 ? run_greedy(out, &x, logits, arg, err)
                           : run_beams(out, &x, logits, arg, err);
    close_search(&x);
    if (st != ST_OK)
        generated_clear(out);
    return st;
}

void generated_clear(struct generated *g)
{
    mem_free(g->ids);
    mem_free(g->scores);
    mem_free(g->counts);
    mem_free(g->stops);
    *g = (struct generated){ 0 };
}
