/* tests/core/test_json.c: the parser against goldens/data/text, in one block and byte by byte; its
 * limits at their edges; the writer read back. */
#include "tests/support/support.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"

static size_t base64_decode(uint8_t *out, const char *s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    for (; *s && *s != '='; s++) {
        bits = bits << 6 | (uint32_t)(strchr(digits, *s) - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[n++] = (uint8_t)(bits >> have);
        }
    }
    return n;
}

/* Calls `each` with every line of a golden file, parsed. */
static void each_line(const char *name, void (*each)(const struct json_value *, int), int least)
{
    char path[300];
    size_t size = 0;
    int lines = 0;
    snprintf(path, sizeof path, TEST_GOLDENS "/data/text/%s", name);
    char *data = (char *)test_read_file(path, &size), *line = data;
    while (*line) {
        char *end = strchr(line, '\n');
        struct arena a;
        struct error err = { 0 };
        struct json_value *v = NULL;
        const size_t n = end ? (size_t)(end - line) : strlen(line);
        struct json_options deep; /* a tagged value is deeper than the value */
        json_options_init(&deep);
        deep.max_depth = 300;
        arena_init(&a, 0);
        if (json_parse(&a, &v, line, n, &deep, &err) != ST_OK)
            fail_msg("%s: line %d: %s", name, lines + 1, err.text);
        each(v, ++lines);
        arena_clear(&a);
        line = end ? end + 1 : line + n;
    }
    assert_true(lines >= least);
    free(data);
}

static const struct json_value *member(const struct json_value *o, const struct json_value *key)
{
    for (const struct json_value *m = o->child; m; m = m->next)
        if (m->key_size == key->size && memcmp(m->key, key->text, key->size) == 0)
            return m;
    return NULL;
}

static bool same_number(const struct json_value *got, const char *want)
{
    if (strcmp(got->text, want) == 0 || strcmp(want, "NaN") == 0)
        return isnan(got->number) == (strcmp(want, "NaN") == 0);
    return got->number == strtod(want, NULL) &&
           signbit(got->number) ==
               (*want == '-' || (got->text[0] == '-' && strcmp(want, "0") == 0));
}

static bool same(const struct json_value *got, const struct json_value *want)
{
    const struct json_value *n = json_get(want, "n"), *o = json_get(want, "o");
    if (n)
        return got->type == JSON_T_NUMBER && same_number(got, n->text);
    if (o) {
        bool all = got->type == JSON_T_OBJECT && got->count == o->count;
        for (const struct json_value *pair = o->child; all && pair; pair = pair->next) {
            const struct json_value *m = member(got, pair->child);
            all = m && same(m, pair->child->next);
        }
        return all;
    }
    if (got->type != want->type || got->count != want->count)
        return false;
    if (want->type == JSON_T_STRING)
        return got->size == want->size && memcmp(got->text, want->text, got->size) == 0;
    const struct json_value *g = got->child, *w = want->child;
    for (; g && w; g = g->next, w = w->next)
        if (!same(g, w))
            return false;
    return got->boolean == want->boolean;
}

struct trickle {
    const uint8_t *p;
    size_t left, step;
};
static enum status trickle_read(void *arg, uint8_t *data, size_t size, size_t *got,
                                struct error *err)
{
    struct trickle *t = arg;
    (void)err;
    *got = t->left < t->step ? t->left : t->step;
    *got = *got < size ? *got : size;
    memcpy(data, t->p, *got);
    t->p += *got;
    t->left -= *got;
    return ST_OK;
}

/* All events and texts of a document, hashed; the status that ended them. */
static enum status digest(struct json *j, uint64_t *sum, uint64_t *replaced)
{
    enum json_event event = JSON_NULL;
    enum status st = ST_OK;
    *sum = 5381;
    do {
        size_t size = 0;
        st = json_next(j, &event, NULL);
        if (st != ST_OK)
            break;
        *sum = *sum * 33 + (uint64_t)event + json_offset(j) * 7;
        if (event == JSON_STRING || event == JSON_KEY || event == JSON_NUMBER) {
            const char *s = json_text(j, &size);
            for (size_t i = 0; i <= size; i++) /* with the NUL */
                *sum = *sum * 33 + (uint8_t)s[i];
        }
    } while (event != JSON_END);
    *replaced = json_replaced(j);
    return st;
}

static void check_streams(const uint8_t *line, size_t size, const struct json_options *opt,
                          int number)
{
    struct json *j = NULL;
    uint64_t want = 0, got = 0, replaced = 0, streamed = 0;
    uint8_t *exact = test_copy_exact(line, size);
    assert_int_equal(json_open(&j, exact, size, opt, NULL), ST_OK);
    const enum status st = digest(j, &want, &replaced);
    json_close(&j);
    for (size_t step = 1; step <= 13; step += 3) {
        struct trickle t = { exact, size, step };
        assert_int_equal(json_open_stream(&j, trickle_read, &t, opt, NULL), ST_OK);
        const enum status again = digest(j, &got, &streamed);
        json_close(&j);
        if (again != st || (st == ST_OK && (got != want || streamed != replaced)))
            fail_msg("json.jsonl line %d: read in steps of %zu it differs", number, step);
    }
    free(exact);
}

