/* trainer/params.c: see params.h. */
#include "trainer/params.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"

enum { PARAMS_ALIGN = 64 }; /* bytes; one cache line, and the vector width of every CPU */
static const int64_t COUNT_MAX = (int64_t)1 << 40; /* elements of a tensor: sums then fit 64 bits */

enum status params_open(struct params **out, params_trainable_fn *trainable, const void *arg,
                        struct error *err)
{
    struct params *p = mem_calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: parameter table");
    arena_init(&p->names, 0);
    p->trainable = trainable;
    p->trainable_arg = arg;
    if (hash_map_open(&p->by_name, 256, err) != ST_OK) {
        params_close(&p);
        return ST_FAIL;
    }
    *out = p;
    return ST_OK;
}

void params_close(struct params **pp)
{
    struct params *p = *pp;
    if (!p)
        return;
    hash_map_close(&p->by_name);
    arena_clear(&p->names);
    mem_free(p->list);
    mem_free(p->values);
    mem_free(p->gradients);
    mem_free(p);
    *pp = NULL;
}

struct param *params_find(const struct params *p, const char *name)
{
    uint64_t i = 0;
    return hash_map_get(p->by_name, name, strlen(name), &i) ? &p->list[i] : NULL;
}

static enum status grow(struct params *p, struct error *err)
{
    if (p->count < p->cap)
        return ST_OK;
    const size_t cap = p->cap ? 2 * p->cap : 64;
    struct param *list = mem_realloc(p->list, cap, sizeof *list);
    if (!list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %zu parameters", cap);
    p->list = list;
    p->cap = cap;
    return ST_OK;
}

static enum status same_shape(const struct param *q, const int64_t *shape, int rank,
                              struct error *err)
{
    bool same = q->rank == rank;
    for (int i = 0; same && i < rank; i++)
        same = q->shape[i] == shape[i];
    if (!same)
        return error_set(err, ST_FAIL, CAUSE_ARG, "parameter %s: declared twice with two shapes",
                         q->name);
    return ST_OK;
}

static enum status insert(struct params *p, size_t *index, const char *name, const int64_t *shape,
                          int rank, struct error *err)
{
    uint64_t at = p->count;
    if (p->values)
        return error_set(err, ST_FAIL, CAUSE_ARG, "parameter %s: declared after allocation", name);
    if (rank < 0 || rank > VIEW_RANK_MAX)
        return error_set(err, ST_FAIL, CAUSE_ARG, "parameter %s: rank %d", name, rank);
    if (grow(p, err) != ST_OK)
        return ST_FAIL;
    struct param q = { .rank = rank, .count = 1, .offset = -1 };
    for (int i = 0; i < rank; i++) {
        q.shape[i] = shape[i];
        if (shape[i] < 1 || !mul_ok_i64(q.count, shape[i], &q.count) || q.count > COUNT_MAX)
            return error_set(err, ST_FAIL, CAUSE_ARG,
                             "parameter %s: axis %d is %" PRId64 ", out of bounds", name, i,
                             shape[i]);
    }
    q.name = arena_strndup(&p->names, name, strlen(name));
    if (!q.name)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: parameter name");
    if (hash_map_insert(p->by_name, name, strlen(name), &at, err) != ST_OK)
        return ST_FAIL;
    p->list[p->count] = q;
    *index = p->count++;
    return ST_OK;
}

enum status params_declare(struct params *p, size_t *index, const char *name, const int64_t *shape,
                           int rank, struct error *err)
{
    const struct param *old = params_find(p, name);
    if (old) {
        *index = (size_t)(old - p->list);
        return same_shape(old, shape, rank, err);
    }
    if (insert(p, index, name, shape, rank, err) != ST_OK)
        return ST_FAIL;
    p->list[*index].trainable = p->trainable && p->trainable(p->trainable_arg, name);
    return ST_OK;
}

enum status params_declare_buffer(struct params *p, size_t *index, const char *name,
                                  const int64_t *shape, int rank, struct error *err)
{
    const struct param *old = params_find(p, name);
    if (old) {
        *index = (size_t)(old - p->list);
        return same_shape(old, shape, rank, err);
    }
    if (insert(p, index, name, shape, rank, err) != ST_OK)
        return ST_FAIL;
    p->list[*index].buffer = true;
    return ST_OK;
}

/* Offsets are multiples of the alignment, so that every tensor starts on a vector. */
static int64_t padded(int64_t count)
{
    const int64_t unit = PARAMS_ALIGN / (int64_t)sizeof(float);
    return (count + unit - 1) / unit * unit;
}

static void place(struct params *p)
{
    int64_t at = 0;
    for (size_t i = p->count; i-- > 0;)
        if (p->list[i].trainable) {
            p->list[i].offset = at;
            at += padded(p->list[i].count);
        }
    p->trainable_elements = at;
    for (size_t i = 0; i < p->count; i++)
        if (!p->list[i].trainable) {
            p->list[i].offset = at;
            at += padded(p->list[i].count);
        }
    p->elements = at;
}

static float *block(int64_t elements)
{
    size_t bytes = 0;
    if (!mul_ok_size((size_t)elements, sizeof(float), &bytes))
        return NULL;
    float *data = mem_alloc_aligned(PARAMS_ALIGN, bytes);
    if (data)
        memset(data, 0, bytes);
    return data;
}

enum status params_allocate(struct params *p, struct error *err)
{
    if (p->values || p->count == 0)
        return ST_OK;
    place(p);
    p->values = block(p->elements);
    p->gradients = p->trainable_elements ? block(p->trainable_elements) : NULL;
    if (!p->values || (p->trainable_elements && !p->gradients))
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %" PRId64 " parameters",
                         p->elements);
    for (size_t i = 0; i < p->count; i++) {
        struct param *q = &p->list[i];
        q->value = p->values + q->offset;
        q->gradient = q->trainable ? p->gradients + q->offset : NULL;
    }
    return ST_OK;
}

void params_clear_gradients(struct params *p)
{
    if (p->gradients)
        memset(p->gradients, 0, (size_t)p->trainable_elements * sizeof(float));
}
