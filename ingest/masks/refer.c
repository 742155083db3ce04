/* ingest/masks/refer.c: see refer.h. The pickle is held whole, instances.json is streamed twice: pictures
 * and categories first, then the annotations that some expression names. */
#include "ingest/masks/refer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "ingest/masks/json_fields.h"
#include "ingest/masks/pickle.h"

enum {
    SENTENCES_MAX = 10000000, /* shared structures make small pickles long: a walk is bounded */
};
#define NO_EXPRESSION UINT32_MAX
static const uint64_t PICKLE_BYTES_MAX = 1u << 30;

struct expression {
    int64_t ann_id, image_id;
    const char *text;
    uint32_t instance;
    uint32_t next; /* the next one of this annotation */
    uint32_t ref;  /* record in the pickle */
    bool placed, has_picture;
};
struct picture {
    const char *file_name;
    int64_t h, w;
};
struct refer {
    struct mask_store *store;
    const struct refer_options *opt;
    struct arena arena;
    char *pickle_path, *json_path;
    struct buffer expressions; /* struct expression */
    struct hash_map *by_annotation, *pictures;
    struct buffer picture_list; /* struct picture */
    struct buffer name, super;
    struct segmentation seg, copy;
};

static struct expression *expression_at(struct refer *r, size_t i)
{
    return (struct expression *)(void *)r->expressions.data + i;
}

static size_t expression_count(const struct refer *r)
{
    return r->expressions.size / sizeof(struct expression);
}

/* refs(unc).p, refs(umd).p before any other; the folder's only one otherwise. */
static enum status find_files(struct refer *r, const char *folder, struct error *err)
{
    static const char *const first[] = { "refs(unc).p", "refs(umd).p" };
    char **names = NULL;
    size_t n = 0;
    const char *found = NULL;
    enum status st = file_list(folder, &names, &n, err);

    for (size_t k = 0; st == ST_OK && !found && k < 2; k++)
        for (size_t i = 0; !found && i < n; i++)
            found = strcmp(names[i], first[k]) == 0 ? names[i] : NULL;
    for (size_t i = 0; st == ST_OK && !found && i < n; i++) {
        const size_t size = strlen(names[i]);
        if (strncmp(names[i], "refs", 4) == 0 && size > 6 && strcmp(names[i] + size - 2, ".p") == 0)
            found = names[i];
    }
    if (st == ST_OK && !found)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "%s: no refs(NAME).p in it", folder);
    if (st == ST_OK) {
        r->pickle_path = path_join(folder, found);
        r->json_path = path_join(folder, "instances.json");
        if (!r->pickle_path || !r->json_path)
            st = error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", folder);
    }
    file_list_free(&names, n);
    return st;
}

static bool get_int(const struct pickle_value *dict, const char *key, int64_t *out)
{
    const struct pickle_value *v = pickle_get(dict, key);
    if (!v || v->type != PICKLE_INT)
        return false;
    *out = v->integer;
    return true;
}

/* UTF-8 text of a string value in the arena; bytes that are none are refused, or read as Latin-1. */
static enum status get_text(struct refer *r, const struct pickle_value *v, const char **out,
                            struct error *err)
{
    struct buffer b;
    uint64_t replaced = 0;

    *out = NULL;
    if (!pickle_is_string(v) || (v->count && memchr(v->bytes, 0, v->count)))
        return ST_OK;
    buffer_init(&b);
    enum status st = utf8_repair(&b, v->bytes, v->count, &replaced, err);
    if (st == ST_OK && replaced && !r->opt->latin1) {
        buffer_clear(&b);
        return ST_OK;
    }
    b.size = replaced ? 0 : b.size;
    for (size_t i = 0; st == ST_OK && replaced && i < v->count; i++) {
        const unsigned c = (unsigned char)v->bytes[i];
        const uint8_t two[2] = { (uint8_t)(c < 0x80 ? c : 0xc0 | c >> 6),
                                 (uint8_t)(0x80 | (c & 0x3f)) };
        st = buffer_append(&b, two, c < 0x80 ? 1 : 2, err);
    }
    if (st == ST_OK) {
        *out = arena_strndup(&r->arena, (const char *)b.data, b.size);
        if (!*out)
            st = error_set(err, ST_FAIL, CAUSE_NOMEM, "expressions");
    }
    buffer_clear(&b);
    return st;
}

