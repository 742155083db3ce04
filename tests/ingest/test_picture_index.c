/* tests/ingest/test_picture_index.c: every layout of data.md 1.1, the order of the lookup, and files that
 * change after the plan. */
#include "tests/support/support.h"

#include "tests/ingest/tarball.h"

#include <stdbool.h>
#include <unistd.h>

#include "core/file.h"
#include "ingest/picture_index.h"

static char *folder;
static char *work;

static int make_folder(void **state)
{
    (void)state;
    folder = test_temp_folder();
    work = path_join(folder, "work");
    return file_make_folder(work, NULL) == ST_OK ? 0 : 1;
}
static int remove_folder(void **state)
{
    (void)state;
    test_remove_tree(folder);
    mem_free(work);
    free(folder);
    return 0;
}

static const char *in(const char *name)
{
    static char paths[8][400];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, 400, "%s/%s", folder, name);
    return p;
}

static void put(const char *name, const char *content)
{
    char *below = path_folder(in(name));
    assert_int_equal(file_make_folders(below, NULL), ST_OK);
    mem_free(below);
    assert_int_equal(file_replace(in(name), content, strlen(content), NULL), ST_OK);
}

static struct picture_index *open_index(const char *a, const char *b)
{
    struct picture_index *x = NULL;
    struct error err = { 0 };
    const char *paths[2] = { in(a), b ? in(b) : NULL };
    if (picture_index_open(&x, work, paths, b ? 2 : 1, NULL, &err) != ST_OK)
        fail_msg("%s", err.text);
    return x;
}

/* The content found for a name ("" where missing). */
static void expect(const struct picture_index *x, const char *name, const char *url,
                   const char *content)
{
    struct picture_place place;
    struct picture_reader *r = NULL;
    struct buffer b;
    struct error err = { 0 };
    const struct text n = { name, strlen(name) }, u = { url, url ? strlen(url) : 0 };
    const enum status st = picture_index_find(x, &place, &n, url ? &u : NULL, &err);
    if (st == ST_END && content[0] == '\0')
        return;
    if (st != ST_OK)
        fail_msg("%s is missing", name);
    buffer_init(&b);
    assert_int_equal(picture_reader_open(&r, x, &err), ST_OK);
    assert_int_equal(picture_reader_read(r, &b, &place, &err), ST_OK);
    if (b.size != strlen(content) || memcmp(b.data, content, b.size) != 0)
        fail_msg("%s: found \"%.*s\", want \"%s\"", name, (int)b.size, (char *)b.data, content);
    assert_int_equal(place.size, b.size);
    buffer_clear(&b);
    picture_reader_close(&r);
}

static void the_steps_of_the_lookup_come_in_their_order(void **state)
{
    (void)state;
    put("p/aaaaaaaaaaaa.jpg", "exact");
    put("p/aaaaaaaaaaaa.png", "stem");
    put("p/bbbbbbbbbbbb.jpg", "reencoded");
    put("p/cccccccccccc", "bare");
    put("p/7/dddddddddddd.gif", "below");
    put("p/7/aaaaaaaaaaaa.gif", "exact below");
    put("p/8/eeeeeeeeeeee.jpg", "stem below");
    put("p/8/9/ffffffffffff.jpg", "too deep");
    put("p/ffffffffffff.exe", "no picture");
    put("p/abc.txt", "text");
    struct picture_index *x = open_index("p", NULL);
    expect(x, "aaaaaaaaaaaa.jpg", NULL, "exact");
    expect(x, "aaaaaaaaaaaa.png", NULL, "stem");
    expect(x, "aaaaaaaaaaaa.gif", NULL, "exact");  /* a stem above comes before a name below */
    expect(x, "aaaaaaaaaaaa.webp", NULL, "exact"); /* byte order among stems */
    expect(x, "bbbbbbbbbbbb.png", NULL, "reencoded");
    expect(x, "cccccccccccc.png", NULL, "bare");
    expect(x, "dddddddddddd.gif", NULL, "below");
    expect(x, "eeeeeeeeeeee.png", NULL, "stem below");
    expect(x, "ffffffffffff.jpg", NULL, "");
    expect(x, "../p/aaaaaaaaaaaa.jpg", NULL, "");
    expect(x, "", NULL, "");
    expect(x, "ffffffffffff.exe", NULL, "no picture"); /* the exact name, whatever it is */
    picture_index_close(&x);
}

