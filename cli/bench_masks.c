/* cli/bench_masks.c: `deem bench masks`: polygons and masks a second of core/rle on one thread, beside the
 * rasteriser's definition walked densely, as pycocotools' C core does it, in the same run. Polygons
 * are made by a fixed seed: blobs of COCO's sizes on pictures of 640 x 480. --polygons FILE writes them
 * as JSON: tests/ingest/masks/compare_pycocotools.py times pycocotools itself on them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/log.h"
#include "core/rle.h"

enum { W = 640, H = 480, VERTICES_MAX = 80 };

struct polygons {
    double *xy;
    size_t *sizes; /* numbers */
    size_t count;
};
struct masks_bench {
    struct polygons p;
    struct rle *masks;
    struct rle_scratch scratch;
    struct rle out, back;
    struct buffer text;
    double seconds; /* at least, for each figure */
    int32_t *u, *v; /* of the dense walk */
    uint32_t *toggles;
};

static double unit(uint64_t *state)
{
    *state = hash_xxh3_64(state, sizeof *state);
    return (double)(*state >> 11) * 0x1p-53;
}

static enum status make_polygons(struct polygons *p, size_t count, struct error *err)
{
    uint64_t state = 20240607;
    double *xy = NULL;

    p->xy = mem_calloc(count * 2 * VERTICES_MAX, sizeof *p->xy);
    p->sizes = mem_calloc(count, sizeof *p->sizes);
    if (!p->xy || !p->sizes)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%zu polygons", count);
    xy = p->xy;
    p->count = count;
    for (size_t i = 0; i < count; i++) {
        const size_t n = 4 + (size_t)(unit(&state) * unit(&state) * (VERTICES_MAX - 4));
        const double size = 8 + 200 * pow(unit(&state), 2), cx = unit(&state) * W,
                     cy = unit(&state) * H;
        for (size_t k = 0; k < n; k++) {
            const double angle = 2 * 3.14159265358979 * (double)k / (double)n,
                         r = size * (0.6 + 0.4 * unit(&state));
            *xy++ = rint(100 * fmin(fmax(cx + r * cos(angle), 0), W)) / 100;
            *xy++ = rint(100 * fmin(fmax(cy + r * sin(angle), 0), H)) / 100;
        }
        p->sizes[i] = 2 * n;
    }
    return ST_OK;
}

/* A pass over all polygons; the sum keeps the work from being left out. */
typedef uint64_t pass_fn(struct masks_bench *b);

static uint64_t pass_rasterise(struct masks_bench *b)
{
    const double *xy = b->p.xy;
    uint64_t sum = 0;
    for (size_t i = 0; i < b->p.count; xy += b->p.sizes[i++]) {
        rle_from_polygon(&b->out, H, W, xy, b->p.sizes[i], &b->scratch, NULL);
        sum += b->out.n;
    }
    return sum;
}

static uint64_t pass_string(struct masks_bench *b)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < b->p.count; i++) {
        b->text.size = 0;
        rle_to_string(&b->text, &b->masks[i], NULL);
        rle_from_string(&b->back, H, W, (const char *)b->text.data, b->text.size, NULL);
        sum += b->back.n;
    }
    return sum;
}

static uint64_t pass_area(struct masks_bench *b)
{
    uint32_t box[4];
    uint64_t sum = 0;
    for (size_t i = 0; i < b->p.count; i++) {
        rle_bbox(&b->masks[i], box);
        sum += rle_area(&b->masks[i]) + box[0];
    }
    return sum;
}

static uint64_t pass_merge(struct masks_bench *b)
{
    uint64_t sum = 0;
    for (size_t i = 1; i < b->p.count; i++) {
        rle_merge(&b->out, &b->masks[i - 1], &b->masks[i], false, NULL);
        sum += b->out.n;
    }
    return sum;
}

