/* tests/ingest/test_zip.c: zips of JSON lines, good, cut and forged (robustness.md 2.3 ARC1 to ARC7,
 * spec data.md 1.1). The files are put together here, field by field. */
#include "tests/support/support.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/bytes.h"
#include "core/file.h"
#include "ingest/source.h"

static char *folder;
static char path[300];

/* A member as it is to be written; tests change what they forge. */
struct entry {
    const char *name;
    const uint8_t *data; /* packed */
    uint32_t packed, size, crc;
    uint16_t method, flags;
    uint32_t header; /* set by put_entry */
};
struct zipfile {
    uint8_t data[1 << 17];
    size_t size;
    struct entry entries[8];
    size_t count;
};
static struct zipfile z;
static uint8_t packed_room[8][40000];

static int make_folder(void **state)
{
    (void)state;
    folder = test_temp_folder();
    snprintf(path, sizeof path, "%s/a.jsonl.zip", folder);
    memset(&z, 0, sizeof z);
    return 0;
}
static int remove_folder(void **state)
{
    (void)state;
    test_remove_tree(folder);
    free(folder);
    return 0;
}

static struct entry deflated(const char *name, const char *text, size_t size)
{
    uint8_t *room = packed_room[z.count];
    z_stream s = { 0 };
    union {
        const char *in;
        Bytef *out;
    } p = { text };
    assert_int_equal(deflateInit2(&s, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    s.next_in = p.out;
    s.avail_in = (uInt)size;
    s.next_out = room;
    s.avail_out = sizeof packed_room[0];
    assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
    deflateEnd(&s);
    return (struct entry){ .name = name,
                           .data = room,
                           .packed = (uint32_t)s.total_out,
                           .size = (uint32_t)size,
                           .crc = (uint32_t)crc32(0, (const Bytef *)text, (uInt)size),
                           .method = 8 };
}

static struct entry stored(const char *name, const char *text)
{
    const uint32_t n = (uint32_t)strlen(text);
    return (struct entry){ .name = name,
                           .data = (const uint8_t *)text,
                           .packed = n,
                           .size = n,
                           .crc = (uint32_t)crc32(0, (const Bytef *)text, n) };
}

static void put(const void *data, size_t size)
{
    assert_true(z.size + size <= sizeof z.data);
    memcpy(z.data + z.size, data, size);
    z.size += size;
}

/* Local header and data; with flag 8 the sizes follow. */
static void put_entry(struct entry e)
{
    uint8_t h[30] = "PK\3\4\24";
    const bool later = e.flags & 8;
    e.header = (uint32_t)z.size;
    store_u16le(h + 6, e.flags);
    store_u16le(h + 8, e.method);
    store_u32le(h + 14, later ? 0 : e.crc);
    store_u32le(h + 18, later ? 0 : e.packed);
    store_u32le(h + 22, later ? 0 : e.size);
    store_u16le(h + 26, (uint16_t)strlen(e.name));
    put(h, 30);
    put(e.name, strlen(e.name));
    put(e.data, e.packed);
    if (later) {
        uint8_t d[16] = "PK\7\10";
        store_u32le(d + 4, e.crc);
        store_u32le(d + 8, e.packed);
        store_u32le(d + 12, e.size);
        put(d, 16);
    }
    z.entries[z.count++] = e;
}

static void put_directory(size_t comment)
{
    const size_t at = z.size;
    for (size_t i = 0; i < z.count; i++) {
        const struct entry *e = &z.entries[i];
        uint8_t h[46] = "PK\1\2\24\0\24";
        store_u16le(h + 8, e->flags);
        store_u16le(h + 10, e->method);
        store_u32le(h + 16, e->crc);
        store_u32le(h + 20, e->packed);
        store_u32le(h + 24, e->size);
        store_u16le(h + 28, (uint16_t)strlen(e->name));
        store_u32le(h + 42, e->header);
        put(h, 46);
        put(e->name, strlen(e->name));
    }
    uint8_t end[22] = "PK\5\6";
    store_u16le(end + 8, (uint16_t)z.count);
    store_u16le(end + 10, (uint16_t)z.count);
    store_u32le(end + 12, (uint32_t)(z.size - at));
    store_u32le(end + 16, (uint32_t)at);
    store_u16le(end + 20, (uint16_t)comment);
    put(end, 22);
}

struct result {
    int documents, damaged;
    bool incomplete;
    char codes[200], files[200], text[512];
    uint64_t length;
};

static void write_zip(size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(z.data, 1, size, f), size);
    fclose(f);
}

static struct result read_zip(size_t size, const struct source_limits *limits)
{
    struct result r = { 0 };
    struct source *s = NULL;
    struct error err = { 0 };
    write_zip(size);
    assert_int_equal(source_open_mmc4(&s, path, "a.jsonl.zip", limits, &err), ST_OK);
    for (;;) {
        const struct document *d = NULL;
        struct source_damage damage;
        const enum status st = source_next(s, &d, &damage, &err);
        if (st == ST_END)
            break;
        if (st == ST_SKIP) {
            assert_true(err.code[0] != '\0');
            strcat(strcat(r.codes, err.code), " ");
            snprintf(r.text, sizeof r.text, "%.500s", err.text);
            r.length = damage.length;
            r.damaged++;
            error_clear(&err);
            continue;
        }
        if (st != ST_OK)
            fail_msg("%s", err.text);
        r.documents++;
        snprintf(r.files + strlen(r.files), sizeof r.files - strlen(r.files), "%.*s:%d ",
                 (int)d->file.size, d->file.data, (int)d->line);
    }
    r.incomplete = source_incomplete(s, NULL);
    source_close(&s);
    return r;
}

static void expect(struct result r, const char *files, const char *codes)
{
    if (strcmp(r.files, files) != 0 || strcmp(r.codes, codes) != 0 ||
        r.incomplete != (codes[0] != '\0'))
        fail_msg("got \"%s\", damage \"%s\" (%s), incomplete %d; want \"%s\", \"%s\"", r.files,
                 r.codes, r.text, r.incomplete, files, codes);
}

#define DOC(text) "{\"text_list\":[\"" text "\"],\"image_info\":[]}\n"
static const char two[] = DOC("one") DOC("two");
enum { TWO = sizeof two - 1 };

static void the_member_called_like_the_zip_is_read_alone(void **state)
{
    (void)state;
    put_entry(stored("b.jsonl", two));
    put_entry(deflated("a.jsonl", two, TWO));
    put_directory(0);
    expect(read_zip(z.size, NULL), "a:0 a:1 ", "");
}

static void otherwise_every_jsonl_member_in_the_directorys_order(void **state)
{
    (void)state;
    put_entry(stored("x/c.jsonl", two));
    put_entry(stored("README.txt", "no lines"));
    put_entry(deflated("b.jsonl", two, TWO));
    put_entry(stored("y/c.jsonl", two)); /* its records would have the same keys */
    put_entry(stored("inner.zip", "PK"));
    put_directory(0);
    expect(read_zip(z.size, NULL), "c:0 c:1 b:0 b:1 ", "member-twice ");
}

static void sizes_that_follow_the_data_are_read(void **state)
{
    (void)state;
    struct entry e = deflated("a.jsonl", two, TWO);
    e.flags = 8;
    put_entry(e);
    put_directory(0);
    expect(read_zip(z.size, NULL), "a:0 a:1 ", "");
}

static void a_zip_without_lines_is_damaged(void **state)
{
    (void)state;
    put_entry(stored("b.json", two));
    put_directory(0);
    expect(read_zip(z.size, NULL), "", "zip-no-lines ");
    memset(&z, 0, sizeof z);
    put_directory(0);
    expect(read_zip(z.size, NULL), "", "zip-no-lines ");
}

static void a_cut_zip_gives_every_line_before_the_cut(void **state)
{
    static char text[30000];
    uint64_t seed = 7;
    size_t size = 0;
    (void)state;
    for (int i = 0; i < 100; i++) {
        char word[200];
        for (size_t k = 0; k < 199; k++) {
            seed = seed * 6364136223846793005u + 1;
            word[k] = (char)('a' + (seed >> 40) % 26);
        }
        word[199] = '\0';
        size += (size_t)snprintf(text + size, sizeof text - size,
                                 "{\"text_list\":[\"%s\"],\"image_info\":[]}\n", word);
    }
    for (int later = 0; later < 2; later++) {
        memset(&z, 0, sizeof z);
        struct entry e = deflated("a.jsonl", text, size);
        e.flags = later ? 8 : 0;
        put_entry(e);
        const size_t whole = z.size;
        put_directory(0);
        struct result r = read_zip(whole / 2, NULL);
        assert_true(r.documents > 40 && r.documents < 60 && r.length > 0);
        assert_string_equal(r.codes, "zip-cut ");
        assert_true(r.incomplete);
        for (size_t cut = whole; cut < z.size; cut++) { /* the directory is cut */
            r = read_zip(cut, NULL);
            assert_int_equal(r.documents, 100);
            assert_string_equal(r.codes, "zip-end ");
        }
        for (size_t cut = 4; cut < whole; cut += 211) {
            r = read_zip(cut, NULL);
            assert_int_equal(r.damaged, 1);
            assert_true(r.incomplete);
        }
    }
}

static void members_of_a_cut_zip_are_walked(void **state)
{
    (void)state;
    put_entry(stored("b.jsonl", two));
    put_entry(stored("note.txt", "x"));
    struct entry e = deflated("c.jsonl", two, TWO);
    e.flags = 8;
    put_entry(e);
    put_entry(deflated("d.jsonl", two, TWO));
    const size_t whole = z.size;
    put_directory(0);
    expect(read_zip(whole, NULL), "b:0 b:1 c:0 c:1 d:0 d:1 ", "zip-end ");
    expect(read_zip(whole - 1, NULL), "b:0 b:1 c:0 c:1 d:0 d:1 ", "zip-cut ");
}

static void a_member_that_lies_about_itself_is_stopped(void **state)
{
    static const struct {
        int field;
        const char *files, *code;
    } cases[] = {
        { 0, "a:0 ", "zip-size " },     /* inflates to more than declared */
        { 1, "a:0 a:1 ", "zip-size " }, /* to less */
        { 2, "a:0 a:1 ", "zip-crc " },  /* CRC */
        { 3, "a:0 a:1 ", "zip-crc " },  /* CRC 0 */
        { 4, "", "zip-encrypted " },    { 5, "", "zip-method " },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&z, 0, sizeof z);
        struct entry e = deflated("a.jsonl", two, TWO);
        if (cases[i].field == 0)
            e.size = sizeof DOC("one") - 1 + 3;
        else if (cases[i].field == 1)
            e.size++;
        else if (cases[i].field == 2)
            e.crc ^= 1;
        else if (cases[i].field == 3)
            e.crc = 0;
        else if (cases[i].field == 4)
            e.flags = 1;
        else
            e.method = 12;
        put_entry(e);
        put_directory(0);
        expect(read_zip(z.size, NULL), cases[i].files, cases[i].code);
    }
    memset(&z, 0, sizeof z);
    struct entry e = stored("a.jsonl", two);
    e.size--;
    put_entry(e);
    put_directory(0);
    expect(read_zip(z.size, NULL), "", "zip-size ");
}

