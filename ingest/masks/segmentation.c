/* ingest/masks/segmentation.c: see segmentation.h. */
#include "ingest/masks/segmentation.h"

#include <inttypes.h>
#include <string.h>

#include "ingest/masks/json_fields.h"

void segmentation_init(struct segmentation *s)
{
    memset(s, 0, sizeof *s);
    buffer_init(&s->text);
}

void segmentation_clear(struct segmentation *s)
{
    mem_free(s->numbers);
    mem_free(s->sizes);
    mem_free(s->counts);
    buffer_clear(&s->text);
    segmentation_init(s);
}

void segmentation_reset(struct segmentation *s)
{
    s->kind = SEGMENTATION_ABSENT;
    s->code = NULL;
    s->h = s->w = 0;
    s->n_numbers = s->n_polygons = s->n_counts = 0;
    s->text.size = 0;
    s->has_fallback = false;
}

/* Room for one more element; `*p` may move. */
static void *room(void *p, size_t *cap, size_t n, size_t size, struct error *err)
{
    if (n < *cap)
        return p;
    const size_t more = *cap ? 2 * *cap : 64;
    void *q = mem_realloc(p, more, size);
    if (!q) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "segmentation of %zu numbers", more);
        return NULL;
    }
    *cap = more;
    return q;
}

static void wrong(struct segmentation *s, const char *code)
{
    s->kind = SEGMENTATION_BAD;
    if (!s->code)
        s->code = code;
}

enum status segmentation_begin_polygon(struct segmentation *s, struct error *err)
{
    size_t *sizes = room(s->sizes, &s->sizes_cap, s->n_polygons, sizeof *sizes, err);
    if (!sizes)
        return ST_FAIL;
    s->sizes = sizes;
    s->sizes[s->n_polygons++] = 0;
    if (s->kind == SEGMENTATION_ABSENT)
        s->kind = SEGMENTATION_POLYGONS;
    return ST_OK;
}

enum status segmentation_add_number(struct segmentation *s, double v, struct error *err)
{
    if (s->n_numbers == SEGMENTATION_MAX_NUMBERS) {
        wrong(s, "mask-work");
        return ST_OK;
    }
    double *numbers = room(s->numbers, &s->numbers_cap, s->n_numbers, sizeof *numbers, err);
    if (!numbers)
        return ST_FAIL;
    s->numbers = numbers;
    s->numbers[s->n_numbers++] = v;
    s->sizes[s->n_polygons - 1]++;
    return ST_OK;
}

static enum status add_count(struct segmentation *s, int64_t v, struct error *err)
{
    if (s->n_counts == SEGMENTATION_MAX_NUMBERS) {
        wrong(s, "mask-work");
        return ST_OK;
    }
    int64_t *counts = room(s->counts, &s->counts_cap, s->n_counts, sizeof *counts, err);
    if (!counts)
        return ST_FAIL;
    s->counts = counts;
    s->counts[s->n_counts++] = v;
    return ST_OK;
}

enum status segmentation_set_box(struct segmentation *s, const double box[4], struct error *err)
{
    segmentation_reset(s);
    enum status st = segmentation_begin_polygon(s, err);
    for (int i = 0; st == ST_OK && i < 4; i++)
        st = segmentation_add_number(s, box[i], err);
    s->kind = SEGMENTATION_BOX;
    return st;
}

enum status segmentation_set_bytes(struct segmentation *s, int64_t h, int64_t w,
                                   const uint8_t *bytes, struct error *err)
{
    const size_t area = (size_t)h * (size_t)w;
    enum status st = ST_OK;
    bool inside = false;

    segmentation_reset(s);
    s->h = h;
    s->w = w;
    for (size_t i = 0, first = 0; st == ST_OK && i < area; first = i, inside = !inside) {
        while (i < area && (bytes[i] != 0) == inside)
            i++;
        st = add_count(s, (int64_t)(i - first), err);
    }
    if (s->kind != SEGMENTATION_BAD)
        s->kind = SEGMENTATION_COUNTS;
    return st;
}

enum status segmentation_set_string(struct segmentation *s, int64_t h, int64_t w, const char *text,
                                    size_t size, struct error *err)
{
    segmentation_reset(s);
    s->kind = SEGMENTATION_STRING;
    s->h = h;
    s->w = w;
    return buffer_append(&s->text, text, size, err);
}

enum status segmentation_copy(struct segmentation *out, const struct segmentation *s,
                              struct error *err)
{
    enum status st = ST_OK;
    const double *xy = s->numbers;

    segmentation_reset(out);
    for (size_t i = 0; st == ST_OK && i < s->n_polygons; i++) {
        st = segmentation_begin_polygon(out, err);
        for (size_t k = 0; st == ST_OK && k < s->sizes[i]; k++)
            st = segmentation_add_number(out, *xy++, err);
    }
    for (size_t i = 0; st == ST_OK && i < s->n_counts; i++)
        st = add_count(out, s->counts[i], err);
    if (st == ST_OK && s->text.size)
        st = buffer_append(&out->text, s->text.data, s->text.size, err);
    out->kind = s->kind;
    out->code = s->code;
    out->h = s->h;
    out->w = s->w;
    out->has_fallback = s->has_fallback;
    memcpy(out->fallback, s->fallback, sizeof out->fallback);
    return st;
}

