/* shards/value_private.h: keys and values of a shard. A key is a kind and a big-endian number, so that
 * records of one kind lie together in order. A value is a head and its payload:
 *
 *      0 magic "DEEM"   4 version u8 = 1   5 kind u8   6 flags u16 (1: payload is a zstd frame,
 *      8 stored bytes u32   12 plain bytes u32            2: made with the shard's dictionary)
 *     16 XXH3-64 over: identity (32 bytes), shard u32, key (5 bytes), bytes 0..15, payload
 *
 * Little-endian. What lies in a wrong place, shard or dataset does not match its hash. */
#ifndef DEEM_SHARDS_VALUE_PRIVATE_H
#define DEEM_SHARDS_VALUE_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/mem.h"

enum value_kind {
    VALUE_DICTIONARY = 'D', /* one */
    VALUE_PICTURE = 'P',
    VALUE_QUARANTINE = 'Q', /* pieces of at most 1 MiB of whole lines */
    VALUE_SEQUENCE = 'S',
    VALUE_PIECES = 'T', /* one */
    VALUE_UNIT = 'U',   /* one: the header record */
};
enum value_flag { VALUE_ZSTD = 1, VALUE_WITH_DICTIONARY = 2 };
enum {
    VALUE_KEY = 5,
    VALUE_HEAD = 24,
    PICTURE_HEAD =
        28, /* codec u8, 3 zero bytes, width u32, height u32, XXH3-128 low u64, high u64 */
    QUARANTINE_PIECE = 1048576,
};

/* Where a value lies; all of it goes into the hash. */
struct value_place {
    const uint8_t *identity; /* 32 bytes */
    uint32_t shard;
    enum value_kind kind;
    uint32_t number;
};

void value_key(uint8_t key[VALUE_KEY], enum value_kind kind, uint32_t number);
/* "sequence", "picture", ...; NULL for an unknown kind. */
const char *value_kind_name(unsigned kind);

/* Fills the head of a value whose payload is already behind it: value[0..size). `hash` is an XXH3-64
 * stream kept by the caller. */
void value_seal(uint8_t *value, size_t size, unsigned flags, uint32_t plain_bytes,
                const struct value_place *place, struct hash_stream *hash);

struct value {
    unsigned flags;
    uint32_t plain_bytes;
    const uint8_t *payload; /* borrowed from the value */
    size_t size;
};
/* ST_FAIL: CAUSE_FORMAT (magic, version, kind, sizes), CAUSE_CHECKSUM. The text has no prefix. */
enum status value_open(struct value *out, const uint8_t *value, size_t size,
                       const struct value_place *place, struct hash_stream *hash,
                       struct error *err);

#endif
