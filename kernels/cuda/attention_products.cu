/* kernels/cuda/attention_products.cu: attention of long rows as products of matrices: scores of some heads at a time
 * in the workspace (float32), their softmax in the operands' type, and products again, so that the tensor cores do
 * the work. Memory is the workspace's, whatever the lengths: queries come in runs. */
#include "kernels/cuda/attention_private.cuh"
#include "kernels/cuda/products_private.cuh"

enum { LONG = 128 * 128 }; /* scores of a head below which the plain kernels are as good */

bool attention_is_long(const struct attention_call *c)
{
    return c->Lq * c->Lk >= LONG && c->D % 8 == 0 && c->q.f32 == c->k.f32 && c->q.f32 == c->v.f32;
}

/* Queries [i0, i0 + m) of heads [h0, h0 + heads) of row b. */
struct part {
    int64_t b, h0, heads, i0, m;
};

/* Rows of scores to probabilities, a block to a row; `p` may lie where `s` does only if both are float32. */
struct soften_call {
    struct attention_call c;
    struct part part;
    const float *s; /* [heads, m, Lk] */
    struct ref p;
    float *lse;
};

__device__ static inline int64_t lse_at(const struct attention_call &c, const struct part &t,
                                        int64_t h, int64_t r)
{
    return (t.b * c.H + t.h0 + h) * c.Lq + t.i0 + r;
}

static __global__ void soften(const struct soften_call w)
{
    __shared__ float room[BLOCK_WARPS_MAX];
    const struct attention_call &c = w.c;
    struct draws d = draws_of(c.draws);
    for (int64_t n = blockIdx.x; n < w.part.heads * w.part.m; n += gridDim.x) {
        const int64_t h = n / w.part.m, i = w.part.i0 + n % w.part.m;
        const float *s = w.s + n * c.Lk;
        float top = -INFINITY, sum = 0.0f;
        int64_t begin, end;
        attention_visible(&begin, &end, c, w.part.b, i);
        for (int64_t j = begin + threadIdx.x; j < end; j += blockDim.x)
            top = fmaxf(top, s[j]);
        top = block_max(top, room);
        for (int64_t j = begin + threadIdx.x; j < end && top > -INFINITY; j += blockDim.x)
            sum += expf(s[j] - top);
        sum = block_sum(sum, room);
        const float factor = sum > 0.0f ? 1.0f / sum : 0.0f;
        for (int64_t j = threadIdx.x; j < c.Lk; j += blockDim.x) {
            const bool seen = j >= begin && j < end && sum > 0.0f;
            float p = seen ? expf(s[j] - top) * factor : 0.0f;
            if (p > 0.0f)
                p *= attention_kept(c, &d, w.part.b, w.part.h0 + h, i, j);
            ref_put(w.p, n * c.Lk + j, p);
        }
        if (threadIdx.x == 0 && w.lse)
            w.lse[lse_at(c, w.part, h, n % w.part.m)] = sum > 0.0f ? top + logf(sum) : -INFINITY;
    }
}

/* The other way: scores and gradients of probabilities to probabilities after dropout and gradients of scores. */
struct harden_call {
    struct attention_call c;
    struct part part;
    const float *s, *dp; /* [heads, m, Lk] */
    struct ref p, ds;
    const float *lse, *delta;
};

static __global__ void harden(const struct harden_call w)
{
    const struct attention_call &c = w.c;
    struct draws d = draws_of(c.draws);
    for (int64_t n = blockIdx.x; n < w.part.heads * w.part.m; n += gridDim.x) {
        const int64_t h = n / w.part.m, i = w.part.i0 + n % w.part.m;
        const int64_t row = lse_at(c, w.part, h, n % w.part.m);
        const float lse = w.lse[row], delta = w.delta[row];
        int64_t begin, end;
        attention_visible(&begin, &end, c, w.part.b, i);
        for (int64_t j = threadIdx.x; j < c.Lk; j += blockDim.x) {
            float p = 0.0f, ds = 0.0f;
            if (j >= begin && j < end && lse > -INFINITY) {
                const float keep = attention_kept(c, &d, w.part.b, w.part.h0 + h, i, j);
                p = expf(w.s[n * c.Lk + j] - lse);
                ds = p * (w.dp[n * c.Lk + j] * keep - delta) * c.scale;
                p *= keep;
            }
            ref_put(w.p, n * c.Lk + j, p);
            ref_put(w.ds, n * c.Lk + j, ds);
        }
    }
}

