/* core/image_webp.c: WebP header reader and decoder over libwebp. Of an animation the first frame is
 * shown on a black canvas (spec data.md 1.12): its chunks are repacked as a still picture, so the
 * demultiplexer is not needed. Format: WebP container specification, RFC 9649. */
#include <string.h>

#include <webp/decode.h>

#include "core/bytes.h"
#include "core/image_private.h"

enum { CHUNK_LIMIT = 4096, FLAG_ANIMATION = 0x02, FLAG_ALPHA = 0x10 };

struct chunk {
    const uint8_t *head; /* fourcc, size, payload */
    const uint8_t *data;
    uint32_t size;
};
/* What of the file makes the first picture. */
struct webp_layout {
    uint32_t canvas_width, canvas_height;
    uint32_t x, y, width, height; /* of the frame on the canvas */
    bool animated;
    struct chunk alpha, image; /* ALPH (may be absent), VP8 or VP8L; animations only */
};

static uint32_t load_u24le(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}

static bool is_fourcc(const struct chunk *c, const char *name)
{
    return memcmp(c->head, name, 4) == 0;
}

/* The next chunk; false at the end or when it does not fit. */
static bool next_chunk(struct cursor *c, struct chunk *out)
{
    out->head = cursor_take(c, 8);
    if (!out->head)
        return false;
    out->size = load_u32le(out->head + 4);
    out->data = cursor_take(c, out->size);
    if (out->data && (out->size & 1) && cursor_left(c) > 0)
        (void)cursor_take(c, 1); /* padding */
    return out->data != NULL;
}

/* Size from the first bytes of a VP8 or VP8L payload. */
static bool frame_size(const uint8_t *head, size_t left, uint32_t *width, uint32_t *height)
{
    const uint8_t *p = head + 8;

    if (memcmp(head, "VP8 ", 4) == 0 && left >= 10 && memcmp(p + 3, "\x9d\x01\x2a", 3) == 0) {
        *width = load_u16le(p + 6) & 0x3fff;
        *height = load_u16le(p + 8) & 0x3fff;
        return true;
    }
    if (memcmp(head, "VP8L", 4) == 0 && left >= 5 && p[0] == 0x2f) {
        const uint32_t bits = load_u32le(p + 1);
        *width = (bits & 0x3fff) + 1;
        *height = ((bits >> 14) & 0x3fff) + 1;
        return true;
    }
    return false;
}

static enum status read_frame(struct webp_layout *w, const struct chunk *anmf, struct error *err)
{
    struct chunk c;

    if (anmf->size < 16)
        return image_bad(err, "picture-undecodable", "WebP: ANMF of %u bytes",
                         (unsigned)anmf->size);
    w->x = 2 * load_u24le(anmf->data);
    w->y = 2 * load_u24le(anmf->data + 3);
    w->width = load_u24le(anmf->data + 6) + 1;
    w->height = load_u24le(anmf->data + 9) + 1;
    if ((uint64_t)w->x + w->width > w->canvas_width ||
        (uint64_t)w->y + w->height > w->canvas_height)
        return image_bad(err, "picture-undecodable", "WebP: frame outside the canvas");
    struct cursor in = cursor_make(anmf->data + 16, anmf->size - 16, 0);
    while (next_chunk(&in, &c)) {
        if (is_fourcc(&c, "ALPH") && !w->image.head)
            w->alpha = c;
        if ((is_fourcc(&c, "VP8 ") || is_fourcc(&c, "VP8L")) && !w->image.head)
            w->image = c;
    }
    if (!w->image.head)
        return image_bad(err, "picture-undecodable", "WebP: first frame has no picture");
    return ST_OK;
}

/* The first ANMF of an animation. */
static enum status find_frame(struct webp_layout *w, struct cursor c, struct error *err)
{
    struct chunk chunk;

    for (unsigned n = 0; next_chunk(&c, &chunk); n++) {
        if (n >= CHUNK_LIMIT)
            return image_bad(err, "picture-undecodable", "WebP: more than %d chunks", CHUNK_LIMIT);
        if (is_fourcc(&chunk, "ANMF"))
            return read_frame(w, &chunk, err);
    }
    return image_bad(err, "picture-truncated", "WebP: no whole frame");
}

static enum status read_layout(struct webp_layout *w, const struct image_job *job,
                               struct error *err)
{
    const uint8_t *data = job->data;
    const uint64_t riff = (uint64_t)load_u32le(data + 4) + 8;
    const size_t size = job->size;

    *w = (struct webp_layout){ 0 };
    if (size < 20)
        return image_bad(err, "picture-truncated", "WebP ends within its headers, at byte %zu",
                         size);
    if (memcmp(data + 12, "VP8X", 4) != 0) {
        if (!frame_size(data + 12, size - 20, &w->canvas_width, &w->canvas_height))
            return image_bad(err, "picture-undecodable", "byte 12: not a WebP picture chunk");
        return image_check_size(w->canvas_width, w->canvas_height, &job->opt.limits, err);
    }
    if (size < 30)
        return image_bad(err, "picture-truncated", "WebP ends within its headers, at byte %zu",
                         size);
    w->canvas_width = load_u24le(data + 24) + 1;
    w->canvas_height = load_u24le(data + 27) + 1;
    if (image_check_size(w->canvas_width, w->canvas_height, &job->opt.limits, err) != ST_OK)
        return ST_SKIP;
    if (!(data[20] & FLAG_ANIMATION))
        return ST_OK;
    w->animated = true;
    const uint64_t step = 20 + (uint64_t)load_u32le(data + 16) + (load_u32le(data + 16) & 1);
    const size_t end = riff < size ? (size_t)riff : size;
    if (step > end)
        return image_bad(err, "picture-truncated", "WebP: no whole frame");
    return find_frame(w, cursor_make(data + step, end - (size_t)step, step), err);
}