/* The definition of spec data.md 7.4, step by step: what pycocotools computes. Counts toggles. */
static uint64_t dense_walk(const double *xy, size_t points, int32_t *u, int32_t *v, uint32_t *out)
{
    size_t m = 0;
    uint64_t toggles = 0;

    for (size_t i = 0; i < points; i++) {
        const size_t next = i + 1 < points ? i + 1 : 0;
        int32_t xs = (int32_t)(5 * xy[2 * i] + 0.5), ys = (int32_t)(5 * xy[2 * i + 1] + 0.5);
        int32_t xe = (int32_t)(5 * xy[2 * next] + 0.5), ye = (int32_t)(5 * xy[2 * next + 1] + 0.5);
        const int32_t dx = abs(xe - xs), dy = abs(ye - ys), n = dx > dy ? dx : dy;
        const bool flat = dx >= dy, flip = flat ? xs > xe : ys > ye;
        if (flip) {
            const int32_t x = xs, y = ys;
            xs = xe, ys = ye, xe = x, ye = y;
        }
        const double s = n == 0 ? 0 : flat ? (double)(ye - ys) / dx : (double)(xe - xs) / dy;
        for (int32_t d = 0; d <= n; d++, m++) {
            const int32_t t = flip ? n - d : d;
            u[m] = flat ? xs + t : (int32_t)(xs + s * t + 0.5);
            v[m] = flat ? (int32_t)(ys + s * t + 0.5) : ys + t;
        }
    }
    for (size_t j = 1; j < m; j++) {
        if (u[j] == u[j - 1])
            continue;
        double x = ((double)(u[j] < u[j - 1] ? u[j] : u[j] - 1) + 0.5) / 5 - 0.5;
        if (floor(x) != x || x < 0 || x > W - 1)
            continue;
        double y = ((double)(v[j] < v[j - 1] ? v[j] : v[j - 1]) + 0.5) / 5 - 0.5;
        y = y < 0 ? 0 : y > H ? H : y;
        out[toggles++] = (uint32_t)x * H + (uint32_t)ceil(y);
    }
    return toggles;
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

enum { DENSE_MAX = VERTICES_MAX * 5 * (W + H) };

static uint64_t pass_dense(struct masks_bench *b)
{
    const double *xy = b->p.xy;
    uint64_t sum = 0;
    for (size_t i = 0; i < b->p.count; xy += b->p.sizes[i++]) {
        const uint64_t n = dense_walk(xy, b->p.sizes[i] / 2, b->u, b->v, b->toggles);
        qsort(b->toggles, n, sizeof *b->toggles, compare_u32);
        rle_start(&b->out, H, W, NULL);
        uint32_t at = 0;
        for (uint64_t k = 0; k < n; at = b->toggles[k++])
            rle_push(&b->out, b->toggles[k] - at, k & 1, NULL);
        rle_push(&b->out, W * H - at, n & 1, NULL);
        sum += b->out.n;
    }
    return sum;
}

/* Best of some passes over all, in items a second. */
static double rate(struct masks_bench *b, pass_fn *pass, uint64_t *check)
{
    const double end = clock_seconds() + b->seconds;
    double best = 0;
    do {
        const double start = clock_seconds();
        *check = pass(b);
        const double took = clock_seconds() - start;
        best = took > 0 && (double)b->p.count / took > best ? (double)b->p.count / took : best;
    } while (clock_seconds() < end);
    return best;
}

static enum status write_polygons(const struct polygons *p, const char *path, struct error *err)
{
    struct buffer out;
    struct json_writer w;
    const double *xy = p->xy;

    buffer_init(&out);
    json_writer_init(&w, &out);
    json_begin_array(&w);
    for (size_t i = 0; i < p->count; i++) {
        json_begin_array(&w);
        for (size_t k = 0; k < p->sizes[i]; k++)
            json_number(&w, *xy++);
        json_end_array(&w);
    }
    json_end_array(&w);
    enum status st = json_writer_finish(&w, err);
    if (st == ST_OK)
        st = file_replace(path, out.data, out.size, err);
    buffer_clear(&out);
    return st;
}

static enum status make_masks(struct masks_bench *b, struct error *err)
{
    const double *xy = b->p.xy;
    enum status st = ST_OK;

    b->masks = mem_calloc(b->p.count, sizeof *b->masks);
    b->u = mem_calloc(DENSE_MAX, sizeof *b->u);
    b->v = mem_calloc(DENSE_MAX, sizeof *b->v);
    b->toggles = mem_calloc(DENSE_MAX, sizeof *b->toggles);
    if (!b->masks || !b->u || !b->v || !b->toggles)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "masks");
    for (size_t i = 0; st == ST_OK && i < b->p.count; xy += b->p.sizes[i++])
        st = rle_from_polygon(&b->masks[i], H, W, xy, b->p.sizes[i], &b->scratch, err);
    return st;
}

