/* filters/filter.c: see filter.h. The table of rules and the counts. */
#include "filters/filter.h"

#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"

static const struct {
    const char *name, *about;
} reasons[FILTER_REASONS] = {
    [FILTER_NONE] = { "", "kept" },
    [FILTER_F1_SIMILARITY] = { "F1-similarity", "similarity below the threshold or no number" },
    [FILTER_F2_MISSING] = { "F2-missing", "no picture of that name in the picture folders" },
    [FILTER_F2_INDEX] = { "F2-index", "matched_text_index is no index into text_list" },
    [FILTER_F2_SCHEMA] = { "F2-schema", "image entry is no object with a string image_name" },
    [FILTER_F3_NO_IMAGE] = { "F3-no-image", "no picture is left" },
    [FILTER_F4_MAX_IMAGES] = { "F4-max-images", "more pictures than a document may keep" },
    [FILTER_F5_SINGLE_IMAGE] = { "F5-single-image",
                                 "a single picture is left and the draw was drop" },
    [FILTER_F7_SHORT_CAPTION] = { "F7-short-caption", "caption is too short" },
    [FILTER_F8_CAPTION] = { "F8-caption", "caption is no text or empty" },
    [FILTER_F8_NO_CAPTION] = { "F8-no-caption", "the caption files have no entry for the URL" },
    [FILTER_F10_DUPLICATE] = { "F10-duplicate", "exact duplicate of an earlier document" },
    [FILTER_F10_FLAGGED] = { "F10-flagged", "could_have_url_duplicate is set" },
    [FILTER_F11_SIZE] = { "F11-size", "a side of the picture is under 10 pixels or --min-side" },
    [FILTER_F11_ASPECT] = { "F11-aspect", "the picture is longer than --max-aspect" },
    [FILTER_F11_BYTES] = { "F11-bytes", "the picture has fewer bytes than --min-bytes" },
    [FILTER_F16_EXCLUDED] = { "F16-excluded", "named by the exclusion list" },
};

const char *filter_reason_name(enum filter_reason r)
{
    return reasons[r].name;
}

const char *filter_reason_about(enum filter_reason r)
{
    return reasons[r].about;
}

enum filter_reason filter_reason_find(const char *name, size_t size)
{
    for (int r = 1; r < FILTER_REASONS; r++)
        if (strlen(reasons[r].name) == size && memcmp(reasons[r].name, name, size) == 0)
            return (enum filter_reason)r;
    return FILTER_NONE;
}

void filter_counts_add(struct filter_counts *to, const struct filter_counts *from)
{
    for (int r = 0; r < FILTER_REASONS; r++)
        to->n[r] += from->n[r];
}

uint64_t filter_counts_total(const struct filter_counts *c)
{
    uint64_t sum = 0;
    for (int r = 1; r < FILTER_REASONS; r++)
        sum += c->n[r];
    return sum;
}

void filter_options_init(struct filter_options *opt)
{
    *opt = (struct filter_options){
        .seed = 0, .min_similarity = 0.24, .max_images = 6, .keep_single = 0.5, .min_caption = 10
    };
}

enum status filter_options_check(const struct filter_options *opt, struct error *err)
{
    if (!isfinite(opt->min_similarity))
        return error_set(err, ST_FAIL, CAUSE_ARG, "--min-similarity: a finite number is wanted");
    if (opt->max_images < 1)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--max-images: at least 1");
    if (!(opt->keep_single >= 0.0 && opt->keep_single <= 1.0))
        return error_set(err, ST_FAIL, CAUSE_ARG, "--keep-single: a probability, 0 to 1");
    if (opt->max_aspect != 0.0 && !(opt->max_aspect >= 1.0))
        return error_set(err, ST_FAIL, CAUSE_ARG, "--max-aspect: 1 at least, or 0 for none");
    return ST_OK;
}

enum { SMALLEST_SIDE = 10 }; /* pixels; always */

enum filter_reason filter_picture(const struct filter_options *opt, uint32_t width, uint32_t height,
                                  uint64_t bytes)
{
    const uint32_t shorter = width < height ? width : height;
    const uint32_t longer = width < height ? height : width;
    if (shorter < SMALLEST_SIDE || shorter < opt->min_side)
        return FILTER_F11_SIZE;
    if (opt->max_aspect > 0.0 && (double)longer > opt->max_aspect * (double)shorter)
        return FILTER_F11_ASPECT;
    return bytes < opt->min_bytes ? FILTER_F11_BYTES : FILTER_NONE;
}

/* Sizes go in front of the bytes, so that no two different records give the same stream. */
static void update_text(struct hash_stream *h, const struct text *t)
{
    uint8_t size[8];
    store_u64le(size, t->size);
    hash_stream_update(h, size, sizeof size);
    hash_stream_update(h, t->data, t->size);
}

enum status filter_identity(uint8_t out[FILTER_IDENTITY_BYTES], const struct document *d,
                            struct error *err)
{
    struct hash_stream *h = NULL;
    uint8_t digest[32];
    const enum status st = hash_stream_open(&h, HASH_SHA256, err);

    if (st != ST_OK)
        return st;
    update_text(h, &d->url);
    for (size_t i = 0; i < d->sentence_count; i++)
        update_text(h, &d->sentences[i]);
    hash_stream_digest(h, digest);
    hash_stream_close(&h);
    memcpy(out, digest, FILTER_IDENTITY_BYTES);
    return ST_OK;
}
