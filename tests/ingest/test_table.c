/* tests/ingest/test_table.c: a table on disk holds what was added, in every number of sorted runs. */
#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "ingest/table.h"

static char *folder;

static int make_folder(void **state)
{
    (void)state;
    folder = test_temp_folder();
    return 0;
}
static int remove_folder(void **state)
{
    (void)state;
    test_remove_tree(folder);
    free(folder);
    return 0;
}

/* Keys "key i", each with the values "v i" and, for every seventh, "again i". */
static enum status fill(size_t run, int n, struct error *err)
{
    struct table_writer *w = NULL;
    char key[32], value[32];
    enum status st = table_create(&w, folder, "t", run, err);
    for (int again = 0; again < 2; again++)
        for (int i = 0; st == ST_OK && i < n; i++) {
            if (again && i % 7 != 0)
                continue;
            const int k = snprintf(key, sizeof key, "key %d", i);
            const int v = snprintf(value, sizeof value, again ? "again %d" : "v %d", i);
            st = table_add(w, key, (size_t)k, value, (size_t)v, err);
        }
    if (st == ST_OK)
        st = table_finish(w, 99, err);
    table_writer_close(&w);
    return st;
}

static void check(int n)
{
    struct table *t = NULL;
    struct error err = { 0 };
    char key[32], want[32];
    assert_int_equal(table_open(&t, folder, "t", 99, &err), ST_OK);
    assert_int_equal(table_count(t), n + (n + 6) / 7);
    for (int i = 0; i <= n; i++) {
        struct table_cursor c;
        struct table_value v, same;
        const int k = snprintf(key, sizeof key, "key %d", i);
        table_seek(t, &c, key, (size_t)k);
        if (i == n) {
            assert_int_equal(table_next(t, &c, &v, &err), ST_END);
            break;
        }
        assert_int_equal(table_next(t, &c, &v, &err), ST_OK);
        snprintf(want, sizeof want, "v %d", i);
        assert_int_equal(v.size, strlen(want));
        assert_memory_equal(v.data, want, v.size);
        assert_int_equal(table_at(t, v.place, &same, &err), ST_OK);
        assert_ptr_equal(same.data, v.data);
        if (i % 7 == 0) {
            assert_int_equal(table_next(t, &c, &v, &err), ST_OK);
            assert_memory_equal(v.data, "again", 5);
        }
        assert_int_equal(table_next(t, &c, &v, &err), ST_END);
    }
    table_close(&t);
}

static void every_key_is_found_whatever_the_runs(void **state)
{
    static const size_t runs[] = { 0, 1, 7, 100, 1143, 5000 };
    (void)state;
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        struct error err = { 0 };
        assert_int_equal(fill(runs[i], 1000, &err), ST_OK);
        check(1000);
    }
    assert_int_equal(fill(0, 0, NULL), ST_OK);
    check(0);
}

static void another_identity_or_a_cut_file_is_no_table(void **state)
{
    struct table *t = NULL;
    struct error err = { 0 };
    char path[400];
    (void)state;
    assert_int_equal(table_open(&t, folder, "t", 99, &err), ST_END);
    assert_int_equal(fill(0, 50, &err), ST_OK);
    assert_int_equal(table_open(&t, folder, "t", 98, &err), ST_END);
    assert_null(t);
    snprintf(path, sizeof path, "%s/t.entries", folder);
    assert_int_equal(file_replace(path, "x", 1, &err), ST_OK);
    assert_int_equal(table_open(&t, folder, "t", 99, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
}

static void a_damaged_entry_is_an_error(void **state)
{
    struct table *t = NULL;
    struct error err = { 0 };
    struct table_cursor c;
    struct table_value v;
    struct buffer b;
    char path[400];
    (void)state;
    assert_int_equal(fill(0, 1, &err), ST_OK);
    snprintf(path, sizeof path, "%s/t.entries", folder);
    assert_int_equal(file_read_all(&b, path, 0, &err), ST_OK);
    memset(b.data, 0xff, 8); /* sizes */
    assert_int_equal(file_replace(path, b.data, b.size, &err), ST_OK);
    buffer_clear(&b);
    assert_int_equal(table_open(&t, folder, "t", 99, &err), ST_OK);
    table_seek(t, &c, "key 0", 5);
    assert_int_equal(table_next(t, &c, &v, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    table_close(&t);
}

static void building_fails_cleanly_at_every_allocation_and_call(void **state)
{
    (void)state;
    for (int files = 0; files < 2; files++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            struct error err = { 0 };
            struct table *t = NULL;
            if (files)
                file_fail_at(k, 28, false);
            else
                mem_fail_at(k, false);
            done = fill(10, 40, &err) == ST_OK;
            mem_fail_at(0, false);
            file_fail_at(0, 0, false);
            if (!done) {
                assert_true(err.cause == (files ? CAUSE_IO : CAUSE_NOMEM) ||
                            err.cause == CAUSE_CREATE);
                /* after the rename only the sync of the folder can fail */
                const enum status st = table_open(&t, folder, "t", 99, NULL);
                if (st != ST_END && !(files && st == ST_OK))
                    fail_msg("%d %d %d %s", files, (int)k, st, err.text);
                table_close(&t);
            }
            assert_true(k < 300);
        }
    }
    check(40);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(every_key_is_found_whatever_the_runs),
        WITH_FOLDER(another_identity_or_a_cut_file_is_no_table),
        WITH_FOLDER(a_damaged_entry_is_an_error),
        WITH_FOLDER(building_fails_cleanly_at_every_allocation_and_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
