/* ingest/masks/vcr.c: see vcr.h. A line and its metadata file are small: both are read as trees. */
#include "ingest/masks/vcr.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "ingest/masks/vcr_private.h"

static const uint64_t LINE_MAX_BYTES = 64u << 20;

static enum status wrong(struct error *why, const char *code, const char *what)
{
    error_set(why, ST_SKIP, CAUSE_FORMAT, "%s", what);
    return error_code(why, ST_SKIP, code);
}

static const char *text_of(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    return m && m->type == JSON_T_STRING && !memchr(m->text, 0, m->size) ? m->text : NULL;
}

static const struct json_value *list_of(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    return m && m->type == JSON_T_ARRAY ? m : NULL;
}

static const struct json_value *item(const struct json_value *list, int64_t i)
{
    const struct json_value *c = list && i >= 0 ? list->child : NULL;
    while (c && i-- > 0)
        c = c->next;
    return c;
}

/* The token list of the right choice. */
static const struct json_value *choice(const struct json_value *v, const char *choices,
                                       const char *label)
{
    int64_t i = -1;
    const struct json_value *m = json_get(v, label);
    if (!m || !json_value_int64(m, &i))
        return NULL;
    const struct json_value *list = item(list_of(v, choices), i);
    return list && list->type == JSON_T_ARRAY ? list : NULL;
}

/* metadata_fn below the first root that has it. */
static enum status read_metadata(struct vcr *r, const char *name, struct json_value **out,
                                 struct error *why, struct error *err)
{
    char *path = NULL;
    struct buffer text;

    if (name[0] == '/' || strstr(name, ".."))
        return wrong(why, "vcr-metadata", "metadata_fn leads out of its folder");
    for (size_t i = 0; i < r->root_count && !path; i++) {
        path = path_join(r->roots[i], name);
        if (path && !file_exists(path)) {
            mem_free(path);
            path = NULL;
        }
    }
    if (!path)
        return wrong(why, "vcr-metadata", "there is no such metadata file");
    buffer_init(&text);
    enum status st = file_read_all(&text, path, LINE_MAX_BYTES, err);
    if (st == ST_OK && json_parse(&r->arena, out, text.data, text.size, NULL, why) != ST_OK)
        st = ST_SKIP;
    buffer_clear(&text);
    mem_free(path);
    return st;
}

/* [x1, y1, x2, y2, score] of object i as a box; false: it is none. */
static bool box_of(const struct json_value *metadata, size_t i, double box[4])
{
    const struct json_value *b = item(list_of(metadata, "boxes"), (int64_t)i);
    const struct json_value *c = b && b->type == JSON_T_ARRAY ? b->child : NULL;

    for (int k = 0; k < 4; k++, c = c->next) {
        if (!c || c->type != JSON_T_NUMBER || !isfinite(c->number))
            return false;
        box[k] = c->number;
    }
    box[2] -= box[0];
    box[3] -= box[1];
    return true;
}

/* The polygons of object i, the box behind them. */
static enum status set_mask(struct vcr *r, const struct json_value *metadata, size_t i,
                            struct error *why, struct error *err)
{
    const struct json_value *segms = item(list_of(metadata, "segms"), (int64_t)i);
    double box[4];
    enum status st = ST_OK;

    if (!box_of(metadata, i, box))
        return wrong(why, "vcr-box", "an object without a box of numbers");
    segmentation_reset(&r->seg);
    if (!segms || segms->type != JSON_T_ARRAY || !segms->child)
        return segmentation_set_box(&r->seg, box, err);
    for (const struct json_value *p = segms->child; st == ST_OK && p; p = p->next) {
        st = segmentation_begin_polygon(&r->seg, err);
        for (const struct json_value *xy = p->child; st == ST_OK && xy; xy = xy->next) {
            const struct json_value *x = xy->child, *y = x ? x->next : NULL;
            if (!y || x->type != JSON_T_NUMBER || y->type != JSON_T_NUMBER)
                return wrong(why, "vcr-polygon", "a polygon that is no list of [x, y]");
            st = segmentation_add_number(&r->seg, x->number, err);
            if (st == ST_OK)
                st = segmentation_add_number(&r->seg, y->number, err);
        }
    }
    r->seg.has_fallback = true;
    memcpy(r->seg.fallback, box, sizeof box);
    return st;
}

