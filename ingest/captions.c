/* ingest/captions.c: see captions.h. The arrays are pulled entry by entry into a table on disk keyed by URL,
 * which keeps the entries of a URL in the order of the files. */
#include "ingest/captions.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/log.h"
#include "ingest/table.h"

bool captions_sibling(const char *path)
{
    static const char *const siblings[] = {
        "ccs_filtered.json",   "ccs_filtered_large.json",   "ccs_synthetic_filtered.json",
        "laion_filtered.json", "laion_filtered_large.json", "laion_synthetic_filtered.json"
    };
    for (size_t i = 0; i < sizeof siblings / sizeof *siblings; i++)
        if (strcmp(path_base(path), siblings[i]) == 0)
            return true;
    return false;
}

struct captions {
    struct table *table;
};

/* A caption file that is being read. */
struct reading {
    const char *path;
    int fd;
    struct json *json;
    struct table_writer *table;
    struct buffer url, caption;
    bool has_url, has_caption;
    uint64_t taken, bad;
};

static enum status read_bytes(void *arg, uint8_t *data, size_t size, size_t *got, struct error *err)
{
    const struct reading *r = arg;
    return file_read(r->fd, r->path, data, size, got, err);
}

/* The value of the current key into `out`; *there: it is a string without NUL. */
static enum status take_string(struct reading *r, struct buffer *out, bool *there,
                               struct error *err)
{
    enum json_event e = JSON_NULL;
    size_t size = 0;
    enum status st = json_next(r->json, &e, err);
    *there = false;
    if (st != ST_OK || e != JSON_STRING)
        return st == ST_OK ? json_skip(r->json, err) : st;
    const char *s = json_text(r->json, &size);
    out->size = 0;
    st = buffer_append(out, s, size, err);
    *there = st == ST_OK && !memchr(s, 0, size);
    return st;
}

static bool key_is(const struct reading *r, const char *key)
{
    size_t size = 0;
    const char *s = json_text(r->json, &size);
    return size == strlen(key) && memcmp(s, key, size) == 0;
}

/* One element of the array, whose first event is `e`. */
static enum status read_entry(struct reading *r, enum json_event e, struct error *err)
{
    enum status st = ST_OK;
    r->has_url = r->has_caption = false;
    if (e != JSON_OBJECT_BEGIN) {
        r->bad++;
        return json_skip(r->json, err);
    }
    for (;;) {
        st = json_next(r->json, &e, err);
        if (st != ST_OK || e == JSON_OBJECT_END)
            break;
        if (key_is(r, "url"))
            st = take_string(r, &r->url, &r->has_url, err);
        else if (key_is(r, "caption"))
            st = take_string(r, &r->caption, &r->has_caption, err);
        else
            st = json_skip(r->json, err);
        if (st != ST_OK)
            return st;
    }
    if (st != ST_OK)
        return st;
    if (!r->has_url || !r->has_caption) {
        r->bad++;
        return ST_OK;
    }
    r->taken++;
    return table_add(r->table, r->url.data, r->url.size, r->caption.data, r->caption.size, err);
}

static enum status read_array(struct reading *r, struct error *err)
{
    enum json_event e = JSON_NULL;
    enum status st = json_next(r->json, &e, err);
    if (st == ST_OK && e != JSON_ARRAY_BEGIN)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "no array of captions");
    while (st == ST_OK) {
        st = json_next(r->json, &e, err);
        if (st != ST_OK || e == JSON_ARRAY_END)
            break;
        st = read_entry(r, e, err);
    }
    return st == ST_OK ? json_next(r->json, &e, err) : st; /* nothing may follow */
}

