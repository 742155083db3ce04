/* tests/core/test_file.c: files under faults: any call may fail, nothing leaks, readers see the old
 * or the new file. */
#include "tests/support/support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"

static char *folder; /* fresh for every test */

static int make_folder(void **state)
{
    (void)state;
    folder = test_temp_folder();
    return 0;
}
static int remove_folder(void **state)
{
    (void)state;
    file_fail_at(0, 0, false);
    test_remove_tree(folder);
    free(folder);
    return 0;
}

/* A path below the folder; a few of them may be in use at once. */
static const char *in(const char *name)
{
    static char paths[8][400];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, 400, "%s/%s", folder, name);
    return p;
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void expect_content(const char *path, const char *want)
{
    struct buffer b;
    struct error err = { 0 };
    assert_int_equal(file_read_all(&b, path, 0, &err), ST_OK);
    assert_int_equal(b.size, strlen(want));
    assert_memory_equal(b.data, want, b.size);
    buffer_clear(&b);
}

static void a_replace_that_fails_anywhere_leaves_the_old_file(void **state)
{
    const int before = open_descriptors();
    bool done = false;
    (void)state;

    for (uint64_t k = 1; !done; k++) {
        struct error err = { 0 };
        assert_int_equal(file_replace(in("f"), "old", 3, NULL), ST_OK);
        file_fail_at(k, ENOSPC, false);
        const enum status st = file_replace(in("f"), "the new one", 11, &err);
        file_fail_at(0, 0, false);
        done = st == ST_OK;
        if (!done) {
            struct buffer b;
            assert_true(err.cause == CAUSE_IO || err.cause == CAUSE_CREATE);
            assert_int_equal(err.sys, ENOSPC);
            /* after the rename only the sync of the folder can fail */
            assert_int_equal(file_read_all(&b, in("f"), 0, NULL), ST_OK);
            assert_true(b.size == 3 || b.size == 11);
            buffer_clear(&b);
            assert_false(file_exists(in("f.tmp")));
        }
        assert_int_equal(open_descriptors(), before);
        assert_true(k < 20);
    }
    expect_content(in("f"), "the new one");
}