static enum status read_objects(struct vcr *r, const struct json_value *line, struct error *why)
{
    const struct json_value *list = list_of(line, "objects");

    r->object_count = 0;
    if (!list || list->count > VCR_OBJECTS_MAX)
        return wrong(why, "vcr-objects", "objects is no list, or a very long one");
    for (const struct json_value *c = list->child; c; c = c->next) {
        if (c->type != JSON_T_STRING)
            return wrong(why, "vcr-objects", "an object's class is no text");
        r->objects[r->object_count++] = c->text;
    }
    return ST_OK;
}

/* question, answer, rationale with marks; the objects in order of first mention. */
static enum status read_texts(struct vcr *r, const struct json_value *line, struct error *why,
                              struct error *err)
{
    const struct vcr_text texts[3] = {
        { text_of(line, "question_orig"), list_of(line, "question") },
        { text_of(line, "answer_orig"), choice(line, "answer_choices", "answer_label") },
        { text_of(line, "rationale_orig"), choice(line, "rationale_choices", "rationale_label") },
    };
    enum status st = ST_OK;

    r->turns.size = 0;
    r->mentioned = 0;
    for (int i = 0; st == ST_OK && i < 3; i++) {
        if (!texts[i].orig && !texts[i].tokens)
            return wrong(why, "vcr-text", "no question, answer or rationale");
        st = vcr_mark_text(r, &texts[i], err);
    }
    for (size_t k = 0; k < r->object_count && r->mentioned < VCR_FILL; k++)
        vcr_place(r, k);
    for (size_t k = 0; st == ST_OK && k < r->mentioned; k++) {
        st = vcr_append_clean(&r->turns, r->objects[r->order[k]], strlen(r->objects[r->order[k]]),
                              err);
        if (st == ST_OK)
            st = buffer_append(&r->turns, "\x1e", 1, err);
    }
    return st == ST_OK ? buffer_append(&r->turns, "", 1, err) : st;
}

static enum status declare(struct vcr *r, const struct json_value *line,
                           const struct json_value *metadata, uint32_t *instance, struct error *why,
                           struct error *err)
{
    const char *name = text_of(line, "img_fn"), *id = text_of(line, "annot_id");
    const struct json_value *h = json_get(metadata, "height"), *w = json_get(metadata, "width");
    int64_t height = 0, width = 0;

    if (!name || !id)
        return wrong(why, "vcr-schema", "no img_fn or no annot_id");
    if (!h || !w || !json_value_int64(h, &height) || !json_value_int64(w, &width) || height < 1 ||
        width < 1 || height > RLE_MAX_AREA || width > RLE_MAX_AREA)
        return wrong(why, "vcr-metadata", "metadata without a whole height and width");
    const struct mask_instance in = { .image_id = (int64_t)mask_store_instances(r->store) + 1,
                                      .key = id,
                                      .file_name = name,
                                      .turns = (const char *)r->turns.data,
                                      .original_id = -1,
                                      .h = (uint32_t)height,
                                      .w = (uint32_t)width };
    return mask_store_instance(r->store, &in, instance, err);
}

/* ST_SKIP: *why says what is wrong with the line. */
static enum status read_record(struct vcr *r, const struct json_value *line, struct error *why,
                               struct error *err)
{
    struct json_value *metadata = NULL;
    const char *name = text_of(line, "metadata_fn");
    uint32_t instance = 0;
    enum status st;

