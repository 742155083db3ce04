/* core/image.h: pictures from untrusted bytes. A header classifier of our own looks first, limits are
 * checked, only then a library decodes. Policy: spec data.md 1.12; numbers: goldens/data/pictures.
 * Calls are independent of each other and thread-safe. */
#ifndef DEEM_CORE_IMAGE_H
#define DEEM_CORE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

enum image_codec {
    IMAGE_UNKNOWN = 0,
    IMAGE_JPEG = 1, /* values are stored in shards: never renumbered */
    IMAGE_PNG = 2,
    IMAGE_WEBP = 3,
    IMAGE_GIF = 4,
    IMAGE_BMP = 5,
};
const char *image_codec_name(enum image_codec c);      /* "jpeg", ... */
const char *image_codec_extension(enum image_codec c); /* "jpg", ... */

struct image_limits {
    uint64_t max_bytes;  /* encoded; default 32 MiB */
    uint32_t max_side;   /* default 16,384 */
    uint64_t max_pixels; /* default 67,108,864 */
    unsigned max_scans;  /* JPEG; default 100 */
    uint64_t max_memory; /* of a decoder; default 512 MiB */
};
void image_limits_init(struct image_limits *l);

struct image_info {
    enum image_codec codec;
    uint32_t width, height; /* of the canvas that decoding gives */
    int components;         /* JPEG: 1, 3 or 4 */
    bool progressive, arithmetic;
};
/* Reads headers only. ST_SKIP with code and text: not an accepted picture (code "picture-type",
 * text says what it looks like: "looks like HTML", "AVIF"), unsupported process, over a limit
 * ("picture-pixels", "picture-side"), damaged header. ST_FAIL never. `limits` NULL = defaults. */
enum status image_probe(struct image_info *out, const void *data, size_t size,
                        const struct image_limits *limits, struct error *err);

struct image {
    uint8_t *rgb; /* height x width x 3, row-major, no padding; owned */
    uint32_t width, height;
};
void image_clear(struct image *img);

enum image_alpha { IMAGE_ALPHA_DISCARD, IMAGE_ALPHA_ON_WHITE };
struct image_decode_options {
    struct image_limits limits;
    enum image_alpha alpha;
    bool apply_exif;      /* default false: orientation is ignored */
    unsigned jpeg_shrink; /* 0..3: libjpeg scaling by 1/2^k (fast mode); default 0 */
};
void image_decode_options_init(struct image_decode_options *opt);
/* ST_SKIP: bad picture with code ("picture-truncated", "picture-corrupt", "picture-undecodable",
 * ...). ST_FAIL: CAUSE_NOMEM. `notes` (may be NULL) counts tolerated warnings. */
enum status image_decode(struct image *out, const void *data, size_t size,
                         const struct image_decode_options *opt, unsigned *notes,
                         struct error *err);

/* What a picture needs to be stored. JPEG: verified by reading all coefficients (same verdict as a
 * full decode); progressive and arithmetic ones rewritten as baseline with optimised Huffman tables
 * unless a coefficient is unfinished (design.md 5). Others: a full decode. */
enum image_jpeg_policy { IMAGE_JPEG_KEEP, IMAGE_JPEG_BASELINE, IMAGE_JPEG_OPTIMISE };
struct image_store_options {
    struct image_limits limits;
    enum image_jpeg_policy jpeg; /* default baseline */
    uint32_t store_side; /* --max-side: larger pictures are re-encoded (data.md 6.4); 0 off */
};
void image_store_options_init(struct image_store_options *opt);
/* On ST_OK *info describes the stored bytes and *stored is filled when they differ from the input
 * (size 0: keep the input's bytes). ST_SKIP: bad picture, as image_decode. ST_FAIL: CAUSE_NOMEM. */
enum status image_prepare(struct image_info *info, struct buffer *stored, const void *data,
                          size_t size, const struct image_store_options *opt, unsigned *notes,
                          struct error *err);

enum status image_encode_jpeg(struct buffer *out, const struct image *img, int quality,
                              bool subsample_420, struct error *err);
enum status image_encode_png(struct buffer *out, const struct image *img, struct error *err);

#endif