static enum status read_file(struct table_writer *w, const char *path,
                             const struct source_limits *limits, struct error *err)
{
    struct reading r = { .path = path, .fd = -1, .table = w };
    struct json_options opt;
    json_options_init(&opt);
    opt.max_depth = limits->max_depth;
    opt.max_string = (size_t)limits->max_string;
    opt.max_members = (size_t)limits->max_object;
    opt.bom_allowed = true;
    buffer_init(&r.url);
    buffer_init(&r.caption);
    enum status st = file_open_read(&r.fd, path, NULL, err);
    if (st == ST_OK)
        st = json_open_stream(&r.json, read_bytes, &r, &opt, err);
    if (st == ST_OK) {
        st = read_array(&r, err);
        if (st == ST_FAIL && err && (err->cause == CAUSE_FORMAT || err->cause == CAUSE_LIMIT))
            error_prefix(err, st, "%s", path);
    }
    if (st == ST_OK && r.bad > 0)
        log_line(LOG_WARN, "%s: %" PRIu64 " of %" PRIu64 " entries lack a url or a caption string",
                 path, r.bad, r.bad + r.taken);
    json_close(&r.json);
    buffer_clear(&r.url);
    buffer_clear(&r.caption);
    file_close(&r.fd, path, NULL);
    return st;
}

/* What the table is made of: base names, sizes and times of the files. */
static enum status identity_of(uint64_t *identity, const char *const *paths, size_t count,
                               struct error *err)
{
    *identity = count;
    for (size_t i = 0; i < count; i++) {
        struct file_info info;
        const char *base = path_base(paths[i]);
        const enum status st = file_stat(paths[i], &info, err);
        if (st == ST_END)
            return error_set(err, ST_FAIL, CAUSE_IO, "%s: no such file", paths[i]);
        if (st != ST_OK)
            return st;
        *identity = *identity * 0x9e3779b97f4a7c15u + hash_xxh3_64(base, strlen(base));
        *identity = *identity * 0x9e3779b97f4a7c15u + info.size;
        *identity = *identity * 0x9e3779b97f4a7c15u + (uint64_t)info.mtime_ns;
    }
    return ST_OK;
}

static enum status build(const char *work, const char *const *paths, size_t count,
                         uint64_t identity, const struct source_limits *limits, struct error *err)
{
    struct table_writer *w = NULL;
    enum status st = table_create(&w, work, "captions", 0, err);
    for (size_t i = 0; i < count && st == ST_OK; i++)
        st = read_file(w, paths[i], limits, err);
    if (st == ST_OK)
        st = table_finish(w, identity, err);
    table_writer_close(&w);
    return st;
}

enum status captions_open(struct captions **out, const char *work, const char *const *paths,
                          size_t count, const struct source_limits *limits, struct error *err)
{
    struct source_limits defaults;
    uint64_t identity = 0;
    struct captions *c = mem_calloc(1, sizeof *c);
    *out = c;
    if (!c)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "captions: out of memory");
    source_limits_init(&defaults);
    enum status st = identity_of(&identity, paths, count, err);
    if (st == ST_OK)
        st = table_open(&c->table, work, "captions", identity, err);
    if (st == ST_END) {
        st = build(work, paths, count, identity, limits ? limits : &defaults, err);
        if (st == ST_OK)
            st = table_open(&c->table, work, "captions", identity, err);
        if (st == ST_END)
            st = error_set(err, ST_FAIL, CAUSE_IO, "%s: the table of captions vanished", work);
    }
    if (st != ST_OK)
        captions_close(out);
    return st;
}

void captions_close(struct captions **c)
{
    if (!c || !*c)
        return;
    table_close(&(*c)->table);
    mem_free(*c);
    *c = NULL;
}

uint64_t captions_count(const struct captions *c)
{
    return table_count(c->table);
}

enum status captions_find(const struct captions *c, struct buffer *out, const struct text *url,
                          struct error *err)
{
    struct table_cursor cursor;
    struct table_value v;
    if (!url->data)
        return ST_END;
    table_seek(c->table, &cursor, url->data, url->size);
    const enum status st = table_next(c->table, &cursor, &v, err);
    if (st != ST_OK)
        return st;
    out->size = 0;
    return buffer_append(out, v.data, v.size, err);
}