static void damaged_data_give_what_comes_before(void **state)
{
    (void)state;
    put_entry(deflated("a.jsonl", two, TWO));
    put_entry(stored("b.jsonl", two));
    z.data[30 + 7] = 0x07; /* a block of the reserved type */
    put_directory(0);
    snprintf(path, sizeof path, "%s/other.zip", folder); /* no namesake: both are read */
    expect(read_zip(z.size, NULL), "b:0 b:1 ", "zip-data ");
}

/* Where the directory and a local header differ in the byte at `at` of the header. */
static void local_header_and_directory_must_agree(void **state)
{
    static const size_t fields[] = { 6, 8, 14, 18, 22, 26, 30 };
    (void)state;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        memset(&z, 0, sizeof z);
        put_entry(deflated("a.jsonl", two, TWO));
        z.data[fields[i]] ^= 2;
        put_directory(0);
        expect(read_zip(z.size, NULL), "", "zip-mismatch ");
    }
}

static void members_that_share_bytes_are_refused(void **state)
{
    (void)state;
    put_entry(stored("b.jsonl", two));
    z.entries[1] = z.entries[0]; /* twice the same body */
    z.entries[1].name = "c.jsonl";
    z.count = 2;
    put_directory(0);
    expect(read_zip(z.size, NULL), "", "zip-overlap ");

    memset(&z, 0, sizeof z);
    put_entry(stored("a.jsonl", two));
    z.entries[0].packed = z.entries[0].size = 100000; /* into the directory */
    put_directory(0);
    expect(read_zip(z.size, NULL), "", "zip-overlap ");
}