static enum status quarantine(struct refer *r, uint64_t ref, const char *code, const char *what,
                              struct error *err)
{
    const struct mask_origin at = { .path = r->pickle_path, .record = ref };
    struct error why = { 0 };

    error_set(&why, ST_SKIP, CAUSE_FORMAT, "ref %" PRIu64 ": %s", ref, what);
    error_code(&why, ST_SKIP, code);
    return mask_store_quarantine(r->store, &at, &why, err);
}

/* The expressions of one ref. */
static enum status add_ref(struct refer *r, const struct pickle_value *ref, uint64_t number,
                           struct error *err)
{
    const struct pickle_value *split = pickle_get(ref, "split");
    const struct pickle_value *sentences = pickle_get(ref, "sentences");
    struct expression e = { .ref = (uint32_t)number };
    enum status st = ST_OK;

    if (pickle_is_string(split) && (split->count != strlen(r->opt->split) ||
                                    memcmp(split->bytes, r->opt->split, split->count) != 0))
        return ST_OK;
    if (!pickle_is_string(split) || !get_int(ref, "ann_id", &e.ann_id) ||
        !get_int(ref, "image_id", &e.image_id) || !sentences || sentences->type != PICKLE_LIST)
        return quarantine(r, number, "ref-schema", "no split, ann_id, image_id or sentences", err);
    for (size_t i = 0; st == ST_OK && i < sentences->count; i++) {
        st = get_text(r, pickle_get(sentences->items[i], "sent"), &e.text, err);
        if (st == ST_OK && !e.text)
            st = quarantine(r, number, "ref-sentence", "a sentence without text in UTF-8", err);
        else if (st == ST_OK && e.text[strspn(e.text, " \t\r\n")] == '\0')
            st = mask_store_filter(r->store, "empty-caption", err);
        else if (st == ST_OK)
            st = buffer_append(&r->expressions, &e, sizeof e, err);
        if (st == ST_OK && expression_count(r) > SENTENCES_MAX)
            return error_set(err, ST_FAIL, CAUSE_LIMIT, "more than %d sentences", SENTENCES_MAX);
    }
    return st;
}

static enum status read_pickle(struct refer *r, struct error *err)
{
    struct buffer file;
    struct pickle_value *root = NULL;

    buffer_init(&file);
    enum status st = file_read_all(&file, r->pickle_path, PICKLE_BYTES_MAX, err);
    if (st == ST_OK)
        st = pickle_parse(&root, &r->arena, file.data, file.size, NULL, err);
    if (st == ST_OK && root->type != PICKLE_LIST)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "not a list of refs");
    for (size_t i = 0; st == ST_OK && i < root->count; i++)
        st = add_ref(r, root->items[i], i, err);
    if (st != ST_OK)
        error_prefix(err, st, "%s", path_base(r->pickle_path));
    buffer_clear(&file);
    return st;
}

static void id_key(uint8_t key[8], int64_t id)
{
    store_u64le(key, (uint64_t)id);
}

static enum status picture_row(struct refer *r, struct json *j, struct error *err)
{
    struct picture p = { 0 };
    int64_t id = 0;
    bool has_id = false, has_name = false, has_h = false, has_w = false;
    enum json_event event;
    enum status st;

    while ((st = json_next(j, &event, err)) == ST_OK && event != JSON_OBJECT_END) {
        if (json_key_is(j, "id"))
            st = json_field_id(j, &id, &has_id, err);
        else if (json_key_is(j, "file_name"))
            st = json_field_text(j, &r->name, &has_name, err);
        else if (json_key_is(j, "height"))
            st = json_field_int64(j, &p.h, &has_h, err);
        else if (json_key_is(j, "width"))
            st = json_field_int64(j, &p.w, &has_w, err);
        else
            st = json_skip(j, err);
        if (st != ST_OK)
            return st;
    }
    if (st != ST_OK || !has_id || !has_name || !has_h || !has_w || p.h < 1 || p.w < 1 ||
        p.h > RLE_MAX_AREA || p.w > RLE_MAX_AREA)
        return st; /* expressions on it find no picture and are quarantined */
    uint8_t key[8];
    uint64_t at = r->picture_list.size / sizeof p;
    id_key(key, id);
    st = hash_map_insert(r->pictures, key, sizeof key, &at, err);
    if (st != ST_OK)
        return st == ST_SKIP ? ST_OK : st;
    p.file_name = arena_strndup(&r->arena, (const char *)r->name.data, r->name.size);
    if (!p.file_name)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "pictures");
    return buffer_append(&r->picture_list, &p, sizeof p, err);
}

