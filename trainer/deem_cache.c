/* trainer/deem_cache.c: see deem_cache.h. */
#include "trainer/deem_cache.h"

#include <string.h>

struct entry {
    struct deem *m;
    struct runner *r;
    uint64_t used; /* when it was asked for last; 0: free */
};

struct deem_cache {
    const struct deem_config *config;
    const struct deem_options *options;
    struct params *params;
    struct placement *where;
    struct runner_arena arena; /* one for all entries: they run by turns */
    int entries;
    uint64_t clock;
    struct entry entry[DEEM_CACHE_MAX];
};

enum status deem_cache_open(struct deem_cache **out, const struct deem_config *config,
                            const struct deem_options *options, struct params *params,
                            struct placement *where, int entries, struct error *err)
{
    *out = NULL;
    if (entries < 1 || entries > DEEM_CACHE_MAX)
        return error_set(err, ST_FAIL, CAUSE_ARG, "program cache: %d entries", entries);
    struct deem_cache *c = mem_calloc(1, sizeof *c);
    if (!c)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: program cache");
    c->config = config;
    c->options = options;
    c->params = params;
    c->where = where;
    c->entries = entries;
    *out = c;
    return ST_OK;
}

static void drop(struct entry *e)
{
    runner_close(&e->r);
    deem_close(&e->m);
    e->used = 0;
}

void deem_cache_close(struct deem_cache **c)
{
    if (!*c)
        return;
    for (int i = 0; i < (*c)->entries; i++)
        drop(&(*c)->entry[i]);
    runner_arena_clear(&(*c)->arena);
    mem_free(*c);
    *c = NULL;
}

static bool same_shape(const struct deem_shape *a, const struct deem_shape *b)
{
    return a->B == b->B && a->L == b->L && a->I == b->I && a->context == b->context &&
           a->pairs == b->pairs && a->passes == b->passes;
}

enum status deem_cache_get(struct deem_cache *c, const struct deem_shape *shape, struct deem **m,
                           struct runner **r, struct error *err)
{
    struct entry *oldest = &c->entry[0], *found = NULL;
    for (int i = 0; i < c->entries; i++) {
        struct entry *e = &c->entry[i];
        if (e->used && same_shape(&e->m->shape, shape))
            found = e;
        oldest = e->used < oldest->used ? e : oldest;
    }
    if (!found) {
        drop(oldest);
        if (deem_open(&oldest->m, c->config, shape, c->options, c->params, err) != ST_OK ||
            params_allocate(c->params, err) != ST_OK ||
            runner_open_in(&oldest->r, oldest->m->p, c->where, &c->arena, err) != ST_OK) {
            drop(oldest);
            return ST_FAIL;
        }
        found = oldest;
    }
    found->used = ++c->clock;
    *m = found->m;
    *r = found->r;
    return ST_OK;
}

int64_t deem_cache_bytes(const struct deem_cache *c)
{
    int64_t bytes = c->arena.bytes;
    for (int i = 0; i < c->entries; i++)
        bytes += c->entry[i].used ? runner_batch_bytes(c->entry[i].r) : 0;
    return bytes;
}
