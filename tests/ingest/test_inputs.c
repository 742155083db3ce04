/* tests/ingest/test_inputs.c: which files of a folder are inputs, their order and names; what a
 * take-down list names. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/mem.h"
#include "ingest/exclude.h"
#include "ingest/holes.h"
#include "ingest/inputs.h"

static void put(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void put_folder(const char *folder, const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(mkdir(path, 0777), 0);
}

static void a_folder_gives_its_json_lines_in_the_order_of_their_paths(void **state)
{
    (void)state;
    char *dir = test_temp_folder();
    static const char *const want[][2] = {
        { "a.jsonl.zst", "a" },
        { "b/z.jsonl.gz", "z" },
        { "docs_v3.jsonl.zip", "docs_v3" },
        { "e.jsonl", "e" },
    };
    struct inputs in;
    struct error err = { 0 };
    put_folder(dir, "b");
    put(dir, "e.jsonl", "x");
    put(dir, "docs_v3.jsonl.zip", "xx");
    put(dir, "b/z.jsonl.gz", "xxx");
    put(dir, "a.jsonl.zst", "xxxx");
    put(dir, "notes.txt", "no");
    put(dir, "b/plain.zip", "no");
    const char *paths[] = { dir };
    assert_int_equal(inputs_find(&in, paths, 1, INPUTS_LINES, &err), ST_OK);
    assert_int_equal(in.count, 4);
    assert_int_equal(in.ignored, 2);
    assert_int_equal(in.bytes, 10);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(in.list[i].file, want[i][0]);
        assert_string_equal(in.list[i].name, want[i][1]);
    }
    inputs_clear(&in);
    test_remove_tree(dir);
    free(dir);
}

static void two_inputs_of_one_name_are_refused(void **state)
{
    (void)state;
    char *dir = test_temp_folder();
    struct inputs in;
    struct error err = { 0 };
    put_folder(dir, "b");
    put(dir, "x.jsonl", "");
    put(dir, "b/x.jsonl.gz", "");
    const char *paths[] = { dir };
    assert_int_equal(inputs_find(&in, paths, 1, INPUTS_LINES, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_non_null(strstr(err.text, "two datasets"));
    inputs_clear(&in);
    error_clear(&err);
    put(dir, "00000.tar", "");
    put(dir, "b/00000.rerun.tar", "");
    assert_int_equal(inputs_find(&in, paths, 1, INPUTS_TARS, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    inputs_clear(&in);
    test_remove_tree(dir);
    free(dir);
}

static void nothing_found_and_nothing_there_differ(void **state)
{
    (void)state;
    char *dir = test_temp_folder();
    struct inputs in;
    struct error err = { 0 };
    const char *empty[] = { dir }, *missing[] = { "/nowhere/at/all" };
    assert_int_equal(inputs_find(&in, empty, 1, INPUTS_LINES, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    inputs_clear(&in);
    error_clear(&err);
    assert_int_equal(inputs_find(&in, missing, 1, INPUTS_LINES, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    inputs_clear(&in);
    test_remove_tree(dir);
    free(dir);
}

static void missing_shards_are_named_but_not_those_that_never_existed(void **state)
{
    (void)state;
    static char names[][32] = { "docs_no_face_shard_3216_v3", "docs_no_face_shard_3221_v3",
                                "docs_no_face_shard_3217_v3", "notes" };
    struct input list[4] = {
        { .name = names[0] }, { .name = names[1] }, { .name = names[2] }, { .name = names[3] }
    };
    struct inputs in = { .list = list, .count = 4 };
    struct buffer out = { 0 };
    struct error err = { 0 };
    assert_int_equal(holes_describe(&out, &in, &err), ST_OK);
    buffer_append(&out, "", 1, &err);
    assert_string_equal((char *)out.data, "no input for these shards: 3219, 3220"); /* not 3218 */
    out.size = 0;
    in.count = 1;
    assert_int_equal(holes_describe(&out, &in, &err), ST_OK);
    assert_int_equal(out.size, 0);
    buffer_clear(&out);
}

static void a_take_down_list_names_urls_keys_and_pictures(void **state)
{
    (void)state;
    char *dir = test_temp_folder(), *path = path_join(dir, "list");
    struct exclude *x = NULL;
    struct error err = { 0 };
    const struct hash128 hash = { 0x0123456789abcdefu, 0xfedcba9876543210u };
    const struct text url = { "http://a.example/x", 18 }, other = { "http://a.example/", 17 };
    put(dir, "list",
        "# gone\r\n\n http://a.example/x \ndocs_3:17\nfedcba98765432100123456789abcdef");
    assert_int_equal(exclude_open(&x, path, &err), ST_OK);
    assert_int_equal(exclude_count(x), 3);
    assert_true(exclude_url(x, &url));
    assert_false(exclude_url(x, &other));
    assert_true(exclude_key(x, "docs_3:17", 9));
    assert_false(exclude_key(x, "docs_3:1", 8));
    assert_true(exclude_picture(x, hash));
    assert_false(exclude_picture(x, (struct hash128){ 1, 2 }));
    assert_false(exclude_url(NULL, &url));
    exclude_close(&x);
    mem_free(path);
    test_remove_tree(dir);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_gives_its_json_lines_in_the_order_of_their_paths),
        cmocka_unit_test(two_inputs_of_one_name_are_refused),
        cmocka_unit_test(nothing_found_and_nothing_there_differ),
        cmocka_unit_test(missing_shards_are_named_but_not_those_that_never_existed),
        cmocka_unit_test(a_take_down_list_names_urls_keys_and_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