    if (line->type != JSON_T_OBJECT || !name)
        return wrong(why, "vcr-schema", "not an object with metadata_fn");
    st = read_objects(r, line, why);
    if (st == ST_OK)
        st = read_metadata(r, name, &metadata, why, err);
    if (st == ST_OK)
        st = read_texts(r, line, why, err);
    if (st == ST_OK)
        st = declare(r, line, metadata, &instance, why, err);
    for (size_t k = 0; st == ST_OK && k < r->mentioned; k++) {
        const struct mask_region region = {
            .instance = instance, .id = ++r->next_id, .original_id = (int64_t)k, .category = 1
        };
        struct error local = { 0 };
        st = set_mask(r, metadata, r->order[k], &local, err);
        if (st == ST_SKIP)
            st = mask_store_quarantine(r->store, &r->at, &local, err);
        else if (st == ST_OK)
            st = mask_store_region(r->store, &region, &r->seg, &r->at, err);
    }
    return st;
}

static enum status read_line(struct vcr *r, const char *line, size_t size, struct error *err)
{
    const struct arena_mark mark = arena_mark(&r->arena);
    struct json_value *v = NULL;
    struct error why = { 0 };
    enum status st;

    if (strspn(line, " \t\r") >= size)
        return ST_OK;
    st = json_parse(&r->arena, &v, line, size, NULL, &why);
    if (st != ST_OK && why.cause == CAUSE_NOMEM) {
        *err = why;
        return ST_FAIL;
    }
    st = st == ST_OK ? read_record(r, v, &why, err) : ST_SKIP;
    if (st == ST_SKIP)
        st = mask_store_quarantine(r->store, &r->at, &why, err);
    arena_release(&r->arena, mark);
    return st;
}

/* Lines of a file read in pieces; the last may lack its newline. */
static enum status read_lines(struct vcr *r, int fd, struct error *err)
{
    struct buffer text;
    size_t got = 1;
    enum status st = ST_OK;

    buffer_init(&text);
    while (st == ST_OK && got > 0) {
        size_t from = 0;
        st = buffer_reserve(&text, (1u << 20) + 1, err);
        if (st == ST_OK)
            st = file_read(fd, r->at.path, text.data + text.size, 1u << 20, &got, err);
        text.size += st == ST_OK ? got : 0;
        while (st == ST_OK && from < text.size) {
            char *line = (char *)text.data + from, *end = memchr(line, '\n', text.size - from);
            if (!end && got > 0)
                break;
            const size_t size = end ? (size_t)(end - line) : text.size - from;
            line[size] = '\0';
            r->at.length = size;
            st = read_line(r, line, size, err);
            r->at.offset += size + 1;
            r->at.record++;
            from += size + 1;
        }
        from = from < text.size ? from : text.size;
        memmove(text.data, text.data + from, text.size - from);
        text.size -= from;
        if (st == ST_OK && text.size > LINE_MAX_BYTES)
            st = error_set(err, ST_FAIL, CAUSE_LIMIT,
                           "line %" PRIu64 ": longer than %" PRIu64 " bytes", r->at.record,
                           LINE_MAX_BYTES);
    }
    buffer_clear(&text);
    return st;
}

enum status vcr_read(struct mask_store *store, const char *lines, const char *const *roots,
                     size_t root_count, struct error *err)
{
    struct vcr *r = mem_calloc(1, sizeof *r);
    int fd = -1;

    if (!r)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", lines);
    r->store = store;
    r->roots = roots;
    r->root_count = root_count;
    r->at.path = lines;
    arena_init(&r->arena, 0);
    segmentation_init(&r->seg);
    enum status st = mask_store_category(store, 1, "object", NULL, err);
    if (st == ST_OK)
        st = file_open_read(&fd, lines, NULL, err);
    if (st == ST_OK)
        st = read_lines(r, fd, err);
    if (fd >= 0)
        file_close(&fd, lines, NULL);
    segmentation_clear(&r->seg);
    buffer_clear(&r->turns);
    buffer_clear(&r->joined);
    arena_clear(&r->arena);
    mem_free(r);
    return st;
}
