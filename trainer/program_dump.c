/* trainer/program_dump.c: a program as text, one line a tensor it names or keeps and one line a node.
 *
 *     x          batch     storage [4,8] gradient
 *     span forward
 *       t7 = linear(x, fc.weight, none)  llm
 *
 * Temporaries are called t<id>, gradients d(<name>). */
#include <inttypes.h>

#include "trainer/program.h"

static const char *const places[] = { "parameter", "gradient", "batch", "arena" };
static const char *const roles[] = { "storage", "exact", "index" };

static enum status print_shape(const struct tensor *t, struct buffer *out, struct error *err)
{
    enum status st = buffer_append_str(out, "[", err);
    for (int i = 0; i < t->rank && st == ST_OK; i++)
        st = buffer_printf(out, err, i ? ",%" PRId64 : "%" PRId64, t->shape[i]);
    return st == ST_OK ? buffer_append_str(out, "]", err) : st;
}

/* The name a reader can follow: given, d(...) of a parameter, or the number. */
static enum status print_name(const struct program *p, int id, struct buffer *out,
                              struct error *err)
{
    const struct tensor *t = &p->tensors[id];
    if (t->name[0] == '\0')
        return t->base == TENSOR_NONE ? buffer_printf(out, err, "t%d", id)
                                      : buffer_printf(out, err, "t%d@t%d", id, program_root(p, id));
    return buffer_printf(out, err, t->place == PLACE_GRADIENT ? "d(%s)" : "%s", t->name);
}

static enum status print_tensor(const struct program *p, int id, struct buffer *out,
                                struct error *err)
{
    const struct tensor *t = &p->tensors[id];
    if (buffer_printf(out, err, "%s %s %s ", t->name, places[t->place], roles[t->role]) != ST_OK ||
        print_shape(t, out, err) != ST_OK)
        return ST_FAIL;
    return buffer_printf(out, err, "%s%s\n", t->needs_gradient ? " gradient" : "",
                         t->kept && t->place == PLACE_ARENA ? " kept" : "");
}

static enum status print_list(const struct program *p, const int *ids, int n, struct buffer *out,
                              struct error *err)
{
    enum status st = ST_OK;
    for (int i = 0; i < n && st == ST_OK; i++) {
        st = i ? buffer_append_str(out, ", ", err) : ST_OK;
        st = st == ST_OK ? print_name(p, ids[i], out, err) : st;
    }
    return st;
}

static enum status print_node(const struct program *p, const struct node *n, struct buffer *out,
                              struct error *err)
{
    if (buffer_append_str(out, n->again ? "  again " : "  ", err) != ST_OK ||
        print_list(p, n->out, n->n_out, out, err) != ST_OK ||
        buffer_printf(out, err, " = %s(", n->op->name) != ST_OK ||
        print_list(p, n->in, n->n_in, out, err) != ST_OK)
        return ST_FAIL;
    return buffer_printf(out, err, ")%s%s\n", n->part[0] ? " " : "", n->part);
}

static enum status print_spans_at(const struct program *p, int node, struct buffer *out,
                                  struct error *err)
{
    enum status st = ST_OK;
    for (int i = 0; i < p->n_spans && st == ST_OK; i++)
        if (p->spans[i].begin == node)
            st = buffer_printf(out, err, "span %s%s%s\n", p->spans[i].name,
                               p->spans[i].recompute ? " recompute" : "",
                               p->spans[i].repeated ? " repeated" : "");
    return st;
}

enum status program_dump(const struct program *p, struct buffer *out, struct error *err)
{
    enum status st = ST_OK;
    for (int t = 1; t < p->n_tensors && st == ST_OK; t++)
        if (p->tensors[t].name[0] != '\0' && p->tensors[t].place != PLACE_GRADIENT)
            st = print_tensor(p, t, out, err);
    for (int i = 0; i < p->n_nodes && st == ST_OK; i++) {
        st = print_spans_at(p, i, out, err);
        st = st == ST_OK ? print_node(p, &p->nodes[i], out, err) : st;
    }
    return st;
}
