/* kernels/cuda/attention.cu: attention of any head width, plain. A warp has one query (in the gradient of keys
 * and values: one key) and meets 32 keys at a time, a lane to a key; operands pass through shared memory in
 * pieces of 64 channels. Each sum has one order, so every form is deterministic. */
#include "kernels/cuda/attention_private.cuh"

enum {
    ROWS = 8,         /* warps of a block: queries, or keys */
    TILE = WARP,      /* what they meet at a time */
    CHUNK = 2 * WARP, /* channels in shared memory */
    RANGE = 256,      /* channels of output a warp holds; wider heads go round */
    HELD = RANGE / CHUNK,
};

bool attention_call_of(struct attention_call *c, const struct view *q, const struct view *k,
                       const struct view *v, const struct view *first, const struct view *count,
                       const struct view *draws, const struct attention_attrs *at)
{
    memset(c, 0, sizeof *c);
    if (q->rank != 3 || k->rank != 3 || v->rank != 3 || at->heads < 1)
        return false;
    const int64_t Bk = k->shape[0];
    c->B = q->shape[0];
    c->Lq = q->shape[1];
    c->Lk = k->shape[1];
    c->W = q->shape[2];
    c->H = at->heads;
    c->D = (int)(c->W / c->H);
    c->causal = at->causal;
    c->scale = at->scale;
    c->dropout = at->dropout;
    c->keep = 1.0f / (1.0f - at->dropout);
    c->q = ref_of(q);
    c->k = ref_of(k);
    c->v = ref_of(v);
    c->first = (const int32_t *)first->data;
    c->count = (const int32_t *)count->data;
    c->draws = (const int32_t *)draws->data;
    c->step_k = Bk == 1 ? 0 : c->Lk * c->W;
    return c->W % c->H == 0 && c->W > 0 && c->W <= INT32_MAX && (Bk == c->B || Bk == 1) &&
           view_float(q, view_count(q)) && view_float(k, Bk * c->Lk * c->W) &&
           k->shape[2] == c->W && view_float(v, Bk * c->Lk * c->W) && v->shape[0] == Bk &&
           v->shape[2] == c->W && (view_left_out(first) || view_is(first, DT_I32, c->B)) &&
           (view_left_out(count) || view_is(count, DT_I32, c->B)) && at->dropout >= 0.0f &&
           at->dropout < 1.0f &&
           (at->dropout == 0.0f || (view_is(draws, DT_I32, 4 * c->B) && view_last(draws) == 4));
}

/* Channels [e0, e0 + CHUNK) of a head in rows [first, first + n) of L, by the whole block; zeros outside. */
__device__ static inline void load(float (*room)[CHUNK + 1], int n, struct ref x, int64_t base,
                                   int64_t first, int64_t L, const struct attention_call &c, int e0)
{
    for (int t = (int)threadIdx.x; t < n * CHUNK; t += (int)blockDim.x) {
        const int r = t / CHUNK, e = e0 + t % CHUNK;
        const bool there = first + r < L && e < c.D;
        room[r][t % CHUNK] = there ? ref_get(x, base + (first + r) * c.W + e) : 0.0f;
    }
}

/* One head of one row of the batch. */
struct place {
    int64_t b, h, q, k; /* where its queries and its keys begin */
};
__device__ static inline struct place place_of(const struct attention_call &c, int64_t job)
{
    const int64_t b = job / c.H, h = job % c.H;
    const struct place p = { b, h, b * c.Lq * c.W + h * c.D, b * c.step_k + h * c.D };
    return p;
}

__device__ static inline float dot_chunk(const float *a, const float *b)
{
    float sum = 0.0f;
    for (int e = 0; e < CHUNK; e++)
        sum += a[e] * b[e];
    return sum;
}

/* held += sum over the tile of weight (of each lane) times the row of x, for channels from d0 on. */
__device__ static inline void gather_rows(float held[2 * HELD], float (*room)[CHUNK + 1],
                                          float weight, struct ref x, int64_t base, int64_t first,
                                          int64_t L, const struct attention_call &c, int d0)
{
    const int lane = (int)threadIdx.x % WARP;
#pragma unroll
    for (int part = 0; part < HELD; part++) {
        if (d0 + part * CHUNK >= c.D)
            continue; /* alike in the whole block */
        __syncthreads();
        load(room, TILE, x, base, first, L, c, d0 + part * CHUNK);
        __syncthreads();
        for (int j = 0; j < TILE; j++) {
            const float w = __shfl_sync(0xffffffffu, weight, j);
            held[2 * part] += w * room[j][2 * lane];
            held[2 * part + 1] += w * room[j][2 * lane + 1];
        }
    }
}

