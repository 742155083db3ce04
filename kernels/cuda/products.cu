/* kernels/cuda/products.cu: products of any shape and mix of types: cuBLASLt first, else tiles of 32 x 32 in
 * shared memory, a thread to 4 outputs of a column. */
#include "kernels/cuda/products_private.cuh"

enum {
    TILE = 32,
    TILE_ROWS = THREADS / TILE
}; /* thread (tx, ty): column tx, rows ty, ty + 8, ... */

/* Element (row, col) of op(X), zero outside (rows, cols). */
__device__ static inline float element(struct ref x, int64_t base, int64_t ld, int trans,
                                       int64_t row, int64_t col, int64_t rows, int64_t cols)
{
    if (row >= rows || col >= cols)
        return 0.0f;
    return ref_get(x, base + (trans ? col * ld + row : row * ld + col));
}

/* One tile of C; `room` holds the tiles of A and B. */
__device__ static void tile_product(const struct product p, int64_t b, int64_t m0, int64_t n0,
                                    float (*room)[TILE][TILE + 1])
{
    const int tx = (int)threadIdx.x % TILE, ty = (int)threadIdx.x / TILE;
    float sum[TILE / TILE_ROWS] = { 0.0f };

    for (int64_t k0 = 0; k0 < p.K; k0 += TILE) {
        for (int r = ty; r < TILE; r += TILE_ROWS) {
            room[0][r][tx] =
                element(p.A, b * p.step_a, p.lda, p.trans_a, m0 + r, k0 + tx, p.M, p.K);
            room[1][r][tx] =
                element(p.B, b * p.step_b, p.ldb, p.trans_b, k0 + r, n0 + tx, p.K, p.N);
        }
        __syncthreads();
        for (int j = 0; j < TILE; j++)
            for (int r = 0; r < TILE / TILE_ROWS; r++)
                sum[r] += room[0][ty + r * TILE_ROWS][j] * room[1][j][tx];
        __syncthreads();
    }
    for (int r = 0; r < TILE / TILE_ROWS; r++) {
        const int64_t m = m0 + ty + r * TILE_ROWS, n = n0 + tx;
        if (m < p.M && n < p.N)
            ref_blend(p.C, b * p.step_c + m * p.ldc + n,
                      p.alpha * sum[r] + (p.bias.data ? ref_get(p.bias, n) : 0.0f), p.beta);
    }
}

static __global__ void product_plain(const struct product p)
{
    __shared__ float room[2][TILE][TILE + 1];
    const int64_t across = (p.N + TILE - 1) / TILE, down = (p.M + TILE - 1) / TILE;
    for (int64_t t = blockIdx.x; t < across * down * p.batch; t += gridDim.x)
        tile_product(p, t / (across * down), t / across % down * TILE, t % across * TILE, room);
}

/* C += bias, for the types that no epilogue takes. */
static __global__ void add_bias(const struct product p)
{
    FOR_ITEMS(i, p.M * p.N * p.batch)
    {
        const int64_t b = i / (p.M * p.N), m = i / p.N % p.M, n = i % p.N;
        ref_blend(p.C, b * p.step_c + m * p.ldc + n, ref_get(p.bias, n), 1.0f);
    }
}

static __global__ void widen(float *y, struct ref x, int64_t n)
{
    const struct ref to = { y, 1, 1 };
    FOR_GROUPS(i, n)
    {
        float v[GROUP];
        get8(v, x, i, n);
        put8(to, i, n, v);
    }
}

/* C = beta C + x + bias, x [batch M,N]. */
static __global__ void store_product(const struct product p, const float *x)
{
    FOR_ITEMS(i, p.M * p.N * p.batch)
    {
        const int64_t b = i / (p.M * p.N), m = i / p.N % p.M, n = i % p.N;
        ref_blend(p.C, b * p.step_c + m * p.ldc + n,
                  x[i] + (p.bias.data ? ref_get(p.bias, n) : 0.0f), p.beta);
    }
}

