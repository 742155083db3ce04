/* ingest/masks/visual_genome.c: see visual_genome.h. */
#include "ingest/masks/visual_genome.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "ingest/masks/coco.h"
#include "ingest/masks/json_fields.h"

/* A region of the picture being read. */
struct vg_region {
    int64_t id, image_id;
    double box[4];
    size_t phrase; /* place in `phrases` */
    struct mask_origin at;
    bool has_id, has_image, has_box[4], has_phrase;
};
struct genome {
    struct mask_store *store;
    struct mask_store *masks;  /* NULL: boxes only */
    struct hash_map *by_match; /* match -> entry of `masks` */
    const char *path;
    struct json *j;
    struct buffer regions; /* struct vg_region */
    struct buffer phrases; /* NUL-terminated, one after the other */
    struct buffer text, rle, caption;
    struct segmentation seg;
};

enum status visual_genome_kind(int *kind, const char *path, struct error *err)
{
    struct json_file f;
    enum json_event event = JSON_NULL;
    enum status st = json_file_open(&f, path, err);

    *kind = 0;
    if (st == ST_OK)
        st = json_next(f.json, &event, err);
    if (st == ST_OK && event == JSON_OBJECT_BEGIN)
        *kind = 'm';
    if (st == ST_OK && event == JSON_ARRAY_BEGIN)
        st = json_next(f.json, &event, err);
    while (st == ST_OK && *kind == 0 && (st = json_next(f.json, &event, err)) == ST_OK &&
           event == JSON_KEY) {
        if (json_key_is(f.json, "regions"))
            *kind = 'r';
        else if (json_key_is(f.json, "url") || json_key_is(f.json, "width"))
            *kind = 'i';
        else
            st = json_skip(f.json, err);
    }
    if (st != ST_OK)
        error_prefix(err, st, "%s", path);
    json_file_close(&f);
    return st;
}

static enum status bad_record(struct genome *g, const struct mask_origin *at, bool image,
                              const char *code, const char *what, struct error *err)
{
    struct error why = { 0 };
    error_set(&why, ST_SKIP, CAUSE_FORMAT, "record %" PRIu64 ": %s", at->record, what);
    error_code(&why, ST_SKIP, code);
    return image ? mask_store_bad_image(g->store, at, &why, err)
                 : mask_store_quarantine(g->store, at, &why, err);
}

/* Folder and base name at the end of an address: VG_100K_2/1.jpg. */
static const char *location_of(const char *url)
{
    const char *base = strrchr(url, '/');
    if (!base)
        return url;
    while (base > url && base[-1] != '/')
        base--;
    return base;
}

static enum status image_row(struct genome *g, uint64_t number, struct error *err)
{
    struct mask_instance in = { .original_id = -1 };
    struct mask_origin at = { .path = g->path, .record = number, .offset = json_offset(g->j) };
    int64_t h = 0, w = 0;
    bool id = false, url = false, has_h = false, has_w = false, ok = true;
    char key[24], name[64];
    uint32_t index = 0;
    enum json_event event;
    enum status st;

    while ((st = json_next(g->j, &event, err)) == ST_OK && event != JSON_OBJECT_END) {
        if (json_key_is(g->j, "image_id") || json_key_is(g->j, "id"))
            st = json_field_id(g->j, &in.image_id, &id, err);
        else if (json_key_is(g->j, "url"))
            st = json_field_text(g->j, &g->text, &url, err);
        else if (json_key_is(g->j, "height"))
            st = json_field_int64(g->j, &h, &has_h, err);
        else if (json_key_is(g->j, "width"))
            st = json_field_int64(g->j, &w, &has_w, err);
        else if (json_key_is(g->j, "coco_id"))
            st = json_field_id(g->j, &in.original_id, &ok, err);
        else
            st = json_skip(g->j, err);
        if (st != ST_OK)
            return st;
    }
    at.length = json_offset(g->j) + 1 - at.offset;
    if (st != ST_OK || !id || !has_h || !has_w || h < 1 || w < 1 || h > RLE_MAX_AREA ||
        w > RLE_MAX_AREA)
        return st == ST_OK
                   ? bad_record(g, &at, true, "image-schema", "no image_id, height or width", err)
                   : st;
    if (!ok)
        in.original_id = -1; /* null: no picture of COCO */
    snprintf(key, sizeof key, "%" PRId64, in.image_id);
    snprintf(name, sizeof name, "%s.jpg", key);
    in.key = key;
    in.location = url ? location_of((const char *)g->text.data) : NULL;
    in.file_name = in.location ? path_base(in.location) : name;
    in.h = (uint32_t)h;
    in.w = (uint32_t)w;
    st = mask_store_instance(g->store, &in, &index, err);
    return st == ST_SKIP ? bad_record(g, &at, true, "image-id-again",
                                      "an image of this id is there already", err)
                         : st;
}

