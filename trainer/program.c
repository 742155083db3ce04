/* trainer/program.c: the lists of program.h and the calls that make them longer. */
#include "trainer/program.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"

enum { NAME_MAX_BYTES = 256 };
static const int64_t COUNT_MAX = (int64_t)1 << 40; /* elements: sums of bytes then fit 64 bits */

enum status program_open(struct program **out, struct params *params, bool keep_probes,
                         struct error *err)
{
    struct program *p = mem_calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: program");
    arena_init(&p->memory, 0);
    p->params = params;
    p->part = "";
    p->keep_probes = keep_probes;
    p->cap_tensors = 256;
    p->tensors = mem_calloc((size_t)p->cap_tensors, sizeof *p->tensors);
    if (!p->tensors) {
        program_close(&p);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: program");
    }
    p->tensors[TENSOR_NONE].name = "none";
    p->n_tensors = 1;
    *out = p;
    return ST_OK;
}

void program_close(struct program **pp)
{
    struct program *p = *pp;
    if (!p)
        return;
    arena_clear(&p->memory);
    mem_free(p->tensors);
    mem_free(p->nodes);
    mem_free(p->spans);
    mem_free(p->param_tensor);
    mem_free(p);
    *pp = NULL;
}

enum status program_finish(const struct program *p, struct error *err)
{
    if (!p->failed)
        return ST_OK;
    error_set(err, ST_FAIL, p->err.cause, "%s", p->err.text);
    return ST_FAIL;
}

