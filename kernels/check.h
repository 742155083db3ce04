/* kernels/check.h: what a kernel asks of its operands before it touches memory, on every backend. */
#ifndef DEEM_KERNELS_CHECK_H
#define DEEM_KERNELS_CHECK_H

#include <stdbool.h>

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The last axis, and the product of those before it. A scalar is one row of one. */
static inline int64_t view_last(const struct view *v)
{
    return v->rank > 0 ? v->shape[v->rank - 1] : 1;
}
static inline int64_t view_rows(const struct view *v)
{
    int64_t n = 1;
    for (int i = 0; i + 1 < v->rank; i++)
        n *= v->shape[i];
    return n;
}
static inline bool view_left_out(const struct view *v)
{
    return v->data == NULL;
}
/* There, of that type, with that many elements. */
static inline bool view_is(const struct view *v, enum dtype type, int64_t count)
{
    return v->type == type && view_count(v) == count && (v->data != NULL || count == 0);
}
static inline bool view_f32(const struct view *v, int64_t count)
{
    return view_is(v, DT_F32, count);
}
/* Left out, or float32 with that many elements. */
static inline bool view_maybe_f32(const struct view *v, int64_t count)
{
    return view_left_out(v) || view_f32(v, count);
}

/* Returns ST_FAIL with CAUSE_ARG and one line that names the operation and every operand's type and
 * shape: for operands that do not fit each other or the attributes. */
enum status check_refuse(const char *op, const struct view *out, int n_out, const struct view *in,
                         int n_in, struct error *err);

#ifdef __cplusplus
}
#endif
#endif