static struct ref part_ref(struct ref r, int64_t at)
{
    const struct view v = {
        (char *)r.data + at * (r.f32 ? 4 : 2), r.f32 ? DT_F32 : DT_BF16, 0, { 0 }
    };
    return ref_of(&v);
}

/* A matrix of each head: rows of `ld`, heads `step` apart. */
struct heads {
    struct ref data;
    int64_t ld, step;
};
static enum status multiply(struct kctx *k, const char *op, struct heads C, struct heads A,
                            int trans_a, struct heads B, int trans_b, int64_t M, int64_t N,
                            int64_t K, int64_t heads, float alpha, float beta, struct error *err)
{
    struct product p = {};
    p.trans_a = trans_a;
    p.trans_b = trans_b;
    p.M = M;
    p.N = N;
    p.K = K;
    p.batch = heads;
    p.A = A.data;
    p.B = B.data;
    p.C = C.data;
    p.lda = A.ld;
    p.ldb = B.ld;
    p.ldc = C.ld;
    p.step_a = A.step;
    p.step_b = B.step;
    p.step_c = C.step;
    p.alpha = alpha;
    p.beta = beta;
    return product_run(k, &p, op, err);
}

/* Heads of x [.., L, H D] from row `first` of row b's L on. */
static struct heads heads_of(struct ref x, const struct attention_call *c, int64_t row, int64_t h0)
{
    const struct heads r = { part_ref(x, row * c->W + h0 * c->D), c->W, c->D };
    return r;
}
static struct heads scores_of(void *data, bool f32, const struct attention_call *c, int64_t m)
{
    const struct view v = { data, f32 ? DT_F32 : DT_BF16, 0, { 0 } };
    const struct heads r = { ref_of(&v), c->Lk, m * c->Lk };
    return r;
}

