/* trainer/runner.c: see runner.h. The CPU backend; every view is made once, when the runner opens. */
#include "trainer/runner.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"

enum { RUNNER_ALIGN = 256, OPERANDS_MAX = 24 };

struct runner {
    const struct program *p;
    struct memory_plan *plan;
    enum backend backend;
    struct kctx k;
    uint8_t *arena, *batch;
    struct view *views; /* by tensor */
};

static enum status allocate(void **out, int64_t bytes, const char *what, struct error *err)
{
    *out = mem_alloc_aligned(RUNNER_ALIGN, bytes > 0 ? (size_t)bytes : RUNNER_ALIGN);
    if (!*out)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s of %" PRId64 " bytes", what,
                         bytes);
    return ST_OK;
}

static int64_t tensor_bytes(const struct tensor *t)
{
    return t->count * (int64_t)role_bytes(t->role, DT_F32);
}

static int64_t padded(int64_t bytes)
{
    return (bytes + RUNNER_ALIGN - 1) / RUNNER_ALIGN * RUNNER_ALIGN;
}

static enum status make_batch(struct runner *r, struct error *err)
{
    int64_t bytes = 0;
    void *data = NULL;
    for (int t = 1; t < r->p->n_tensors; t++)
        if (r->p->tensors[t].place == PLACE_BATCH && r->p->tensors[t].base == TENSOR_NONE)
            bytes += padded(tensor_bytes(&r->p->tensors[t]));
    if (allocate(&data, bytes, "batch", err) != ST_OK)
        return ST_FAIL;
    memset(data, 0, bytes > 0 ? (size_t)bytes : RUNNER_ALIGN);
    r->batch = data;
    return ST_OK;
}

/* Start of the memory that tensor t, which has no base, owns; NULL where nobody writes it. */
static void *root_data(const struct runner *r, int t, int64_t *batch_used)
{
    const struct tensor *x = &r->p->tensors[t];
    const int item = r->plan->item_of[t];
    uint8_t *at = NULL;
    switch (x->place) {
    case PLACE_PARAMETER:
        return r->p->params->list[x->param].value;
    case PLACE_GRADIENT:
        return r->p->params->list[x->param].gradient;
    case PLACE_BATCH:
        at = r->batch + *batch_used;
        *batch_used += padded(tensor_bytes(x));
        return at;
    case PLACE_ARENA:
        return item < 0 ? NULL : r->arena + r->plan->items[item].offset;
    }
    return NULL;
}

/* Bases have smaller ids than the views into them, so one pass suffices. */
static enum status make_views(struct runner *r, struct error *err)
{
    int64_t batch_used = 0;
    r->views = mem_calloc((size_t)r->p->n_tensors, sizeof *r->views);
    if (!r->views)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: views");
    for (int t = 1; t < r->p->n_tensors; t++) {
        const struct tensor *x = &r->p->tensors[t];
        struct view *v = &r->views[t];
        v->type = x->role == ROLE_INDEX ? DT_I32 : DT_F32;
        v->rank = x->rank;
        memcpy(v->shape, x->shape, sizeof v->shape);
        if (x->base == TENSOR_NONE) {
            v->data = root_data(r, t, &batch_used);
        } else if (r->views[x->base].data) {
            uint8_t *base = r->views[x->base].data;
            v->data = base + x->offset * 4;
        }
    }
    return ST_OK;
}

static enum status check_kernels(const struct program *p, enum backend backend, struct error *err)
{
    for (int i = 0; i < p->n_nodes; i++) {
        const struct node *n = &p->nodes[i];
        if (backend != BACKEND_CPU || n->op->run == KERNEL_NONE)
            return error_set(err, ST_FAIL, CAUSE_ARG, "operation %s does not run on %s",
                             n->op->name, backend == BACKEND_CPU ? "cpu" : "cuda");
        if (n->n_out > OPERANDS_MAX || n->n_in > OPERANDS_MAX)
            return error_set(err, ST_FAIL, CAUSE_INTERNAL, "operation %s: %d operands", n->op->name,
                             n->n_out + n->n_in);
    }
    return ST_OK;
}

enum status runner_open(struct runner **out, const struct program *p, enum backend backend,
                        struct error *err)
{
    struct runner *r = mem_calloc(1, sizeof *r);
    void *arena = NULL;
    *out = NULL;
    if (!r)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: runner");
    r->p = p;
    r->backend = backend;
    if (planner_open(&r->plan, p, DT_F32, err) != ST_OK ||
        check_kernels(p, backend, err) != ST_OK ||
        allocate(&arena, r->plan->arena_bytes, "arena", err) != ST_OK)
        goto fail;
    r->arena = arena;
    if (make_batch(r, err) != ST_OK || make_views(r, err) != ST_OK)
        goto fail;
    *out = r;
    return ST_OK;
fail:
    runner_close(&r);
    return ST_FAIL;
}

void runner_close(struct runner **rp)
{
    struct runner *r = *rp;
    if (!r)
        return;
    planner_close(&r->plan);
    mem_free(r->arena);
    mem_free(r->batch);
    mem_free(r->views);
    mem_free(r);
    *rp = NULL;
}

static enum status run_node(struct runner *r, const struct node *n, struct error *err)
{
    struct view out[OPERANDS_MAX], in[OPERANDS_MAX];
    for (int i = 0; i < n->n_out; i++)
        out[i] = r->views[n->out[i]];
    for (int i = 0; i < n->n_in; i++)
        in[i] = r->views[n->in[i]];
    const enum status st = kernel_table_cpu[n->op->run](&r->k, out, in, n->attrs, err);
    return st == ST_OK
               ? st
               : error_prefix(err, st, "%s%s%s", n->part, n->part[0] ? ": " : "", n->op->name);
}

enum status runner_run(struct runner *r, int begin, int end, struct error *err)
{
    for (int i = begin; i < end; i++)
        if (run_node(r, &r->p->nodes[i], err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

enum status runner_run_span(struct runner *r, int span, struct error *err)
{
    return runner_run(r, r->p->spans[span].begin, r->p->spans[span].end, err);
}

void *runner_data(struct runner *r, int t)
{
    return r->views[t].data;
}

const struct memory_plan *runner_plan(const struct runner *r)
{
    return r->plan;
}
