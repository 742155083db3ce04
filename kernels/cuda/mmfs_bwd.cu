/* kernels/cuda/mmfs_bwd.cu: the sampling backward. A warp takes the queries of a slab for one head, one after the
 * other: what belongs to the query alone it writes, what all queries share (the tables by rank, the null slot) it
 * sums in its own part of the workspace, and a second kernel adds the parts in order. Gradients of values meet in
 * the workspace, a few heads at a time: by float atomics, whose order is not fixed, or in deterministic mode as
 * 64-bit whole numbers, whose sum has no order, in steps of 2^-40 of the largest incoming gradient. */
#include "kernels/cuda/mmfs_private.cuh"

enum { POINT_WARPS = 4, CHANNELS = 2 * WARP, PARTS = 256, FIXED_BITS = 40 };

struct bwd_call {
    struct mmfs_call c;
    struct ref go;
    float *off_q, *att_q; /* each may be NULL */
    float *part;          /* [parts, heads, table]: R points 2, R levels points, d */
    int64_t parts, table;
    float *value;              /* [heads of this launch, N S, d], or NULL */
    unsigned long long *fixed; /* the same in whole numbers, or NULL */
    const float *largest;      /* of |go|, with `fixed` */
    int head, heads;           /* of this launch */
    float beta_off_q, beta_att_q;
};

/* 2^FIXED_BITS over the power of two above `largest`. */
__device__ static inline float fixed_scale(float largest)
{
    int exponent = 0;
    if (!(largest > 0.0f) || isinf(largest))
        return 1.0f;
    frexpf(largest, &exponent);
    return ldexpf(1.0f, FIXED_BITS - exponent);
}

__device__ static inline void add_value(const struct bwd_call &b, int64_t at, float v)
{
    if (b.fixed)
        atomicAdd(&b.fixed[at], (unsigned long long)(long long)rintf(v * fixed_scale(*b.largest)));
    else
        atomicAdd(&b.value[at], v);
}

/* The four dot products of the gradient with a sample's corners, in every lane; adds to the values' gradient. */
__device__ static void corner_dots(float dot[4], const struct bwd_call &b,
                                   const struct mmfs_point &v, const struct mmfs_sample &s)
{
    const struct mmfs_call &c = b.c;
    const int lane = (int)threadIdx.x % WARP;
    for (int k = 0; k < 4; k++)
        dot[k] = 0.0f;
    for (int64_t e = 2 * lane; e < c.d; e += CHANNELS) {
        float go[2], corner[2];
        mmfs_get2(go, b.go, v.q * c.D + v.h * c.d, e, c.d);
        for (int k = 0; k < 4; k++) {
            if (s.at[k] == LEFT_OUT)
                continue;
            mmfs_get2(corner, c.value, s.at[k] * c.D + v.h * c.d, e, c.d);
            dot[k] += go[0] * corner[0] + go[1] * corner[1];
            const int64_t to = ((v.h - b.head) * c.N * c.S + s.at[k]) * c.d + e;
            for (int j = 0; (b.value || b.fixed) && j < 2; j++)
                if (e + j < c.d)
                    add_value(b, to + j, s.weight * s.share[k] * go[j]);
        }
    }
    for (int k = 0; k < 4; k++)
        dot[k] = warp_sum(dot[k]);
}

/* Where sample n of a point counts in the rows of the query and in the tables by rank. */
struct slots {
    int64_t off_q, att_q, off_r, att_r;
};
__device__ static inline struct slots slots_of(const struct mmfs_call &c,
                                               const struct mmfs_point &v, int64_t n)
{
    const int64_t p = n % c.at.points, l = n / c.at.points % c.at.levels;
    const int64_t rank = c.rank[v.begin + n / c.at.points / c.at.levels];
    struct slots s;
    s.off_q = v.q * c.off_width + (v.h * c.at.points + p) * 2;
    s.att_q = v.q * c.att_width + (v.h * c.at.levels + l) * (c.at.points + 1) + p;
    s.off_r = (rank * c.at.points + p) * 2;
    s.att_r = c.R * c.at.points * 2 + (rank * c.at.levels + l) * c.at.points + p;
    return s;
}

