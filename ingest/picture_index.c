/* ingest/picture_index.c: see picture_index.h. All pictures of one stem are candidates; the best place
 * wins: the step of the lookup, then the order of the PATHs, then the bytes of the file's path. */
#include "ingest/picture_index.h"

#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/mem.h"
#include "ingest/picture_private.h"

enum { NO_STEP = 9 };

bool picture_record_read(struct picture_record *r, const uint8_t *data, size_t size)
{
    struct cursor c = cursor_make(data, size, 0);
    uint64_t mtime = 0;
    uint16_t name = 0, file = 0;
    uint8_t level = 0;
    get_u8(&c, &level);
    get_u32le(&c, &r->path);
    get_u64le(&c, &r->offset);
    get_u64le(&c, &r->size);
    get_u64le(&c, &r->file_size);
    get_u64le(&c, &mtime);
    get_u16le(&c, &name);
    get_u16le(&c, &file);
    r->level = level == PICTURE_TOP ? PICTURE_TOP : PICTURE_BELOW;
    r->file_mtime_ns = (int64_t)mtime;
    r->name = (struct text){ (const char *)cursor_take(&c, name), name };
    r->file = (struct text){ (const char *)cursor_take(&c, file), file };
    r->member.size = cursor_left(&c);
    r->member.data = (const char *)cursor_take(&c, r->member.size);
    return !c.failed;
}

static uint64_t identity_of(const char *const *paths, size_t count)
{
    uint64_t h = count;
    for (size_t i = 0; i < count; i++)
        h = h * 0x9e3779b97f4a7c15u + hash_xxh3_64(paths[i], strlen(paths[i]));
    return h;
}

static enum status build(const char *work, const char *const *paths, size_t count,
                         const struct source_limits *limits, struct error *err)
{
    struct table_writer *w = NULL;
    enum status st = table_create(&w, work, "pictures", 0, err);
    for (size_t i = 0; i < count && st == ST_OK; i++)
        st = picture_scan(w, paths, i, limits, err);
    if (st == ST_OK)
        st = table_finish(w, identity_of(paths, count), err);
    table_writer_close(&w);
    return st;
}

static enum status keep_paths(struct picture_index *x, const char *const *paths, size_t count,
                              struct error *err)
{
    x->paths = mem_calloc(count ? count : 1, sizeof *x->paths);
    for (size_t i = 0; x->paths && i < count; i++, x->count++) {
        x->paths[i] = mem_strdup(paths[i]);
        if (!x->paths[i])
            break;
    }
    return x->paths && x->count == count
               ? ST_OK
               : error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index: out of memory");
}

enum status picture_index_open(struct picture_index **out, const char *work,
                               const char *const *paths, size_t count,
                               const struct source_limits *limits, struct error *err)
{
    struct picture_index *x = mem_calloc(1, sizeof *x);
    *out = x;
    if (!x)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index: out of memory");
    if (limits)
        x->limits = *limits;
    else
        source_limits_init(&x->limits);
    const uint64_t identity = identity_of(paths, count);
    enum status st = keep_paths(x, paths, count, err);
    if (st == ST_OK)
        st = table_open(&x->table, work, "pictures", identity, err);
    if (st == ST_END) {
        st = build(work, paths, count, &x->limits, err);
        if (st == ST_OK)
            st = table_open(&x->table, work, "pictures", identity, err);
        if (st == ST_END)
            st = error_set(err, ST_FAIL, CAUSE_IO, "%s: the picture index vanished", work);
    }
    if (st != ST_OK)
        picture_index_close(out);
    return st;
}

void picture_index_close(struct picture_index **x)
{
    if (!x || !*x)
        return;
    table_close(&(*x)->table);
    for (size_t i = 0; (*x)->paths && i < (*x)->count; i++)
        mem_free((*x)->paths[i]);
    mem_free((*x)->paths);
    mem_free(*x);
    *x = NULL;
}

uint64_t picture_index_count(const struct picture_index *x)
{
    return table_count(x->table);
}

static int text_order(const struct text *a, const struct text *b)
{
    const size_t least = a->size < b->size ? a->size : b->size;
    const int order = least > 0 ? memcmp(a->data, b->data, least) : 0;
    return order ? order : a->size < b->size ? -1 : a->size > b->size;
}

/* Does `a` come before `b` within one step? */
static bool comes_first(const struct picture_record *a, const struct picture_record *b)
{
    if (a->path != b->path)
        return a->path < b->path;
    const int order = text_order(&a->file, &b->file);
    return order ? order < 0 : text_order(&a->member, &b->member) < 0;
}

/* Of data.md 1.1: exact name, then stem; at the top, then one folder below. */
static int step_of(const struct picture_record *r, const struct text *name)
{
    bool known = false;
    const int below = r->level == PICTURE_BELOW ? 2 : 0;
    if (text_order(&r->name, name) == 0)
        return below;
    picture_stem(r->name.data, r->name.size, &known);
    return known ? below + 1 : NO_STEP;
}

static enum status best(const struct picture_index *x, struct picture_place *place,
                        const struct buffer *key, const struct text *name, struct error *err)
{
    struct table_cursor c;
    struct table_value v;
    struct picture_record first = { 0 };
    int first_step = NO_STEP;
    enum status st = ST_OK;
    table_seek(x->table, &c, key->data, key->size);
    while ((st = table_next(x->table, &c, &v, err)) == ST_OK) {
        struct picture_record r;
        if (!picture_record_read(&r, v.data, v.size) || r.path >= x->count)
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "picture index: damaged entry");
        const int step = name ? step_of(&r, name) : 0;
        if (step > first_step || step == NO_STEP ||
            (step == first_step && !comes_first(&r, &first)))
            continue;
        first = r;
        first_step = step;
        *place = (struct picture_place){ v.place, r.offset, r.size };
    }
    if (st == ST_END && first_step != NO_STEP)
        return ST_OK;
    return st;
}

static enum status find_key(const struct picture_index *x, struct picture_place *place, char kind,
                            const char *data, size_t size, const struct text *name,
                            struct error *err)
{
    struct buffer key;
    buffer_init(&key);
    enum status st = buffer_append(&key, &kind, 1, err);
    if (st == ST_OK)
        st = buffer_append(&key, data, size, err);
    if (st == ST_OK)
        st = best(x, place, &key, name, err);
    buffer_clear(&key);
    return st;
}

enum status picture_index_find(const struct picture_index *x, struct picture_place *place,
                               const struct text *image_name, const struct text *raw_url,
                               struct error *err)
{
    bool known = false;
    enum status st = ST_END;
    if (image_name && image_name->data)
        st = find_key(x, place, 's', image_name->data,
                      picture_stem(image_name->data, image_name->size, &known), image_name, err);
    if (st == ST_END && raw_url && raw_url->data)
        st = find_key(x, place, 'u', raw_url->data, raw_url->size, NULL, err);
    return st;
}
