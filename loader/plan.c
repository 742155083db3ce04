/* loader/plan.c: see plan.h. Counting per source is exact arithmetic: a block of the stratified mix
 * holds weight(s) micro-batches of source s, so what came before a block is a product, and only the
 * block at hand is drawn. */
#include "loader/plan.h"

#include <string.h>

#include "core/bytes.h"
#include "core/mem.h"
#include "core/rng.h"

enum { WEIGHTS_MAX = 1000, DEFAULT_BLOCK = 256 };

struct plan {
    struct plan_options opt;
    struct plan_source *sources;
    uint64_t weights; /* their sum */
};

void plan_options_init(struct plan_options *opt)
{
    *opt = (struct plan_options){ .mixing = PLAN_STRATIFIED,
                                  .order = PLAN_PERMUTATION,
                                  .block = DEFAULT_BLOCK,
                                  .batch_global = 1,
                                  .batch_micro = 1 };
}

static enum status check_options(const struct plan_options *o, struct error *err)
{
    uint64_t sum = 0;

    if (o->n_sources == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "no source of data");
    for (size_t i = 0; i < o->n_sources; i++) {
        const struct plan_source *s = &o->sources[i];
        if (s->sequences == 0)
            return error_set(err, ST_FAIL, CAUSE_ARG, "source %s has no sequence", s->name);
        if (s->weight == 0 || s->weight > WEIGHTS_MAX || sum + s->weight > WEIGHTS_MAX)
            return error_set(err, ST_FAIL, CAUSE_ARG, "source %s: weights sum to at most %d",
                             s->name, WEIGHTS_MAX);
        if (strlen(s->name) > 1024)
            return error_set(err, ST_FAIL, CAUSE_ARG, "source name of more than 1,024 bytes");
        sum += s->weight;
    }
    if (o->batch_micro == 0 || o->batch_global == 0 || o->batch_global % o->batch_micro != 0)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "batch.micro %llu does not divide batch.global %llu",
                         (unsigned long long)o->batch_micro, (unsigned long long)o->batch_global);
    if (o->block == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "blocks of 0 sequences");
    return ST_OK;
}

enum status plan_open(struct plan **out, const struct plan_options *opt, struct error *err)
{
    *out = NULL;
    if (check_options(opt, err) != ST_OK)
        return ST_FAIL;
    struct plan *p = mem_calloc(1, sizeof *p);
    if (p)
        p->sources = mem_calloc(opt->n_sources, sizeof *p->sources);
    if (!p || !p->sources) {
        plan_close(&p);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plan");
    }
    p->opt = *opt;
    memcpy(p->sources, opt->sources, opt->n_sources * sizeof *p->sources);
    p->opt.sources = p->sources;
    for (size_t i = 0; i < opt->n_sources; i++)
        p->weights += opt->sources[i].weight;
    *out = p;
    return ST_OK;
}

void plan_close(struct plan **p)
{
    if (*p)
        mem_free((*p)->sources);
    mem_free(*p);
    *p = NULL;
}

uint64_t plan_micro_batches(const struct plan *p)
{
    return p->opt.batch_global / p->opt.batch_micro;
}

enum status plan_share(const struct plan *p, uint64_t world, uint64_t rank, uint64_t *begin,
                       uint64_t *end, struct error *err)
{
    const uint64_t n = plan_micro_batches(p);

    if (world == 0 || rank >= world || n % world != 0)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "rank %llu of %llu: %llu micro-batches of a step do not divide",
                         (unsigned long long)rank, (unsigned long long)world,
                         (unsigned long long)n);
    *begin = n / world * rank;
    *end = *begin + n / world;
    return ST_OK;
}

/* The source of micro-batch m, and which of that source's micro-batches it is. */
static uint32_t find_source(const struct plan *p, uint64_t m, uint64_t *number)
{
    const uint64_t W = p->weights;
    uint64_t slots[WEIGHTS_MAX], list[WEIGHTS_MAX], weights[WEIGHTS_MAX];
    struct rng_key key;
    struct rng r;
    size_t n = 0;

    rng_key_init(&key, p->opt.seed, "D6");
    rng_key_integer(&key, p->opt.mixing == PLAN_IID ? m : m / W);
    rng_init(&r, &key);
    if (p->opt.mixing == PLAN_IID) {
        for (size_t i = 0; i < p->opt.n_sources; i++)
            weights[i] = p->sources[i].weight;
        *number = m;
        return (uint32_t)rng_weighted(&r, weights, p->opt.n_sources);
    }
    for (size_t i = 0; i < p->opt.n_sources; i++)
        for (uint64_t k = 0; k < p->sources[i].weight; k++)
            list[n++] = i;
    rng_pick(&r, slots, n, n);
    const uint64_t at = m % W;
    const uint64_t source = list[slots[at]];
    *number = m / W * p->sources[source].weight;
    for (uint64_t k = 0; k < at; k++)
        *number += list[slots[k]] == source;
    return (uint32_t)source;
}

static void epoch_draw(struct rng *r, const struct plan *p, const struct plan_source *s,
                       uint64_t epoch, const uint64_t *block)
{
    struct rng_key key;

    rng_key_init(&key, p->opt.seed, "D5c");
    rng_key_string(&key, s->name, strlen(s->name));
    rng_key_integer(&key, epoch);
    if (block)
        rng_key_integer(&key, *block);
    rng_init(r, &key);
}

/* Place `at` of an epoch's order. */
static uint64_t order_at(const struct plan *p, const struct plan_source *s, uint64_t epoch,
                         uint64_t at)
{
    const uint64_t n = p->opt.block, whole = s->sequences / n;
    struct rng r;

    if (p->opt.order == PLAN_PERMUTATION) {
        epoch_draw(&r, p, s, epoch, NULL);
        return rng_perm_at(&r, s->sequences, at);
    }
    uint64_t block = at / n;
    if (block < whole) {
        epoch_draw(&r, p, s, epoch, NULL);
        block = rng_perm_at(&r, whole, block);
    }
    const uint64_t size = block < whole ? n : s->sequences - whole * n;
    epoch_draw(&r, p, s, epoch, &block);
    return block * n + rng_perm_at(&r, size, at % n);
}

uint32_t plan_source(const struct plan *p, uint64_t micro_batch)
{
    uint64_t number = 0;

    return find_source(p, micro_batch, &number);
}

void plan_samples(const struct plan *p, uint64_t micro_batch, struct plan_sample *out)
{
    const uint64_t b = p->opt.batch_micro, per_step = plan_micro_batches(p);
    uint64_t number = 0;
    const uint32_t source = find_source(p, micro_batch, &number);
    const struct plan_source *s = &p->sources[source];

    for (uint64_t i = 0; i < b; i++) {
        const uint64_t k = number * b + i;
        out[i] =
            (struct plan_sample){ .source = source,
                                  .epoch = k / s->sequences,
                                  .sequence = order_at(p, s, k / s->sequences, k % s->sequences),
                                  .step = micro_batch / per_step,
                                  .position = micro_batch % per_step * b + i,
                                  .micro_batch = micro_batch };
    }
}
