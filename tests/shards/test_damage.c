/* tests/shards/test_damage.c: damage is an error, never a signal and never another value. T9 and SHD1,
 * SHD2, SHD5 of spec robustness.md. */
#include "tests/shards/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"

static unsigned flip_count = 1500; /* or the first argument */
static const struct fixture_options opt = { .seed = 21,
                                            .shards = 1,
                                            .sequences = 30,
                                            .max_picture = 6000,
                                            .dictionary = true,
                                            .instruct = true };

struct context {
    char *folder, *path, *damaged;
    uint8_t *bytes;
    size_t size;
    struct arena arena; /* of the sequences */
    struct sample *sequences;
    struct hash128 *pictures;
    uint64_t sequence_count, picture_count;
};

static void write_bytes(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    struct context *c = calloc(1, sizeof *c);
    struct shard_reader *r = NULL;
    struct shard_picture p;
    struct buffer memory;
    struct error err = { 0 };

    *state = c;
    c->folder = test_temp_folder();
    c->path = str_format("%s/good", c->folder);
    fixture_dataset(&opt, c->path);
    mem_free(c->path);
    c->path = str_format("%s/good/shards/000000.mdb", c->folder);
    c->damaged = str_format("%s/damaged.mdb", c->folder);
    c->bytes = test_read_file(c->path, &c->size);
    assert_int_equal(shard_reader_open(&r, c->path, NULL, &err), ST_OK);
    c->sequence_count = shard_reader_sequences(r);
    c->picture_count = shard_reader_pictures(r);
    c->sequences = calloc(c->sequence_count, sizeof *c->sequences);
    c->pictures = calloc(c->picture_count, sizeof *c->pictures);
    arena_init(&c->arena, 0);
    buffer_init(&memory);
    for (uint64_t i = 0; i < c->sequence_count; i++)
        assert_int_equal(shard_reader_sequence(r, i, &c->sequences[i], &c->arena, &err), ST_OK);
    for (uint32_t i = 0; i < c->picture_count; i++) {
        assert_int_equal(shard_reader_picture(r, i, &memory, &p, &err), ST_OK);
        c->pictures[i] = hash_xxh3_128(p.data, p.size);
    }
    buffer_clear(&memory);
    shard_reader_close(&r);
    return 0;
}

static int tear_down(void **state)
{
    struct context *c = *state;
    test_remove_tree(c->folder);
    free(c->folder);
    mem_free(c->path);
    mem_free(c->damaged);
    free(c->bytes);
    free(c->sequences);
    free(c->pictures);
    arena_clear(&c->arena);
    free(c);
    return 0;
}

/* Reads all of the damaged file: what comes is what was written. True when anything failed. */
static bool read_all(const struct context *c)
{
    struct shard_reader *r = NULL;
    struct shard_picture p;
    struct arena arena;
    struct buffer memory;
    struct sample s;
    struct error err = { 0 };
    bool failed = false;

    if (shard_reader_open(&r, c->damaged, NULL, &err) != ST_OK) {
        assert_non_null(strstr(err.text, c->damaged)); /* the error names the shard */
        return true;
    }
    arena_init(&arena, 0);
    buffer_init(&memory);
    if (shard_reader_sequences(r) != c->sequence_count)
        failed = true;
    for (uint64_t i = 0; i < shard_reader_sequences(r); i++) {
        error_clear(&err);
        if (shard_reader_sequence(r, i, &s, &arena, &err) == ST_OK)
            fixture_assert_equal(&s, &c->sequences[i]);
        else
            failed = true;
    }
    for (uint32_t i = 0; i < shard_reader_pictures(r); i++) {
        error_clear(&err);
        if (shard_reader_picture(r, i, &memory, &p, &err) == ST_OK)
            assert_true(hash128_equal(hash_xxh3_128(p.data, p.size), c->pictures[i]));
        else
            failed = true;
    }
    shard_reader_close(&r);
    buffer_clear(&memory);
    arena_clear(&arena);
    return failed;
}

static void a_shard_cut_at_every_page_and_odd_bytes_is_refused(void **state)
{
    const struct context *c = *state;
    struct fixture_random r = { 5 };
    size_t cut = 0;

    while (cut < c->size) {
        write_bytes(c->damaged, c->bytes, cut);
        assert_true(read_all(c));
        cut = fixture_draw(&r, 2) ? (cut / 4096 + 1) * 4096 : cut + 1 + fixture_draw(&r, 4095);
    }
    write_bytes(c->damaged, c->bytes, c->size);
    assert_false(read_all(c));
}