static void end_records_are_not_guessed(void **state)
{
    (void)state;
    put_entry(stored("a.jsonl", two));
    put_directory(22);
    uint8_t fake[22] = "PK\5\6"; /* an end record in the comment of the other */
    put(fake, 22);
    expect(read_zip(z.size, NULL), "", "zip-two-ends ");

    memset(&z, 0, sizeof z);
    put_entry(stored("a.jsonl", two));
    put_directory(3);
    put("abc", 3);
    expect(read_zip(z.size, NULL), "a:0 a:1 ", "");
    put("d", 1); /* longer than the comment: no end record ends here */
    expect(read_zip(z.size, NULL), "a:0 a:1 ", "zip-end ");
}

static void a_shifted_or_split_archive_is_refused(void **state)
{
    (void)state;
    put_entry(stored("a.jsonl", two));
    put_directory(0);
    store_u32le(z.data + z.size - 22 + 16, load_u32le(z.data + z.size - 22 + 16) - 1);
    expect(read_zip(z.size, NULL), "", "zip-prepended ");
    memset(&z, 0, sizeof z);
    put_entry(stored("a.jsonl", two));
    put_directory(0);
    z.data[z.size - 22 + 4] = 1; /* number of this disk */
    expect(read_zip(z.size, NULL), "", "zip-disks ");
    z.data[z.size - 22 + 4] = 0;
    z.data[z.size - 22 + 10]++; /* more entries than there are */
    z.data[z.size - 22 + 8]++;
    expect(read_zip(z.size, NULL), "", "zip-directory ");
}

