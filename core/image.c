/* core/image.c: see image.h. The table of codecs, the limits, and the way every picture takes:
 * probe, allocate, decode, turn. Formats are in image_{jpeg,png,webp,gif,bmp}.c. */
#include "core/image.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image_private.h"

static const struct {
    const char *name, *extension;
    image_probe_fn *probe;
    image_decode_fn *decode;
} codecs[] = {
    [IMAGE_UNKNOWN] = { "unknown", "bin", NULL, NULL },
    [IMAGE_JPEG] = { "jpeg", "jpg", image_probe_jpeg, image_decode_jpeg },
    [IMAGE_PNG] = { "png", "png", image_probe_png, image_decode_png },
    [IMAGE_WEBP] = { "webp", "webp", image_probe_webp, image_decode_webp },
    [IMAGE_GIF] = { "gif", "gif", image_probe_gif, image_decode_gif },
    [IMAGE_BMP] = { "bmp", "bmp", image_probe_bmp, image_decode_bmp },
};
enum {
    CODEC_COUNT = sizeof codecs / sizeof codecs[0],
    DECODER_BYTES = 1 << 20, /* what a decoder takes beside the canvas, and by pixel */
    DECODER_PIXEL_BYTES = 4,
};

const char *image_codec_name(enum image_codec c)
{
    return codecs[(unsigned)c < CODEC_COUNT ? c : IMAGE_UNKNOWN].name;
}

const char *image_codec_extension(enum image_codec c)
{
    return codecs[(unsigned)c < CODEC_COUNT ? c : IMAGE_UNKNOWN].extension;
}

void image_limits_init(struct image_limits *l)
{
    *l = (struct image_limits){ .max_bytes = 32u << 20,
                                .max_side = 16384,
                                .max_pixels = 67108864,
                                .max_scans = 100,
                                .max_memory = 512u << 20 };
}

void image_decode_options_init(struct image_decode_options *opt)
{
    *opt = (struct image_decode_options){ .alpha = IMAGE_ALPHA_DISCARD };
    image_limits_init(&opt->limits);
}

enum status image_bad(struct error *err, const char *code, const char *fmt, ...)
{
    static const char *const limits[] = { "picture-side", "picture-pixels", "picture-bytes",
                                          "picture-scans", "picture-memory" };
    enum cause cause = CAUSE_FORMAT;
    char text[400];
    va_list ap;

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        if (strcmp(code, limits[i]) == 0)
            cause = CAUSE_LIMIT;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    error_set(err, ST_SKIP, cause, "%s", text);
    return error_code(err, ST_SKIP, code);
}

enum status image_check_size(uint64_t width, uint64_t height, const struct image_limits *l,
                             struct error *err)
{
    uint64_t pixels = 0;

    if (width == 0 || height == 0)
        return image_bad(err, "picture-undecodable", "picture of %llu x %llu pixels",
                         (unsigned long long)width, (unsigned long long)height);
    if (!mul_ok_u64(width, height, &pixels) || pixels > l->max_pixels)
        return image_bad(err, "picture-pixels", "%llu x %llu pixels, allowed %llu",
                         (unsigned long long)width, (unsigned long long)height,
                         (unsigned long long)l->max_pixels);
    if (width > l->max_side || height > l->max_side)
        return image_bad(err, "picture-side", "%llu x %llu pixels, allowed side %u",
                         (unsigned long long)width, (unsigned long long)height,
                         (unsigned)l->max_side);
    return ST_OK;
}

enum status image_job_probe(struct image_job *job, struct error *err)
{
    if (job->size > job->opt.limits.max_bytes)
        return image_bad(err, "picture-bytes", "picture of %zu bytes, allowed %llu", job->size,
                         (unsigned long long)job->opt.limits.max_bytes);
    job->info = (struct image_info){ .codec = image_sniff(job->data, job->size) };
    if (job->info.codec == IMAGE_UNKNOWN)
        return image_bad(err, "picture-type", "not an accepted picture type: looks like %s",
                         image_looks_like(job->data, job->size));
    return codecs[job->info.codec].probe(job, err);
}

enum status image_probe(struct image_info *out, const void *data, size_t size,
                        const struct image_limits *limits, struct error *err)
{
    struct image_job job = { .data = data, .size = size };

    image_decode_options_init(&job.opt);
    if (limits)
        job.opt.limits = *limits;
    const enum status st = image_job_probe(&job, err);
    *out = job.info;
    return st;
}

enum status image_alloc(struct image *out, uint32_t width, uint32_t height, struct error *err)
{
    size_t bytes = 0;

    *out = (struct image){ .width = width, .height = height };
    if (mul_ok_size(width, height, &bytes) && mul_ok_size(bytes, 3, &bytes))
        out->rgb = mem_alloc(bytes);
    if (!out->rgb)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: picture of %u x %u",
                         (unsigned)width, (unsigned)height);
    return ST_OK;
}

void image_clear(struct image *img)
{
    if (!img)
        return;
    mem_free(img->rgb);
    *img = (struct image){ 0 };
}

/* giflib and libwebp take some failed allocations for bad data. No verdict may depend on memory, so what
 * they refuse is decoded once more where there is room for it. */
static enum status decode_again(struct image *out, struct image_job *job, struct error *err)
{
    const uint64_t pixels = (uint64_t)job->info.width * job->info.height;
    void *room = mem_alloc((size_t)(DECODER_BYTES + pixels * DECODER_PIXEL_BYTES));
    if (!room)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s decoder",
                         image_codec_name(job->info.codec));
    mem_free(room);
    return codecs[job->info.codec].decode(out, job, err);
}

static enum status decode(struct image *out, struct image_job *job, struct error *err)
{
    const bool vague = job->info.codec == IMAGE_GIF || job->info.codec == IMAGE_WEBP;
    const unsigned notes = job->notes;
    struct error first = { 0 };

    if (!vague)
        return codecs[job->info.codec].decode(out, job, err);
    enum status st = codecs[job->info.codec].decode(out, job, &first);
    if (st == ST_SKIP) {
        job->notes = notes;
        return decode_again(out, job, err);
    }
    if (st != ST_OK && err && err->cause == CAUSE_NONE)
        *err = first;
    return st;
}

enum status image_job_decode(struct image *out, struct image_job *job, struct error *err)
{
    const unsigned k = job->info.codec == IMAGE_JPEG ? job->opt.jpeg_shrink : 0;
    const uint32_t round_up = (1u << k) - 1; /* libjpeg rounds scaled sizes up */

    enum status st = image_alloc(out, (job->info.width + round_up) >> k,
                                 (job->info.height + round_up) >> k, err);
    if (st == ST_OK)
        st = decode(out, job, err);
    if (st == ST_OK && job->opt.apply_exif)
        st = image_orient(out, image_exif_orientation(job), err);
    if (st != ST_OK)
        image_clear(out);
    return st;
}

enum status image_decode(struct image *out, const void *data, size_t size,
                         const struct image_decode_options *opt, unsigned *notes, struct error *err)
{
    struct image_job job = { .data = data, .size = size };

    *out = (struct image){ 0 };
    if (opt)
        job.opt = *opt;
    else
        image_decode_options_init(&job.opt);
    if (job.opt.jpeg_shrink > 3)
        return error_set(err, ST_FAIL, CAUSE_ARG, "jpeg_shrink %u, allowed 0 to 3",
                         job.opt.jpeg_shrink);
    enum status st = image_job_probe(&job, err);
    if (st == ST_OK)
        st = image_job_decode(out, &job, err);
    if (notes)
        *notes = job.notes;
    return st;
}
