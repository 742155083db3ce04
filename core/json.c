/* core/json.c: the pull parser of json.h. Input comes through a window: all of it when it lies in
 * memory, else a block that is refilled; `need` brings up to 12 bytes together, so that no escape, no
 * UTF-8 sequence and no literal is ever seen in parts. */
#include "core/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/json_private.h"
#include "core/unicode.h"

enum { WINDOW = 1 << 16, DEPTH_MOST = 4096 };

/* What may come next. */
enum expect { AT_START, AT_VALUE, AT_FIRST_ELEMENT, AT_FIRST_KEY, AT_KEY, AT_COMMA, AT_END };

struct level {
    bool object;
    size_t members;
};
struct json {
    const uint8_t *p, *end; /* what is left of the window */
    uint64_t end_offset;    /* of `end` in the input */
    uint8_t *window;        /* owned; NULL over memory */
    json_read_fn *read;     /* NULL: nothing follows the window */
    void *arg;
    struct json_options opt;
    enum expect expect;
    enum json_event event;
    bool discard, skipping; /* string bytes are checked but not kept; inside json_skip */
    unsigned depth;
    struct level *levels;
    struct buffer text;
    uint64_t start; /* offset of the event */
    uint64_t replaced;
};

void json_options_init(struct json_options *opt)
{
    *opt = (struct json_options){ .max_depth = 64,
                                  .max_string = (size_t)16 << 20,
                                  .max_members = 1000000 };
}

static enum status json_make(struct json **out, const struct json_options *opt, struct error *err)
{
    struct json *j = mem_calloc(1, sizeof *j);
    *out = j;
    if (!j)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "json: out of memory");
    if (opt)
        j->opt = *opt;
    else
        json_options_init(&j->opt);
    buffer_init(&j->text);
    if (j->opt.max_depth < 1 || j->opt.max_depth > DEPTH_MOST) {
        error_set(err, ST_FAIL, CAUSE_ARG, "json: depth limit %u, allowed 1 to %d",
                  j->opt.max_depth, DEPTH_MOST);
        goto fail;
    }
    j->levels = mem_calloc(j->opt.max_depth, sizeof *j->levels);
    if (j->levels && buffer_reserve(&j->text, 256, NULL) == ST_OK)
        return ST_OK;
    error_set(err, ST_FAIL, CAUSE_NOMEM, "json: out of memory");
fail:
    json_close(out);
    return ST_FAIL;
}

void json_restart(struct json *j, const void *data, size_t size, uint64_t base_offset)
{
    j->p = data ? data : (const uint8_t *)"";
    j->end = j->p + size;
    j->end_offset = base_offset + size;
    j->opt.base_offset = base_offset;
    j->expect = AT_START;
    j->event = JSON_NULL;
    j->depth = 0;
    j->replaced = 0;
}

enum status json_open(struct json **out, const void *data, size_t size,
                      const struct json_options *opt, struct error *err)
{
    const enum status st = json_make(out, opt, err);
    if (st == ST_OK)
        json_restart(*out, data, size, (*out)->opt.base_offset);
    return st;
}

enum status json_open_stream(struct json **out, json_read_fn *read, void *arg,
                             const struct json_options *opt, struct error *err)
{
    enum status st = json_make(out, opt, err);
    if (st != ST_OK)
        return st;
    struct json *j = *out;
    j->window = mem_alloc(WINDOW);
    if (!j->window) {
        json_close(out);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "json: out of memory");
    }
    json_restart(j, j->window, 0, j->opt.base_offset);
    j->read = read;
    j->arg = arg;
    return ST_OK;
}

void json_close(struct json **j)
{
    if (!j || !*j)
        return;
    mem_free((*j)->window);
    mem_free((*j)->levels);
    buffer_clear(&(*j)->text);
    mem_free(*j);
    *j = NULL;
}

static uint64_t here(const struct json *j)
{
    return j->end_offset - (uint64_t)(j->end - j->p);
}

static enum status syntax(const struct json *j, const char *what, struct error *err)
{
    if (j->p < j->end)
        error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": %s, got 0x%02x", here(j), what,
                  *j->p);
    else
        error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": %s, got the end", here(j), what);
    return error_code(err, ST_FAIL, "json-syntax");
}

static enum status limit(const struct json *j, const char *what, uint64_t most, struct error *err)
{
    error_set(err, ST_FAIL, CAUSE_LIMIT, "byte %" PRIu64 ": %s over %" PRIu64, here(j), what, most);
    return error_code(err, ST_FAIL, "json-limit");
}

