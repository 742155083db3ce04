/* ingest/exclude.c: see exclude.h. One map of strings: no URL, key and hash look alike. */
#include "ingest/exclude.h"

#include <string.h>

#include "core/file.h"
#include "core/mem.h"

static const uint64_t EXCLUDE_MAX_BYTES = UINT64_C(4) << 30;

struct exclude {
    struct hash_map *entries;
};

static enum status add_line(struct exclude *x, const char *line, size_t size, struct error *err)
{
    uint64_t value = 0;
    while (size > 0 && (line[size - 1] == '\r' || line[size - 1] == ' ' || line[size - 1] == '\t'))
        size--;
    while (size > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        size--;
    }
    if (size == 0 || *line == '#')
        return ST_OK;
    const enum status st = hash_map_insert(x->entries, line, size, &value, err);
    return st == ST_SKIP ? ST_OK : st;
}

enum status exclude_open(struct exclude **out, const char *path, struct error *err)
{
    struct buffer file = { 0 };
    struct exclude *x = mem_calloc(1, sizeof *x);
    *out = NULL;
    if (!x)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", path);
    enum status st = file_read_all(&file, path, EXCLUDE_MAX_BYTES, err);
    if (st == ST_OK)
        st = hash_map_open(&x->entries, 1024, err);
    const char *text = (const char *)file.data;
    for (size_t at = 0; st == ST_OK && at < file.size;) {
        const char *end = memchr(text + at, '\n', file.size - at);
        const size_t size = end ? (size_t)(end - text) - at : file.size - at;
        st = add_line(x, text + at, size, err);
        at += size + 1;
    }
    buffer_clear(&file);
    if (st != ST_OK)
        exclude_close(&x);
    *out = x;
    return st;
}

void exclude_close(struct exclude **x)
{
    if (!*x)
        return;
    hash_map_close(&(*x)->entries);
    mem_free(*x);
    *x = NULL;
}

size_t exclude_count(const struct exclude *x)
{
    return x ? hash_map_count(x->entries) : 0;
}

bool exclude_key(const struct exclude *x, const char *key, size_t size)
{
    uint64_t value = 0;
    return x && hash_map_get(x->entries, key, size, &value);
}

bool exclude_url(const struct exclude *x, const struct text *url)
{
    return url->size > 0 && exclude_key(x, url->data, url->size);
}

bool exclude_picture(const struct exclude *x, struct hash128 hash)
{
    char hex[33];
    if (!x)
        return false;
    hash128_hex(hex, hash);
    return exclude_key(x, hex, 32);
}
