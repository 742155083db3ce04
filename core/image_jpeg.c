/* core/image_jpeg.c: JPEG header reader and decoder over libjpeg-turbo. Accurate integer DCT, fancy
 * upsampling and block smoothing are libjpeg's defaults and stay on: they are what Pillow gives.
 * Verdicts on warnings follow spec data.md 1.12: data that ends early or does not decode drops the
 * picture, oddities around the data are counted. Format: ITU-T T.81. */
#include <limits.h>
#include <string.h>

#include "core/bytes.h"
#include "core/image_jpeg_private.h"
/* jerror.h wants jpeglib.h first, or it numbers the messages differently */
#include <jerror.h>

enum {
    MARKER_SOF0 = 0xc0,
    MARKER_SOF1 = 0xc1,
    MARKER_SOF2 = 0xc2,
    MARKER_DHT = 0xc4,
    MARKER_JPG = 0xc8,
    MARKER_SOF9 = 0xc9,
    MARKER_SOF10 = 0xca,
    MARKER_DAC = 0xcc,
    MARKER_SOF15 = 0xcf,
    MARKER_RST0 = 0xd0,
    MARKER_RST7 = 0xd7,
    MARKER_SOI = 0xd8,
    MARKER_EOI = 0xd9,
    MARKER_SOS = 0xda,
    MARKER_SOF55 = 0xf7, /* JPEG-LS */
    MARKER_TEM = 0x01,
    MEMORY_SLACK = 64 << 20, /* libjpeg's row buffers beside the coefficients */
};

/* ---- header ---- */

/* The next marker as libjpeg finds it: garbage before 0xFF and fill bytes are passed over. */
static bool next_marker(struct cursor *c, uint8_t *marker)
{
    uint8_t b = 0;

    do {
        do {
            if (!get_u8(c, &b))
                return false;
        } while (b != 0xff);
        while (b == 0xff)
            if (!get_u8(c, &b))
                return false;
    } while (b == 0);
    *marker = b;
    return true;
}

/* Markers after the first SOS, so that a file of thousands of scans is refused before decoding. */
static unsigned count_scans(struct cursor c)
{
    unsigned scans = 1;
    uint8_t marker = 0, length[2];

    while (next_marker(&c, &marker) && marker != MARKER_EOI) {
        if ((marker >= MARKER_RST0 && marker <= MARKER_SOI) || marker == MARKER_TEM)
            continue;
        scans += marker == MARKER_SOS;
        if (!get_u8(&c, &length[0]) || !get_u8(&c, &length[1]))
            break;
        const unsigned n = load_u16be(length);
        if (n < 2 || !cursor_take(&c, n - 2))
            break;
    }
    return scans;
}

static bool is_sof(uint8_t m)
{
    return (m >= MARKER_SOF0 && m <= MARKER_SOF15 && m != MARKER_DHT && m != MARKER_JPG &&
            m != MARKER_DAC) ||
           m == MARKER_SOF55;
}

/* Sampling factors: whole multiples only, as the decoder's upsampler wants them; the bytes that all
 * coefficients take. */
static enum status read_sampling(struct image_job *job, const uint8_t *p, struct error *err)
{
    struct jpeg_header *j = &job->jpeg;
    const unsigned n = (unsigned)job->info.components;
    unsigned max_h = 1, max_v = 1;

    for (unsigned i = 0; i < n; i++) {
        j->h[i] = p[3 * i + 1] >> 4;
        j->v[i] = p[3 * i + 1] & 15;
        if (j->h[i] < 1 || j->h[i] > 4 || j->v[i] < 1 || j->v[i] > 4)
            return image_bad(err, "picture-undecodable", "sampling factors %u x %u",
                             (unsigned)j->h[i], (unsigned)j->v[i]);
        max_h = j->h[i] > max_h ? j->h[i] : max_h;
        max_v = j->v[i] > max_v ? j->v[i] : max_v;
    }
    j->coefficients = 0;
    for (unsigned i = 0; i < n; i++) {
        if (max_h % j->h[i] != 0 || max_v % j->v[i] != 0)
            return image_bad(err, "picture-unsupported", "fractional chroma sampling");
        const uint64_t mcus_x = (job->info.width + 8 * max_h - 1) / (8 * max_h);
        const uint64_t mcus_y = (job->info.height + 8 * max_v - 1) / (8 * max_v);
        j->coefficients += mcus_x * j->h[i] * mcus_y * j->v[i] * sizeof(JBLOCK);
    }
    return ST_OK;
}

static enum status read_frame(struct image_job *job, struct cursor *c, uint8_t marker,
                              struct error *err)
{
    const uint64_t at = cursor_offset(c) - 2;
    const uint8_t *p = cursor_take(c, 2);
    const size_t length = p ? load_u16be(p) : 0;

