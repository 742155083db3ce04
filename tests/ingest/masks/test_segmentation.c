/* tests/ingest/masks/test_segmentation.c: segmentations as annotations hold them: the golden cases with
 * unusable members, and those that must be errors. */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "ingest/masks/segmentation.h"

struct fixture {
    struct segmentation seg;
    struct rle mask;
    struct rle_scratch scratch;
    struct buffer text;
    struct error err;
};

static void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    segmentation_init(&f->seg);
    rle_init(&f->mask);
    rle_scratch_init(&f->scratch);
    buffer_init(&f->text);
}

static void fixture_clear(struct fixture *f)
{
    segmentation_clear(&f->seg);
    rle_clear(&f->mask);
    rle_scratch_clear(&f->scratch);
    buffer_clear(&f->text);
}

/* The mask of a segmentation's JSON text. */
static enum status mask_of(struct fixture *f, const char *json, size_t size, int64_t h, int64_t w)
{
    struct json *j = NULL;
    enum json_event event;
    uint8_t *copy = test_copy_exact(json, size);

    error_clear(&f->err);
    assert_int_equal(json_open(&j, copy, size, NULL, &f->err), ST_OK);
    assert_int_equal(json_next(j, &event, &f->err), ST_OK);
    assert_int_equal(segmentation_read(&f->seg, j, event, &f->err), ST_OK);
    assert_int_equal(json_next(j, &event, &f->err), ST_OK);
    assert_int_equal(event, JSON_END); /* a bad shape is read to its end */
    json_close(&j);
    free(copy);
    return segmentation_to_rle(&f->mask, &f->seg, h, w, &f->scratch, &f->err);
}

/* The bytes of member `key` in a golden line, as they stand there. */
static const char *raw_member(const char *line, const char *key, size_t *size)
{
    const char *p = strstr(line, key);
    size_t depth = 0, n = 0;
    if (!p)
        fail_msg("no %s in %s", key, line);
    p += strlen(key);
    do {
        depth += p[n] == '[';
        depth -= p[n] == ']';
        n++;
    } while (depth > 0);
    *size = n;
    return p;
}

static void check_line(struct fixture *f, const char *line, size_t size, int counts[2])
{
    struct arena arena;
    struct json_value *v = NULL;

    arena_init(&arena, 0);
    assert_int_equal(json_parse(&arena, &v, line, size, NULL, &f->err), ST_OK);
    const char *kind = json_get(v, "kind")->text;
    const int64_t h = (int64_t)json_get(v, "h")->number, w = (int64_t)json_get(v, "w")->number;
    const struct json_value *error = json_get(v, "error");
    if (strcmp(kind, "annotation") == 0) {
        size_t n = 0;
        const char *raw = raw_member(line, "\"segmentation\":", &n);
        const enum status st = mask_of(f, raw, n, h, w);
        counts[0]++;
        assert_int_equal(st, error ? ST_SKIP : ST_OK);
        if (!error) {
            f->text.size = 0;
            assert_int_equal(rle_to_string(&f->text, &f->mask, &f->err), ST_OK);
            assert_int_equal(f->text.size, json_get(v, "string")->size);
            assert_memory_equal(f->text.data, json_get(v, "string")->text, f->text.size);
        } else {
            assert_string_equal(f->err.code, "mask-no-polygon");
        }
    } else if (strcmp(kind, "bad-polygon") == 0) {
        const struct json_value *in = json_get(v, "segmentation_json");
        counts[1]++;
        assert_int_equal(mask_of(f, in->text, in->size, h, w), ST_SKIP);
        assert_int_equal(strncmp(f->err.code, "mask-", 5), 0);
        assert_string_equal(f->err.code + 5, error->text);
    }
    arena_clear(&arena);
}

static void golden_annotations_come_out_or_are_errors(void **state)
{
    struct fixture f;
    int counts[2] = { 0 };
    uint8_t *file = test_read_file(TEST_GOLDENS "/data/masks/masks.jsonl", NULL);
    (void)state;

    fixture_init(&f);
    for (char *p = (char *)file, *end; (end = strchr(p, '\n')); p = end + 1) {
        *end = '\0';
        check_line(&f, p, (size_t)(end - p), counts);
    }
    assert_int_equal(counts[0], 15);
    assert_int_equal(counts[1], 9);
    fixture_clear(&f);
    free(file);
}

