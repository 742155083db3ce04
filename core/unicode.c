/* core/unicode.c: see unicode.h. */
#include "core/unicode.h"

#include <utf8proc.h>

size_t utf8_next(uint32_t *code, const char *p, size_t size)
{
    utf8proc_int32_t c = -1;
    const size_t window = size < 4 ? size : 4;
    const utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)window, &c);
    *code = n > 0 ? (uint32_t)c : 0xFFFD;
    return n > 0 ? (size_t)n : 1;
}

size_t utf8_put(char *out, uint32_t code)
{
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

bool unicode_is_space(uint32_t c)
{
    if (c <= 0x20)
        return (c >= 0x09 && c <= 0x0D) || c >= 0x1C;
    if (c < 0x2000)
        return c == 0x85 || c == 0xA0 || c == 0x1680;
    return c <= 0x200A || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

void unicode_strip(const char *p, size_t *offset, size_t *size)
{
    uint32_t c = 0;
    size_t first = 0, end = 0; /* end: behind the last code point that is no white space */
    bool inside = false;

    for (size_t i = 0; i < *size;) {
        const size_t n = utf8_next(&c, p + i, *size - i);
        const bool space = unicode_is_space(c);
        if (!space && !inside)
            first = i;
        inside = inside || !space;
        i += n;
        if (!space)
            end = i;
    }
    *offset = inside ? first : 0;
    *size = inside ? end - first : 0;
}

uint32_t unicode_lower(uint32_t code)
{
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)code);
}
