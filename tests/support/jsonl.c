/* tests/support/jsonl.c: see jsonl.h. */
#include "tests/support/support.h"

#include "tests/support/jsonl.h"

#include <stdlib.h>
#include <string.h>

void jsonl_open(struct jsonl *f, const char *path)
{
    *f = (struct jsonl){ 0 };
    f->data = (char *)test_read_file(path, &f->size);
    arena_init(&f->arena, 0);
}

const struct json_value *jsonl_next(struct jsonl *f)
{
    struct error err = { 0 };
    struct json_value *v = NULL;
    if (f->at >= f->size)
        return NULL;
    const char *start = f->data + f->at, *end = memchr(start, '\n', f->size - f->at);
    const size_t n = end ? (size_t)(end - start) : f->size - f->at;
    f->at += n + 1;
    f->line++;
    arena_clear(&f->arena);
    arena_init(&f->arena, 0);
    if (json_parse(&f->arena, &v, start, n, NULL, &err) != ST_OK)
        fail_msg("line %u: %s", f->line, err.text);
    return v;
}

void jsonl_close(struct jsonl *f)
{
    arena_clear(&f->arena);
    free(f->data);
}

const struct json_value *jsonl_get(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    if (!m)
        fail_msg("no member %s", key);
    return m;
}

int64_t jsonl_int(const struct json_value *v, const char *key)
{
    int64_t n = 0;
    assert_true(json_value_int64(jsonl_get(v, key), &n));
    return n;
}

uint64_t jsonl_u64(const struct json_value *v, const char *key)
{
    return strtoull(jsonl_get(v, key)->text, NULL, 10);
}

bool jsonl_is(const struct json_value *v, const char *key, const char *text)
{
    const struct json_value *m = json_get(v, key);
    return m && m->type == JSON_T_STRING && strcmp(m->text, text) == 0;
}