/* A 64-bit extra area with `n` fields. */
static void put_extra64(size_t directory_entry, const uint64_t *fields, size_t n)
{
    uint8_t extra[64];
    store_u16le(extra, 1);
    store_u16le(extra + 2, (uint16_t)(8 * n));
    for (size_t i = 0; i < n; i++)
        store_u64le(extra + 4 + 8 * i, fields[i]);
    store_u16le(z.data + directory_entry + 30, (uint16_t)(4 + 8 * n));
    const size_t at = directory_entry + 46 + strlen("a.jsonl"), size = 4 + 8 * n;
    memmove(z.data + at + size, z.data + at, z.size - at);
    memcpy(z.data + at, extra, size);
    z.size += size;
    uint8_t *end = z.data + z.size - 22;
    store_u32le(end + 12, load_u32le(end + 12) + (uint32_t)size);
}

static void sizes_of_64_bits_are_taken_in_their_order(void **state)
{
    (void)state;
    for (int what = 0; what < 4; what++) {
        memset(&z, 0, sizeof z);
        put_entry(stored("a.jsonl", two));
        const size_t at = z.size;
        put_directory(0);
        store_u32le(z.data + at + 24, 0xffffffffu); /* size */
        store_u32le(z.data + at + 42, 0xffffffffu); /* header */
        const uint64_t good[] = { TWO, 0 }, huge[] = { UINT64_MAX, 0 };
        if (what == 0)
            put_extra64(at, good, 2);
        else if (what == 1)
            put_extra64(at, good, 1); /* the second field is missing */
        else if (what == 2)
            put_extra64(at, huge, 2);
        const struct result r = read_zip(z.size, NULL);
        if (what == 0)
            expect(r, "a:0 a:1 ", "");
        else
            expect(r, "", what == 2 ? "zip-mismatch " : "zip-extra64 ");
    }
}

