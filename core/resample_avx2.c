/* core/resample_avx2.c: both passes over lanes of 32 bytes that share their weights. The vertical pass
 * has such lanes in its rows; the horizontal one gets them by transposing 32 rows, and transposes back
 * into planes. A weight w of 24 bits is split into w = 2048 high + low, so that pairs of taps go
 * through 16-bit multiply-adds; sums of both halves stay exact, and so equal the plain code's. */
#include <string.h>

#include "core/bytes.h"
#include "core/mem.h"
#include "core/resample_private.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
enum { BLOCK = 16 };

bool resample_avx2_available(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}

/* Adds taps p and q (32 bytes each), weighted by one pair, to the 32 sums of `high` and `low`. */
AVX2 static inline void add_taps(__m256i high[4], __m256i low[4], __m256i p, __m256i q,
                                 const uint32_t pair[2])
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256i wh = _mm256_set1_epi32((int)pair[0]), wl = _mm256_set1_epi32((int)pair[1]);
    const __m256i a = _mm256_unpacklo_epi8(p, q), b = _mm256_unpackhi_epi8(p, q);
    const __m256i v[4] = { _mm256_unpacklo_epi8(a, zero), _mm256_unpackhi_epi8(a, zero),
                           _mm256_unpacklo_epi8(b, zero), _mm256_unpackhi_epi8(b, zero) };

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        high[i] = _mm256_add_epi32(high[i], _mm256_madd_epi16(v[i], wh));
        low[i] = _mm256_add_epi32(low[i], _mm256_madd_epi16(v[i], wl));
    }
}

AVX2 static inline __m256i load_lanes(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* 32 bytes out of `taps` rows of 32 bytes, `step` apart. */
AVX2 static inline __m256i weigh_lanes(const uint8_t *p, size_t step, const uint32_t *pairs,
                                       uint32_t taps)
{
    const __m256i half = _mm256_set1_epi32(1 << (RESAMPLE_BITS - 1));
    __m256i high[4] = { 0 }, low[4] = { half, half, half, half };
    uint32_t j = 0;

    for (; j + 2 <= taps; j += 2, p += 2 * step)
        add_taps(high, low, load_lanes(p), load_lanes(p + step), pairs + j);
    if (j < taps)
        add_taps(high, low, load_lanes(p), _mm256_setzero_si256(), pairs + j);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        high[i] = _mm256_add_epi32(_mm256_slli_epi32(high[i], RESAMPLE_SPLIT), low[i]);
        high[i] = _mm256_srai_epi32(high[i], RESAMPLE_BITS);
    }
    /* packing saturates: that is the clip; lanes return to byte order */
    return _mm256_packus_epi16(_mm256_packs_epi32(high[0], high[1]),
                               _mm256_packs_epi32(high[2], high[3]));
}

/* ---- transposition ---- */

AVX2 static inline void interleave(__m128i to[BLOCK], const __m128i from[BLOCK])
{
#pragma GCC unroll 8
    for (size_t i = 0; i < BLOCK / 2; i++) {
        to[2 * i] = _mm_unpacklo_epi8(from[i], from[i + BLOCK / 2]);
        to[2 * i + 1] = _mm_unpackhi_epi8(from[i], from[i + BLOCK / 2]);
    }
}

/* 16 x 16 bytes: out row i, column j = in row j, column i. */
AVX2 static void transpose_block(uint8_t *out, size_t out_row, const uint8_t *in, size_t in_row)
{
    __m128i a[BLOCK], b[BLOCK];

#pragma GCC unroll 16
    for (size_t i = 0; i < BLOCK; i++)
        a[i] = _mm_loadu_si128((const __m128i *)(const void *)(in + i * in_row));
    interleave(b, a);
    interleave(a, b);
    interleave(b, a);
    interleave(a, b);
#pragma GCC unroll 16
    for (size_t i = 0; i < BLOCK; i++)
        _mm_storeu_si128((__m128i *)(void *)(out + i * out_row), a[i]);
}

/* rows x columns bytes of `in` to lanes: lane r of column x lands at out[32 x + r]. Rows beyond `rows`
 * are left as they are: nobody reads their results. */
AVX2 static void rows_to_lanes(uint8_t *out, const uint8_t *in, size_t in_row, size_t rows,
                               size_t columns)
{
    for (size_t r = 0; r < rows; r += BLOCK) {
        size_t x = 0;
        if (r + BLOCK <= rows)
            for (; x + BLOCK <= columns; x += BLOCK)
                transpose_block(out + RESAMPLE_LANES * x + r, RESAMPLE_LANES, in + r * in_row + x,
                                in_row);
        for (size_t y = r; y < rows && y < r + BLOCK; y++)
            for (size_t k = x; k < columns; k++)
                out[RESAMPLE_LANES * k + y] = in[y * in_row + k];
    }
}

/* The way back: rows of `columns` bytes. */
AVX2 static void lanes_to_rows(uint8_t *out, size_t out_row, const uint8_t *in, size_t rows,
                               size_t columns)
{
    for (size_t r = 0; r < rows; r += BLOCK) {
        size_t x = 0;
        if (r + BLOCK <= rows)
            for (; x + BLOCK <= columns; x += BLOCK)
                transpose_block(out + r * out_row + x, out_row, in + RESAMPLE_LANES * x + r,
                                RESAMPLE_LANES);
        for (size_t y = r; y < rows && y < r + BLOCK; y++)
            for (size_t k = x; k < columns; k++)
                out[y * out_row + k] = in[RESAMPLE_LANES * k + y];
    }
}

