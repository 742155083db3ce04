/* kernels/cuda/depthwise.cu: weights are turned to [k k, C] in the workspace, so that 8 channels of a tap lie
 * together. Outputs: a thread to a pixel and 8 channels. Gradient of the weights: a block sums 32 channels over a
 * slab of rows, each of its warps some of the taps; a second kernel adds the slabs in order. */
#include "kernels/depthwise.h"

#include "kernels/cuda/cuda_private.cuh"

struct geometry {
    int64_t I, H, W, C, k;
};
static bool geometry_of(struct geometry *g, const struct view *x, const struct view *y,
                        const struct view *w)
{
    if (x->rank != 4 || w->rank != 4)
        return false;
    g->I = x->shape[0];
    g->H = x->shape[1];
    g->W = x->shape[2];
    g->C = x->shape[3];
    g->k = w->shape[2];
    return view_float(x, view_count(x)) && view_float(y, view_count(x)) &&
           view_float(w, g->C * g->k * g->k) && w->shape[0] == g->C && w->shape[3] == g->k &&
           g->k % 2 == 1 && y->rank == 4 && y->shape[1] == g->H && y->shape[2] == g->W;
}

static enum status fits_workspace(const struct kctx *k, const char *op, int64_t floats,
                                  struct error *err)
{
    if ((uint64_t)floats * sizeof(float) <= k->scratch_bytes)
        return ST_OK;
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: weights do not fit the workspace of %zu bytes",
                     op, k->scratch_bytes);
}

/* [C,1,k,k] to [k k, C]; `flip` turns the kernel round for the gradient of the input. */
static __global__ void turn_weights(float *taps, struct ref w, int64_t C, int64_t area, int flip)
{
    FOR_ITEMS(t, C * area)
    {
        const int64_t c = t / area, a = t % area;
        taps[(flip ? area - 1 - a : a) * C + c] = ref_get(w, t);
    }
}

static __global__ void correlate(struct ref y, struct ref x, struct ref taps, struct ref bias,
                                 const struct geometry g, float beta)
{
    const int64_t groups = (g.C + GROUP - 1) / GROUP, half = g.k / 2;
    FOR_ITEMS(t, g.I * g.H * g.W * groups)
    {
        const int64_t c = t % groups * GROUP, pixel = t / groups;
        const int64_t q = pixel % g.W, h = pixel / g.W % g.H;
        float sum[GROUP] = { 0.0f }, v[GROUP], w[GROUP];
        if (bias.data)
            get8(sum, bias, c, g.C);
        for (int64_t r = 0; r < g.k; r++)
            for (int64_t s = 0; s < g.k; s++) {
                const int64_t dh = r - half, dq = s - half, from = pixel + dh * g.W + dq;
                if (h + dh < 0 || h + dh >= g.H || q + dq < 0 || q + dq >= g.W)
                    continue;
                get8(v, x, from * g.C + c, (from + 1) * g.C);
                get8(w, taps, (r * g.k + s) * g.C + c, (r * g.k + s + 1) * g.C);
                for (int j = 0; j < GROUP; j++)
                    sum[j] += v[j] * w[j];
            }
        blend8(y, pixel * g.C + c, (pixel + 1) * g.C, sum, beta);
    }
}

static enum status run(struct kctx *k, const char *op, const struct geometry *g,
                       const struct view *out, const struct view *in, struct ref bias, int flip,
                       float beta, struct error *err)
{
    const int64_t area = g->k * g->k, n = g->I * g->H * g->W * ((g->C + GROUP - 1) / GROUP);
    const struct view taps = { k->scratch, DT_F32, 2, { area, g->C } };
    if (fits_workspace(k, op, area * g->C, err) != ST_OK)
        return ST_FAIL;
    LAUNCH(k, turn_weights, blocks_for(area * g->C, THREADS), THREADS, 0, (float *)k->scratch,
           ref_of(&in[1]), g->C, area, flip);
    LAUNCH(k, correlate, blocks_for(n, THREADS), THREADS, 0, row_ref(&out[0], g->C),
           row_ref(&in[0], g->C), row_ref(&taps, g->C), bias, *g, beta);
    return launched(op, err);
}

enum status depthwise_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct depthwise_attrs *at = (const struct depthwise_attrs *)attrs;
    struct geometry g;
    if (!geometry_of(&g, &in[0], &out[0], &in[1]) || !view_maybe_float(&in[2], g.C))
        return check_refuse("depthwise", out, 1, in, 3, err);
    return run(k, "depthwise", &g, out, in, ref_of(&in[2]), 0, at->beta, err);
}

