/* core/hash.h: XXH3 (records, draws), SHA-256 (files), and a map keyed by bytes. */
#ifndef DEEM_CORE_HASH_H
#define DEEM_CORE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* XXH3-128 as numbers; canonical text is high half first, 32 hex digits. Source: xxHash 0.8. */
struct hash128 {
    uint64_t low, high;
};
uint64_t hash_xxh3_64(const void *data, size_t size);
struct hash128 hash_xxh3_128(const void *data, size_t size);
bool hash128_equal(struct hash128 a, struct hash128 b);
void hash128_hex(char out[33], struct hash128 h);
bool hash128_from_hex(struct hash128 *out, const char *hex, size_t size);

/* Streaming XXH3-64 and SHA-256 (nettle). */
struct hash_stream;
enum hash_kind { HASH_XXH3_64, HASH_XXH3_128, HASH_SHA256 };
enum status hash_stream_open(struct hash_stream **out, enum hash_kind kind, struct error *err);
void hash_stream_update(struct hash_stream *h, const void *data, size_t size);
/* Writes 8 (little-endian), 16 (canonical) or 32 bytes and starts over. */
void hash_stream_digest(struct hash_stream *h, uint8_t *out);
void hash_stream_close(struct hash_stream **h);

void hash_sha256(uint8_t out[32], const void *data, size_t size);
/* Digest of a whole file, read in pieces. ST_FAIL: CAUSE_IO, CAUSE_NOMEM. */
enum status hash_sha256_file(uint8_t out[32], const char *path, struct error *err);
void hash_hex(char *out /* 2 size + 1 */, const uint8_t *bytes, size_t size);

/* Map from byte strings to a u64. Keys are copied; equal hashes are told apart by their bytes.
 * Iteration order is the order of insertion. */
struct hash_map;
enum status hash_map_open(struct hash_map **out, size_t expected, struct error *err);
/* ST_OK: inserted. ST_SKIP: the key was there already; *value is set to what it holds; no error. */
enum status hash_map_insert(struct hash_map *m, const void *key, size_t size, uint64_t *value,
                            struct error *err);
bool hash_map_get(const struct hash_map *m, const void *key, size_t size, uint64_t *value);
/* Overwrites the value of a key that is there; false where it is not. */
bool hash_map_set(struct hash_map *m, const void *key, size_t size, uint64_t value);
size_t hash_map_count(const struct hash_map *m);
/* The i-th inserted key; borrowed until the map is closed. */
void hash_map_at(const struct hash_map *m, size_t i, const void **key, size_t *size,
                 uint64_t *value);
void hash_map_close(struct hash_map **m);

#endif
