/* kernels/check.c: the one message for operands that do not fit. */
#include "kernels/check.h"

#include <inttypes.h>
#include <stdio.h>

static const char *type_name(enum dtype type)
{
    static const char *const names[] = { "none", "f32", "bf16", "i32", "i64", "u8" };
    return type >= DT_NONE && type <= DT_U8 ? names[type] : "?";
}

/* Appends " f32[2,3]" at text[used..size); returns the new length, cut at size - 1. */
static size_t describe(char *text, size_t size, size_t used, const struct view *v)
{
    char shape[VIEW_RANK_MAX * 21 + 1] = "";
    size_t n = 0;
    for (int i = 0; i < v->rank && i < VIEW_RANK_MAX; i++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, i ? ",%" PRId64 : "%" PRId64,
                              v->shape[i]);
    if (used >= size)
        return used;
    if (view_left_out(v))
        return used + (size_t)snprintf(text + used, size - used, " none");
    return used + (size_t)snprintf(text + used, size - used, " %s[%s]", type_name(v->type), shape);
}

enum status check_refuse(const char *op, const struct view *out, int n_out, const struct view *in,
                         int n_in, struct error *err)
{
    char text[768] = "";
    size_t used = 0;
    for (int i = 0; i < n_out; i++)
        used = describe(text, sizeof text, used, &out[i]);
    if (used < sizeof text)
        used += (size_t)snprintf(text + used, sizeof text - used, " <-");
    for (int i = 0; i < n_in; i++)
        used = describe(text, sizeof text, used, &in[i]);
    return error_set(err, ST_FAIL, CAUSE_ARG, "%s: operands or attributes do not fit:%s", op, text);
}
