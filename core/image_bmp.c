/* core/image_bmp.c: BMP header reader and decoder, our own. Headers of 12 bytes (OS/2) and 40 bytes up;
 * 1, 4, 8, 16, 24, 32 bits; bit masks; run lengths of 4 and 8 bits. Alpha is dropped unless a mask
 * names it and white is asked for. Format: Windows bitmap, MSDN. */
#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image_private.h"

enum { BMP_RGB = 0, BMP_RLE8 = 1, BMP_RLE4 = 2, BMP_BITFIELDS = 3, BMP_ALPHABITFIELDS = 6 };

struct bmp {
    uint32_t header_bytes, data_at, width, height, compression, bits;
    bool top_down;
    uint32_t mask[4]; /* red, green, blue, alpha */
    uint8_t palette[256][3];
};

static enum status read_masks(struct bmp *b, const struct image_job *job, struct error *err)
{
    static const uint32_t mask16[4] = { 0x7c00, 0x03e0, 0x001f, 0 };
    static const uint32_t mask32[4] = { 0xff0000, 0xff00, 0xff, 0 };
    const size_t n = b->header_bytes >= 56 || b->compression == BMP_ALPHABITFIELDS ? 4 : 3;

    if (b->bits != 16 && b->bits != 32)
        return ST_OK;
    memcpy(b->mask, b->bits == 16 ? mask16 : mask32, sizeof b->mask);
    if (b->compression == BMP_RGB)
        return ST_OK;
    if (job->size < 14 + 40 + 4 * n)
        return image_bad(err, "picture-truncated", "BMP ends within its masks");
    for (size_t i = 0; i < n; i++) {
        const uint32_t m = load_u32le(job->data + 54 + 4 * i);
        const uint32_t low = m & (0u - m);
        if ((m & (m + low)) != 0 || (m == 0 && i < 3) || (b->bits == 16 && m > 0xffff))
            return image_bad(err, "picture-unsupported", "BMP colour mask 0x%08x", (unsigned)m);
        b->mask[i] = m;
    }
    return ST_OK;
}

static enum status check_kind(const struct bmp *b, struct error *err)
{
    const uint32_t bits = b->bits, c = b->compression;
    const bool masks = c == BMP_BITFIELDS || c == BMP_ALPHABITFIELDS;
    const bool plain = c == BMP_RGB && (bits == 1 || bits == 4 || bits == 8 || bits == 16 ||
                                        bits == 24 || bits == 32);
    const bool runs =
        ((c == BMP_RLE8 && bits == 8) || (c == BMP_RLE4 && bits == 4)) && !b->top_down;

    if (!plain && !runs && !(masks && (bits == 16 || bits == 32)))
        return image_bad(err, "picture-unsupported", "BMP of %u bits, compression %u",
                         (unsigned)bits, (unsigned)c);
    return ST_OK;
}

static enum status read_header(struct bmp *b, const struct image_job *job, struct error *err)
{
    const uint8_t *p = job->data;

    *b = (struct bmp){ .header_bytes = load_u32le(p + 14), .data_at = load_u32le(p + 10) };
    if (b->header_bytes != 12 && (b->header_bytes < 40 || b->header_bytes > 1024))
        return image_bad(err, "picture-undecodable", "BMP header of %u bytes",
                         (unsigned)b->header_bytes);
    if (job->size < 14 + (size_t)b->header_bytes)
        return image_bad(err, "picture-truncated", "BMP ends within its header");
    if (b->header_bytes == 12) {
        b->width = load_u16le(p + 18);
        b->height = load_u16le(p + 20);
        b->bits = load_u16le(p + 24);
    } else {
        const uint32_t h = load_u32le(p + 22);
        b->width = load_u32le(p + 18);
        b->top_down = (h & 0x80000000u) != 0;
        b->height = b->top_down ? 0u - h : h;
        b->bits = load_u16le(p + 28);
        b->compression = load_u32le(p + 30);
    }
    if (b->width > INT32_MAX || image_check_size(b->width, b->height, &job->opt.limits, err))
        return image_bad(err, "picture-undecodable", "BMP width %u", (unsigned)b->width);
    const enum status st = check_kind(b, err);
    return st == ST_OK ? read_masks(b, job, err) : st;
}

enum status image_probe_bmp(struct image_job *job, struct error *err)
{
    struct bmp b;

    if (job->size < 26)
        return image_bad(err, "picture-truncated", "BMP ends within its header");
    const enum status st = read_header(&b, job, err);
    if (st != ST_OK)
        return st;
    job->info.width = b.width;
    job->info.height = b.height;
    return ST_OK;
}

/* Palettes stand behind header and masks, 3 bytes an entry in OS/2 files, else 4. */
static enum status read_palette(struct bmp *b, const struct image_job *job, struct error *err)
{
    const size_t entry = b->header_bytes == 12 ? 3 : 4;
    uint32_t n = b->header_bytes == 12 ? 0 : load_u32le(job->data + 46);
    const size_t at = 14 + (size_t)b->header_bytes;

    n = n == 0 || n > 256 ? 1u << b->bits : n;
    const size_t room = job->size > at ? (job->size - at) / entry : 0;
    if (n > room)
        return image_bad(err, "picture-truncated", "BMP ends within its palette");
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *p = job->data + at + entry * i;
        b->palette[i][0] = p[2];
        b->palette[i][1] = p[1];
        b->palette[i][2] = p[0];
    }
    return ST_OK;
}

/* A masked field widened to 8 bits: v 255 div (largest v). */
static unsigned field(uint32_t pixel, uint32_t mask)
{
    const uint32_t low = mask & (0u - mask);

    if (mask == 0)
        return 255;
    return (unsigned)((uint64_t)((pixel & mask) / low) * 255 / (mask / low));
}

