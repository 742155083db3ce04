/* ingest/masks/pickle_scalars.c: the opcodes that push one number or string. Text forms are those of
 * protocol 0, as Python 2 wrote them. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/masks/pickle_private.h"

static enum status push_int(struct pickle_machine *m, enum pickle_type type, int64_t v,
                            struct error *err)
{
    struct pickle_value *x = pickle_new(m, type, err);
    if (!x)
        return ST_FAIL;
    x->integer = v;
    return pickle_push(m, x, err);
}

static enum status push_real(struct pickle_machine *m, double v, struct error *err)
{
    struct pickle_value *x = pickle_new(m, PICKLE_FLOAT, err);
    if (!x)
        return ST_FAIL;
    x->real = v;
    return pickle_push(m, x, err);
}

static enum status push_bytes(struct pickle_machine *m, enum pickle_type type, const char *bytes,
                              size_t size, struct error *err)
{
    struct pickle_value *x = pickle_new(m, type, err);
    if (!x)
        return ST_FAIL;
    x->bytes = bytes;
    x->count = size;
    return pickle_push(m, x, err);
}

bool pickle_decimal(const char *s, size_t size, int64_t *out)
{
    const bool negative = size > 0 && s[0] == '-';
    size_t i = negative || (size > 0 && s[0] == '+');
    int64_t v = 0; /* summed negative: its range is the wider one */

    if (i == size)
        return false;
    for (; i < size; i++) {
        if (s[i] < '0' || s[i] > '9' || !mul_ok_i64(v, 10, &v) || !add_ok_i64(v, -(s[i] - '0'), &v))
            return false;
    }
    if (!negative && v == INT64_MIN)
        return false;
    *out = negative ? v : -v;
    return true;
}

enum status pickle_op_int(struct pickle_machine *m, struct error *err)
{
    const char *line = NULL;
    size_t size = 0;
    int64_t v = 0;
    const enum status st = pickle_line(m, &line, &size, err);

    if (st != ST_OK)
        return st;
    if (size == 2 && line[0] == '0' && (line[1] == '0' || line[1] == '1'))
        return push_int(m, PICKLE_BOOL, line[1] - '0', err);
    if (!pickle_decimal(line, size, &v))
        return pickle_error(m, err, "pickle-value", "no integer of 64 bits");
    return push_int(m, PICKLE_INT, v, err);
}

enum status pickle_op_long(struct pickle_machine *m, struct error *err)
{
    const char *line = NULL;
    size_t size = 0;
    int64_t v = 0;
    const enum status st = pickle_line(m, &line, &size, err);

    if (st != ST_OK)
        return st;
    if (size > 0 && line[size - 1] == 'L')
        size--;
    if (!pickle_decimal(line, size, &v))
        return pickle_error(m, err, "pickle-value", "no integer of 64 bits");
    return push_int(m, PICKLE_INT, v, err);
}

enum status pickle_op_float(struct pickle_machine *m, struct error *err)
{
    const char *line = NULL;
    size_t size = 0;
    char copy[64], *end = copy;
    const enum status st = pickle_line(m, &line, &size, err);

    if (st != ST_OK)
        return st;
    if (size == 0 || size >= sizeof copy)
        return pickle_error(m, err, "pickle-value", "no float");
    memcpy(copy, line, size);
    copy[size] = '\0';
    const double v = strtod(copy, &end); /* no setlocale anywhere: the C locale */
    if (end != copy + size || copy[0] == ' ')
        return pickle_error(m, err, "pickle-value", "no float");
    return push_real(m, v, err);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* n hexadecimal digits; false: they are not. */
static bool hex_number(const char *s, size_t left, size_t n, uint32_t *out)
{
    *out = 0;
    if (left < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        const int d = hex_digit(s[i]);
        if (d < 0)
            return false;
        *out = *out << 4 | (uint32_t)d;
    }
    return true;
}

/* One escape of a Python 2 str literal; s[0] is behind the backslash. Returns bytes used, 0: bad. */
static size_t unescape(const char *s, size_t left, char *out, size_t *written)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    uint32_t v = 0;
    size_t n = 0;

    if (left == 0)
        return 0;
    const char *known = memchr(from, s[0], sizeof from - 1);
    *written = 1;
    if (known) {
        *out = to[known - from];
        return 1;
    }
    if (s[0] == 'x') {
        const bool fine = hex_number(s + 1, left - 1, 2, &v);
        *out = (char)v;
        return fine ? 3 : 0;
    }
    while (n < 3 && n < left && s[n] >= '0' && s[n] <= '7')
        v = v * 8 + (uint32_t)(s[n++] - '0');
    if (n > 0) {
        *out = (char)v;
        return n;
    }
    out[0] = '\\'; /* Python keeps unknown escapes as they are */
    out[1] = s[0];
    *written = 2;
    return 1;
}

enum status pickle_op_string(struct pickle_machine *m, struct error *err)
{
    const char *s = NULL;
    size_t size = 0, n = 0;
    const enum status st = pickle_line(m, &s, &size, err);

    if (st != ST_OK)
        return st;
    if (size < 2 || (s[0] != '\'' && s[0] != '"') || s[size - 1] != s[0])
        return pickle_error(m, err, "pickle-value", "a string without its quotes");
    if (size > m->limits->max_object)
        return pickle_error(m, err, "pickle-limit", "a string too long");
    char *out = arena_alloc(m->arena, size, 1);
    if (!out)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "pickle");
    for (size_t i = 1; i + 1 < size;) {
        size_t written = 1, used = 1;
        if (s[i] == '\\')
            used = 1 + unescape(s + i + 1, size - 2 - i, out + n, &written);
        else
            out[n] = s[i];
        if (s[i] == '\\' && used == 1)
            return pickle_error(m, err, "pickle-value", "a broken escape");
        i += used;
        n += written;
    }
    return push_bytes(m, PICKLE_BYTES, out, n, err);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00u >> n & 0xffu) | c);
    return n;
}

