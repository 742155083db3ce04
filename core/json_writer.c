/* core/json_writer.c: the writer of json.h. Text that could steer a terminal (DEL, C1 controls) or end
 * a line for some readers (U+2028, U+2029) is escaped like the controls that JSON forbids. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/json_private.h"
#include "core/unicode.h"

enum { DEPTH_MOST = 63 }; /* bits of `first` */

void json_writer_init(struct json_writer *w, struct buffer *out)
{
    *w = (struct json_writer){ .out = out, .first = 1 };
}

static void put(struct json_writer *w, const void *data, size_t size)
{
    if (!w->failed && buffer_append(w->out, data, size, &w->err) != ST_OK)
        w->failed = true;
}

static void separate(struct json_writer *w)
{
    const uint64_t bit = (uint64_t)1 << w->depth;
    if (!w->after_key && !(w->first & bit))
        put(w, ",", 1);
    w->first &= ~bit;
    w->after_key = false;
}

static void json_begin(struct json_writer *w, const char *bracket)
{
    separate(w);
    put(w, bracket, 1);
    if (w->depth == DEPTH_MOST) {
        error_set(&w->err, ST_FAIL, CAUSE_INTERNAL, "json: written deeper than %d", DEPTH_MOST);
        w->failed = true;
        return;
    }
    w->first |= (uint64_t)1 << ++w->depth;
}

static void json_finish(struct json_writer *w, const char *bracket)
{
    put(w, bracket, 1);
    if (w->depth > 0)
        w->depth--;
}

void json_begin_object(struct json_writer *w)
{
    json_begin(w, "{");
}

void json_end_object(struct json_writer *w)
{
    json_finish(w, "}");
}

void json_begin_array(struct json_writer *w)
{
    json_begin(w, "[");
}

void json_end_array(struct json_writer *w)
{
    json_finish(w, "]");
}

static void put_unit(struct json_writer *w, uint32_t unit)
{
    char s[8];
    snprintf(s, sizeof s, "\\u%04x", unit & 0xffff);
    put(w, s, 6);
}

/* One code point that is not plain ASCII. */
static void put_special(struct json_writer *w, uint32_t code, const uint8_t *bytes, size_t size)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = code > 0 && code < 0x80 ? strchr(from, (int)code) : NULL;
    if (at) {
        const char s[2] = { '\\', to[at - from] };
        put(w, s, 2);
    } else if (code > 0xffff && w->ascii) {
        put_unit(w, 0xd800 + ((code - 0x10000) >> 10));
        put_unit(w, 0xdc00 + ((code - 0x10000) & 0x3ff));
    } else if (code < 0xa0 || code == 0x2028 || code == 0x2029 || w->ascii) {
        put_unit(w, code);
    } else {
        put(w, bytes, size);
    }
}

static void put_string(struct json_writer *w, const char *s, size_t size)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + size;
    put(w, "\"", 1);
    while (p < end && !w->failed) {
        const uint8_t *plain = json_plain_end(p, end);
        const uint8_t *del = memchr(p, 0x7f, (size_t)(plain - p));
        plain = del ? del : plain;
        put(w, p, (size_t)(plain - p));
        p = plain;
        if (p == end)
            break;
        const int n = utf8_length(p, end);
        uint32_t code = 0xfffd;
        if (n > 0)
            utf8_next(&code, (const char *)p, (size_t)n);
        put_special(w, code, n > 0 ? p : (const uint8_t *)"\xef\xbf\xbd", n > 0 ? (size_t)n : 3);
        p += n > 0 ? n : -n;
    }
    put(w, "\"", 1);
}

void json_key(struct json_writer *w, const char *key)
{
    separate(w);
    put_string(w, key, strlen(key));
    put(w, ":", 1);
    w->after_key = true;
}

void json_string_n(struct json_writer *w, const char *s, size_t size)
{
    separate(w);
    put_string(w, s, size);
}

void json_string(struct json_writer *w, const char *s)
{
    json_string_n(w, s, strlen(s));
}

void json_raw(struct json_writer *w, const char *json, size_t size)
{
    separate(w);
    put(w, json, size);
}

void json_int(struct json_writer *w, int64_t v)
{
    char s[32];
    const int n = snprintf(s, sizeof s, "%" PRId64, v);
    json_raw(w, s, (size_t)n);
}

void json_uint(struct json_writer *w, uint64_t v)
{
    char s[32];
    const int n = snprintf(s, sizeof s, "%" PRIu64, v);
    json_raw(w, s, (size_t)n);
}

void json_number(struct json_writer *w, double v)
{
    char s[40];
    int n = 0;
    if (!isfinite(v)) {
        json_null(w);
        return;
    }
    /* Up to 15 digits always read back, except where a double has fewer bits. */
    for (int digits = fabs(v) < 0x1p-1022 ? 1 : 15; digits <= 17; digits++) {
        n = snprintf(s, sizeof s, "%.*g", digits, v);
        if (json_number_value(s, (size_t)n) == v)
            break;
    }
    json_raw(w, s, (size_t)n);
}

void json_bool(struct json_writer *w, bool v)
{
    json_raw(w, v ? "true" : "false", v ? 4 : 5);
}

void json_null(struct json_writer *w)
{
    json_raw(w, "null", 4);
}

enum status json_writer_finish(struct json_writer *w, struct error *err)
{
    if (!w->failed)
        return ST_OK;
    if (err && err->cause == CAUSE_NONE)
        *err = w->err;
    return ST_FAIL;
}
