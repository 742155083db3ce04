/* ingest/masks/coco.c: see coco.h. */
#include "ingest/masks/coco.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "ingest/masks/json_fields.h"

struct coco_reader {
    struct mask_store *store;
    const struct coco_options *opt;
    const char *path;
    struct json *j;
    struct buffer name, caption, super, key;
    struct segmentation seg;
    bool images_seen, annotations_seen, annotations_waiting;
};

/* One record: what was read of it, and the first thing wrong with it. */
struct coco_record {
    struct mask_origin at;
    struct error why;
    int64_t id, image_id, category, original_id, height, width;
    double box[4];
    bool has_box;
    bool has_id, has_image, has_category, has_name, has_height, has_width, has_caption, crowd,
        ignore;
};

static void wrong(struct coco_record *rec, const char *code, const char *member)
{
    if (rec->why.cause != CAUSE_NONE)
        return;
    error_set(&rec->why, ST_SKIP, CAUSE_FORMAT, "record %" PRIu64 ": %s", rec->at.record, member);
    error_code(&rec->why, ST_SKIP, code);
}

static void need(struct coco_record *rec, bool there, const char *code, const char *member)
{
    if (!there)
        wrong(rec, code, member);
}

static struct coco_record begin_record(const struct coco_reader *r, uint64_t number)
{
    struct coco_record rec = { .original_id = -1, .category = 1 };
    rec.at.path = r->path;
    rec.at.record = number;
    rec.at.offset = json_offset(r->j);
    return rec;
}

static enum status image_member(struct coco_reader *r, struct coco_record *rec, struct error *err)
{
    struct json *j = r->j;
    bool ok = true;
    enum status st = ST_OK;

    if (json_key_is(j, "id")) {
        st = json_field_id(j, &rec->id, &rec->has_id, err);
    } else if (json_key_is(j, "file_name")) {
        st = json_field_text(j, &r->name, &rec->has_name, err);
    } else if (json_key_is(j, "height")) {
        st = json_field_int64(j, &rec->height, &rec->has_height, err);
    } else if (json_key_is(j, "width")) {
        st = json_field_int64(j, &rec->width, &rec->has_width, err);
    } else if (json_key_is(j, "original_id")) {
        st = json_field_id(j, &rec->original_id, &ok, err);
        need(rec, ok, "image-original-id", "original_id is no id");
    } else if (r->opt->image_captions && json_key_is(j, "caption")) {
        st = json_field_text(j, &r->caption, &rec->has_caption, err);
        need(rec, rec->has_caption, "image-caption", "caption is no text");
    } else {
        st = json_skip(j, err);
    }
    return st;
}

static enum status keep_image(struct coco_reader *r, struct coco_record *rec, struct error *err)
{
    struct mask_instance in = { .image_id = rec->id };
    uint32_t index = 0;

    need(rec, rec->has_id, "image-id", "image without a whole id");
    need(rec, rec->has_name && r->name.size > 0, "image-file-name", "image without file_name");
    need(rec, rec->has_height && rec->has_width, "image-size",
         "image without integer height and width");
    need(rec,
         rec->height >= 1 && rec->width >= 1 && rec->height <= RLE_MAX_AREA &&
             rec->width <= RLE_MAX_AREA,
         "image-size", "image of an impossible size");
    if (rec->why.cause == CAUSE_NONE) {
        r->key.size = 0;
        if (buffer_printf(&r->key, err, "%" PRId64, rec->id) != ST_OK)
            return ST_FAIL;
        in.key = (const char *)r->key.data;
        in.file_name = (const char *)r->name.data;
        in.caption =
            r->opt->image_captions ? (rec->has_caption ? (const char *)r->caption.data : "") : NULL;
        in.original_id =
            rec->original_id >= 0 || !r->opt->coco_pictures ? rec->original_id : rec->id;
        in.h = (uint32_t)rec->height;
        in.w = (uint32_t)rec->width;
        const enum status st = mask_store_instance(r->store, &in, &index, err);
        if (st != ST_SKIP)
            return st;
        wrong(rec, "image-id-again", "an image of this id is there already");
    }
    rec->at.length = json_offset(r->j) + 1 - rec->at.offset;
    return mask_store_bad_image(r->store, &rec->at, &rec->why, err);
}

static enum status annotation_member(struct coco_reader *r, struct coco_record *rec,
                                     struct error *err)
{
    struct json *j = r->j;
    enum json_event event;
    bool ok = true;
    enum status st = ST_OK;

