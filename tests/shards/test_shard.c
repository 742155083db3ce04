/* tests/shards/test_shard.c: what was written is read, by our reader as by liblmdb, and the same
 * content gives the same bytes. */
#include "tests/shards/fixture.h"

#include <errno.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "shards/page_reader.h"

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

static void a_sequence_comes_back_field_by_field(void **state)
{
    struct fixture_random r = { 7 };
    const struct sample_slot slot = shard_facts_slot(fixture_facts(false));
    struct sample_image picture = { .codec = IMAGE_WEBP, .width = 3, .original_hash = { 1, 2 } };

    (void)state;
    for (int i = 0; i < 300; i++) {
        struct arena arena;
        struct buffer bytes;
        struct sample back;
        struct error err = { 0 };
        arena_init(&arena, 0);
        buffer_init(&bytes);
        const struct sample s = fixture_sample(&r, &arena, i % 2, &picture, 1);
        assert_int_equal(sample_encode(&bytes, &s, &slot, &err), ST_OK);
        assert_int_equal(sample_decode(&back, &arena, bytes.data, bytes.size, &slot, &err), ST_OK);
        fixture_assert_equal(&s, &back);
        buffer_clear(&bytes);
        arena_clear(&arena);
    }
}

static void a_sequence_cut_at_any_byte_is_refused(void **state)
{
    struct fixture_random r = { 8 };
    const struct sample_slot slot = shard_facts_slot(fixture_facts(true));
    struct sample_image picture = { .codec = IMAGE_WEBP, .width = 3 };
    struct arena arena;
    struct buffer bytes;
    struct sample back;

    (void)state;
    arena_init(&arena, 0);
    buffer_init(&bytes);
    const struct sample s = fixture_sample(&r, &arena, true, &picture, 1);
    assert_int_equal(sample_encode(&bytes, &s, &slot, NULL), ST_OK);
    for (size_t cut = 0; cut < bytes.size; cut++) {
        struct error err = { 0 };
        uint8_t *prefix = test_copy_exact(bytes.data, cut);
        assert_int_equal(sample_decode(&back, &arena, prefix, cut, &slot, &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_FORMAT);
        free(prefix);
    }
    buffer_clear(&bytes);
    arena_clear(&arena);
}

static void a_sequence_that_contradicts_itself_is_not_written(void **state)
{
    struct fixture_random r = { 9 };
    const struct sample_slot slot = shard_facts_slot(fixture_facts(false));
    struct sample_image picture = { .codec = IMAGE_WEBP };
    struct arena arena;
    struct buffer bytes;
    struct error err = { 0 };

    (void)state;
    arena_init(&arena, 0);
    buffer_init(&bytes);
    struct sample s = fixture_sample(&r, &arena, false, &picture, 1);
    uint16_t *ids = arena_alloc(&arena, s.token_count, sizeof *ids);
    memcpy(ids, s.ids, s.token_count * sizeof *ids);
    s.ids = ids;
    ids[s.images[0].soi + 2] = 5; /* a slot that is not whole */
    assert_int_equal(sample_encode(&bytes, &s, &slot, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    error_clear(&err);
    ids[s.images[0].soi + 2] = slot.sniffer;
    s.image_count--; /* a slot without image */
    assert_int_equal(sample_encode(&bytes, &s, &slot, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    buffer_clear(&bytes);
    arena_clear(&arena);
}

/* Every record of `path` by liblmdb and by page_reader. */
static void compare_readers(const char *path)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_dbi dbi;
    MDB_val key, value;
    struct page_reader *r = NULL;
    struct buffer memory;
    struct error err = { 0 };
    uint64_t n = 0;

    buffer_init(&memory);
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_RDONLY, 0), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    assert_int_equal(mdb_cursor_open(txn, dbi, &cursor), 0);
    assert_int_equal(page_reader_open(&r, path, &err), ST_OK);
    while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
        const uint8_t *data = NULL;
        size_t size = 0;
        assert_int_equal(
            page_reader_get(r, key.mv_data, key.mv_size, UINT32_MAX, &memory, &data, &size, &err),
            ST_OK);
        assert_int_equal(size, value.mv_size);
        assert_memory_equal(data, value.mv_data, size);
        n++;
    }
    assert_int_equal(n, page_reader_entries(r));
    assert_true(n > 50);
    page_reader_close(&r);
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    mdb_env_close(env);
    buffer_clear(&memory);
}

static void our_reader_equals_liblmdb_on_every_record(void **state)
{
    const struct fixture_options small = { .seed = 1, .sequences = 40, .max_picture = 900 };
    const struct fixture_options large = { .seed = 2,
                                           .sequences = 120,
                                           .max_picture = 300000, /* several commits */
                                           .dictionary = true };
    const struct fixture_options deep = { .seed = 3, .sequences = 4000, .max_picture = 40 };
    const struct fixture_options *const all[] = { &small, &large, &deep };
    uint8_t sha256[32];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        char *path = str_format("%s/equal-%zu.mdb", folder, i);
        fixture_shard(all[i], 0, path, sha256);
        compare_readers(path);
        unlink(path);
        mem_free(path);
    }
}

/* In a child whose heap is full of `poison`. */
static void shard_in_child(const struct fixture_options *opt, const char *path, const char *poison)
{
    const pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        setenv("DEEM_TEST_SHARD", path, 1);
        setenv("GLIBC_TUNABLES", poison, 1);
        char large[2] = { opt->max_picture > 1000 ? '1' : '0', '\0' };
        execl("/proc/self/exe", "test", "--write", large, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
}

static const struct fixture_options poisoned[] = {
    { .seed = 5, .sequences = 60, .max_picture = 900, .dictionary = true, .instruct = true },
    { .seed = 6, .sequences = 200, .max_picture = 200000 },
};

static void the_same_content_is_the_same_bytes_on_a_poisoned_heap(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char *a = str_format("%s/a.mdb", folder), *b = str_format("%s/b.mdb", folder);
        size_t size_a = 0, size_b = 0;
        shard_in_child(&poisoned[i], a, "glibc.malloc.perturb=165");
        shard_in_child(&poisoned[i], b, "glibc.malloc.perturb=90");
        uint8_t *x = test_read_file(a, &size_a), *y = test_read_file(b, &size_b);
        assert_int_equal(size_a, size_b);
        assert_memory_equal(x, y, size_a);
        free(x);
        free(y);
        mem_free(a);
        mem_free(b);
    }
}

static void equal_pictures_are_stored_once(void **state)
{
    const struct fixture_options opt = { .seed = 4, .sequences = 5, .max_picture = 500 };
    uint8_t sha256[32];
    char *path = str_format("%s/once.mdb", folder);
    struct shard_reader *r = NULL;
    struct buffer memory;
    struct shard_picture p;
    struct error err = { 0 };

    (void)state;
    buffer_init(&memory);
    fixture_shard(&opt, 0, path, sha256); /* gives each of its pictures twice */
    assert_int_equal(shard_reader_open(&r, path, NULL, &err), ST_OK);
    assert_int_equal(shard_reader_pictures(r), 15);
    assert_int_equal(shard_reader_sequences(r), 5);
    for (uint32_t i = 0; i < 15; i++) {
        assert_int_equal(shard_reader_picture(r, i, &memory, &p, &err), ST_OK);
        assert_true(hash128_equal(p.hash, hash_xxh3_128(p.data, p.size)));
        assert_int_equal(p.codec, i % 3 == 1 ? IMAGE_PNG : IMAGE_JPEG);
        assert_int_equal(p.height, 20);
    }
    assert_int_equal(shard_reader_picture(r, 15, &memory, &p, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    shard_reader_close(&r);
    buffer_clear(&memory);
    mem_free(path);
}

static void ids_become_text_by_the_pieces_in_the_shard(void **state)
{
    const struct fixture_options opt = { .seed = 4, .sequences = 1, .max_picture = 50 };
    const uint16_t ids[] = { 1,   259, 3 + 'a', 260, 300,      301,      301,     301,
                             301, 261, 302,     2,   3 + 0xc3, 3 + 0xa9, 3 + 0xff };
    uint8_t sha256[32];
    char *path = str_format("%s/text.mdb", folder);
    struct shard_reader *r = NULL;
    struct pieces *pieces = NULL;
    struct buffer text;
    struct error err = { 0 };

    (void)state;
    buffer_init(&text);
    fixture_shard(&opt, 0, path, sha256);
    assert_int_equal(shard_reader_open(&r, path, NULL, &err), ST_OK);
    assert_int_equal(shard_reader_pieces(r, &pieces, &err), ST_OK);
    assert_int_equal(pieces_decode(pieces, &text, ids, sizeof ids / sizeof *ids, &err), ST_OK);
    assert_int_equal(buffer_append(&text, "", 1, &err), ST_OK);
    assert_string_equal((const char *)text.data,
                        "<s>w259a w260<image>w261<ref></s>\xc3\xa9\xef\xbf\xbd");
    pieces_close(&pieces);
    shard_reader_close(&r);
    buffer_clear(&text);
    mem_free(path);
}

/* Every allocation of ours on the way fails once: an error, no leak, no half-made reader. */
static void opening_a_shard_survives_every_failed_allocation(void **state)
{
    const struct fixture_options opt = {
        .seed = 11, .shards = 2, .sequences = 4, .max_picture = 300, .dictionary = true
    };
    char *where = str_format("%s/alloc", folder);
    struct error err = { 0 };
    bool opened = false;

    (void)state;
    fixture_dataset(&opt, where);
    for (uint64_t k = 1; !opened; k++) {
        struct dataset *d = NULL;
        struct shard_reader *r = NULL;
        struct arena arena;
        struct sample s;
        arena_init(&arena, 0);
        error_clear(&err);
        mem_fail_at(k, false);
        enum status st = dataset_open(&d, where, &err);
        if (st == ST_OK)
            st = dataset_shard(d, 1, &r, &err);
        if (st == ST_OK)
            st = shard_reader_sequence(r, 0, &s, &arena, &err);
        mem_fail_at(0, false);
        opened = st == ST_OK;
        if (!opened)
            assert_int_equal(err.cause, CAUSE_NOMEM);
        shard_reader_close(&r);
        dataset_close(&d);
        arena_clear(&arena);
        assert_true(k < 5000);
    }
    mem_free(where);
}

/* Writes a shard of one sequence; allocation or system call `k` of each half fails. */
static enum status write_failing(uint64_t k, bool files, const char *path, const char *to,
                                 struct error *err)
{
    struct fixture_random r = { 3 };
    const uint8_t bytes[64] = { 1 };
    const struct image_info info = { .codec = IMAGE_GIF, .width = 2, .height = 2 };
    struct sample_image picture = {
        .codec = info.codec, .width = 2, .height = 2, .bytes = sizeof bytes
    };
    struct shard_writer *w = NULL;
    struct shard_writer_options opt;
    struct unit_facts unit;
    struct arena arena;
    uint8_t sha256[32];
    char *digest = str_format("%s.sha256", to);
    size_t at = 0;

    arena_init(&arena, 0);
    unit_facts_init(&unit);
    shard_writer_options_init(&opt);
    opt.facts = fixture_facts(false);
    mem_fail_at(files ? 0 : k, false);
    file_fail_at(files ? k : 0, EIO, false);
    enum status st = shard_writer_open(&w, path, &opt, err);
    if (st == ST_OK)
        st = shard_writer_picture(w, bytes, sizeof bytes, &info, &picture.picture, &picture.hash,
                                  err);
    mem_fail_at(0, false);
    const struct sample s = fixture_sample(&r, &arena, false, &picture, 1);
    mem_fail_at(files ? 0 : k, false);
    if (st == ST_OK)
        st = shard_writer_sequence(w, &s, err);
    if (st == ST_OK)
        st = unit_facts_input(&unit, "a", "a", 1, &at, err);
    if (st == ST_OK)
        st = unit_facts_input(&unit, "b", "b", 1, &at, err);
    if (st == ST_OK)
        st = shard_writer_seal(w, &unit, to, digest, sha256, err);
    mem_fail_at(0, false);
    file_fail_at(0, 0, false);
    shard_writer_close(&w);
    unit_facts_clear(&unit);
    arena_clear(&arena);
    mem_free(digest);
    return st;
}

static void writing_a_shard_survives_every_failure(void **state)
{
    char *path = str_format("%s/w.mdb", folder), *to = str_format("%s/final.mdb", folder);

    (void)state;
    for (int files = 0; files < 2; files++) {
        bool written = false;
        for (uint64_t k = 1; !written; k++) {
            struct error err = { 0 };
            struct shard_reader *r = NULL;
            written = write_failing(k, files != 0, path, to, &err) == ST_OK;
            if (!written)
                assert_true(err.cause == CAUSE_NOMEM || (files && err.cause == CAUSE_IO) ||
                            (files && err.cause == CAUSE_CREATE));
            assert_int_equal(access(path, F_OK), -1); /* no unsealed file is left behind */
            if (access(to, F_OK) == 0) {              /* what is sealed is whole */
                assert_int_equal(shard_reader_open(&r, to, NULL, NULL), ST_OK);
                shard_reader_close(&r);
                unlink(to);
            }
            assert_true(k < 5000);
        }
    }
    mem_free(path);
    mem_free(to);
}

static int write_one(const char *which)
{
    uint8_t sha256[32];
    fixture_shard(&poisoned[which[0] == '1'], 0, getenv("DEEM_TEST_SHARD"), sha256);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sequence_comes_back_field_by_field),
        cmocka_unit_test(a_sequence_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_sequence_that_contradicts_itself_is_not_written),
        cmocka_unit_test(our_reader_equals_liblmdb_on_every_record),
        cmocka_unit_test(the_same_content_is_the_same_bytes_on_a_poisoned_heap),
        cmocka_unit_test(equal_pictures_are_stored_once),
        cmocka_unit_test(ids_become_text_by_the_pieces_in_the_shard),
        cmocka_unit_test(opening_a_shard_survives_every_failed_allocation),
        cmocka_unit_test(writing_a_shard_survives_every_failure),
    };
    if (argc > 2 && strcmp(argv[1], "--write") == 0)
        return write_one(argv[2]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