__device__ static inline void store_row(struct ref y, int64_t at, const float held[2 * HELD],
                                        float factor, float beta, const struct attention_call &c,
                                        int d0)
{
    const int lane = (int)threadIdx.x % WARP;
#pragma unroll
    for (int part = 0; part < HELD; part++)
        for (int j = 0; j < 2; j++) {
            const int e = d0 + part * CHUNK + 2 * lane + j;
            if (e < c.D)
                ref_blend(y, at + e, held[2 * part + j] * factor, beta);
        }
}

/* The scores of this warp's query against the 32 keys from j0 on, a lane to a key, not yet scaled. */
__device__ static inline float tile_scores(float (*qs)[CHUNK + 1], float (*ks)[CHUNK + 1],
                                           struct ref a, int64_t base_a, int64_t i0, int64_t La,
                                           struct ref b, int64_t base_b, int64_t j0, int64_t Lb,
                                           const struct attention_call &c)
{
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    float s = 0.0f;
    for (int e0 = 0; e0 < c.D; e0 += CHUNK) {
        __syncthreads();
        load(qs, ROWS, a, base_a, i0, La, c, e0);
        load(ks, TILE, b, base_b, j0, Lb, c, e0);
        __syncthreads();
        s += dot_chunk(qs[warp], ks[lane]);
    }
    return s;
}

static __global__ void attention_fwd(const struct attention_call c)
{
    __shared__ float qs[ROWS][CHUNK + 1], ks[TILE][CHUNK + 1];
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t tiles = (c.Lq + ROWS - 1) / ROWS;
    struct draws d = draws_of(c.draws);
    for (int64_t job = blockIdx.x; job < c.B * c.H * tiles; job += gridDim.x) {
        const struct place at = place_of(c, job / tiles);
        const int64_t i0 = job % tiles * ROWS, i = i0 + warp;
        int64_t begin, end, own_end;
        attention_visible(&begin, &own_end, c, at.b, i);
        attention_visible(&begin, &end, c, at.b, i0 + ROWS - 1);
        for (int d0 = 0; d0 < c.D; d0 += RANGE) {
            float held[2 * HELD] = { 0.0f }, top = -INFINITY, sum = 0.0f;
            for (int64_t j0 = begin; j0 < end; j0 += TILE) {
                const int64_t j = j0 + lane;
                const float s =
                    c.scale * tile_scores(qs, ks, c.q, at.q, i0, c.Lq, c.k, at.k, j0, c.Lk, c);
                const float high = fmaxf(top, warp_max(j < own_end ? s : -INFINITY));
                const float shrink = high == -INFINITY ? 0.0f : expf(top - high);
                float p = j < own_end && high > -INFINITY ? expf(s - high) : 0.0f;
                sum = sum * shrink + warp_sum(p);
                top = high;
                for (int e = 0; e < 2 * HELD; e++)
                    held[e] *= shrink;
                if (p > 0.0f)
                    p *= attention_kept(c, &d, at.b, at.h, i, j);
                gather_rows(held, ks, p, c.v, at.k, j0, c.Lk, c, d0);
            }
            if (i < c.Lq)
                store_row(c.o, at.q + i * c.W, held, sum > 0.0f ? 1.0f / sum : 0.0f, 0.0f, c, d0);
            if (i < c.Lq && lane == 0 && c.lse)
                c.lse[(at.b * c.H + at.h) * c.Lq + i] = sum > 0.0f ? top + logf(sum) : -INFINITY;
        }
    }
}

