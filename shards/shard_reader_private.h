/* shards/shard_reader_private.h: the open shard, for shard_reader.c and shard_verify.c. */
#ifndef DEEM_SHARDS_SHARD_READER_PRIVATE_H
#define DEEM_SHARDS_SHARD_READER_PRIVATE_H

#include "shards/page_reader.h"
#include "shards/shard_reader.h"
#include "shards/value_private.h"
#include "shards/zstd_private.h"

struct shard_reader {
    char *path;
    struct page_reader *pages;
    struct hash_stream *hash;
    struct zstd_decoder *sequence_decoder; /* opened with the first sequence */
    struct zstd_decoder *plain_decoder;    /* opened with the first frame without dictionary */
    struct arena arena;                    /* of `facts` */
    struct shard_facts facts;
    struct unit_facts unit;
    uint64_t max_record_bytes;
    struct buffer memory; /* of a value */
    struct buffer plain;  /* of a decompressed value */
};

/* The checked value of a record; the payload lies in `memory`. ST_END: no such record. */
enum status shard_reader_value(struct shard_reader *r, enum value_kind kind, uint32_t number,
                               struct buffer *memory, struct value *out, struct error *err);

#endif