/* Fills the window behind what is left of it. */
static enum status refill(struct json *j, struct error *err)
{
    const size_t left = (size_t)(j->end - j->p);
    size_t got = 0;
    if (left > 0)
        memmove(j->window, j->p, left);
    const enum status st = j->read(j->arg, j->window + left, WINDOW - left, &got, err);
    j->p = j->window;
    j->end = j->window + left + got;
    j->end_offset += got;
    if (got == 0 || st != ST_OK)
        j->read = NULL;
    return st;
}

/* Brings `size` (at most 12) bytes together unless the input ends before. */
static enum status need(struct json *j, size_t size, struct error *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && (size_t)(j->end - j->p) < size && j->read)
        st = refill(j, err);
    return st;
}

static enum status skip_space(struct json *j, struct error *err)
{
    for (;;) {
        while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t'))
            j->p++;
        if (j->p < j->end || !j->read)
            return ST_OK;
        const enum status st = refill(j, err);
        if (st != ST_OK)
            return st;
    }
}

static enum status keep(struct json *j, const void *data, size_t size, struct error *err)
{
    if (j->discard)
        return ST_OK;
    if (size > j->opt.max_string - j->text.size)
        return limit(j, "bytes of a string", j->opt.max_string, err);
    /* One byte more for the NUL. */
    if (size >= j->text.cap - j->text.size && buffer_reserve(&j->text, size + 1, err) != ST_OK)
        return ST_FAIL;
    memcpy(j->text.data + j->text.size, data, size);
    j->text.size += size;
    return ST_OK;
}

static enum status keep_code(struct json *j, uint32_t code, struct error *err)
{
    char bytes[4];
    return keep(j, bytes, utf8_put(bytes, code), err);
}

static int hex4(const uint8_t *p, const uint8_t *end)
{
    int v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        const uint8_t c = p[i];
        const int lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + (c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v * 16 + (lower - 'a' + 10);
        else
            return -1;
    }
    return v;
}

/* \uXXXX at p, with its other half where both make one code point. */
static enum status unicode_escape(struct json *j, struct error *err)
{
    const int first = hex4(j->p + 2, j->end);
    if (first < 0)
        return syntax(j, "bad escape", err);
    j->p += 6;
    if (first >= 0xd800 && first < 0xdc00 && j->end - j->p >= 6 && j->p[0] == '\\' &&
        j->p[1] == 'u') {
        const int second = hex4(j->p + 2, j->end);
        if (second >= 0xdc00 && second < 0xe000) {
            j->p += 6;
            return keep_code(
                j, 0x10000u + (((uint32_t)first - 0xd800u) << 10) + ((uint32_t)second - 0xdc00u),
                err);
        }
    }
    return keep_code(j, first >= 0xd800 && first < 0xe000 ? 0xfffdu : (uint32_t)first, err);
}

static enum status escape(struct json *j, struct error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (need(j, 12, err) != ST_OK)
        return ST_FAIL;
    if (j->end - j->p < 2)
        return syntax(j, "string not closed", err);
    if (j->p[1] == 'u')
        return unicode_escape(j, err);
    const char *at = j->p[1] ? strchr(from, j->p[1]) : NULL;
    if (!at)
        return syntax(j, "bad escape", err);
    j->p += 2;
    return keep(j, &to[at - from], 1, err);
}

/* A run of text beyond ASCII; what is no UTF-8 becomes U+FFFD. */
static enum status beyond_ascii(struct json *j, struct error *err)
{
    const uint8_t *run = j->p;
    int n = 1;
    enum status st = ST_OK;
    while (j->end - j->p >= 4 && *j->p >= 0x80 && (n = utf8_length(j->p, j->end)) > 0)
        j->p += n;
    if (j->p > run)
        return keep(j, run, (size_t)(j->p - run), err);
    st = need(j, 4, err);
    if (st != ST_OK)
        return st;
    n = utf8_length(j->p, j->end);
    st = n > 0 ? keep(j, j->p, (size_t)n, err) : keep(j, "\xef\xbf\xbd", 3, err);
    j->replaced += n < 0;
    j->p += n < 0 ? -n : n;
    return st;
}

static enum status read_string(struct json *j, struct error *err)
{
    j->text.size = 0;
    j->p++; /* the quote */
    for (;;) {
        const uint8_t *plain = json_plain_end(j->p, j->end);
        enum status st = ST_OK;
        if (plain > j->p)
            st = keep(j, j->p, (size_t)(plain - j->p), err);
        if (st != ST_OK)
            return st;
        j->p = plain;
        if (j->p == j->end) {
            if (!j->read)
                return syntax(j, "string not closed", err);
            st = refill(j, err);
        } else if (*j->p == '"') {
            j->p++;
            j->text.data[j->text.size] = '\0';
            return ST_OK;
        } else if (*j->p == '\\') {
            st = escape(j, err);
        } else if (*j->p >= 0x80) {
            st = beyond_ascii(j, err);
        } else {
            return syntax(j, "control byte in a string", err);
        }
        if (st != ST_OK)
            return st;
    }
}

