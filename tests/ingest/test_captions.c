/* tests/ingest/test_captions.c: BLIP's caption arrays joined by URL. */
#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "ingest/captions.h"

static char *folder;
static char a[300], b[300];
static const char *const paths[] = { a, b };

static int make_folder(void **state)
{
    (void)state;
    folder = test_temp_folder();
    snprintf(a, sizeof a, "%s/a.json", folder);
    snprintf(b, sizeof b, "%s/b.json", folder);
    return 0;
}
static int remove_folder(void **state)
{
    (void)state;
    test_remove_tree(folder);
    free(folder);
    return 0;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(file_replace(path, text, strlen(text), NULL), ST_OK);
}

static void expect(const struct captions *c, const char *url, const char *caption)
{
    struct buffer out;
    struct error err = { 0 };
    const struct text u = { url, strlen(url) };
    buffer_init(&out);
    const enum status st = captions_find(c, &out, &u, &err);
    if (!caption)
        assert_int_equal(st, ST_END);
    else if (st != ST_OK || out.size != strlen(caption) ||
             (out.size && memcmp(out.data, caption, out.size) != 0))
        fail_msg("%s: got \"%.*s\"", url, (int)out.size, (char *)out.data);
    buffer_clear(&out);
}

static void the_first_entry_of_a_url_wins_in_the_order_of_the_files(void **state)
{
    struct captions *c = NULL;
    struct error err = { 0 };
    const struct text none = { NULL, 0 };
    (void)state;
    put(a, "\xef\xbb\xbf [ "
           "{\"caption\":\"one\",\"url\":\"u1\"}\n,{\"url\":\"u1\",\"caption\":\"two\"},"
           "{\"url\":\"u2\",\"caption\":\"\",\"x\":[1,{}]},{\"url\":\"u3\"},3,"
           "{\"url\":\"u4\",\"caption\":null},{\"url\":\"u5\",\"caption\":\"a\\u0000\"},"
           "{\"url\":\"u6\",\"caption\":3,\"caption\":\"last\"}]\n");
    put(b, "[{\"url\":\"u1\",\"caption\":\"b\"},{\"url\":\"u3\",\"caption\":\"b3 \\u00e9\"}]");
    for (int again = 0; again < 2; again++) {
        assert_int_equal(captions_open(&c, folder, paths, 2, NULL, &err), ST_OK);
        assert_int_equal(captions_count(c), 6);
        expect(c, "u1", "one");
        expect(c, "u2", "");
        expect(c, "u3", "b3 \xc3\xa9");
        expect(c, "u4", NULL);
        expect(c, "u5", NULL);
        expect(c, "u6", "last");
        expect(c, "u", NULL);
        assert_int_equal(captions_find(c, NULL, &none, &err), ST_END);
        captions_close(&c);
    }
    const char *const other[] = { b, a };
    assert_int_equal(captions_open(&c, folder, other, 2, NULL, &err), ST_OK);
    expect(c, "u1", "b");
    captions_close(&c);
}

static void what_is_no_whole_array_is_refused(void **state)
{
    static const char *const bad[] = { "", "{}", "[{\"url\":\"u\"", "[{}] x", "[1,]", "3" };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct captions *c = NULL;
        struct error err = { 0 };
        put(a, bad[i]);
        assert_int_equal(captions_open(&c, folder, paths, 1, NULL, &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_FORMAT);
        assert_non_null(strstr(err.text, "a.json"));
        assert_null(c);
    }
}

static void opening_fails_cleanly_at_every_allocation_and_call(void **state)
{
    (void)state;
    put(a, "[{\"url\":\"u1\",\"caption\":\"one\"}]");
    for (int files = 0; files < 2; files++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            struct captions *c = NULL;
            struct error err = { 0 };
            char keys[400];
            if (files)
                file_fail_at(k, 5, false);
            else
                mem_fail_at(k, false);
            done = captions_open(&c, folder, paths, 1, NULL, &err) == ST_OK;
            mem_fail_at(0, false);
            file_fail_at(0, 0, false);
            if (!done)
                assert_true(err.cause != CAUSE_NONE && err.cause != CAUSE_FORMAT && !c);
            captions_close(&c);
            snprintf(keys, sizeof keys, "%s/captions.keys", folder);
            assert_int_equal(file_remove(keys, NULL), ST_OK);
            assert_true(k < 200);
        }
    }
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(the_first_entry_of_a_url_wins_in_the_order_of_the_files),
        WITH_FOLDER(what_is_no_whole_array_is_refused),
        WITH_FOLDER(opening_fails_cleanly_at_every_allocation_and_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
