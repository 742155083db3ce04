/* loader/store.h: sequences of sources by number, out of dataset folders. Shards are opened when they are
 * first read and closed again when too many are open. Thread-safe: any number of threads may read. */
#ifndef DEEM_LOADER_STORE_H
#define DEEM_LOADER_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "loader/labels.h"
#include "loader/loader.h"
#include "shards/facts.h"
#include "shards/sample.h"

struct store_picture {
    struct buffer memory; /* the record; empty where `twin` is an earlier one */
    const uint8_t *data;  /* the picture's bytes, inside of it */
    size_t size;
};
/* A sequence with the stored bytes of its pictures. */
struct store_sequence {
    struct arena arena; /* of `sample` */
    struct sample sample;
    struct store_picture *pictures; /* [sample.image_count] */
    uint32_t *twin;          /* [image_count] first image of the sequence with the same picture */
    uint32_t dataset, shard; /* where it came from */
    uint64_t index;
    uint64_t bytes; /* held by all of it */
    uint64_t picture_bytes;
};
void store_sequence_init(struct store_sequence *s);
void store_sequence_clear(struct store_sequence *s);

struct store_timing {
    double inflate_seconds, read_seconds;
};

struct store;
/* Reads the manifests. All datasets must agree in tokenizer, picture slots and ids. ST_FAIL:
 * CAUSE_ARG, CAUSE_IO, CAUSE_FORMAT, CAUSE_CHECKSUM, CAUSE_NOMEM. */
enum status store_open(struct store **out, const struct loader_source *sources, size_t n_sources,
                       unsigned open_shards, struct error *err);
void store_close(struct store **pointer);
uint64_t store_sequences(const struct store *s, uint32_t source);
struct label_ids store_ids(const struct store *s);
uint32_t store_seq_len(const struct store *s);                /* longest sequence of any dataset */
const struct shard_facts *store_facts(const struct store *s); /* of one dataset; all agree */
/* False: no such sequence. */
bool store_locate(const struct store *s, uint32_t source, uint64_t sequence, uint32_t *dataset,
                  uint32_t *shard, uint64_t *index);
const char *store_folder(const struct store *s, uint32_t source, uint32_t dataset);
/* What a checkpoint compares: SHA-256 over identity and shard digests. */
enum status store_digest(const struct store *s, uint32_t source, uint32_t dataset, uint8_t out[32],
                         struct error *err);
/* `out` is initialised; its content is replaced. The text of an error names folder, shard and record.
 * Failures as shard_reader_sequence. */
enum status store_read(struct store *s, uint32_t source, uint64_t sequence,
                       struct store_sequence *out, struct store_timing *timing, struct error *err);
unsigned store_open_shards(struct store *s);

#endif
