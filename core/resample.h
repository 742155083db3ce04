/* core/resample.h: 8-bit resampling, bit for bit as Pillow 10 does it: two passes, horizontal first,
 * each rounded to a byte; integer weights of 22 fractional bits. Definition: spec data.md 6.1, 6.2;
 * numbers: goldens/data/pictures. The plain C code is the definition, the AVX2 code chosen at run time
 * gives the same bytes. Calls are independent and thread-safe. */
#ifndef DEEM_CORE_RESAMPLE_H
#define DEEM_CORE_RESAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum resample_filter { RESAMPLE_BOX, RESAMPLE_BICUBIC };
enum resample_geometry { RESAMPLE_CROP, RESAMPLE_SQUASH };
/* Which code runs; BEST is what the processor can do, the others are for tests and measurements. */
enum resample_code { RESAMPLE_BEST, RESAMPLE_PLAIN, RESAMPLE_AVX2 };

bool resample_available(enum resample_code code);
const char *resample_code_name(
    enum resample_code code); /* "plain", "avx2"; BEST: what it stands for */

/* out (height, width, 3) from in (in_height, in_width, 3), row-major bytes. A size that does not
 * change is copied. ST_FAIL: CAUSE_NOMEM, CAUSE_ARG (a side of 0 or beyond 65,536). */
enum status resample_rgb(uint8_t *out, uint32_t width, uint32_t height, const uint8_t *in,
                         uint32_t in_width, uint32_t in_height, enum resample_filter filter,
                         struct error *err);

struct resample_target {
    uint8_t *out; /* (3, side, side) bytes, channel first; caller's */
    uint32_t side;
};
/* The square tensors of one picture in (in_height, in_width, 3).
 * RESAMPLE_CROP: while the shorter side >= 2 side, halve both sides with a box; bicubic until the
 * shorter side = side; centre crop. RESAMPLE_SQUASH: one bicubic step to side x side. Only rows and
 * columns that reach the output are computed. ST_FAIL: CAUSE_NOMEM; CAUSE_ARG (sides as above, code not
 * available). */
enum status resample_tensors(const struct resample_target *targets, size_t count,
                             enum resample_geometry geometry, const uint8_t *in, uint32_t in_width,
                             uint32_t in_height, enum resample_code code, struct error *err);

#endif
