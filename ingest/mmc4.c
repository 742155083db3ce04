/* ingest/mmc4.c: see mmc4.h. The line is pulled once, without a tree; the similarity matrix is skipped and
 * looked into afterwards, when it is known which of its cells matter. */
#include "ingest/mmc4.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"

enum list_state { LIST_ABSENT, LIST_GOOD, LIST_BAD, LIST_NUL };

struct mmc4 {
    struct json *json;
    struct arena arena;
    struct arena_mark start;
    struct text *texts; /* owned; of the current document */
    size_t texts_cap;
    struct document_image *images; /* owned */
    size_t images_cap;
    enum list_state text_list, image_info;
    uint64_t bad_at;      /* element that made text_list bad */
    const char *bad_kind; /* what was found there */
    uint64_t matrix;      /* offset in the stream of similarity_matrix's value; 0: none */
    bool has_matrix;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "document: out of memory");
}

enum status mmc4_open(struct mmc4 **out, const struct source_limits *limits, struct error *err)
{
    struct source_limits defaults;
    struct json_options opt;
    struct mmc4 *p = mem_calloc(1, sizeof *p);
    *out = p;
    if (!p)
        return no_memory(err);
    source_limits_init(&defaults);
    limits = limits ? limits : &defaults;
    json_options_init(&opt);
    opt.max_depth = limits->max_depth;
    opt.max_string = (size_t)limits->max_string;
    opt.max_members = (size_t)limits->max_object;
    arena_init(&p->arena, 0);
    enum status st = json_open(&p->json, "", 0, &opt, err);
    if (st == ST_OK && !arena_alloc(&p->arena, 1, 1)) /* the first block stays */
        st = no_memory(err);
    p->start = arena_mark(&p->arena);
    if (st != ST_OK)
        mmc4_close(out);
    return st;
}

void mmc4_close(struct mmc4 **p)
{
    if (!p || !*p)
        return;
    json_close(&(*p)->json);
    arena_clear(&(*p)->arena);
    mem_free((*p)->texts);
    mem_free((*p)->images);
    mem_free(*p);
    *p = NULL;
}

static enum status take_text(struct mmc4 *p, struct text *out, struct error *err)
{
    size_t size = 0;
    const char *s = json_text(p->json, &size);
    out->data = arena_strndup(&p->arena, s, size);
    out->size = size;
    return out->data ? ST_OK : no_memory(err);
}

static const char *kind_name(enum json_event e)
{
    switch (e) {
    case JSON_NULL:
        return "null";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a bool";
    case JSON_NUMBER:
        return "a number";
    case JSON_STRING:
        return "a string";
    case JSON_ARRAY_BEGIN:
        return "a list";
    case JSON_OBJECT_BEGIN:
        return "an object";
    case JSON_KEY:
    case JSON_ARRAY_END:
    case JSON_OBJECT_END:
    case JSON_END:
        break;
    }
    return "nothing";
}

/* A string member that may be of any type: another type leaves it absent. */
static enum status read_string(struct mmc4 *p, struct text *out, enum json_event e,
                               struct error *err)
{
    *out = (struct text){ NULL, 0 };
    return e == JSON_STRING ? take_text(p, out, err) : json_skip(p->json, err);
}

static enum status add_text(struct mmc4 *p, struct document *d, struct error *err)
{
    if (d->sentence_count == p->texts_cap) {
        const size_t cap = p->texts_cap ? 2 * p->texts_cap : 64;
        struct text *grown = mem_realloc(p->texts, cap, sizeof *grown);
        if (!grown)
            return no_memory(err);
        p->texts = grown;
        p->texts_cap = cap;
    }
    struct text *t = &p->texts[d->sentence_count++];
    const enum status st = take_text(p, t, err);
    if (st == ST_OK && p->text_list == LIST_GOOD && memchr(t->data, 0, t->size)) {
        p->text_list = LIST_NUL;
        p->bad_at = d->sentence_count - 1;
    }
    return st;
}

static enum status read_text_list(struct mmc4 *p, struct document *d, enum json_event e,
                                  struct error *err)
{
    d->sentence_count = 0;
    p->text_list = e == JSON_ARRAY_BEGIN ? LIST_GOOD : LIST_BAD;
    p->bad_at = UINT64_MAX;
    p->bad_kind = kind_name(e);
    if (e != JSON_ARRAY_BEGIN)
        return json_skip(p->json, err);
    for (uint64_t i = 0;; i++) {
        enum status st = json_next(p->json, &e, err);
        if (st != ST_OK || e == JSON_ARRAY_END)
            return st;
        if (e == JSON_STRING) {
            st = add_text(p, d, err);
        } else {
            if (p->text_list != LIST_BAD) {
                p->bad_at = i;
                p->bad_kind = kind_name(e);
            }
            p->text_list = LIST_BAD;
            st = json_skip(p->json, err);
        }
        if (st != ST_OK)
            return st;
    }
}