/* Trimmed, runs of white space as one space; appended with its NUL. */
static enum status keep_phrase(struct genome *g, struct vg_region *r, struct error *err)
{
    const char *s = (const char *)g->text.data;
    bool gap = false;

    r->phrase = g->phrases.size;
    for (; *s; s++) {
        const bool space = strchr(" \t\r\n\f\v", *s) != NULL;
        if (!space && gap && g->phrases.size > r->phrase &&
            buffer_append(&g->phrases, " ", 1, err) != ST_OK)
            return ST_FAIL;
        if (!space && buffer_append(&g->phrases, s, 1, err) != ST_OK)
            return ST_FAIL;
        gap = space;
    }
    return buffer_append(&g->phrases, "", 1, err);
}

static enum status region_row(struct genome *g, uint64_t number, struct error *err)
{
    static const char *const sides[] = { "x", "y", "width", "height" };
    struct vg_region r = { .at = {
                               .path = g->path, .record = number, .offset = json_offset(g->j) } };
    enum json_event event;
    enum status st;

    while ((st = json_next(g->j, &event, err)) == ST_OK && event != JSON_OBJECT_END) {
        int side = 0;
        while (side < 4 && !json_key_is(g->j, sides[side]))
            side++;
        if (side < 4) {
            st = json_next(g->j, &event, err);
            r.has_box[side] = event == JSON_NUMBER && isfinite(json_double(g->j));
            r.box[side] = r.has_box[side] ? json_double(g->j) : 0;
            if (st == ST_OK && event != JSON_NUMBER)
                st = json_skip(g->j, err);
        } else if (json_key_is(g->j, "region_id") || json_key_is(g->j, "id")) {
            st = json_field_id(g->j, &r.id, &r.has_id, err);
        } else if (json_key_is(g->j, "image_id")) {
            st = json_field_id(g->j, &r.image_id, &r.has_image, err);
        } else if (json_key_is(g->j, "phrase")) {
            st = json_field_text(g->j, &g->text, &r.has_phrase, err);
            if (st == ST_OK && r.has_phrase)
                st = keep_phrase(g, &r, err);
        } else {
            st = json_skip(g->j, err);
        }
        if (st != ST_OK)
            return st;
    }
    r.at.length = json_offset(g->j) + 1 - r.at.offset;
    return st == ST_OK ? buffer_append(&g->regions, &r, sizeof r, err) : st;
}

/* The segmentation of a region: found in the mask file, or its box. */
static enum status set_mask(struct genome *g, const struct vg_region *r, uint32_t instance,
                            const char *phrase, struct error *err)
{
    uint64_t entry = 0;
    uint8_t key[8];

    store_u64le(key, coco_match(r->image_id, r->box, phrase));
    if (!g->masks || !hash_map_get(g->by_match, key, sizeof key, &entry))
        return segmentation_set_box(&g->seg, r->box, err);
    const struct mask_entry *e = mask_store_entry_at(g->masks, (size_t)entry);
    const struct mask_instance *theirs = mask_store_instance_at(g->masks, e->instance);
    const struct mask_instance *ours = mask_store_instance_at(g->store, instance);
    if (theirs->image_id != r->image_id || theirs->h != ours->h || theirs->w != ours->w)
        return segmentation_set_box(&g->seg, r->box, err);
    if (mask_store_read(g->masks, (size_t)entry, &g->rle, &g->caption, err) != ST_OK)
        return ST_FAIL;
    return segmentation_set_string(&g->seg, ours->h, ours->w, (const char *)g->rle.data,
                                   g->rle.size, err);
}

static enum status keep_region(struct genome *g, struct vg_region *r, struct error *err)
{
    struct mask_region region = { .id = r->id, .original_id = -1, .category = 1 };
    const char *phrase = r->has_phrase ? (const char *)g->phrases.data + r->phrase : "";

    if (!r->has_id || !r->has_image)
        return bad_record(g, &r->at, false, "region-id", "no region_id or no image_id", err);
    for (int i = 0; i < 4; i++)
        if (!r->has_box[i])
            return bad_record(g, &r->at, false, "region-box",
                              "x, y, width, height are not four numbers", err);
    if (!mask_store_find(g->store, r->image_id, &region.instance))
        return bad_record(g, &r->at, false, "region-image", "image_data has no such image", err);
    if (phrase[0] == '\0')
        return mask_store_filter(g->store, "empty-caption", err);
    const enum status st = set_mask(g, r, region.instance, phrase, err);
    region.caption = phrase;
    return st == ST_OK ? mask_store_region(g->store, &region, &g->seg, &r->at, err) : st;
}

/* One picture with its regions; its id may stand behind them. */
static enum status picture_row(struct genome *g, uint64_t number, struct error *err)
{
    int64_t id = 0;
    bool has_id = false;
    enum json_event event;
    enum status st;
    (void)number;

