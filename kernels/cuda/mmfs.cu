/* kernels/cuda/mmfs.cu: the sampling forward. A warp to a query and head; its lanes compute the places of 32
 * samples, then read their corners together, two channels a lane, 64 channels at a time. */
#include "kernels/cuda/mmfs_private.cuh"

enum { POINT_WARPS = 8, CHANNELS = 2 * WARP };

static bool levels_fit(struct mmfs_call *c)
{
    const struct mmfs_attrs *at = &c->at;
    int64_t rows = 0;
    if (at->heads < 1 || at->points < 1 || at->levels < 1 || at->levels > MMFS_LEVELS_MAX ||
        at->queries_per_list < 1 || !(at->base > 0.0f))
        return false;
    for (int l = 0; l < at->levels; l++) {
        if (at->height[l] < 1 || at->width[l] < 1)
            return false;
        c->level_at[l] = rows;
        rows += (int64_t)at->height[l] * at->width[l];
    }
    return rows == c->S;
}

bool mmfs_call_of(struct mmfs_call *c, struct kctx *k, const struct view *in, int64_t Q, int64_t D,
                  const struct mmfs_attrs *at)
{
    memset(c, 0, sizeof *c);
    c->at = *at;
    c->Q = Q;
    c->D = D;
    c->N = in[4].shape[0];
    c->S = in[4].shape[1];
    c->R = view_rows(&in[1]);
    c->K = view_rows(&in[6]);
    c->pairs = view_count(&in[8]);
    c->fault = state_of(k)->fault;
    if (in[4].rank != 3 || in[4].shape[2] != D || !levels_fit(c) || D % at->heads != 0 ||
        Q % at->queries_per_list != 0)
        return false;
    c->d = D / at->heads;
    c->off_width = (int64_t)at->heads * at->points * 2;
    c->att_width = (int64_t)at->heads * at->levels * (at->points + 1);
    c->off_q = (const float *)in[0].data;
    c->off_r = (const float *)in[1].data;
    c->att_q = (const float *)in[2].data;
    c->att_r = (const float *)in[3].data;
    c->value = ref_of(&in[4]);
    c->ignore = ref_of(&in[5]);
    c->ref = (const float *)in[6].data;
    c->start = (const int32_t *)in[7].data;
    c->image = (const int32_t *)in[8].data;
    c->rank = (const int32_t *)in[9].data;
    return view_f32(&in[0], Q * c->off_width) && view_f32(&in[1], c->R * c->off_width) &&
           view_f32(&in[2], Q * c->att_width) && view_f32(&in[3], c->R * c->att_width) &&
           view_float(&in[4], c->N * c->S * D) && view_maybe_float(&in[5], D) &&
           view_f32(&in[6], c->K * 2) && view_last(&in[6]) == 2 && c->K > 0 &&
           view_is(&in[7], DT_I32, Q / at->queries_per_list + 1) &&
           view_is(&in[8], DT_I32, c->pairs) && view_is(&in[9], DT_I32, c->pairs);
}

/* What the lanes of a warp tell each other of a sample. */
struct corners {
    int64_t at[4];
    float share[4];
};

/* Channels e and e + 1 of the head's output. */
__device__ static void sample_all(float o[2], const struct mmfs_call &c, const struct mmfs_point &v,
                                  int64_t e, struct corners *room)
{
    const int lane = (int)threadIdx.x % WARP;
    const int64_t samples = mmfs_samples(c, v);
    for (int64_t first = 0; first < samples; first += WARP) {
        const int count = samples - first < WARP ? (int)(samples - first) : (int)WARP;
        if (lane < count) {
            const struct mmfs_sample s = mmfs_sample_at(c, v, first + lane);
            for (int k = 0; k < 4; k++) {
                room[lane].at[k] = s.at[k];
                room[lane].share[k] = s.weight * s.share[k];
            }
        }
        __syncwarp();
        for (int j = 0; j < count; j++)
            for (int k = 0; k < 4; k++) {
                float corner[2];
                if (room[j].at[k] == LEFT_OUT)
                    continue;
                mmfs_get2(corner, c.value, room[j].at[k] * c.D + v.h * c.d, e, c.d);
                o[0] += room[j].share[k] * corner[0];
                o[1] += room[j].share[k] * corner[1];
            }
        __syncwarp();
    }
}

static __global__ void points_fwd(struct ref o, const struct mmfs_call c)
{
    __shared__ struct corners room[POINT_WARPS][WARP];
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t points = c.Q * c.at.heads;
    for (int64_t n = (int64_t)blockIdx.x * POINT_WARPS + warp; n < points;
         n += (int64_t)gridDim.x * POINT_WARPS) {
        const struct mmfs_point v = mmfs_point_at(c, n / c.at.heads, n % c.at.heads);
        for (int64_t e0 = 0; e0 < c.d; e0 += CHANNELS) {
            const int64_t e = e0 + 2 * lane, at = v.q * c.D + v.h * c.d + e;
            float sum[2] = { 0.0f, 0.0f };
            if (c.ignore.data) {
                mmfs_get2(sum, c.ignore, v.h * c.d, e, c.d);
                sum[0] *= v.null_weight;
                sum[1] *= v.null_weight;
            }
            sample_all(sum, c, v, e, room[warp]);
            for (int j = 0; j < 2; j++)
                if (e + j < c.d)
                    ref_put(o, at + j, sum[j]);
        }
    }
}

enum status mmfs_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const int64_t Q = view_rows(&out[0]), D = view_last(&out[0]);
    struct mmfs_call c;
    if (!mmfs_call_of(&c, k, in, Q, D, (const struct mmfs_attrs *)attrs) ||
        !view_float(&out[0], Q * D))
        return check_refuse("mmfs", out, 1, in, 10, err);
    LAUNCH(k, points_fwd, blocks_for(Q * c.at.heads, POINT_WARPS), WARP * POINT_WARPS, 0,
           ref_of(&out[0]), c);
    return launched("mmfs", err);
}
