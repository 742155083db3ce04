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

enum status product_run(struct kctx *k, const struct product *p, const char *op, struct error *err)
{
    struct product bare = *p;
    bool done = false;

    if (p->M == 0 || p->N == 0 || p->batch == 0)
        return ST_OK;
    if (p->bias.data && p->bias.f32 != p->C.f32)
        bare.bias.data = NULL;
    if (p->K > 0 && product_lt(k, &bare, &done, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "%s", op);
    if (!done) {
        const int64_t tiles = ((p->N + TILE - 1) / TILE) * ((p->M + TILE - 1) / TILE) * p->batch;
        LAUNCH(k, product_plain, blocks_for(tiles, 1), THREADS, 0, *p);
    } else if (p->bias.data && !bare.bias.data) {
        LAUNCH(k, add_bias, blocks_for(p->M * p->N * p->batch, THREADS), THREADS, 0, *p);
    }
    return launched(op, err);
}
