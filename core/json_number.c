/* core/json_number.c: JSON numbers as doubles and integers (spec data.md 1). Texts are
 * NUL-terminated and follow the grammar, or are one of the three literals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/json.h"
#include "core/json_private.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Clinger's fast path: mantissa below 2^53 and a power of ten that is exact as a double give the
 * correctly rounded value with one operation. False: use strtod. */
static bool short_double(const char *s, double *out)
{
    static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    const bool negative = *s == '-';
    uint64_t mantissa = 0;
    int digits = 0, fraction = 0;
    for (s += negative; is_digit(*s); s++, digits++)
        mantissa = mantissa * 10 + (uint64_t)(*s - '0');
    if (*s == '.')
        for (s++; is_digit(*s); s++, digits++, fraction++)
            mantissa = mantissa * 10 + (uint64_t)(*s - '0');
    if (*s != '\0' || digits > 19 || mantissa > (uint64_t)1 << 53 || fraction > 22)
        return false;
    *out = (double)mantissa / powers[fraction];
    *out = negative ? -*out : *out;
    return true;
}

double json_number_value(const char *text, size_t size)
{
    double v = 0.0;
    if (size >= 3 && text[size - 1] == 'N')
        return (double)NAN;
    if (size >= 8 && text[size - 1] == 'y')
        return text[0] == '-' ? -(double)INFINITY : (double)INFINITY;
    return short_double(text, &v) ? v : strtod(text, NULL);
}

bool json_decimal_int64(const char *text, size_t size, int64_t *out)
{
    const bool negative = size > 0 && text[0] == '-';
    uint64_t v = 0;
    if (size == (size_t)negative || size - (size_t)negative > 19)
        return false;
    for (size_t i = negative; i < size; i++) {
        if (!is_digit(text[i]))
            return false;
        v = v * 10 + (uint64_t)(text[i] - '0'); /* 19 digits fit 64 bits */
    }
    if (v > (uint64_t)INT64_MAX + (negative ? 1 : 0))
        return false;
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool json_number_int64(const char *text, size_t size, int64_t *out)
{
    if (!memchr(text, '.', size) && !memchr(text, 'e', size) && !memchr(text, 'E', size)) {
        if (size > 20) /* the grammar allows no leading zeros: too large */
            return false;
        return json_decimal_int64(text, size, out);
    }
    const double v = json_number_value(text, size);
    if (!(fabs(v) <= 0x1p53) || v != floor(v))
        return false;
    *out = (int64_t)v;
    return true;
}