static void convert_row(uint8_t *rgb, const struct bmp *b, const uint8_t *row, bool white)
{
    for (size_t x = 0; x < b->width; x++, rgb += 3) {
        if (b->bits == 24) {
            rgb[0] = row[3 * x + 2];
            rgb[1] = row[3 * x + 1];
            rgb[2] = row[3 * x];
        } else if (b->bits >= 16) {
            const uint32_t v = b->bits == 16 ? load_u16le(row + 2 * x) : load_u32le(row + 4 * x);
            const unsigned a = white ? field(v, b->mask[3]) : 255;
            for (size_t c = 0; c < 3; c++)
                rgb[c] = image_over_white(field(v, b->mask[c]), a);
        } else {
            const size_t bit = x * b->bits;
            const unsigned shift = (unsigned)(8 - b->bits - bit % 8);
            const unsigned v = (unsigned)(row[bit / 8] >> shift) & ((1u << b->bits) - 1);
            memcpy(rgb, b->palette[v], 3);
        }
    }
}

static enum status decode_plain(struct image *out, const struct bmp *b, const struct image_job *job,
                                struct error *err)
{
    const uint64_t stride = ((uint64_t)b->width * b->bits + 31) / 32 * 4;
    const bool white = job->opt.alpha == IMAGE_ALPHA_ON_WHITE;
    const uint64_t row_bytes = ((uint64_t)b->width * b->bits + 7) / 8;
    const uint64_t need =
        stride * ((uint64_t)b->height - 1) + row_bytes; /* padding of the last row may lack */

    if (b->data_at > job->size || need > job->size - b->data_at)
        return image_bad(err, "picture-truncated", "BMP of %zu bytes, pixels end at byte %" PRIu64,
                         job->size, b->data_at + need);
    for (uint32_t y = 0; y < b->height; y++) {
        const uint32_t to = b->top_down ? y : b->height - 1 - y;
        convert_row(out->rgb + (size_t)to * out->width * 3, b,
                    job->data + b->data_at + (size_t)stride * y, white);
    }
    return ST_OK;
}

/* Run lengths paint palette indices, bottom row first, into a canvas of zeros. */
struct bmp_runs {
    struct cursor in;
    uint8_t *canvas;
    size_t x, y; /* y counts from the bottom */
    const struct bmp *b;
};

static void paint(struct bmp_runs *r, uint8_t index)
{
    if (r->x < r->b->width && r->y < r->b->height)
        r->canvas[(r->b->height - 1 - r->y) * r->b->width + r->x] = index;
    r->x++;
}

/* `n` indices as they stand, padded to an even byte count. */
static bool paint_literal(struct bmp_runs *r, unsigned n)
{
    const bool four = r->b->bits == 4;
    const size_t bytes = four ? (n + 1) / 2 : n;
    const uint8_t *p = cursor_take(&r->in, bytes + (bytes & 1));

    for (unsigned i = 0; p && i < n; i++) {
        const uint8_t v = four ? p[i / 2] : p[i];
        paint(r, !four ? v : i % 2 ? v & 15 : v >> 4);
    }
    return p != NULL;
}

/* One command; *end is set by the end mark. */
static bool run_step(struct bmp_runs *r, bool *end)
{
    const uint8_t *p = cursor_take(&r->in, 2);

    if (!p)
        return false;
    if (p[0] > 0) {
        const bool four = r->b->bits == 4;
        for (unsigned i = 0; i < p[0]; i++)
            paint(r, !four ? p[1] : i % 2 ? p[1] & 15 : p[1] >> 4);
        return true;
    }
    if (p[1] >= 3)
        return paint_literal(r, p[1]);
    if (p[1] == 2) {
        const uint8_t *d = cursor_take(&r->in, 2);
        r->x += d ? d[0] : 0;
        r->y += d ? d[1] : 0;
        return d != NULL;
    }
    *end = p[1] == 1;
    if (p[1] == 0) {
        r->x = 0;
        r->y++;
    }
    return true;
}

static enum status decode_runs(struct image *out, const struct bmp *b, const struct image_job *job,
                               struct error *err)
{
    const size_t pixels = (size_t)b->width * b->height;
    struct bmp_runs r = { .b = b };
    bool end = false;

    if (b->data_at > job->size)
        return image_bad(err, "picture-truncated", "BMP of %zu bytes, pixels begin at byte %u",
                         job->size, (unsigned)b->data_at);
    r.in = cursor_make(job->data + b->data_at, job->size - b->data_at, b->data_at);
    r.canvas = mem_calloc(pixels, 1);
    if (!r.canvas)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: BMP canvas");
    while (!end && r.y < b->height)
        if (!run_step(&r, &end))
            break;
    /* the last row needs no end mark of its own */
    const bool whole = r.y >= b->height || (r.y == b->height - 1 && r.x >= b->width);
    for (size_t i = 0; i < pixels; i++)
        memcpy(out->rgb + 3 * i, b->palette[r.canvas[i]], 3);
    mem_free(r.canvas);
    return whole ? ST_OK : image_bad(err, "picture-truncated", "BMP runs end before the last row");
}

enum status image_decode_bmp(struct image *out, struct image_job *job, struct error *err)
{
    struct bmp b;

    enum status st = read_header(&b, job, err);
    if (st == ST_OK && b.bits <= 8)
        st = read_palette(&b, job, err);
    if (st != ST_OK)
        return st;
    return b.compression == BMP_RLE8 || b.compression == BMP_RLE4 ? decode_runs(out, &b, job, err)
                                                                  : decode_plain(out, &b, job, err);
}
