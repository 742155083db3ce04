/* trainer/cost.c: see cost.h. */
#include "trainer/cost.h"

#include <string.h>

static struct cost_part *part_of(struct cost *c, const char *name)
{
    for (int i = 0; i < c->n_parts; i++)
        if (strcmp(c->part[i].name, name) == 0)
            return &c->part[i];
    if (c->n_parts ==
        COST_PARTS_MAX) /* more parts than anybody reads: the last one takes the rest */
        return &c->part[COST_PARTS_MAX - 1];
    c->part[c->n_parts].name = name;
    return &c->part[c->n_parts++];
}

const struct cost_part *cost_find(const struct cost *c, const char *name)
{
    for (int i = 0; i < c->n_parts; i++)
        if (strcmp(c->part[i].name, name) == 0)
            return &c->part[i];
    return NULL;
}

static double times(const struct program *p, int node, double runs)
{
    for (int i = 0; i < p->n_spans; i++)
        if (p->spans[i].repeated && node >= p->spans[i].begin && node < p->spans[i].end)
            return runs;
    return 1.0;
}

double cost_model_flops(const struct program *p, double runs)
{
    double sum = 0.0;
    for (int i = 0; i < p->n_nodes; i++) {
        const struct node *n = &p->nodes[i];
        if (n->op->flops && !n->again)
            sum += n->op->flops(p, n) * times(p, i, runs);
    }
    return sum;
}

static void count_node(struct cost *c, const struct program *p, int node, double runs)
{
    const struct node *n = &p->nodes[node];
    struct cost_part *part = part_of(c, n->part);
    part->nodes++;
    c->nodes++;
    if (!n->op->flops)
        return;
    const double flops = n->op->flops(p, n) * times(p, node, runs);
    const double executed = flops * (n->op->hardware > 0.0 ? n->op->hardware : 1.0);
    part->model += n->again ? 0.0 : flops;
    part->hardware += executed;
    c->model += n->again ? 0.0 : flops;
    c->hardware += executed;
}

/* Largest sum of live tensors that nodes of one part first wrote. */
static void find_peak(struct cost_part *part, const struct program *p,
                      const struct memory_plan *plan, int64_t *delta)
{
    memset(delta, 0, ((size_t)p->n_nodes + 1) * sizeof *delta);
    for (int i = 0; i < plan->n_items; i++) {
        const struct plan_item *it = &plan->items[i];
        if (strcmp(p->nodes[it->first].part, part->name) == 0) {
            delta[it->first] += it->bytes;
            delta[it->last + 1] -= it->bytes;
        }
    }
    int64_t live = 0;
    for (int i = 0; i < p->n_nodes; i++) {
        live += delta[i];
        part->peak_bytes = live > part->peak_bytes ? live : part->peak_bytes;
    }
}

enum status cost_count(struct cost *out, const struct program *p, const struct memory_plan *plan,
                       double runs, struct error *err)
{
    *out = (struct cost){ 0 };
    int64_t *delta = mem_calloc((size_t)p->n_nodes + 1, sizeof *delta);
    if (!delta)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: cost");
    for (int i = 0; i < p->n_nodes; i++)
        count_node(out, p, i, runs);
    for (int i = 0; i < out->n_parts; i++)
        find_peak(&out->part[i], p, plan, delta);
    mem_free(delta);
    return ST_OK;
}