    if (json_key_is(j, "id")) {
        st = json_field_id(j, &rec->id, &rec->has_id, err);
    } else if (json_key_is(j, "original_id")) {
        st = json_field_id(j, &rec->original_id, &ok, err);
    } else if (json_key_is(j, "image_id")) {
        st = json_field_id(j, &rec->image_id, &rec->has_image, err);
    } else if (json_key_is(j, "category_id")) {
        st = json_field_id(j, &rec->category, &rec->has_category, err);
    } else if (json_key_is(j, "iscrowd")) {
        st = json_field_bool(j, &rec->crowd, &ok, err);
        need(rec, ok, "annotation-iscrowd", "iscrowd is neither 0 nor 1");
    } else if (json_key_is(j, "ignore")) {
        st = json_field_bool(j, &rec->ignore, &ok, err);
    } else if (json_key_is(j, "bbox")) {
        st = json_field_numbers(j, rec->box, 4, &ok, err);
        for (int i = 0; ok && i < 4; i++)
            ok = isfinite(rec->box[i]);
        rec->has_box = ok;
        need(rec, ok, "annotation-bbox", "bbox is not four finite numbers");
        need(rec, !ok || (rec->box[2] >= 0 && rec->box[3] >= 0), "annotation-bbox",
             "bbox of a negative size");
    } else if (json_key_is(j, "segmentation")) {
        st = json_next(j, &event, err);
        if (st == ST_OK)
            st = segmentation_read(&r->seg, j, event, err);
    } else if (r->opt->annotation_captions && json_key_is(j, "caption")) {
        st = json_field_text(j, &r->caption, &rec->has_caption, err);
        need(rec, rec->has_caption, "annotation-caption", "caption is no text");
    } else {
        st = json_skip(j, err);
    }
    return st;
}

uint64_t coco_match(int64_t image_id, const double box[4], const char *phrase)
{
    uint8_t key[5 * 8 + 512];
    const char *from = phrase + strspn(phrase, " \t\r\n");
    size_t size = strlen(from);

    while (size > 0 && strchr(" \t\r\n", from[size - 1]))
        size--;
    size = size < 512 ? size : 512;
    store_u64le(key, (uint64_t)image_id);
    for (size_t i = 0; i < 4; i++) {
        const double v = fmin(fmax(rint(box[i]), -1e9), 1e9);
        store_u64le(key + 8 + 8 * i, (uint64_t)(int64_t)v);
    }
    for (size_t i = 0; i < size; i++)
        key[40 + i] = (uint8_t)from[i];
    const uint64_t hash = hash_xxh3_64(key, 40 + size);
    return hash ? hash : 1;
}

static bool is_blank(const char *s)
{
    return s[strspn(s, " \t\r\n\f\v")] == '\0';
}

static enum status keep_annotation(struct coco_reader *r, struct coco_record *rec,
                                   struct error *err)
{
    struct mask_region region = { .id = rec->id,
                                  .original_id = rec->original_id,
                                  .category = rec->category,
                                  .crowd = rec->crowd };

    rec->at.length = json_offset(r->j) + 1 - rec->at.offset;
    need(rec, rec->has_id, "annotation-id", "annotation without a whole id");
    need(rec, rec->has_image, "annotation-image-id", "annotation without a whole image_id");
    need(rec, rec->has_category || r->opt->own_category, "annotation-category-id",
         "annotation without a whole category_id");
    if (rec->why.cause == CAUSE_NONE &&
        !mask_store_find(r->store, rec->image_id, &region.instance)) {
        error_set(&rec->why, ST_SKIP, CAUSE_FORMAT, "record %" PRIu64 ": no image has id %" PRId64,
                  rec->at.record, rec->image_id);
        error_code(&rec->why, ST_SKIP, "annotation-image");
    }
    if (rec->why.cause != CAUSE_NONE)
        return mask_store_quarantine(r->store, &rec->at, &rec->why, err);
    if (r->opt->own_category)
        region.category = 1;
    if (rec->ignore)
        return mask_store_filter(r->store, "ignore", err);
    const char *caption = rec->has_caption ? (const char *)r->caption.data : "";
    if (r->opt->image_captions)
        caption = mask_store_instance_at(r->store, region.instance)->caption;
    if ((r->opt->image_captions || r->opt->annotation_captions) && is_blank(caption))
        return mask_store_filter(r->store, "empty-caption", err);
    if (r->opt->annotation_captions) {
        region.caption = caption;
        region.match = rec->has_box ? coco_match(rec->image_id, rec->box, caption) : 0;
    }
    return mask_store_region(r->store, &region, &r->seg, &rec->at, err);
}

static enum status category_member(struct coco_reader *r, struct coco_record *rec,
                                   struct error *err)
{
    bool ok = true;

