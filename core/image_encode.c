/* core/image_encode.c: JPEG (libjpeg-turbo) and PNG (libspng) out of RGB pixels. */
#include <stdlib.h>

#include <spng.h>

#include "core/image_jpeg_private.h"

enum { OUTPUT_STEP = 64 * 1024 };

/* ---- libjpeg into a growing buffer ---- */

static void room(struct jpeg_session *s)
{
    if (buffer_reserve(s->bytes, OUTPUT_STEP, s->err) != ST_OK) {
        s->st = ST_FAIL;
        longjmp(s->jump, 1);
    }
    s->dest.next_output_byte = s->bytes->data + s->bytes->size;
    s->dest.free_in_buffer = OUTPUT_STEP;
}

static void dest_init(j_compress_ptr c)
{
    room(c->client_data);
}

/* libjpeg calls this when all OUTPUT_STEP bytes are used. */
static boolean dest_full(j_compress_ptr c)
{
    struct jpeg_session *s = c->client_data;

    s->bytes->size += OUTPUT_STEP;
    room(s);
    return TRUE;
}

static void dest_term(j_compress_ptr c)
{
    struct jpeg_session *s = c->client_data;

    s->bytes->size += OUTPUT_STEP - s->dest.free_in_buffer;
}

void jpeg_session_to_buffer(struct jpeg_session *s)
{
    s->dest.init_destination = dest_init;
    s->dest.empty_output_buffer = dest_full;
    s->dest.term_destination = dest_term;
    s->out.dest = &s->dest;
}

static void encode_body(struct jpeg_session *s)
{
    const struct image *img = s->picture;

    jpeg_session_to_buffer(s);
    s->out.image_width = img->width;
    s->out.image_height = img->height;
    s->out.input_components = 3;
    s->out.in_color_space = JCS_RGB;
    jpeg_set_defaults(&s->out);
    jpeg_set_quality(&s->out, s->quality, TRUE);
    s->out.optimize_coding = TRUE;
    s->out.comp_info[0].h_samp_factor = s->subsample_420 ? 2 : 1;
    s->out.comp_info[0].v_samp_factor = s->subsample_420 ? 2 : 1;
    jpeg_start_compress(&s->out, TRUE);
    while (s->out.next_scanline < s->out.image_height) {
        JSAMPROW row = img->rgb + (size_t)s->out.next_scanline * img->width * 3;
        jpeg_write_scanlines(&s->out, &row, 1);
    }
    jpeg_finish_compress(&s->out);
}

enum status image_encode_jpeg(struct buffer *out, const struct image *img, int quality,
                              bool subsample_420, struct error *err)
{
    struct image borrowed = *img;
    struct image_job job = { 0 };
    struct jpeg_session s = { .job = &job,
                              .picture = &borrowed,
                              .quality = quality,
                              .subsample_420 = subsample_420,
                              .bytes = out,
                              .err = err };

    if (img->width > JPEG_MAX_DIMENSION || img->height > JPEG_MAX_DIMENSION)
        return error_set(err, ST_FAIL, CAUSE_ARG, "JPEG of %u x %u pixels", (unsigned)img->width,
                         (unsigned)img->height);
    const enum status st = jpeg_session_run(&s, encode_body);
    return st == ST_SKIP ? ST_FAIL : st;
}

/* ---- PNG ---- */

enum status image_encode_png(struct buffer *out, const struct image *img, struct error *err)
{
    struct spng_ihdr ihdr = { .width = img->width,
                              .height = img->height,
                              .bit_depth = 8,
                              .color_type = SPNG_COLOR_TYPE_TRUECOLOR };
    spng_ctx *spng = spng_ctx_new(SPNG_CTX_ENCODER);
    const size_t bytes = (size_t)img->width * img->height * 3;
    enum status st = ST_FAIL;
    uint8_t *file = NULL;
    size_t size = 0;
    int code = 0;

    if (!spng)
        return error_set(err, st, CAUSE_NOMEM, "out of memory: PNG encoder");
    code = spng_set_option(spng, SPNG_ENCODE_TO_BUFFER, 1);
    if (code == 0)
        code = spng_set_ihdr(spng, &ihdr);
    if (code == 0)
        code = spng_encode_image(spng, img->rgb, bytes, SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
    if (code == 0)
        file = spng_get_png_buffer(spng, &size, &code);
    if (file)
        st = buffer_append(out, file, size, err);
    else
        error_set(err, st, code == SPNG_EMEM ? CAUSE_NOMEM : CAUSE_ARG, "PNG encoder: %s",
                  spng_strerror(code));
    free(file); /* spng's, from malloc */
    spng_ctx_free(spng);
    return st;
}
