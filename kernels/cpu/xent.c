/* kernels/cpu/xent.c: one row after the other, sum of exponentials in double. */
#include "kernels/xent.h"

#include <inttypes.h>

#include "kernels/cpu/cpu_private.h"

static enum status check_targets(const int32_t *target, int64_t R, int64_t V, struct error *err)
{
    for (int64_t r = 0; r < R; r++)
        if (target[r] != XENT_IGNORE && (target[r] < 0 || target[r] >= V))
            return error_set(err, ST_FAIL, CAUSE_ARG,
                             "xent: target %" PRId64 ": got %" PRId32 ", want %d or [0, %" PRId64
                             ")",
                             r, target[r], XENT_IGNORE, V);
    return ST_OK;
}

/* Returns the loss; g is the weight of the gradient. dx may be x or NULL. */
static float row_fwd(float *dx, const float *x, int32_t target, int64_t V, double g)
{
    float top = x[0];
    double sum = 0.0;
    for (int64_t v = 1; v < V; v++)
        top = x[v] > top ? x[v] : top;
    for (int64_t v = 0; v < V; v++)
        sum += (double)expf(x[v] - top);
    const double loss = log(sum) + (double)top - (double)x[target];
    for (int64_t v = 0; v < (dx ? V : 0); v++) {
        const double p = (double)expf(x[v] - top) / sum;
        dx[v] = (float)((p - (v == target ? 1.0 : 0.0)) * g);
    }
    return (float)loss;
}

enum status xent_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                         const void *attrs, struct error *err)
{
    const struct xent_attrs *at = attrs;
    const int64_t R = view_rows(&in[0]), V = view_last(&in[0]);
    float *dx = out[0].data, *loss = out[1].data;
    const float *x = in[0].data, *divisor = in[2].data;
    const int32_t *target = in[1].data;
    (void)k;

    if (V < 1 || !view_f32(&in[0], R * V) || !view_is(&in[1], DT_I32, R) || !view_f32(&out[1], R) ||
        !view_maybe_f32(&out[0], R * V) || (dx && !view_f32(&in[2], 1)))
        return check_refuse("xent", out, 2, in, 3, err);
    if (check_targets(target, R, V, err) != ST_OK)
        return ST_FAIL;
    const double g = dx && *divisor != 0.0f ? (double)at->scale / (double)*divisor : 0.0;
#pragma omp parallel for schedule(static) if (R * V > PARALLEL_MIN)
    for (int64_t r = 0; r < R; r++) {
        float *dxr = dx ? dx + r * V : NULL;
        if (target[r] != XENT_IGNORE) {
            loss[r] = row_fwd(dxr, x + r * V, target[r], V, g);
            continue;
        }
        loss[r] = 0.0f;
        if (dxr)
            memset(dxr, 0, (size_t)V * sizeof *dxr);
    }
    return ST_OK;
}
