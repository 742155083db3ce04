/* kernels/cuda/gather.cu: rows by index. Sums over equal indices run in the order of the list without atomics:
 * the block of an index's first place looks for the others and adds them in order. An index outside its table
 * counts as none and is reported by device_wait(). */
#include "kernels/gather.h"

#include "kernels/cuda/cuda_private.cuh"

/* A tensor as rows of its first axis. */
static int64_t rows_of(const struct view *v)
{
    return v->rank > 0 ? v->shape[0] : 1;
}
static int64_t width_of(const struct view *v)
{
    int64_t n = 1;
    for (int i = 1; i < v->rank; i++)
        n *= v->shape[i];
    return n;
}

__device__ static inline int64_t row_at(const int32_t *index, int64_t m, int64_t N, int32_t *fault)
{
    const int32_t i = index[m];
    if (i >= -1 && i < N)
        return i;
    note_fault(fault, FAULT_INDEX, i);
    return -1;
}

/* y[m] = rows[index[m]] + table[other[m]]; `other` NULL: without the table. */
struct gather_call {
    struct ref y, rows, table;
    const int32_t *index, *other;
    int64_t M, N, T, C;
    float beta;
    int32_t *fault;
};
static __global__ void gather_rows(const struct gather_call c)
{
    const int64_t groups = (c.C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, c.M * groups)
    {
        const int64_t m = t / groups, at = t % groups * GROUP;
        const int64_t row = row_at(c.index, m, c.N, c.fault);
        const int64_t place = c.other ? row_at(c.other, m, c.T, c.fault) : -1;
        float v[GROUP] = { 0.0f }, w[GROUP];
        if (row >= 0)
            get8(v, c.rows, row * c.C + at, (row + 1) * c.C);
        if (place >= 0) {
            get8(w, c.table, place * c.C + at, (place + 1) * c.C);
            for (int j = 0; j < GROUP; j++)
                v[j] += w[j];
        }
        blend8(c.y, m * c.C + at, (m + 1) * c.C, v, c.beta);
    }
}

static enum status gather_launch(struct kctx *k, const char *op, const struct view *out,
                                 const struct view *in, bool with_table, float beta,
                                 struct error *err)
{
    struct gather_call c = {};
    c.N = rows_of(&in[0]);
    c.C = width_of(&in[0]);
    c.M = view_count(&in[1]);
    c.y = row_ref(&out[0], c.C);
    c.rows = row_ref(&in[0], c.C);
    c.index = (const int32_t *)in[1].data;
    if (with_table) {
        c.T = rows_of(&in[2]);
        c.table = row_ref(&in[2], c.C);
        c.other = (const int32_t *)in[3].data;
    }
    c.beta = beta;
    c.fault = state_of(k)->fault;
    LAUNCH(k, gather_rows, blocks_for(c.M * ((c.C + GROUP - 1) / GROUP), THREADS), THREADS, 0, c);
    return launched(op, err);
}

enum status gather_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct gather_attrs *at = (const struct gather_attrs *)attrs;
    const int64_t N = rows_of(&in[0]), C = width_of(&in[0]), M = view_count(&in[1]);
    if (!view_float(&in[0], N * C) || !view_is(&in[1], DT_I32, M) || !view_float(&out[0], M * C))
        return check_refuse("gather", out, 1, in, 2, err);
    return gather_launch(k, "gather", out, in, false, at->beta, err);
}

enum status gather_sum_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                const void *attrs, struct error *err)
{
    const struct gather_attrs *at = (const struct gather_attrs *)attrs;
    const int64_t N = rows_of(&in[0]), C = width_of(&in[0]), M = view_count(&in[1]);
    const int64_t T = rows_of(&in[2]);
    if (!view_float(&in[0], N * C) || !view_float(&in[2], T * C) || width_of(&in[2]) != C ||
        !view_is(&in[1], DT_I32, M) || !view_is(&in[3], DT_I32, M) || !view_float(&out[0], M * C))
        return check_refuse("gather_sum", out, 1, in, 4, err);
    return gather_launch(k, "gather_sum", out, in, true, at->beta, err);
}

static __global__ void scale_all(struct ref y, int64_t n, float beta)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP] = { 0.0f };
        blend8(y, i, n, v, beta);
    }
}

enum { SEARCH = 256 }; /* places looked at together: a thread each */

/* drows[row of m] += dy[m] + the later rows of the same index, if m is the first of them. */
__device__ static void add_equal_rows(struct ref drows, struct ref dy, const int32_t *index,
                                      int64_t m, int64_t M, int64_t C, int64_t row, int *equal)
{
    for (int64_t c0 = 0; c0 < C; c0 += (int64_t)GROUP * SEARCH) {
        const int64_t c = c0 + GROUP * (int64_t)threadIdx.x;
        float sum[GROUP], v[GROUP];
        get8(sum, dy, m * C + c, c < C ? (m + 1) * C : 0);
        for (int64_t first = m + 1; first < M; first += SEARCH) {
            const int64_t other = first + threadIdx.x;
            equal[threadIdx.x] = other < M && index[other] == row;
            if (!__syncthreads_or(equal[threadIdx.x]))
                continue;
            for (int j = 0; j < SEARCH && c < C; j++) {
                if (!equal[j])
                    continue;
                get8(v, dy, (first + j) * C + c, (first + j + 1) * C);
                for (int e = 0; e < GROUP; e++)
                    sum[e] += v[e];
            }
            __syncthreads();
        }
        if (c < C)
            blend8(drows, row * C + c, (row + 1) * C, sum, 1.0f);
    }
}