static void a_folder_and_a_fifo_are_no_input(void **state)
{
    int fd = -1;
    struct error err = { 0 };
    (void)state;

    assert_int_equal(file_open_read(&fd, folder, NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_int_equal(fd, -1);
    error_clear(&err);
    assert_int_equal(mkfifo(in("fifo"), 0600), 0);
    assert_int_equal(file_open_read(&fd, in("fifo"), NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    error_clear(&err);
    assert_int_equal(file_open_read(&fd, in("absent"), NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    assert_int_equal(err.sys, ENOENT);
}

static void descriptors_running_out_is_a_lack_of_resources(void **state)
{
    int fd = -1;
    struct error err = { 0 };
    (void)state;

    file_fail_at(1, EMFILE, false);
    assert_int_equal(file_open_read(&fd, in("x"), NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_NOMEM);
    assert_non_null(strstr(err.text, "limit"));
}

static void interrupted_calls_go_on(void **state)
{
    int fd = -1;
    size_t got = 0;
    char data[8];
    (void)state;

    file_fail_at(1, EINTR, false);
    assert_int_equal(file_open_write(&fd, in("f"), NULL), ST_OK);
    file_fail_at(1, EINTR, false);
    assert_int_equal(file_write(fd, "f", "abcdef", 6, NULL), ST_OK);
    file_fail_at(1, EINTR, false);
    assert_int_equal(file_pwrite(fd, "f", "C", 1, 2, NULL), ST_OK);
    file_fail_at(1, EINTR, false);
    assert_int_equal(file_pread(fd, "f", data, 3, 1, NULL), ST_OK);
    assert_memory_equal(data, "bCd", 3);
    assert_int_equal(file_close(&fd, "f", NULL), ST_OK);
    file_fail_at(1, ESTALE, false); /* once is forgiven */
    assert_int_equal(file_open_read(&fd, in("f"), NULL, NULL), ST_OK);
    file_fail_at(1, EINTR, false);
    assert_int_equal(file_read(fd, "f", data, 8, &got, NULL), ST_OK);
    assert_int_equal(got, 6);
    file_close(&fd, "f", NULL);
}

static void a_short_file_is_named(void **state)
{
    int fd = -1;
    char data[8];
    struct error err = { 0 };
    (void)state;

    assert_int_equal(file_replace(in("f"), "abc", 3, NULL), ST_OK);
    assert_int_equal(file_open_read(&fd, in("f"), NULL, NULL), ST_OK);
    assert_int_equal(file_pread(fd, "f", data, 4, 0, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_non_null(strstr(err.text, "ends early"));
    error_clear(&err);
    assert_int_equal(file_pread(fd, "f", data, 4, UINT64_MAX - 1, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    file_close(&fd, "f", NULL);
}

static void a_size_limit_holds_at_its_edge(void **state)
{
    struct buffer b;
    struct error err = { 0 };
    (void)state;

    assert_int_equal(file_replace(in("f"), "abcd", 4, NULL), ST_OK);
    assert_int_equal(file_read_all(&b, in("f"), 4, &err), ST_OK);
    buffer_clear(&b);
    assert_int_equal(file_read_all(&b, in("f"), 3, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_LIMIT);
    assert_null(b.data);
}

static enum status collect(void *arg, const char *relative, const struct file_info *info,
                           struct error *err)
{
    char *list = arg;
    (void)err;
    assert_true(info->is_regular);
    strcat(strcat(list, relative), " ");
    return ST_OK;
}

static void a_walk_follows_the_bytes_of_the_paths(void **state)
{
    char list[400] = "";
    struct error err = { 0 };
    (void)state;

    assert_int_equal(file_make_folders(in("a/deep/er"), &err), ST_OK);
    assert_int_equal(file_make_folders(in("a/deep/er"), &err), ST_OK);
    static const char *const names[] = { "a.x", "a-", "a/z", "a/deep/er/f", "a0", "B" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(file_replace(in(names[i]), "", 0, &err), ST_OK);
    assert_int_equal(symlink("a", in("linked-folder")), 0);
    assert_int_equal(symlink("B", in("linked-file")), 0);
    assert_int_equal(symlink("nowhere", in("dangling")), 0);
    assert_int_equal(mkfifo(in("fifo"), 0600), 0);
    assert_int_equal(file_walk(folder, collect, list, &err), ST_OK);
    assert_string_equal(list, "B a- a.x a/deep/er/f a/z a0 linked-file ");
    list[0] = '\0';
    assert_int_equal(file_walk(in("a0"), collect, list, &err), ST_OK);
    assert_string_equal(list, "a0 ");
    assert_int_equal(file_walk(in("absent"), collect, list, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
}

static void a_list_is_sorted_and_a_tree_is_removed_whole(void **state)
{
    char **names = NULL;
    size_t count = 0;
    struct error err = { 0 };
    (void)state;

    assert_int_equal(file_make_folders(in("t/a/b"), &err), ST_OK);
    assert_int_equal(file_replace(in("t/a.x"), "", 0, &err), ST_OK);
    assert_int_equal(symlink(folder, in("t/z")), 0); /* must not be followed */
    assert_int_equal(symlink("nowhere", in("t/dangling")), 0);
    assert_int_equal(file_replace(in("keep"), "k", 1, &err), ST_OK);
    assert_int_equal(file_list(in("t"), &names, &count, &err), ST_OK);
    assert_int_equal(count, 4);
    assert_string_equal(names[0], "a");
    assert_string_equal(names[1], "a.x");
    assert_string_equal(names[3], "z");
    file_list_free(&names, count);
    assert_int_equal(file_remove_tree(in("t"), &err), ST_OK);
    assert_false(file_exists(in("t")));
    expect_content(in("keep"), "k");
    assert_int_equal(file_remove_tree(in("t"), &err), ST_OK);
    assert_int_equal(file_remove(in("t"), &err), ST_OK);
}

static void walks_fail_cleanly_at_every_call(void **state)
{
    const int before = open_descriptors();
    bool done = false;
    (void)state;

    assert_int_equal(file_make_folders(in("a/b"), NULL), ST_OK);
    assert_int_equal(file_replace(in("a/b/f"), "", 0, NULL), ST_OK);
    for (uint64_t k = 1; !done; k++) {
        char list[400] = "";
        struct error err = { 0 };
        file_fail_at(k, EIO, false);
        const enum status st = file_walk(folder, collect, list, &err);
        file_fail_at(0, 0, false);
        done = st == ST_OK;
        if (!done)
            assert_int_equal(err.cause, CAUSE_IO);
        else
            assert_string_equal(list, "a/b/f ");
        assert_int_equal(open_descriptors(), before);
        assert_true(k < 50);
    }
    done = false;
    for (uint64_t k = 1; !done; k++) {
        char list[400] = "";
        struct error err = { 0 };
        mem_fail_at(k, false);
        const enum status st = file_walk(folder, collect, list, &err);
        mem_fail_at(0, false);
        done = st == ST_OK;
        if (!done)
            assert_int_equal(err.cause, CAUSE_NOMEM);
        assert_int_equal(open_descriptors(), before);
        assert_true(k < 50);
    }
}

static void a_map_shows_the_bytes_and_an_empty_file_has_none(void **state)
{
    struct file_map m;
    struct error err = { 0 };
    (void)state;

    assert_int_equal(file_replace(in("f"), "bytes", 5, &err), ST_OK);
    assert_int_equal(file_replace(in("e"), "", 0, &err), ST_OK);
    assert_int_equal(file_map_open(&m, in("f"), &err), ST_OK);
    assert_int_equal(m.size, 5);
    assert_memory_equal(m.data, "bytes", 5);
    file_map_close(&m);
    assert_int_equal(file_map_open(&m, in("e"), &err), ST_OK);
    assert_null(m.data);
    file_map_close(&m);
}

static void a_second_writer_is_told_who_holds_the_lock(void **state)
{
    int fd = -1, second = -1;
    char pid[40];
    struct error err = { 0 };
    (void)state;

    assert_int_equal(file_lock(&fd, in("lock"), &err), ST_OK);
    assert_int_equal(file_lock(&second, in("lock"), &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_LOCKED);
    assert_int_equal(second, -1);
    snprintf(pid, sizeof pid, "pid %ld", (long)getpid());
    assert_non_null(strstr(err.text, pid));
    file_unlock(&fd);
    error_clear(&err);
    assert_int_equal(file_lock(&fd, in("lock"), &err), ST_OK);
    file_unlock(&fd);
}

static void paths_are_taken_apart_and_joined(void **state)
{
    static const char *const cases[][3] = {
        { "a/b/c", "a/b", "c" }, { "c", ".", "c" }, { "/c", "/", "c" }, { "a/", "a", "" }
    };
    (void)state;

    for (size_t i = 0; i < 4; i++) {
        char *f = path_folder(cases[i][0]);
        assert_string_equal(f, cases[i][1]);
        assert_string_equal(path_base(cases[i][0]), cases[i][2]);
        mem_free(f);
    }
    char *j = path_join("a/", "b"), *k = path_join("a", "b"), *l = path_join("", "b");
    assert_string_equal(j, "a/b");
    assert_string_equal(k, "a/b");
    assert_string_equal(l, "b");
    mem_free(j);
    mem_free(k);
    mem_free(l);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(a_replace_that_fails_anywhere_leaves_the_old_file),
        WITH_FOLDER(a_folder_and_a_fifo_are_no_input),
        WITH_FOLDER(descriptors_running_out_is_a_lack_of_resources),
        WITH_FOLDER(interrupted_calls_go_on),
        WITH_FOLDER(a_short_file_is_named),
        WITH_FOLDER(a_size_limit_holds_at_its_edge),
        WITH_FOLDER(a_walk_follows_the_bytes_of_the_paths),
        WITH_FOLDER(a_list_is_sorted_and_a_tree_is_removed_whole),
        WITH_FOLDER(walks_fail_cleanly_at_every_call),
        WITH_FOLDER(a_map_shows_the_bytes_and_an_empty_file_has_none),
        WITH_FOLDER(a_second_writer_is_told_who_holds_the_lock),
        cmocka_unit_test(paths_are_taken_apart_and_joined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