    if (json_key_is(r->j, "id"))
        return json_field_id(r->j, &rec->id, &rec->has_id, err);
    if (json_key_is(r->j, "name"))
        return json_field_text(r->j, &r->name, &rec->has_name, err);
    if (json_key_is(r->j, "supercategory")) {
        const enum status st = json_field_text(r->j, &r->super, &ok, err);
        rec->has_caption = ok;
        return st;
    }
    return json_skip(r->j, err);
}

static enum status keep_category(struct coco_reader *r, struct coco_record *rec, struct error *err)
{
    if (!rec->has_id || !rec->has_name)
        return ST_OK; /* regions that name it are quarantined */
    return mask_store_category(r->store, rec->id, (const char *)r->name.data,
                               rec->has_caption ? (const char *)r->super.data : NULL, err);
}

typedef enum status member_fn(struct coco_reader *r, struct coco_record *rec, struct error *err);

/* A list of objects: `member` reads one member of each, `keep` takes the whole. */
static enum status read_list(struct coco_reader *r, const char *name, member_fn *member,
                             member_fn *keep, struct error *err)
{
    enum json_event event;
    enum status st = json_next(r->j, &event, err);

    if (st == ST_OK && event != JSON_ARRAY_BEGIN)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": %s is no list",
                         json_offset(r->j), name);
    for (uint64_t n = 0; st == ST_OK; n++) {
        st = json_next(r->j, &event, err);
        if (st != ST_OK || event == JSON_ARRAY_END)
            break;
        struct coco_record rec = begin_record(r, n);
        segmentation_reset(&r->seg);
        bool open = event == JSON_OBJECT_BEGIN;
        need(&rec, open, "record-type", "not an object");
        if (event == JSON_ARRAY_BEGIN)
            st = json_skip(r->j, err);
        while (st == ST_OK && open) {
            st = json_next(r->j, &event, err);
            open = event != JSON_OBJECT_END;
            if (st == ST_OK && open)
                st = member(r, &rec, err);
        }
        if (st == ST_OK)
            st = keep(r, &rec, err);
    }
    return st;
}

static enum status read_annotations(struct coco_reader *r, bool second, struct error *err)
{
    if (!r->images_seen) {
        r->annotations_waiting = true;
        return json_skip(r->j, err);
    }
    if (r->annotations_seen && !second)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": annotations occur twice",
                         json_offset(r->j));
    r->annotations_seen = true;
    return read_list(r, "annotations", annotation_member, keep_annotation, err);
}

/* One walk over the file. In the second only the annotations are read. */
static enum status walk(struct coco_reader *r, bool second, struct error *err)
{
    enum json_event event;
    enum status st = json_next(r->j, &event, err);

    if (st == ST_OK && event != JSON_OBJECT_BEGIN)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "byte %" PRIu64 ": not a COCO-shaped file: no object", json_offset(r->j));
    while (st == ST_OK) {
        st = json_next(r->j, &event, err);
        if (st != ST_OK || event == JSON_OBJECT_END)
            break;
        if (json_key_is(r->j, "annotations")) {
            st = read_annotations(r, second, err);
        } else if (!second && json_key_is(r->j, "images")) {
            r->images_seen = true;
            st = read_list(r, "images", image_member, keep_image, err);
        } else if (!second && !r->opt->own_category && json_key_is(r->j, "categories")) {
            st = read_list(r, "categories", category_member, keep_category, err);
        } else {
            st = json_skip(r->j, err);
        }
    }
    return st == ST_OK ? json_next(r->j, &event, err)
                       : st; /* JSON_END, or bytes behind the value */
}

enum status coco_read(struct mask_store *store, const char *path, const struct coco_options *opt,
                      struct error *err)
{
    struct coco_reader r = { .store = store, .opt = opt, .path = path };
    struct json_file f = { .fd = -1 };
    enum status st = ST_OK;

    segmentation_init(&r.seg);
    for (int pass = 0; st == ST_OK && pass < 2; pass++) {
        if (pass == 1 && !r.annotations_waiting)
            break;
        st = json_file_open(&f, path, err);
        r.j = f.json;
        if (st == ST_OK)
            st = walk(&r, pass == 1, err);
        json_file_close(&f);
        if (st == ST_OK && pass == 0 && !r.images_seen)
            st = error_set(err, ST_FAIL, CAUSE_FORMAT, "not a COCO-shaped file: no images");
    }
    if (st == ST_OK && !r.annotations_seen)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "not a COCO-shaped file: no annotations");
    if (st != ST_OK)
        error_prefix(err, st, "%s", path);
    segmentation_clear(&r.seg);
    buffer_clear(&r.name);
    buffer_clear(&r.caption);
    buffer_clear(&r.super);
    buffer_clear(&r.key);
    return st;
}