enum status attention_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    struct attention_call c;
    bool done = false;
    if (!attention_call_of(&c, &in[0], &in[1], &in[2], &in[3], &in[4], &in[5],
                           (const struct attention_attrs *)attrs) ||
        !view_float(&out[0], view_count(&in[0])) || !view_maybe_f32(&out[1], c.B * c.H * c.Lq))
        return check_refuse("attention", out, 2, in, 6, err);
    c.o = ref_of(&out[0]);
    c.lse = (float *)out[1].data;
    if (attention_is_long(&c) && attention_products_fwd(k, &c, &done, err) != ST_OK)
        return ST_FAIL;
    if (done)
        return launched("attention", err);
    LAUNCH(k, attention_fwd, blocks_for(c.B * c.H * ((c.Lq + ROWS - 1) / ROWS), 1), ROWS * WARP, 0,
           c);
    return launched("attention", err);
}

/* A warp to a query and head. */
static __global__ void attention_delta(const struct attention_grads w)
{
    const struct attention_call &c = w.c;
    const int lane = (int)threadIdx.x % WARP;
    for (int64_t n = (int64_t)blockIdx.x * ROWS + threadIdx.x / WARP; n < c.B * c.H * c.Lq;
         n += (int64_t)gridDim.x * ROWS) {
        const int64_t i = n % c.Lq, h = n / c.Lq % c.H, b = n / c.Lq / c.H;
        const int64_t at = (b * c.Lq + i) * c.W + h * c.D;
        float sum = 0.0f;
        for (int e = lane; e < c.D; e += WARP)
            sum += ref_get(w.go, at + e) * ref_get(c.o, at + e);
        sum = warp_sum(sum);
        if (lane == 0)
            w.delta[n] = sum;
    }
}

/* What query i and key j have of each other: the probability after dropout, and the gradient of the score. */
struct pair {
    float p, ds;
};
__device__ static inline struct pair pair_of(const struct attention_grads &w, struct draws *d,
                                             const struct place &at, int64_t i, int64_t j, float s,
                                             float dp)
{
    const struct attention_call &c = w.c;
    struct pair r = { 0.0f, 0.0f };
    int64_t begin, end;
    attention_visible(&begin, &end, c, at.b, i);
    if (i >= c.Lq || j < begin || j >= end)
        return r;
    const int64_t row = (at.b * c.H + at.h) * c.Lq + i;
    if (!(c.lse[row] > -INFINITY))
        return r;
    const float keep = attention_kept(c, d, at.b, at.h, i, j);
    r.p = expf(c.scale * s - c.lse[row]);
    r.ds = r.p * (dp * keep - w.delta[row]) * c.scale;
    r.p *= keep;
    return r;
}

/* A warp to a query. */
static __global__ void attention_dq(const struct attention_grads w)
{
    __shared__ float rows[ROWS][CHUNK + 1], tile[TILE][CHUNK + 1];
    const struct attention_call &c = w.c;
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t tiles = (c.Lq + ROWS - 1) / ROWS;
    struct draws d = draws_of(c.draws);
    for (int64_t job = blockIdx.x; job < c.B * c.H * tiles; job += gridDim.x) {
        const struct place at = place_of(c, job / tiles);
        const int64_t i0 = job % tiles * ROWS, i = i0 + warp;
        int64_t begin, end;
        attention_visible(&begin, &end, c, at.b, i0 + ROWS - 1);
        for (int d0 = 0; d0 < c.D; d0 += RANGE) {
            float held[2 * HELD] = { 0.0f };
            for (int64_t j0 = begin; j0 < end; j0 += TILE) {
                const float s =
                    tile_scores(rows, tile, c.q, at.q, i0, c.Lq, c.k, at.k, j0, c.Lk, c);
                const float dp =
                    tile_scores(rows, tile, w.go, at.q, i0, c.Lq, c.v, at.k, j0, c.Lk, c);
                const struct pair r = pair_of(w, &d, at, i, j0 + lane, s, dp);
                gather_rows(held, tile, r.ds, c.k, at.k, j0, c.Lk, c, d0);
            }
            if (i < c.Lq)
                store_row(w.dq, at.q + i * c.W, held, 1.0f, w.beta_dq, c, d0);
        }
    }
}

