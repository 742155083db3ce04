/* tests/fuzz/fuzz_resample.c: sizes and pixels of any kind: the tuned code gives the bytes of the plain
 * one, and a squash is the whole picture resampled. Input: u16 width, u16 height, u16 side, u8 geometry,
 * then the pixels, repeated as often as needed. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "core/bytes.h"
#include "core/resample.h"

enum { HEAD = 7, SIDE_MOST = 300, TARGET_MOST = 200 };

struct given {
    uint32_t width, height, side;
    enum resample_geometry geometry;
    uint8_t *pixels;
};

static uint8_t *room(uint32_t width, uint32_t height)
{
    uint8_t *p = malloc((size_t)3 * width * height);
    if (!p)
        abort();
    return p;
}

static void run(uint8_t *out, const struct given *g, enum resample_code code)
{
    const struct resample_target target = { out, g->side };
    struct error err = { 0 };
    if (resample_tensors(&target, 1, g->geometry, g->pixels, g->width, g->height, code, &err) !=
        ST_OK)
        abort();
}

/* (3, side, side) against (side, side, 3). */
static void compare_squash(const uint8_t *planes, const struct given *g)
{
    const size_t area = (size_t)g->side * g->side;
    uint8_t *rows = room(g->side, g->side);
    struct error err = { 0 };
    if (resample_rgb(rows, g->side, g->side, g->pixels, g->width, g->height, RESAMPLE_BICUBIC,
                     &err) != ST_OK)
        abort();
    for (size_t i = 0; i < area; i++)
        for (size_t c = 0; c < 3; c++)
            if (planes[c * area + i] != rows[3 * i + c])
                abort();
    free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= HEAD)
        return 0;
    struct given g = { .width = 1 + load_u16le(data) % SIDE_MOST,
                       .height = 1 + load_u16le(data + 2) % SIDE_MOST,
                       .side = 1 + load_u16le(data + 4) % TARGET_MOST,
                       .geometry = data[6] & 1 ? RESAMPLE_SQUASH : RESAMPLE_CROP };
    const size_t bytes = (size_t)3 * g.width * g.height;
    g.pixels = room(g.width, g.height);
    for (size_t i = 0; i < bytes; i++)
        g.pixels[i] = data[HEAD + i % (size - HEAD)];
    uint8_t *plain = room(g.side, g.side), *best = room(g.side, g.side);
    run(plain, &g, RESAMPLE_PLAIN);
    run(best, &g, RESAMPLE_BEST);
    if (memcmp(plain, best, (size_t)3 * g.side * g.side) != 0)
        abort();
    if (g.geometry == RESAMPLE_SQUASH)
        compare_squash(plain, &g);
    free(g.pixels);
    free(plain);
    free(best);
    return 0;
}