static __global__ void scatter_sums(struct ref drows, struct ref dy, const int32_t *index,
                                    int64_t N, int64_t M, int64_t C, int32_t *fault)
{
    __shared__ int equal[SEARCH];
    for (int64_t m = blockIdx.x; m < M; m += gridDim.x) {
        const int64_t row = row_at(index, m, N, fault);
        int before = 0;
        for (int64_t i = threadIdx.x; row >= 0 && i < m; i += SEARCH)
            before |= index[i] == row;
        if (__syncthreads_or(before) || row < 0)
            continue;
        add_equal_rows(drows, dy, index, m, M, C, row, equal);
    }
}

enum status gather_bwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct gather_attrs *at = (const struct gather_attrs *)attrs;
    const int64_t N = rows_of(&out[0]), C = width_of(&out[0]), M = view_count(&in[1]);
    if (!view_float(&out[0], N * C) || !view_is(&in[1], DT_I32, M) || !view_float(&in[0], M * C))
        return check_refuse("gather_bwd", out, 1, in, 2, err);
    if (at->beta != 1.0f)
        LAUNCH(k, scale_all, group_blocks(N * C), THREADS, 0, ref_of(&out[0]), N * C, at->beta);
    LAUNCH(k, scatter_sums, blocks_for(M, 1), SEARCH, 0, row_ref(&out[0], C), row_ref(&in[0], C),
           (const int32_t *)in[1].data, N, M, C, state_of(k)->fault);
    return launched("gather_bwd", err);
}

static __global__ void write_rows(struct ref y, struct ref rows, const int32_t *index, int64_t N,
                                  int64_t M, int64_t C, int32_t *fault)
{
    const int64_t groups = (C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, M * groups)
    {
        const int64_t m = t / groups, at = t % groups * GROUP, row = row_at(index, m, N, fault);
        float v[GROUP];
        if (row < 0)
            continue;
        get8(v, rows, m * C + at, (m + 1) * C);
        put8(y, row * C + at, (row + 1) * C, v);
    }
}

static __global__ void copy_all(struct ref y, struct ref x, int64_t n)
{
    FOR_GROUPS(i, n)
    {
        float v[GROUP];
        get8(v, x, i, n);
        put8(y, i, n, v);
    }
}

enum status scatter_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                             const void *attrs, struct error *err)
{
    const int64_t N = rows_of(&out[0]), C = width_of(&out[0]), M = view_count(&in[2]);
    (void)attrs;
    if (!view_float(&out[0], N * C) || !view_float(&in[0], N * C) || !view_float(&in[1], M * C) ||
        !view_is(&in[2], DT_I32, M))
        return check_refuse("scatter", out, 1, in, 3, err);
    if (in[0].data != out[0].data)
        LAUNCH(k, copy_all, group_blocks(N * C), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
               N * C);
    LAUNCH(k, write_rows, blocks_for(M * ((C + GROUP - 1) / GROUP), THREADS), THREADS, 0,
           row_ref(&out[0], C), row_ref(&in[1], C), (const int32_t *)in[2].data, N, M, C,
           state_of(k)->fault);
    return launched("scatter", err);
}

/* covered[n] = 1 where n is in the list. */
static __global__ void mark_rows(uint8_t *covered, const int32_t *index, int64_t N, int64_t M,
                                 int32_t *fault)
{
    FOR_ITEMS(m, M)
    {
        const int64_t row = row_at(index, m, N, fault);
        if (row >= 0)
            covered[row] = 1;
    }
}
static __global__ void clear_marks(uint8_t *covered, int64_t N)
{
    FOR_ITEMS(n, N)
    {
        covered[n] = 0;
    }
}
static __global__ void pass_uncovered(struct ref dx, struct ref dy, const uint8_t *covered,
                                      int64_t N, int64_t C, float beta)
{
    const int64_t groups = (C + GROUP - 1) / GROUP;
    FOR_ITEMS(t, N * groups)
    {
        const int64_t n = t / groups, at = t % groups * GROUP;
        float v[GROUP] = { 0.0f };
        if (!covered[n])
            get8(v, dy, n * C + at, (n + 1) * C);
        blend8(dx, n * C + at, (n + 1) * C, v, beta);
    }
}

enum status scatter_dx_cuda(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const struct gather_attrs *at = (const struct gather_attrs *)attrs;
    const int64_t N = rows_of(&out[0]), C = width_of(&out[0]), M = view_count(&in[1]);
    uint8_t *covered = (uint8_t *)k->scratch;
    if (!view_float(&out[0], N * C) || !view_float(&in[0], N * C) || !view_is(&in[1], DT_I32, M))
        return check_refuse("scatter_dx", out, 1, in, 2, err);
    if ((uint64_t)N > k->scratch_bytes)
        return error_set(err, ST_FAIL, CAUSE_NOMEM,
                         "scatter_dx: marks of %lld rows do not fit the workspace of %zu bytes",
                         (long long)N, k->scratch_bytes);
    LAUNCH(k, clear_marks, blocks_for(N, THREADS), THREADS, 0, covered, N);
    LAUNCH(k, mark_rows, blocks_for(M, THREADS), THREADS, 0, covered, (const int32_t *)in[1].data,
           N, M, state_of(k)->fault);
    LAUNCH(k, pass_uncovered, blocks_for(N * ((C + GROUP - 1) / GROUP), THREADS), THREADS, 0,
           row_ref(&out[0], C), row_ref(&in[0], C), (const uint8_t *)covered, N, C, at->beta);
    return launched("scatter_dx", err);
}
