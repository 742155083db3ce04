/* shards/shard_reader.h: reads one sealed shard. Every value is checked against its XXH3 when it is
 * read; errors name the shard and the record. Opening reads a few pages and the header record, nothing
 * of the rest. Format: docs/shard-format.md. A reader belongs to one thread; any number of readers may
 * share a file. */
#ifndef DEEM_SHARDS_SHARD_READER_H
#define DEEM_SHARDS_SHARD_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/image.h"
#include "core/mem.h"
#include "shards/facts.h"
#include "shards/pieces.h"
#include "shards/sample.h"

struct shard_reader_options {
    const uint8_t *identity; /* SHARD_IDENTITY_BYTES that the shard must have; NULL: any */
    bool has_number;         /* the shard must be number `number` */
    uint32_t number;
    uint64_t max_record_bytes; /* larger is CAUSE_LIMIT; default 64 MiB */
};
void shard_reader_options_init(struct shard_reader_options *opt);

struct shard_reader;
/* `opt` may be NULL. ST_FAIL: *out is NULL; CAUSE_IO, CAUSE_NOMEM, CAUSE_FORMAT, CAUSE_CHECKSUM. */
enum status shard_reader_open(struct shard_reader **out, const char *path,
                              const struct shard_reader_options *opt, struct error *err);
void shard_reader_close(struct shard_reader **r);

/* Borrowed until close. */
const struct shard_facts *shard_reader_facts(const struct shard_reader *r);
const struct unit_facts *shard_reader_unit(const struct shard_reader *r);
uint64_t shard_reader_sequences(const struct shard_reader *r);
uint64_t shard_reader_pictures(const struct shard_reader *r);
uint64_t shard_reader_file_size(const struct shard_reader *r);

/* Sequence `index`: *out lies in `arena` and lives as long as it. ST_FAIL: CAUSE_ARG (no such index),
 * CAUSE_FORMAT, CAUSE_CHECKSUM, CAUSE_LIMIT, CAUSE_IO, CAUSE_NOMEM. The reader stays usable. */
enum status shard_reader_sequence(struct shard_reader *r, uint64_t index, struct sample *out,
                                  struct arena *arena, struct error *err);

struct shard_picture {
    enum image_codec codec;
    uint32_t width, height;
    struct hash128 hash; /* of the bytes */
    const uint8_t *data; /* borrowed from `memory` until it changes */
    size_t size;
};
/* Picture `number` into `memory` (its content is replaced). Failures as above. */
enum status shard_reader_picture(struct shard_reader *r, uint32_t number, struct buffer *memory,
                                 struct shard_picture *out, struct error *err);

/* Appends the zstd dictionary; nothing where the shard has none. */
enum status shard_reader_dictionary(struct shard_reader *r, struct buffer *out, struct error *err);
/* Appends the shard's rows of quarantine.jsonl, whole lines. */
enum status shard_reader_quarantine(struct shard_reader *r, struct buffer *out, struct error *err);
/* *out is NULL where the shard has no table; close it with pieces_close. */
enum status shard_reader_pieces(struct shard_reader *r, struct pieces **out, struct error *err);

/* FILE:LINE or TAR:KEY of a document. Appends. */
enum status shard_reader_record_name(const struct shard_reader *r, const struct sample_document *d,
                                     struct buffer *out, struct error *err);

/* Every record: its place, checksum, and what it says against the others (sequences' images against
 * the pictures, counts against the header). `finding` is called once per fault and the search goes on;
 * ST_FAIL only where it cannot. */
typedef void shard_finding_fn(void *arg, const struct error *finding);
enum status shard_reader_verify(struct shard_reader *r, shard_finding_fn *finding, void *arg,
                                struct error *err);

#endif
