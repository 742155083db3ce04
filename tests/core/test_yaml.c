/* tests/core/test_yaml.c: settings files: what is refused, and that what is printed reads back. */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "core/yaml.h"

struct values {
    int64_t steps;
    double rate;
    bool flip;
    const char *out;
    int mode;
    uint64_t memory;
    struct setting_ints sides;
};

static const char *const modes[] = { "crop", "squash", NULL };
static const struct setting table[] = {
    { "steps", SETTING_INT, offsetof(struct values, steps), "10", 1, 1e6, NULL, "steps", false },
    { "out", SETTING_TEXT, offsetof(struct values, out), "", 0, 0, NULL, "folder", false },
    { "data.*.weight", SETTING_INT, 0, "1", 1, 16, NULL, "weight", false },
    { "data.*.datasets", SETTING_TEXT, 0, "", 0, 0, NULL, "folders", true },
    { "optimizer.rate", SETTING_REAL, offsetof(struct values, rate), "1e-4", 0, 1, NULL, "rate",
      false },
    { "optimizer.memory", SETTING_BYTES, offsetof(struct values, memory), "1G", 0, 0, NULL, "bytes",
      false },
    { "image.flip", SETTING_BOOL, offsetof(struct values, flip), "false", 0, 0, NULL, "flip",
      false },
    { "image.mode", SETTING_CHOICE, offsetof(struct values, mode), "crop", 0, 0, modes, "mode",
      false },
    { "image.sides", SETTING_INTS, offsetof(struct values, sides), "32, 16, 8", 1, 64, NULL,
      "sides", false },
};
enum { SETTINGS = sizeof table / sizeof table[0] };

static enum status load(struct yaml *y, struct values *v, const char *text, struct error *err)
{
    yaml_init(y);
    enum status st = yaml_parse(y, text, strlen(text), "r.yaml", err);
    if (st == ST_OK)
        st = settings_check(y, table, SETTINGS, err);
    return st == ST_OK ? settings_fill(v, y, table, SETTINGS, err) : st;
}

static const char whole[] =
    "# a comment\nsteps: 20\ndata:\n  mmc4:\n    weight: 2\n    datasets: [a, \"b c\"]\n"
    "  pairs: {weight: 1, datasets: p}\n"
    "optimizer:\n  rate: 0.5\nimage: {mode: squash, flip: true, sides: [4, 2]}\n";

static void values_and_defaults_are_filled(void **state)
{
    struct yaml y;
    struct values v;
    struct error err = { 0 };
    (void)state;

    assert_int_equal(load(&y, &v, whole, &err), ST_OK);
    assert_true(v.steps == 20 && v.rate == 0.5 && v.flip && v.mode == 1);
    assert_true(v.memory == 1u << 30 && v.sides.count == 2 && v.sides.items[1] == 2);
    assert_string_equal(v.out, "");
    assert_string_equal(yaml_find(&y, "data.mmc4.datasets")->items[1], "b c");
    assert_int_equal(yaml_set(&y, "data.mmc4.datasets=[x, y, z]", &err), ST_OK);
    assert_int_equal(yaml_find(&y, "data.mmc4.datasets")->count, 3);
    assert_int_equal(yaml_set(&y, "steps=7", &err), ST_OK);
    assert_int_equal(settings_fill(&v, &y, table, SETTINGS, &err), ST_OK);
    assert_int_equal(v.steps, 7);
    yaml_clear(&y);
}

static void what_is_printed_reads_back_to_the_same(void **state)
{
    struct yaml y, again;
    struct values v;
    struct error err = { 0 };
    struct buffer text, differences;
    size_t count = 9;
    (void)state;

    buffer_init(&text);
    buffer_init(&differences);
    assert_int_equal(load(&y, &v, whole, &err), ST_OK);
    assert_int_equal(settings_print(&text, &y, table, SETTINGS, true, &err), ST_OK);
    assert_int_equal(buffer_append(&text, "", 1, &err), ST_OK); /* a C string */
    assert_int_equal(load(&again, &v, (const char *)text.data, &err), ST_OK);
    assert_int_equal(
        settings_compare(&differences, &count, &y, &again, table, SETTINGS, NULL, 0, &err), ST_OK);
    assert_int_equal(count, 0);
    assert_int_equal(yaml_set(&again, "image.sides=[4, 3]", &err), ST_OK);
    assert_int_equal(yaml_set(&again, "data.pairs.datasets=q", &err), ST_OK);
    assert_int_equal(
        settings_compare(&differences, &count, &y, &again, table, SETTINGS, NULL, 0, &err), ST_OK);
    assert_int_equal(count, 2);
    yaml_clear(&y);
    yaml_clear(&again);
    buffer_clear(&text);
    buffer_clear(&differences);
}

static void bad_files_are_refused_with_line_and_reason(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        { "stepz: 3\n", "did you mean steps" },
        { "steps: 0\n", "1 to 1000000" },
        { "steps: 1.5\n", "a whole number" },
        { "steps: 99999999999999999999\n", "a whole number" },
        { "optimizer: {rate: 1e999}\n", "a number" },
        { "optimizer: {rate: .nan}\n", "a number" },
        { "image: {flip: yes}\n", "true or false" },
        { "image: {mode: round}\n", "one of crop, squash" },
        { "image: {sides: [1, 2, 3, 4, 5, 6, 7, 65]}\n", "whole numbers" },
        { "optimizer: {memory: -1}\n", "bytes" },
        { "steps: 1\nsteps: 2\n", "line 2: this key stands twice" },
        { "image: {mode: crop}\nimage: {flip: true}\n", "line 2: this key stands twice" },
        { "out: x\nout: {a: 1}\n", "line 2: this key stands twice" },
        { "steps: &a 1\n", "anchors" },
        { "steps: *a\n", "line 1" },
        { "steps: !!python/object 1\n", "tags" },
        { "steps: [1, [2]]\n", "a list cannot stand here" },
        { "- steps\n", "a list cannot stand here" },
        { "just text\n", "mapping" },
        { "steps: 1\n---\nsteps: 2\n", "several documents" },
        { "steps: 1\n\tout: x\n", "line 2" },
        { "out: \"a\\0b\"\n", "NUL" },
        { "steps: [1, 2]\n", "got a list of 2" },
        { "data: {mmc4: {wight: 2}}\n", "unknown key data.mmc4.wight" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct yaml y;
        struct values v;
        struct error err = { 0 };
        const enum status st = load(&y, &v, cases[i].text, &err);
        if (st != ST_FAIL)
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(err.text, cases[i].said))
            fail_msg("%s: does not say \"%s\"", err.text, cases[i].said);
        yaml_clear(&y);
    }
}

static void depth_and_size_are_bounded(void **state)
{
    struct yaml y;
    struct error err = { 0 };
    char text[256] = "";
    (void)state;

    for (int i = 0; i < 40; i++)
        strcat(text, "{a: ");
    yaml_init(&y);
    assert_int_equal(yaml_parse(&y, text, strlen(text), "deep", &err), ST_FAIL);
    assert_non_null(strstr(err.text, "32 levels"));
    yaml_clear(&y);
    error_clear(&err);
    char *big = calloc(1, (1 << 20) + 2);
    memset(big, '#', (1 << 20) + 1);
    assert_int_equal(yaml_parse(&y, big, (1 << 20) + 1, "big", &err), ST_FAIL);
    yaml_clear(&y);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_defaults_are_filled),
        cmocka_unit_test(what_is_printed_reads_back_to_the_same),
        cmocka_unit_test(bad_files_are_refused_with_line_and_reason),
        cmocka_unit_test(depth_and_size_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