static void runs_of_every_form_are_read(void **state)
{
    static const struct {
        const char *json, *code; /* code NULL: a mask of 5 pixels */
    } cases[] = {
        { "{\"size\":[6,8],\"counts\":[0,5,43]}", NULL },
        { "{\"counts\":[0.0,5,43],\"size\":[6.0,8]}", NULL },
        { "{\"counts\":\"05[1\",\"size\":[6,8],\"more\":{\"a\":[1]}}", NULL },
        { "{\"size\":[8,6],\"counts\":[0,5,43]}", "mask-size-differs" },
        { "{\"size\":[6],\"counts\":[0,5,43]}", "mask-size" },
        { "{\"size\":[6,8,1],\"counts\":[0,5,43]}", "mask-size" },
        { "{\"size\":[6,[8]],\"counts\":[0,5,43]}", "mask-size" },
        { "{\"size\":[6,-8],\"counts\":[0,5,43]}", "mask-size" },
        { "{\"size\":\"6x8\",\"counts\":[0,5,43]}", "mask-size" },
        { "{\"counts\":[0,5,43]}", "mask-size" },
        { "{\"size\":[6,8]}", "mask-absent" },
        { "{\"size\":[6,8],\"counts\":{}}", "mask-not-a-list" },
        { "{\"size\":[6,8],\"counts\":[0,\"5\",43]}", "mask-not-an-integer" },
        { "{\"size\":[6,8],\"counts\":[0,5.5,42.5]}", "mask-not-an-integer" },
        { "{\"size\":[6,8],\"counts\":[0,5,42]}", "mask-sum" },
        { "{\"size\":[6,8],\"counts\":[0,-5,53]}", "mask-negative" },
        { "{}", "mask-absent" },
    };
    struct fixture f;
    (void)state;

    fixture_init(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const enum status st = mask_of(&f, cases[i].json, strlen(cases[i].json), 6, 8);
        if (st != (cases[i].code ? ST_SKIP : ST_OK))
            fail_msg("%s: %d %s", cases[i].json, st, f.err.text);
        if (cases[i].code)
            assert_string_equal(f.err.code, cases[i].code);
        else
            assert_int_equal(rle_area(&f.mask), 5);
    }
    fixture_clear(&f);
}

/* pycocotools looks at the first member of a list only: 4 numbers there make it read boxes. */
static void a_short_first_polygon_does_not_hide_the_others(void **state)
{
    static const char json[] = "[[1,1,2,2],[1,1,4,1,4,3,1,3],[5]]";
    struct fixture f;
    (void)state;

    fixture_init(&f);
    assert_int_equal(mask_of(&f, json, sizeof json - 1, 6, 8), ST_OK);
    assert_int_equal(rle_area(&f.mask), 6);
    fixture_clear(&f);
}

static void polygons_without_a_pixel_become_the_fallback_box(void **state)
{
    static const char json[] = "[[2,2,2,2,2,2]]";
    struct fixture f;
    (void)state;

    fixture_init(&f);
    assert_int_equal(mask_of(&f, json, sizeof json - 1, 6, 8), ST_OK);
    assert_int_equal(rle_area(&f.mask), 0);
    f.seg.has_fallback = true;
    f.seg.fallback[0] = f.seg.fallback[1] = 1;
    f.seg.fallback[2] = f.seg.fallback[3] = 2;
    assert_int_equal(segmentation_to_rle(&f.mask, &f.seg, 6, 8, &f.scratch, &f.err), ST_OK);
    assert_int_equal(rle_area(&f.mask), 4);
    fixture_clear(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_annotations_come_out_or_are_errors),
        cmocka_unit_test(runs_of_every_form_are_read),
        cmocka_unit_test(a_short_first_polygon_does_not_hide_the_others),
        cmocka_unit_test(polygons_without_a_pixel_become_the_fallback_box),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