/* Elements from the first to the last of an operand of `rows` rows. */
static int64_t span_of(const struct product *p, int64_t rows, int64_t cols, int64_t ld,
                       int64_t step)
{
    return (p->batch - 1) * step + (rows - 1) * ld + cols;
}

/* Takes `bytes` of the room, or NULL. */
static float *take(struct product *p, int64_t floats)
{
    const size_t bytes = ((size_t)floats * sizeof(float) + 255) / 256 * 256;
    if (bytes > p->room_bytes)
        return NULL;
    float *at = (float *)p->room;
    p->room = (char *)p->room + bytes;
    p->room_bytes -= bytes;
    return at;
}

static bool widened(struct kctx *k, struct product *q, struct ref *x, int64_t span)
{
    float *wide = x->f32 ? NULL : take(q, span);
    if (x->f32)
        return true;
    if (!wide)
        return false;
    LAUNCH(k, widen, group_blocks(span), THREADS, 0, wide, *x, span);
    const struct ref r = { wide, 1, 1 };
    *x = r;
    return true;
}

/* *q is *p with float32 operands where the library does not take their types as they are; *narrow is where its
 * result lies then if C is bf16. False: the room is too small. */
static bool one_type(struct kctx *k, const struct product *p, struct product *q, float **narrow)
{
    *q = *p;
    *narrow = NULL;
    if (p->A.f32 == p->B.f32 && (!p->A.f32 || p->C.f32))
        return true;
    if (!p->C.f32 && !(*narrow = take(q, p->M * p->N * p->batch)))
        return false;
    if (!widened(
            k, q, &q->A,
            span_of(p, p->trans_a ? p->K : p->M, p->trans_a ? p->M : p->K, p->lda, p->step_a)) ||
        !widened(k, q, &q->B,
                 span_of(p, p->trans_b ? p->N : p->K, p->trans_b ? p->K : p->N, p->ldb, p->step_b)))
        return false;
    if (*narrow) {
        const struct ref r = { *narrow, 1, 1 }, none = { NULL, 0, 0 };
        q->C = r;
        q->ldc = p->N;
        q->step_c = p->M * p->N;
        q->beta = 0.0f;
        q->bias = none;
    }
    return true;
}

static enum status run_alike(struct kctx *k, const struct product *p, const char *op,
                             struct error *err)
{
    struct product bare = *p;
    bool done = false;
    if (p->bias.data && (p->bias.f32 != p->C.f32 || !p->bias.wide))
        bare.bias.data = NULL; /* the epilogue reads vectors of C's type */
    if (product_lt(k, &bare, &done, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "%s", op);
    if (!done) {
        const int64_t tiles = ((p->N + TILE - 1) / TILE) * ((p->M + TILE - 1) / TILE) * p->batch;
        LAUNCH(k, product_plain, blocks_for(tiles, 1), THREADS, 0, *p);
    } else if (p->bias.data && !bare.bias.data) {
        LAUNCH(k, add_bias, blocks_for(p->M * p->N * p->batch, THREADS), THREADS, 0, *p);
    }
    return launched(op, err);
}

enum status product_run(struct kctx *k, const struct product *p, const char *op, struct error *err)
{
    struct product q;
    float *narrow = NULL;

    if (p->M == 0 || p->N == 0 || p->batch == 0)
        return ST_OK;
    if (p->K == 0 || !one_type(k, p, &q, &narrow)) {
        const int64_t tiles = ((p->N + TILE - 1) / TILE) * ((p->M + TILE - 1) / TILE) * p->batch;
        LAUNCH(k, product_plain, blocks_for(tiles, 1), THREADS, 0, *p);
        return launched(op, err);
    }
    if (run_alike(k, &q, op, err) != ST_OK)
        return ST_FAIL;
    if (narrow)
        LAUNCH(k, store_product, blocks_for(p->M * p->N * p->batch, THREADS), THREADS, 0, *p,
               narrow);
    return launched(op, err);
}
