/* shards/value.c: the head and the hash that every value of a shard carries. */
#include "shards/value_private.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "shards/facts.h"

enum { VALUE_VERSION = 1, VALUE_HASHED_HEAD = 16 };
static const uint8_t magic[4] = { 'D', 'E', 'E', 'M' };

void value_key(uint8_t key[VALUE_KEY], enum value_kind kind, uint32_t number)
{
    key[0] = (uint8_t)kind;
    key[1] = (uint8_t)(number >> 24);
    key[2] = (uint8_t)(number >> 16);
    key[3] = (uint8_t)(number >> 8);
    key[4] = (uint8_t)number;
}

const char *value_kind_name(unsigned kind)
{
    switch (kind) {
    case VALUE_DICTIONARY:
        return "dictionary";
    case VALUE_PICTURE:
        return "picture";
    case VALUE_QUARANTINE:
        return "quarantine rows";
    case VALUE_SEQUENCE:
        return "sequence";
    case VALUE_PIECES:
        return "piece table";
    case VALUE_UNIT:
        return "unit record";
    default:
        return NULL;
    }
}

static void hash_value(uint8_t out[8], const uint8_t *value, size_t size,
                       const struct value_place *place, struct hash_stream *hash)
{
    uint8_t shard[4], key[VALUE_KEY];

    store_u32le(shard, place->shard);
    value_key(key, place->kind, place->number);
    hash_stream_update(hash, place->identity, SHARD_IDENTITY_BYTES);
    hash_stream_update(hash, shard, sizeof shard);
    hash_stream_update(hash, key, sizeof key);
    hash_stream_update(hash, value, VALUE_HASHED_HEAD);
    hash_stream_update(hash, value + VALUE_HEAD, size - VALUE_HEAD);
    hash_stream_digest(hash, out);
}

void value_seal(uint8_t *value, size_t size, unsigned flags, uint32_t plain_bytes,
                const struct value_place *place, struct hash_stream *hash)
{
    memcpy(value, magic, sizeof magic);
    value[4] = VALUE_VERSION;
    value[5] = (uint8_t)place->kind;
    store_u16le(value + 6, (uint16_t)flags);
    store_u32le(value + 8, (uint32_t)(size - VALUE_HEAD));
    store_u32le(value + 12, plain_bytes);
    hash_value(value + 16, value, size, place, hash);
}

enum status value_open(struct value *out, const uint8_t *value, size_t size,
                       const struct value_place *place, struct hash_stream *hash, struct error *err)
{
    uint8_t digest[8];

    if (size < VALUE_HEAD || memcmp(value, magic, sizeof magic) != 0)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "value of %zu bytes has no head", size);
    if (value[4] != VALUE_VERSION)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "value version: got %u, want %d", value[4],
                         VALUE_VERSION);
    if (value[5] != place->kind || load_u32le(value + 8) != size - VALUE_HEAD)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "value kind or size: got %u, %" PRIu32 ", want %u, %zu", value[5],
                         load_u32le(value + 8), (unsigned)place->kind, size - VALUE_HEAD);
    hash_value(digest, value, size, place, hash);
    if (memcmp(digest, value + 16, sizeof digest) != 0)
        return error_set(err, ST_FAIL, CAUSE_CHECKSUM,
                         "XXH3 differs: the value is damaged or belongs elsewhere");
    out->flags = load_u16le(value + 6);
    out->plain_bytes = load_u32le(value + 12);
    out->payload = value + VALUE_HEAD;
    out->size = size - VALUE_HEAD;
    if (out->flags & ~(unsigned)(VALUE_ZSTD | VALUE_WITH_DICTIONARY))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "value flags: got %u", out->flags);
    return ST_OK;
}