static enum status measure(struct masks_bench *b, bool json, struct error *err)
{
    uint64_t ours = 0, theirs = 0, ignored = 0;
    const double dense = rate(b, pass_dense, &theirs), fast = rate(b, pass_rasterise, &ours);
    const double string = rate(b, pass_string, &ignored), area = rate(b, pass_area, &ignored);
    const double merge = rate(b, pass_merge, &ignored);

    if (ours != theirs)
        return error_set(err, ST_FAIL, CAUSE_INTERNAL,
                         "the two rasterisers disagree: %" PRIu64 " and %" PRIu64 " runs", ours,
                         theirs);
    if (json) {
        printf("{\"polygons_per_second\":%.0f,\"dense_walk_per_second\":%.0f,\"ratio\":%.2f,"
               "\"strings_per_second\":%.0f,"
               "\"areas_per_second\":%.0f,\"merges_per_second\":%.0f}\n",
               fast, dense, fast / dense, string, area, merge);
        return ST_OK;
    }
    printf("%-24s %12.0f polygons/s  %.1f x the dense walk (%.0f/s)\n", "rasterise", fast,
           fast / dense, dense);
    printf("%-24s %12.0f masks/s\n%-24s %12.0f masks/s\n%-24s %12.0f masks/s\n",
           "string, there and back", string, "area and box", area, "union of two", merge);
    return ST_OK;
}

static void clear(struct masks_bench *b)
{
    for (size_t i = 0; b->masks && i < b->p.count; i++)
        rle_clear(&b->masks[i]);
    mem_free(b->masks);
    mem_free(b->p.xy);
    mem_free(b->p.sizes);
    mem_free(b->u);
    mem_free(b->v);
    mem_free(b->toggles);
    rle_scratch_clear(&b->scratch);
    rle_clear(&b->out);
    rle_clear(&b->back);
    buffer_clear(&b->text);
}

int bench_masks(int argc, char **argv)
{
    struct masks_bench b = { .seconds = 1 };
    int64_t count = 20000;
    const char *polygons = NULL;
    bool json = false;
    struct error err = { 0 };
    const struct option options[] = {
        { "count", OPTION_INT, &count, "N", "polygons (20000)", 2, 1e6, NULL },
        { "seconds", OPTION_REAL, &b.seconds, "S", "at least, for each figure (1)", 0, 600, NULL },
        { "polygons", OPTION_TEXT, &polygons, "FILE", "write them as JSON and measure nothing", 0,
          0, NULL },
        { "json", OPTION_FLAG, &json, NULL, "one JSON object", 0, 0, NULL },
    };
    static const struct command_help help = {
        "deem bench masks [OPTION...]",
        "Polygons and masks a second on one core, beside the rasteriser's definition in the same "
        "run.",
        "  deem bench masks\n  deem bench masks --polygons polygons.json\n",
    };
    enum status st =
        options_parse(argc, argv, options, sizeof options / sizeof *options, &help, NULL, &err);

    if (st == ST_OK)
        st = make_polygons(&b.p, (size_t)count, &err);
    if (st == ST_OK && polygons)
        st = write_polygons(&b.p, polygons, &err);
    else if (st == ST_OK && (st = make_masks(&b, &err)) == ST_OK)
        st = measure(&b, json, &err);
    clear(&b);
    if (st == ST_FAIL)
        log_error(&err);
    return st == ST_FAIL ? error_exit_code(err.cause) : 0;
}