static enum status category_row(struct refer *r, struct json *j, struct error *err)
{
    int64_t id = 0;
    bool has_id = false, has_name = false, has_super = false;
    enum json_event event;
    enum status st;

    while ((st = json_next(j, &event, err)) == ST_OK && event != JSON_OBJECT_END) {
        if (json_key_is(j, "id"))
            st = json_field_id(j, &id, &has_id, err);
        else if (json_key_is(j, "name"))
            st = json_field_text(j, &r->name, &has_name, err);
        else if (json_key_is(j, "supercategory"))
            st = json_field_text(j, &r->super, &has_super, err);
        else
            st = json_skip(j, err);
        if (st != ST_OK)
            return st;
    }
    if (st != ST_OK || !has_id || !has_name)
        return st;
    return mask_store_category(r->store, id, (const char *)r->name.data,
                               has_super ? (const char *)r->super.data : NULL, err);
}

/* Every expression of the annotation gets a region of its own. */
static enum status annotation_found(struct refer *r, int64_t id, int64_t category, bool crowd,
                                    const struct mask_origin *at, struct error *err)
{
    uint8_t key[8];
    uint64_t first = 0;
    enum status st = ST_OK;

    id_key(key, id);
    if (!hash_map_get(r->by_annotation, key, sizeof key, &first))
        return ST_OK;
    for (uint32_t i = (uint32_t)first; st == ST_OK && i != NO_EXPRESSION;) {
        struct expression *e = expression_at(r, i);
        const struct mask_region region = { .instance = e->instance,
                                            .id = (int64_t)i + 1,
                                            .original_id = id,
                                            .category = category,
                                            .crowd = crowd };
        const bool use = e->has_picture && !e->placed;
        e->placed = true;
        i = e->next;
        if (!use)
            continue;
        st = segmentation_copy(&r->copy, &r->seg, err);
        if (st == ST_OK)
            st = mask_store_region(r->store, &region, &r->copy, at, err);
    }
    return st;
}

static enum status annotation_row(struct refer *r, struct json *j, uint64_t number,
                                  struct error *err)
{
    struct mask_origin at = { .path = r->json_path, .record = number, .offset = json_offset(j) };
    int64_t id = 0, category = 0;
    bool has_id = false, has_category = false, crowd = false, ok = true;
    enum json_event event;
    enum status st;

    segmentation_reset(&r->seg);
    while ((st = json_next(j, &event, err)) == ST_OK && event != JSON_OBJECT_END) {
        if (json_key_is(j, "id")) {
            st = json_field_id(j, &id, &has_id, err);
        } else if (json_key_is(j, "category_id")) {
            st = json_field_id(j, &category, &has_category, err);
        } else if (json_key_is(j, "iscrowd")) {
            st = json_field_bool(j, &crowd, &ok, err);
        } else if (json_key_is(j, "segmentation")) {
            st = json_next(j, &event, err);
            if (st == ST_OK)
                st = segmentation_read(&r->seg, j, event, err);
        } else {
            st = json_skip(j, err);
        }
        if (st != ST_OK)
            return st;
    }
    at.length = json_offset(j) + 1 - at.offset;
    /* without an id no expression finds it; without a category it is found and quarantined */
    return st == ST_OK && has_id
               ? annotation_found(r, id, has_category ? category : INT64_MIN, crowd, &at, err)
               : st;
}

static enum status read_rows(struct refer *r, struct json *j, const char *list, struct error *err)
{
    enum json_event event;
    enum status st = json_next(j, &event, err);

    if (st == ST_OK && event != JSON_ARRAY_BEGIN)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": %s is no list",
                         json_offset(j), list);
    for (uint64_t n = 0; st == ST_OK; n++) {
        st = json_next(j, &event, err);
        if (st != ST_OK || event == JSON_ARRAY_END)
            break;
        if (event != JSON_OBJECT_BEGIN)
            st = json_skip(j, err);
        else if (list[0] == 'i')
            st = picture_row(r, j, err);
        else if (list[0] == 'c')
            st = category_row(r, j, err);
        else
            st = annotation_row(r, j, n, err);
    }
    return st;
}

