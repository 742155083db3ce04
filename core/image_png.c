/* core/image_png.c: PNG header reader and decoder over libspng. The library sees only the chunks that
 * make pixels: signature, IHDR, PLTE, IDAT, tRNS where alpha is asked for, IEND. So compressed text,
 * profiles and broken ancillary chunks can neither cost anything nor lose the picture; checksums of
 * critical chunks are checked here. Format: PNG specification, second edition. */
#include <string.h>

#include <spng.h>
#include <zlib.h>

#include "core/bytes.h"
#include "core/image_private.h"

enum { PNG_GREY = 0, PNG_RGB = 2, PNG_PALETTE = 3, PNG_GREY_ALPHA = 4, PNG_RGBA = 6 };

static bool depth_is_legal(unsigned type, unsigned depth)
{
    switch (type) {
    case PNG_GREY:
        return depth == 1 || depth == 2 || depth == 4 || depth == 8 || depth == 16;
    case PNG_PALETTE:
        return depth == 1 || depth == 2 || depth == 4 || depth == 8;
    case PNG_RGB:
    case PNG_GREY_ALPHA:
    case PNG_RGBA:
        return depth == 8 || depth == 16;
    default:
        return false;
    }
}

enum status image_probe_png(struct image_job *job, struct error *err)
{
    const uint8_t *p = job->data + 8;

    if (job->size < 33)
        return image_bad(err, "picture-truncated", "PNG ends within IHDR, at byte %zu", job->size);
    if (load_u32be(p) != 13 || memcmp(p + 4, "IHDR", 4) != 0)
        return image_bad(err, "picture-undecodable", "byte 8: PNG does not begin with IHDR");
    if (crc32(0, p + 4, 17) != load_u32be(p + 21))
        return image_bad(err, "picture-corrupt", "byte 29: checksum of IHDR");
    const uint32_t width = load_u32be(p + 8), height = load_u32be(p + 12);
    if (image_check_size(width, height, &job->opt.limits, err) != ST_OK)
        return ST_SKIP;
    if (!depth_is_legal(p[17], p[16]) || p[18] != 0 || p[19] != 0 || p[20] > 1)
        return image_bad(err, "picture-undecodable",
                         "IHDR: colour type %u, depth %u, compression %u, filter %u, interlace %u",
                         (unsigned)p[17], (unsigned)p[16], (unsigned)p[18], (unsigned)p[19],
                         (unsigned)p[20]);
    job->info.width = width;
    job->info.height = height;
    return ST_OK;
}

/* ---- the chunks that make pixels ---- */

struct png_reader {
    struct image_job *job;
    spng_ctx *spng;
    struct buffer bytes; /* what the library sees */
    struct spng_ihdr ihdr;
    struct spng_plte plte;
    uint8_t alpha[256]; /* of palette entries */
    bool keyed;         /* one grey or RGB value is transparent */
    uint16_t key[3];
    uint8_t *row, *rgba; /* one row as stored, and converted */
};

static bool is_letter(uint8_t b)
{
    return (b >= 'A' && b <= 'Z') || (b >= 'a' && b <= 'z');
}

/* tRNS, if it makes sense; a bad ancillary chunk is skipped. */
static void read_transparency(struct png_reader *r, const uint8_t *p, uint32_t length)
{
    const unsigned type = r->job->data[25];

    if (type == PNG_PALETTE && length >= 1 && length <= 256)
        memcpy(r->alpha, p, length);
    if ((type == PNG_GREY && length == 2) || (type == PNG_RGB && length == 6)) {
        r->keyed = true;
        for (size_t i = 0; i < length / 2; i++)
            r->key[i] = load_u16be(p + 2 * i);
    }
}

/* One whole chunk at data[at..]: kept, noted or passed over. */
static enum status take_chunk(struct png_reader *r, size_t at, uint32_t length, struct error *err)
{
    const uint8_t *p = r->job->data + at;
    const bool good =
        crc32(crc32(0, p + 4, 4), length ? p + 8 : NULL, length) == load_u32be(p + 8 + length);