/* One sample by the whole warp; returns the gradient of its weight. The first lane writes. */
__device__ static float sample_bwd(const struct bwd_call &b, const struct mmfs_point &v, int64_t n,
                                   float *table)
{
    const struct mmfs_call &c = b.c;
    const struct mmfs_sample s = mmfs_sample_at(c, v, n);
    const float scale = (float)c.at.shape[n / c.at.points % c.at.levels] / c.at.base;
    float dot[4], dA = 0.0f;
    corner_dots(dot, b, v, s);
    for (int k = 0; k < 4; k++)
        dA += s.share[k] * dot[k];
    if (threadIdx.x % WARP == 0 && s.weight > 0.0f) {
        const float w = s.weight * scale;
        const float dx = w * ((1.0f - s.fy) * (dot[1] - dot[0]) + s.fy * (dot[3] - dot[2]));
        const float dy = w * ((1.0f - s.fx) * (dot[2] - dot[0]) + s.fx * (dot[3] - dot[1]));
        const struct slots to = slots_of(c, v, n);
        table[to.off_r] += dx;
        table[to.off_r + 1] += dy;
        table[to.att_r] += s.weight * dA;
        if (b.off_q) {
            b.off_q[to.off_q] += dx;
            b.off_q[to.off_q + 1] += dy;
        }
        if (b.att_q)
            b.att_q[to.att_q] += s.weight * dA;
    }
    return s.weight * dA;
}

__device__ static void point_bwd(const struct bwd_call &b, const struct mmfs_point &v, float *table)
{
    const struct mmfs_call &c = b.c;
    const int lane = (int)threadIdx.x % WARP;
    const int64_t samples = mmfs_samples(c, v);
    float *null_slot = table + c.R * (c.at.points * 2 + (int64_t)c.at.levels * c.at.points);
    float mean = 0.0f; /* of the weights' gradients, the null slot included */

    for (int64_t e = lane; e < c.d; e += WARP) {
        const float go = ref_get(b.go, v.q * c.D + v.h * c.d + e);
        null_slot[e] += v.null_weight * go;
        if (c.ignore.data)
            mean += v.null_weight * go * ref_get(c.ignore, v.h * c.d + e);
    }
    mean = warp_sum(mean);
    for (int64_t n = 0; n < samples; n++)
        mean += sample_bwd(b, v, n, table);
    __syncwarp();
    for (int64_t n = 0; n < samples && lane == 0; n++) {
        const int64_t pair = v.begin + n / c.at.points / c.at.levels;
        if (!mmfs_pair_there(c, pair))
            continue;
        const int p = (int)(n % c.at.points), l = (int)(n / c.at.points % c.at.levels);
        const float part = expf(mmfs_logit(c, v, pair, l, p) - v.top) / v.sum * mean;
        const struct slots to = slots_of(c, v, n);
        table[to.att_r] -= part;
        if (b.att_q)
            b.att_q[to.att_q] -= part;
    }
    __syncwarp();
}

/* The rows of the query that this head owns, before anything is added to them. */
__device__ static void prepare_rows(const struct bwd_call &b, int64_t q, int64_t h)
{
    const struct mmfs_call &c = b.c;
    const int lane = (int)threadIdx.x % WARP;
    const int64_t off = c.at.points * 2, att = (int64_t)c.at.levels * (c.at.points + 1);
    for (int64_t j = lane; b.off_q && j < off; j += WARP) {
        float *to = b.off_q + q * c.off_width + h * off + j;
        *to = b.beta_off_q == 0.0f ? 0.0f : b.beta_off_q * *to;
    }
    for (int64_t j = lane; b.att_q && j < att; j += WARP) {
        float *to = b.att_q + q * c.att_width + h * att + j;
        *to = b.beta_att_q == 0.0f ? 0.0f : b.beta_att_q * *to;
    }
    __syncwarp();
}

static __global__ void points_bwd(const struct bwd_call b)
{
    const struct mmfs_call &c = b.c;
    const int lane = (int)threadIdx.x % WARP;
    const int64_t job = (int64_t)blockIdx.x * POINT_WARPS + threadIdx.x / WARP;
    const int64_t part = job / b.heads, h = b.head + job % b.heads;
    if (part >= b.parts)
        return; /* the whole warp */
    float *table = b.part + (part * c.at.heads + h) * b.table;
    for (int64_t j = lane; j < b.table; j += WARP)
        table[j] = 0.0f;
    __syncwarp();
    for (int64_t q = c.Q * part / b.parts; q < c.Q * (part + 1) / b.parts; q++) {
        prepare_rows(b, q, h);
        const struct mmfs_point v = mmfs_point_at(c, q, h);
        point_bwd(b, v, table);
    }
}