static enum status walk_instances(struct refer *r, bool annotations, struct error *err)
{
    struct json_file f = { .fd = -1 };
    enum json_event event = JSON_NULL;
    enum status st = json_file_open(&f, r->json_path, err);

    if (st == ST_OK)
        st = json_next(f.json, &event, err);
    if (st == ST_OK && event != JSON_OBJECT_BEGIN)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "not a COCO-shaped file: no object");
    while (st == ST_OK && (st = json_next(f.json, &event, err)) == ST_OK &&
           event != JSON_OBJECT_END) {
        if (annotations && json_key_is(f.json, "annotations"))
            st = read_rows(r, f.json, "annotations", err);
        else if (!annotations && json_key_is(f.json, "images"))
            st = read_rows(r, f.json, "images", err);
        else if (!annotations && json_key_is(f.json, "categories"))
            st = read_rows(r, f.json, "categories", err);
        else
            st = json_skip(f.json, err);
    }
    if (st == ST_OK)
        st = json_next(f.json, &event, err);
    if (st != ST_OK)
        error_prefix(err, st, "%s", r->json_path);
    json_file_close(&f);
    return st;
}

/* One instance an expression; expressions of one annotation are chained, first one first. */
static enum status declare(struct refer *r, struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = expression_count(r); st == ST_OK && i-- > 0;) {
        struct expression *e = expression_at(r, i);
        uint8_t key[8];
        uint64_t head = i;
        id_key(key, e->ann_id);
        e->next = NO_EXPRESSION;
        st = hash_map_insert(r->by_annotation, key, sizeof key, &head, err);
        if (st == ST_SKIP) {
            e->next = (uint32_t)head;
            hash_map_set(r->by_annotation, key, sizeof key, i);
            st = ST_OK;
        }
    }
    for (size_t i = 0; st == ST_OK && i < expression_count(r); i++) {
        struct expression *e = expression_at(r, i);
        uint8_t key[8];
        char number[24];
        uint64_t at = 0;
        id_key(key, e->image_id);
        if (!hash_map_get(r->pictures, key, sizeof key, &at))
            continue;
        const struct picture *p = (const struct picture *)(const void *)r->picture_list.data + at;
        snprintf(number, sizeof number, "%zu", i + 1);
        const struct mask_instance in = { .image_id = (int64_t)i + 1,
                                          .key = number,
                                          .file_name = p->file_name,
                                          .caption = e->text,
                                          .original_id = e->image_id,
                                          .h = (uint32_t)p->h,
                                          .w = (uint32_t)p->w };
        e->has_picture = true;
        st = mask_store_instance(r->store, &in, &e->instance, err);
    }
    return st;
}

static enum status quarantine_missing(struct refer *r, struct error *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < expression_count(r); i++) {
        const struct expression *e = expression_at(r, i);
        if (!e->has_picture)
            st = quarantine(r, e->ref, "ref-image", "instances.json has no such image", err);
        else if (!e->placed)
            st = quarantine(r, e->ref, "ref-annotation", "instances.json has no such annotation",
                            err);
    }
    return st;
}

enum status refer_read(struct mask_store *store, const char *folder,
                       const struct refer_options *opt, struct error *err)
{
    struct refer r = { .store = store, .opt = opt };

    arena_init(&r.arena, 0);
    segmentation_init(&r.seg);
    segmentation_init(&r.copy);
    enum status st = hash_map_open(&r.by_annotation, 1024, err);
    if (st == ST_OK)
        st = hash_map_open(&r.pictures, 1024, err);
    if (st == ST_OK)
        st = find_files(&r, folder, err);
    if (st == ST_OK)
        st = read_pickle(&r, err);
    if (st == ST_OK)
        st = walk_instances(&r, false, err);
    if (st == ST_OK)
        st = declare(&r, err);
    if (st == ST_OK)
        st = walk_instances(&r, true, err);
    if (st == ST_OK)
        st = quarantine_missing(&r, err);
    segmentation_clear(&r.seg);
    segmentation_clear(&r.copy);
    buffer_clear(&r.expressions);
    buffer_clear(&r.picture_list);
    buffer_clear(&r.name);
    buffer_clear(&r.super);
    hash_map_close(&r.by_annotation);
    hash_map_close(&r.pictures);
    mem_free(r.pickle_path);
    mem_free(r.json_path);
    arena_clear(&r.arena);
    return st;
}
