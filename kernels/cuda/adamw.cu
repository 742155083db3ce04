/* kernels/cuda/adamw.cu: the update in double, rounded once a value: memory sets the pace. A float32 parameter is
 * one array, or its halves: the bf16 weight that the model uses and the low bits (adamw.h). */
#include "kernels/adamw.h"

#include "kernels/cuda/cuda_private.cuh"

struct adamw_call {
    void *p;
    uint16_t *low; /* NULL: p is float32 */
    float *m, *v;
    struct ref g;
    const float *clip;
    int64_t n;
    double rate, root, decay, beta1, beta2, eps, grad_scale;
};

static __global__ void update(const struct adamw_call c)
{
    const double scale = c.grad_scale * (c.clip ? (double)*c.clip : 1.0);
    FOR_ITEMS(i, c.n)
    {
        const double g = (double)ref_get(c.g, i) * scale;
        const double m = c.beta1 * (double)c.m[i] + (1.0 - c.beta1) * g;
        const double v = c.beta2 * (double)c.v[i] + (1.0 - c.beta2) * g * g;
        const float before = c.low ? float_of_bits(adamw_join(((const uint16_t *)c.p)[i], c.low[i]))
                                   : ((const float *)c.p)[i];
        const float after =
            (float)((double)before * c.decay - c.rate * m / (sqrt(v) / c.root + c.eps));
        c.m[i] = (float)m;
        c.v[i] = (float)v;
        if (c.low) {
            const uint32_t bits = bits_of_float(after);
            ((uint16_t *)c.p)[i] = adamw_high(bits);
            c.low[i] = adamw_low(bits);
        } else {
            ((float *)c.p)[i] = after;
        }
    }
}

enum status adamw_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct adamw_attrs *at = (const struct adamw_attrs *)attrs;
    const int64_t n = view_count(&out[0]);
    const bool halves = out[0].type == DT_BF16;
    struct adamw_call c;

    if (at->step < 1 || !view_float(&out[0], n) || !view_f32(&out[1], n) || !view_f32(&out[2], n) ||
        (halves && !view_is(&out[3], DT_BF16, n)) || !view_float(&in[0], n) ||
        !view_maybe_f32(&in[1], 1))
        return check_refuse("adamw", out, halves ? 4 : 3, in, 2, err);
    c.p = out[0].data;
    c.low = halves ? (uint16_t *)out[3].data : NULL;
    c.m = (float *)out[1].data;
    c.v = (float *)out[2].data;
    c.g = ref_of(&in[0]);
    c.clip = (const float *)in[1].data;
    c.n = n;
    c.rate = at->lr / (1.0 - pow(at->beta1, (double)at->step));
    c.root = sqrt(1.0 - pow(at->beta2, (double)at->step));
    c.decay = 1.0 - at->lr * at->weight_decay;
    c.beta1 = at->beta1;
    c.beta2 = at->beta2;
    c.eps = at->eps;
    c.grad_scale = at->grad_scale;
    LAUNCH(k, update, blocks_for(n, THREADS), THREADS, 0, c);
    return launched("adamw", err);
}
