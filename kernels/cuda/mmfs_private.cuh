/* kernels/cuda/mmfs_private.cuh: one query and head as a warp sees it: its list of images, its softmax, the
 * places it samples. Samples are numbered pair x level x point. */
#ifndef DEEM_KERNELS_CUDA_MMFS_PRIVATE_CUH
#define DEEM_KERNELS_CUDA_MMFS_PRIVATE_CUH

#include "kernels/cuda/cuda_private.cuh"
#include "kernels/mmfs.h"

enum { LEFT_OUT = -1 };

struct mmfs_call {
    struct mmfs_attrs at;
    int64_t Q, D, d, S, N, R, K; /* d: head width */
    int64_t level_at[MMFS_LEVELS_MAX];
    int64_t off_width, att_width; /* of a row */
    int64_t pairs;                /* capacity of the lists */
    const float *off_q, *off_r, *att_q, *att_r, *ref;
    struct ref value, ignore;
    const int32_t *start, *image, *rank;
    int32_t *fault;
};

/* `in` starts at off_q. */
bool mmfs_call_of(struct mmfs_call *c, struct kctx *k, const struct view *in, int64_t Q, int64_t D,
                  const struct mmfs_attrs *at);

/* One query and head: pairs [begin, end), softmax: maximum, sum of exp(logit - top), share of the null slot. */
struct mmfs_point {
    int64_t q, h, begin, end;
    float top, sum, null_weight;
};

/* A sample: rows of `value` at its four corners (LEFT_OUT outside the map), in the order (row, col) = 00, 01, 10,
 * 11, their bilinear weights, the fractions, its softmax weight. */
struct mmfs_sample {
    int64_t at[4];
    float share[4], fx, fy, weight;
};

__device__ static inline int64_t mmfs_samples(const struct mmfs_call &c, const struct mmfs_point &v)
{
    return (v.end - v.begin) * c.at.levels * c.at.points;
}

/* A pair that the lists should not name counts as none. */
__device__ static inline bool mmfs_pair_there(const struct mmfs_call &c, int64_t pair)
{
    const int32_t image = c.image[pair], rank = c.rank[pair];
    if (image >= 0 && image < c.N && rank >= 1 && rank < c.R)
        return true;
    note_fault(c.fault, FAULT_LIST, (int32_t)pair);
    return false;
}

__device__ static inline float mmfs_logit(const struct mmfs_call &c, const struct mmfs_point &v,
                                          int64_t pair, int l, int p)
{
    const int64_t at = (v.h * c.at.levels + l) * (c.at.points + 1) + p;
    return c.att_q[v.q * c.att_width + at] + c.att_r[c.rank[pair] * c.att_width + at];
}

/* The lanes share the samples; every lane gets the result. */
__device__ static inline struct mmfs_point mmfs_point_at(const struct mmfs_call &c, int64_t q,
                                                         int64_t h)
{
    const int lane = (int)threadIdx.x % WARP, per = c.at.levels * c.at.points;
    const int64_t list = q / c.at.queries_per_list;
    struct mmfs_point v = { q, h, c.start[list], c.start[list + 1], 0.0f, 0.0f, 0.0f };
    if (v.begin < 0 || v.end < v.begin || v.end > c.pairs) {
        note_fault(c.fault, FAULT_LIST, (int32_t)list);
        v.begin = v.end = 0;
    }
    for (int64_t n = lane; n < mmfs_samples(c, v); n += WARP)
        if (mmfs_pair_there(c, v.begin + n / per))
            v.top = fmaxf(v.top, mmfs_logit(c, v, v.begin + n / per, (int)(n % per) / c.at.points,
                                            (int)n % c.at.points));
    v.top = warp_max(v.top);
    for (int64_t n = lane; n < mmfs_samples(c, v); n += WARP)
        if (mmfs_pair_there(c, v.begin + n / per))
            v.sum += expf(mmfs_logit(c, v, v.begin + n / per, (int)(n % per) / c.at.points,
                                     (int)n % c.at.points) -
                          v.top);
    v.sum = warp_sum(v.sum) + expf(-v.top);
    v.null_weight = expf(-v.top) / v.sum;
    return v;
}

__device__ static inline struct mmfs_sample mmfs_sample_at(const struct mmfs_call &c,
                                                           const struct mmfs_point &v, int64_t n)
{
    const int p = (int)(n % c.at.points), l = (int)(n / c.at.points % c.at.levels);
    const int64_t pair = v.begin + n / c.at.points / c.at.levels;
    struct mmfs_sample s = { { LEFT_OUT, LEFT_OUT, LEFT_OUT, LEFT_OUT }, { 0 }, 0.0f, 0.0f, 0.0f };
    if (!mmfs_pair_there(c, pair))
        return s;
    const int w = c.at.width[l], h = c.at.height[l];
    const float scale = (float)c.at.shape[l] / c.at.base;
    const float *ref = c.ref + v.q % c.K * 2;
    const float *off_q = c.off_q + v.q * c.off_width + (v.h * c.at.points + p) * 2;
    const float *off_r = c.off_r + c.rank[pair] * c.off_width + (v.h * c.at.points + p) * 2;
    const float x = ref[0] * (float)w + (off_q[0] + off_r[0]) * scale - 0.5f;
    const float y = ref[1] * (float)h + (off_q[1] + off_r[1]) * scale - 0.5f;
    s.weight = expf(mmfs_logit(c, v, pair, l, p) - v.top) / v.sum;
    if (!(x > -1.0f && x < (float)w && y > -1.0f && y < (float)h)) /* refuses NaN too */
        return s;
    const int64_t col = (int64_t)floorf(x), row = (int64_t)floorf(y);
    const int64_t first = c.image[pair] * c.S + c.level_at[l];
    s.fx = x - (float)col;
    s.fy = y - (float)row;
    for (int k = 0; k < 4; k++) {
        const int64_t i = row + k / 2, j = col + k % 2;
        s.share[k] = (k / 2 ? s.fy : 1.0f - s.fy) * (k % 2 ? s.fx : 1.0f - s.fx);
        if (i >= 0 && i < h && j >= 0 && j < w)
            s.at[k] = first + i * w + j;
    }
    return s;
}

/* The two channels of a lane, e and e + 1 of a row of d; zeros past its end. */
__device__ static inline void mmfs_get2(float v[2], struct ref r, int64_t at, int64_t e, int64_t d)
{
    v[0] = e < d ? ref_get(r, at + e) : 0.0f;
    v[1] = e + 1 < d ? ref_get(r, at + e + 1) : 0.0f;
}

#endif
