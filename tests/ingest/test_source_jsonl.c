/* tests/ingest/test_source_jsonl.c: MMC4 inputs in every container, whole, cut at every byte and forged
 * (robustness.md 2.3, 2.5). The bad files are made here. */
#include "tests/support/support.h"

#include "tests/support/jsonl.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "core/file.h"
#include "ingest/source.h"

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

static const char *in(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put_file(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(in(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    fclose(f);
}

/* What came out of an input. */
struct result {
    int documents, damaged;
    bool incomplete;
    char code[32], file[64], text[512];
    uint64_t last_line, offset, length;
};

static struct result read_input(const char *name, const struct source_limits *limits)
{
    struct result r = { 0 };
    struct source *s = NULL;
    struct error err = { 0 };
    assert_int_equal(source_open_mmc4(&s, in(name), name, limits, &err), ST_OK);
    for (;;) {
        const struct document *d = NULL;
        struct source_damage damage;
        const enum status st = source_next(s, &d, &damage, &err);
        if (st == ST_END)
            break;
        if (st == ST_SKIP) {
            assert_true(err.code[0] != '\0' && damage.stage && damage.record.data);
            snprintf(r.code, sizeof r.code, "%s", err.code);
            snprintf(r.text, sizeof r.text, "%.500s", err.text);
            r.offset = damage.offset;
            r.length = damage.length;
            r.damaged++;
            error_clear(&err);
            continue;
        }
        if (st != ST_OK)
            fail_msg("%s: %s", name, err.text);
        r.documents++;
        r.last_line = d->line;
        snprintf(r.file, sizeof r.file, "%.*s", (int)d->file.size, d->file.data);
    }
    r.incomplete = source_incomplete(s, NULL);
    source_close(&s);
    assert_null(s);
    return r;
}

#define DOC(text) "{\"text_list\":[\"" text "\"],\"image_info\":[]}\n"
static const char three[] = DOC("one") "\n" DOC("two") "  \r\n" DOC("three");

static size_t gzip(uint8_t *out, size_t cap, const void *data, size_t size, int window_bits)
{
    z_stream z = { 0 };
    union {
        const void *in;
        Bytef *out;
    } p = { data };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = p.out;
    z.avail_in = (uInt)size;
    z.next_out = out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

static void expect(struct result r, int documents, int damaged, bool incomplete, const char *code)
{
    if (r.documents != documents || r.damaged != damaged || r.incomplete != incomplete ||
        strcmp(r.code, code) != 0)
        fail_msg("got %d documents, %d damaged, incomplete %d, code \"%s\": %s; want %d, %d, %d, "
                 "\"%s\"",
                 r.documents, r.damaged, r.incomplete, r.code, r.text, documents, damaged,
                 incomplete, code);
}

static void blank_lines_count_but_are_no_records(void **state)
{
    (void)state;
    put_file("docs_3_v3.jsonl", three, sizeof three - 1);
    const struct result r = read_input("docs_3_v3.jsonl", NULL);
    expect(r, 3, 0, false, "");
    assert_int_equal(r.last_line, 4);
    assert_string_equal(r.file, "docs_3_v3");
}

static void the_last_line_may_lack_its_newline_and_the_first_have_a_bom(void **state)
{
    static const char text[] = "\xef\xbb\xbf" DOC("a") "{\"text_list\":[\"b\"],\"image_info\":[]}";
    static const char twice[] = DOC("a") "\xef\xbb\xbf" DOC("b");
    (void)state;
    put_file("a.jsonl", text, sizeof text - 1);
    expect(read_input("a.jsonl", NULL), 2, 0, false, "");
    put_file("b.jsonl", twice, sizeof twice - 1);
    expect(read_input("b.jsonl", NULL), 1, 1, false, "json-syntax");
    put_file("c.jsonl", "\xef\xbb\xbf\n" DOC("a"), 4 + sizeof DOC("a") - 1);
    expect(read_input("c.jsonl", NULL), 1, 0, false, "");
    put_file("d.jsonl", "", 0);
    expect(read_input("d.jsonl", NULL), 0, 0, false, "");
}

static void a_bad_line_is_one_damaged_record(void **state)
{
    static const struct {
        const char *line, *code;
    } cases[] = {
        { "\0x", "json-syntax" },
        { "{\"text_list\":[\"a\"],\"image_info\":[]} {}", "json-syntax" },
        { "{\"text_list\":[\"a\"],\"image_info\":[]", "json-syntax" },
        { "[]", "record-schema" },
        { "3", "record-schema" },
        { "[", "json-syntax" },
        { "{}", "record-schema" },
        { "{\"text_list\":[],\"image_info\":[]}", "record-schema" },
        { "{\"text_list\":[1],\"image_info\":[]}", "record-schema" },
        { "{\"text_list\":{},\"image_info\":[]}", "record-schema" },
        { "{\"text_list\":[\"a\"],\"image_info\":{}}", "record-schema" },
        { "{\"text_list\":[\"a\"]}", "record-schema" },
        { "{\"text_list\":[\"a\\u0000\"],\"image_info\":[]}", "text-nul" },
        { "{\"text_list\":[\"a\"],\"image_info\":[],\"x\":1e400}", "json-syntax" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[400];
        const size_t n = i == 0 ? 2 : strlen(cases[i].line);
        memcpy(text, DOC("x"), sizeof DOC("x") - 1);
        memcpy(text + sizeof DOC("x") - 1, cases[i].line, n);
        text[sizeof DOC("x") - 1 + n] = '\n';
        put_file("a.jsonl", text, sizeof DOC("x") + n);
        const struct result r = read_input("a.jsonl", NULL);
        expect(r, 1, 1, false, cases[i].code);
        assert_int_equal(r.offset, sizeof DOC("x") - 1);
        assert_int_equal(r.length, n);
    }
}

static void the_last_of_equal_keys_counts(void **state)
{
    static const char text[] = "{\"text_list\":3,\"image_info\":{},\"text_list\":[\"a\"],\"image_"
                               "info\":[{\"image_name\":3,"
                               "\"image_name\":\"x.jpg\"}],\"url\":\"u\",\"url\":null}\n"
                               "{\"text_list\":[\"a\"],\"image_info\":[],\"text_list\":[]}\n";
    (void)state;
    put_file("a.jsonl", text, sizeof text - 1);
    expect(read_input("a.jsonl", NULL), 1, 1, false, "record-schema");
}

static void fields_of_a_document_are_read_by_their_types(void **state)
{
    static const char text[] =
        "{\"similarity_matrix\":[[0.5,0.25],[1,\"x\"],3,[7]],\"url\":\"u\",\"text_list\":[\"a\","
        "\"\"],"
        "\"image_info\":[{\"image_name\":\"p.jpg\",\"raw_url\":\"r\",\"matched_text_index\":1.0,"
        "\"matched_sim\":0.25},{\"image_name\":\"q\",\"matched_text_index\":1,\"matched_sim\":"
        "\"x\"},"
        "{\"image_name\":\"s\",\"matched_text_index\":\"0\",\"matched_sim\":NaN},null]}\n";
    struct source *s = NULL;
    const struct document *d = NULL;
    struct source_damage damage;
    struct error err = { 0 };
    (void)state;
    put_file("a.jsonl", text, sizeof text - 1);
    assert_int_equal(source_open_mmc4(&s, in("a.jsonl"), "a.jsonl", NULL, &err), ST_OK);
    assert_int_equal(source_next(s, &d, &damage, &err), ST_OK);
    assert_int_equal(d->sentence_count, 2);
    assert_int_equal(d->image_count, 4);
    assert_int_equal(d->length, sizeof text - 2);
    assert_string_equal(d->url.data, "u");
    const struct document_image *m = d->images;
    assert_true(m[0].usable && m[0].has_sentence && m[0].sentence == 1 && m[0].has_similarity);
    assert_true(m[0].similarity == 0.25 && m[0].has_matrix && m[0].matrix == 0.25);
    assert_string_equal(m[0].raw_url.data, "r");
    assert_true(m[1].usable && !m[1].has_similarity && !m[1].has_matrix && !m[1].raw_url.data);
    assert_true(!m[2].has_sentence && m[2].has_similarity && !(m[2].similarity < 1));
    assert_false(m[3].usable);
    assert_int_equal(source_next(s, &d, &damage, &err), ST_END);
    source_close(&s);
}

static void golden_documents_are_damaged_where_they_must_be(void **state)
{
    struct jsonl f;
    const struct json_value *c;
    int cases = 0;
    (void)state;
    jsonl_open(&f, TEST_GOLDENS "/data/text/mmc4.jsonl");
    while ((c = jsonl_next(&f)) != NULL) {
        const struct json_value *raw = jsonl_get(c, "raw");
        const bool bad = jsonl_is(c, "outcome", "error");
        put_file("a.jsonl", raw->text, raw->size);
        const struct result r = read_input("a.jsonl", NULL);
        if (r.documents != !bad || r.damaged != bad)
            fail_msg("mmc4.jsonl line %u: %d documents, %s", f.line, r.documents, r.text);
        cases++;
    }
    assert_true(cases >= 400);
    jsonl_close(&f);
}

static void a_line_at_the_limit_is_read_and_one_over_it_is_passed(void **state)
{
    struct source_limits limits;
    const size_t n = sizeof DOC("x") - 2;
    (void)state;
    source_limits_init(&limits);
    limits.max_line = n;
    put_file("a.jsonl", DOC("x") DOC("xy") DOC("z"), 3 * (n + 1) + 1);
    const struct result r = read_input("a.jsonl", &limits);
    expect(r, 2, 1, false, "limit-line");
    assert_int_equal(r.last_line, 2);
    assert_int_equal(r.length, n + 1);

    /* across blocks of the reader */
    char *big = malloc(700000);
    memset(big, ' ', 700000);
    memcpy(big, DOC("x"), n);
    big[600000] = '\n';
    memcpy(big + 600001, DOC("y"), n + 1);
    put_file("b.jsonl", big, 600001 + n + 1);
    expect(read_input("b.jsonl", &limits), 1, 1, false, "limit-line");
    expect(read_input("b.jsonl", NULL), 2, 0, false, "");
    free(big);
}

static void gzip_is_read_over_all_its_members(void **state)
{
    uint8_t z[2000];
    (void)state;
    size_t n = gzip(z, sizeof z, three, sizeof three - 1, 31);
    n += gzip(z + n, sizeof z - n, three, 10, 31); /* a line across two members */
    n += gzip(z + n, sizeof z - n, three + 10, sizeof three - 11, 31);
    put_file("a.jsonl.gz", z, n);
    struct result r = read_input("a.jsonl.gz", NULL);
    expect(r, 6, 0, false, "");
    assert_string_equal(r.file, "a");
    z[n] = 0;
    put_file("a.jsonl.gz", z, n + 1);
    expect(read_input("a.jsonl.gz", NULL), 6, 1, true, "gzip-trailing");
}

static void damaged_gzip_gives_all_up_to_the_fault(void **state)
{
    uint8_t z[2000];
    (void)state;
    const size_t n = gzip(z, sizeof z, three, sizeof three - 1, 31);
    for (size_t cut = 2; cut < n; cut++) {
        put_file("a.jsonl.gz", z, cut);
        const struct result r = read_input("a.jsonl.gz", NULL);
        if (r.damaged != 1 || !r.incomplete || strcmp(r.code, "gzip-cut") != 0 ||
            (cut > n - 8 && r.documents != 3))
            fail_msg("cut at %zu of %zu: %d documents, %d damaged, %s", cut, n, r.documents,
                     r.damaged, r.code);
    }
    z[n - 5] ^= 1;
    put_file("a.jsonl.gz", z, n);
    expect(read_input("a.jsonl.gz", NULL), 3, 1, true, "gzip-crc");
    z[n - 5] ^= 1;
    z[n - 1] ^= 1;
    put_file("a.jsonl.gz", z, n);
    expect(read_input("a.jsonl.gz", NULL), 3, 1, true, "gzip-length");
}

static void a_cut_gzip_gives_every_line_before_the_cut(void **state)
{
    static char text[60000];
    static uint8_t z[60000];
    uint64_t seed = 7;
    size_t size = 0, n;
    (void)state;
    for (int i = 0; i < 200; i++) {
        char word[200];
        for (size_t k = 0; k < 199; k++) {
            seed = seed * 6364136223846793005u + 1;
            word[k] = (char)('a' + (seed >> 40) % 26);
        }
        word[199] = '\0';
        size += (size_t)snprintf(text + size, sizeof text - size,
                                 "{\"text_list\":[\"%s\"],\"image_info\":[]}\n", word);
    }
    n = gzip(z, sizeof z, text, size, 31);
    put_file("a.jsonl.gz", z, n / 2);
    const struct result r = read_input("a.jsonl.gz", NULL);
    assert_true(r.documents > 90 && r.documents < 110);
    assert_int_equal(r.damaged, 1);
    assert_true(r.length > 0); /* the cut line */
}

static void zstd_is_read_over_all_its_frames_and_up_to_the_cut(void **state)
{
    uint8_t z[2000];
    (void)state;
    size_t n = ZSTD_compress(z, sizeof z, three, sizeof three - 1, 3);
    const size_t first = n;
    n += ZSTD_compress(z + n, sizeof z - n, three, sizeof three - 1, 3);
    put_file("a.jsonl.zst", z, n);
    expect(read_input("a.jsonl.zst", NULL), 6, 0, false, "");
    for (size_t cut = first + 1; cut < n; cut++) {
        put_file("a.jsonl.zst", z, cut);
        const struct result r = read_input("a.jsonl.zst", NULL);
        assert_true(r.documents >= 3 && r.documents <= 6);
        assert_int_equal(r.damaged, 1);
        assert_string_equal(r.code, "zstd-cut");
    }
    memcpy(z + n, "junk", 4);
    put_file("a.jsonl.zst", z, n + 4);
    expect(read_input("a.jsonl.zst", NULL), 6, 1, true, "zstd-data");
}

static void a_name_that_lies_is_a_damaged_container(void **state)
{
    uint8_t z[2000];
    (void)state;
    const size_t n = gzip(z, sizeof z, three, sizeof three - 1, 31);
    static const char *const names[] = { "a.jsonl", "a.jsonl.zst", "a.jsonl.zip" };
    for (int i = 0; i < 3; i++) {
        put_file(names[i], z, n);
        expect(read_input(names[i], NULL), 0, 1, true, "container-magic");
    }
    put_file("a.jsonl.gz", three, sizeof three - 1);
    expect(read_input("a.jsonl.gz", NULL), 0, 1, true, "container-magic");
    put_file("b.jsonl.gz", "", 0);
    expect(read_input("b.jsonl.gz", NULL), 0, 1, true, "container-magic");
    put_file("anything", z, n); /* a name that promises nothing */
    expect(read_input("anything", NULL), 3, 0, false, "");
}

static void bombs_stop_at_the_ratio(void **state)
{
    const size_t size = (size_t)40 << 20;
    char *zeros = malloc(size);
    uint8_t *z = malloc(1 << 20);
    (void)state;
    memset(zeros, '\n', size); /* blank lines only */
    const size_t n = gzip(z, 1 << 20, zeros, size, 31);
    put_file("a.jsonl.gz", z, n);
    expect(read_input("a.jsonl.gz", NULL), 0, 1, true, "limit-ratio");
    struct source_limits limits;
    source_limits_init(&limits);
    limits.max_ratio = 2000;
    expect(read_input("a.jsonl.gz", &limits), 0, 0, false, "");
    limits.max_lines_member = size;
    expect(read_input("a.jsonl.gz", &limits), 0, 0, false, "");
    limits.max_lines_member = size - 1;
    expect(read_input("a.jsonl.gz", &limits), 0, 1, true, "limit-bytes");
    free(zeros);
    free(z);
}

static void skipping_counts_records_as_reading_does(void **state)
{
    struct source *s = NULL;
    const struct document *d = NULL;
    struct source_damage damage;
    struct error err = { 0 };
    (void)state;
    put_file("a.jsonl", "[\n" DOC("a") "\n" DOC("b"), 3 + 2 * (sizeof DOC("a") - 1));
    assert_int_equal(source_open_mmc4(&s, in("a.jsonl"), "a.jsonl", NULL, &err), ST_OK);
    assert_int_equal(source_skip(s, 2, &err), ST_OK);
    assert_int_equal(source_next(s, &d, &damage, &err), ST_OK);
    assert_int_equal(d->line, 3);
    assert_int_equal(source_skip(s, 1, &err), ST_END);
    source_close(&s);
}

static void a_file_that_changes_while_it_is_read_is_an_io_error(void **state)
{
    struct source *s = NULL;
    const struct document *d = NULL;
    struct source_damage damage;
    struct error err = { 0 };
    (void)state;
    put_file("a.jsonl", three, sizeof three - 1);
    assert_int_equal(source_open_mmc4(&s, in("a.jsonl"), "a.jsonl", NULL, &err), ST_OK);
    assert_int_equal(source_next(s, &d, &damage, &err), ST_OK);
    FILE *f = fopen(in("a.jsonl"), "ab");
    fputs("more\n", f);
    fclose(f);
    enum status st;
    while ((st = source_next(s, &d, &damage, &err)) == ST_OK)
        ;
    assert_int_equal(st, ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    source_close(&s);
}

static void what_is_no_file_is_refused_when_opened(void **state)
{
    struct source *s = NULL;
    struct error err = { 0 };
    (void)state;
    assert_int_equal(mkfifo(in("f.jsonl"), 0600), 0);
    assert_int_equal(source_open_mmc4(&s, in("f.jsonl"), "f.jsonl", NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_null(s);
    error_clear(&err);
    assert_int_equal(source_open_mmc4(&s, in("none.jsonl"), "none.jsonl", NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
}

/* Opens and reads all; the status and cause of the end. */
static enum status read_all(const char *name, struct error *err)
{
    struct source *s = NULL;
    enum status st = source_open_mmc4(&s, in(name), name, NULL, err);
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
    uint8_t z[2000];
    (void)state;
    put_file("a.jsonl", three, sizeof three - 1);
    put_file("a.jsonl.gz", z, gzip(z, sizeof z, three, sizeof three - 1, 31));
    put_file("a.jsonl.zst", z, ZSTD_compress(z, sizeof z, three, sizeof three - 1, 3));
    static const char *const names[] = { "a.jsonl", "a.jsonl.gz", "a.jsonl.zst" };
    for (int i = 0; i < 6; i++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            struct error err = { 0 };
            if (i < 3)
                mem_fail_at(k, false);
            else
                file_fail_at(k, 5, false);
            const enum status st = read_all(names[i % 3], &err);
            mem_fail_at(0, false);
            file_fail_at(0, 0, false);
            done = st == ST_END;
            if (!done)
                assert_int_equal(err.cause, i < 3 ? CAUSE_NOMEM : CAUSE_IO);
            assert_true(k < 200);
        }
    }
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(blank_lines_count_but_are_no_records),
        WITH_FOLDER(the_last_line_may_lack_its_newline_and_the_first_have_a_bom),
        WITH_FOLDER(a_bad_line_is_one_damaged_record),
        WITH_FOLDER(the_last_of_equal_keys_counts),
        WITH_FOLDER(fields_of_a_document_are_read_by_their_types),
        WITH_FOLDER(golden_documents_are_damaged_where_they_must_be),
        WITH_FOLDER(a_line_at_the_limit_is_read_and_one_over_it_is_passed),
        WITH_FOLDER(gzip_is_read_over_all_its_members),
        WITH_FOLDER(damaged_gzip_gives_all_up_to_the_fault),
        WITH_FOLDER(a_cut_gzip_gives_every_line_before_the_cut),
        WITH_FOLDER(zstd_is_read_over_all_its_frames_and_up_to_the_cut),
        WITH_FOLDER(a_name_that_lies_is_a_damaged_container),
        WITH_FOLDER(bombs_stop_at_the_ratio),
        WITH_FOLDER(skipping_counts_records_as_reading_does),
        WITH_FOLDER(a_file_that_changes_while_it_is_read_is_an_io_error),
        WITH_FOLDER(what_is_no_file_is_refused_when_opened),
        WITH_FOLDER(reading_fails_cleanly_at_every_allocation_and_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
