/* kernels/cpu/attention.c: tiles of QUERIES x KEYS scores, products by BLAS on one thread each. Forward:
 * a work item is a tile of queries of one head. Backward: a work item is a head, so that the sums into
 * dk and dv have one order. */
#include "kernels/attention.h"

#include "kernels/cpu/cpu_private.h"
#include "kernels/cpu/draw_private.h"
#include "kernels/cpu/exp_private.h"

enum { QUERIES = 128, KEYS = 256 };

struct call {
    const struct attention_attrs *at;
    int64_t B, H, D, Lq, Lk, kv_batch;
    const float *q, *k, *v;
    const int32_t *first, *count; /* NULL: 0, all */
    const struct view *draws;
};

static bool call_of(struct call *c, const struct view *q, const struct view *k,
                    const struct view *v, const struct view *first, const struct view *count,
                    const struct view *draws, const struct attention_attrs *at)
{
    if (q->rank != 3 || k->rank != 3 || v->rank != 3 || at->heads < 1)
        return false;
    const int64_t B = q->shape[0], W = q->shape[2], Bk = k->shape[0], Lk = k->shape[1];
    *c = (struct call){ at,      B,       at->heads, W / at->heads, q->shape[1], Lk,   Bk,
                        q->data, k->data, v->data,   first->data,   count->data, draws };
    return W % at->heads == 0 && W > 0 && fits_blas(W) && (Bk == B || Bk == 1) &&
           view_f32(q, view_count(q)) && view_f32(k, Bk * Lk * W) && k->shape[2] == W &&
           view_f32(v, Bk * Lk * W) && v->shape[0] == Bk && v->shape[2] == W &&
           (view_left_out(first) || view_is(first, DT_I32, B)) &&
           (view_left_out(count) || view_is(count, DT_I32, B)) && at->dropout >= 0.0f &&
           at->dropout < 1.0f &&
           (at->dropout == 0.0f || (view_is(draws, DT_I32, 4 * B) && view_last(draws) == 4));
}

/* Visible keys [lo, hi) of query i of row b. */
static int64_t visible_lo(const struct call *c, int64_t b)
{
    return c->first ? max_i64(c->first[b], 0) : 0;
}
static int64_t visible_hi(const struct call *c, int64_t b, int64_t i)
{
    int64_t hi = c->Lk;
    if (c->count)
        hi = min_i64(hi, (c->first ? c->first[b] : 0) + (int64_t)c->count[b]);
    return c->at->causal ? min_i64(hi, i + c->Lk - c->Lq + 1) : hi;
}

/* Offset of row l, head h in [B,L,H D]. */
static int64_t place(const struct call *c, int64_t b, int64_t l, int64_t L, int64_t h)
{
    return ((b * L + l) * c->H + h) * c->D;
}
static int64_t kv_place(const struct call *c, int64_t b, int64_t l, int64_t h)
{
    return place(c, c->kv_batch == 1 ? 0 : b, l, c->Lk, h);
}

/* S (m,n; row length KEYS) = factor A (m,D) B^T (n,D), both strided by the heads. */
static void scores(float *S, const struct call *c, const float *A, const float *B, int64_t m,
                   int64_t n, float factor)
{
    const int64_t W = c->H * c->D;
    struct product p = { 0, 1, m, n, c->D, A, B, NULL, W, W, KEYS, factor, 0.0f };
    p.C = S;
    product_run(&p);
}

/* Draws of probabilities (h, i, j0 ..): sets keep[0..n) to 0 or 1 / (1 - p). */
static void draw_keep(float *keep, const struct call *c, int64_t b, int64_t h, int64_t i,
                      int64_t j0, int64_t n)
{
    struct rng r = draw_row(c->draws, b);
    const float scale = 1.0f / (1.0f - c->at->dropout);
    r.position = (uint64_t)((h * c->Lq + i) * c->Lk + j0);
    for (int64_t j = 0; j < n; j++)
        keep[j] = draw_unit(rng_word(&r)) < (double)c->at->dropout ? 0.0f : scale;
}

/* A tile of queries on its way: unnormalised output, running maximum and sum of each row. */
struct tile {
    float S[QUERIES * KEYS];
    float top[QUERIES], sum[QUERIES];
    float keep[KEYS];
    int64_t b, h, i0, m; /* queries [i0, i0 + m) of head h of row b */
};