static void paths_are_searched_in_the_order_given(void **state)
{
    (void)state;
    put("p/aaaaaaaaaaaa.png", "first path, stem");
    put("q/aaaaaaaaaaaa.jpg", "second path, exact");
    put("p/bbbbbbbbbbbb.jpg", "p");
    put("q/bbbbbbbbbbbb.jpg", "q");
    put("p/1/cccccccccccc.jpg", "1");
    put("p/0/cccccccccccc.jpg", "0");
    struct picture_index *x = open_index("p", "q");
    expect(x, "aaaaaaaaaaaa.jpg", NULL, "second path, exact");
    expect(x, "bbbbbbbbbbbb.jpg", NULL, "p");
    expect(x, "cccccccccccc.jpg", NULL, "0");
    picture_index_close(&x);
    x = open_index("q", "p");
    expect(x, "bbbbbbbbbbbb.jpg", NULL, "q");
    picture_index_close(&x);
}

static void img2dataset_files_are_joined_by_identifier_or_url(void **state)
{
    (void)state;
    put("p/00000/000000001.jpg", "one");
    put("p/00000/000000001.json",
        "{\"local_identifier\":\"aaaaaaaaaaaa.png\",\"url\":\"http://x/1\"}");
    put("p/00000/000000002.jpg", "two");
    put("p/00000/000000002.json", "{\"url\":\"http://x/2\"}");
    put("p/00000/000000003.json", "{\"local_identifier\":\"cccccccccccc.png\"}");
    put("p/00000/000000004.jpg", "four");
    put("p/00000/000000004.json", "{\"local_identifier\":");
    put("p/00000_stats.json", "{\"count\":4}");
    struct picture_index *x = open_index("p", NULL);
    expect(x, "aaaaaaaaaaaa.png", NULL, "one");
    expect(x, "aaaaaaaaaaaa.jpg", NULL, "one"); /* by its stem */
    expect(x, "bbbbbbbbbbbb.png", "http://x/2", "two");
    expect(x, "bbbbbbbbbbbb.png", "http://x/1", ""); /* joined by identifier only */
    expect(x, "cccccccccccc.png", NULL, "");
    expect(x, "000000004.jpg", NULL, "four");
    picture_index_close(&x);
}

static void tars_are_joined_likewise_and_whole_members_of_cut_ones(void **state)
{
    static struct tarball t;
    (void)state;
    memset(&t, 0, sizeof t);
    tarball_text(&t, "000000001.jpg", "one");
    tarball_text(&t, "000000001.json", "{\"local_identifier\":\"aaaaaaaaaaaa.png\"}");
    tarball_text(&t, "000000001.txt", "caption");
    tarball_text(&t, "000000002.jpg", "two");
    tarball_text(&t, "000000002.json", "{\"url\":\"http://x/2\"}");
    tarball_text(&t, "pics/cccccccccccc.webp", "three");
    const size_t cut = t.size + 512 + 2;
    tarball_text(&t, "dddddddddddd.webp", "four");
    tarball_end(&t);
    assert_int_equal(file_make_folder(in("p"), NULL), ST_OK);
    tarball_write(&t, t.size, in("p/00000.tar"));
    tarball_write(&t, cut, in("cut.tar"));
    static const char *const paths[] = { "p", "cut.tar" };
    for (int i = 0; i < 2; i++) {
        struct picture_index *x = open_index(paths[i], NULL);
        expect(x, "aaaaaaaaaaaa.png", NULL, "one");
        expect(x, "bbbbbbbbbbbb.png", "http://x/2", "two");
        expect(x, "cccccccccccc.webp", NULL, "three");
        expect(x, "dddddddddddd.webp", NULL, i == 0 ? "four" : "");
        picture_index_close(&x);
    }
}