/* ---- passes ---- */

/* Up to 32 rows. `from` holds the inputs as lanes, columns [in_begin, in_end); `to` has room for the
 * outputs of one channel. */
AVX2 static void x_block(const struct resample_planes *out, const struct resample_view *in,
                         const struct resample_axis *axis, uint32_t y, size_t rows, uint8_t *from,
                         uint8_t *to)
{
    const size_t columns = axis->in_end - axis->in_begin, n = axis->end - axis->begin;
    const uint8_t *first =
        in->data + (y - in->y0) * in->row + (axis->in_begin - in->x0) * in->pixel;
    const size_t step = RESAMPLE_LANES * in->pixel;

    if (in->pixel > 1) /* interleaved: all channels at once */
        rows_to_lanes(from, first, in->row, rows, columns * in->pixel);
    for (size_t c = 0; c < 3; c++) {
        if (in->pixel == 1)
            rows_to_lanes(from, first + c * in->channel, in->row, rows, columns);
        const uint8_t *lanes = from + (in->pixel > 1 ? c * in->channel * RESAMPLE_LANES : 0);
        for (size_t i = 0; i < n; i++)
            _mm256_storeu_si256((__m256i *)(void *)(to + RESAMPLE_LANES * i),
                                weigh_lanes(lanes + (axis->first[i] - axis->in_begin) * step, step,
                                            axis->pairs + i * axis->cap, axis->taps[i]));
        lanes_to_rows(out->data + c * out->channel + (y - out->y0) * out->row +
                          (axis->begin - out->x0),
                      out->row, to, rows, n);
    }
}

AVX2 enum status resample_x_avx2(const struct resample_planes *out, const struct resample_view *in,
                                 const struct resample_axis *axis, uint32_t y_begin, uint32_t y_end,
                                 struct error *err)
{
    const size_t columns = (size_t)(axis->in_end - axis->in_begin) * in->pixel;
    const size_t bytes = (columns + (axis->end - axis->begin)) * RESAMPLE_LANES;
    uint8_t *from = mem_calloc(bytes, 1);

    if (!from)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: resampling");
    for (uint32_t y = y_begin; y < y_end; y += RESAMPLE_LANES) {
        const size_t left = y_end - y;
        x_block(out, in, axis, y, left < RESAMPLE_LANES ? left : RESAMPLE_LANES, from,
                from + columns * RESAMPLE_LANES);
    }
    mem_free(from);
    return ST_OK;
}

/* One output row. The last lanes overlap the ones before them; a row of less than 32 goes through
 * copies. */
AVX2 static void y_row(uint8_t *to, const uint8_t *from, size_t from_row, size_t width,
                       const int32_t *weight, const uint32_t *pairs, uint32_t taps)
{
    if (width < RESAMPLE_LANES) {
        for (size_t x = 0; x < width; x++) {
            int32_t sum = 1 << (RESAMPLE_BITS - 1);
            for (uint32_t j = 0; j < taps; j++)
                sum += weight[j] * from[j * from_row + x];
            sum >>= RESAMPLE_BITS;
            to[x] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
        }
        return;
    }
    for (size_t x = 0; x < width; x += RESAMPLE_LANES) {
        const size_t at = x + RESAMPLE_LANES <= width ? x : width - RESAMPLE_LANES;
        _mm256_storeu_si256((__m256i *)(void *)(to + at),
                            weigh_lanes(from + at, from_row, pairs, taps));
    }
}

AVX2 enum status resample_y_avx2(const struct resample_planes *out, const struct resample_view *in,
                                 const struct resample_axis *axis, uint32_t x_begin, uint32_t x_end,
                                 struct error *err)
{
    (void)err;
    for (size_t c = 0; c < 3; c++)
        for (uint32_t i = 0; i < axis->end - axis->begin; i++)
            y_row(out->data + c * out->channel + (axis->begin + i - out->y0) * out->row +
                      (x_begin - out->x0),
                  in->data + c * in->channel + (axis->first[i] - in->y0) * in->row +
                      (x_begin - in->x0),
                  in->row, x_end - x_begin, axis->weight + (size_t)i * axis->cap,
                  axis->pairs + (size_t)i * axis->cap, axis->taps[i]);
    return ST_OK;
}

#else

bool resample_avx2_available(void)
{
    return false;
}

enum status resample_x_avx2(const struct resample_planes *out, const struct resample_view *in,
                            const struct resample_axis *axis, uint32_t y_begin, uint32_t y_end,
                            struct error *err)
{
    return resample_x_plain(out, in, axis, y_begin, y_end, err);
}

enum status resample_y_avx2(const struct resample_planes *out, const struct resample_view *in,
                            const struct resample_axis *axis, uint32_t x_begin, uint32_t x_end,
                            struct error *err)
{
    return resample_y_plain(out, in, axis, x_begin, x_end, err);
}

#endif
