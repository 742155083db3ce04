/* tests/fuzz/fuzz_image.c: any bytes as a picture, through all codecs. Probing, decoding and preparing for
 * the store agree: what is stored decodes to the same size, and a JPEG rewritten without loss to the same
 * pixels. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "core/image.h"

static void check_stored(const struct image *picture, const uint8_t *data, size_t size,
                         const struct image_decode_options *how)
{
    struct image_store_options opt;
    struct image_info info;
    struct image again = { 0 };
    struct buffer stored;
    struct error err = { 0 };

    image_store_options_init(&opt);
    opt.limits = how->limits;
    buffer_init(&stored);
    if (image_prepare(&info, &stored, data, size, &opt, NULL, &err) != ST_OK)
        abort();
    const bool rewritten = stored.size > 0;
    if (image_decode(&again, rewritten ? stored.data : data, rewritten ? stored.size : size, how,
                     NULL, &err) != ST_OK ||
        again.width != picture->width || again.height != picture->height ||
        info.width != picture->width || info.height != picture->height ||
        memcmp(again.rgb, picture->rgb, (size_t)again.width * again.height * 3) != 0)
        abort();
    image_clear(&again);
    buffer_clear(&stored);
}

/* What cannot be decoded is not stored either. */
static void check_refused(const uint8_t *data, size_t size, const struct image_decode_options *how)
{
    struct image_store_options opt;
    struct image_info info;
    struct buffer stored;
    struct error err = { 0 };

    image_store_options_init(&opt);
    opt.limits = how->limits;
    buffer_init(&stored);
    if (image_prepare(&info, &stored, data, size, &opt, NULL, &err) != ST_SKIP ||
        err.code[0] == '\0')
        abort();
    buffer_clear(&stored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_decode_options how;
    struct image_info info;
    struct image picture = { 0 };
    struct error err = { 0 };

    image_decode_options_init(&how);
    how.limits.max_pixels = 1 << 16;
    how.limits.max_scans = 20;
    const enum status probed = image_probe(&info, data, size, &how.limits, &err);
    if (probed != ST_OK && (probed != ST_SKIP || err.code[0] == '\0'))
        abort();
    error_clear(&err);
    const enum status st = image_decode(&picture, data, size, &how, NULL, &err);
    if (st == ST_OK) {
        if (probed != ST_OK || picture.width != info.width || picture.height != info.height)
            abort();
        check_stored(&picture, data, size, &how);
    } else if (st != ST_SKIP || err.code[0] == '\0' || picture.rgb) {
        abort();
    } else {
        check_refused(data, size, &how);
    }
    image_clear(&picture);
    return 0;
}
