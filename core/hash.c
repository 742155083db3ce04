/* core/hash.c: see hash.h. XXH3 comes from libxxhash, SHA-256 from nettle; states live in our own
 * memory so that every allocation passes core/mem. */
#define XXH_STATIC_LINKING_ONLY /* the size of XXH3_state_t, fixed since 0.8.0 */
#include "core/hash.h"

#include <nettle/sha2.h>
#include <string.h>
#include <xxhash.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/mem.h"

enum { HASH_FILE_PIECE = 1 << 18 }; /* bytes read at a time */

uint64_t hash_xxh3_64(const void *data, size_t size)
{
    return XXH3_64bits(size ? data : "", size);
}

struct hash128 hash_xxh3_128(const void *data, size_t size)
{
    const XXH128_hash_t h = XXH3_128bits(size ? data : "", size);
    return (struct hash128){ h.low64, h.high64 };
}

bool hash128_equal(struct hash128 a, struct hash128 b)
{
    return a.low == b.low && a.high == b.high;
}

static void store_u64be(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)v;
}

void hash_hex(char *out, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * size] = '\0';
}

void hash128_hex(char out[33], struct hash128 h)
{
    uint8_t bytes[16];
    store_u64be(bytes, h.high);
    store_u64be(bytes + 8, h.low);
    hash_hex(out, bytes, sizeof bytes);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool hash128_from_hex(struct hash128 *out, const char *hex, size_t size)
{
    uint64_t half[2] = { 0, 0 };
    if (size != 32)
        return false;
    for (size_t i = 0; i < size; i++) {
        const int digit = hex_digit(hex[i]);
        if (digit < 0)
            return false;
        half[i / 16] = half[i / 16] << 4 | (uint64_t)digit;
    }
    *out = (struct hash128){ .low = half[1], .high = half[0] };
    return true;
}

struct hash_stream {
    XXH3_state_t xxh; /* wants 64 byte alignment */
    struct sha256_ctx sha;
    enum hash_kind kind;
};

static void hash_stream_reset(struct hash_stream *h)
{
    switch (h->kind) {
    case HASH_XXH3_64:
        XXH3_64bits_reset(&h->xxh);
        break;
    case HASH_XXH3_128:
        XXH3_128bits_reset(&h->xxh);
        break;
    case HASH_SHA256:
        sha256_init(&h->sha);
        break;
    }
}

enum status hash_stream_open(struct hash_stream **out, enum hash_kind kind, struct error *err)
{
    struct hash_stream *h = mem_alloc_aligned(64, sizeof *h);
    *out = h;
    if (!h)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "hash: out of memory");
    memset(h, 0, sizeof *h);
    h->kind = kind;
    hash_stream_reset(h);
    return ST_OK;
}

void hash_stream_update(struct hash_stream *h, const void *data, size_t size)
{
    if (size == 0)
        return;
    if (h->kind == HASH_XXH3_64)
        XXH3_64bits_update(&h->xxh, data, size);
    else if (h->kind == HASH_XXH3_128)
        XXH3_128bits_update(&h->xxh, data, size);
    else
        sha256_update(&h->sha, size, data);
}

void hash_stream_digest(struct hash_stream *h, uint8_t *out)
{
    if (h->kind == HASH_XXH3_64) {
        store_u64le(out, XXH3_64bits_digest(&h->xxh));
    } else if (h->kind == HASH_XXH3_128) {
        const XXH128_hash_t v = XXH3_128bits_digest(&h->xxh);
        store_u64be(out, v.high64);
        store_u64be(out + 8, v.low64);
    } else {
        sha256_digest(&h->sha, SHA256_DIGEST_SIZE, out);
    }
    hash_stream_reset(h);
}

void hash_stream_close(struct hash_stream **h)
{
    if (!h)
        return;
    mem_free(*h);
    *h = NULL;
}

void hash_sha256(uint8_t out[32], const void *data, size_t size)
{
    struct sha256_ctx c;
    sha256_init(&c);
    if (size > 0)
        sha256_update(&c, size, data);
    sha256_digest(&c, SHA256_DIGEST_SIZE, out);
}

enum status hash_sha256_file(uint8_t out[32], const char *path, struct error *err)
{
    uint8_t *piece = NULL;
    int fd = -1;
    size_t got = 0;
    struct sha256_ctx c;
    sha256_init(&c);
    enum status st = file_open_read(&fd, path, NULL, err);
    if (st != ST_OK)
        goto done;
    piece = mem_alloc(HASH_FILE_PIECE);
    if (!piece) {
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: digest: out of memory", path);
        goto done;
    }
    do {
        st = file_read(fd, path, piece, HASH_FILE_PIECE, &got, err);
        if (st != ST_OK)
            goto done;
        sha256_update(&c, got, piece);
    } while (got == HASH_FILE_PIECE);
    sha256_digest(&c, SHA256_DIGEST_SIZE, out);
done:
    mem_free(piece);
    file_close(&fd, path, NULL);
    return st;
}