/* Where the sums over queries go; each may be left out. */
struct table_sums {
    struct mmfs_call c;
    const float *part;
    int64_t parts, table;
    float *off_r, *att_r;
    struct ref ignore;
    float beta_off_r, beta_att_r, beta_ignore;
};

__device__ static inline float parts_sum(const struct table_sums &s, int64_t h, int64_t j)
{
    float sum = 0.0f;
    for (int64_t p = 0; p < s.parts; p++)
        sum += s.part[(p * s.c.at.heads + h) * s.table + j];
    return sum;
}

/* An element of the tables to a thread; entry `points` of each group of logits is the null slot's: 0. */
static __global__ void store_tables(const struct table_sums s)
{
    const struct mmfs_call &c = s.c;
    const int64_t off = c.R * c.off_width, att = c.R * c.att_width, width = c.at.points + 1;
    FOR_ITEMS(t, off + att + c.D)
    {
        if (t < off) {
            const int64_t r = t / c.off_width, in_row = t % c.off_width, per = c.at.points * 2;
            const float v = parts_sum(s, in_row / per, r * per + in_row % per);
            if (s.off_r)
                s.off_r[t] = s.beta_off_r == 0.0f ? v : v + s.beta_off_r * s.off_r[t];
        } else if (t < off + att) {
            const int64_t at = t - off, r = at / c.att_width, group = at % c.att_width / width;
            const int64_t p = at % width, h = group / c.at.levels, l = group % c.at.levels;
            const float v =
                p == c.at.points
                    ? 0.0f
                    : parts_sum(s, h,
                                c.R * c.at.points * 2 + (r * c.at.levels + l) * c.at.points + p);
            if (s.att_r)
                s.att_r[at] = s.beta_att_r == 0.0f ? v : v + s.beta_att_r * s.att_r[at];
        } else if (s.ignore.data) {
            const int64_t e = t - off - att;
            ref_blend(s.ignore, e, parts_sum(s, e / c.d, s.table - c.d + e % c.d), s.beta_ignore);
        }
    }
}

static __global__ void clear_words(uint32_t *words, int64_t n)
{
    FOR_ITEMS(i, n)
    {
        words[i] = 0;
    }
}

/* The largest |go|: whole numbers order floats that are not negative. */
static __global__ void find_largest(float *largest, struct ref go, int64_t n)
{
    float top = 0.0f;
    FOR_ITEMS(i, n)
    {
        top = fmaxf(top, fabsf(ref_get(go, i)));
    }
    top = warp_max(top);
    if (threadIdx.x % WARP == 0)
        atomicMax((int *)largest, (int)bits_of_float(top));
}

/* The heads of a launch go to their columns of dvalue. */
static __global__ void store_values(struct ref dvalue, const struct bwd_call b, float beta)
{
    const struct mmfs_call &c = b.c;
    const int64_t rows = c.N * c.S;
    FOR_ITEMS(t, rows * b.heads * c.d)
    {
        const int64_t row = t / (b.heads * c.d), e = t % (b.heads * c.d);
        const int64_t at = (e / c.d * rows + row) * c.d + e % c.d;
        const float v =
            b.fixed ? (float)((double)(long long)b.fixed[at] / (double)fixed_scale(*b.largest))
                    : b.value[at];
        ref_blend(dvalue, row * c.D + b.head * c.d + e, v, beta);
    }
}

