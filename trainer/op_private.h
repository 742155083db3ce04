/* trainer/op_private.h: what the entries in op_*.c share: shape rules and counting. */
#ifndef DEEM_TRAINER_OP_PRIVATE_H
#define DEEM_TRAINER_OP_PRIVATE_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "trainer/op.h"
#include "trainer/program.h"

#define RUN(name) KERNEL_##name

static inline const struct tensor *op_in(const struct program *p, const struct node *n, int i)
{
    return &p->tensors[n->in[i]];
}

static inline struct op_shape op_shape_of(const struct tensor *t)
{
    struct op_shape s = { .role = t->role, .rank = t->rank };
    memcpy(s.shape, t->shape, sizeof s.shape);
    return s;
}

static inline int64_t op_last(const struct tensor *t)
{
    return t->rank > 0 ? t->shape[t->rank - 1] : 1;
}

/* Rows of a tensor seen as [rows, last axis]. */
static inline int64_t op_rows(const struct tensor *t)
{
    return op_last(t) > 0 ? t->count / op_last(t) : 0;
}

/* One output, like input 0. */
static inline enum status op_shape_like_first(const struct program *p, const struct node *n,
                                              struct op_shape *out, struct error *err)
{
    (void)err;
    out[0] = op_shape_of(op_in(p, n, 0));
    return ST_OK;
}

static inline enum status op_misfit(const struct program *p, const struct node *n,
                                    struct error *err)
{
    char text[256] = "";
    size_t used = 0;
    for (int i = 0; i < n->n_in && used + 100 < sizeof text; i++) {
        const struct tensor *t = op_in(p, n, i);
        used +=
            (size_t)snprintf(text + used, sizeof text - used, "%s%.24s[", i ? ", " : "", t->name);
        for (int k = 0; k < t->rank; k++)
            used += (size_t)snprintf(text + used, sizeof text - used, k ? ",%" PRId64 : "%" PRId64,
                                     t->shape[k]);
        used += (size_t)snprintf(text + used, sizeof text - used, "]");
    }
    return error_set(err, ST_FAIL, CAUSE_ARG, "operands do not fit: %s", text);
}

/* db += sum of the rows of dy; nothing where the bias needs no gradient. */
void op_bias_gradient(struct program *p, int bias, int dy);
/* dx += dy for an input that goes through unchanged. */
void op_pass_gradient(struct program *p, int x, int dy);

#endif