/* The next character of raw-unicode-escape: \uXXXX, \UXXXXXXXX or a Latin-1 byte. 0: broken. */
static size_t raw_unicode(const char *s, size_t left, uint32_t *c)
{
    const size_t digits = left > 1 && s[0] == '\\' ? (s[1] == 'u' ? 4 : s[1] == 'U' ? 8 : 0) : 0;

    if (digits == 0) {
        *c = (unsigned char)s[0];
        return 1;
    }
    return hex_number(s + 2, left - 2, digits, c) && *c <= 0x10ffff ? 2 + digits : 0;
}

enum status pickle_op_unicode(struct pickle_machine *m, struct error *err)
{
    const char *s = NULL;
    size_t size = 0, n = 0;
    const enum status st = pickle_line(m, &s, &size, err);

    if (st != ST_OK)
        return st;
    if (size > m->limits->max_object)
        return pickle_error(m, err, "pickle-limit", "a string too long");
    char *out = arena_alloc(m->arena, 2 * size + 1, 1); /* a Latin-1 byte takes at most 2 */
    if (!out)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "pickle");
    for (size_t i = 0; i < size;) {
        uint32_t c = 0, low = 0;
        size_t used = raw_unicode(s + i, size - i, &c);
        if (used == 0)
            return pickle_error(m, err, "pickle-value", "a broken escape");
        i += used;
        if (c >= 0xd800 && c < 0xdc00 && i < size &&
            (used = raw_unicode(s + i, size - i, &low)) > 1 && low >= 0xdc00 &&
            low < 0xe000) { /* a pair, as narrow builds of Python 2 wrote them */
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
            i += used;
        }
        n += put_utf8(out + n, c >= 0xd800 && c < 0xe000 ? 0xfffd : c);
    }
    return push_bytes(m, PICKLE_TEXT, out, n, err);
}

enum status pickle_op_binint(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, 4, err);
    return st == ST_OK ? push_int(m, PICKLE_INT, (int32_t)load_u32le(p), err) : st;
}

enum status pickle_op_binint1(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, 1, err);
    return st == ST_OK ? push_int(m, PICKLE_INT, *p, err) : st;
}

enum status pickle_op_binint2(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, 2, err);
    return st == ST_OK ? push_int(m, PICKLE_INT, load_u16le(p), err) : st;
}

/* Little-endian two's complement of `size` bytes. */
static enum status push_long(struct pickle_machine *m, uint64_t size, struct error *err)
{
    const uint8_t *p = NULL;
    uint64_t v = 0;

    if (pickle_take(m, &p, size, err) != ST_OK)
        return ST_FAIL;
    const uint8_t sign = size > 0 && (p[size - 1] & 0x80) ? 0xff : 0;
    for (uint64_t i = 8; i < size; i++)
        if (p[i] != sign)
            return pickle_error(m, err, "pickle-value", "an integer beyond 64 bits");
    for (uint64_t i = 0; i < 8; i++)
        v |= (uint64_t)(i < size ? p[i] : sign) << (8 * i);
    if (size > 8 && ((v >> 63) != 0) != (sign != 0))
        return pickle_error(m, err, "pickle-value", "an integer beyond 64 bits");
    return push_int(m, PICKLE_INT, (int64_t)v, err);
}

enum status pickle_op_long1(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, 1, err);
    return st == ST_OK ? push_long(m, *p, err) : st;
}

enum status pickle_op_long4(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, 4, err);

    if (st == ST_OK && (int32_t)load_u32le(p) < 0)
        return pickle_error(m, err, "pickle-value", "a negative length");
    return st == ST_OK ? push_long(m, load_u32le(p), err) : st;
}

enum status pickle_op_binfloat(struct pickle_machine *m, struct error *err)
{
    const uint8_t *p = NULL;
    const enum status st = pickle_take(m, &p, 8, err);
    double v = 0;

    if (st != ST_OK)
        return st;
    const uint64_t bits = (uint64_t)load_u32be(p) << 32 | load_u32be(p + 4);
    memcpy(&v, &bits, sizeof v);
    return push_real(m, v, err);
}

/* A string whose length stands before it in `width` bytes. */
static enum status push_counted(struct pickle_machine *m, enum pickle_type type, unsigned width,
                                struct error *err)
{
    const uint8_t *p = NULL;

    if (pickle_take(m, &p, width, err) != ST_OK)
        return ST_FAIL;
    const uint64_t size = width == 1 ? *p : width == 4 ? load_u32le(p) : load_u64le(p);
    if (size > m->limits->max_object)
        return pickle_error(m, err, "pickle-limit", "a string too long");
    if (pickle_take(m, &p, size, err) != ST_OK)
        return ST_FAIL;
    return push_bytes(m, type, (const char *)p, (size_t)size, err);
}

enum status pickle_op_binstring(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_BYTES, 4, err);
}

enum status pickle_op_short_binstring(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_BYTES, 1, err);
}

enum status pickle_op_binbytes(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_BYTES, 4, err);
}

enum status pickle_op_short_binbytes(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_BYTES, 1, err);
}

enum status pickle_op_binbytes8(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_BYTES, 8, err);
}

enum status pickle_op_binunicode(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_TEXT, 4, err);
}

enum status pickle_op_short_binunicode(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_TEXT, 1, err);
}

enum status pickle_op_binunicode8(struct pickle_machine *m, struct error *err)
{
    return push_counted(m, PICKLE_TEXT, 8, err);
}
