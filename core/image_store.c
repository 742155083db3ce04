/* core/image_store.c: pictures into shards. JPEG is verified by reading its coefficients, which walks
 * the same bytes with the same code as a decode, and rewritten where that makes it faster to decode
 * without moving a pixel (design.md 5). --max-side re-encodes by spec data.md 6.4. */
#include <string.h>

#include "core/image_jpeg_private.h"
#include "core/resample.h"

enum { STORE_QUALITY = 95, STORE_SHORTER = 512 };

void image_store_options_init(struct image_store_options *opt)
{
    *opt = (struct image_store_options){ .jpeg = IMAGE_JPEG_BASELINE };
    image_limits_init(&opt->limits);
}

/* A progressive file may leave bits of a coefficient unsent; the decoder then smooths, and a
 * baseline copy would give other pixels. */
static bool coefficients_are_final(const struct jpeg_decompress_struct *in)
{
    if (!in->progressive_mode || !in->coef_bits)
        return true;
    for (int c = 0; c < in->num_components; c++)
        for (int k = 0; k < DCTSIZE2; k++)
            if (in->coef_bits[c][k] != 0)
                return false;
    return true;
}

static void verify_body(struct jpeg_session *s)
{
    jpeg_session_header(s, false);
    jpeg_read_coefficients(&s->in);
    jpeg_finish_decompress(&s->in);
}

/* Coefficients and markers as they are, Huffman tables made for them. */
static void rewrite_body(struct jpeg_session *s)
{
    jpeg_session_header(s, true);
    jvirt_barray_ptr *coefficients = jpeg_read_coefficients(&s->in);

    if (coefficients_are_final(&s->in)) {
        jpeg_session_to_buffer(s);
        jpeg_copy_critical_parameters(&s->in, &s->out);
        s->out.optimize_coding = TRUE;
        s->out.write_JFIF_header = FALSE; /* the file's own markers follow, in their order */
        s->out.write_Adobe_marker = FALSE;
        jpeg_write_coefficients(&s->out, coefficients);
        for (jpeg_saved_marker_ptr m = s->in.marker_list; m; m = m->next)
            jpeg_write_marker(&s->out, m->marker, m->data, m->data_length);
        jpeg_finish_compress(&s->out);
    }
    jpeg_finish_decompress(&s->in);
}

/* Out of memory is no verdict on a picture. */
static enum status hand_over(struct error *err, const struct error *why)
{
    if (err && err->cause == CAUSE_NONE)
        *err = *why;
    return ST_FAIL;
}

/* Reads the colour model of rewritten bytes. */
static void colour_body(struct jpeg_session *s)
{
    jpeg_session_header(s, false);
}

static enum status same_colours(bool *same, const struct buffer *stored,
                                const struct image_job *job, struct error *err)
{
    struct image_job again = { .data = stored->data, .size = stored->size, .opt = job->opt };
    struct image_job before = *job;
    struct error refused = { 0 };
    struct jpeg_session a = { .job = &again, .err = &refused };
    struct jpeg_session b = { .job = &before, .err = &refused };

    *same = jpeg_session_run(&a, colour_body) == ST_OK &&
            jpeg_session_run(&b, colour_body) == ST_OK &&
            a.in.jpeg_color_space == b.in.jpeg_color_space;
    return refused.cause == CAUSE_NOMEM ? hand_over(err, &refused) : ST_OK;
}

static enum status verify(struct image_job *job, struct error *err)
{
    struct jpeg_session s = { .job = job, .err = err };
    struct image picture;

    if (job->jpeg.coefficients <= job->opt.limits.max_memory)
        return jpeg_session_run(&s, verify_body);
    const enum status st = image_job_decode(&picture, job, err); /* one scan: rows only */
    image_clear(&picture);
    return st;
}

enum status image_prepare_jpeg(struct buffer *stored, struct image_job *job,
                               enum image_jpeg_policy policy, struct error *err)
{
    struct jpeg_session s = { .job = job, .bytes = stored };
    struct error refused = { 0 };
    const struct image_job before = *job;
    const bool slow = job->info.progressive || job->info.arithmetic;
    enum status st = ST_OK;

