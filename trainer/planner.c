/* trainer/planner.c: see planner.h. */
#include "trainer/planner.h"

#include <inttypes.h>
#include <stdlib.h>

enum { PLAN_ALIGN = 256 }; /* bytes; what CUDA's own allocator gives */

/* A repeated span runs again from its begin: what it reads from outside must outlive it. */
static int end_of_repeats(const struct program *p, int first, int node)
{
    int last = node;
    for (int i = 0; i < p->n_spans; i++) {
        const struct span *s = &p->spans[i];
        if (s->repeated && first < s->begin && node >= s->begin && node < s->end &&
            s->end - 1 > last)
            last = s->end - 1;
    }
    return last;
}

static void touch(struct memory_plan *plan, const struct program *p, int tensor, int node)
{
    const int item = plan->item_of[program_root(p, tensor)];
    if (item < 0)
        return;
    struct plan_item *it = &plan->items[item];
    if (it->first < 0)
        it->first = node;
    it->last = node > it->last ? node : it->last;
}

static void find_lives(struct memory_plan *plan, const struct program *p)
{
    for (int i = 0; i < p->n_nodes; i++) {
        for (int k = 0; k < p->nodes[i].n_out; k++)
            touch(plan, p, p->nodes[i].out[k], i);
        for (int k = 0; k < p->nodes[i].n_in; k++)
            touch(plan, p, p->nodes[i].in[k], i);
    }
    int kept = 0;
    for (int i = 0; i < plan->n_items; i++) {
        struct plan_item it = plan->items[i];
        if (it.first < 0)
            continue; /* nobody writes it: it needs no memory */
        it.last = end_of_repeats(p, it.first, it.last);
        if (p->tensors[it.tensor].kept)
            it.last = p->n_nodes - 1;
        plan->items[kept++] = it;
    }
    plan->n_items = kept;
    for (int t = 0; t < p->n_tensors; t++)
        plan->item_of[t] = -1;
    for (int i = 0; i < kept; i++)
        plan->item_of[plan->items[i].tensor] = i;
}

static enum status list_items(struct memory_plan *plan, const struct program *p, enum dtype storage,
                              struct error *err)
{
    plan->item_of = mem_calloc((size_t)p->n_tensors, sizeof *plan->item_of);
    plan->items = mem_calloc((size_t)p->n_tensors, sizeof *plan->items);
    if (!plan->item_of || !plan->items)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plan");
    for (int t = 0; t < p->n_tensors; t++) {
        const struct tensor *x = &p->tensors[t];
        plan->item_of[t] = -1;
        if (t == TENSOR_NONE || x->place != PLACE_ARENA || x->base != TENSOR_NONE)
            continue;
        const int64_t bytes = x->count * (int64_t)role_bytes(x->role, storage);
        plan->items[plan->n_items] = (struct plan_item){
            .tensor = t,
            .first = -1,
            .last = -1,
            .bytes = (bytes + PLAN_ALIGN - 1) / PLAN_ALIGN * PLAN_ALIGN,
            .offset = -1,
        };
        plan->item_of[t] = plan->n_items++;
    }
    return ST_OK;
}

static enum status find_peak(struct memory_plan *plan, int n_nodes, struct error *err)
{
    int64_t *delta = mem_calloc((size_t)n_nodes + 1, sizeof *delta);
    if (!delta)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plan");
    for (int i = 0; i < plan->n_items; i++) {
        delta[plan->items[i].first] += plan->items[i].bytes;
        delta[plan->items[i].last + 1] -= plan->items[i].bytes;
    }
    int64_t live = 0;
    for (int i = 0; i < n_nodes; i++) {
        live += delta[i];
        if (live > plan->live_bytes) {
            plan->live_bytes = live;
            plan->live_node = i;
        }
    }
    mem_free(delta);
    return ST_OK;
}

