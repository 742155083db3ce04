/* loader/decode.c: see decode.h. */
#include "loader/decode.h"

#include "core/file.h"

void decode_options_init(struct decode_options *opt)
{
    *opt = (struct decode_options){ .geometry = RESAMPLE_CROP,
                                    .mode = DECODE_EXACT,
                                    .side_a = 256,
                                    .side_b = 512,
                                    .code = RESAMPLE_BEST };
    image_limits_init(&opt->limits);
}

/* Crop: as many halvings as the larger target would do itself, so that the shorter side stays at or
 * above it. Squash has no halvings of its own: both sides must stay at twice the target. Only sides that
 * divide evenly are halved: libjpeg rounds up where exact mode rounds down, and on a texture the shift of
 * part of a pixel that follows costs more than the budget. */
unsigned decode_shrink(const struct decode_options *opt, uint32_t width, uint32_t height)
{
    const uint64_t side = opt->side_a > opt->side_b ? opt->side_a : opt->side_b;
    const uint64_t shorter = width < height ? width : height;
    const uint64_t keep = opt->geometry == RESAMPLE_CROP ? side : 2 * side;
    unsigned k = 0;

    while (opt->mode == DECODE_FAST && k < 3 && (shorter >> (k + 1)) >= keep &&
           ((width | height) >> k & 1) == 0)
        k++;
    return k;
}

enum status decode_picture(uint8_t *out_a, uint8_t *out_b, const void *data, size_t size,
                           const struct decode_options *opt, struct decode_timing *timing,
                           struct error *err)
{
    struct resample_target targets[2];
    struct image_decode_options how;
    struct image picture = { 0 };
    struct image_info info;
    size_t n = 0;

    if (out_a && opt->side_a > 0) {
        targets[n].out = out_a;
        targets[n++].side = opt->side_a;
    }
    if (out_b && opt->side_b > 0) {
        targets[n].out = out_b;
        targets[n++].side = opt->side_b;
    }
    image_decode_options_init(&how);
    how.limits = opt->limits;
    const double begin = timing ? clock_seconds() : 0.0;
    enum status st = ST_OK;
    if (opt->mode == DECODE_FAST) {
        st = image_probe(&info, data, size, &opt->limits, err);
        how.jpeg_shrink = st == ST_OK ? decode_shrink(opt, info.width, info.height) : 0;
    }
    if (st == ST_OK)
        st = image_decode(&picture, data, size, &how, NULL, err);
    const double middle = timing ? clock_seconds() : 0.0;
    if (st == ST_OK)
        st = resample_tensors(targets, n, opt->geometry, picture.rgb, picture.width, picture.height,
                              opt->code, err);
    image_clear(&picture);
    if (timing) {
        timing->decode_seconds += middle - begin;
        timing->resize_seconds += clock_seconds() - middle;
    }
    return st;
}

void decode_flip(uint8_t *tensor, uint32_t side)
{
    for (size_t row = 0; row < 3 * (size_t)side; row++) {
        uint8_t *p = tensor + row * side;
        for (size_t x = 0; x < side / 2; x++) {
            const uint8_t left = p[x];
            p[x] = p[side - 1 - x];
            p[side - 1 - x] = left;
        }
    }
}
