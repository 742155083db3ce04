/* tests/core/test_rle_goldens.c: COCO run lengths: every case of goldens/data/masks. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/json.h"
#include "core/rle.h"

/* The one golden line that contradicts another: "`0" is the string of 16 zeros (the 8 x 2 sliver of the
 * same file says so), so on 4 x 4 it is a whole, empty mask. */
static const char CONTRADICTED[] = "`0";

struct state {
    struct arena arena;
    struct rle_scratch scratch;
    struct rle mask;
    struct buffer text;
    struct error err;
    int line;
};

static const struct json_value *member(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    if (!m)
        fail_msg("member %s is missing", key);
    return m;
}

static void assert_string_is(struct state *s, const struct rle *r, const struct json_value *want)
{
    s->text.size = 0;
    assert_int_equal(rle_to_string(&s->text, r, &s->err), ST_OK);
    if (s->text.size != want->size || memcmp(s->text.data, want->text, want->size) != 0)
        fail_msg("line %d: string %.*s, want %s", s->line, (int)s->text.size, (char *)s->text.data,
                 want->text);
}

static void assert_sha256(struct state *s, const uint8_t *bytes, size_t size, const char *want)
{
    uint8_t digest[32];
    char hex[65];
    hash_sha256(digest, bytes, size);
    hash_hex(hex, digest, 32);
    if (strcmp(hex, want) != 0)
        fail_msg("line %d: %zu bytes differ", s->line, size);
}

static void assert_resized(struct state *s, const struct rle *r, const struct json_value *n448)
{
    struct rle_sampler sampler;
    uint8_t *rows = malloc(448 * 448);
    uint64_t area = 0;

    rle_resize_nearest(rows, r, 448, 448);
    for (size_t i = 0; i < 448 * 448; i++)
        area += rows[i];
    assert_int_equal(area, (uint64_t)member(n448, "area")->number);
    assert_sha256(s, rows, 448 * 448, member(n448, "sha256")->text);
    rle_sampler_init(&sampler);
    assert_int_equal(rle_sampler_set(&sampler, r->h, r->w, 448, 448, &s->err), ST_OK);
    assert_int_equal(rle_sampled_area(&sampler, r), area);
    rle_sampler_clear(&sampler);
    free(rows);
}

/* string, runs, area, bbox, pixels, resize, and the ways back. */
static void assert_facts(struct state *s, const struct json_value *v, const struct rle *r)
{
    uint32_t box[4];
    uint8_t *rows = malloc((size_t)r->h * r->w);
    struct rle back;
    const struct json_value *string = member(v, "string"), *edge = member(v, "bbox")->child;

    assert_string_is(s, r, string);
    assert_int_equal(r->n, (size_t)member(v, "runs")->number);
    assert_int_equal(rle_area(r), (uint64_t)member(v, "area")->number);
    rle_bbox(r, box);
    for (int i = 0; i < 4; i++, edge = edge->next)
        assert_int_equal(box[i], (uint32_t)edge->number);
    rle_to_rows(rows, r);
    assert_sha256(s, rows, (size_t)r->h * r->w, member(v, "mask_sha256")->text);
    assert_resized(s, r, member(v, "n448"));

    rle_init(&back);
    assert_int_equal(rle_from_string(&back, r->h, r->w, string->text, string->size, &s->err),
                     ST_OK);
    assert_true(rle_equal(&back, r));
    s->text.size = 0;
    assert_int_equal(rle_to_varints(&s->text, r, &s->err), ST_OK);
    assert_int_equal(rle_from_varints(&back, r->h, r->w, s->text.data, s->text.size, &s->err),
                     ST_OK);
    assert_true(rle_equal(&back, r));
    rle_clear(&back);
    free(rows);
}

static size_t numbers(double *out, const struct json_value *list)
{
    size_t n = 0;
    for (const struct json_value *c = list->child; c; c = c->next)
        out[n++] = c->number;
    return n;
}

static enum status polygons_mask(struct state *s, const struct json_value *list, size_t least,
                                 int64_t h, int64_t w)
{
    size_t total = 0, sizes[64], n = 0;
    for (const struct json_value *p = list->child; p; p = p->next)
        total += p->count;
    double *xy = malloc((total + 1) * sizeof *xy);
    total = 0;
    for (const struct json_value *p = list->child; p; p = p->next) {
        if (p->count < least)
            continue;
        sizes[n] = numbers(xy + total, p);
        total += sizes[n++];
    }
    const enum status st = rle_from_polygons(&s->mask, h, w, xy, sizes, n, &s->scratch, &s->err);
    free(xy);
    return st;
}

