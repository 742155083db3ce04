/* shards/fields.c: typed members of JSON objects. */
#include "shards/fields_private.h"

#include <inttypes.h>
#include <string.h>

#include "core/hash.h"

static enum status wrong(const char *name, const char *want, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "member %s: want %s", name, want);
}

/* Numbers beyond 2^63 - 1 (a seed, say) are read from their text. */
enum status field_u64(uint64_t *out, const struct json_value *object, const char *name,
                      struct error *err)
{
    const struct json_value *v = json_get(object, name);
    uint64_t n = 0;

    if (!v || v->type != JSON_T_NUMBER || v->size == 0)
        return wrong(name, "an integer from 0", err);
    for (size_t i = 0; i < v->size; i++) {
        const unsigned digit = (unsigned)(v->text[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)digit, &n))
            return wrong(name, "an integer from 0", err);
    }
    *out = n;
    return ST_OK;
}

enum status field_u32(uint32_t *out, const struct json_value *object, const char *name,
                      struct error *err)
{
    uint64_t v = 0;
    if (field_u64(&v, object, name, err) != ST_OK)
        return ST_FAIL;
    if (v > UINT32_MAX)
        return wrong(name, "an integer of 32 bits", err);
    *out = (uint32_t)v;
    return ST_OK;
}

enum status field_u16(uint16_t *out, const struct json_value *object, const char *name,
                      struct error *err)
{
    uint64_t v = 0;
    if (field_u64(&v, object, name, err) != ST_OK)
        return ST_FAIL;
    if (v > UINT16_MAX)
        return wrong(name, "an integer of 16 bits", err);
    *out = (uint16_t)v;
    return ST_OK;
}

enum status field_bool(bool *out, const struct json_value *object, const char *name,
                       struct error *err)
{
    const struct json_value *v = json_get(object, name);
    if (!v || v->type != JSON_T_BOOL)
        return wrong(name, "true or false", err);
    *out = v->boolean;
    return ST_OK;
}

enum status field_text(const char **out, const struct json_value *object, const char *name,
                       struct error *err)
{
    const struct json_value *v = json_get(object, name);
    if (!v || v->type != JSON_T_STRING || memchr(v->text, '\0', v->size))
        return wrong(name, "a string", err);
    *out = v->text;
    return ST_OK;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

enum status field_hex(uint8_t *out, size_t size, const struct json_value *object, const char *name,
                      struct error *err)
{
    const char *text = NULL;

    if (field_text(&text, object, name, err) != ST_OK)
        return ST_FAIL;
    if (strlen(text) != 2 * size)
        return wrong(name, "lower-case hex digits", err);
    for (size_t i = 0; i < size; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return wrong(name, "lower-case hex digits", err);
        out[i] = (uint8_t)(high * 16 + low);
    }
    return ST_OK;
}

enum status field_value(const struct json_value **out, enum json_type type,
                        const struct json_value *object, const char *name, struct error *err)
{
    const struct json_value *v = json_get(object, name);
    if (!v || v->type != type)
        return wrong(name, type == JSON_T_ARRAY ? "an array" : "an object", err);
    *out = v;
    return ST_OK;
}

static void write_scalar(struct json_writer *w, const struct json_value *v)
{
    if (v->type == JSON_T_BOOL)
        json_bool(w, v->boolean);
    else if (v->type == JSON_T_STRING)
        json_string_n(w, v->text, v->size);
    else if (v->type == JSON_T_NUMBER)
        json_raw(w, v->text, v->size);
    else
        json_null(w);
}

/* One step of the rewrite: writes what begins at `v`; containers go on with their children. */
static bool write_begin(struct json_writer *w, const struct json_value *v)
{
    if (v->type == JSON_T_OBJECT)
        json_begin_object(w);
    else if (v->type == JSON_T_ARRAY)
        json_begin_array(w);
    else
        write_scalar(w, v);
    return v->type == JSON_T_OBJECT || v->type == JSON_T_ARRAY;
}

enum status field_rewrite(const char **out, struct arena *arena, const struct json_value *value,
                          struct error *err)
{
    const struct json_value *open[64], *next[64]; /* the parser's depth limit */
    struct buffer text;
    struct json_writer w;
    size_t depth = 0;

    buffer_init(&text);
    json_writer_init(&w, &text);
    if (write_begin(&w, value)) {
        open[0] = value;
        next[depth++] = value->child;
    }
    while (depth > 0) {
        const struct json_value *v = next[depth - 1];
        if (!v) {
            if (open[--depth]->type == JSON_T_OBJECT)
                json_end_object(&w);
            else
                json_end_array(&w);
            continue;
        }
        next[depth - 1] = v->next;
        if (open[depth - 1]->type == JSON_T_OBJECT)
            json_key(&w, v->key);
        if (write_begin(&w, v) && depth < 64) {
            open[depth] = v;
            next[depth++] = v->child;
        }
    }
    enum status st = json_writer_finish(&w, err);
    if (st == ST_OK && !(*out = arena_strndup(arena, (const char *)text.data, text.size)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: JSON text");
    buffer_clear(&text);
    return st;
}

void field_write_hex(struct json_writer *w, const char *name, const uint8_t *bytes, size_t size)
{
    char text[129];

    hash_hex(text, bytes, size <= 64 ? size : 64);
    json_key(w, name);
    json_string(w, text);
}
