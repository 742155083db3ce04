/* trainer/weight_index.c: see weight_index.h. */
#include "trainer/weight_index.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "trainer/tensor_file_private.h"

enum { INDEX_MAX = 256 << 20, FINDINGS_SHOWN = 12 };

struct index {
    const char *path;
    struct hash_map *shards; /* file name -> 0 */
    struct hash_map *where;  /* tensor name -> shard number in order of first mention */
    struct buffer findings;
    size_t n_findings;
    bool saw_map;
};

static void finding(struct index *x, const char *what, const char *name)
{
    if (x->n_findings++ < FINDINGS_SHOWN)
        buffer_printf(&x->findings, NULL, "%s%s %s", x->n_findings > 1 ? "; " : "", what, name);
}

/* Shards lie beside the index: a plain name, so that no index reaches other folders. */
static bool plain_name(const char *s, size_t size)
{
    return size > 0 && size < 256 && strlen(s) == size && s[0] != '.' && !strchr(s, '/') &&
           !strchr(s, '\\');
}

static enum status take_entry(struct index *x, struct json *j, struct error *err)
{
    size_t size = 0;
    enum json_event e;
    uint64_t shard = hash_map_count(x->shards), zero = 0;
    const char *key = json_text(j, &size);
    char *name = mem_strndup(key, size);
    enum status st = name ? json_next(j, &e, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", x->path);

    if (st == ST_OK && e != JSON_STRING)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: byte %" PRIu64 ": weight_map: want strings",
                       x->path, json_offset(j));
    if (st != ST_OK)
        goto done;
    const char *file = json_text(j, &size);
    if (!plain_name(file, size)) {
        finding(x, "not the name of a file beside the index:", file);
        goto done;
    }
    st = hash_map_insert(x->shards, file, size, &shard, err);
    if (st == ST_FAIL)
        goto done;
    zero = shard;
    st = hash_map_insert(x->where, name, strlen(name), &zero, err);
    if (st == ST_SKIP) {
        finding(x, "listed twice:", name);
        st = ST_OK;
    }
done:
    mem_free(name);
    return st;
}

static enum status read_map(struct index *x, struct json *j, struct error *err)
{
    enum json_event e;
    enum status st = json_next(j, &e, err);
    if (st == ST_OK && (e != JSON_OBJECT_BEGIN || x->saw_map))
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: byte %" PRIu64 ": want one weight_map, an object", x->path,
                         json_offset(j));
    x->saw_map = true;
    while (st == ST_OK) {
        st = json_next(j, &e, err);
        if (st != ST_OK || e == JSON_OBJECT_END)
            break;
        st = take_entry(x, j, err);
    }
    return st;
}

static enum status read_index(struct index *x, struct json *j, struct error *err)
{
    enum json_event e;
    enum status st = json_next(j, &e, err);
    if (st == ST_OK && e != JSON_OBJECT_BEGIN)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: byte 0: the index is no object", x->path);
    while (st == ST_OK) {
        size_t size = 0;
        st = json_next(j, &e, err);
        if (st != ST_OK || e == JSON_OBJECT_END)
            break;
        st = strcmp(json_text(j, &size), "weight_map") == 0 ? read_map(x, j, err)
                                                            : json_skip(j, err);
    }
    if (st == ST_OK)
        st = json_next(j, &e, err);
    if (st == ST_OK && !x->saw_map)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: weight_map is missing", x->path);
    return st;
}

static enum status parse(struct index *x, struct error *err)
{
    struct buffer text;
    struct json *j = NULL;
    struct json_options opt;
    buffer_init(&text);
    json_options_init(&opt);
    enum status st = file_read_all(&text, x->path, INDEX_MAX, err);
    if (st == ST_OK)
        st = json_open(&j, text.data, text.size, &opt, err);
    if (st == ST_OK) {
        st = read_index(x, j, err);
        if (st != ST_OK)
            error_prefix(err, st, "%s", x->path);
    }
    json_close(&j);
    buffer_clear(&text);
    return st;
}

static enum status add_shards(struct index *x, struct tensor_file *f, weight_index_add_fn *add,
                              struct error *err)
{
    char *folder = path_folder(x->path);
    enum status st = folder ? ST_OK : ST_FAIL;

    for (size_t i = 0; i < hash_map_count(x->shards) && st == ST_OK; i++) {
        const void *key;
        size_t size;
        uint64_t value;
        hash_map_at(x->shards, i, &key, &size, &value);
        char *name = mem_strndup(key, size);
        char *path = name ? path_join(folder, name) : NULL;
        if (!path)
            st = ST_FAIL;
        else if (file_exists(path))
            st = add(f, path, err);
        else
            finding(x, "absent:", name);
        mem_free(path);
        mem_free(name);
    }
    mem_free(folder);
    if (st != ST_OK)
        error_set(err, st, CAUSE_NOMEM, "out of memory: %s", x->path);
    return st;
}

static bool same(const char *s, const void *t, size_t size)
{
    return strlen(s) == size && memcmp(s, t, size) == 0;
}

/* Each listed tensor lies in the file that the index names, and no other tensor does. */
static void cross_check(struct index *x, const struct tensor_file *f)
{
    for (size_t i = 0; i < hash_map_count(x->where); i++) {
        const void *key;
        size_t size;
        uint64_t shard, at;
        hash_map_at(x->where, i, &key, &size, &shard);
        char *name = mem_strndup(key, size);
        const void *file = NULL;
        size_t file_size = 0;
        uint64_t unused;
        hash_map_at(x->shards, (size_t)shard, &file, &file_size, &unused);
        if (!name || !hash_map_get(f->by_name, key, size, &at))
            finding(x, "no shard has", name ? name : "?");
        else if (!same(path_base(f->sources[f->list[at].source].path), file, file_size))
            finding(x, "in another shard than listed:", name);
        mem_free(name);
    }
    for (size_t i = 0; i < f->count; i++) {
        uint64_t shard;
        if (!hash_map_get(x->where, f->list[i].name, strlen(f->list[i].name), &shard))
            finding(x, "not listed:", f->list[i].name);
    }
}

enum status weight_index_open(struct tensor_file *f, const char *path, weight_index_add_fn *add,
                              struct error *err)
{
    struct index x = { .path = path };
    buffer_init(&x.findings);
    enum status st = hash_map_open(&x.shards, 16, err);
    if (st == ST_OK)
        st = hash_map_open(&x.where, 1024, err);
    if (st == ST_OK)
        st = parse(&x, err);
    if (st == ST_OK)
        st = add_shards(&x, f, add, err);
    if (st == ST_OK && x.n_findings == 0)
        cross_check(&x, f);
    if (st == ST_OK && x.n_findings > 0)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: %zu faults: %.*s%s", path, x.n_findings,
                       (int)x.findings.size, (const char *)x.findings.data,
                       x.n_findings > FINDINGS_SHOWN ? "; ..." : "");
    buffer_clear(&x.findings);
    hash_map_close(&x.shards);
    hash_map_close(&x.where);
    return st;
}