/* The numbers of one polygon, up to its closing bracket. */
static enum status read_polygon(struct segmentation *s, struct json *j, struct error *err)
{
    enum json_event event;
    enum status st = segmentation_begin_polygon(s, err);

    while (st == ST_OK && (st = json_next(j, &event, err)) == ST_OK && event != JSON_ARRAY_END) {
        if (event == JSON_NUMBER) {
            st = segmentation_add_number(s, json_double(j), err);
        } else {
            wrong(s, "mask-not-a-number");
            st = json_skip(j, err);
        }
    }
    return st;
}

static enum status read_polygons(struct segmentation *s, struct json *j, struct error *err)
{
    enum json_event event;
    enum status st;

    s->kind = SEGMENTATION_POLYGONS;
    while ((st = json_next(j, &event, err)) == ST_OK && event != JSON_ARRAY_END) {
        if (event == JSON_ARRAY_BEGIN) {
            st = read_polygon(s, j, err);
        } else {
            wrong(s, "mask-not-a-list");
            st = json_skip(j, err);
        }
        if (st != ST_OK)
            break;
    }
    return st;
}

/* "size": [h, w] */
static enum status read_size(struct segmentation *s, struct json *j, struct error *err)
{
    enum json_event event;
    enum status st = json_next(j, &event, err);
    int64_t sides[2] = { 0 };
    int n = 0;

    if (st == ST_OK && event != JSON_ARRAY_BEGIN) {
        wrong(s, "mask-size");
        return json_skip(j, err);
    }
    while (st == ST_OK && (st = json_next(j, &event, err)) == ST_OK && event != JSON_ARRAY_END) {
        if (n < 2 && event == JSON_NUMBER && json_int64(j, &sides[n]) && sides[n] >= 1) {
            n++;
        } else {
            wrong(s, "mask-size");
            st = event == JSON_NUMBER ? ST_OK : json_skip(j, err);
        }
    }
    s->h = sides[0];
    s->w = sides[1];
    if (st == ST_OK && n != 2)
        wrong(s, "mask-size");
    return st;
}

/* "counts": [runs] or "string" */
static enum status read_counts(struct segmentation *s, struct json *j, struct error *err)
{
    enum json_event event;
    enum status st = json_next(j, &event, err);

    if (st == ST_OK && event == JSON_STRING) {
        size_t size = 0;
        const char *text = json_text(j, &size);
        s->text.size = 0;
        if (s->kind != SEGMENTATION_BAD)
            s->kind = SEGMENTATION_STRING;
        return buffer_append(&s->text, text, size, err);
    }
    if (st == ST_OK && event != JSON_ARRAY_BEGIN) {
        wrong(s, "mask-not-a-list");
        return json_skip(j, err);
    }
    s->n_counts = 0;
    if (s->kind != SEGMENTATION_BAD)
        s->kind = SEGMENTATION_COUNTS;
    while (st == ST_OK && (st = json_next(j, &event, err)) == ST_OK && event != JSON_ARRAY_END) {
        int64_t v = 0;
        if (event == JSON_NUMBER && json_int64(j, &v)) {
            st = add_count(s, v, err);
        } else {
            wrong(s, "mask-not-an-integer");
            st = event == JSON_NUMBER ? ST_OK : json_skip(j, err);
        }
    }
    return st;
}

static enum status read_object(struct segmentation *s, struct json *j, struct error *err)
{
    enum json_event event;
    enum status st;

    while ((st = json_next(j, &event, err)) == ST_OK && event != JSON_OBJECT_END) {
        const bool size = json_key_is(j, "size"), counts = json_key_is(j, "counts");
        if (size)
            st = read_size(s, j, err);
        else if (counts)
            st = read_counts(s, j, err);
        else
            st = json_skip(j, err);
        if (st != ST_OK)
            return st;
    }
    if (st == ST_OK && s->kind == SEGMENTATION_ABSENT)
        wrong(s, "mask-absent");
    if (st == ST_OK && s->h < 1)
        wrong(s, "mask-size");
    return st;
}

enum status segmentation_read(struct segmentation *s, struct json *j, enum json_event event,
                              struct error *err)
{
    segmentation_reset(s);
    if (event == JSON_ARRAY_BEGIN)
        return read_polygons(s, j, err);
    if (event == JSON_OBJECT_BEGIN)
        return read_object(s, j, err);
    wrong(s, "mask-not-a-list");
    return ST_OK;
}

static enum status polygons_from_tree(struct segmentation *s, const struct json_value *v,
                                      struct error *err)
{
    enum status st = ST_OK;

