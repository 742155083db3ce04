/* core/rle_polygon.c: the COCO rasteriser (spec data.md 7.4). The definition walks every edge densely
 * on a grid five times finer and keeps the steps that cross a column's middle; here only those steps
 * are computed: for a column c the step between u = 5c + 2 and u + 1. Joints between edges never cross
 * a column inside the picture, since there both edges give the vertex itself. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/rle.h"

enum {
    FINE = 5,          /* steps of the fine grid to a pixel */
    CLAMP = 65536,     /* pixels */
    INSERTION_MAX = 24 /* longer lists are sorted by qsort */
};

struct vertex {
    int32_t x, y; /* fine grid */
};

void rle_scratch_init(struct rle_scratch *s)
{
    memset(s, 0, sizeof *s);
}

void rle_scratch_clear(struct rle_scratch *s)
{
    mem_free(s->toggles);
    mem_free(s->sorted);
    mem_free(s->offsets);
    rle_clear(&s->one);
    rle_clear(&s->sum);
    rle_scratch_init(s);
}

static enum status grow(uint32_t **p, size_t *cap, size_t want, struct error *err)
{
    if (want <= *cap)
        return ST_OK;
    const size_t more = want < 2 * *cap ? 2 * *cap : want;
    uint32_t *q = mem_realloc(*p, more, sizeof *q);
    if (!q)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "polygon of %zu crossings", want);
    *p = q;
    *cap = more;
    return ST_OK;
}

static int32_t to_fine(double v)
{
    const double clamped = v < -CLAMP ? -CLAMP : v > CLAMP ? CLAMP : v;
    return (int32_t)(FINE * clamped + 0.5);
}

static struct vertex vertex_at(const double *xy, size_t i)
{
    return (struct vertex){ to_fine(xy[2 * i]), to_fine(xy[2 * i + 1]) };
}

/* The columns whose crossing u -> u + 1 lies within u_low..u_high; none: *first > *last. */
static void columns_between(int32_t *first, int32_t *last, int32_t u_low, int32_t u_high, int32_t w)
{
    const int32_t highest = u_high - 1 - 2; /* u + 1 <= u_high */
    *first = u_low <= 2 ? 0 : (u_low - 2 + FINE - 1) / FINE;
    *last = highest < 0 ? -1 : highest / FINE;
    if (*last > w - 1)
        *last = w - 1;
}

static uint32_t toggle_at(int32_t c, int32_t v, int32_t h)
{
    int32_t row = v <= 2 ? 0 : (v - 2 + FINE - 1) / FINE;
    if (row > h)
        row = h;
    return (uint32_t)c * (uint32_t)h + (uint32_t)row;
}

/* An edge that is at least as wide as high; a is its left end. */
static size_t cross_flat(uint32_t *out, struct vertex a, struct vertex b, int32_t h, int32_t w)
{
    int32_t first = 0, last = -1;
    const double s = (double)(b.y - a.y) / (double)(b.x - a.x);
    size_t n = 0;

    columns_between(&first, &last, a.x, b.x, w);
    for (int32_t c = first; c <= last; c++) {
        const int32_t t = FINE * c + 2 - a.x;
        const int32_t v0 = (int32_t)((double)a.y + s * (double)t + 0.5);
        const int32_t v1 = (int32_t)((double)a.y + s * (double)(t + 1) + 0.5);
        out[n++] = toggle_at(c, v0 < v1 ? v0 : v1, h);
    }
    return n;
}

static int32_t steep_u(struct vertex a, double s, int32_t t)
{
    return (int32_t)((double)a.x + s * (double)t + 0.5);
}

/* The first step after which u lies on the far side of the crossing u -> u + 1. The estimate is off by
 * rounding only, so the search around it takes a step or two. */
static int32_t steep_step(struct vertex a, double s, int32_t n, int32_t u)
{
    const double guess = ceil(((double)u + 0.5 - (double)a.x) / s);
    int32_t t = guess < 1 ? 1 : guess > n ? n : (int32_t)guess;

    if (s > 0) {
        while (t > 1 && steep_u(a, s, t - 1) > u)
            t--;
        while (t < n && steep_u(a, s, t) <= u)
            t++;
        return t;
    }
    while (t > 1 && steep_u(a, s, t - 1) <= u)
        t--;
    while (t < n && steep_u(a, s, t) > u)
        t++;
    return t;
}

/* An edge that is higher than wide; a is its upper end. */
static size_t cross_steep(uint32_t *out, struct vertex a, struct vertex b, int32_t h, int32_t w)
{
    int32_t first = 0, last = -1;
    const int32_t steps = b.y - a.y;
    const double s = (double)(b.x - a.x) / (double)steps;
    const int32_t from = a.x < b.x ? a.x : b.x, to = a.x < b.x ? b.x : a.x;
    size_t n = 0;

    columns_between(&first, &last, from, to, w);
    for (int32_t c = first; c <= last; c++) {
        const int32_t t = steep_step(a, s, steps, FINE * c + 2);
        out[n++] = toggle_at(c, a.y + t - 1, h);
    }
    return n;
}

