/* tests/fuzz/fuzz_rle.c: two bytes of size, the rest a compressed mask, runs, or a polygon. Accepted masks
 * are canonical, survive string and varints, and agree with their own pixels. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "core/rle.h"

static void check(const struct rle *r)
{
    struct rle back;
    struct buffer text;
    struct error err = { 0 };
    uint64_t sum = 0, area = 0;
    uint8_t *rows = malloc((size_t)r->h * r->w);

    rle_init(&back);
    buffer_init(&text);
    for (size_t i = 0; i < r->n; i++) {
        sum += r->counts[i];
        if (i > 0 && r->counts[i] == 0)
            abort();
    }
    if (!rows || sum != (uint64_t)r->h * r->w)
        abort();
    rle_to_rows(rows, r);
    for (size_t i = 0; i < (size_t)r->h * r->w; i++)
        area += rows[i];
    if (area != rle_area(r) || rle_to_string(&text, r, &err) != ST_OK ||
        rle_from_string(&back, r->h, r->w, (const char *)text.data, text.size, &err) != ST_OK ||
        !rle_equal(&back, r))
        abort();
    text.size = 0;
    if (rle_to_varints(&text, r, &err) != ST_OK ||
        rle_from_varints(&back, r->h, r->w, text.data, text.size, &err) != ST_OK ||
        !rle_equal(&back, r) || rle_intersection(&back, r) != area)
        abort();
    rle_clear(&back);
    buffer_clear(&text);
    free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rle r;
    struct rle_scratch scratch;
    struct error err = { 0 };
    double xy[64];
    size_t n = 0;

    if (size < 2)
        return 0;
    const int64_t h = data[0], w = data[1];
    rle_init(&r);
    rle_scratch_init(&scratch);
    if (rle_from_string(&r, h, w, (const char *)data + 2, size - 2, &err) == ST_OK)
        check(&r);
    error_clear(&err);
    if (rle_from_varints(&r, h, w, data + 2, size - 2, &err) == ST_OK)
        check(&r);
    error_clear(&err);
    for (size_t at = 2; at + 8 <= size && n < 64; at += 8)
        memcpy(&xy[n++], data + at, 8);
    if (rle_from_polygon(&r, h, w, xy, n, &scratch, &err) == ST_OK)
        check(&r);
    rle_clear(&r);
    rle_scratch_clear(&scratch);
    return 0;
}