    s->kind = SEGMENTATION_POLYGONS;
    for (const struct json_value *p = v->child; st == ST_OK && p; p = p->next) {
        if (p->type != JSON_T_ARRAY) {
            wrong(s, "mask-not-a-list");
            continue;
        }
        st = segmentation_begin_polygon(s, err);
        for (const struct json_value *c = p->child; st == ST_OK && c; c = c->next) {
            if (c->type == JSON_T_NUMBER)
                st = segmentation_add_number(s, c->number, err);
            else
                wrong(s, "mask-not-a-number");
        }
    }
    return st;
}

enum status segmentation_from_tree(struct segmentation *s, const struct json_value *v,
                                   struct error *err)
{
    const struct json_value *size = json_get(v, "size"), *counts = json_get(v, "counts");
    enum status st = ST_OK;

    segmentation_reset(s);
    if (v->type == JSON_T_ARRAY)
        return polygons_from_tree(s, v, err);
    if (v->type != JSON_T_OBJECT || !counts) {
        wrong(s, v->type == JSON_T_OBJECT ? "mask-absent" : "mask-not-a-list");
        return ST_OK;
    }
    s->kind = counts->type == JSON_T_STRING ? SEGMENTATION_STRING : SEGMENTATION_COUNTS;
    if (counts->type == JSON_T_STRING)
        st = buffer_append(&s->text, counts->text, counts->size, err);
    else if (counts->type != JSON_T_ARRAY)
        wrong(s, "mask-not-a-list");
    for (const struct json_value *c = counts->type == JSON_T_ARRAY ? counts->child : NULL;
         st == ST_OK && c; c = c->next) {
        int64_t n = 0;
        if (json_value_int64(c, &n))
            st = add_count(s, n, err);
        else
            wrong(s, "mask-not-an-integer");
    }
    if (!size || size->type != JSON_T_ARRAY || size->count != 2 ||
        !json_value_int64(size->child, &s->h) || !json_value_int64(size->child->next, &s->w) ||
        s->h < 1 || s->w < 1)
        wrong(s, "mask-size");
    return st;
}

static enum status skip(struct error *err, const char *code, const char *what)
{
    error_set(err, ST_SKIP, CAUSE_FORMAT, "segmentation: %s", what);
    return error_code(err, ST_SKIP, code);
}

/* The union of the polygons that have enough numbers; each call of the rasteriser sees a run of them
 * that lie next to each other. */
static enum status polygons_to_rle(struct rle *out, const struct segmentation *s, int64_t h,
                                   int64_t w, struct rle_scratch *scratch, struct error *err)
{
    const double *xy = s->numbers;
    bool first = true;
    enum status st = ST_OK;

    for (size_t i = 0; st == ST_OK && i < s->n_polygons; xy += s->sizes[i++]) {
        if (s->sizes[i] < SEGMENTATION_POLYGON_MIN)
            continue;
        struct rle *one = first ? out : &scratch->one;
        st = rle_from_polygon(one, h, w, xy, s->sizes[i], scratch, err);
        if (st == ST_OK && !first) {
            st = rle_merge(&scratch->sum, out, one, false, err);
            const struct rle swap = *out;
            *out = scratch->sum;
            scratch->sum = swap;
        }
        first = false;
    }
    if (st == ST_OK && first)
        return skip(err, "mask-no-polygon", "no polygon of 6 numbers or more");
    return st;
}

static enum status check_size(const struct segmentation *s, int64_t h, int64_t w, struct error *err)
{
    if (s->h == h && s->w == w)
        return ST_OK;
    error_set(err, ST_SKIP, CAUSE_FORMAT,
              "segmentation: runs of %" PRId64 " x %" PRId64 ", want the picture's %" PRId64
              " x %" PRId64,
              s->w, s->h, w, h);
    return error_code(err, ST_SKIP, "mask-size-differs");
}

enum status segmentation_to_rle(struct rle *out, const struct segmentation *s, int64_t h, int64_t w,
                                struct rle_scratch *scratch, struct error *err)
{
    enum status st = ST_OK;

    switch (s->kind) {
    case SEGMENTATION_POLYGONS:
        st = polygons_to_rle(out, s, h, w, scratch, err);
        if (!s->has_fallback || (st != ST_OK && strcmp(err->code, "mask-no-polygon") != 0) ||
            (st == ST_OK && rle_area(out) > 0))
            return st;
        error_clear(err);
        return rle_from_box(out, h, w, s->fallback, scratch, err);
    case SEGMENTATION_BOX:
        return rle_from_box(out, h, w, s->numbers, scratch, err);
    case SEGMENTATION_COUNTS:
        st = check_size(s, h, w, err);
        return st == ST_OK ? rle_from_counts(out, h, w, s->counts, s->n_counts, err) : st;
    case SEGMENTATION_STRING:
        st = check_size(s, h, w, err);
        return st == ST_OK
                   ? rle_from_string(out, h, w, (const char *)s->text.data, s->text.size, err)
                   : st;
    case SEGMENTATION_BAD:
        return skip(err, s->code, "of a wrong shape");
    case SEGMENTATION_ABSENT:
        break;
    }
    return skip(err, "mask-absent", "there is none");
}