    for (int i = 4; i < 8; i++)
        if (!is_letter(p[i]))
            return image_bad(err, "picture-undecodable", "byte %zu: chunk type", at + 4);
    if (p[4] & 0x20) { /* ancillary */
        if (!good)
            r->job->notes++;
        else if (memcmp(p + 4, "tRNS", 4) == 0)
            read_transparency(r, p + 8, length);
        return ST_OK;
    }
    if (!good)
        return image_bad(err, "picture-corrupt", "byte %zu: checksum of %.4s", at,
                         (const char *)p + 4);
    return buffer_append(&r->bytes, p, 12 + (size_t)length, err);
}

static enum status gather_chunks(struct png_reader *r, struct error *err)
{
    static const uint8_t end[] = { 0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82 };
    const uint8_t *data = r->job->data;
    const size_t size = r->job->size;
    bool in_data = false;
    size_t at = 8;

    if (buffer_reserve(&r->bytes, size + sizeof end, err) != ST_OK ||
        buffer_append(&r->bytes, data, 8, err) != ST_OK)
        return ST_FAIL;
    while (at + 8 <= size) {
        const uint32_t length = load_u32be(data + at);
        const bool is_data = memcmp(data + at + 4, "IDAT", 4) == 0;
        if ((in_data && !is_data) || memcmp(data + at + 4, "IEND", 4) == 0)
            break; /* the pixels are complete: nothing after them matters */
        if (length > size - at - 8 || size - at - 8 - length < 4)
            return image_bad(err, "picture-truncated", "PNG ends within a chunk, at byte %zu",
                             size);
        const enum status st = take_chunk(r, at, length, err);
        if (st != ST_OK)
            return st;
        in_data = in_data || is_data;
        at += 12 + (size_t)length;
    }
    if (at + 8 > size || memcmp(data + at + 4, "IEND", 4) != 0)
        r->job->notes++;
    return buffer_append(&r->bytes, end, sizeof end, err);
}

/* ---- pixels ---- */

static unsigned sample_at(const uint8_t *row, size_t i, unsigned depth)
{
    if (depth >= 8)
        return row[i * (depth / 8)]; /* 16 bits: the high byte */
    const size_t bit = i * depth;
    return (unsigned)(row[bit / 8] >> (8 - depth - bit % 8)) & ((1u << depth) - 1);
}

static unsigned full_sample_at(const uint8_t *row, size_t i, unsigned depth)
{
    return depth == 16 ? load_u16be(row + 2 * i) : sample_at(row, i, depth);
}

/* `n` pixels of a stored row to RGBA. */
static void convert_row(const struct png_reader *r, size_t n)
{
    static const uint8_t grey_scale[] = { 0, 255, 85, 0, 17, 0, 0, 0, 1 };
    static const uint8_t channels_of[] = { 1, 0, 3, 1, 2, 0, 4 };
    const unsigned depth = r->ihdr.bit_depth, type = r->ihdr.color_type;
    const size_t channels = channels_of[type];
    const unsigned scale = type == PNG_GREY && depth < 8 ? grey_scale[depth] : 1;

    for (size_t x = 0; x < n; x++) {
        uint8_t *out = r->rgba + 4 * x;
        const size_t i = x * channels;
        const unsigned v = sample_at(r->row, i, depth);
        if (type == PNG_PALETTE) {
            const bool known = v < r->plte.n_entries;
            const struct spng_plte_entry *e = &r->plte.entries[v];
            out[0] = known ? e->red : 0;
            out[1] = known ? e->green : 0;
            out[2] = known ? e->blue : 0;
            out[3] = r->alpha[v];
            continue;
        }
        const bool colour = channels >= 3;
        out[0] = (uint8_t)(v * scale);
        out[1] = colour ? (uint8_t)sample_at(r->row, i + 1, depth) : out[0];
        out[2] = colour ? (uint8_t)sample_at(r->row, i + 2, depth) : out[0];
        out[3] = 255;
        if (channels == 2 || channels == 4)
            out[3] = (uint8_t)sample_at(r->row, i + channels - 1, depth);
        bool keyed = r->keyed;
        for (size_t c = 0; keyed && c < channels; c++)
            keyed = full_sample_at(r->row, i + c, depth) == r->key[c];
        if (keyed)
            out[3] = 0;
    }
}

