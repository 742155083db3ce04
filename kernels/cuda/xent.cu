/* kernels/cuda/xent.cu: a block to a row: the largest logit and the sum of exponentials in one pass (each thread
 * keeps its own pair and the block joins them), then the gradient over the logits. */
#include "kernels/xent.h"

#include "kernels/cuda/cuda_private.cuh"

enum { XENT_THREADS = 512 };

struct xent_call {
    struct ref dx, x;
    float *loss;
    const int32_t *target;
    const float *divisor;
    int64_t R, V;
    float scale;
    int32_t *fault;
};

/* This thread's share of a row: top is its largest, the result the sum of exp(x - top). */
__device__ static float share_of_row(float *top, const struct xent_call c, int64_t r)
{
    float sum = 0.0f;
    *top = -INFINITY;
    for (int64_t v = GROUP * (int64_t)threadIdx.x; v < c.V; v += GROUP * (int64_t)blockDim.x) {
        const int64_t end = (r + 1) * c.V;
        float x[GROUP], high = *top;
        get8(x, c.x, r * c.V + v, end);
        for (int j = 0; j < GROUP && v + j < c.V; j++)
            high = fmaxf(high, x[j]);
        sum *= expf(*top - high);
        for (int j = 0; j < GROUP && v + j < c.V; j++)
            sum += expf(x[j] - high);
        *top = high;
    }
    return sum;
}

static __global__ void rows_loss(const struct xent_call c)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    const float divisor = c.divisor ? *c.divisor : 0.0f;
    const float g = divisor != 0.0f ? c.scale / divisor : 0.0f;
    for (int64_t r = blockIdx.x; r < c.R; r += gridDim.x) {
        int32_t target = c.target[r];
        float own, log_sum = 0.0f, at_target = 0.0f;
        if (target != XENT_IGNORE && (target < 0 || target >= c.V)) {
            note_fault(c.fault, FAULT_TARGET, target);
            target = XENT_IGNORE;
        }
        if (target != XENT_IGNORE) { /* alike in the whole block */
            const float sum = share_of_row(&own, c, r);
            const float top = block_max(own, room);
            const float total = block_sum(own == -INFINITY ? 0.0f : sum * expf(own - top), room);
            at_target = ref_get(c.x, r * c.V + target);
            log_sum = logf(total) + top;
            __syncthreads(); /* the gradient may take the place of the logits */
        }
        if (threadIdx.x == 0)
            c.loss[r] = target == XENT_IGNORE ? 0.0f : log_sum - at_target;
        for (int64_t v = GROUP * (int64_t)threadIdx.x; c.dx.data && v < c.V;
             v += GROUP * (int64_t)blockDim.x) {
            float x[GROUP] = { 0.0f };
            if (target != XENT_IGNORE) {
                get8(x, c.x, r * c.V + v, (r + 1) * c.V);
                for (int j = 0; j < GROUP; j++)
                    x[j] = (expf(x[j] - log_sum) - (v + j == target ? 1.0f : 0.0f)) * g;
            }
            put8(c.dx, r * c.V + v, (r + 1) * c.V, x);
        }
    }
}

enum status xent_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct xent_attrs *at = (const struct xent_attrs *)attrs;
    const int64_t R = view_rows(&in[0]), V = view_last(&in[0]);
    struct xent_call c;
    if (V < 1 || !view_float(&in[0], R * V) || !view_is(&in[1], DT_I32, R) ||
        !view_f32(&out[1], R) || !view_maybe_float(&out[0], R * V) ||
        (out[0].data && !view_f32(&in[2], 1)))
        return check_refuse("xent", out, 2, in, 3, err);
    c.dx = row_ref(&out[0], V);
    c.x = row_ref(&in[0], V);
    c.loss = (float *)out[1].data;
    c.target = (const int32_t *)in[1].data;
    c.divisor = out[0].data ? (const float *)in[2].data : NULL;
    c.R = R;
    c.V = V;
    c.scale = at->scale;
    c.fault = state_of(k)->fault;
    LAUNCH(k, rows_loss, blocks_for(R, 1), XENT_THREADS, 0, c);
    return launched("xent", err);
}