static void check_case(const struct json_value *c, int number)
{
    const struct json_value *line = json_get(c, "line"), *b64 = json_get(c, "line_b64");
    const char *outcome = json_get(c, "outcome")->text;
    const struct json_value *replaced = json_get(c, "replaced");
    struct json_options opt;
    struct json *j = NULL;
    struct json_value *v = NULL;
    struct arena a;
    struct error err = { 0 };
    size_t size = 0;
    uint8_t *raw = malloc((line ? line->size : b64->size) + 1);

    arena_init(&a, 0);
    json_options_init(&opt);
    opt.bom_allowed = json_get(c, "first_line")->boolean;
    if (line)
        memcpy(raw, line->text, size = line->size);
    else
        size = base64_decode(raw, b64->text);
    if (strcmp(outcome, "blank") == 0) {
        opt.several_values = true;
        assert_int_equal(json_open(&j, raw, size, &opt, &err), ST_OK);
        assert_int_equal(json_read_tree(j, &a, &v, &err), ST_END);
    } else {
        uint8_t *exact = test_copy_exact(raw, size);
        const enum status st = json_parse(&a, &v, exact, size, &opt, &err);
        if ((st == ST_OK) != (strcmp(outcome, "ok") == 0))
            fail_msg("json.jsonl line %d: got %d %s, want %s", number, st, err.text, outcome);
        if (st == ST_OK && !same(v, json_get(c, "value")))
            fail_msg("json.jsonl line %d: another value", number);
        if (st != ST_OK)
            assert_true(err.code[0] && strstr(err.text, "byte "));
        assert_int_equal(json_open(&j, exact, size, &opt, &err), ST_OK);
        uint64_t sum = 0, count = 0;
        if (digest(j, &sum, &count) == ST_OK && (double)count != replaced->number)
            fail_msg("json.jsonl line %d: %d replaced", number, (int)count);
        check_streams(exact, size, &opt, number);
        free(exact);
    }
    json_close(&j);
    arena_clear(&a);
    free(raw);
}

static void every_golden_line_reads_as_it_must(void **state)
{
    (void)state;
    each_line("json.jsonl", check_case, 165);
}

static void check_integer(const struct json_value *c, int number)
{
    const struct json_value *json = json_get(c, "json");
    static const char *const names[] = { "as_integer", "as_id" };
    for (int id = 0; id < 2; id++) {
        const struct json_value *want = json_get(c, names[id]);
        struct arena a;
        struct json_value *v = NULL;
        struct json *j = NULL;
        enum json_event event = JSON_END;
        int64_t got = 0, tree = 0;
        char text[40];
        arena_init(&a, 0);
        assert_int_equal(json_open(&j, json->text, json->size, NULL, NULL), ST_OK);
        assert_int_equal(json_next(j, &event, NULL), ST_OK);
        const bool ok = id ? json_id64(j, &got) : json_int64(j, &got);
        assert_int_equal(json_parse(&a, &v, json->text, json->size, NULL, NULL), ST_OK);
        assert_int_equal(id ? json_value_id64(v, &tree) : json_value_int64(v, &tree), ok);
        assert_true(got == tree);
        snprintf(text, sizeof text, "%lld", (long long)got);
        if (ok != (want->type == JSON_T_STRING) || (ok && strcmp(text, want->text) != 0))
            fail_msg("integers.jsonl line %d: %s is %s %s", number, json->text, names[id],
                     ok ? text : "rejected");
        json_close(&j);
        arena_clear(&a);
    }
}

static void every_golden_integer_is_taken_or_refused(void **state)
{
    (void)state;
    each_line("integers.jsonl", check_integer, 39);
}

static void numbers_are_rounded_as_strtod_does(void **state)
{
    uint64_t seed = 20240607;
    (void)state;

    for (int i = 0; i < 200000; i++) {
        char text[64];
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const int digits = 1 + (int)(seed >> 60);
        snprintf(text, sizeof text, i & 1 ? "%.*f" : "%.*e", digits,
                 ldexp((double)(seed >> 11), (int)(seed >> 50 & 63) - 70));
        struct json *j = NULL;
        enum json_event event = JSON_END;
        assert_int_equal(json_open(&j, text, strlen(text), NULL, NULL), ST_OK);
        assert_int_equal(json_next(j, &event, NULL), ST_OK);
        if (json_double(j) != strtod(text, NULL))
            fail_msg("%s read as %.17g", text, json_double(j));
        json_close(&j);
    }
}

