/* core/image_gif.c: GIF header reader and decoder over giflib; first frame only, record by record, so
 * that a file of a million frames costs as much as its first. The canvas is the logical screen,
 * enlarged where the frame sticks out, filled with the frame's transparent index or else index 0 (spec
 * data.md 1.12). Format: GIF89a specification. */
#include <string.h>

#include <gif_lib.h>

#include "core/bytes.h"
#include "core/image_private.h"

struct gif_frame {
    uint32_t x, y, width, height;
};

static bool skip_blocks(struct cursor *c)
{
    uint8_t n = 0;

    while (get_u8(c, &n) && n != 0)
        if (!cursor_take(c, n))
            return false;
    return !c->failed;
}

/* Walks to the first image descriptor. */
static enum status find_frame(struct gif_frame *f, struct cursor *c, struct error *err)
{
    uint8_t kind = 0, label = 0;

    while (get_u8(c, &kind)) {
        if (kind == 0x2c) {
            const uint8_t *p = cursor_take(c, 9);
            if (!p)
                break;
            *f = (struct gif_frame){ load_u16le(p), load_u16le(p + 2), load_u16le(p + 4),
                                     load_u16le(p + 6) };
            return ST_OK;
        }
        if (kind == 0x21) {
            if (!get_u8(c, &label) || !skip_blocks(c))
                break;
            continue;
        }
        if (kind == 0x3b)
            return image_bad(err, "picture-undecodable", "GIF without a frame");
        return image_bad(err, "picture-undecodable", "byte %llu: GIF block 0x%02x",
                         (unsigned long long)cursor_offset(c) - 1, (unsigned)kind);
    }
    return image_bad(err, "picture-truncated", "GIF ends before its first frame");
}

enum status image_probe_gif(struct image_job *job, struct error *err)
{
    struct cursor c = cursor_make(job->data, job->size, 0);
    const uint8_t *p = cursor_take(&c, 13);
    struct gif_frame f = { 0 };

    if (!p)
        return image_bad(err, "picture-truncated", "GIF ends within its header");
    uint32_t width = load_u16le(p + 6), height = load_u16le(p + 8);
    if (width > 0 && height > 0 && image_check_size(width, height, &job->opt.limits, err) != ST_OK)
        return ST_SKIP;
    if ((p[10] & 0x80) && !cursor_take(&c, (size_t)3 << ((p[10] & 7) + 1)))
        return image_bad(err, "picture-truncated", "GIF ends within its palette");
    if (find_frame(&f, &c, err) != ST_OK)
        return ST_SKIP;
    if (f.width == 0 || f.height == 0)
        return image_bad(err, "picture-undecodable", "GIF frame of %u x %u", (unsigned)f.width,
                         (unsigned)f.height);
    width = f.x + f.width > width ? f.x + f.width : width;
    height = f.y + f.height > height ? f.y + f.height : height;
    job->info.width = width;
    job->info.height = height;
    return image_check_size(width, height, &job->opt.limits, err);
}

static int read_bytes(GifFileType *gif, GifByteType *out, int n)
{
    struct cursor *c = gif->UserData;
    const size_t want = n > 0 ? (size_t)n : 0;
    const size_t take = want < cursor_left(c) ? want : cursor_left(c);

    if (take > 0)
        memcpy(out, cursor_take(c, take), take);
    return (int)take;
}

static enum status gif_bad(struct error *err, const GifFileType *gif, int code)
{
    const int why = gif ? gif->Error : code;
    const char *text = GifErrorString(why);

    if (why == D_GIF_ERR_NOT_ENOUGH_MEM)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: GIF decoder");
    const bool early = why == D_GIF_ERR_READ_FAILED || why == D_GIF_ERR_EOF_TOO_SOON;
    return image_bad(err, early ? "picture-truncated" : "picture-undecodable", "GIF: %s",
                     text ? text : "unknown error");
}

/* Records up to the first image; *transparent is the index of the graphic control before it, or -1. */
static enum status seek_frame(GifFileType *gif, int *transparent, struct error *err)
{
    GifRecordType type = UNDEFINED_RECORD_TYPE;

