/* kernels/cpu/gather.c: rows by index. Sums over equal indices run in the order of the list: threads
 * share the columns, never the rows. */
#include "kernels/gather.h"

#include <inttypes.h>

#include "kernels/cpu/cpu_private.h"

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

static enum status check_index(const char *op, const struct view *index, int64_t N,
                               struct error *err)
{
    const int32_t *list = index->data;
    const int64_t M = view_count(index);
    for (int64_t m = 0; m < M; m++)
        if (list[m] < -1 || list[m] >= N)
            return error_set(err, ST_FAIL, CAUSE_ARG,
                             "%s: index %" PRId64 ": got %" PRId32 ", want -1 or [0, %" PRId64 ")",
                             op, m, list[m], N);
    return ST_OK;
}

enum status gather_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct gather_attrs *at = attrs;
    const int64_t N = rows_of(&in[0]), C = width_of(&in[0]), M = view_count(&in[1]);
    float *y = out[0].data;
    const float *rows = in[0].data;
    const int32_t *index = in[1].data;
    (void)k;

    if (!view_f32(&in[0], N * C) || !view_is(&in[1], DT_I32, M) || !view_f32(&out[0], M * C))
        return check_refuse("gather", out, 1, in, 2, err);
    if (check_index("gather", &in[1], N, err) != ST_OK)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (M * C > PARALLEL_MIN)
    for (int64_t m = 0; m < M; m++)
        for (int64_t c = 0; c < C; c++)
            y[m * C + c] =
                blend(index[m] < 0 ? 0.0f : rows[index[m] * C + c], y[m * C + c], at->beta);
    return ST_OK;
}

enum status gather_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct gather_attrs *at = attrs;
    const int64_t N = rows_of(&out[0]), C = width_of(&out[0]), M = view_count(&in[1]);
    float *drows = out[0].data;
    const float *dy = in[0].data;
    const int32_t *index = in[1].data;
    enum { BLOCK = 64 }; /* columns a thread takes at a time */
    (void)k;

    if (!view_f32(&out[0], N * C) || !view_is(&in[1], DT_I32, M) || !view_f32(&in[0], M * C))
        return check_refuse("gather_bwd", out, 1, in, 2, err);
    if (check_index("gather_bwd", &in[1], N, err) != ST_OK)
        return ST_FAIL;
    scale_in_place(drows, N * C, at->beta);
#pragma omp parallel for schedule(static) if (M * C > PARALLEL_MIN)
    for (int64_t first = 0; first < C; first += BLOCK)
        for (int64_t m = 0; m < M; m++) {
            if (index[m] < 0)
                continue;
            for (int64_t c = first; c < min_i64(first + BLOCK, C); c++)
                drows[index[m] * C + c] += dy[m * C + c];
        }
    return ST_OK;
}

enum status gather_sum_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct gather_attrs *at = attrs;
    const int64_t N = rows_of(&in[0]), C = width_of(&in[0]), M = view_count(&in[1]);
    const int64_t T = rows_of(&in[2]);
    float *y = out[0].data;
    const float *rows = in[0].data, *table = in[2].data;
    const int32_t *index = in[1].data, *other = in[3].data;
    (void)k;

    if (!view_f32(&in[0], N * C) || !view_f32(&in[2], T * C) || width_of(&in[2]) != C ||
        !view_is(&in[1], DT_I32, M) || !view_is(&in[3], DT_I32, M) || !view_f32(&out[0], M * C))
        return check_refuse("gather_sum", out, 1, in, 4, err);
    if (check_index("gather_sum", &in[1], N, err) != ST_OK ||
        check_index("gather_sum", &in[3], T, err) != ST_OK)
        return ST_FAIL;
#pragma omp parallel for schedule(static) if (M * C > PARALLEL_MIN)
    for (int64_t m = 0; m < M; m++)
        for (int64_t c = 0; c < C; c++) {
            const float a = index[m] < 0 ? 0.0f : rows[index[m] * C + c];
            const float b = other[m] < 0 ? 0.0f : table[other[m] * C + c];
            y[m * C + c] = blend(a + b, y[m * C + c], at->beta);
        }
    return ST_OK;
}

enum status scatter_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                            const void *attrs, struct error *err)
{
    const int64_t N = rows_of(&out[0]), C = width_of(&out[0]), M = view_count(&in[2]);
    float *y = out[0].data;
    const float *rows = in[1].data;
    const int32_t *index = in[2].data;
    (void)k;
    (void)attrs;

    if (!view_f32(&out[0], N * C) || !view_f32(&in[0], N * C) || !view_f32(&in[1], M * C) ||
        !view_is(&in[2], DT_I32, M))
        return check_refuse("scatter", out, 1, in, 3, err);
    if (check_index("scatter", &in[2], N, err) != ST_OK)
        return ST_FAIL;
    if (in[0].data != out[0].data && N * C > 0)
        memcpy(y, in[0].data, (size_t)(N * C) * sizeof *y);
    for (int64_t m = 0; m < M; m++)
        if (index[m] >= 0)
            memcpy(y + index[m] * C, rows + m * C, (size_t)C * sizeof *y);
    return ST_OK;
}

enum status scatter_dx_cpu(struct kctx *k, const struct view *out, const struct view *in,
                           const void *attrs, struct error *err)
{
    const struct gather_attrs *at = attrs;
    const int64_t N = rows_of(&out[0]), C = width_of(&out[0]), M = view_count(&in[1]);
    float *dx = out[0].data;
    const float *dy = in[0].data;
    const int32_t *index = in[1].data;
    (void)k;

    if (!view_f32(&out[0], N * C) || !view_f32(&in[0], N * C) || !view_is(&in[1], DT_I32, M))
        return check_refuse("scatter_dx", out, 1, in, 2, err);
    if (check_index("scatter_dx", &in[1], N, err) != ST_OK)
        return ST_FAIL;
    uint8_t *covered = mem_calloc((size_t)max_i64(N, 1), 1);
    if (!covered)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: scatter_dx");
    for (int64_t m = 0; m < M; m++)
        if (index[m] >= 0)
            covered[index[m]] = 1;
#pragma omp parallel for schedule(static) if (N * C > PARALLEL_MIN)
    for (int64_t n = 0; n < N; n++)
        for (int64_t c = 0; c < C; c++)
            dx[n * C + c] = blend(covered[n] ? 0.0f : dy[n * C + c], dx[n * C + c], at->beta);
    mem_free(covered);
    return ST_OK;
}
