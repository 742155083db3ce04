/* ingest/masks/pickle_check.c: what is wrong with a pickle as a whole: containers that hold themselves,
 * nesting beyond the limit, dicts with a key twice. Shared values are looked at once. */
#include <stdlib.h>
#include <string.h>

#include "ingest/masks/pickle_private.h"

enum { MARK_NEW = 0, MARK_OPEN = 1, MARK_DONE = 2 };

struct visit {
    struct pickle_value *v;
    size_t next; /* item to look at */
};

static bool is_container(const struct pickle_value *v)
{
    return v->type >= PICKLE_LIST;
}

static int compare_keys(const void *a, const void *b)
{
    const struct pickle_value *x = *(struct pickle_value *const *)a;
    const struct pickle_value *y = *(struct pickle_value *const *)b;
    const bool xs = pickle_is_string(x), ys = pickle_is_string(y);

    if (xs != ys)
        return xs ? 1 : -1;
    if (!xs && x->type != y->type)
        return x->type < y->type ? -1 : 1;
    if (xs) {
        const int c = memcmp(x->bytes, y->bytes, x->count < y->count ? x->count : y->count);
        return c ? c : (x->count > y->count) - (x->count < y->count);
    }
    if (x->type == PICKLE_INT || x->type == PICKLE_BOOL)
        return (x->integer > y->integer) - (x->integer < y->integer);
    if (x->type == PICKLE_FLOAT)
        return (x->real > y->real) - (x->real < y->real);
    return (x > y) - (x < y); /* tuples are told apart by identity: no reader of ours uses them */
}

static enum status check_keys(struct pickle_machine *m, const struct pickle_value *dict,
                              struct error *err)
{
    const size_t n = dict->count / 2;
    enum status st = ST_OK;

    if (n < 2)
        return ST_OK;
    struct pickle_value **keys = mem_calloc(n, sizeof(struct pickle_value *));
    if (!keys)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "pickle");
    for (size_t i = 0; i < n; i++)
        keys[i] = dict->items[2 * i];
    qsort(keys, n, sizeof(struct pickle_value *), compare_keys);
    for (size_t i = 1; st == ST_OK && i < n; i++)
        if (compare_keys(&keys[i - 1], &keys[i]) == 0)
            st = pickle_error(m, err, "pickle-value", "a dict with a key twice");
    mem_free(keys);
    return st;
}

static enum status open_value(struct pickle_machine *m, struct visit *stack, size_t *depth,
                              struct pickle_value *v, struct error *err)
{
    if (*depth == m->limits->max_depth)
        return pickle_error(m, err, "pickle-limit", "containers nested too deep");
    v->mark = MARK_OPEN;
    v->depth = 1;
    stack[(*depth)++] = (struct visit){ v, 0 };
    return v->type == PICKLE_DICT ? check_keys(m, v, err) : ST_OK;
}

/* Looks at one item of the innermost container, or closes it. A shared value that is done is not
 * walked again; its known depth still counts. */
static enum status visit_next(struct pickle_machine *m, struct visit *stack, size_t *depth,
                              struct error *err)
{
    struct visit *at = &stack[*depth - 1];

    if (at->next == at->v->count) {
        at->v->mark = MARK_DONE;
        (*depth)--;
        if (*depth && stack[*depth - 1].v->depth < at->v->depth + 1)
            stack[*depth - 1].v->depth = at->v->depth + 1;
        return ST_OK;
    }
    struct pickle_value *v = at->v->items[at->next++];
    if (!is_container(v))
        return ST_OK;
    if (v->mark == MARK_OPEN)
        return pickle_error(m, err, "pickle-cycle", "a container that holds itself");
    if (v->mark == MARK_NEW)
        return open_value(m, stack, depth, v, err);
    if (*depth + v->depth > m->limits->max_depth)
        return pickle_error(m, err, "pickle-limit", "containers nested too deep");
    if (at->v->depth < v->depth + 1)
        at->v->depth = v->depth + 1;
    return ST_OK;
}

enum status pickle_check(struct pickle_machine *m, struct pickle_value *root, struct error *err)
{
    size_t depth = 0;

    if (!is_container(root))
        return ST_OK;
    struct visit *stack = mem_calloc((size_t)m->limits->max_depth + 1, sizeof *stack);
    if (!stack)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "pickle");
    enum status st = open_value(m, stack, &depth, root, err);
    while (st == ST_OK && depth > 0)
        st = visit_next(m, stack, &depth, err);
    mem_free(stack);
    return st;
}