enum status depthwise_dx_cuda(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct depthwise_attrs *at = (const struct depthwise_attrs *)attrs;
    const struct ref none = { NULL, 0, 0 };
    struct geometry g;
    if (!geometry_of(&g, &in[0], &out[0], &in[1]))
        return check_refuse("depthwise_dx", out, 1, in, 2, err);
    return run(k, "depthwise_dx", &g, out, in, none, 1, at->beta, err);
}

enum {
    TAPS = 7,
    WARPS = 7,
    SLABS_MAX = 128,
    SLAB_ROWS = 4
}; /* 7 warps of 7 taps: a 7 x 7 kernel */

/* Sums of taps first .. first + 49 over the pixel rows [begin, end) of all pictures. */
__device__ static void sum_taps(float sum[TAPS], const struct geometry g, struct ref dy,
                                struct ref x, int64_t c, int64_t first, int64_t begin, int64_t end)
{
    const int64_t half = g.k / 2, area = g.k * g.k;
    for (int64_t pixel = begin * g.W; pixel < end * g.W; pixel++) {
        const int64_t q = pixel % g.W, h = pixel / g.W % g.H;
        const float d = ref_get(dy, pixel * g.C + c);
        for (int j = 0; j < TAPS; j++) {
            const int64_t a = first + j, dh = a / g.k - half, dq = a % g.k - half;
            if (a < area && h + dh >= 0 && h + dh < g.H && q + dq >= 0 && q + dq < g.W)
                sum[j] += d * ref_get(x, (pixel + dh * g.W + dq) * g.C + c);
        }
    }
}

static __global__ void weight_slabs(float *part, struct ref dy, struct ref x,
                                    const struct geometry g, int64_t slabs)
{
    const int64_t area = g.k * g.k, tiles = (g.C + WARP - 1) / WARP, rows = g.I * g.H;
    const int64_t passes = (area + TAPS * WARPS - 1) / (TAPS * WARPS);
    for (int64_t t = blockIdx.x; t < tiles * slabs * passes; t += gridDim.x) {
        const int64_t c = t % tiles * WARP + threadIdx.x % WARP, slab = t / tiles % slabs;
        const int64_t first = (t / tiles / slabs * WARPS + threadIdx.x / WARP) * TAPS;
        float sum[TAPS] = { 0.0f };
        if (c >= g.C)
            continue;
        sum_taps(sum, g, dy, x, c, first, rows * slab / slabs, rows * (slab + 1) / slabs);
        for (int j = 0; j < TAPS && first + j < area; j++)
            part[(slab * area + first + j) * g.C + c] = sum[j];
    }
}

static __global__ void add_weight_slabs(struct ref dw, const float *part, int64_t C, int64_t area,
                                        int64_t slabs, float beta)
{
    FOR_ITEMS(t, C * area)
    {
        const int64_t c = t / area, a = t % area;
        float sum = 0.0f;
        for (int64_t s = 0; s < slabs; s++)
            sum += part[(s * area + a) * C + c];
        ref_blend(dw, t, sum, beta);
    }
}

enum status depthwise_dw_cuda(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct depthwise_attrs *at = (const struct depthwise_attrs *)attrs;
    struct geometry g;
    if (!geometry_of(&g, &in[1], &in[0], &out[0]))
        return check_refuse("depthwise_dw", out, 1, in, 2, err);
    const int64_t area = g.k * g.k, cells = area * g.C, tiles = (g.C + WARP - 1) / WARP;
    const int64_t passes = (area + TAPS * WARPS - 1) / (TAPS * WARPS);
    const int64_t room = (int64_t)(k->scratch_bytes / sizeof(float));
    int64_t slabs = (g.I * g.H + SLAB_ROWS - 1) / SLAB_ROWS;
    if (fits_workspace(k, "depthwise_dw", cells, err) != ST_OK)
        return ST_FAIL;
    slabs = slabs > SLABS_MAX ? (int64_t)SLABS_MAX : slabs < 1 ? 1 : slabs;
    if (cells > 0 && slabs > room / cells)
        slabs = room / cells;
    LAUNCH(k, weight_slabs, blocks_for(tiles * slabs * passes, 1), WARP * WARPS, 0,
           (float *)k->scratch, ref_of(&in[0]), ref_of(&in[1]), g, slabs);
    LAUNCH(k, add_weight_slabs, blocks_for(cells, THREADS), THREADS, 0, ref_of(&out[0]),
           (const float *)k->scratch, g.C, area, slabs, at->beta);
    return launched("depthwise_dw", err);
}
