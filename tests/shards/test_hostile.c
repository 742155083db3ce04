/* tests/shards/test_hostile.c: shards whose hashes are right and whose content is not (SHD6, SHD7 of spec
 * robustness.md): made by liblmdb directly, value by value. */
#include "tests/shards/fixture.h"

#include <lmdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include "core/bytes.h"
#include "shards/value_private.h"

static char *folder;

static int set_up(void **state)
{
    (void)state;
    folder = test_temp_folder();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_remove_tree(folder);
    free(folder);
    return 0;
}

struct record {
    char kind;
    unsigned flags;
    uint32_t plain; /* claimed */
    const void *payload;
    size_t size;
};

static void put(MDB_txn *txn, MDB_dbi dbi, const struct record *rec)
{
    uint8_t key[VALUE_KEY];
    uint8_t *value = calloc(1, VALUE_HEAD + rec->size);
    struct hash_stream *hash = NULL;
    const struct value_place place = { fixture_facts(false)->identity, 0,
                                       (enum value_kind)rec->kind, 0 };

    memcpy(value + VALUE_HEAD, rec->payload, rec->size);
    assert_int_equal(hash_stream_open(&hash, HASH_XXH3_64, NULL), ST_OK);
    value_seal(value, VALUE_HEAD + rec->size, rec->flags, rec->plain, &place, hash);
    value_key(key, place.kind, 0);
    MDB_val k = { sizeof key, key }, v = { VALUE_HEAD + rec->size, value };
    assert_int_equal(mdb_put(txn, dbi, &k, &v, 0), 0);
    hash_stream_close(&hash);
    free(value);
}

/* A shard of one sequence and one picture by its unit record; opened. */
static struct shard_reader *make(const struct record *records, size_t count, unsigned db_flags,
                                 struct error *err)
{
    char *path = str_format("%s/hostile.mdb", folder);
    struct unit_facts unit = { .sequences = 1, .pictures = 1, .images = 1, .tokens = 7 };
    struct shard_reader *r = NULL;
    struct buffer text;
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi;
    size_t at = 0;

    unlink(path);
    buffer_init(&text);
    assert_int_equal(unit_facts_input(&unit, "a", "a", 1, &at, NULL), ST_OK);
    assert_int_equal(facts_encode(&text, fixture_facts(false), &unit, NULL), ST_OK);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, db_flags, &dbi), 0);
    for (size_t i = 0; i < count; i++)
        put(txn, dbi, &records[i]);
    const struct record u = { 'U', 0, (uint32_t)text.size, text.data, text.size };
    put(txn, dbi, &u);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    if (shard_reader_open(&r, path, NULL, err) != ST_OK)
        assert_null(r);
    unit_facts_clear(&unit);
    buffer_clear(&text);
    mem_free(path);
    return r;
}

/* A frame of `plain` bytes 'x'; options as zstd has them. */
static size_t frame(uint8_t *out, size_t cap, size_t plain, int checksum, int content_size)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    char *data = malloc(plain + 1);

    memset(data, 'x', plain);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, content_size);
    const size_t n = ZSTD_compress2(c, out, cap, data, plain);
    assert_false(ZSTD_isError(n));
    ZSTD_freeCCtx(c);
    free(data);
    return n;
}

static void expect_refused(const struct record *sequence, const char *word)
{
    const struct record picture = { 'P', 0, 40, "\1\0\0\0abcdefghijklmnopqrstuvwxyz0123456789",
                                    40 };
    const struct record both[2] = { picture, *sequence };
    struct error err = { 0 };
    struct shard_reader *r = make(both, 2, 0, &err);
    struct arena arena;
    struct sample s;

    assert_non_null(r);
    arena_init(&arena, 0);
    assert_int_equal(shard_reader_sequence(r, 0, &s, &arena, &err), ST_FAIL);
    assert_true(err.cause == CAUSE_FORMAT || err.cause == CAUSE_LIMIT);
    if (!strstr(err.text, word))
        fail_msg("\"%s\" lacks \"%s\"", err.text, word);
    assert_non_null(strstr(err.text, "hostile.mdb"));
    shard_reader_close(&r);
    arena_clear(&arena);
}

static void a_frame_that_is_not_the_one_that_is_stated_is_refused(void **state)
{
    static uint8_t z[1 << 16], two[1 << 16];
    const size_t good = frame(z, sizeof z, 1000, 1, 1);

    (void)state;
    expect_refused(&(struct record){ 'S', 0, 1000, z, good }, "not compressed");
    expect_refused(&(struct record){ 'S', 1, 999, z, good }, "does not hold");
    expect_refused(&(struct record){ 'S', 1, UINT32_MAX, z, good }, "allowed");
    expect_refused(&(struct record){ 'S', 3, 1000, z, good }, "dictionary 0 is not in the shard");
    expect_refused(&(struct record){ 'S', 4, 1000, z, good }, "flags");
    expect_refused(&(struct record){ 'S', 1, 1000, z, good - 1 }, "whole frame");
    memcpy(two, z, good);
    memcpy(two + good, z, good);
    expect_refused(&(struct record){ 'S', 1, 1000, two, 2 * good }, "whole frame");
    memcpy(two, "\x50\x2a\x4d\x18\0\0\0\0", 8); /* a skippable frame in front */
    memcpy(two + 8, z, good);
    expect_refused(&(struct record){ 'S', 1, 1000, two, 8 + good }, "whole frame");
    expect_refused(&(struct record){ 'S', 1, 1000, z, frame(z, sizeof z, 1000, 0, 1) },
                   "no checksum");
    expect_refused(&(struct record){ 'S', 1, 1000, z, frame(z, sizeof z, 1000, 1, 0) },
                   "does not hold");
    expect_refused(&(struct record){ 'S', 1, 1000, z, frame(z, sizeof z, 1000, 1, 1) }, "head");
    expect_refused(&(struct record){ 'S', 1, 0, "", 0 }, "whole frame");
    expect_refused(&(struct record){ 'S', 1, 4, "\xFD\x2F\xB5\x28", 4 }, "whole frame");
}

