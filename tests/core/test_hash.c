/* tests/core/test_hash.c: published digests, and the map. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/mem.h"

static void digests_are_the_published_ones(void **state)
{
    uint8_t sha[32];
    char hex[65];
    (void)state;

    hash_sha256(sha, "abc", 3); /* FIPS 180-4 */
    hash_hex(hex, sha, 32);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    hash128_hex(hex, hash_xxh3_128(NULL, 0)); /* xxHash's own test vectors, seed 0 */
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");
    assert_true(hash_xxh3_64("", 0) == 0x2d06800538d394c2u);
}

static void hex_of_128_bits_reads_back(void **state)
{
    struct hash128 h = { 0x0123456789abcdefu, 0xfedcba9876543210u }, back = { 0, 0 };
    char hex[33];
    (void)state;

    hash128_hex(hex, h);
    assert_string_equal(hex, "fedcba98765432100123456789abcdef");
    assert_true(hash128_from_hex(&back, hex, 32) && hash128_equal(h, back));
    assert_false(hash128_from_hex(&back, hex, 31));
    hex[5] = 'g';
    assert_false(hash128_from_hex(&back, hex, 32));
}

static void a_stream_in_pieces_equals_one_call(void **state)
{
    uint8_t data[3000], got[32], want[32];
    struct error err = { 0 };
    (void)state;

    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 256);
    for (int kind = HASH_XXH3_64; kind <= HASH_SHA256; kind++) {
        struct hash_stream *h = NULL;
        assert_int_equal(hash_stream_open(&h, (enum hash_kind)kind, &err), ST_OK);
        for (int again = 0; again < 2; again++) {
            for (size_t i = 0; i < sizeof data; i += 300)
                hash_stream_update(h, data + i, 300);
            hash_stream_digest(h, got);
            if (kind == HASH_SHA256) {
                hash_sha256(want, data, sizeof data);
                assert_memory_equal(got, want, 32);
            } else if (kind == HASH_XXH3_128) {
                char hex[33], mine[33];
                hash128_hex(hex, hash_xxh3_128(data, sizeof data));
                hash_hex(mine, got, 16);
                assert_string_equal(mine, hex);
            } else {
                uint64_t v = 0;
                memcpy(&v, got, 8);
                assert_true(v == hash_xxh3_64(data, sizeof data));
            }
        }
        hash_stream_close(&h);
        assert_null(h);
    }
}

static void a_file_has_the_digest_of_its_bytes(void **state)
{
    char *folder = test_temp_folder(), path[300];
    uint8_t got[32], want[32], *big = calloc(1, 600000);
    struct error err = { 0 };
    (void)state;

    snprintf(path, sizeof path, "%s/f", folder);
    assert_int_equal(file_replace(path, big, 600000, &err), ST_OK);
    assert_int_equal(hash_sha256_file(got, path, &err), ST_OK);
    hash_sha256(want, big, 600000);
    assert_memory_equal(got, want, 32);
    snprintf(path, sizeof path, "%s/absent", folder);
    assert_int_equal(hash_sha256_file(got, path, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_IO);
    free(big);
    test_remove_tree(folder);
    free(folder);
}

static void a_map_keeps_every_key_in_order(void **state)
{
    struct hash_map *m = NULL;
    struct error err = { 0 };
    char key[32];
    uint64_t v = 0;
    size_t size = 0;
    const void *at = NULL;
    (void)state;

    assert_int_equal(hash_map_open(&m, 0, &err), ST_OK);
    for (uint64_t i = 0; i < 20000; i++) {
        const int n = snprintf(key, sizeof key, "key %d", (int)i);
        v = i;
        assert_int_equal(hash_map_insert(m, key, (size_t)n, &v, &err), ST_OK);
    }
    v = 7;
    assert_int_equal(hash_map_insert(m, "", 0, &v, &err), ST_OK);
    v = 99;
    assert_int_equal(hash_map_insert(m, "key 5", 5, &v, &err), ST_SKIP);
    assert_int_equal(v, 5);
    assert_int_equal(err.cause, CAUSE_NONE);
    assert_true(hash_map_set(m, "key 5", 5, 55) && hash_map_get(m, "key 5", 5, &v));
    assert_int_equal(v, 55);
    assert_false(hash_map_set(m, "key x", 5, 1) || hash_map_get(m, "key", 3, &v));
    assert_true(hash_map_get(m, "", 0, &v) && v == 7);
    assert_int_equal(hash_map_count(m), 20001);
    hash_map_at(m, 12345, &at, &size, &v);
    assert_int_equal(size, 9);
    assert_memory_equal(at, "key 12345", 9);
    hash_map_close(&m);
    assert_null(m);
}

static void a_map_without_memory_says_so_and_stays_whole(void **state)
{
    bool done = false;
    (void)state;

    for (uint64_t k = 1; !done; k++) {
        struct hash_map *m = NULL;
        struct error err = { 0 };
        uint64_t v = 0;
        mem_fail_at(k, true);
        enum status st = hash_map_open(&m, 0, &err);
        for (uint64_t i = 0; st == ST_OK && i < 100; i++) {
            v = i;
            st = hash_map_insert(m, &i, sizeof i, &v, &err);
        }
        mem_fail_at(0, false);
        done = st == ST_OK;
        if (!done)
            assert_int_equal(err.cause, CAUSE_NOMEM);
        for (size_t i = 0; m && i < hash_map_count(m); i++) {
            const uint64_t key = i;
            assert_true(hash_map_get(m, &key, sizeof key, &v) && v == i);
        }
        hash_map_close(&m);
        assert_true(k < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_the_published_ones),
        cmocka_unit_test(hex_of_128_bits_reads_back),
        cmocka_unit_test(a_stream_in_pieces_equals_one_call),
        cmocka_unit_test(a_file_has_the_digest_of_its_bytes),
        cmocka_unit_test(a_map_keeps_every_key_in_order),
        cmocka_unit_test(a_map_without_memory_says_so_and_stays_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
