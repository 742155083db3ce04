/* trainer/program_backward.c: gradients of program.h. A gradient is a tensor like any other; who
 * writes it first overwrites, who comes later adds, in list order, so that nothing else orders a
 * sum. Views of a tensor (reshape, rows) share the gradient of the tensor they lie in. */
#include <string.h>

#include "trainer/op.h"
#include "trainer/program.h"

/* The gradient of the tensor t lies in; made on demand. */
static int root_gradient(struct program *p, int root, bool make)
{
    if (p->tensors[root].gradient != TENSOR_NONE || !make)
        return p->tensors[root].gradient;
    const struct tensor t = p->tensors[root];
    const int g = program_arena(p, t.role, t.shape, t.rank);
    if (p->failed)
        return TENSOR_NONE;
    p->tensors[g].kept = t.kept && p->keep_probes;
    p->tensors[root].gradient = g;
    return g;
}

static int64_t root_offset(const struct program *p, int t)
{
    int64_t offset = 0;
    for (; p->tensors[t].base != TENSOR_NONE; t = p->tensors[t].base)
        offset += p->tensors[t].offset;
    return offset;
}

/* The part of gradient `g` that belongs to t, in the shape of t. */
static int view_of_gradient(struct program *p, int t, int g)
{
    const struct tensor v = p->tensors[t];
    if (v.base == TENSOR_NONE && memcmp(v.shape, p->tensors[g].shape, sizeof v.shape) == 0 &&
        v.rank == p->tensors[g].rank)
        return g;
    if (v.base != TENSOR_NONE && v.gradient != TENSOR_NONE)
        return v.gradient;
    const int flat = program_reshape(p, g, (int64_t[]){ p->tensors[g].count }, 1);
    const int part = program_rows(p, flat, root_offset(p, t), v.count);
    const int view = program_reshape(p, part, v.shape, v.rank);
    if (!p->failed && v.base != TENSOR_NONE)
        p->tensors[t].gradient = view;
    return view;
}

int program_gradient(struct program *p, int t)
{
    if (p->failed || t == TENSOR_NONE)
        return TENSOR_NONE;
    const int g = root_gradient(p, program_root(p, t), false);
    if (g == TENSOR_NONE || !p->tensors[g].started)
        return TENSOR_NONE;
    return view_of_gradient(p, t, g);
}

int program_gradient_prepare(struct program *p, int t)
{
    if (p->failed || t == TENSOR_NONE || !p->tensors[t].needs_gradient)
        return TENSOR_NONE;
    const int g = root_gradient(p, program_root(p, t), true);
    if (p->failed)
        return TENSOR_NONE;
    if (!p->tensors[g].started) {
        op_zero(p, g);
        p->tensors[g].started = true;
    }
    return view_of_gradient(p, t, g);
}

int program_gradient_target(struct program *p, int t, float *beta)
{
    *beta = 1.0f;
    if (p->failed || t == TENSOR_NONE || !p->tensors[t].needs_gradient)
        return TENSOR_NONE;
    const int root = program_root(p, t);
    if (p->tensors[t].count != p->tensors[root].count)
        return program_gradient_prepare(p, t); /* a part: the rest must hold zeros */
    const int g = root_gradient(p, root, true);
    if (p->failed)
        return TENSOR_NONE;
    *beta = p->tensors[g].started ? 1.0f : 0.0f;
    p->tensors[g].started = true;
    return view_of_gradient(p, t, g);
}

void program_gradient_seed(struct program *p, int t, int gradient)
{
    const int root = program_root(p, t);
    if (p->failed)
        return;
    if (p->tensors[root].gradient != TENSOR_NONE || p->tensors[t].count != p->tensors[root].count ||
        p->tensors[gradient].count != p->tensors[t].count) {
        program_fault(p, "gradient of %s seeded twice or with another size", p->tensors[t].name);
        return;
    }
    p->tensors[root].gradient = gradient;
    p->tensors[gradient].started = true;
}

static bool wants_gradient(struct program *p, const struct node *n)
{
    bool incoming = false;
    bool wanted = false;
    for (int i = 0; i < n->n_out; i++)
        incoming |= program_gradient(p, n->out[i]) != TENSOR_NONE;
    for (int i = 0; i < n->n_in; i++)
        wanted |= p->tensors[n->in[i]].needs_gradient;
    return incoming && wanted;
}

/* An activation that a gradient reads must have been named by its operation: `saves_in` and
 * `saves_out` are what documentation, dump and memory tables say, so they may not lie. */