static enum status run_heads(struct kctx *k, struct bwd_call *b, struct ref dvalue, char *room,
                             uint64_t room_bytes, float beta, struct error *err)
{
    const struct mmfs_call *c = &b->c;
    const uint64_t each = (uint64_t)(c->N * c->S * c->d) * (k->deterministic ? 8 : 4);
    int64_t at_once = c->at.heads;
    if (dvalue.data && each > 0 && room_bytes / each < (uint64_t)at_once)
        at_once = (int64_t)(room_bytes / each);
    if (at_once < 1)
        return error_set(err, ST_FAIL, CAUSE_NOMEM,
                         "mmfs_bwd: the values of a head do not fit the workspace of %zu bytes",
                         k->scratch_bytes);
    if (dvalue.data) {
        b->value = k->deterministic ? NULL : (float *)room;
        b->fixed = k->deterministic ? (unsigned long long *)room : NULL;
    }
    for (b->head = 0; b->head < c->at.heads; b->head += (int)at_once) {
        b->heads = c->at.heads - b->head < at_once ? c->at.heads - b->head : (int)at_once;
        const int64_t words = (int64_t)(each / 4) * b->heads;
        if (dvalue.data)
            LAUNCH(k, clear_words, blocks_for(words, THREADS), THREADS, 0, (uint32_t *)room, words);
        if (b->parts > 0)
            LAUNCH(k, points_bwd, (unsigned)((b->parts * b->heads + POINT_WARPS - 1) / POINT_WARPS),
                   WARP * POINT_WARPS, 0, *b);
        if (dvalue.data)
            LAUNCH(k, store_values, blocks_for(c->N * c->S * b->heads * c->d, THREADS), THREADS, 0,
                   dvalue, *b, beta);
    }
    return launched("mmfs_bwd", err);
}

/* Workspace: the largest gradient, the tables' parts, then room for values. */
static enum status run(struct kctx *k, struct bwd_call *b, const struct view *out,
                       const struct mmfs_attrs *at, struct error *err)
{
    const struct mmfs_call *c = &b->c;
    uint64_t used = 256;
    struct table_sums s;
    memset(&s, 0, sizeof s);
    b->table = c->R * (c->at.points * 2 + (int64_t)c->at.levels * c->at.points) + c->d;
    b->parts = c->Q < PARTS ? c->Q : (int64_t)PARTS;
    b->largest = (float *)k->scratch;
    b->part = (float *)((char *)k->scratch + used);
    used += ((uint64_t)(b->parts * c->at.heads * b->table) * sizeof(float) + 255) / 256 * 256;
    if (used > k->scratch_bytes)
        return error_set(err, ST_FAIL, CAUSE_NOMEM,
                         "mmfs_bwd: the tables do not fit the workspace of %zu bytes",
                         k->scratch_bytes);
    if (k->deterministic) {
        LAUNCH(k, clear_words, 1, WARP, 0, (uint32_t *)k->scratch, 1);
        LAUNCH(k, find_largest, blocks_for(c->Q * c->D, THREADS), THREADS, 0, (float *)k->scratch,
               b->go, c->Q * c->D);
    }
    if (run_heads(k, b, ref_of(&out[4]), (char *)k->scratch + used, k->scratch_bytes - used,
                  at->beta_dvalue, err) != ST_OK)
        return ST_FAIL;
    s.c = *c;
    s.part = b->part;
    s.parts = b->parts;
    s.table = b->table;
    s.off_r = (float *)out[1].data;
    s.att_r = (float *)out[3].data;
    s.ignore = ref_of(&out[5]);
    s.beta_off_r = at->beta_doff_r;
    s.beta_att_r = at->beta_datt_r;
    s.beta_ignore = at->beta_dignore;
    LAUNCH(k, store_tables, blocks_for(c->R * (c->off_width + c->att_width) + c->D, THREADS),
           THREADS, 0, s);
    return launched("mmfs_bwd", err);
}

enum status mmfs_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                          const void *attrs, struct error *err)
{
    const struct mmfs_attrs *at = (const struct mmfs_attrs *)attrs;
    const int64_t Q = view_rows(&in[0]), D = view_last(&in[0]);
    struct bwd_call b;
    memset(&b, 0, sizeof b);
    if (!mmfs_call_of(&b.c, k, in + 1, Q, D, at) || !view_float(&in[0], Q * D) ||
        !view_maybe_f32(&out[0], Q * b.c.off_width) ||
        !view_maybe_f32(&out[1], b.c.R * b.c.off_width) ||
        !view_maybe_f32(&out[2], Q * b.c.att_width) ||
        !view_maybe_f32(&out[3], b.c.R * b.c.att_width) ||
        !view_maybe_float(&out[4], b.c.N * b.c.S * D) || !view_maybe_float(&out[5], D))
        return check_refuse("mmfs_bwd", out, 6, in, 11, err);
    b.go = ref_of(&in[0]);
    b.off_q = (float *)out[0].data;
    b.att_q = (float *)out[2].data;
    b.beta_off_q = at->beta_doff_q;
    b.beta_att_q = at->beta_datt_q;
    return run(k, &b, out, at, err);
}