    if (policy == IMAGE_JPEG_KEEP || (policy == IMAGE_JPEG_BASELINE && !slow) ||
        job->jpeg.coefficients > job->opt.limits.max_memory)
        return verify(job, err);
    s.err = &refused;
    const enum status rewritten = jpeg_session_run(&s, rewrite_body);
    if (rewritten == ST_FAIL)
        return hand_over(err, &refused);
    if (rewritten != ST_OK) {
        /* the file is bad, or it cannot be written as baseline: the plain verdict tells */
        *job = before;
        st = verify(job, err);
        stored->size = 0;
    } else if (stored->size > 0) {
        bool same = false;
        st = same_colours(&same, stored, job, err);
        if (!same)
            stored->size = 0;
    }
    return st;
}

/* Sides of a re-encoded picture: the longer one `side`, but the shorter one not below 512 where it was
 * not; never larger than it is. */
static void stored_size(uint32_t *width, uint32_t *height, uint32_t side)
{
    const uint64_t w = *width, h = *height;
    const uint64_t longer = w > h ? w : h, shorter = w > h ? h : w;
    uint64_t to = side; /* of the longer side */

    if (shorter >= STORE_SHORTER && shorter * to < (uint64_t)STORE_SHORTER * longer)
        to = (STORE_SHORTER * longer + shorter - 1) / shorter;
    if (to >= longer)
        return;
    *width = (uint32_t)((w * to + longer / 2) / longer);
    *height = (uint32_t)((h * to + longer / 2) / longer);
    *width = *width > 0 ? *width : 1;
    *height = *height > 0 ? *height : 1;
}

/* Decodes, shrinks and encodes into *stored; job->info becomes that of the new file. */
static enum status shrink(struct buffer *stored, struct image_job *job, uint32_t width,
                          uint32_t height, struct error *err)
{
    const struct jpeg_header *j = &job->jpeg;
    const bool subsample = job->info.codec == IMAGE_JPEG && job->info.components == 3 &&
                           j->h[0] == 2 && j->v[0] == 2 && j->h[1] == 1 && j->v[1] == 1;
    struct image picture = { 0 }, small = { 0 };

    enum status st = image_job_decode(&picture, job, err);
    if (st == ST_OK)
        st = image_alloc(&small, width, height, err);
    if (st == ST_OK)
        st = resample_rgb(small.rgb, width, height, picture.rgb, picture.width, picture.height,
                          RESAMPLE_BICUBIC, err);
    if (st == ST_OK)
        st = image_encode_jpeg(stored, &small, STORE_QUALITY, subsample, err);
    if (st == ST_OK)
        job->info = (struct image_info){
            .codec = IMAGE_JPEG, .width = width, .height = height, .components = 3
        };
    image_clear(&picture);
    image_clear(&small);
    return st;
}

enum status image_prepare(struct image_info *info, struct buffer *stored, const void *data,
                          size_t size, const struct image_store_options *opt, unsigned *notes,
                          struct error *err)
{
    struct image_job job = { .data = data, .size = size };
    struct image picture = { 0 };

    image_decode_options_init(&job.opt);
    if (opt)
        job.opt.limits = opt->limits;
    stored->size = 0;
    enum status st = image_job_probe(&job, err);
    uint32_t width = job.info.width, height = job.info.height;
    if (opt && opt->store_side > 0)
        stored_size(&width, &height, opt->store_side);
    if (st == ST_OK && (width != job.info.width || height != job.info.height))
        st = shrink(stored, &job, width, height, err);
    else if (st == ST_OK && job.info.codec == IMAGE_JPEG)
        st = image_prepare_jpeg(stored, &job, opt ? opt->jpeg : IMAGE_JPEG_BASELINE, err);
    else if (st == ST_OK)
        st = image_job_decode(&picture, &job, err);
    image_clear(&picture);
    if (st == ST_OK && stored->size > 0)
        job.info.progressive = job.info.arithmetic = false;
    *info = job.info;
    if (notes)
        *notes = job.notes;
    return st;
}