static bool key_is(const struct mmc4 *p, const char *key)
{
    size_t size = 0;
    const char *s = json_text(p->json, &size);
    return size == strlen(key) && memcmp(s, key, size) == 0;
}

/* The value of the current key of an image entry. */
static enum status read_image_member(struct mmc4 *p, struct document_image *m, struct error *err)
{
    const bool name = key_is(p, "image_name"), url = key_is(p, "raw_url"),
               index = key_is(p, "matched_text_index"), sim = key_is(p, "matched_sim");
    enum json_event e = JSON_NULL;
    if (!name && !url && !index && !sim)
        return json_skip(p->json, err);
    enum status st = json_next(p->json, &e, err);
    if (st != ST_OK)
        return st;
    if (name) {
        m->usable = e == JSON_STRING;
        return read_string(p, &m->name, e, err);
    }
    if (url)
        return read_string(p, &m->raw_url, e, err);
    if (index) {
        m->has_sentence = json_int64(p->json, &m->sentence);
    } else {
        m->has_similarity = e == JSON_NUMBER;
        m->similarity = m->has_similarity ? json_double(p->json) : 0.0;
    }
    return json_skip(p->json, err);
}

static enum status read_image(struct mmc4 *p, struct document *d, enum json_event e,
                              struct error *err)
{
    if (d->image_count == p->images_cap) {
        const size_t cap = p->images_cap ? 2 * p->images_cap : 16;
        struct document_image *grown = mem_realloc(p->images, cap, sizeof *grown);
        if (!grown)
            return no_memory(err);
        p->images = grown;
        p->images_cap = cap;
    }
    struct document_image *m = &p->images[d->image_count++];
    *m = (struct document_image){ 0 };
    if (e != JSON_OBJECT_BEGIN)
        return json_skip(p->json, err);
    for (;;) {
        enum status st = json_next(p->json, &e, err);
        if (st != ST_OK || e == JSON_OBJECT_END)
            return st;
        st = read_image_member(p, m, err);
        if (st != ST_OK)
            return st;
    }
}

static enum status read_image_info(struct mmc4 *p, struct document *d, enum json_event e,
                                   struct error *err)
{
    d->image_count = 0;
    p->image_info = e == JSON_ARRAY_BEGIN ? LIST_GOOD : LIST_BAD;
    if (e != JSON_ARRAY_BEGIN)
        return json_skip(p->json, err);
    for (;;) {
        enum status st = json_next(p->json, &e, err);
        if (st != ST_OK || e == JSON_ARRAY_END)
            return st;
        st = read_image(p, d, e, err);
        if (st != ST_OK)
            return st;
    }
}

/* The value of the current key of the document. A key that comes again replaces what it was. */
static enum status read_member(struct mmc4 *p, struct document *d, struct error *err)
{
    const bool url = key_is(p, "url"), texts = key_is(p, "text_list"),
               images = key_is(p, "image_info"), matrix = key_is(p, "similarity_matrix"),
               flag = key_is(p, "could_have_url_duplicate");
    enum json_event e = JSON_NULL;
    if (!url && !texts && !images && !matrix && !flag)
        return json_skip(p->json, err);
    const enum status st = json_next(p->json, &e, err);
    if (st != ST_OK)
        return st;
    if (url)
        return read_string(p, &d->url, e, err);
    if (texts)
        return read_text_list(p, d, e, err);
    if (images)
        return read_image_info(p, d, e, err);
    if (flag) {
        int64_t n = 0;
        d->flagged = e == JSON_TRUE || (json_int64(p->json, &n) && n == 1);
        return json_skip(p->json, err);
    }
    p->has_matrix = e == JSON_ARRAY_BEGIN;
    p->matrix = json_offset(p->json);
    return json_skip(p->json, err);
}

static enum status read_line(struct mmc4 *p, struct document *d, struct error *err)
{
    enum json_event e = JSON_NULL;
    enum status st = json_next(p->json, &e, err);
    if (st == ST_OK && e != JSON_OBJECT_BEGIN) {
        st = json_skip(p->json, err); /* a syntax error says more */
        if (st == ST_OK)
            st = json_next(p->json, &e, err);
        return st == ST_OK ? ST_END : st;
    }
    while (st == ST_OK) {
        st = json_next(p->json, &e, err);
        if (st != ST_OK || e == JSON_OBJECT_END)
            break;
        st = read_member(p, d, err);
    }
    return st == ST_OK ? json_next(p->json, &e, err) : st; /* nothing may follow */
}