/* How the workspace is cut: queries and heads at a time; `each` bytes for a score. */
static bool cut(const struct kctx *k, size_t used, const struct attention_call *c, int64_t each,
                int64_t *heads, int64_t *m)
{
    const int64_t rows = (int64_t)(k->scratch_bytes - used) / each / c->Lk;
    *m = c->Lq < rows ? c->Lq : rows;
    *heads = *m > 0 ? rows / *m : 0;
    if (*heads > c->H)
        *heads = c->H;
    return *heads > 0;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static enum status part_fwd(struct kctx *k, const struct attention_call *c, const struct part *t,
                            struct error *err)
{
    const int64_t kv = c->step_k == 0 ? 0 : t->b * c->Lk, n = t->heads * t->m;
    struct soften_call w;
    const struct heads S = scores_of(k->scratch, true, c, t->m);
    const struct heads P = scores_of((float *)k->scratch + n * c->Lk, c->q.f32, c, t->m);
    const struct heads q = heads_of(c->q, c, t->b * c->Lq + t->i0, t->h0);
    w.c = *c;
    w.part = *t;
    w.s = (const float *)k->scratch;
    w.p = P.data;
    w.lse = c->lse;
    if (multiply(k, "attention", S, q, 0, heads_of(c->k, c, kv, t->h0), 1, t->m, c->Lk, c->D,
                 t->heads, c->scale, 0.0f, err) != ST_OK)
        return ST_FAIL;
    LAUNCH(k, soften, blocks_for(n, 1), THREADS, 0, w);
    return multiply(k, "attention", heads_of(c->o, c, t->b * c->Lq + t->i0, t->h0), P, 0,
                    heads_of(c->v, c, kv, t->h0), 0, t->m, c->D, c->Lk, t->heads, 1.0f, 0.0f, err);
}

enum status attention_products_fwd(struct kctx *k, const struct attention_call *c, bool *done,
                                   struct error *err)
{
    struct part t = { 0, 0, 0, 0, 0 };
    int64_t heads, m;
    *done = cut(k, 0, c, 8, &heads, &m);
    for (t.b = 0; *done && t.b < c->B; t.b++)
        for (t.h0 = 0; t.h0 < c->H; t.h0 += heads)
            for (t.i0 = 0; t.i0 < c->Lq; t.i0 += m) {
                t.heads = least(heads, c->H - t.h0);
                t.m = least(m, c->Lq - t.i0);
                if (part_fwd(k, c, &t, err) != ST_OK)
                    return ST_FAIL;
            }
    return launched("attention", err);
}

static enum status part_bwd(struct kctx *k, const struct attention_grads *g, const struct part *t,
                            size_t used, struct error *err)
{
    const struct attention_call *c = &g->c;
    const int64_t kv = t->b * c->Lk, n = t->heads * t->m, q_row = t->b * c->Lq + t->i0;
    float *room = (float *)((char *)k->scratch + used);
    const struct heads S = scores_of(room, true, c, t->m),
                       dP = scores_of(room + n * c->Lk, true, c, t->m);
    const struct heads P = scores_of(room + 2 * n * c->Lk, c->q.f32, c, t->m);
    const struct heads dS = scores_of(room + 3 * n * c->Lk, c->q.f32, c, t->m);
    const struct heads q = heads_of(c->q, c, q_row, t->h0), go = heads_of(g->go, c, q_row, t->h0);
    const struct heads keys = heads_of(c->k, c, kv, t->h0), values = heads_of(c->v, c, kv, t->h0);
    const bool first = t->i0 == 0; /* the others add to what it wrote */
    struct harden_call w;
    w.c = *c;
    w.part = *t;
    w.s = room;
    w.dp = room + n * c->Lk;
    w.p = P.data;
    w.ds = dS.data;
    w.lse = c->lse;
    w.delta = g->delta;
    if (multiply(k, "attention_bwd", S, q, 0, keys, 1, t->m, c->Lk, c->D, t->heads, c->scale, 0.0f,
                 err) != ST_OK ||
        multiply(k, "attention_bwd", dP, go, 0, values, 1, t->m, c->Lk, c->D, t->heads, 1.0f, 0.0f,
                 err) != ST_OK)
        return ST_FAIL;
    LAUNCH(k, harden, blocks_for(n, 1), THREADS, 0, w);
    if (g->dq.data && multiply(k, "attention_bwd", heads_of(g->dq, c, q_row, t->h0), dS, 0, keys, 0,
                               t->m, c->D, c->Lk, t->heads, 1.0f, g->beta_dq, err) != ST_OK)
        return ST_FAIL;
    if (g->dk.data &&
        multiply(k, "attention_bwd", heads_of(g->dk, c, kv, t->h0), dS, 1, q, 0, c->Lk, c->D, t->m,
                 t->heads, 1.0f, first ? g->beta_dk : 1.0f, err) != ST_OK)
        return ST_FAIL;
    if (g->dv.data &&
        multiply(k, "attention_bwd", heads_of(g->dv, c, kv, t->h0), P, 1, go, 0, c->Lk, c->D, t->m,
                 t->heads, 1.0f, first ? g->beta_dv : 1.0f, err) != ST_OK)
        return ST_FAIL;
    return ST_OK;
}

/* Runs of queries would round the sums of dk and dv once a run where they are bf16: then all queries go at once,
 * or the plain kernels take over. */
enum status attention_products_bwd(struct kctx *k, const struct attention_grads *g, size_t used,
                                   bool *done, struct error *err)
{
    const struct attention_call *c = &g->c;
    const bool exact = (!g->dk.data || g->dk.f32) && (!g->dv.data || g->dv.f32);
    struct part t = { 0, 0, 0, 0, 0 };
    int64_t heads, m;
    *done = cut(k, used, c, 16, &heads, &m) && (exact || m == c->Lq);
    for (t.b = 0; *done && t.b < c->B; t.b++)
        for (t.h0 = 0; t.h0 < c->H; t.h0 += heads)
            for (t.i0 = 0; t.i0 < c->Lq; t.i0 += m) {
                t.heads = least(heads, c->H - t.h0);
                t.m = least(m, c->Lq - t.i0);
                if (part_bwd(k, g, &t, used, err) != ST_OK)
                    return ST_FAIL;
            }
    return launched("attention_bwd", err);
}