static void check_polygons(struct state *s, const struct json_value *v, int64_t h, int64_t w)
{
    const struct json_value *list = member(v, "polygons"), *each = json_get(v, "each");
    const struct json_value *string = each ? each->child : NULL;

    for (const struct json_value *p = list->child; each && p; p = p->next, string = string->next) {
        double *xy = malloc((p->count + 1) * sizeof *xy);
        const size_t n = numbers(xy, p);
        assert_int_equal(rle_from_polygon(&s->mask, h, w, xy, n, &s->scratch, &s->err), ST_OK);
        assert_string_is(s, &s->mask, string);
        free(xy);
    }
    assert_int_equal(polygons_mask(s, list, 0, h, w), ST_OK);
    assert_facts(s, v, &s->mask);
}

static enum status counts_mask(struct state *s, const struct json_value *list, int64_t h, int64_t w)
{
    int64_t *counts = malloc((list->count + 1) * sizeof *counts);
    size_t n = 0;
    for (const struct json_value *c = list->child; c; c = c->next)
        if (!json_value_int64(c, &counts[n++])) {
            free(counts);
            return ST_SKIP; /* the reader of annotations refuses it: "not-an-integer" */
        }
    const enum status st = rle_from_counts(&s->mask, h, w, counts, n, &s->err);
    free(counts);
    return st;
}

static void check_merge(struct state *s, const struct json_value *v, int64_t h, int64_t w)
{
    static const char *const names[] = { "union", "intersection" };
    struct rle all, sum;
    rle_init(&all);
    rle_init(&sum);
    for (int intersect = 0; intersect < 2; intersect++) {
        const struct json_value *p = member(v, "strings")->child;
        assert_int_equal(rle_from_string(&all, h, w, p->text, p->size, &s->err), ST_OK);
        for (p = p->next; p; p = p->next) {
            assert_int_equal(rle_from_string(&s->mask, h, w, p->text, p->size, &s->err), ST_OK);
            assert_int_equal(rle_merge(&sum, &all, &s->mask, intersect, &s->err), ST_OK);
            assert_int_equal(rle_copy(&all, &sum, &s->err), ST_OK);
        }
        assert_string_is(s, &all, member(v, names[intersect]));
    }
    rle_clear(&all);
    rle_clear(&sum);
}

static void check_iou(struct state *s, const struct json_value *v, int64_t h, int64_t w)
{
    const struct json_value *row = member(v, "iou")->child;
    struct rle gt;
    rle_init(&gt);
    for (const struct json_value *d = member(v, "dt")->child; d; d = d->next, row = row->next) {
        const struct json_value *g = member(v, "gt")->child, *crowd = member(v, "iscrowd")->child;
        assert_int_equal(rle_from_string(&s->mask, h, w, d->text, d->size, &s->err), ST_OK);
        for (const struct json_value *want = row->child; want; want = want->next) {
            assert_int_equal(rle_from_string(&gt, h, w, g->text, g->size, &s->err), ST_OK);
            if (rle_iou(&s->mask, &gt, crowd->number != 0) != want->number)
                fail_msg("line %d: iou %.17g, want %.17g", s->line,
                         rle_iou(&s->mask, &gt, crowd->number != 0), want->number);
            g = g->next;
            crowd = crowd->next;
        }
    }
    rle_clear(&gt);
}

static void check_bad_string(struct state *s, const struct json_value *v, int64_t h, int64_t w)
{
    const struct json_value *in = member(v, "string_in");
    const enum status st = rle_from_string(&s->mask, h, w, in->text, in->size, &s->err);

    if (strcmp(in->text, CONTRADICTED) == 0 && in->size == 2) {
        assert_int_equal(st, ST_OK);
        return;
    }
    char want[64];
    snprintf(want, sizeof want, "mask-%s", member(v, "error")->text);
    assert_int_equal(st, ST_SKIP);
    assert_string_equal(s->err.code, want);
}

