/* tests/ingest/test_source_tar.c: image-text pairs out of tars, good, odd, cut at every byte and forged
 * (spec data.md 1.2; robustness.md 2.3 ARC9 to ARC15). The bad files are made here. */
#include "tests/support/support.h"

#include "tests/ingest/tarball.h"

#include <stdbool.h>

#include "core/file.h"
#include "ingest/source.h"

static char *folder;
static char path[300];
static struct tarball t;

static int make_folder(void **state)
{
    (void)state;
    folder = test_temp_folder();
    snprintf(path, sizeof path, "%s/00012.v3.tar", folder);
    memset(&t, 0, sizeof t);
    return 0;
}
static int remove_folder(void **state)
{
    (void)state;
    test_remove_tree(folder);
    free(folder);
    return 0;
}

struct result {
    int pairs, damaged;
    bool incomplete;
    char keys[400], codes[400], records[400], text[512];
};

static struct result read_tar(size_t size, const struct source_limits *limits)
{
    struct result r = { 0 };
    struct source *s = NULL;
    struct error err = { 0 };
    tarball_write(&t, size, path);
    assert_int_equal(source_open_pairs(&s, path, "00012.v3.tar", limits, &err), ST_OK);
    for (;;) {
        const struct document *d = NULL;
        struct source_damage damage;
        const enum status st = source_next(s, &d, &damage, &err);
        if (st == ST_END)
            break;
        if (st == ST_SKIP) {
            r.damaged++;
            strcat(strcat(r.codes, err.code), " ");
            assert_non_null(damage.record.data);
            strncat(strcat(r.records, "|"), damage.record.data, damage.record.size);
            snprintf(r.text, sizeof r.text, "%.500s", err.text);
            assert_true(err.code[0] && damage.stage);
            error_clear(&err);
            continue;
        }
        if (st != ST_OK)
            fail_msg("%s", err.text);
        r.pairs++;
        strncat(strcat(r.keys, "|"), d->key.data, d->key.size);
        assert_int_equal(d->image_count, 1);
        assert_true(d->images[0].bytes != NULL && d->kind == DOCUMENT_PAIR);
    }
    r.incomplete = source_incomplete(s, NULL);
    source_close(&s);
    return r;
}

static void expect(struct result r, const char *keys, const char *codes, bool incomplete)
{
    if (strcmp(r.keys, keys) != 0 || strcmp(r.codes, codes) != 0 || r.incomplete != incomplete)
        fail_msg("got pairs \"%s\", damage \"%s\" (%s), incomplete %d; want \"%s\", \"%s\", %d",
                 r.keys, r.codes, r.text, r.incomplete, keys, codes, incomplete);
}

static void sample(const char *key, const char *json)
{
    char name[64];
    snprintf(name, sizeof name, "%s.jpg", key);
    tarball_text(&t, name, "picture bytes");
    snprintf(name, sizeof name, "%s.json", key);
    tarball_text(&t, name, json);
    snprintf(name, sizeof name, "%s.txt", key);
    tarball_text(&t, name, "text");
}

static const char ok[] = "{\"caption\":\"a boat\",\"url\":\"http://x/1\"}";

static void a_pair_has_its_picture_caption_and_names(void **state)
{
    struct source *s = NULL;
    const struct document *d = NULL;
    struct source_damage damage;
    struct error err = { 0 };
    (void)state;
    tarball_add(&t, "./", '5', NULL, 0);
    tarball_text(&t, "./a.b.txt", "other members and dots"); /* stem "a" */
    tarball_text(&t, "./a.JPG", "picture bytes");
    tarball_text(&t, "./a.json", ok);
    tarball_end(&t);
    tarball_write(&t, t.size, path);
    assert_int_equal(source_open_pairs(&s, path, "x", NULL, &err), ST_OK);
    assert_int_equal(source_next(s, &d, &damage, &err), ST_OK);
    assert_string_equal(d->file.data, "00012");
    assert_string_equal(d->key.data, "a");
    assert_string_equal(d->url.data, "http://x/1");
    assert_string_equal(d->images[0].raw_url.data, "http://x/1");
    assert_int_equal(d->images[0].size, 13);
    assert_memory_equal(d->images[0].bytes, "picture bytes", 13);
    assert_int_equal(d->caption, DOCUMENT_CAPTION_STRING);
    assert_string_equal(d->sentences[0].data, "a boat");
    assert_int_equal(d->offset, 512);
    assert_int_equal(source_next(s, &d, &damage, &err), ST_END);
    assert_false(source_incomplete(s, NULL));
    source_close(&s);
}