static void a_window_of_two_gigabytes_is_refused(void **state)
{
    /* magic; descriptor: checksum, 8-byte content size; window 2^31; content size 2^63 */
    const uint8_t z[] = { 0x28, 0xB5, 0x2F, 0xFD, 0xC4, 0xA8, 0,    0,    0, 0,
                          0,    0,    0,    0x80, 0x01, 0x00, 0x00, 0x00, 0, 0 };

    (void)state;
    expect_refused(&(struct record){ 'S', 1, 1000, z, sizeof z }, "zstd");
}

static void a_picture_with_a_false_head_is_refused(void **state)
{
    static const char *const heads[] = { "\0\0\0\0", "\6\0\0\0", "\1\1\0\0", "\1\0\0\2" };
    uint8_t payload[40] = { 0 };
    struct buffer memory;
    struct shard_picture p;

    (void)state;
    buffer_init(&memory);
    for (size_t i = 0; i < 5; i++) {
        const size_t size = i == 4 ? PICTURE_HEAD : sizeof payload; /* the last one is empty */
        struct error err = { 0 };
        memcpy(payload, heads[i % 4], 4);
        if (i == 4)
            payload[0] = 1;
        const struct record rec[2] = { { 'P', 0, (uint32_t)size, payload, size },
                                       { 'S', 0, 1, "x", 1 } };
        struct shard_reader *r = make(rec, 2, 0, &err);
        assert_non_null(r);
        assert_int_equal(shard_reader_picture(r, 0, &memory, &p, &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_FORMAT);
        shard_reader_close(&r);
    }
    buffer_clear(&memory);
}

static void a_database_with_other_flags_is_refused(void **state)
{
    const struct record rec = { 'S', 0, 1, "x", 1 };
    struct error err = { 0 };

    (void)state;
    assert_null(make(&rec, 1, MDB_REVERSEKEY, &err));
    assert_non_null(strstr(err.text, "flags"));
    error_clear(&err);
    assert_null(make(&rec, 1, 0, &err)); /* counts two records, holds one */
    assert_non_null(strstr(err.text, "more records"));
}

/* SHD4: cut and removed while it is open. */
static void a_shard_cut_while_it_is_open_is_an_error(void **state)
{
    const struct fixture_options opt = { .seed = 8, .sequences = 30, .max_picture = 9000 };
    uint8_t sha256[32];
    char *path = str_format("%s/open.mdb", folder);
    struct shard_reader *r = NULL;
    struct buffer memory;
    struct shard_picture p;
    struct error err = { 0 };
    unsigned failed = 0;

    (void)state;
    buffer_init(&memory);
    fixture_shard(&opt, 0, path, sha256);
    assert_int_equal(shard_reader_open(&r, path, NULL, &err), ST_OK);
    assert_int_equal(truncate(path, 20000), 0);
    for (uint32_t i = 0; i < shard_reader_pictures(r); i++, error_clear(&err))
        failed += shard_reader_picture(r, i, &memory, &p, &err) == ST_FAIL;
    assert_true(failed > 50);
    shard_reader_close(&r);
    buffer_clear(&memory);
    mem_free(path);
}

/* SHD9, by a limit on the file's size: an error that says so, and nothing left behind. */
static void a_file_that_may_not_grow_is_an_error(void **state)
{
    char *path = str_format("%s/full.mdb", folder);
    const pid_t pid = fork();

    (void)state;
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit limit = { 1 << 20, 1 << 20 };
        const struct image_info info = { .codec = IMAGE_GIF, .width = 2, .height = 2 };
        static uint8_t bytes[8 << 20];
        struct shard_writer_options opt;
        struct shard_writer *w = NULL;
        struct error err = { 0 };
        struct hash128 hash;
        uint32_t number = 0;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        shard_writer_options_init(&opt);
        opt.facts = fixture_facts(false);
        enum status st = shard_writer_open(&w, path, &opt, &err);
        for (uint8_t i = 0; st == ST_OK && i < 4; i++) {
            bytes[0] = i;
            st = shard_writer_picture(w, bytes, sizeof bytes, &info, &number, &hash, &err);
        }
        shard_writer_close(&w);
        _exit(st == ST_FAIL && err.cause == CAUSE_IO && access(path, F_OK) != 0 ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_that_is_not_the_one_that_is_stated_is_refused),
        cmocka_unit_test(a_window_of_two_gigabytes_is_refused),
        cmocka_unit_test(a_picture_with_a_false_head_is_refused),
        cmocka_unit_test(a_database_with_other_flags_is_refused),
        cmocka_unit_test(a_shard_cut_while_it_is_open_is_an_error),
        cmocka_unit_test(a_file_that_may_not_grow_is_an_error),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