/* Larger first; equal sizes in order of their lives, so that the plan is a function of the list. */
static int by_size(const void *a, const void *b)
{
    const struct plan_item *const *x = a, *const *y = b;
    if ((*x)->bytes != (*y)->bytes)
        return (*x)->bytes < (*y)->bytes ? 1 : -1;
    return (*x)->first != (*y)->first ? ((*x)->first < (*y)->first ? -1 : 1)
                                      : ((*x)->tensor < (*y)->tensor ? -1 : 1);
}

static bool lives_meet(const struct plan_item *a, const struct plan_item *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* Placed items in order of their offset; finds the smallest hole that `it` fits. */
static int64_t best_hole(struct plan_item *const *placed, int n, const struct plan_item *it)
{
    int64_t end = 0, best = -1, best_bytes = INT64_MAX;
    for (int i = 0; i < n; i++) {
        if (!lives_meet(placed[i], it))
            continue;
        const int64_t hole = placed[i]->offset - end;
        if (hole >= it->bytes && hole < best_bytes) {
            best = end;
            best_bytes = hole;
        }
        const int64_t next = placed[i]->offset + placed[i]->bytes;
        end = next > end ? next : end;
    }
    return best >= 0 ? best : end;
}

static void insert_by_offset(struct plan_item **placed, int n, struct plan_item *it)
{
    int i = n;
    for (; i > 0 && placed[i - 1]->offset > it->offset; i--)
        placed[i] = placed[i - 1];
    placed[i] = it;
}

static enum status place(struct memory_plan *plan, struct error *err)
{
    const size_t n = plan->n_items ? (size_t)plan->n_items : 1;
    struct plan_item **order = mem_calloc(2 * n, sizeof(struct plan_item *));
    if (!order)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plan");
    struct plan_item **placed = order + n;
    for (int i = 0; i < plan->n_items; i++)
        order[i] = &plan->items[i];
    qsort(order, (size_t)plan->n_items, sizeof(struct plan_item *), by_size);
    for (int i = 0; i < plan->n_items; i++) {
        order[i]->offset = best_hole(placed, i, order[i]);
        insert_by_offset(placed, i, order[i]);
        const int64_t end = order[i]->offset + order[i]->bytes;
        plan->arena_bytes = end > plan->arena_bytes ? end : plan->arena_bytes;
    }
    mem_free(order);
    return ST_OK;
}

enum status planner_open(struct memory_plan **out, const struct program *p, enum dtype storage,
                         struct error *err)
{
    struct memory_plan *plan = mem_calloc(1, sizeof *plan);
    *out = NULL;
    if (!plan)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plan");
    if (program_finish(p, err) != ST_OK || list_items(plan, p, storage, err) != ST_OK)
        goto fail;
    find_lives(plan, p);
    if (find_peak(plan, p->n_nodes, err) != ST_OK || place(plan, err) != ST_OK)
        goto fail;
    *out = plan;
    return ST_OK;
fail:
    planner_close(&plan);
    return ST_FAIL;
}

void planner_close(struct memory_plan **plan)
{
    if (!*plan)
        return;
    mem_free((*plan)->items);
    mem_free((*plan)->item_of);
    mem_free(*plan);
    *plan = NULL;
}

enum status planner_check(const struct memory_plan *plan, const struct program *p,
                          struct error *err)
{
    for (int i = 0; i < plan->n_items; i++)
        for (int k = 0; k < i; k++) {
            const struct plan_item *a = &plan->items[i], *b = &plan->items[k];
            if (lives_meet(a, b) && a->offset < b->offset + b->bytes &&
                b->offset < a->offset + a->bytes)
                return error_set(err, ST_FAIL, CAUSE_INTERNAL,
                                 "tensors %d (%s) and %d (%s) share bytes while both live",
                                 a->tensor, p->tensors[a->tensor].name, b->tensor,
                                 p->tensors[b->tensor].name);
        }
    return ST_OK;
}