static void captions_of_every_form_are_told_apart(void **state)
{
    static const struct {
        const char *json;
        enum document_caption form;
        size_t sentences;
    } cases[] = {
        { "{\"caption\":null}", DOCUMENT_CAPTION_OTHER, 0 },
        { "{\"caption\":NaN}", DOCUMENT_CAPTION_OTHER, 0 },
        { "{\"caption\":[\"a\",\"b\"]}", DOCUMENT_CAPTION_LIST, 2 },
        { "{\"caption\":[]}", DOCUMENT_CAPTION_LIST, 0 },
        { "{\"caption\":[\"a\",1]}", DOCUMENT_CAPTION_OTHER, 0 },
        { "{}", DOCUMENT_CAPTION_ABSENT, 0 },
        { "[]", DOCUMENT_CAPTION_ABSENT, 0 },
        { "\xef\xbb\xbf{\"caption\":1,\"caption\":\"x\"}", DOCUMENT_CAPTION_STRING, 1 },
    };
    struct source *s = NULL;
    struct error err = { 0 };
    const size_t n = sizeof cases / sizeof *cases;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        char key[8];
        snprintf(key, sizeof key, "%zu", i);
        sample(key, cases[i].json);
    }
    tarball_end(&t);
    tarball_write(&t, t.size, path);
    assert_int_equal(source_open_pairs(&s, path, "x", NULL, &err), ST_OK);
    for (size_t i = 0; i < n; i++) {
        const struct document *d = NULL;
        struct source_damage damage;
        assert_int_equal(source_next(s, &d, &damage, &err), ST_OK);
        assert_int_equal(d->caption, cases[i].form);
        assert_int_equal(d->sentence_count, cases[i].sentences);
    }
    source_close(&s);
}

static void odd_samples_are_damaged_and_their_neighbours_whole(void **state)
{
    (void)state;
    sample("1", ok);
    tarball_text(&t, "2.jpg", "no json");
    tarball_text(&t, "3.json", ok);
    tarball_text(&t, "4.jpg", "a");
    tarball_text(&t, "4.png", "two pictures");
    tarball_text(&t, "4.json", ok);
    sample("5", "{\"caption\":");
    sample("1", ok); /* again */
    sample("6", "{\"caption\":\"a\\u0000\"}");
    tarball_text(&t, "7.jpg", "apart");
    tarball_text(&t, "8.jpg", "apart");
    tarball_text(&t, "7.json", ok);
    tarball_text(&t, "8.json", ok);
    sample("9", ok);
    tarball_text(&t, "README", "no member of a sample");
    tarball_text(&t, "._9.jpg", "nor this");
    tarball_end(&t);
    const struct result r = read_tar(t.size, NULL);
    expect(r, "|1|9",
           "sample-no-json sample-no-picture sample-two-pictures json-syntax sample-twice text-nul "
           "sample-no-json sample-no-json sample-no-picture sample-no-picture ",
           false);
    assert_string_equal(r.records, "|2|3|4|5|1|6|7|8|7|8");
}

static void of_a_repeated_key_the_first_whole_one_is_kept(void **state)
{
    (void)state;
    tarball_text(&t, "1.jpg", "partial");
    tarball_text(&t, "1.jpg", "whole"); /* a repeated extension begins another sample */
    tarball_text(&t, "1.json", ok);
    tarball_text(&t, "1.json", ok);
    tarball_end(&t);
    expect(read_tar(t.size, NULL), "|1", "sample-no-json sample-no-picture ", false);
}

