/* cli/generate_region.c: see generate_region.h. Sampling is by the nearest pixel (spec data.md 7.4); where
 * pictures are cropped, inside the square in the middle. */
#include "cli/generate_region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/rle.h"
#include "ingest/masks/segmentation.h"

enum { REGION_FILE_MAX = 64 << 20 };

static bool parse_box(double box[4], const char *text)
{
    for (int i = 0; i < 4; i++) {
        char *end = NULL;
        box[i] = strtod(text, &end);
        if (end == text || *end != (i < 3 ? ',' : '\0'))
            return false;
        text = end + (i < 3);
    }
    return true;
}

static enum status parse_json(struct segmentation *s, const char *text, size_t size,
                              struct error *err)
{
    struct arena arena;
    struct json_value *root = NULL;
    arena_init(&arena, 0);
    enum status st = json_parse(&arena, &root, text, size, NULL, err);
    if (st == ST_OK) {
        const struct json_value *inner = json_get(root, "segmentation");
        st = segmentation_from_tree(s, inner ? inner : root, err);
    }
    arena_clear(&arena);
    return st;
}

/* Every pixel that is not black. */
static enum status mask_of_picture(struct segmentation *s, const struct buffer *file,
                                   struct error *err)
{
    struct image img = { 0 };
    struct image_decode_options opt;
    image_decode_options_init(&opt);
    enum status st = image_decode(&img, file->data, file->size, &opt, NULL, err);
    const size_t h = img.height, w = img.width;
    uint8_t *columns = st == ST_OK ? mem_alloc(h * w) : NULL;
    if (st == ST_OK && !columns)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: mask");
    for (size_t i = 0; st == ST_OK && i < h * w; i++) {
        const uint8_t *p = img.rgb + 3 * i;
        columns[i % w * h + i / w] = p[0] || p[1] || p[2];
    }
    if (st == ST_OK)
        st = segmentation_set_bytes(s, (int64_t)h, (int64_t)w, columns, err);
    mem_free(columns);
    image_clear(&img);
    return st;
}

static enum status read_file(struct segmentation *s, const char *path, struct error *err)
{
    struct buffer file;
    buffer_init(&file);
    enum status st = file_read_all(&file, path, REGION_FILE_MAX, err);
    if (st == ST_OK)
        st = file.size > 0 && (file.data[0] == '{' || file.data[0] == '[')
                 ? parse_json(s, (const char *)file.data, file.size, err)
                 : mask_of_picture(s, &file, err);
    buffer_clear(&file);
    return st;
}

static void sample(uint8_t *out, uint32_t side, const struct rle *mask, const uint8_t *rows,
                   enum resample_geometry geometry)
{
    const uint32_t h = mask->h, w = mask->w, shorter = h < w ? h : w;
    const bool crop = geometry == RESAMPLE_CROP;
    const uint32_t top = crop ? (h - shorter) / 2 : 0, left = crop ? (w - shorter) / 2 : 0;
    for (uint32_t y = 0; y < side; y++)
        for (uint32_t x = 0; x < side; x++) {
            const size_t row = top + rle_nearest_index(y, crop ? shorter : h, side);
            const size_t column = left + rle_nearest_index(x, crop ? shorter : w, side);
            out[(size_t)y * side + x] = rows[row * w + column];
        }
}

static enum status finish(uint8_t *out, uint32_t side, const struct rle *mask,
                          enum resample_geometry geometry, struct error *err)
{
    uint8_t *rows = mem_alloc((size_t)mask->h * mask->w);
    size_t inside = 0;
    if (!rows)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: mask");
    rle_to_rows(rows, mask);
    sample(out, side, mask, rows, geometry);
    mem_free(rows);
    for (size_t i = 0; i < (size_t)side * side; i++)
        inside += out[i];
    return inside > 0
               ? ST_OK
               : error_set(err, ST_FAIL, CAUSE_ARG, "no pixel of the region is left at %u x %u",
                           (unsigned)side, (unsigned)side);
}

enum status region_read(uint8_t *out, uint32_t side, const char *text, uint32_t width,
                        uint32_t height, enum resample_geometry geometry, struct error *err)
{
    struct segmentation s;
    struct rle_scratch scratch;
    struct rle mask;
    double box[4];
    enum status st = ST_OK;

    segmentation_init(&s);
    rle_scratch_init(&scratch);
    rle_init(&mask);
    if (parse_box(box, text))
        st = segmentation_set_box(&s, box, err);
    else if (text[0] == '{')
        st = parse_json(&s, text, strlen(text), err);
    else
        st = read_file(&s, text, err);
    if (st == ST_OK)
        st = segmentation_to_rle(&mask, &s, height, width, &scratch, err);
    if (st == ST_OK)
        st = finish(out, side, &mask, geometry, err);
    if (st == ST_SKIP) { /* one region is all there is */
        error_prefix(err, st, "region %.100s", text);
        st = ST_FAIL;
    } else if (st == ST_FAIL) {
        error_prefix(err, st, "region %.100s", text);
    }
    rle_clear(&mask);
    rle_scratch_clear(&scratch);
    segmentation_clear(&s);
    return st;
}