/* Random single bits; every fourth one aims at the first bytes of a page, where the tree lies. */
static void a_flipped_bit_is_an_error_or_changes_nothing(void **state)
{
    const struct context *c = *state;
    struct fixture_random r = { 1 };
    const int fd = open(c->damaged, O_RDWR | O_CREAT | O_TRUNC, 0600);
    unsigned noticed = 0;
    const unsigned flips = flip_count;

    assert_true(fd >= 0);
    write_bytes(c->damaged, c->bytes, c->size);
    for (unsigned i = 0; i < flips; i++) {
        size_t at = fixture_draw(&r, (uint32_t)c->size);
        if (i % 4 == 0)
            at = at / 4096 * 4096 + fixture_draw(&r, 64);
        const uint8_t flipped = (uint8_t)(c->bytes[at] ^ (1u << fixture_draw(&r, 8)));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)at), 1);
        noticed += read_all(c);
        assert_int_equal(pwrite(fd, &c->bytes[at], 1, (off_t)at), 1);
    }
    close(fd);
    assert_true(noticed > flips / 2);
}

/* The check of one record without its hash would let most of these through. */
static void a_page_in_the_place_of_another_is_noticed(void **state)
{
    const struct context *c = *state;
    struct fixture_random r = { 2 };
    uint8_t *bytes = test_copy_exact(c->bytes, c->size);
    const uint32_t pages = (uint32_t)(c->size / 4096);

    for (unsigned i = 0; i < 60; i++) {
        const size_t a = fixture_draw(&r, pages) * (size_t)4096,
                     b = fixture_draw(&r, pages) * (size_t)4096;
        memcpy(bytes + a, c->bytes + b, 4096);
        write_bytes(c->damaged, bytes, c->size);
        read_all(c); /* what is read equals what was written, or is an error */
        memcpy(bytes + a, c->bytes + a, 4096);
    }
    for (unsigned i = 0; i < 60; i++) { /* a sector of zeros */
        const size_t a = fixture_draw(&r, pages * 8) * (size_t)512;
        memset(bytes + a, 0, 512);
        write_bytes(c->damaged, bytes, c->size);
        read_all(c);
        memcpy(bytes + a, c->bytes + a, 512);
    }
    free(bytes);
}

static void count_finding(void *arg, const struct error *finding)
{
    (void)finding;
    ++*(unsigned *)arg;
}

static unsigned verify(const char *folder)
{
    unsigned findings = 0;
    struct error err = { 0 };
    if (dataset_verify(folder, count_finding, &findings, &err) != ST_OK)
        fail_msg("%s", err.text);
    return findings;
}

static void verify_finds_every_flipped_bit_of_every_file(void **state)
{
    const struct context *c = *state;
    char *folder = str_format("%s/good", c->folder);
    const char *const files[] = { "shards/000000.mdb", "dataset.json", "quarantine.jsonl" };
    struct fixture_random r = { 3 };
    const unsigned flips = flip_count / 20;

    assert_int_equal(verify(folder), 0);
    for (size_t i = 0; i < 3; i++) {
        char *path = str_format("%s/%s", folder, files[i]);
        size_t size = 0;
        uint8_t *bytes = test_read_file(path, &size);
        for (unsigned k = 0; k < flips; k++) {
            const size_t at = fixture_draw(&r, (uint32_t)size);
            const uint8_t bit = (uint8_t)(1u << fixture_draw(&r, 8));
            bytes[at] ^= bit;
            write_bytes(path, bytes, size);
            assert_true(verify(folder) > 0);
            bytes[at] ^= bit;
        }
        write_bytes(path, bytes, size);
        free(bytes);
        mem_free(path);
    }
    assert_int_equal(verify(folder), 0);
    mem_free(folder);
}

/* SHD5: swapped, renamed, missing, extra, of another run. */
static void shards_in_wrong_places_are_refused_when_opened(void **state)
{
    const struct context *c = *state;
    struct fixture_options two = { .seed = 30, .shards = 2, .sequences = 6, .max_picture = 100 };
    char *folder = str_format("%s/two", c->folder), *other = str_format("%s/other", c->folder);
    struct dataset *d = NULL;
    struct shard_reader *r = NULL;
    struct error err = { 0 };

    fixture_dataset(&two, folder);
    two.seed = 31;
    fixture_dataset(&two, other);
    char *a = dataset_shard_path(folder, 0), *b = dataset_shard_path(folder, 1);
    char *aside = str_format("%s/aside", c->folder), *extra = str_format("%s/shards/x", folder);
    rename(a, aside);
    assert_int_equal(dataset_open(&d, folder, &err), ST_FAIL); /* missing */
    assert_int_equal(err.cause, CAUSE_FORMAT);
    rename(b, a);
    rename(aside, b);
    error_clear(&err);
    if (dataset_open(&d, folder, &err) == ST_OK) { /* swapped, by chance of one size */
        assert_int_equal(dataset_shard(d, 0, &r, &err), ST_FAIL);
        dataset_close(&d);
    }
    assert_true(verify(folder) > 0);
    rename(a, aside);
    rename(b, a);
    rename(aside, b);
    write_bytes(extra, c->bytes, 10);
    error_clear(&err);
    assert_int_equal(dataset_open(&d, folder, &err), ST_FAIL);
    assert_non_null(strstr(err.text, "names no such shard"));
    unlink(extra);
    assert_int_equal(verify(folder), 0);
    mem_free(folder);
    mem_free(other);
    mem_free(a);
    mem_free(b);
    mem_free(aside);
    mem_free(extra);
}