static void links_and_devices_are_no_members(void **state)
{
    (void)state;
    static const char types[] = { '1', '2', '3', '4', '6' };
    for (size_t i = 0; i < sizeof types; i++) {
        uint8_t *h = tarball_add(&t, "1.jpg", types[i], NULL, 0);
        memcpy(h + 157, "/etc/passwd", 11);
        tarball_seal(h);
    }
    tarball_text(&t, "1.json", ok);
    sample("../../2", ok); /* a key, never a path */
    tarball_end(&t);
    expect(read_tar(t.size, NULL), "|../../2", "sample-no-picture ", false);
}

static void a_tar_cut_at_any_byte_gives_its_whole_samples(void **state)
{
    (void)state;
    sample("1", ok);
    const size_t two = t.size;
    sample("2", ok);
    const size_t end = t.size;
    tarball_end(&t);
    for (size_t cut = 1; cut < t.size; cut += cut % 512 < 20 || cut % 512 > 500 ? 1 : 61) {
        const struct result r = read_tar(cut, NULL);
        /* A .txt is not needed: the pair is whole once its .json is there. */
        const size_t txt = 1024, rest = 512 - strlen(ok);
        const int whole = (cut >= two - txt - rest) + (cut >= end - txt - rest);
        if (cut >= end + 512) {
            expect(r, "|1|2", "", false); /* the first of two end blocks is there */
            continue;
        }
        if (r.damaged != 1 || !r.incomplete || r.pairs != whole ||
            (cut < 512 ? strcmp(r.codes, "container-magic ") : strcmp(r.codes, "tar-cut ")) != 0)
            fail_msg("cut at %zu: %d pairs, damage %s, incomplete %d", cut, r.pairs, r.codes,
                     r.incomplete);
    }
}

static void the_cut_sample_is_the_one_that_is_named(void **state)
{
    (void)state;
    sample("1", ok);
    tarball_text(&t, "2.jpg", "picture");
    const size_t at = t.size;
    tarball_text(&t, "2.json", ok);
    struct result r = read_tar(at + 512 + 3, NULL);
    expect(r, "|1", "tar-cut ", true);
    assert_string_equal(r.records, "|2");
    r = read_tar(at, NULL); /* between two members */
    expect(r, "|1", "tar-cut ", true);
    assert_string_equal(r.records, "|2");
    r = read_tar(t.size, NULL); /* all members, no end */
    expect(r, "|1|2", "tar-cut ", true);
    assert_string_equal(r.records, "|");
}

static void bytes_behind_the_end_are_told(void **state)
{
    (void)state;
    sample("1", ok);
    tarball_end(&t);
    tarball_end(&t);
    expect(read_tar(t.size, NULL), "|1", "", false); /* padding */
    sample("2", ok);
    tarball_end(&t);
    expect(read_tar(t.size, NULL), "|1", "tar-trailing ", true);
}

static void a_bad_header_loses_its_member_only(void **state)
{
    (void)state;
    sample("1", ok);
    const size_t at = t.size;
    sample("2", ok);
    sample("3", ok);
    tarball_end(&t);
    t.data[at + 1024 + 148] ^= 1; /* checksum of 2.json */
    const struct result r = read_tar(t.size, NULL);
    expect(r, "|1|3", "tar-header ", true);
    assert_string_equal(r.records, "|2");
}

static void sizes_that_lie_end_the_archive(void **state)
{
    static const char *const sizes[] = { "-0000000001", "77777777777", "9999", "\xff\xff\xff\xff" };
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(&t, 0, sizeof t);
        sample("1", ok);
        uint8_t *h = tarball_add(&t, "2.jpg", '0', "x", 1);
        memset(h + 124, i == 3 ? 0xff : 0, 12);
        memcpy(h + 124, sizes[i], strlen(sizes[i]));
        tarball_seal(h);
        tarball_end(&t);
        const struct result r = read_tar(t.size, NULL);
        assert_string_equal(r.keys, "|1");
        assert_true(r.damaged >= 1);
    }
}

static void a_sparse_member_is_refused(void **state)
{
    (void)state;
    sample("1", ok);
    tarball_text(&t, "2.json", ok);
    uint8_t *h = tarball_add(&t, "2.jpg", 'S', "x", 1);
    memcpy(h + 257, "ustar  ", 8);      /* GNU */
    memcpy(h + 386, "00000000000", 11); /* a piece at 0 */
    memcpy(h + 398, "00000000001", 11); /* of one byte */
    memcpy(h + 483, "00100000000", 11); /* real size */
    tarball_seal(h);
    sample("3", ok);
    tarball_end(&t);
    const struct result r = read_tar(t.size, NULL);
    expect(r, "|1|3", "tar-sparse ", false);
    assert_string_equal(r.records, "|2");
}

