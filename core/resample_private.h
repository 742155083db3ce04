/* core/resample_private.h: what the driver and the two codes of resampling share. */
#ifndef DEEM_CORE_RESAMPLE_PRIVATE_H
#define DEEM_CORE_RESAMPLE_PRIVATE_H

#include "core/resample.h"

enum { RESAMPLE_BITS = 22, RESAMPLE_LANES = 32, RESAMPLE_SPLIT = 11 };

/* Weights of one axis for the outputs [begin, end) of a scale from `in` to `out`. */
struct resample_axis {
    uint32_t in, out, begin, end;
    uint32_t cap;    /* weights kept per output: an even number, zeros behind the last */
    uint32_t *first; /* [end - begin] first input index */
    uint32_t *taps;  /* [end - begin] */
    int32_t *weight; /* [end - begin][cap], RESAMPLE_BITS fractional bits */
    /* [end - begin][cap], pairs of taps for 16-bit multiply-adds: a weight is
     * w = 2^RESAMPLE_SPLIT high + low; entry 2k holds the high parts of taps 2k and 2k + 1, entry
     * 2k + 1 the low parts, the earlier tap in the lower 16 bits. */
    uint32_t *pairs;
    uint32_t in_begin, in_end; /* inputs that any output reads */
};

/* Three channels of bytes in memory; sample (c, y, x), counted in the whole picture, lies at
 * data[c channel + (y - y0) row + (x - x0) pixel]. */
struct resample_view {
    const uint8_t *data;
    size_t channel, row, pixel;
    uint32_t x0, y0;
};
/* Planes that a pass writes: row-major, rows of `row` bytes, the first sample at (x0, y0). */
struct resample_planes {
    uint8_t *data;
    size_t channel, row;
    uint32_t x0, y0;
};

/* Horizontal: rows [y_begin, y_end) of `in` to the columns of `axis`. Vertical: rows of `axis`, columns
 * [x_begin, x_end), out of planes (pixel 1). ST_FAIL: CAUSE_NOMEM. */
typedef enum status resample_x_fn(const struct resample_planes *out, const struct resample_view *in,
                                  const struct resample_axis *axis, uint32_t y_begin,
                                  uint32_t y_end, struct error *err);
typedef enum status resample_y_fn(const struct resample_planes *out, const struct resample_view *in,
                                  const struct resample_axis *axis, uint32_t x_begin,
                                  uint32_t x_end, struct error *err);
resample_x_fn resample_x_plain, resample_x_avx2;
resample_y_fn resample_y_plain, resample_y_avx2;
bool resample_avx2_available(void);

#endif