static void foreign_files_are_refused_by_name(void **state)
{
    const struct context *c = *state;
    struct shard_reader *r = NULL;
    struct error err = { 0 };
    uint8_t *bytes = test_copy_exact(c->bytes, c->size);

    bytes[20] = 2; /* LMDB 1.0 */
    write_bytes(c->damaged, bytes, c->size);
    assert_int_equal(shard_reader_open(&r, c->damaged, NULL, &err), ST_FAIL);
    assert_non_null(strstr(err.text, "version"));
    error_clear(&err);
    bytes[20] = 1;
    memcpy(bytes + 16, "\xBE\xEF\xC0\xDE", 4);
    write_bytes(c->damaged, bytes, c->size);
    assert_int_equal(shard_reader_open(&r, c->damaged, NULL, &err), ST_FAIL);
    assert_non_null(strstr(err.text, "big-endian"));
    error_clear(&err);
    assert_int_equal(shard_reader_open(&r, "/nonexistent/x", NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    free(bytes);
}

/* A failing read is an error of its own, once and for ever, and leaves nothing open. */
static void every_failed_system_call_is_an_error(void **state)
{
    const struct context *c = *state;
    char *folder = str_format("%s/good", c->folder);
    bool done = false;

    for (uint64_t k = 1; !done; k++) {
        struct dataset *d = NULL;
        struct shard_reader *r = NULL;
        struct arena arena;
        struct sample s;
        struct error err = { 0 };
        arena_init(&arena, 0);
        file_fail_at(k, EIO, false);
        enum status st = dataset_open(&d, folder, &err);
        if (st == ST_OK)
            st = dataset_shard(d, 0, &r, &err);
        if (st == ST_OK)
            st = shard_reader_sequence(r, 3, &s, &arena, &err);
        file_fail_at(0, 0, false);
        done = st == ST_OK;
        if (!done)
            assert_int_equal(err.cause, CAUSE_IO);
        shard_reader_close(&r);
        dataset_close(&d);
        arena_clear(&arena);
        assert_true(k < 1000);
    }
    mem_free(folder);
}

/* Finishing and verifying a dataset with allocation or system call k failing, for every k: an error, and
 * the next try ends as if nothing had been. */
static void finishing_and_verifying_survive_every_failure(void **state)
{
    const struct context *c = *state;
    char *folder = str_format("%s/good", c->folder), *path = dataset_manifest_path(folder);
    size_t size = 0, again = 0;
    uint8_t *manifest = test_read_file(path, &size);

    for (unsigned kind = 0; kind < 4; kind++) {
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            struct error err = { 0 };
            unsigned findings = 0;
            if (kind % 2)
                file_fail_at(k, EIO, false);
            else
                mem_fail_at(k, false);
            const enum status st = kind < 2
                                       ? dataset_finish(folder, 1, &err)
                                       : dataset_verify(folder, count_finding, &findings, &err);
            file_fail_at(0, 0, false);
            mem_fail_at(0, false);
            done = st == ST_OK && findings == 0;
            if (st == ST_FAIL)
                assert_true(err.cause == CAUSE_NOMEM || err.cause == CAUSE_IO ||
                            err.cause == CAUSE_CREATE);
            assert_true(k < 20000);
        }
    }
    assert_int_equal(dataset_finish(folder, 1, NULL), ST_OK);
    uint8_t *after = test_read_file(path, &again);
    assert_int_equal(size, again);
    assert_memory_equal(manifest, after, size);
    free(manifest);
    free(after);
    mem_free(folder);
    mem_free(path);
}

/* A change of the format needs a new version and a folder beside this one. */
static void a_dataset_of_every_format_version_is_read(void **state)
{
    (void)state;
    assert_int_equal(verify(TEST_SOURCE_DIR "/tests/data/dataset-1"), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shard_cut_at_every_page_and_odd_bytes_is_refused),
        cmocka_unit_test(a_flipped_bit_is_an_error_or_changes_nothing),
        cmocka_unit_test(a_page_in_the_place_of_another_is_noticed),
        cmocka_unit_test(verify_finds_every_flipped_bit_of_every_file),
        cmocka_unit_test(shards_in_wrong_places_are_refused_when_opened),
        cmocka_unit_test(foreign_files_are_refused_by_name),
        cmocka_unit_test(every_failed_system_call_is_an_error),
        cmocka_unit_test(finishing_and_verifying_survive_every_failure),
        cmocka_unit_test(a_dataset_of_every_format_version_is_read),
    };
    if (argc > 1)
        flip_count = (unsigned)strtoul(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