    p = length >= 8 ? cursor_take(c, length - 2) : NULL;
    if (!p)
        return image_bad(err, c->failed ? "picture-truncated" : "picture-undecodable",
                         "byte %llu: frame header of %zu bytes", (unsigned long long)at, length);
    if (marker == MARKER_SOF55)
        return image_bad(err, "picture-unsupported", "unsupported JPEG process JPEG-LS");
    if (marker != MARKER_SOF0 && marker != MARKER_SOF1 && marker != MARKER_SOF2 &&
        marker != MARKER_SOF9 && marker != MARKER_SOF10)
        return image_bad(err, "picture-unsupported", "unsupported JPEG process SOF%d",
                         marker - MARKER_SOF0);
    if (p[0] != 8)
        return image_bad(err, "picture-unsupported", "JPEG of %u bits a sample, allowed 8",
                         (unsigned)p[0]);
    const unsigned n = p[5];
    job->info.height = load_u16be(p + 1);
    job->info.width = load_u16be(p + 3);
    if (n != 1 && n != 3 && n != 4)
        return image_bad(err, "picture-unsupported", "JPEG of %u components, allowed 1, 3, 4", n);
    if (length != 8 + 3 * (size_t)n)
        return image_bad(err, "picture-undecodable", "byte %llu: frame header of %zu bytes",
                         (unsigned long long)at, length);
    if (image_check_size(job->info.width, job->info.height, &job->opt.limits, err) != ST_OK)
        return ST_SKIP;
    job->info.components = (int)n;
    job->info.progressive = marker == MARKER_SOF2 || marker == MARKER_SOF10;
    job->info.arithmetic = marker >= MARKER_SOF9;
    job->jpeg.sof = marker;
    return read_sampling(job, p + 6, err);
}

/* Limits of a file whose scans are gathered before pixels come out. */
static enum status check_scans(struct image_job *job, struct cursor c, struct error *err)
{
    const uint8_t *p = cursor_take(&c, 3);
    const struct image_limits *l = &job->opt.limits;

    job->jpeg.scans = 1;
    if (!p || (!job->info.progressive && p[2] >= job->info.components))
        return ST_OK;
    job->jpeg.scans = count_scans(c);
    if (job->jpeg.scans > l->max_scans)
        return image_bad(err, "picture-scans", "JPEG of %u scans, allowed %u", job->jpeg.scans,
                         l->max_scans);
    if (job->jpeg.coefficients > l->max_memory)
        return image_bad(err, "picture-memory", "coefficients of %llu bytes, allowed %llu",
                         (unsigned long long)job->jpeg.coefficients,
                         (unsigned long long)l->max_memory);
    return ST_OK;
}

enum status image_probe_jpeg(struct image_job *job, struct error *err)
{
    struct cursor c = cursor_make(job->data, job->size, 0);
    bool framed = false;
    uint8_t marker = 0;

    (void)cursor_take(&c, 2); /* SOI, seen by the classifier */
    while (next_marker(&c, &marker)) {
        if (marker == MARKER_EOI || marker == MARKER_SOI)
            return image_bad(err, "picture-undecodable", "byte %llu: marker 0x%02x before a scan",
                             (unsigned long long)cursor_offset(&c) - 2, (unsigned)marker);
        if ((marker >= MARKER_RST0 && marker <= MARKER_RST7) || marker == MARKER_TEM)
            continue;
        if (marker == MARKER_SOS && !framed)
            return image_bad(err, "picture-undecodable", "a scan before the frame header");
        if (marker == MARKER_SOS)
            return check_scans(job, c, err);
        if (is_sof(marker)) {
            if (framed)
                return image_bad(err, "picture-undecodable", "two frame headers");
            if (read_frame(job, &c, marker, err) != ST_OK)
                return ST_SKIP;
            framed = true;
            continue;
        }
        const uint8_t *p = cursor_take(&c, 2);
        const size_t length = p ? load_u16be(p) : 2;
        if (length < 2)
            return image_bad(err, "picture-undecodable", "byte %llu: segment of %zu bytes",
                             (unsigned long long)cursor_offset(&c) - 2, length);
        if (!p || !cursor_take(&c, length - 2))
            break;
    }
    return image_bad(err, "picture-truncated", "JPEG ends within its headers, at byte %zu",
                     job->size);
}

/* ---- libjpeg behind a guard ---- */

static const char *warning_code(int code)
{
    switch (code) {
    case JWRN_HIT_MARKER:
    case JWRN_JPEG_EOF:
        return "picture-truncated";
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_NOT_SEQUENTIAL:
        return "picture-corrupt";
    default:
        return NULL; /* extraneous bytes, unknown JFIF or Adobe versions, broken ICC */
    }
}

_Noreturn static void stop(struct jpeg_session *s, enum status st)
{
    s->st = st;
    longjmp(s->jump, 1);
}

