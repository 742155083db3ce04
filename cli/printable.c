/* cli/printable.c: escapes by code point. */
#include "cli/printable.h"

#include <stdint.h>
#include <string.h>

#include "core/json.h"

/* Code point of well-formed UTF-8 at `p`; *length is its bytes. */
static uint32_t code_point(const uint8_t *p, size_t left, size_t *length)
{
    const size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    uint32_t c = n == 1 ? *p : *p & (0x7fu >> n);

    *length = n <= left ? n : left;
    for (size_t i = 1; i < *length; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

static bool is_control(uint32_t c, bool one_line)
{
    if (!one_line && (c == '\n' || c == '\t'))
        return false;
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200e && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

static const char *reference(uint32_t c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

static enum status escape(struct buffer *out, const void *text, size_t size, bool one_line,
                          bool html, struct error *err)
{
    struct buffer valid;
    uint64_t replaced = 0;
    size_t length = 0;

    buffer_init(&valid);
    enum status st = utf8_repair(&valid, text, size, &replaced, err);
    for (size_t i = 0; i < valid.size && st == ST_OK; i += length) {
        const uint32_t c = code_point(valid.data + i, valid.size - i, &length);
        const char *name = html ? reference(c) : NULL;
        if (name)
            st = buffer_append_str(out, name, err);
        else if (is_control(c, one_line))
            st = buffer_printf(out, err, c < 0x100 ? "\\x%02x" : "\\u{%04x}", (unsigned)c);
        else
            st = buffer_append(out, valid.data + i, length, err);
    }
    buffer_clear(&valid);
    return st;
}

enum status printable_terminal(struct buffer *out, const void *text, size_t size, bool one_line,
                               struct error *err)
{
    return escape(out, text, size, one_line, false, err);
}

enum status printable_html(struct buffer *out, const void *text, size_t size, struct error *err)
{
    return escape(out, text, size, false, true, err);
}

enum status printable_base64(struct buffer *out, const uint8_t *data, size_t size,
                             struct error *err)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    if (buffer_reserve(out, size / 3 * 4 + 4, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                           (left > 2 ? data[i + 2] : 0);
        uint8_t *to = out->data + out->size;
        to[0] = (uint8_t)digits[v >> 18];
        to[1] = (uint8_t)digits[v >> 12 & 63];
        to[2] = left > 1 ? (uint8_t)digits[v >> 6 & 63] : '=';
        to[3] = left > 2 ? (uint8_t)digits[v & 63] : '=';
        out->size += 4;
    }
    return ST_OK;
}