/* Turns row r's scores on keys [j0, j0 + n) into unnormalised probabilities and rescales its output. */
static void soften_row(struct tile *t, float *O, const struct call *c, int64_t r, int64_t j0,
                       int64_t n)
{
    float *s = t->S + r * KEYS;
    const int64_t seen = min_i64(n, max_i64(0, visible_hi(c, t->b, t->i0 + r) - j0));
    const float top = max_row(s, t->top[r], seen);
    if (seen > 0 && top > -INFINITY) {
        const float shrink = t->sum[r] > 0.0f ? expf(t->top[r] - top) : 0.0f;
        t->sum[r] = t->sum[r] * shrink + exp_row(s, top, seen);
        t->top[r] = top;
        for (int64_t d = 0; d < c->D; d++)
            O[r * c->D + d] *= shrink;
    }
    if (c->at->dropout > 0.0f) {
        draw_keep(t->keep, c, t->b, t->h, t->i0 + r, j0, seen);
        for (int64_t j = 0; j < seen; j++)
            s[j] *= t->keep[j];
    }
    memset(s + seen, 0, (size_t)(n - seen) * sizeof *s);
}

static void tile_fwd(struct tile *t, float *O, float *o, float *lse, const struct call *c)
{
    const int64_t W = c->H * c->D, hi = visible_hi(c, t->b, t->i0 + t->m - 1);
    memset(O, 0, (size_t)(t->m * c->D) * sizeof *O);
    for (int64_t r = 0; r < t->m; r++) {
        t->top[r] = -INFINITY;
        t->sum[r] = 0.0f;
    }
    for (int64_t j0 = visible_lo(c, t->b); j0 < hi; j0 += KEYS) {
        const int64_t n = min_i64(KEYS, hi - j0), kv = kv_place(c, t->b, j0, t->h);
        scores(t->S, c, c->q + place(c, t->b, t->i0, c->Lq, t->h), c->k + kv, t->m, n,
               c->at->scale);
        for (int64_t r = 0; r < t->m; r++)
            soften_row(t, O, c, r, j0, n);
        const struct product p = { 0, 0,    t->m, c->D, n,    t->S, c->v + kv,
                                   O, KEYS, W,    c->D, 1.0f, 1.0f };
        product_run(&p);
    }
    for (int64_t r = 0; r < t->m; r++) {
        float *to = o + place(c, t->b, t->i0 + r, c->Lq, t->h);
        const float inverse = t->sum[r] > 0.0f ? 1.0f / t->sum[r] : 0.0f;
        for (int64_t d = 0; d < c->D; d++)
            to[d] = O[r * c->D + d] * inverse;
        if (lse)
            lse[(t->b * c->H + t->h) * c->Lq + t->i0 + r] =
                t->sum[r] > 0.0f ? t->top[r] + logf(t->sum[r]) : -INFINITY;
    }
}

enum status attention_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    struct call c;
    int failed = 0;
    (void)k;

    if (!call_of(&c, &in[0], &in[1], &in[2], &in[3], &in[4], &in[5], attrs) ||
        !view_f32(&out[0], view_count(&in[0])) || !view_maybe_f32(&out[1], c.B * c.H * c.Lq))
        return check_refuse("attention", out, 2, in, 6, err);
    const int64_t tiles = (c.Lq + QUERIES - 1) / QUERIES, work = c.B * c.H * tiles;
#pragma omp parallel for schedule(dynamic)                                                         \
    reduction(|                                                                                    \
              : failed) if (c.B * c.H * c.Lq * c.Lk * c.D > PARALLEL_PRODUCT_MIN)
    for (int64_t n = 0; n < work; n++) {
        struct tile *t = mem_alloc(sizeof *t + (size_t)(QUERIES * c.D) * sizeof(float));
        if (!t) {
            failed |= 1;
            continue;
        }
        t->b = n / tiles / c.H;
        t->h = n / tiles % c.H;
        t->i0 = n % tiles * QUERIES;
        t->m = min_i64(QUERIES, c.Lq - t->i0);
        tile_fwd(t, (float *)(t + 1), out[0].data, out[1].data, &c);
        mem_free(t);
    }
    return failed ? error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: attention") : ST_OK;
}

/* A head on its way back. */
struct back {
    float P[QUERIES * KEYS], dP[QUERIES * KEYS]; /* probabilities (after dropout), then dS */
    float keep[KEYS];
    float delta[QUERIES]; /* do . o */
    int64_t b, h;
};
struct gradients {
    const float *go, *o, *lse;
    float *dq, *dk, *dv; /* each may be NULL */
};

