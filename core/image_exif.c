/* core/image_exif.c: the one EXIF tag that moves pixels. Off by default (spec data.md 1.12): boxes of
 * COCO, Visual Genome and VCR refer to unrotated pixels. Format: EXIF 2.3, TIFF 6.0. */
#include <string.h>

#include "core/bytes.h"
#include "core/image_private.h"

/* Orientation in a TIFF block; first IFD only, no offsets followed but that of the IFD. */
static unsigned tiff_orientation(const uint8_t *p, size_t size)
{
    enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3 };

    if (size < 8 || (memcmp(p, "II*\0", 4) != 0 && memcmp(p, "MM\0*", 4) != 0))
        return 1;
    const bool big = p[0] == 'M';
    const uint32_t at = big ? load_u32be(p + 4) : load_u32le(p + 4);
    if (at > size - 2)
        return 1;
    const unsigned n = big ? load_u16be(p + at) : load_u16le(p + at);
    for (unsigned i = 0; i < n; i++) {
        const size_t e = (size_t)at + 2 + 12 * (size_t)i;
        if (e + 12 > size)
            break;
        const unsigned tag = big ? load_u16be(p + e) : load_u16le(p + e);
        const unsigned type = big ? load_u16be(p + e + 2) : load_u16le(p + e + 2);
        const unsigned value = big ? load_u16be(p + e + 8) : load_u16le(p + e + 8);
        if (tag == TAG_ORIENTATION)
            return type == TYPE_SHORT && value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

static unsigned jpeg_orientation(const uint8_t *data, size_t size)
{
    size_t at = 2;

    while (at + 4 <= size && data[at] == 0xff) {
        const uint8_t marker = data[at + 1];
        if (marker == 0xff) { /* fill byte */
            at++;
            continue;
        }
        if (marker == 0xda || marker == 0xd9)
            break;
        const size_t length = load_u16be(data + at + 2);
        if (length < 2 || length > size - at - 2)
            break;
        if (marker == 0xe1 && length >= 8 && memcmp(data + at + 4, "Exif\0\0", 6) == 0)
            return tiff_orientation(data + at + 10, length - 8);
        at += 2 + length;
    }
    return 1;
}

static unsigned png_orientation(const uint8_t *data, size_t size)
{
    size_t at = 8;

    while (at + 12 <= size) {
        const uint32_t length = load_u32be(data + at);
        if (length > size - at - 12)
            break;
        if (memcmp(data + at + 4, "eXIf", 4) == 0)
            return tiff_orientation(data + at + 8, length);
        at += 12 + (size_t)length;
    }
    return 1;
}

static unsigned webp_orientation(const uint8_t *data, size_t size)
{
    size_t at = 12;

    while (at + 8 <= size) {
        const uint32_t length = load_u32le(data + at + 4);
        if (length > size - at - 8)
            break;
        if (memcmp(data + at, "EXIF", 4) == 0) {
            const uint8_t *p = data + at + 8;
            const size_t skip = length >= 6 && memcmp(p, "Exif\0\0", 6) == 0 ? 6 : 0;
            return tiff_orientation(p + skip, length - skip);
        }
        at += 8 + (size_t)length + (length & 1);
    }
    return 1;
}

unsigned image_exif_orientation(const struct image_job *job)
{
    switch (job->info.codec) {
    case IMAGE_JPEG:
        return jpeg_orientation(job->data, job->size);
    case IMAGE_PNG:
        return png_orientation(job->data, job->size);
    case IMAGE_WEBP:
        return webp_orientation(job->data, job->size);
    default:
        return 1;
    }
}

enum status image_orient(struct image *img, unsigned orientation, struct error *err)
{
    if (orientation < 2 || orientation > 8)
        return ST_OK;
    const bool transpose = orientation >= 5;
    const bool flip_x =
        orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    const bool flip_y =
        orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    struct image turned;

    if (image_alloc(&turned, transpose ? img->height : img->width,
                    transpose ? img->width : img->height, err) != ST_OK)
        return ST_FAIL;
    /* (x, y) of the result comes from (sx, sy): mirrored in the source's own axes, then transposed */
    for (size_t y = 0; y < turned.height; y++)
        for (size_t x = 0; x < turned.width; x++) {
            size_t sx = transpose ? y : x, sy = transpose ? x : y;
            sx = flip_x ? img->width - 1 - sx : sx;
            sy = flip_y ? img->height - 1 - sy : sy;
            memcpy(turned.rgb + 3 * (y * turned.width + x), img->rgb + 3 * (sy * img->width + sx),
                   3);
        }
    image_clear(img);
    *img = turned;
    return ST_OK;
}
