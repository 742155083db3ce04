/* loader/decode.h: stored picture bytes to the uint8 tensors of the model, both sides from one decode.
 * Exact mode equals Pillow 10 bit for bit (goldens/data/pictures); fast mode lets libjpeg shrink by
 * powers of two first, inside the budget of spec data.md 6.3. Thread-safe. */
#ifndef DEEM_LOADER_DECODE_H
#define DEEM_LOADER_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/image.h"
#include "core/resample.h"

enum decode_mode { DECODE_EXACT, DECODE_FAST };
struct decode_options {
    enum resample_geometry geometry; /* default crop */
    enum decode_mode mode;           /* default exact */
    uint32_t side_a, side_b;         /* of the two tensors; 0 = that one is not wanted */
    struct image_limits limits;
    enum resample_code code; /* default best */
};
void decode_options_init(struct decode_options *opt);

struct decode_timing {
    double decode_seconds, resize_seconds;
};
/* out_a (3, side_a, side_a), out_b (3, side_b, side_b), channel first; `timing` may be NULL, else it is
 * added to. ST_SKIP: bad picture, with code as image_decode. ST_FAIL: CAUSE_NOMEM, CAUSE_ARG. */
enum status decode_picture(uint8_t *out_a, uint8_t *out_b, const void *data, size_t size,
                           const struct decode_options *opt, struct decode_timing *timing,
                           struct error *err);
/* How often libjpeg may halve a width x height picture in fast mode (0..3). */
unsigned decode_shrink(const struct decode_options *opt, uint32_t width, uint32_t height);
/* Mirrors the rows of a (3, side, side) tensor (flip augmentation, D9). */
void decode_flip(uint8_t *tensor, uint32_t side);

#endif
