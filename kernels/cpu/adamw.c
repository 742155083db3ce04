/* kernels/cpu/adamw.c: the update in double, rounded once a value. */
#include "kernels/adamw.h"

#include "kernels/cpu/cpu_private.h"

enum status adamw_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct adamw_attrs *at = attrs;
    const int64_t n = view_count(&out[0]);
    float *p = out[0].data, *m = out[1].data, *v = out[2].data;
    const float *g = in[0].data, *clip = in[1].data;
    (void)k;

    if (at->step < 1 || !view_f32(&out[0], n) || !view_f32(&out[1], n) || !view_f32(&out[2], n) ||
        !view_f32(&in[0], n) || !view_maybe_f32(&in[1], 1))
        return check_refuse("adamw", out, 3, in, 2, err);
    const double scale = at->grad_scale * (clip ? (double)*clip : 1.0);
    const double rate = at->lr / (1.0 - pow(at->beta1, (double)at->step));
    const double root = sqrt(1.0 - pow(at->beta2, (double)at->step));
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        const double gi = (double)g[i] * scale;
        const double mi = at->beta1 * (double)m[i] + (1.0 - at->beta1) * gi;
        const double vi = at->beta2 * (double)v[i] + (1.0 - at->beta2) * gi * gi;
        const double decayed = (double)p[i] * (1.0 - at->lr * at->weight_decay);
        m[i] = (float)mi;
        v[i] = (float)vi;
        p[i] = (float)(decayed - rate * mi / (sqrt(vi) / root + at->eps));
    }
    return ST_OK;
}