enum status image_probe_webp(struct image_job *job, struct error *err)
{
    struct webp_layout w;

    const enum status st = read_layout(&w, job, err);
    if (st != ST_OK)
        return st;
    job->info.width = w.canvas_width;
    job->info.height = w.canvas_height;
    return ST_OK;
}

static enum status append_chunk(struct buffer *b, const struct chunk *c, struct error *err)
{
    const enum status st = buffer_append(b, c->head, 8 + (size_t)c->size, err);
    return st == ST_OK && (c->size & 1) ? buffer_append(b, "", 1, err) : st;
}

/* The first frame as a file of its own. */
static enum status repack_frame(struct buffer *b, const struct webp_layout *w, struct error *err)
{
    uint8_t vp8x[18] = { 'V', 'P', '8', 'X', 10, 0, 0, 0, FLAG_ALPHA };
    enum status st = buffer_append(b, "RIFF\0\0\0\0WEBP", 12, err);

    store_u32le(vp8x + 12, w->width - 1); /* 24 bits; the fourth byte is overwritten */
    store_u16le(vp8x + 15, (uint16_t)(w->height - 1));
    vp8x[17] = (uint8_t)((w->height - 1) >> 16);
    if (st == ST_OK && w->alpha.head) {
        st = buffer_append(b, vp8x, sizeof vp8x, err);
        if (st == ST_OK)
            st = append_chunk(b, &w->alpha, err);
    }
    if (st == ST_OK)
        st = append_chunk(b, &w->image, err);
    if (st == ST_OK)
        store_u32le(b->data + 4, (uint32_t)(b->size - 8));
    return st;
}

static enum status webp_bad(struct error *err, VP8StatusCode code)
{
    if (code == VP8_STATUS_OUT_OF_MEMORY)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: WebP decoder");
    if (code == VP8_STATUS_NOT_ENOUGH_DATA)
        return image_bad(err, "picture-truncated", "WebP ends early");
    return image_bad(err, "picture-undecodable", "WebP: decoder status %d", (int)code);
}

/* Decodes a still file of exactly width x height into `pixels` of `stride` bytes a row. */
static enum status decode_still(uint8_t *pixels, size_t stride, size_t pixels_size, bool alpha,
                                uint32_t width, uint32_t height, const uint8_t *data, size_t size,
                                struct error *err)
{
    WebPDecoderConfig config;

    if (!WebPInitDecoderConfig(&config))
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "libwebp of another version");
    VP8StatusCode code = WebPGetFeatures(data, size, &config.input);
    if (code != VP8_STATUS_OK)
        return webp_bad(err, code);
    if (config.input.width != (int)width || config.input.height != (int)height)
        return image_bad(err, "picture-undecodable", "WebP: canvas and picture differ in size");
    config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = pixels;
    config.output.u.RGBA.stride = (int)stride;
    config.output.u.RGBA.size = pixels_size;
    code = WebPDecode(data, size, &config);
    WebPFreeDecBuffer(&config.output);
    return code == VP8_STATUS_OK ? ST_OK : webp_bad(err, code);
}

/* Alpha and offset want a copy on the way. */
static enum status decode_on_canvas(struct image *out, const struct webp_layout *w, bool white,
                                    const uint8_t *data, size_t size, struct error *err)
{
    const size_t width = w->animated ? w->width : out->width;
    const size_t height = w->animated ? w->height : out->height;
    uint8_t *rgba = mem_alloc(4 * width * height);

    if (!rgba)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: WebP picture");
    const enum status st = decode_still(rgba, 4 * width, 4 * width * height, true, (uint32_t)width,
                                        (uint32_t)height, data, size, err);
    memset(out->rgb, white ? 255 : 0, (size_t)out->width * out->height * 3);
    for (size_t y = 0; st == ST_OK && y < height; y++) {
        uint8_t *rgb = out->rgb + 3 * ((w->y + y) * out->width + w->x);
        const uint8_t *p = rgba + 4 * y * width;
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < 3; c++)
                rgb[3 * x + c] =
                    white ? image_over_white(p[4 * x + c], p[4 * x + 3]) : p[4 * x + c];
    }
    mem_free(rgba);
    return st;
}

enum status image_decode_webp(struct image *out, struct image_job *job, struct error *err)
{
    const bool white = job->opt.alpha == IMAGE_ALPHA_ON_WHITE;
    struct buffer still = { 0 };
    struct webp_layout w;

    enum status st = read_layout(&w, job, err);
    if (st != ST_OK)
        return st;
    if (w.animated) {
        st = repack_frame(&still, &w, err);
        job->notes++;
        if (st == ST_OK)
            st = decode_on_canvas(out, &w, white, still.data, still.size, err);
    } else if (white) {
        st = decode_on_canvas(out, &w, white, job->data, job->size, err);
    } else {
        const size_t stride = 3 * (size_t)out->width;
        st = decode_still(out->rgb, stride, stride * out->height, false, out->width, out->height,
                          job->data, job->size, err);
    }
    buffer_clear(&still);
    return st;
}