    g->regions.size = g->phrases.size = 0;
    while ((st = json_next(g->j, &event, err)) == ST_OK && event != JSON_OBJECT_END) {
        if (json_key_is(g->j, "id") || json_key_is(g->j, "image_id")) {
            st = json_field_id(g->j, &id, &has_id, err);
        } else if (json_key_is(g->j, "regions")) {
            st = json_next(g->j, &event, err);
            if (st == ST_OK && event != JSON_ARRAY_BEGIN)
                st = json_skip(g->j, err);
            for (uint64_t n = 0; st == ST_OK && event != JSON_ARRAY_END && event != JSON_OBJECT_END;
                 n++) {
                st = json_next(g->j, &event, err);
                if (st == ST_OK && event == JSON_OBJECT_BEGIN)
                    st = region_row(g, n, err);
            }
        } else {
            st = json_skip(g->j, err);
        }
        if (st != ST_OK)
            return st;
    }
    for (size_t i = 0; st == ST_OK && i < g->regions.size / sizeof(struct vg_region); i++) {
        struct vg_region *r = (struct vg_region *)(void *)g->regions.data + i;
        if (!r->has_image) {
            r->has_image = has_id;
            r->image_id = id;
        }
        st = keep_region(g, r, err);
    }
    return st;
}

typedef enum status genome_row_fn(struct genome *g, uint64_t number, struct error *err);

static enum status read_array(struct genome *g, const char *path, genome_row_fn *row,
                              struct error *err)
{
    struct json_file f;
    enum json_event event = JSON_NULL;
    enum status st = json_file_open(&f, path, err);

    g->path = path;
    g->j = f.json;
    if (st == ST_OK)
        st = json_next(g->j, &event, err);
    if (st == ST_OK && event != JSON_ARRAY_BEGIN)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "not a list");
    for (uint64_t n = 0; st == ST_OK; n++) {
        st = json_next(g->j, &event, err);
        if (st != ST_OK || event == JSON_ARRAY_END)
            break;
        st = event == JSON_OBJECT_BEGIN ? row(g, n, err) : json_skip(g->j, err);
    }
    if (st == ST_OK)
        st = json_next(g->j, &event, err);
    if (st != ST_OK)
        error_prefix(err, st, "%s", path);
    json_file_close(&f);
    return st;
}

/* Masks of the mask file by picture, box and phrase; the first of a key wins. */
static enum status index_masks(struct genome *g, const char *path, const struct mask_options *opt,
                               const char *spill, struct error *err)
{
    const struct coco_options coco = { .annotation_captions = true, .own_category = true };
    enum status st = mask_store_open(&g->masks, spill, opt, err);

    if (st == ST_OK)
        st = mask_store_category(g->masks, 1, "object", NULL, err);
    if (st == ST_OK)
        st = coco_read(g->masks, path, &coco, err);
    if (st == ST_OK)
        st = mask_store_finish(g->masks, err);
    if (st == ST_OK)
        st = hash_map_open(&g->by_match, mask_store_entries(g->masks), err);
    for (size_t i = 0; st == ST_OK && i < mask_store_entries(g->masks); i++) {
        const struct mask_entry *e = mask_store_entry_at(g->masks, i);
        uint8_t key[8];
        uint64_t value = i;
        store_u64le(key, e->match);
        if (!e->dropped && e->match)
            st = hash_map_insert(g->by_match, key, sizeof key, &value, err);
        if (st == ST_SKIP)
            st = ST_OK;
    }
    return st;
}

enum status visual_genome_read(struct mask_store *store, const struct visual_genome_paths *paths,
                               const struct mask_options *opt, const char *spill, struct error *err)
{
    const struct coco_options coco = { .annotation_captions = true, .own_category = true };
    struct genome g = { .store = store };
    enum status st = mask_store_category(store, 1, "object", NULL, err);

    if (st != ST_OK || !paths->regions) {
        if (st == ST_OK && !paths->masks)
            st = error_set(err, ST_FAIL, CAUSE_ARG,
                           "vg needs region_descriptions.json with image_data.json, or "
                           "vg_train_with_mask.json");
        return st == ST_OK ? coco_read(store, paths->masks, &coco, err) : st;
    }
    if (!paths->image_data)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "region descriptions need image_data.json for the pictures' sizes");
    segmentation_init(&g.seg);
    if (paths->masks)
        st = index_masks(&g, paths->masks, opt, spill, err);
    if (st == ST_OK)
        st = read_array(&g, paths->image_data, image_row, err);
    if (st == ST_OK)
        st = read_array(&g, paths->regions, picture_row, err);
    mask_store_close(&g.masks);
    hash_map_close(&g.by_match);
    segmentation_clear(&g.seg);
    buffer_clear(&g.regions);
    buffer_clear(&g.phrases);
    buffer_clear(&g.text);
    buffer_clear(&g.rle);
    buffer_clear(&g.caption);
    return st;
}