static void limits_hold_just_below_and_just_above(void **state)
{
    struct source_limits limits;
    (void)state;
    sample("1", ok);
    tarball_end(&t);
    source_limits_init(&limits);
    limits.max_member = strlen(ok);
    expect(read_tar(t.size, &limits), "|1", "", false);
    limits.max_member = strlen(ok) - 1;
    expect(read_tar(t.size, &limits), "", "limit-bytes ", false);
    source_limits_init(&limits);
    limits.max_members = 3;
    expect(read_tar(t.size, &limits), "|1", "", false);
    limits.max_members = 2;
    expect(read_tar(t.size, &limits), "|1", "limit-members ", true);
    source_limits_init(&limits);
    limits.max_name = 6;
    expect(read_tar(t.size, &limits), "|1", "", false);
    limits.max_name = 5;
    expect(read_tar(t.size, &limits), "", "member-name sample-no-json ", false);
}

static void names_with_control_bytes_are_damage(void **state)
{
    (void)state;
    tarball_text(&t, "1\x1b[31m.jpg", "x");
    sample("2", ok);
    tarball_end(&t);
    expect(read_tar(t.size, NULL), "|2", "member-name ", false);
}

static void what_is_no_tar_is_a_damaged_container(void **state)
{
    (void)state;
    memcpy(t.data, "PK\3\4", 4);
    t.size = 2000;
    expect(read_tar(2000, NULL), "", "container-magic ", true);
    expect(read_tar(0, NULL), "", "container-magic ", true);
}

static enum status read_all(struct error *err)
{
    struct source *s = NULL;
    enum status st = source_open_pairs(&s, path, "x", NULL, err);
    while (st == ST_OK || st == ST_SKIP) {
        const struct document *d = NULL;
        struct source_damage damage;
        if (st == ST_SKIP)
            error_clear(err);
        st = source_next(s, &d, &damage, err);
    }
    source_close(&s);
    return st;
}

static void reading_fails_cleanly_at_every_allocation_and_call(void **state)
{
    (void)state;
    sample("1", ok);
    sample("2", "{\"caption\":[\"a\",\"b\"]");
    tarball_text(&t, "3.jpg", "x");
    tarball_end(&t);
    tarball_write(&t, t.size, path);
    for (int files = 0; files < 2; files++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            struct error err = { 0 };
            if (files)
                file_fail_at(k, 5, false);
            else
                mem_fail_at(k, false);
            done = read_all(&err) == ST_END;
            mem_fail_at(0, false);
            file_fail_at(0, 0, false);
            if (!done && err.cause != (files ? CAUSE_IO : CAUSE_NOMEM))
                fail_msg("call %d: %s", (int)k, err.text);
            assert_true(k < 300);
        }
    }
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(a_pair_has_its_picture_caption_and_names),
        WITH_FOLDER(captions_of_every_form_are_told_apart),
        WITH_FOLDER(odd_samples_are_damaged_and_their_neighbours_whole),
        WITH_FOLDER(of_a_repeated_key_the_first_whole_one_is_kept),
        WITH_FOLDER(links_and_devices_are_no_members),
        WITH_FOLDER(a_tar_cut_at_any_byte_gives_its_whole_samples),
        WITH_FOLDER(the_cut_sample_is_the_one_that_is_named),
        WITH_FOLDER(bytes_behind_the_end_are_told),
        WITH_FOLDER(a_bad_header_loses_its_member_only),
        WITH_FOLDER(sizes_that_lie_end_the_archive),
        WITH_FOLDER(a_sparse_member_is_refused),
        WITH_FOLDER(limits_hold_just_below_and_just_above),
        WITH_FOLDER(names_with_control_bytes_are_damage),
        WITH_FOLDER(what_is_no_tar_is_a_damaged_container),
        WITH_FOLDER(reading_fails_cleanly_at_every_allocation_and_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