static void limits_hold_just_below_and_just_above(void **state)
{
    struct source_limits limits;
    (void)state;
    put_entry(stored("b.jsonl", two));
    put_entry(stored("c.jsonl", two));
    put_directory(0);
    source_limits_init(&limits);
    limits.max_members = 2;
    expect(read_zip(z.size, &limits), "b:0 b:1 c:0 c:1 ", "");
    limits.max_members = 1;
    expect(read_zip(z.size, &limits), "", "limit-members ");
    source_limits_init(&limits);
    limits.max_name = 7;
    expect(read_zip(z.size, &limits), "b:0 b:1 c:0 c:1 ", "");
    limits.max_name = 6;
    expect(read_zip(z.size, &limits), "", "limit-name ");
}

/* One flipped bit anywhere: never more than two documents, never silence about a changed byte of what
 * the archive says of itself or holds. */
static void any_flipped_bit_is_told(void **state)
{
    (void)state;
    struct entry e = deflated("a.jsonl", two, TWO);
    put_entry(e);
    put_directory(0);
    int told = 0, silent = 0;
    for (size_t bit = 0; bit < z.size * 8; bit++) {
        z.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        const struct result r = read_zip(z.size, NULL);
        assert_true(r.documents <= 2);
        told += r.damaged > 0;
        silent += r.damaged == 0 && r.documents != 2;
        z.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_int_equal(silent, 0);
    assert_true(told > (int)z.size * 4);
}

static void reading_fails_cleanly_at_every_allocation_and_call(void **state)
{
    (void)state;
    put_entry(deflated("a.jsonl", two, TWO));
    const size_t whole = z.size;
    put_directory(0);
    for (int what = 0; what < 4; what++) {
        bool done = false;
        write_zip(what < 2 ? z.size : whole);
        for (uint64_t k = 1; !done; k++) {
            struct source *s = NULL;
            struct error err = { 0 };
            if (what & 1)
                file_fail_at(k, 5, false);
            else
                mem_fail_at(k, false);
            enum status st = source_open_mmc4(&s, path, "x", NULL, &err);
            while (st == ST_OK || st == ST_SKIP) {
                const struct document *d = NULL;
                struct source_damage damage;
                if (st == ST_SKIP)
                    error_clear(&err);
                st = source_next(s, &d, &damage, &err);
            }
            mem_fail_at(0, false);
            file_fail_at(0, 0, false);
            source_close(&s);
            done = st == ST_END;
            if (!done && err.cause != (what & 1 ? CAUSE_IO : CAUSE_NOMEM))
                fail_msg("call %d: %s", (int)k, err.text);
            assert_true(k < 200);
        }
    }
}

#define WITH_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FOLDER(the_member_called_like_the_zip_is_read_alone),
        WITH_FOLDER(otherwise_every_jsonl_member_in_the_directorys_order),
        WITH_FOLDER(sizes_that_follow_the_data_are_read),
        WITH_FOLDER(a_zip_without_lines_is_damaged),
        WITH_FOLDER(a_cut_zip_gives_every_line_before_the_cut),
        WITH_FOLDER(members_of_a_cut_zip_are_walked),
        WITH_FOLDER(a_member_that_lies_about_itself_is_stopped),
        WITH_FOLDER(damaged_data_give_what_comes_before),
        WITH_FOLDER(local_header_and_directory_must_agree),
        WITH_FOLDER(members_that_share_bytes_are_refused),
        WITH_FOLDER(end_records_are_not_guessed),
        WITH_FOLDER(a_shifted_or_split_archive_is_refused),
        WITH_FOLDER(sizes_of_64_bits_are_taken_in_their_order),
        WITH_FOLDER(limits_hold_just_below_and_just_above),
        WITH_FOLDER(any_flipped_bit_is_told),
        WITH_FOLDER(reading_fails_cleanly_at_every_allocation_and_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