static const uint8_t *digits(const uint8_t *p)
{
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

/* RFC 8259's grammar over a NUL-terminated text. *wild: it might be beyond a double. */
static bool is_number(const uint8_t *s, bool *wild)
{
    const uint8_t *p = s + (*s == '-'), *start = p;
    if (*p < '0' || *p > '9')
        return false;
    p = *p == '0' ? p + 1 : digits(p);
    *wild = p - start > 300;
    if (*p == '.') {
        if (p[1] < '0' || p[1] > '9')
            return false;
        p = digits(p + 1);
    }
    if (*p == 'e' || *p == 'E') {
        p += p[1] == '+' || p[1] == '-' ? 2 : 1;
        if (*p < '0' || *p > '9')
            return false;
        p = digits(p);
        *wild = true;
    }
    return *p == '\0';
}

static bool in_number(uint8_t c)
{
    return (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+' || c == 'e' || c == 'E';
}

static enum status read_number(struct json *j, struct error *err)
{
    const bool discard = j->discard;
    bool wild = false;
    enum status st = ST_OK;
    j->text.size = 0;
    j->discard = false; /* its text is needed to judge it */
    for (;;) {
        const uint8_t *run = j->p;
        while (j->p < j->end && in_number(*j->p))
            j->p++;
        st = keep(j, run, (size_t)(j->p - run), err);
        if (st != ST_OK || j->p < j->end || !j->read)
            break;
        st = refill(j, err);
        if (st != ST_OK)
            break;
    }
    j->discard = discard;
    if (st != ST_OK)
        return st;
    j->text.data[j->text.size] = '\0';
    j->event = JSON_NUMBER;
    const char *what = !is_number(j->text.data, &wild) ? "malformed number"
                       : wild && isinf(json_double(j)) ? "number out of range"
                                                       : NULL;
    if (!what)
        return ST_OK;
    error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": %s, got %.40s", j->start, what,
              (const char *)j->text.data);
    return error_code(err, ST_FAIL, "json-syntax");
}

static enum status read_literal(struct json *j, const char *word, enum json_event event,
                                struct error *err)
{
    const size_t size = strlen(word);
    if (need(j, size, err) != ST_OK)
        return ST_FAIL;
    if ((size_t)(j->end - j->p) < size || memcmp(j->p, word, size) != 0)
        return syntax(j, "value expected", err);
    j->p += size;
    j->event = event;
    if (event == JSON_NUMBER) {
        memcpy(j->text.data, word, size + 1);
        j->text.size = size;
    }
    return ST_OK;
}

static enum status begin(struct json *j, bool object, struct error *err)
{
    if (j->depth == j->opt.max_depth)
        return limit(j, "depth", j->opt.max_depth, err);
    j->levels[j->depth++] = (struct level){ object, 0 };
    j->p++;
    j->event = object ? JSON_OBJECT_BEGIN : JSON_ARRAY_BEGIN;
    j->expect = object ? AT_FIRST_KEY : AT_FIRST_ELEMENT;
    return ST_OK;
}

static void after_value(struct json *j)
{
    j->expect = j->depth > 0 ? AT_COMMA : AT_END;
}

static enum status end(struct json *j)
{
    j->event = j->levels[--j->depth].object ? JSON_OBJECT_END : JSON_ARRAY_END;
    j->p++;
    after_value(j);
    return ST_OK;
}

static enum status minus(struct json *j, struct error *err)
{
    if (need(j, 2, err) != ST_OK)
        return ST_FAIL;
    if (j->end - j->p >= 2 && j->p[1] == 'I')
        return read_literal(j, "-Infinity", JSON_NUMBER, err);
    return read_number(j, err);
}

static enum status read_value(struct json *j, struct error *err)
{
    const uint8_t c = j->p < j->end ? *j->p : 0;
    enum status st = ST_FAIL;
    if (c == '{' || c == '[')
        return begin(j, c == '{', err);
    if (c == '"') {
        j->event = JSON_STRING;
        st = read_string(j, err);
    } else if (c >= '0' && c <= '9') {
        st = read_number(j, err);
    } else if (c == '-') {
        st = minus(j, err);
    } else if (c == 't') {
        st = read_literal(j, "true", JSON_TRUE, err);
    } else if (c == 'f') {
        st = read_literal(j, "false", JSON_FALSE, err);
    } else if (c == 'n') {
        st = read_literal(j, "null", JSON_NULL, err);
    } else if (c == 'N') {
        st = read_literal(j, "NaN", JSON_NUMBER, err);
    } else if (c == 'I') {
        st = read_literal(j, "Infinity", JSON_NUMBER, err);
    } else {
        return syntax(j, "value expected", err);
    }
    if (st == ST_OK)
        after_value(j);
    return st;
}

static enum status read_key(struct json *j, struct error *err)
{
    if (j->p == j->end || *j->p != '"')
        return syntax(j, "key expected", err);
    if (j->levels[j->depth - 1].members++ == j->opt.max_members)
        return limit(j, "members of an object", j->opt.max_members, err);
    j->event = JSON_KEY;
    enum status st = read_string(j, err);
    if (st == ST_OK)
        st = skip_space(j, err);
    if (st != ST_OK)
        return st;
    if (j->p == j->end || *j->p != ':')
        return syntax(j, "colon expected", err);
    j->p++;
    j->expect = AT_VALUE;
    return ST_OK;
}

/* Before a value at depth 0: the BOM, and the end where several values may come. */
static enum status at_start(struct json *j, struct error *err)
{
    if (j->opt.bom_allowed && here(j) == j->opt.base_offset) {
        if (need(j, 3, err) != ST_OK)
            return ST_FAIL;
        if (j->end - j->p >= 3 && memcmp(j->p, "\xef\xbb\xbf", 3) == 0)
            j->p += 3;
    }
    const enum status st = skip_space(j, err);
    if (st != ST_OK)
        return st;
    j->start = here(j);
    if (j->opt.several_values && j->p == j->end) {
        j->event = JSON_END;
        return ST_END;
    }
    return read_value(j, err);
}

static enum status at_end(struct json *j, struct error *err)
{
    j->event = JSON_END;
    j->start = here(j);
    if (j->opt.several_values)
        j->expect = AT_START;
    else if (j->p < j->end)
        return syntax(j, "bytes after the value", err);
    return ST_OK;
}

/* Behind a value in a container: its end, or a comma and what follows. */
static enum status at_comma(struct json *j, struct error *err)
{
    const bool object = j->levels[j->depth - 1].object;
    if (j->p < j->end && *j->p == (object ? '}' : ']'))
        return end(j);
    if (j->p == j->end || *j->p != ',')
        return syntax(j, "comma expected", err);
    j->p++;
    const enum status st = skip_space(j, err);
    if (st != ST_OK)
        return st;
    j->start = here(j);
    return object ? read_key(j, err) : read_value(j, err);
}

enum status json_next(struct json *j, enum json_event *event, struct error *err)
{
    enum status st = ST_OK;
    j->discard = j->skipping;
    if (j->expect == AT_START) {
        st = at_start(j, err);
        *event = j->event;
        return st;
    }
    st = skip_space(j, err);
    if (st != ST_OK)
        return st;
    j->start = here(j);
    switch (j->expect) {
    case AT_FIRST_ELEMENT:
        st = j->p < j->end && *j->p == ']' ? end(j) : read_value(j, err);
        break;
    case AT_FIRST_KEY:
        st = j->p < j->end && *j->p == '}' ? end(j) : read_key(j, err);
        break;
    case AT_KEY:
        st = read_key(j, err);
        break;
    case AT_COMMA:
        st = at_comma(j, err);
        break;
    case AT_END:
        st = at_end(j, err);
        break;
    case AT_START:
    case AT_VALUE:
        st = read_value(j, err);
        break;
    }
    *event = j->event;
    return st;
}

const char *json_text(const struct json *j, size_t *size)
{
    *size = j->text.size;
    return (const char *)j->text.data;
}

double json_double(const struct json *j)
{
    return json_number_value((const char *)j->text.data, j->text.size);
}

bool json_int64(const struct json *j, int64_t *out)
{
    return j->event == JSON_NUMBER &&
           json_number_int64((const char *)j->text.data, j->text.size, out);
}

bool json_id64(const struct json *j, int64_t *out)
{
    return j->event == JSON_STRING
               ? json_decimal_int64((const char *)j->text.data, j->text.size, out)
               : json_int64(j, out);
}

enum status json_skip(struct json *j, struct error *err)
{
    enum json_event event = j->event;
    enum status st = ST_OK;
    j->skipping = true;
    if (event == JSON_KEY)
        st = json_next(j, &event, err);
    if (st == ST_OK && (event == JSON_ARRAY_BEGIN || event == JSON_OBJECT_BEGIN)) {
        const unsigned depth = j->depth;
        while (st == ST_OK && j->depth >= depth)
            st = json_next(j, &event, err);
    }
    j->skipping = false;
    return st;
}

uint64_t json_offset(const struct json *j)
{
    return j->start;
}

uint64_t json_replaced(const struct json *j)
{
    return j->replaced;
}

unsigned json_depth(const struct json *j)
{
    return j->depth;
}