static void on_error(j_common_ptr c)
{
    struct jpeg_session *s = c->client_data;
    char text[JMSG_LENGTH_MAX];

    c->err->format_message(c, text);
    if (c->err->msg_code == JERR_OUT_OF_MEMORY) {
        error_set(s->err, ST_FAIL, CAUSE_NOMEM, "JPEG decoder: %s", text);
        stop(s, ST_FAIL);
    }
    if (c->err->msg_code == JERR_NO_BACKING_STORE)
        stop(s, image_bad(s->err, "picture-memory", "JPEG decoder needs more than %llu bytes",
                          (unsigned long long)s->job->opt.limits.max_memory));
    stop(s, image_bad(s->err, "picture-undecodable", "JPEG: %s", text));
}

static void on_message(j_common_ptr c, int level)
{
    struct jpeg_session *s = c->client_data;
    char text[JMSG_LENGTH_MAX];

    if (level >= 0)
        return; /* trace messages */
    const char *code = warning_code(c->err->msg_code);
    if (!code) {
        s->job->notes++;
        return;
    }
    c->err->format_message(c, text);
    stop(s, image_bad(s->err, code, "JPEG: %s", text));
}

static void on_progress(j_common_ptr c)
{
    struct jpeg_session *s = c->client_data;

    if (c->is_decompressor && s->in.input_scan_number > (int)s->job->opt.limits.max_scans)
        stop(s, image_bad(s->err, "picture-scans", "JPEG of more than %u scans",
                          s->job->opt.limits.max_scans));
}

enum status jpeg_session_run(struct jpeg_session *s, jpeg_body_fn *body)
{
    s->st = ST_OK;
    s->in.err = s->out.err = jpeg_std_error(&s->errors);
    s->errors.error_exit = on_error;
    s->errors.emit_message = on_message;
    s->in.client_data = s->out.client_data = s;
    if (setjmp(s->jump) == 0) {
        jpeg_create_decompress(&s->in);
        jpeg_create_compress(&s->out);
        s->progress.progress_monitor = on_progress;
        s->in.progress = &s->progress;
        body(s);
    }
    jpeg_destroy_compress(&s->out);
    jpeg_destroy_decompress(&s->in);
    return s->st;
}

void jpeg_session_header(struct jpeg_session *s, bool save_markers)
{
    const struct image_job *job = s->job;
    const uint64_t memory = job->opt.limits.max_memory + MEMORY_SLACK;

    jpeg_mem_src(&s->in, job->data, (unsigned long)job->size);
    s->in.mem->max_memory_to_use = memory < LONG_MAX ? (long)memory : LONG_MAX;
    if (save_markers) {
        jpeg_save_markers(&s->in, JPEG_COM, 0xffff);
        for (int i = 0; i < 16; i++)
            jpeg_save_markers(&s->in, JPEG_APP0 + i, 0xffff);
    }
    jpeg_read_header(&s->in, TRUE);
}

/* ---- decoding ---- */

/* Stored CMYK values are inverted, with or without an Adobe marker, as everywhere on the web. */
static void cmyk_to_rgb(uint8_t *rgb, const uint8_t *cmyk, size_t width)
{
    for (size_t x = 0; x < width; x++)
        for (size_t c = 0; c < 3; c++)
            rgb[3 * x + c] = (uint8_t)((cmyk[4 * x + c] * cmyk[4 * x + 3] + 127) / 255);
}

void jpeg_session_decode(struct jpeg_session *s)
{
    struct image *out = s->picture;

    jpeg_session_header(s, false);
    s->in.scale_num = 1;
    s->in.scale_denom = 1u << s->job->opt.jpeg_shrink;
    s->in.out_color_space = s->in.num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&s->in);
    if (s->in.output_width != out->width || s->in.output_height != out->height)
        stop(s, image_bad(s->err, "picture-undecodable", "JPEG: decoder and header disagree"));
    while (s->in.output_scanline < s->in.output_height) {
        uint8_t *rgb = out->rgb + (size_t)s->in.output_scanline * out->width * 3;
        JSAMPROW row = s->row ? s->row : rgb;
        jpeg_read_scanlines(&s->in, &row, 1);
        if (s->row)
            cmyk_to_rgb(rgb, s->row, out->width);
    }
    jpeg_finish_decompress(&s->in);
}

enum status image_decode_jpeg(struct image *out, struct image_job *job, struct error *err)
{
    struct jpeg_session s = { .job = job, .picture = out, .err = err };
    size_t row_bytes = 0;

    if (job->info.components == 4) {
        s.row = mul_ok_size(out->width, 4, &row_bytes) ? mem_alloc(row_bytes) : NULL;
        if (!s.row)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: JPEG row");
    }
    const enum status st = jpeg_session_run(&s, jpeg_session_decode);
    mem_free(s.row);
    return st;
}