static size_t cross_edge(uint32_t *out, struct vertex a, struct vertex b, int32_t h, int32_t w)
{
    const int32_t dx = abs(b.x - a.x), dy = abs(b.y - a.y);
    const bool flat = dx >= dy;

    if (dx == 0)
        return 0; /* u stays the same */
    if (flat ? a.x > b.x : a.y > b.y) {
        const struct vertex swap = a;
        a = b;
        b = swap;
    }
    return flat ? cross_flat(out, a, b, h, w) : cross_steep(out, a, b, h, w);
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void sort_short(uint32_t *p, size_t n)
{
    if (n > INSERTION_MAX) {
        qsort(p, n, sizeof *p, compare_u32);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        const uint32_t v = p[i];
        size_t j = i;
        for (; j > 0 && p[j - 1] > v; j--)
            p[j] = p[j - 1];
        p[j] = v;
    }
}

/* Toggles ascending: dealt out by column, then sorted inside each. Returns where they lie. */
static enum status sort_toggles(const uint32_t **out, struct rle_scratch *s, size_t n, uint32_t h,
                                struct error *err)
{
    uint32_t low = UINT32_MAX, high = 0;

    *out = s->toggles;
    for (size_t i = 0; i < n; i++) {
        low = s->toggles[i] < low ? s->toggles[i] : low;
        high = s->toggles[i] > high ? s->toggles[i] : high;
    }
    if (n <= INSERTION_MAX) {
        sort_short(s->toggles, n);
        return ST_OK;
    }
    const uint32_t base = low / h, columns = high / h - base + 1;
    if (grow(&s->sorted, &s->sorted_cap, n, err) != ST_OK ||
        grow(&s->offsets, &s->offsets_cap, (size_t)columns + 1, err) != ST_OK)
        return ST_FAIL;
    memset(s->offsets, 0, ((size_t)columns + 1) * sizeof *s->offsets);
    for (size_t i = 0; i < n; i++)
        s->offsets[s->toggles[i] / h - base + 1]++;
    for (uint32_t c = 0; c < columns; c++)
        s->offsets[c + 1] += s->offsets[c];
    for (size_t i = 0; i < n; i++) /* offsets[c] moves to the end of column c */
        s->sorted[s->offsets[s->toggles[i] / h - base]++] = s->toggles[i];
    for (uint32_t c = 0, from = 0; c < columns; from = s->offsets[c++])
        sort_short(s->sorted + from, s->offsets[c] - from);
    *out = s->sorted;
    return ST_OK;
}

/* The mask flips at each toggle; two at one place cancel. */
static enum status runs_between(struct rle *out, const uint32_t *toggles, size_t n,
                                struct error *err)
{
    const uint32_t area = out->h * out->w;
    uint32_t at = 0;
    bool inside = false;
    enum status st = ST_OK;

    for (size_t i = 0; st == ST_OK && i < n; i++) {
        st = rle_push(out, toggles[i] - at, inside, err);
        at = toggles[i];
        inside = !inside;
    }
    return st == ST_OK ? rle_push(out, area - at, inside, err) : st;
}

/* At most this many crossings; also finds numbers that are none. */
static enum status count_crossings(size_t *out, const double *xy, size_t points, uint32_t w,
                                   struct error *err)
{
    size_t n = 0;

    for (size_t i = 0; i < 2 * points; i++)
        if (!isfinite(xy[i])) {
            error_set(err, ST_SKIP, CAUSE_FORMAT, "polygon: number %zu is not finite", i);
            return error_code(err, ST_SKIP, "mask-not-finite");
        }
    for (size_t i = 0; i < points; i++) {
        const int32_t from = vertex_at(xy, i).x, to = vertex_at(xy, i + 1 < points ? i + 1 : 0).x;
        const size_t crossed = (size_t)(abs(to - from) / FINE) + 1;
        n += crossed < w ? crossed : w;
        if (n > RLE_MAX_TOGGLES) {
            error_set(err, ST_SKIP, CAUSE_LIMIT, "polygon: over %d column crossings",
                      RLE_MAX_TOGGLES);
            return error_code(err, ST_SKIP, "mask-work");
        }
    }
    *out = n;
    return ST_OK;
}

enum status rle_from_polygon(struct rle *out, int64_t h, int64_t w, const double *xy, size_t n,
                             struct rle_scratch *s, struct error *err)
{
    const size_t points = n / 2;
    size_t most = 0, used = 0;
    const uint32_t *toggles = NULL;
    enum status st = rle_start(out, h, w, err);

    if (st == ST_OK)
        st = count_crossings(&most, xy, points, out->w, err);
    if (st == ST_OK)
        st = grow(&s->toggles, &s->toggles_cap, most + 1, err);
    if (st != ST_OK)
        return st;
    const struct vertex start = points ? vertex_at(xy, 0) : (struct vertex){ 0, 0 };
    struct vertex a = start;
    for (size_t i = 0; i < points; i++) {
        const struct vertex b = i + 1 < points ? vertex_at(xy, i + 1) : start;
        used += cross_edge(s->toggles + used, a, b, (int32_t)out->h, (int32_t)out->w);
        a = b;
    }
    st = sort_toggles(&toggles, s, used, out->h, err);
    return st == ST_OK ? runs_between(out, toggles, used, err) : st;
}

enum status rle_from_polygons(struct rle *out, int64_t h, int64_t w, const double *xy,
                              const size_t *sizes, size_t polygons, struct rle_scratch *s,
                              struct error *err)
{
    enum status st = rle_from_polygon(out, h, w, xy, sizes[0], s, err);

    for (size_t i = 1; st == ST_OK && i < polygons; i++) {
        xy += sizes[i - 1];
        st = rle_from_polygon(&s->one, h, w, xy, sizes[i], s, err);
        if (st == ST_OK)
            st = rle_merge(&s->sum, out, &s->one, false, err);
        const struct rle swap = *out;
        *out = s->sum;
        s->sum = swap;
    }
    return st;
}

enum status rle_from_box(struct rle *out, int64_t h, int64_t w, const double box[4],
                         struct rle_scratch *s, struct error *err)
{
    const double x0 = box[0], y0 = box[1], x1 = box[0] + box[2], y1 = box[1] + box[3];
    const double xy[8] = { x0, y0, x0, y1, x1, y1, x1, y0 };
    return rle_from_polygon(out, h, w, xy, 8, s, err);
}
