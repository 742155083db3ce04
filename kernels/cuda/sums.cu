/* kernels/cuda/sums.cu: columns: a block sums 32 columns of a slab of rows, 8 rows at a time, then a second
 * kernel adds the slabs in order. Totals: a block to a run of elements, then one block over the runs. */
#include "kernels/cuda/sums_private.cuh"

#include "kernels/reduce.h"

enum { SUM_ROWS = THREADS / WARP, SLAB_ROWS = 64, SLABS_MAX = 64 };

/* Where slab s of slabs begins in P rows. */
__device__ static inline int64_t slab_begin(int64_t P, int64_t slabs, int64_t s)
{
    const int64_t rest = P % slabs;
    return P / slabs * s + (s < rest ? s : rest);
}

__device__ static inline float term_at(const struct column_sums s, int64_t row, int64_t c)
{
    const float x = ref_get(s.x, row * s.C + c);
    if (s.term == TERM_X)
        return x;
    return (s.mean ? x - s.mean[row] : x) * s.rstd[row];
}

/* Adds the 8 row lanes of a column in order; the first row lane gets the sum. */
__device__ static inline float lanes_sum(float v, float (*room)[WARP])
{
    const int lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP;
    room[row][lane] = v;
    __syncthreads();
    v = room[0][lane];
    for (int r = 1; r < SUM_ROWS; r++)
        v += room[r][lane];
    __syncthreads();
    return v;
}

static __global__ void sum_slabs(const struct column_sums s, float *part, int64_t slabs)
{
    __shared__ float room[SUM_ROWS][WARP];
    const int lane = (int)threadIdx.x % WARP, row = (int)threadIdx.x / WARP;
    const int64_t tiles = (s.C + WARP - 1) / WARP, cells = s.I * s.C;
    for (int64_t t = blockIdx.x; t < tiles * slabs * s.I; t += gridDim.x) {
        const int64_t c = t % tiles * WARP + lane, slab = t / tiles % slabs, i = t / tiles / slabs;
        const int64_t end = slab_begin(s.P, slabs, slab + 1);
        float product = 0.0f, plain = 0.0f;
        for (int64_t p = slab_begin(s.P, slabs, slab) + row; p < end && c < s.C; p += SUM_ROWS) {
            const float dy = ref_get(s.dy, (i * s.P + p) * s.C + c);
            plain += dy;
            if (s.product.data)
                product += dy * term_at(s, i * s.P + p, c);
        }
        product = lanes_sum(product, room);
        plain = lanes_sum(plain, room);
        if (row == 0 && c < s.C) {
            part[slab * 2 * cells + i * s.C + c] = product;
            part[(slab * 2 + 1) * cells + i * s.C + c] = plain;
        }
    }
}

static __global__ void add_slabs(const struct column_sums s, const float *part, int64_t slabs)
{
    const int64_t cells = s.I * s.C;
    FOR_ITEMS(j, cells)
    {
        float product = 0.0f, plain = 0.0f;
        for (int64_t slab = 0; slab < slabs; slab++) {
            product += part[slab * 2 * cells + j];
            plain += part[(slab * 2 + 1) * cells + j];
        }
        if (s.product.data)
            ref_blend(s.product, j, product, s.beta_product);
        if (s.plain.data)
            ref_blend(s.plain, j, plain, s.beta_plain);
    }
}

enum status column_sums_run(struct kctx *k, const struct column_sums *s, const char *op,
                            struct error *err)
{
    const int64_t cells = s->I * s->C, tiles = (s->C + WARP - 1) / WARP;
    const int64_t room = (int64_t)(k->scratch_bytes / (2 * sizeof(float)));
    int64_t slabs = (s->P + SLAB_ROWS - 1) / SLAB_ROWS;

    if (cells == 0 || (!s->product.data && !s->plain.data))
        return ST_OK;
    if (slabs > SLABS_MAX)
        slabs = SLABS_MAX;
    if (slabs > room / cells)
        slabs = room / cells;
    if (slabs < 1)
        slabs = 1;
    if (cells > room)
        return error_set(err, ST_FAIL, CAUSE_NOMEM,
                         "%s: sums of %lld columns do not fit the workspace of %zu bytes", op,
                         (long long)cells, k->scratch_bytes);
    LAUNCH(k, sum_slabs, blocks_for(tiles * slabs * s->I, 1), THREADS, 0, *s, (float *)k->scratch,
           slabs);
    LAUNCH(k, add_slabs, blocks_for(cells, THREADS), THREADS, 0, *s, (const float *)k->scratch,
           slabs);
    return launched(op, err);
}

static __global__ void total_runs(const struct total_sum s, double *part, int64_t runs)
{
    __shared__ double room[BLOCK_WARPS_MAX];
    for (int64_t r = blockIdx.x; r < runs; r += gridDim.x) {
        const int64_t begin = r * REDUCE_RUN;
        const int64_t end = begin + REDUCE_RUN < s.n ? begin + REDUCE_RUN : s.n;
        double sum = 0.0;
        for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x)
            sum += (double)ref_get(s.a, i) * (s.b.data ? (double)ref_get(s.b, i) : 1.0);
        sum = block_sum(sum, room);
        if (threadIdx.x == 0)
            part[r] = sum;
    }
}

static __global__ void total_finish(const struct total_sum s, const double *part, int64_t runs)
{
    __shared__ double room[BLOCK_WARPS_MAX];
    double sum = 0.0;
    for (int64_t r = threadIdx.x; r < runs; r += blockDim.x)
        sum += part[r];
    sum = block_sum(sum, room);
    if (threadIdx.x != 0)
        return;
    sum *= (double)s.scale;
    if (s.divisor.data) {
        const double divisor = (double)ref_get(s.divisor, 0);
        sum = divisor != 0.0 ? sum / divisor : 0.0;
    }
    if (s.gate.data) {
        const double g = tanh((double)ref_get(s.gate, 0));
        sum *= 1.0 - g * g;
    }
    ref_blend(s.y, 0, (float)sum, s.beta);
}

enum status total_sum_run(struct kctx *k, const struct total_sum *s, const char *op,
                          struct error *err)
{
    const int64_t runs = (s->n + REDUCE_RUN - 1) / REDUCE_RUN;
    if ((uint64_t)runs * sizeof(double) > k->scratch_bytes)
        return error_set(err, ST_FAIL, CAUSE_NOMEM,
                         "%s: sums of %lld runs do not fit the workspace of %zu bytes", op,
                         (long long)runs, k->scratch_bytes);
    LAUNCH(k, total_runs, blocks_for(runs, 1), THREADS, 0, *s, (double *)k->scratch, runs);
    LAUNCH(k, total_finish, 1, THREADS, 0, *s, (const double *)k->scratch, runs);
    return launched(op, err);
}
