/* trainer/runner.c: see runner.h. Every view is made once, when the runner opens. */
#include "trainer/runner.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"

enum { RUNNER_ALIGN = 256, OPERANDS_MAX = 24 };

struct runner {
    const struct program *p;
    struct memory_plan *plan;
    struct placement *where; /* NULL: the CPU in place */
    struct device *device;   /* of it */
    enum dtype storage;
    bool apart; /* the tensors lie in a device's memory, with mirrors here */
    struct kctx cpu;
    struct runner_arena own, *arena; /* the one in use: its own, or shared */
    const uint8_t *settled;          /* the arena's data that the views point into */
    uint8_t *batch;
    int64_t batch_bytes;
    struct view *views;           /* by tensor: what kernels get */
    struct runner_seconds *times; /* by node, borrowed; NULL: nobody asks */
    /* Only with `apart`. */
    void *
        *mirrors; /* by tensor: the host's float32 or int32 of batch and kept tensors, else NULL */
    uint8_t *mirror_block;
    bool *stale; /* by root: the copy on the other side is older */
};

static enum status allocate(struct device *device, uint8_t **out, int64_t bytes, const char *what,
                            struct error *err)
{
    const size_t size = bytes > 0 ? (size_t)bytes : RUNNER_ALIGN;
    void *data = NULL;
    enum status st = ST_OK;
    if (device)
        st = device_alloc(device, &data, size, what, err);
    else if (!(data = mem_alloc_aligned(RUNNER_ALIGN, size)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s of %zu bytes", what, size);
    *out = data;
    return st;
}

static void release(struct device *device, void *data)
{
    if (device)
        device_free(device, data);
    else
        mem_free(data);
}

void runner_arena_clear(struct runner_arena *a)
{
    if (a->data)
        release(a->device, a->data);
    *a = (struct runner_arena){ 0 };
}

static enum status arena_reserve(struct runner_arena *a, struct device *device, int64_t bytes,
                                 struct error *err)
{
    if (a->data && a->bytes >= bytes)
        return ST_OK;
    runner_arena_clear(a);
    a->device = device;
    const enum status st = allocate(device, &a->data, bytes, "arena", err);
    a->bytes = st == ST_OK ? bytes : 0;
    return st;
}

static size_t element_bytes(const struct runner *r, const struct tensor *t)
{
    return role_bytes(t->role, r->storage);
}

static int64_t padded(int64_t bytes)
{
    return (bytes + RUNNER_ALIGN - 1) / RUNNER_ALIGN * RUNNER_ALIGN;
}

static int64_t batch_bytes(const struct runner *r, const struct tensor *t)
{
    return padded(t->count * (int64_t)element_bytes(r, t));
}

static enum status make_batch(struct runner *r, struct error *err)
{
    int64_t bytes = 0;
    for (int t = 1; t < r->p->n_tensors; t++)
        if (r->p->tensors[t].place == PLACE_BATCH && r->p->tensors[t].base == TENSOR_NONE)
            bytes += batch_bytes(r, &r->p->tensors[t]);
    bytes = bytes > 0 ? bytes : RUNNER_ALIGN;
    r->batch_bytes = bytes;
    if (allocate(r->device, &r->batch, bytes, "batch", err) != ST_OK)
        return ST_FAIL;
    if (r->device)
        return device_clear(r->device, r->batch, (size_t)bytes, err);
    memset(r->batch, 0, (size_t)bytes);
    return ST_OK;
}

static void *param_data(const struct runner *r, const struct tensor *x)
{
    const struct param *q = &r->p->params->list[x->param];
    const bool value = x->place == PLACE_PARAMETER;
    if (!r->where)
        return value ? q->value : q->gradient;
    return value ? placement_value(r->where, q) : placement_gradient(r->where, q);
}

/* Start of the memory that tensor t, which has no base, owns; NULL where nobody writes it. */
static void *root_data(const struct runner *r, int t, int64_t *batch_used)
{
    const struct tensor *x = &r->p->tensors[t];
    const int item = r->plan->item_of[t];
    uint8_t *at = NULL;
    switch (x->place) {
    case PLACE_PARAMETER:
    case PLACE_GRADIENT:
        return param_data(r, x);
    case PLACE_BATCH:
        at = r->batch + *batch_used;
        *batch_used += batch_bytes(r, x);
        return at;
    case PLACE_ARENA:
        return item < 0 ? NULL : r->arena->data + r->plan->items[item].offset;
    }
    return NULL;
}

/* Views of all tensors where they lie now. Bases have smaller ids than the views into them, so one pass
 * suffices. */
static void settle(struct runner *r)
{
    int64_t batch_used = 0;
    if (r->settled == r->arena->data)
        return;
    r->settled = r->arena->data;
    for (int t = 1; t < r->p->n_tensors; t++) {
        const struct tensor *x = &r->p->tensors[t];
        struct view *v = &r->views[t];
        v->type = x->role == ROLE_INDEX ? DT_I32 : x->role == ROLE_EXACT ? DT_F32 : r->storage;
        v->rank = x->rank;
        memcpy(v->shape, x->shape, sizeof v->shape);
        if (x->base == TENSOR_NONE) {
            v->data = root_data(r, t, &batch_used);
        } else if (r->views[x->base].data) {
            uint8_t *base = r->views[x->base].data;
            v->data = base + (size_t)x->offset * element_bytes(r, x);
        }
    }
}

static enum status make_views(struct runner *r, struct error *err)
{
    r->views = mem_calloc((size_t)r->p->n_tensors, sizeof *r->views);
    if (!r->views)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: views");
    settle(r);
    return ST_OK;
}

/* ---- mirrors ---- */

/* Marks in r->stale the roots that the host looks at; returns the bytes of their mirrors. */
static int64_t mark_mirrored(struct runner *r)
{
    int64_t bytes = 0;
    for (int t = 1; t < r->p->n_tensors; t++) {
        const struct tensor *x = &r->p->tensors[t];
        const int root = program_root(r->p, t);
        const bool wanted = x->place == PLACE_BATCH || (x->place == PLACE_ARENA && x->kept);
        if (wanted && r->views[root].data && !r->stale[root]) {
            r->stale[root] = true;
            bytes += padded(r->p->tensors[root].count * 4);
        }
    }
    return bytes;
}

static enum status make_mirrors(struct runner *r, struct error *err)
{
    const size_t n = (size_t)r->p->n_tensors;
    r->mirrors = mem_calloc(n, sizeof *r->mirrors);
    r->stale = mem_calloc(n, sizeof *r->stale);
    if (!r->mirrors || !r->stale)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: mirrors");
    const int64_t bytes = mark_mirrored(r);
    void *block = NULL;
    if (device_alloc_host(r->device, &block, (size_t)bytes, "mirrors", err) != ST_OK)
        return ST_FAIL;
    r->mirror_block = block;
    memset(block, 0, (size_t)bytes);
    int64_t used = 0;
    for (int t = 1; t < r->p->n_tensors; t++) {
        const struct tensor *x = &r->p->tensors[t];
        if (x->base != TENSOR_NONE && r->mirrors[x->base]) {
            uint8_t *base = r->mirrors[x->base];
            r->mirrors[t] = base + 4 * x->offset;
        } else if (x->base == TENSOR_NONE && r->stale[t]) {
            r->mirrors[t] = r->mirror_block + used;
            used += padded(x->count * 4);
        }
        r->stale[t] = false;
    }
    return ST_OK;
}

static enum status copy_root(struct runner *r, int t, bool in, struct error *err)
{
    const struct view *v = &r->views[t];
    const int64_t n = r->p->tensors[t].count;
    r->stale[t] = false;
    return in ? placement_copy_in(r->where, v->data, r->mirrors[t], n, v->type, err)
              : placement_copy_out(r->where, r->mirrors[t], v->data, n, v->type, err);
}

static enum status copy_stale(struct runner *r, bool in, struct error *err)
{
    for (int t = 1; t < r->p->n_tensors; t++)
        if (r->stale[t] && (r->p->tensors[t].place == PLACE_BATCH) == in &&
            copy_root(r, t, in, err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

static void mark_written(struct runner *r, const struct node *n)
{
    for (int i = 0; i < n->n_out; i++) {
        const int root = program_root(r->p, n->out[i]);
        if (r->mirrors[root])
            r->stale[root] = true;
    }
}

/* ---- the walk ---- */

static kernel_fn *kernel_of(const struct runner *r, const struct node *n)
{
    return r->device ? device_kernel(r->device, n->op->run) : kernel_table_cpu[n->op->run];
}

static enum status check_kernels(const struct runner *r, struct error *err)
{
    for (int i = 0; i < r->p->n_nodes; i++) {
        const struct node *n = &r->p->nodes[i];
        if (!kernel_of(r, n))
            return error_set(err, ST_FAIL, CAUSE_ARG, "operation %s does not run on %s",
                             n->op->name, r->device ? device_text(r->device) : "CPU");
        if (n->n_out > OPERANDS_MAX || n->n_in > OPERANDS_MAX)
            return error_set(err, ST_FAIL, CAUSE_INTERNAL, "operation %s: %d operands", n->op->name,
                             n->n_out + n->n_in);
    }
    return ST_OK;
}

static void place(struct runner *r, struct placement *where)
{
    r->where = where;
    r->device = where ? placement_device(where) : NULL;
    r->storage = where ? placement_storage(where) : DT_F32;
    r->apart = where && placement_apart(where);
}

enum status runner_open(struct runner **out, const struct program *p, struct placement *where,
                        struct error *err)
{
    return runner_open_in(out, p, where, NULL, err);
}

enum status runner_open_in(struct runner **out, const struct program *p, struct placement *where,
                           struct runner_arena *arena, struct error *err)
{
    struct runner *r = mem_calloc(1, sizeof *r);
    *out = NULL;
    if (!r)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: runner");
    r->p = p;
    r->arena = arena ? arena : &r->own;
    place(r, where);
    if (planner_open(&r->plan, p, r->storage, err) != ST_OK || check_kernels(r, err) != ST_OK ||
        (where && placement_allocate(where, err) != ST_OK) ||
        arena_reserve(r->arena, r->device, r->plan->arena_bytes, err) != ST_OK ||
        make_batch(r, err) != ST_OK || make_views(r, err) != ST_OK ||
        (r->apart && make_mirrors(r, err) != ST_OK)) {
        runner_close(&r);
        return ST_FAIL;
    }
    *out = r;
    return ST_OK;
}

void runner_close(struct runner **rp)
{
    struct runner *r = *rp;
    if (!r)
        return;
    planner_close(&r->plan);
    runner_arena_clear(&r->own);
    if (r->batch)
        release(r->device, r->batch);
    if (r->apart)
        device_free_host(r->device, r->mirror_block);
    mem_free(r->mirrors);
    mem_free(r->stale);
    mem_free(r->views);
    mem_free(r);
    *rp = NULL;
}

static enum status run_node(struct runner *r, const struct node *n, struct error *err)
{
    struct view out[OPERANDS_MAX], in[OPERANDS_MAX];
    struct kctx *k = r->device ? device_context(r->device) : &r->cpu;
    for (int i = 0; i < n->n_out; i++)
        out[i] = r->views[n->out[i]];
    for (int i = 0; i < n->n_in; i++)
        in[i] = r->views[n->in[i]];
    const enum status st = kernel_of(r, n)(k, out, in, n->attrs, err);
    if (r->apart)
        mark_written(r, n);
    return st == ST_OK
               ? st
               : error_prefix(err, st, "%s%s%s", n->part, n->part[0] ? ": " : "", n->op->name);
}

static enum status run_timed(struct runner *r, const struct node *n, struct error *err)
{
    struct runner_seconds *t = &r->times[n - r->p->nodes];
    const double wall = clock_seconds(), thread = clock_thread_seconds();
    const enum status st = run_node(r, n, err);
    t->thread += clock_thread_seconds() - thread;
    t->wall += clock_seconds() - wall;
    return st;
}

enum status runner_run(struct runner *r, int begin, int end, struct error *err)
{
    settle(r);
    if (r->apart && copy_stale(r, true, err) != ST_OK)
        return ST_FAIL;
    for (int i = begin; i < end; i++) {
        if ((r->times ? run_timed : run_node)(r, &r->p->nodes[i], err) != ST_OK)
            return ST_FAIL;
    }
    return r->apart ? copy_stale(r, false, err) : ST_OK;
}

enum status runner_run_span(struct runner *r, int span, struct error *err)
{
    return runner_run(r, r->p->spans[span].begin, r->p->spans[span].end, err);
}

void *runner_data(struct runner *r, int t)
{
    settle(r);
    if (!r->apart)
        return r->views[t].data;
    if (r->mirrors[t] && r->p->tensors[t].place == PLACE_BATCH)
        r->stale[program_root(r->p, t)] = true;
    return r->mirrors[t];
}

struct runner_seconds *runner_watch(struct runner *r, struct runner_seconds *times)
{
    struct runner_seconds *before = r->times;
    r->times = times;
    return before;
}

int64_t runner_batch_bytes(const struct runner *r)
{
    return r->batch_bytes;
}

const struct memory_plan *runner_plan(const struct runner *r)
{
    return r->plan;
}
