/* kernels/cuda/reduce.cu: whole sums by sums.cu; squares run by run, a block to a run, in double. */
#include "kernels/reduce.h"

#include "kernels/cuda/sums_private.cuh"

enum status reduce_sum_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                const void *attrs, struct error *err)
{
    const struct reduce_attrs *at = (const struct reduce_attrs *)attrs;
    const int64_t n = view_count(&in[0]);
    struct total_sum s = {};

    if (!view_float(&out[0], 1) || !view_float(&in[0], n) || !view_maybe_float(&in[1], 1))
        return check_refuse("reduce_sum", out, 1, in, 2, err);
    s.n = n;
    s.a = ref_of(&in[0]);
    s.divisor = ref_of(&in[1]);
    s.y = ref_of(&out[0]);
    s.scale = at->scale;
    s.beta = at->beta;
    return total_sum_run(k, &s, "reduce_sum", err);
}

static __global__ void squares(float *y, struct ref x, int64_t n, int64_t runs)
{
    __shared__ double room[BLOCK_WARPS_MAX];
    for (int64_t r = blockIdx.x; r < runs; r += gridDim.x) {
        const int64_t begin = r * REDUCE_RUN, end = begin + REDUCE_RUN < n ? begin + REDUCE_RUN : n;
        double sum = 0.0;
        for (int64_t i = begin + GROUP * (int64_t)threadIdx.x; i < end;
             i += GROUP * (int64_t)blockDim.x) {
            float v[GROUP];
            get8(v, x, i, end);
            for (int j = 0; j < GROUP; j++)
                sum += (double)v[j] * (double)v[j];
        }
        sum = block_sum(sum, room);
        if (threadIdx.x == 0)
            y[r] = (float)sum;
    }
}

enum status reduce_squares_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                    const void *attrs, struct error *err)
{
    const int64_t n = view_count(&in[0]), runs = (n + REDUCE_RUN - 1) / REDUCE_RUN;
    (void)attrs;
    if (!view_f32(&out[0], runs) || !view_float(&in[0], n))
        return check_refuse("reduce_squares", out, 1, in, 1, err);
    LAUNCH(k, squares, blocks_for(runs, 1), THREADS, 0, (float *)out[0].data, ref_of(&in[0]), n,
           runs);
    return launched("reduce_squares", err);
}