/* A warp to a key; dk and dv one after the other, so that a warp holds one of them. */
static __global__ void attention_dkv(const struct attention_grads w, int values)
{
    __shared__ float rows[ROWS][CHUNK + 1], tile[TILE][CHUNK + 1];
    const struct attention_call &c = w.c;
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t tiles = (c.Lk + ROWS - 1) / ROWS;
    struct draws d = draws_of(c.draws);
    for (int64_t job = blockIdx.x; job < c.B * c.H * tiles; job += gridDim.x) {
        const struct place at = place_of(c, job / tiles);
        const int64_t j0 = job % tiles * ROWS, j = j0 + warp;
        /* the first query that sees key j0 */
        const int64_t from = c.causal && j0 - c.Lk + c.Lq > 0 ? j0 - c.Lk + c.Lq : 0;
        for (int d0 = 0; d0 < c.D; d0 += RANGE) {
            float held[2 * HELD] = { 0.0f };
            for (int64_t i0 = from; i0 < c.Lq; i0 += TILE) {
                const float s =
                    tile_scores(rows, tile, c.k, at.k, j0, c.Lk, c.q, at.q, i0, c.Lq, c);
                const float dp =
                    values ? 0.0f
                           : tile_scores(rows, tile, c.v, at.k, j0, c.Lk, w.go, at.q, i0, c.Lq, c);
                const struct pair r = pair_of(w, &d, at, i0 + lane, j, s, dp);
                gather_rows(held, tile, values ? r.p : r.ds, values ? w.go : c.q, at.q, i0, c.Lq, c,
                            d0);
            }
            if (j < c.Lk)
                store_row(values ? w.dv : w.dk, at.k + j * c.W, held, 1.0f,
                          values ? w.beta_dv : w.beta_dk, c, d0);
        }
    }
}

enum status attention_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct attention_attrs *at = (const struct attention_attrs *)attrs;
    struct attention_grads w;
    bool done = false;
    memset(&w, 0, sizeof w);
    if (!attention_call_of(&w.c, &in[1], &in[2], &in[3], &in[6], &in[7], &in[8], at) ||
        in[2].shape[0] != w.c.B || !view_float(&in[0], view_count(&in[1])) ||
        !view_float(&in[4], view_count(&in[1])) || !view_f32(&in[5], w.c.B * w.c.H * w.c.Lq) ||
        !view_maybe_float(&out[0], view_count(&in[1])) ||
        !view_maybe_float(&out[1], view_count(&in[2])) ||
        !view_maybe_float(&out[2], view_count(&in[2])))
        return check_refuse("attention_bwd", out, 3, in, 9, err);
    const int64_t points = w.c.B * w.c.H * w.c.Lq, heads = w.c.B * w.c.H;
    if ((uint64_t)points * sizeof(float) > k->scratch_bytes)
        return error_set(err, ST_FAIL, CAUSE_NOMEM,
                         "attention_bwd: %lld sums do not fit the workspace of %zu bytes",
                         (long long)points, k->scratch_bytes);
    w.c.o = ref_of(&in[4]);
    w.c.lse = (float *)in[5].data;
    w.c.step_k = w.c.Lk * w.c.W;
    w.go = ref_of(&in[0]);
    w.dq = ref_of(&out[0]);
    w.dk = ref_of(&out[1]);
    w.dv = ref_of(&out[2]);
    w.delta = (float *)k->scratch;
    w.beta_dq = at->beta_dq;
    w.beta_dk = at->beta_dk;
    w.beta_dv = at->beta_dv;
    LAUNCH(k, attention_delta, blocks_for(points, ROWS), ROWS * WARP, 0, w);
    const size_t used = ((size_t)points * sizeof(float) + 255) / 256 * 256;
    if (attention_is_long(&w.c) && w.go.f32 == w.c.q.f32 && used < k->scratch_bytes &&
        attention_products_bwd(k, &w, used, &done, err) != ST_OK)
        return ST_FAIL;
    if (done)
        return launched("attention_bwd", err);
    if (out[0].data)
        LAUNCH(k, attention_dq, blocks_for(heads * ((w.c.Lq + ROWS - 1) / ROWS), 1), ROWS * WARP, 0,
               w);
    for (int values = 0; values < 2; values++)
        if (out[1 + values].data)
            LAUNCH(k, attention_dkv, blocks_for(heads * ((w.c.Lk + ROWS - 1) / ROWS), 1),
                   ROWS * WARP, 0, w, values);
    return launched("attention_bwd", err);
}