/* false: a kind of segmentation JSON, which tests/ingest/test_segmentation.c runs. */
static bool check_case(struct state *s, const struct json_value *v)
{
    const char *kind = member(v, "kind")->text;
    const int64_t h = (int64_t)member(v, "h")->number, w = (int64_t)member(v, "w")->number;
    double box[4];

    if (strcmp(kind, "polygons") == 0) {
        check_polygons(s, v, h, w);
    } else if (strcmp(kind, "box") == 0) {
        numbers(box, member(v, "box"));
        assert_int_equal(rle_from_box(&s->mask, h, w, box, &s->scratch, &s->err), ST_OK);
        assert_facts(s, v, &s->mask);
    } else if (strcmp(kind, "rle") == 0) {
        const struct json_value *counts = json_get(v, "counts"), *string = member(v, "string");
        if (counts)
            assert_int_equal(counts_mask(s, counts, h, w), ST_OK);
        else
            assert_int_equal(rle_from_string(&s->mask, h, w, string->text, string->size, &s->err),
                             ST_OK);
        assert_facts(s, v, &s->mask);
    } else if (strcmp(kind, "rle-canonicalise") == 0) {
        assert_int_equal(counts_mask(s, member(v, "counts_in"), h, w), ST_OK);
        assert_facts(s, v, &s->mask);
    } else if (strcmp(kind, "bad-rle") == 0) {
        assert_int_equal(counts_mask(s, member(v, "counts_in"), h, w), ST_SKIP);
    } else if (strcmp(kind, "bad-string") == 0) {
        check_bad_string(s, v, h, w);
    } else if (strcmp(kind, "merge") == 0) {
        check_merge(s, v, h, w);
    } else if (strcmp(kind, "iou") == 0) {
        check_iou(s, v, h, w);
    } else {
        return false;
    }
    return true;
}

static void every_golden_mask_comes_out(void **state)
{
    struct state s = { .line = 0 };
    size_t size = 0;
    int checked = 0, others = 0;
    uint8_t *file = test_read_file(TEST_GOLDENS "/data/masks/masks.jsonl", &size);
    (void)state;

    arena_init(&s.arena, 0);
    rle_scratch_init(&s.scratch);
    rle_init(&s.mask);
    buffer_init(&s.text);
    for (char *p = (char *)file, *end; (end = strchr(p, '\n')); p = end + 1) {
        struct json_value *v = NULL;
        const struct arena_mark mark = arena_mark(&s.arena);
        s.line++;
        assert_int_equal(json_parse(&s.arena, &v, p, (size_t)(end - p), NULL, &s.err), ST_OK);
        if (check_case(&s, v))
            checked++;
        else
            others++;
        error_clear(&s.err);
        arena_release(&s.arena, mark);
    }
    assert_int_equal(checked + others, 1747);
    assert_int_equal(others, 15 + 9); /* annotation, bad-polygon */
    buffer_clear(&s.text);
    rle_clear(&s.mask);
    rle_scratch_clear(&s.scratch);
    arena_clear(&s.arena);
    free(file);
}

static void every_golden_resize_reads_the_same_indices(void **state)
{
    struct state s = { .line = 0 };
    uint8_t *file = test_read_file(TEST_GOLDENS "/data/masks/nearest.jsonl", NULL);
    (void)state;

    arena_init(&s.arena, 0);
    for (char *p = (char *)file, *end; (end = strchr(p, '\n')); p = end + 1) {
        struct json_value *v = NULL;
        uint8_t bytes[448 * 4];
        s.line++;
        assert_int_equal(json_parse(&s.arena, &v, p, (size_t)(end - p), NULL, &s.err), ST_OK);
        const uint32_t in = (uint32_t)member(v, "in")->number,
                       out = (uint32_t)member(v, "out")->number;
        assert_int_equal(out, 448);
        for (uint32_t i = 0; i < out; i++) {
            const uint32_t j = rle_nearest_index(i, in, out);
            for (int k = 0; k < 4; k++)
                bytes[4 * i + (uint32_t)k] = (uint8_t)(j >> (8 * k));
        }
        assert_sha256(&s, bytes, sizeof bytes, member(v, "index_i32le_sha256")->text);
    }
    assert_int_equal(s.line, 98);
    arena_clear(&s.arena);
    free(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_mask_comes_out),
        cmocka_unit_test(every_golden_resize_reads_the_same_indices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
