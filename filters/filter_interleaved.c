/* filters/filter_interleaved.c: the rules for documents in the order of spec data.md 2.2. */
#include "filters/filter.h"

#include <math.h>
#include <stdlib.h>

#include "core/rng.h"

struct chain {
    struct filter_result *out;
    const struct document *d;
    const struct filter_options *opt;
    const struct filter_pictures *pictures;
    bool drawn; /* D3 is drawn at most once for a document */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "filter: record too large for its arena");
}

static enum filter_reason drop_by_metadata(const struct document *d, size_t i, double threshold)
{
    const struct document_image *m = &d->images[i];
    if (!m->usable)
        return FILTER_F2_SCHEMA;
    if (!m->has_similarity || !isfinite(m->similarity) || m->similarity < threshold)
        return FILTER_F1_SIMILARITY;
    if (!m->has_sentence || m->sentence < 0 || (uint64_t)m->sentence >= d->sentence_count)
        return FILTER_F2_INDEX;
    return FILTER_NONE;
}

/* Step 3: F1, F2a, F2b. */
static enum status find_survivors(struct chain *c, struct error *err)
{
    struct filter_result *r = c->out;
    for (uint32_t i = 0; i < c->d->image_count; i++) {
        struct filter_image *image = &r->images[i];
        image->reason = drop_by_metadata(c->d, i, c->opt->min_similarity);
        image->fate = image->reason == FILTER_NONE ? FILTER_KEPT : FILTER_DROPPED;
        if (image->fate != FILTER_KEPT)
            continue;
        enum status st = ST_OK;
        if (c->pictures->exists)
            st = c->pictures->exists(c->pictures->arg, c->d, i, image, err);
        if (st != ST_OK && st != ST_SKIP)
            return st;
        if (st == ST_OK)
            r->survivors[r->survivor_count++] = i;
    }
    return ST_OK;
}

/* D3, when one image is left: true = the document goes. */
static bool draw_single(struct chain *c)
{
    struct rng g;
    c->drawn = true;
    document_draw(&g, c->opt->seed, "D3", c->d);
    return rng_bernoulli(&g, 1.0 - c->opt->keep_single);
}

struct ranked {
    double similarity;
    uint64_t at; /* in the list of survivors */
};

static int by_similarity(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->similarity != y->similarity)
        return x->similarity > y->similarity ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

/* F4: in which order the survivors are tried. */
static enum status order_survivors(struct chain *c, struct error *err)
{
    struct filter_result *r = c->out;
    const size_t n = r->survivor_count;
    struct ranked *ranked = arena_alloc(c->d->arena, n, sizeof *ranked);
    struct rng g;

    r->walk = arena_alloc(c->d->arena, n, sizeof *r->walk);
    if (!r->walk || !ranked)
        return no_memory(err);
    if (c->opt->pick == FILTER_PICK_RANDOM) {
        document_draw(&g, c->opt->seed, "D1", c->d);
        rng_pick(&g, r->walk, n, n);
        return ST_OK;
    }
    for (size_t i = 0; i < n; i++)
        ranked[i] = (struct ranked){ c->d->images[r->survivors[i]].similarity, i };
    if (c->opt->pick == FILTER_PICK_TOP_SIM)
        qsort(ranked, n, sizeof *ranked, by_similarity);
    for (size_t i = 0; i < n; i++)
        r->walk[i] = ranked[i].at;
    return ST_OK;
}

/* Step 5: verified in order until enough are found. */
static enum status walk_survivors(struct chain *c, struct error *err)
{
    struct filter_result *r = c->out;
    const size_t n = r->survivor_count;

    if (n > c->opt->max_images && order_survivors(c, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < n; i++) {
        const uint32_t index = r->survivors[r->walk ? r->walk[i] : i];
        struct filter_image *image = &r->images[index];
        if (r->place_count == c->opt->max_images) {
            *image = (struct filter_image){ FILTER_DROPPED, FILTER_F4_MAX_IMAGES };
            continue;
        }
        enum status st = ST_OK;
        if (c->pictures->verify)
            st = c->pictures->verify(c->pictures->arg, c->d, index, image, err);
        if (st != ST_OK && st != ST_SKIP)
            return st;
        if (st == ST_OK)
            r->places[r->place_count++] =
                (struct filter_place){ index, (uint32_t)c->d->images[index].sentence, false };
    }
    return ST_OK;
}

static int by_element(const void *a, const void *b)
{
    const struct filter_place *x = a, *y = b;
    if (x->sentence != y->sentence)
        return x->sentence < y->sentence ? -1 : 1;
    if (x->before != y->before)
        return x->before ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Steps 7 and 8: D2 for every image, then the order of elements. */
static void place_images(struct chain *c)
{
    struct filter_result *r = c->out;
    for (size_t i = 0; i < r->place_count; i++) {
        struct rng_key k;
        struct rng g;
        rng_key_init(&k, c->opt->seed, "D2");
        document_key(&k, c->d);
        rng_key_integer(&k, r->places[i].index);
        rng_init(&g, &k);
        r->places[i].before = rng_bernoulli(&g, 0.5);
    }
    qsort(r->places, r->place_count, sizeof *r->places, by_element);
}

uint64_t filter_disagreements(const struct document *d)
{
    uint64_t n = 0;
    for (size_t i = 0; i < d->image_count; i++) {
        const struct document_image *m = &d->images[i];
        const bool both_nan = isnan(m->similarity) && isnan(m->matrix);
        if (m->usable && m->has_similarity && m->has_matrix && m->similarity != m->matrix)
            n += !(fabs(m->similarity - m->matrix) <= 1e-4) && !both_nan;
    }
    return n;
}

enum status filter_interleaved(struct filter_result *out, const struct document *d,
                               const struct filter_options *opt,
                               const struct filter_pictures *pictures, struct error *err)
{
    static const struct filter_pictures all_good = { NULL, NULL, NULL };
    struct chain c = { out, d, opt, pictures ? pictures : &all_good, false };
    const size_t n = d->image_count;

    *out = (struct filter_result){ 0 };
    if (n > UINT32_MAX || d->sentence_count > UINT32_MAX)
        return no_memory(err);
    out->images = arena_alloc(d->arena, n ? n : 1, sizeof *out->images);
    out->survivors = arena_alloc(d->arena, n ? n : 1, sizeof *out->survivors);
    out->places = arena_alloc(d->arena, n ? n : 1, sizeof *out->places);
    if (!out->images || !out->survivors || !out->places)
        return no_memory(err);

    enum status st = find_survivors(&c, err);
    if (st != ST_OK)
        return st;
    if (out->survivor_count == 0)
        out->reason = FILTER_F3_NO_IMAGE;
    else if (out->survivor_count == 1 && draw_single(&c))
        out->reason = FILTER_F5_SINGLE_IMAGE;
    if (out->reason != FILTER_NONE)
        return ST_OK;

    st = walk_survivors(&c, err);
    if (st != ST_OK)
        return st;
    if (out->place_count == 0)
        out->reason = FILTER_F3_NO_IMAGE;
    else if (out->place_count == 1 && !c.drawn && draw_single(&c))
        out->reason = FILTER_F5_SINGLE_IMAGE;
    if (out->reason == FILTER_NONE)
        place_images(&c);
    return ST_OK;
}