/* Status and code of reading the whole of `text` under `opt`. */
static enum status outcome(const char *text, size_t size, const struct json_options *opt,
                           struct error *err)
{
    struct arena a;
    struct json_value *v = NULL;
    error_clear(err);
    arena_init(&a, 0);
    const enum status st = json_parse(&a, &v, text, size, opt, err);
    arena_clear(&a);
    return st;
}

static void limits_hold_just_below_and_just_above(void **state)
{
    struct json_options opt;
    struct error err = { 0 };
    (void)state;

    json_options_init(&opt);
    opt.max_depth = 3;
    assert_int_equal(outcome("[[[]]]", 6, &opt, &err), ST_OK);
    assert_int_equal(outcome("[[[[]]]]", 8, &opt, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_LIMIT);
    opt.max_string = 5;
    assert_int_equal(outcome("\"12345\"", 7, &opt, &err), ST_OK);
    assert_int_equal(outcome("\"123456\"", 8, &opt, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_LIMIT);
    assert_int_equal(outcome("123456", 6, &opt, &err), ST_FAIL);
    opt.max_members = 2;
    assert_int_equal(outcome("{\"a\":1,\"a\":2}", 13, &opt, &err), ST_OK);
    assert_int_equal(outcome("{\"a\":1,\"a\":2,\"b\":3}", 19, &opt, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_LIMIT);

    char *deep = malloc(1000000);
    memset(deep, '[', 1000000);
    assert_int_equal(outcome(deep, 1000000, NULL, &err), ST_FAIL);
    assert_string_equal(err.code, "json-limit");
    free(deep);
}

static void a_skipped_value_leaves_the_next_one(void **state)
{
    static const char text[] = "{\"a\":[1,{\"b\":\"\\u00e9\"},[]],\"c\":2,\"d\":\"x\"}";
    struct json *j = NULL;
    enum json_event event = JSON_END;
    size_t size = 0;
    int64_t v = 0;
    (void)state;

    assert_int_equal(json_open(&j, text, sizeof text - 1, NULL, NULL), ST_OK);
    json_next(j, &event, NULL);
    json_next(j, &event, NULL);
    assert_int_equal(event, JSON_KEY);
    assert_int_equal(json_skip(j, NULL), ST_OK); /* of the key: its value */
    json_next(j, &event, NULL);
    assert_string_equal(json_text(j, &size), "c");
    json_next(j, &event, NULL);
    assert_int_equal(json_skip(j, NULL), ST_OK); /* a scalar: already passed */
    assert_true(json_int64(j, &v) && v == 2);
    json_next(j, &event, NULL);
    json_next(j, &event, NULL);
    assert_string_equal(json_text(j, &size), "x");
    json_next(j, &event, NULL);
    assert_int_equal(event, JSON_OBJECT_END);
    json_next(j, &event, NULL);
    assert_int_equal(event, JSON_END);
    json_close(&j);
}

static void elements_of_a_long_array_are_read_one_by_one(void **state)
{
    static const char text[] = " [ {\"u\":1} , {\"u\":2},3 ] ";
    struct trickle t = { (const uint8_t *)text, sizeof text - 1, 5 };
    struct json *j = NULL;
    enum json_event event = JSON_END;
    struct json_value *v = NULL;
    struct arena a;
    int n = 0;
    (void)state;

    arena_init(&a, 0);
    assert_int_equal(json_open_stream(&j, trickle_read, &t, NULL, NULL), ST_OK);
    json_next(j, &event, NULL);
    assert_int_equal(event, JSON_ARRAY_BEGIN);
    while (json_read_tree(j, &a, &v, NULL) == ST_OK)
        n++;
    assert_int_equal(n, 3);
    assert_int_equal(json_next(j, &event, NULL), ST_OK);
    assert_int_equal(event, JSON_END);
    json_close(&j);
    arena_clear(&a);
}

static void the_last_of_equal_keys_wins_among_many(void **state)
{
    struct buffer b;
    struct arena a;
    struct json_value *v = NULL;
    int64_t n = 0;
    (void)state;

    buffer_init(&b);
    arena_init(&a, 0);
    buffer_append_str(&b, "{\"first\":0", NULL);
    for (int i = 0; i < 300; i++)
        buffer_printf(&b, NULL, ",\"k%d\":%d", i % 100, i);
    buffer_append_str(&b, "}", NULL);
    assert_int_equal(json_parse(&a, &v, b.data, b.size, NULL, NULL), ST_OK);
    assert_int_equal(v->count, 101);
    assert_true(json_value_int64(json_get(v, "k7"), &n) && n == 207);
    assert_true(json_value_int64(json_get(v, "first"), &n) && n == 0);
    assert_null(json_get(v, "k100"));
    arena_clear(&a);
    buffer_clear(&b);
}

static void what_is_written_reads_back(void **state)
{
    struct buffer b;
    struct json_writer w;
    struct error err = { 0 };
    (void)state;

    buffer_init(&b);
    json_writer_init(&w, &b);
    json_begin_object(&w);
    json_key(&w, "a");
    json_begin_array(&w);
    json_int(&w, INT64_MIN);
    json_uint(&w, UINT64_MAX);
    json_number(&w, 0.1);
    json_number(&w, 5e-324);
    json_number(&w, 3);
    json_number(&w, (double)NAN);
    json_bool(&w, true);
    json_null(&w);
    json_begin_object(&w);
    json_end_object(&w);
    json_end_array(&w);
    json_key(&w, "b\n");
    json_string_n(&w, "\x1b[31m\x7f\xc2\x9b\xe2\x80\xa8\xff\"\\ \xc3\xa9\0z", 19);
    json_key(&w, "c");
    w.ascii = true;
    json_string(&w, "\xc3\xa9\xf0\x9f\x98\x80");
    json_end_object(&w);
    assert_int_equal(json_writer_finish(&w, &err), ST_OK);
    buffer_append(&b, "", 1, NULL);
    assert_string_equal(
        (char *)b.data,
        "{\"a\":[-9223372036854775808,18446744073709551615,0.1,"
        "5e-324,3,null,true,null,{}],"
        "\"b\\n\":\"\\u001b[31m\\u007f\\u009b\\u2028\xef\xbf\xbd\\\"\\\\ \xc3\xa9\\u0000z\","
        "\"c\":\"\\u00e9\\ud83d\\ude00\"}");
    buffer_clear(&b);
}

static void writing_without_memory_is_reported_at_the_end(void **state)
{
    struct buffer b;
    struct json_writer w;
    struct error err = { 0 };
    (void)state;

    buffer_init(&b);
    json_writer_init(&w, &b);
    mem_fail_at(1, true);
    json_begin_object(&w);
    json_key(&w, "a");
    json_null(&w);
    json_end_object(&w);
    mem_fail_at(0, false);
    assert_int_equal(json_writer_finish(&w, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_NOMEM);
    buffer_clear(&b);
}

static void parsing_fails_cleanly_at_every_allocation(void **state)
{
    struct buffer b;
    bool done = false;
    (void)state;

    buffer_init(&b);
    buffer_append_str(&b, "[{\"a\":\"", NULL);
    for (int i = 0; i < 300; i++)
        buffer_append_str(&b, "long", NULL);
    buffer_append_str(&b, "\"}", NULL);
    for (int i = 0; i < 40; i++)
        buffer_printf(&b, NULL, "%s\"k%d\":[[1]]", i ? "," : ",{", i);
    buffer_append_str(&b, "}]", NULL);
    for (uint64_t k = 1; !done; k++) {
        struct error err = { 0 };
        mem_fail_at(k, true);
        const enum status st = outcome((char *)b.data, b.size, NULL, &err);
        mem_fail_at(0, false);
        done = st == ST_OK;
        if (!done)
            assert_int_equal(err.cause, CAUSE_NOMEM);
        assert_true(k < 100);
    }
    buffer_clear(&b);
}

static enum status failing_read(void *arg, uint8_t *data, size_t size, size_t *got,
                                struct error *err)
{
    (void)arg;
    (void)size;
    *got = 0;
    data[0] = 0;
    errno = EIO;
    return error_set(err, ST_FAIL, CAUSE_IO, "x: read");
}

static void a_reader_that_fails_is_not_the_end_of_input(void **state)
{
    struct json_options opt;
    struct json *j = NULL;
    enum json_event event = JSON_NULL;
    struct error err = { 0 };
    (void)state;

    json_options_init(&opt);
    opt.several_values = true;
    assert_int_equal(json_open_stream(&j, failing_read, NULL, &opt, &err), ST_OK);
    assert_int_equal(json_next(j, &event, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    json_close(&j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_golden_line_reads_as_it_must),
        cmocka_unit_test(every_golden_integer_is_taken_or_refused),
        cmocka_unit_test(numbers_are_rounded_as_strtod_does),
        cmocka_unit_test(limits_hold_just_below_and_just_above),
        cmocka_unit_test(a_skipped_value_leaves_the_next_one),
        cmocka_unit_test(elements_of_a_long_array_are_read_one_by_one),
        cmocka_unit_test(the_last_of_equal_keys_wins_among_many),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(writing_without_memory_is_reported_at_the_end),
        cmocka_unit_test(parsing_fails_cleanly_at_every_allocation),
        cmocka_unit_test(a_reader_that_fails_is_not_the_end_of_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