/* Converted pixels to their places: Adam7 pass 0..6, or the whole row. */
static void place_row(struct image *out, const struct png_reader *r, uint32_t y, unsigned x0,
                      unsigned step, size_t n)
{
    const bool white = r->job->opt.alpha == IMAGE_ALPHA_ON_WHITE;

    for (size_t i = 0; i < n; i++) {
        uint8_t *rgb = out->rgb + 3 * ((size_t)y * out->width + x0 + i * step);
        const uint8_t *p = r->rgba + 4 * i;
        for (size_t c = 0; c < 3; c++)
            rgb[c] = white ? image_over_white(p[c], p[3]) : p[c];
    }
}

static enum status spng_bad(struct error *err, int code)
{
    if (code == SPNG_EMEM)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: PNG decoder");
    const bool early = code == SPNG_EIDAT_TOO_SHORT || code == SPNG_IO_EOF || code == SPNG_EOF;
    return image_bad(err, early ? "picture-truncated" : "picture-undecodable", "PNG: %s",
                     spng_strerror(code));
}

/* Rows come as stored, pass by pass where interlaced; a 16-bit picture never lies in memory whole. */
static enum status decode_rows(struct image *out, struct png_reader *r, struct error *err)
{
    static const uint8_t first[] = { 0, 4, 0, 2, 0, 1, 0 }, step[] = { 8, 8, 4, 4, 2, 2, 1 };
    struct spng_row_info info;
    int code = spng_decode_image(r->spng, NULL, 0, SPNG_FMT_RAW, SPNG_DECODE_PROGRESSIVE);
    size_t row_bytes = 0;

    if (code == 0)
        code = spng_decoded_image_size(r->spng, SPNG_FMT_RAW, &row_bytes);
    if (code != 0)
        return spng_bad(err, code);
    row_bytes /= r->ihdr.height;
    r->row = mem_calloc(row_bytes + 8, 1);
    r->rgba = mem_calloc(r->ihdr.width, 4);
    if (!r->row || !r->rgba)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: PNG row");
    while ((code = spng_get_row_info(r->spng, &info)) == 0) {
        const unsigned pass = r->ihdr.interlace_method ? (unsigned)info.pass : 6;
        const unsigned x0 = first[pass], dx = step[pass];
        code = spng_decode_scanline(r->spng, r->row, row_bytes);
        if (code != 0 && code != SPNG_EOI)
            break;
        const size_t n = (r->ihdr.width - x0 + dx - 1) / dx;
        convert_row(r, n);
        place_row(out, r, info.row_num, x0, dx, n);
        if (code == SPNG_EOI)
            return ST_OK;
    }
    return spng_bad(err, code);
}

/* spng reallocates by bytes. */
static void *png_realloc(void *p, size_t size)
{
    return mem_realloc(p, size, 1);
}

static enum status open_spng(struct png_reader *r, struct error *err)
{
    struct spng_alloc alloc = { mem_alloc, png_realloc, mem_calloc, mem_free };

    r->spng = spng_ctx_new2(&alloc, 0);
    if (!r->spng)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: PNG decoder");
    int code = spng_set_png_buffer(r->spng, r->bytes.data, r->bytes.size);
    if (code == 0)
        code = spng_get_ihdr(r->spng, &r->ihdr);
    if (code == 0 && r->ihdr.color_type == PNG_PALETTE)
        code = spng_get_plte(r->spng, &r->plte);
    return code == 0 ? ST_OK : spng_bad(err, code);
}

enum status image_decode_png(struct image *out, struct image_job *job, struct error *err)
{
    struct png_reader r = { .job = job };

    memset(r.alpha, 255, sizeof r.alpha);
    enum status st = gather_chunks(&r, err);
    if (st == ST_OK)
        st = open_spng(&r, err);
    if (st == ST_OK)
        st = decode_rows(out, &r, err);
    spng_ctx_free(r.spng);
    buffer_clear(&r.bytes);
    mem_free(r.row);
    mem_free(r.rgba);
    return st;
}