    *transparent = -1;
    while (DGifGetRecordType(gif, &type) == GIF_OK) {
        GifByteType *block = NULL;
        int label = 0;
        if (type == IMAGE_DESC_RECORD_TYPE)
            return DGifGetImageDesc(gif) == GIF_OK ? ST_OK : gif_bad(err, gif, 0);
        if (type != EXTENSION_RECORD_TYPE)
            return image_bad(err, "picture-undecodable", "GIF without a frame");
        if (DGifGetExtension(gif, &label, &block) != GIF_OK)
            break;
        GraphicsControlBlock control;
        if (label == GRAPHICS_EXT_FUNC_CODE && block &&
            DGifExtensionToGCB(block[0], block + 1, &control) == GIF_OK)
            *transparent = control.TransparentColor;
        while (block)
            if (DGifGetExtensionNext(gif, &block) != GIF_OK)
                return gif_bad(err, gif, 0);
    }
    return gif_bad(err, gif, 0);
}

/* Lines of the frame into an index canvas; four passes where interlaced. */
static enum status read_lines(uint8_t *canvas, size_t canvas_width, GifFileType *gif,
                              struct error *err)
{
    static const int first[] = { 0, 4, 2, 1 }, step[] = { 8, 8, 4, 2 };
    const GifImageDesc *d = &gif->Image;
    const int passes = d->Interlace ? 4 : 1;

    for (int pass = 0; pass < passes; pass++) {
        const int begin = d->Interlace ? first[pass] : 0, by = d->Interlace ? step[pass] : 1;
        for (int y = begin; y < d->Height; y += by) {
            uint8_t *line = canvas + (size_t)(d->Top + y) * canvas_width + (size_t)d->Left;
            if (DGifGetLine(gif, line, d->Width) != GIF_OK)
                return gif_bad(err, gif, 0);
        }
    }
    return ST_OK;
}

/* Indices to colours: the frame's palette, else the screen's, else grey. Past its end: black. */
static void colour(struct image *out, const uint8_t *canvas, const GifFileType *gif,
                   int transparent, bool white)
{
    const ColorMapObject *map = gif->Image.ColorMap ? gif->Image.ColorMap : gif->SColorMap;
    uint8_t table[256][3];

    for (int i = 0; i < 256; i++) {
        const bool known = map && i < map->ColorCount;
        const uint8_t other = map ? 0 : (uint8_t)i;
        const bool clear = white && i == transparent;
        table[i][0] = clear ? 255 : known ? map->Colors[i].Red : other;
        table[i][1] = clear ? 255 : known ? map->Colors[i].Green : other;
        table[i][2] = clear ? 255 : known ? map->Colors[i].Blue : other;
    }
    const size_t pixels = (size_t)out->width * out->height;
    for (size_t i = 0; i < pixels; i++)
        memcpy(out->rgb + 3 * i, table[canvas[i]], 3);
}

enum status image_decode_gif(struct image *out, struct image_job *job, struct error *err)
{
    struct cursor c = cursor_make(job->data, job->size, 0);
    const size_t pixels = (size_t)out->width * out->height;
    int code = 0, transparent = -1;
    enum status st = ST_FAIL;

    uint8_t *canvas = mem_alloc(pixels);
    GifFileType *gif = canvas ? DGifOpen(&c, read_bytes, &code) : NULL;
    if (!canvas) {
        error_set(err, st, CAUSE_NOMEM, "out of memory: GIF canvas");
        goto done;
    }
    if (!gif) {
        st = gif_bad(err, NULL, code);
        goto done;
    }
    st = seek_frame(gif, &transparent, err);
    if (st != ST_OK)
        goto done;
    const GifImageDesc *d = &gif->Image;
    if ((uint32_t)(d->Left + d->Width) > out->width ||
        (uint32_t)(d->Top + d->Height) > out->height) {
        st = image_bad(err, "picture-undecodable", "GIF: decoder and header disagree");
        goto done;
    }
    memset(canvas, transparent >= 0 ? transparent : 0, pixels);
    st = read_lines(canvas, out->width, gif, err);
    if (st == ST_OK)
        colour(out, canvas, gif, transparent, job->opt.alpha == IMAGE_ALPHA_ON_WHITE);
done:
    if (gif)
        DGifCloseFile(gif, &code);
    mem_free(canvas);
    return st;
}