static void what_changed_since_the_plan_is_an_io_error(void **state)
{
    struct picture_place place;
    struct picture_reader *r = NULL;
    struct buffer b;
    struct error err = { 0 };
    const struct text n = { "aaaaaaaaaaaa.jpg", 16 };
    (void)state;
    put("p/aaaaaaaaaaaa.jpg", "one");
    struct picture_index *x = open_index("p", NULL);
    picture_index_close(&x);
    put("p/bbbbbbbbbbbb.jpg", "later");
    x = open_index("p", NULL); /* the index of the plan, not a new one */
    expect(x, "bbbbbbbbbbbb.jpg", NULL, "");
    put("p/aaaaaaaaaaaa.jpg", "other size");
    assert_int_equal(picture_index_find(x, &place, &n, NULL, &err), ST_OK);
    buffer_init(&b);
    assert_int_equal(picture_reader_open(&r, x, &err), ST_OK);
    assert_int_equal(picture_reader_read(r, &b, &place, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    assert_int_equal(unlink(in("p/aaaaaaaaaaaa.jpg")), 0);
    error_clear(&err);
    assert_int_equal(picture_reader_read(r, &b, &place, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    buffer_clear(&b);
    picture_reader_close(&r);
    picture_index_close(&x);
}

static void a_picture_over_the_limit_is_damaged_not_fatal(void **state)
{
    struct source_limits limits;
    struct picture_index *x = NULL;
    struct picture_reader *r = NULL;
    struct buffer b;
    struct error err = { 0 };
    const char *paths[1];
    (void)state;
    put("p/aaaaaaaaaaaa.jpg", "1234");
    paths[0] = in("p");
    for (uint64_t most = 3; most <= 4; most++) {
        struct picture_place place;
        const struct text n = { "aaaaaaaaaaaa.jpg", 16 };
        source_limits_init(&limits);
        limits.max_member = most;
        buffer_init(&b);
        assert_int_equal(picture_index_open(&x, work, paths, 1, &limits, &err), ST_OK);
        assert_int_equal(picture_index_find(x, &place, &n, NULL, &err), ST_OK);
        assert_int_equal(picture_reader_open(&r, x, &err), ST_OK);
        assert_int_equal(picture_reader_read(r, &b, &place, &err), most == 3 ? ST_SKIP : ST_OK);
        assert_string_equal(err.code, most == 3 ? "limit-bytes" : "");
        error_clear(&err);
        picture_reader_close(&r);
        picture_index_close(&x);
        buffer_clear(&b);
    }
}

static void building_fails_cleanly_at_every_allocation_and_call(void **state)
{
    static struct tarball t;
    (void)state;
    memset(&t, 0, sizeof t);
    tarball_text(&t, "000000001.jpg", "one");
    tarball_text(&t, "000000001.json", "{\"local_identifier\":\"aaaaaaaaaaaa.png\"}");
    tarball_end(&t);
    put("p/7/000000002.jpg", "two");
    put("p/7/000000002.json", "{\"url\":\"http://x/2\"}");
    tarball_write(&t, t.size, in("p/00000.tar"));
    char *copy = strdup(in("p"));
    const char *paths[1] = { copy };
    for (int files = 0; files < 2; files++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            struct picture_index *x = NULL;
            struct error err = { 0 };
            if (files)
                file_fail_at(k, 5, false);
            else
                mem_fail_at(k, false);
            done = picture_index_open(&x, work, paths, 1, NULL, &err) == ST_OK;
            mem_fail_at(0, false);
            file_fail_at(0, 0, false);
            if (!done) {
                assert_null(x);
                assert_true(err.cause != CAUSE_NONE && err.cause != CAUSE_FORMAT);
            }
            picture_index_close(&x);
            assert_int_equal(file_remove(in("work/pictures.keys"), NULL), ST_OK);
            assert_true(k < 300);
        }
    }
    free(copy);
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(the_steps_of_the_lookup_come_in_their_order),
        WITH_FOLDER(paths_are_searched_in_the_order_given),
        WITH_FOLDER(img2dataset_files_are_joined_by_identifier_or_url),
        WITH_FOLDER(tars_are_joined_likewise_and_whole_members_of_cut_ones),
        WITH_FOLDER(what_changed_since_the_plan_is_an_io_error),
        WITH_FOLDER(a_picture_over_the_limit_is_damaged_not_fatal),
        WITH_FOLDER(building_fails_cleanly_at_every_allocation_and_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