/* Row r of a tile: scores and dP in place to probabilities and dS. */
static void harden_row(struct back *w, const struct call *c, float lse, int64_t r, int64_t i,
                       int64_t j0, int64_t n)
{
    float *p = w->P + r * KEYS, *g = w->dP + r * KEYS;
    const bool blind = !(lse > -INFINITY);
    const int64_t seen = blind ? 0 : min_i64(n, max_i64(0, visible_hi(c, w->b, i) - j0));
    exp_row(p, lse, seen);
    if (c->at->dropout > 0.0f)
        draw_keep(w->keep, c, w->b, w->h, i, j0, seen);
    for (int64_t j = 0; j < seen; j++) {
        const float keep = c->at->dropout > 0.0f ? w->keep[j] : 1.0f;
        g[j] = p[j] * (g[j] * keep - w->delta[r]) * c->at->scale;
        p[j] *= keep;
    }
    memset(p + seen, 0, (size_t)(n - seen) * sizeof *p);
    memset(g + seen, 0, (size_t)(n - seen) * sizeof *g);
}

/* Adds what queries [i0, i0 + m) and keys [j0, j0 + n) give to each other. */
static void tile_bwd(struct back *w, const struct call *c, const struct gradients *g, int64_t i0,
                     int64_t m, int64_t j0, int64_t n)
{
    const int64_t W = c->H * c->D, D = c->D;
    const int64_t qi = place(c, w->b, i0, c->Lq, w->h), kj = place(c, w->b, j0, c->Lk, w->h);
    scores(w->P, c, c->q + qi, c->k + kj, m, n, c->at->scale);
    scores(w->dP, c, g->go + qi, c->v + kj, m, n, 1.0f);
    for (int64_t r = 0; r < m; r++)
        harden_row(w, c, g->lse[(w->b * c->H + w->h) * c->Lq + i0 + r], r, i0 + r, j0, n);
    if (g->dv) {
        const struct product p = { 1,          0,    n, D, m,    w->P, g->go + qi,
                                   g->dv + kj, KEYS, W, W, 1.0f, 1.0f };
        product_run(&p);
    }
    if (g->dq) {
        const struct product p = { 0,          0,    m, D, n,    w->dP, c->k + kj,
                                   g->dq + qi, KEYS, W, W, 1.0f, 1.0f };
        product_run(&p);
    }
    if (g->dk) {
        const struct product p = { 1,          0,    n, D, m,    w->dP, c->q + qi,
                                   g->dk + kj, KEYS, W, W, 1.0f, 1.0f };
        product_run(&p);
    }
}

static void head_bwd(struct back *w, const struct call *c, const struct gradients *g)
{
    for (int64_t i0 = 0; i0 < c->Lq; i0 += QUERIES) {
        const int64_t m = min_i64(QUERIES, c->Lq - i0), hi = visible_hi(c, w->b, i0 + m - 1);
        for (int64_t r = 0; r < m; r++) {
            const int64_t at = place(c, w->b, i0 + r, c->Lq, w->h);
            double dot = 0.0;
            for (int64_t d = 0; d < c->D; d++)
                dot += (double)g->go[at + d] * (double)g->o[at + d];
            w->delta[r] = (float)dot;
        }
        for (int64_t j0 = visible_lo(c, w->b); j0 < hi; j0 += KEYS)
            tile_bwd(w, c, g, i0, m, j0, min_i64(KEYS, hi - j0));
    }
}

enum status attention_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct attention_attrs *at = attrs;
    const struct gradients g = { in[0].data,  in[4].data,  in[5].data,
                                 out[0].data, out[1].data, out[2].data };
    struct call c;
    int failed = 0;
    (void)k;

    if (!call_of(&c, &in[1], &in[2], &in[3], &in[6], &in[7], &in[8], attrs) || c.kv_batch != c.B ||
        !view_f32(&in[0], view_count(&in[1])) || !view_f32(&in[4], view_count(&in[1])) ||
        !view_f32(&in[5], c.B * c.H * c.Lq) || !view_maybe_f32(&out[0], view_count(&in[1])) ||
        !view_maybe_f32(&out[1], view_count(&in[2])) ||
        !view_maybe_f32(&out[2], view_count(&in[2])))
        return check_refuse("attention_bwd", out, 3, in, 9, err);
    if (g.dq)
        scale_in_place(g.dq, view_count(&in[1]), at->beta_dq);
    if (g.dk)
        scale_in_place(g.dk, view_count(&in[2]), at->beta_dk);
    if (g.dv)
        scale_in_place(g.dv, view_count(&in[2]), at->beta_dv);
#pragma omp parallel for schedule(dynamic)                                                         \
    reduction(|                                                                                    \
              : failed) if (c.B * c.H * c.Lq * c.Lk * c.D > PARALLEL_PRODUCT_MIN)
    for (int64_t n = 0; n < c.B * c.H; n++) {
        struct back *w = mem_alloc(sizeof *w);
        if (!w) {
            failed |= 1;
            continue;
        }
        w->b = n / c.H;
        w->h = n % c.H;
        head_bwd(w, &c, &g);
        mem_free(w);
    }
    return failed ? error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: attention_bwd") : ST_OK;
}
