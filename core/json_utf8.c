/* core/json_utf8.c: see json_private.h, and utf8_repair of json.h. */
#include <string.h>

#include "core/json.h"
#include "core/json_private.h"

int utf8_length(const uint8_t *p, const uint8_t *end)
{
    const uint8_t lead = p[0];
    uint8_t low = 0x80, high = 0xbf; /* of the second byte: no overlongs, surrogates, > U+10FFFF */
    int length = 0;

    if (lead < 0x80)
        return 1;
    if (lead >= 0xc2 && lead <= 0xdf)
        length = 2;
    else if (lead >= 0xe0 && lead <= 0xef)
        length = 3;
    else if (lead >= 0xf0 && lead <= 0xf4)
        length = 4;
    else
        return -1;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    for (int i = 1; i < length; i++) {
        if (p + i >= end || p[i] < low || p[i] > high)
            return -i;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

const uint8_t *json_plain_end(const uint8_t *p, const uint8_t *end)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    while (end - p >= 8) {
        uint64_t v = 0;
        memcpy(&v, p, 8);
        const uint64_t quote = v ^ (ones * '"'), slash = v ^ (ones * '\\');
        /* A top bit of the sum: a byte below 0x20, a zero byte in quote or slash, or one >= 0x80.
         * Borrows only make later bytes look special, and those are looked at one by one. */
        if ((((v - ones * 0x20) | (quote - ones) | (slash - ones) | v) & tops) != 0)
            break;
        p += 8;
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

enum status utf8_repair(struct buffer *out, const void *data, size_t size, uint64_t *replaced,
                        struct error *err)
{
    const uint8_t *p = data, *end = p + size, *run = p;
    enum status st = ST_OK;
    while (p < end && st == ST_OK) {
        const int n = utf8_length(p, end);
        if (n > 0) {
            p += n;
            continue;
        }
        st = buffer_append(out, run, (size_t)(p - run), err);
        if (st == ST_OK)
            st = buffer_append(out, "\xef\xbf\xbd", 3, err);
        p -= n;
        run = p;
        ++*replaced;
    }
    return st == ST_OK && p > run ? buffer_append(out, run, (size_t)(p - run), err) : st;
}