int program_fault(struct program *p, const char *fmt, ...)
{
    char text[sizeof p->err.text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    p->failed = true;
    error_set(&p->err, ST_FAIL, CAUSE_ARG, "%s", text);
    return TENSOR_NONE;
}

static int no_memory(struct program *p)
{
    p->failed = true;
    error_set(&p->err, ST_FAIL, CAUSE_NOMEM, "out of memory: program of %d nodes", p->n_nodes);
    return TENSOR_NONE;
}

/* Doubles *list when it is full. */
static bool grow(struct program *p, void *list, int *cap, int count, size_t size)
{
    void *old = NULL;
    memcpy(&old, list, sizeof old);
    if (count < *cap)
        return true;
    const int more = *cap ? 2 * *cap : 64;
    void *fresh = mem_realloc(old, (size_t)more, size);
    if (!fresh) {
        no_memory(p);
        return false;
    }
    memcpy(list, &fresh, sizeof fresh);
    *cap = more;
    return true;
}

static int add_tensor(struct program *p, struct tensor t)
{
    if (p->failed)
        return TENSOR_NONE;
    t.count = 1;
    for (int i = 0; i < t.rank; i++)
        if (t.shape[i] < 0 || !mul_ok_i64(t.count, t.shape[i], &t.count) || t.count > COUNT_MAX)
            return program_fault(p, "tensor %s: too large, axis %d is %" PRId64, t.name, i,
                                 t.shape[i]);
    if (!grow(p, &p->tensors, &p->cap_tensors, p->n_tensors, sizeof *p->tensors))
        return TENSOR_NONE;
    p->tensors[p->n_tensors] = t;
    return p->n_tensors++;
}

static struct tensor make_tensor(enum place place, enum role role, const int64_t *shape, int rank)
{
    struct tensor t = { .name = "", .role = role, .place = place, .rank = rank };
    for (int i = 0; i < rank; i++)
        t.shape[i] = shape[i];
    return t;
}

/* The tensor of parameter `index`, made at its first use in this program. */
static int param_tensor(struct program *p, size_t index)
{
    if (index >= p->n_param_tensor) {
        const size_t n = p->params->cap;
        int *list = mem_realloc(p->param_tensor, n, sizeof *list);
        if (!list)
            return no_memory(p);
        memset(list + p->n_param_tensor, 0, (n - p->n_param_tensor) * sizeof *list);
        p->param_tensor = list;
        p->n_param_tensor = n;
    }
    if (p->param_tensor[index] != TENSOR_NONE)
        return p->param_tensor[index];
    const struct param *q = &p->params->list[index];
    struct tensor t = make_tensor(PLACE_PARAMETER, ROLE_STORAGE, q->shape, q->rank);
    t.name = q->name;
    t.param = index;
    t.needs_gradient = q->trainable;
    const int id = add_tensor(p, t);
    if (id == TENSOR_NONE || !q->trainable) {
        p->param_tensor[index] = id;
        return id;
    }
    t.place = PLACE_GRADIENT;
    t.role = ROLE_EXACT;
    t.needs_gradient = false;
    t.started = true; /* cleared once a step, added to by every micro-batch */
    const int gradient = add_tensor(p, t);
    p->tensors[id].gradient = gradient;
    p->param_tensor[index] = id;
    return id;
}

static int declare(struct program *p, const int64_t *shape, int rank, bool buffer, const char *name)
{
    size_t index = 0;
    if (p->failed)
        return TENSOR_NONE;
    const enum status st =
        buffer ? params_declare_buffer(p->params, &index, name, shape, rank, &p->err)
               : params_declare(p->params, &index, name, shape, rank, &p->err);
    if (st != ST_OK) {
        p->failed = true;
        return TENSOR_NONE;
    }
    return param_tensor(p, index);
}

int program_param(struct program *p, const int64_t *shape, int rank, const char *fmt, ...)
{
    char name[NAME_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return declare(p, shape, rank, false, name);
}

int program_buffer(struct program *p, const int64_t *shape, int rank, const char *fmt, ...)
{
    char name[NAME_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return declare(p, shape, rank, true, name);
}

static const char *keep_text(struct program *p, const char *text)
{
    const char *copy = arena_strndup(&p->memory, text, strlen(text));
    if (!copy)
        no_memory(p);
    return copy ? copy : "";
}

int program_batch(struct program *p, const char *name, enum role role, const int64_t *shape,
                  int rank)
{
    struct tensor t = make_tensor(PLACE_BATCH, role, shape, rank);
    t.name = keep_text(p, name);
    t.kept = true;
    return add_tensor(p, t);
}

int program_arena(struct program *p, enum role role, const int64_t *shape, int rank)
{
    return add_tensor(p, make_tensor(PLACE_ARENA, role, shape, rank));
}

void program_require_gradient(struct program *p, int t)
{
    if (!p->failed)
        p->tensors[t].needs_gradient = true;
}

/* Memory of t from element `offset` under another shape. */
static int add_alias(struct program *p, int t, int64_t offset, const int64_t *shape, int rank)
{
    if (p->failed)
        return TENSOR_NONE;
    struct tensor a = make_tensor(p->tensors[t].place, p->tensors[t].role, shape, rank);
    a.base = t;
    a.offset = offset;
    a.needs_gradient = p->tensors[t].needs_gradient;
    a.param = p->tensors[t].param;
    a.kept = p->tensors[t].kept;
    return add_tensor(p, a);
}

int program_reshape(struct program *p, int t, const int64_t *shape, int rank)
{
    const int a = add_alias(p, t, 0, shape, rank);
    if (!p->failed && p->tensors[a].count != p->tensors[t].count)
        return program_fault(p, "reshape of %s: %" PRId64 " elements to %" PRId64,
                             p->tensors[t].name, p->tensors[t].count, p->tensors[a].count);
    return a;
}

int program_rows(struct program *p, int t, int64_t first, int64_t rows)
{
    if (p->failed)
        return TENSOR_NONE;
    const struct tensor *base = &p->tensors[t];
    if (base->rank < 1 || first < 0 || rows < 0 || first > base->shape[0] - rows)
        return program_fault(p, "rows %" PRId64 "+%" PRId64 " of %s", first, rows, base->name);
    int64_t shape[VIEW_RANK_MAX];
    memcpy(shape, base->shape, sizeof shape);
    const int64_t stride = base->shape[0] ? base->count / base->shape[0] : 0;
    shape[0] = rows;
    return add_alias(p, t, first * stride, shape, base->rank);
}

int program_root(const struct program *p, int t)
{
    while (p->tensors[t].base != TENSOR_NONE)
        t = p->tensors[t].base;
    return t;
}

int program_keep(struct program *p, int t)
{
    if (!p->failed && t != TENSOR_NONE) {
        p->tensors[t].kept = true;
        p->tensors[program_root(p, t)].kept = true;
    }
    return t;
}

int program_probe(struct program *p, int t, const char *fmt, ...)
{
    char name[NAME_MAX_BYTES];
    if (p->failed || t == TENSOR_NONE)
        return t;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    p->tensors[t].name = keep_text(p, name);
    return p->keep_probes ? program_keep(p, t) : t;
}

int program_find(const struct program *p, const char *name)
{
    for (int t = 1; t < p->n_tensors; t++)
        if (p->tensors[t].place != PLACE_GRADIENT && strcmp(p->tensors[t].name, name) == 0)
            return t;
    return TENSOR_NONE;
}

static const int *keep_ids(struct program *p, const int *ids, int n)
{
    int *copy = arena_alloc(&p->memory, n > 0 ? (size_t)n : 1, sizeof *copy);
    if (!copy)
        no_memory(p);
    else
        for (int i = 0; i < n; i++)
            copy[i] = ids[i];
    return copy;
}

static const void *keep_attrs(struct program *p, const void *attrs, size_t bytes)
{
    void *copy = bytes ? arena_alloc(&p->memory, bytes, 1) : NULL;
    if (bytes && !copy)
        no_memory(p);
    else if (bytes)
        memcpy(copy, attrs, bytes);
    return copy;
}

static void add_node(struct program *p, struct node n)
{
    n.out = keep_ids(p, n.out, n.n_out);
    n.in = keep_ids(p, n.in, n.n_in);
    n.attrs = keep_attrs(p, n.attrs, n.attrs_bytes);
    n.part = p->part;
    n.again = p->again;
    if (p->failed || !grow(p, &p->nodes, &p->cap_nodes, p->n_nodes, sizeof *p->nodes))
        return;
    p->nodes[p->n_nodes++] = n;
}

enum { OUT_MAX = 8 };

/* The rule's shapes for node n; false after a fault. */
static bool apply_rule(struct program *p, const struct node *n, struct op_shape *shapes)
{
    if (n->n_out > OUT_MAX) {
        program_fault(p, "%s: %d outputs", n->op->name, n->n_out);
        return false;
    }
    struct error err = { 0 };
    if (n->op->shape(p, n, shapes, &err) == ST_OK)
        return true;
    program_fault(p, "%s: %s", n->op->name, err.text);
    return false;
}

void program_apply(struct program *p, const struct op *op, int *out, int n_out, const int *in,
                   int n_in, const void *attrs, size_t attrs_bytes)
{
    struct op_shape shapes[OUT_MAX] = { 0 };
    struct node n = { .op = op, .out = out, .in = in, .n_out = n_out, .n_in = n_in };
    n.attrs = attrs;
    n.attrs_bytes = attrs_bytes;
    for (int i = 0; i < n_out; i++)
        out[i] = TENSOR_NONE;
    if (p->failed || !apply_rule(p, &n, shapes))
        return;
    bool needs = false;
    for (int i = 0; i < n_in; i++)
        needs |= p->tensors[in[i]].needs_gradient;
    for (int i = 0; i < n_out; i++) {
        out[i] = program_arena(p, shapes[i].role, shapes[i].shape, shapes[i].rank);
        if (!p->failed)
            p->tensors[out[i]].needs_gradient =
                needs && op->gradient && shapes[i].role != ROLE_INDEX;
    }
    if (!p->failed)
        add_node(p, n);
}

int program_apply_one(struct program *p, const struct op *op, const int *in, int n_in,
                      const void *attrs, size_t attrs_bytes)
{
    int out = TENSOR_NONE;
    program_apply(p, op, &out, 1, in, n_in, attrs, attrs_bytes);
    return p->failed ? TENSOR_NONE : out;
}

void program_append(struct program *p, const struct op *op, const int *out, int n_out,
                    const int *in, int n_in, const void *attrs, size_t attrs_bytes)
{
    struct node n = { .op = op, .out = out, .in = in, .n_out = n_out, .n_in = n_in };
    n.attrs = attrs;
    n.attrs_bytes = attrs_bytes;
    if (!p->failed)
        add_node(p, n);
}

const char *program_part(struct program *p, const char *part)
{
    const char *old = p->part;
    p->part = part;
    return old;
}

int program_span_begin(struct program *p, int flags, const char *fmt, ...)
{
    char name[NAME_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    if (p->failed || !grow(p, &p->spans, &p->cap_spans, p->n_spans, sizeof *p->spans))
        return -1;
    p->spans[p->n_spans] = (struct span){ .name = keep_text(p, name),
                                          .begin = p->n_nodes,
                                          .end = -1,
                                          .recompute = (flags & SPAN_RECOMPUTE) != 0,
                                          .repeated = (flags & SPAN_REPEATED) != 0 };
    return p->n_spans++;
}

void program_span_end(struct program *p, int span)
{
    if (!p->failed)
        p->spans[span].end = p->n_nodes;
}

int program_find_span(const struct program *p, const char *name)
{
    for (int i = 0; i < p->n_spans; i++)
        if (strcmp(p->spans[i].name, name) == 0)
            return i;
    return -1;
}