static void check_saves(struct program *p, const struct node *n, int first)
{
    for (int j = first; j < p->n_nodes && !p->failed; j++)
        for (int k = 0; k < p->nodes[j].n_in; k++) {
            const int id = p->nodes[j].in[k];
            if (p->tensors[id].place != PLACE_ARENA)
                continue;
            for (int i = 0; i < n->n_in; i++)
                if (id == n->in[i] && !(n->op->saves_in >> i & 1))
                    program_fault(p, "%s: the gradient reads input %d unsaid", n->op->name, i);
            for (int i = 0; i < n->n_out; i++)
                if (id == n->out[i] && !(n->op->saves_out >> i & 1))
                    program_fault(p, "%s: the gradient reads output %d unsaid", n->op->name, i);
        }
}

static void append_gradient(struct program *p, int index)
{
    const struct node n = p->nodes[index]; /* a copy: the list moves */
    if (!n.op->gradient || !wants_gradient(p, &n) || p->failed)
        return;
    const char *part = program_part(p, n.part);
    const int first = p->n_nodes;
    n.op->gradient(p, &n);
    check_saves(p, &n, first);
    program_part(p, part);
}

/* Recomputation: copies of the span's nodes over fresh tensors, so that the first ones die early. */
struct copy {
    int *fresh;     /* by tensor: its copy, or TENSOR_NONE */
    bool *produced; /* by tensor: written inside the span */
    int n;
};

static int copy_tensor(struct program *p, struct copy *c, int t)
{
    if (t == TENSOR_NONE || t >= c->n || !c->produced[program_root(p, t)])
        return t;
    if (c->fresh[t] != TENSOR_NONE)
        return c->fresh[t];
    const struct tensor old = p->tensors[t];
    const int base = old.base == TENSOR_NONE ? TENSOR_NONE : copy_tensor(p, c, old.base);
    const int fresh = program_arena(p, old.role, old.shape, old.rank);
    if (p->failed)
        return TENSOR_NONE;
    struct tensor *f = &p->tensors[fresh];
    f->base = base;
    f->offset = old.offset;
    f->needs_gradient = old.needs_gradient;
    f->gradient = old.gradient;
    c->fresh[t] = fresh;
    return fresh;
}

static void copy_node(struct program *p, struct copy *c, int index)
{
    const struct node n = p->nodes[index];
    int *ids = arena_alloc(&p->memory, (size_t)n.n_out + (size_t)n.n_in, sizeof *ids);
    if (!ids) {
        program_fault(p, "out of memory: recomputation");
        return;
    }
    for (int i = 0; i < n.n_out; i++)
        ids[i] = copy_tensor(p, c, n.out[i]);
    for (int i = 0; i < n.n_in; i++)
        ids[n.n_out + i] = copy_tensor(p, c, n.in[i]);
    const char *part = program_part(p, n.part);
    program_append(p, n.op, ids, n.n_out, ids + n.n_out, n.n_in, n.attrs, n.attrs_bytes);
    program_part(p, part);
}

static void recompute_backward(struct program *p, struct span s)
{
    struct copy c = { .n = p->n_tensors };
    c.fresh = mem_calloc((size_t)c.n, sizeof *c.fresh);
    c.produced = mem_calloc((size_t)c.n, sizeof *c.produced);
    if (!c.fresh || !c.produced) {
        program_fault(p, "out of memory: recomputation");
        goto done;
    }
    for (int i = s.begin; i < s.end; i++)
        for (int k = 0; k < p->nodes[i].n_out; k++)
            c.produced[program_root(p, p->nodes[i].out[k])] = true;
    const int begin = p->n_nodes;
    p->again = true;
    for (int i = s.begin; i < s.end && !p->failed; i++)
        copy_node(p, &c, i);
    p->again = false;
    program_backward(p, begin, p->n_nodes);
    for (int t = 1; t < c.n && !p->failed;
         t++) /* whoever asks for a gradient asks by the first id */
        if (c.fresh[t] != TENSOR_NONE)
            p->tensors[t].gradient = p->tensors[c.fresh[t]].gradient;
done:
    mem_free(c.fresh);
    mem_free(c.produced);
}

/* The outermost span marked for recomputation that ends with node `last` inside [begin, last]. */
static const struct span *marked_span(const struct program *p, int begin, int last)
{
    for (int i = 0; i < p->n_spans; i++) {
        const struct span *s = &p->spans[i];
        if (s->recompute && s->end == last + 1 && s->begin >= begin && s->begin < s->end)
            return s;
    }
    return NULL;
}

void program_backward(struct program *p, int begin, int end)
{
    for (int i = end - 1; i >= begin && !p->failed; i--) {
        const struct span *s = marked_span(p, begin, i);
        if (!s) {
            append_gradient(p, i);
            continue;
        }
        i = s->begin;
        recompute_backward(p, *s);
    }
}