static enum status schema(struct error *err, struct text *found, struct text *allowed,
                          const char *pointer, const char *got, const char *want)
{
    *found = (struct text){ got, strlen(got) };
    *allowed = (struct text){ want, strlen(want) };
    error_set(err, ST_SKIP, CAUSE_FORMAT, "%s: got %s, want %s", pointer, got, want);
    return error_code(err, ST_SKIP, "record-schema");
}

static enum status check(const struct mmc4 *p, const struct document *d, struct text *found,
                         struct text *allowed, struct error *err)
{
    static const char strings[] = "a list of strings, not empty";
    char pointer[48] = "/text_list";
    if (p->text_list == LIST_ABSENT)
        return schema(err, found, allowed, pointer, "nothing", strings);
    if (p->text_list != LIST_GOOD && p->bad_at != UINT64_MAX)
        snprintf(pointer, sizeof pointer, "/text_list/%" PRIu64, p->bad_at);
    if (p->text_list == LIST_NUL) {
        *found = (struct text){ "U+0000", 6 };
        error_set(err, ST_SKIP, CAUSE_FORMAT, "%s: U+0000 in the text", pointer);
        return error_code(err, ST_SKIP, "text-nul");
    }
    if (p->text_list == LIST_BAD)
        return schema(err, found, allowed, pointer, p->bad_kind, strings);
    if (d->sentence_count == 0)
        return schema(err, found, allowed, pointer, "an empty list", strings);
    if (p->image_info != LIST_GOOD)
        return schema(err, found, allowed, "/image_info",
                      p->image_info == LIST_ABSENT ? "nothing" : "no list", "a list");
    return ST_OK;
}

/* One row: the cell that image `m` points to. */
static enum status read_row(struct mmc4 *p, struct document_image *m, struct error *err)
{
    enum json_event e = JSON_NULL;
    for (int64_t column = 0;; column++) {
        enum status st = json_next(p->json, &e, err);
        if (st != ST_OK || e == JSON_ARRAY_END)
            return st;
        if (e == JSON_NUMBER && m->has_sentence && m->sentence == column) {
            m->has_matrix = true;
            m->matrix = json_double(p->json);
        }
        st = json_skip(p->json, err);
        if (st != ST_OK)
            return st;
    }
}

/* The matrix again, for the cells that the images point to. It was read before, so it is sound. */
static enum status read_matrix(struct mmc4 *p, const struct document *d, const uint8_t *line,
                               size_t size, uint64_t offset, struct error *err)
{
    enum json_event e = JSON_NULL;
    const size_t at = (size_t)(p->matrix - offset);
    json_restart(p->json, line + at, size - at, p->matrix);
    enum status st = json_next(p->json, &e, err);
    for (size_t i = 0; st == ST_OK && i < d->image_count; i++) {
        st = json_next(p->json, &e, err);
        if (st != ST_OK || e == JSON_ARRAY_END)
            break;
        st = e == JSON_ARRAY_BEGIN ? read_row(p, &p->images[i], err) : json_skip(p->json, err);
    }
    return st;
}

enum status mmc4_parse(struct mmc4 *p, struct document *d, struct text *found, struct text *allowed,
                       const uint8_t *line, size_t size, uint64_t offset, struct error *err)
{
    arena_release(&p->arena, p->start);
    *d = (struct document){ .arena = &p->arena, .kind = DOCUMENT_INTERLEAVED };
    *found = *allowed = (struct text){ NULL, 0 };
    p->text_list = p->image_info = LIST_ABSENT;
    p->has_matrix = false;
    json_restart(p->json, line, size, offset);
    enum status st = read_line(p, d, err);
    d->replaced = json_replaced(p->json);
    d->sentences = p->texts;
    d->images = p->images;
    if (st == ST_END)
        return schema(err, found, allowed, "/", "no object", "an object");
    if (st == ST_OK)
        st = check(p, d, found, allowed, err);
    if (st == ST_OK && p->has_matrix && d->image_count > 0)
        st = read_matrix(p, d, line, size, offset, err);
    return st == ST_FAIL && err && (err->cause == CAUSE_FORMAT || err->cause == CAUSE_LIMIT)
               ? ST_SKIP
               : st;
}
