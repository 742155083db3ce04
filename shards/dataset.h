/* shards/dataset.h: the dataset folder (design.md 5): dataset.json, shards/NNNNNN.mdb, quarantine.jsonl.
 * Opening checks the manifest, and name and size of every shard; a shard's bytes are checked when they
 * are read. An open dataset is read-only and may be shared by threads; each opens its own readers. */
#ifndef DEEM_SHARDS_DATASET_H
#define DEEM_SHARDS_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "shards/manifest.h"
#include "shards/shard_reader.h"

/* Paths as fresh strings (NULL: no memory): FOLDER/dataset.json, FOLDER/shards/NNNNNN.mdb, ... */
char *dataset_manifest_path(const char *folder);
char *dataset_shard_path(const char *folder, uint32_t shard);
char *dataset_quarantine_path(const char *folder);
/* FOLDER/work/NNNNNN.sha256: the digest that shard_writer_seal leaves for dataset_finish. */
char *dataset_digest_path(const char *folder, uint32_t shard);

struct dataset;
/* ST_FAIL: CAUSE_IO (no such folder or file), CAUSE_FORMAT (missing, extra, renamed or cut shard),
 * CAUSE_CHECKSUM (the manifest), CAUSE_NOMEM. */
enum status dataset_open(struct dataset **out, const char *folder, struct error *err);
/* The same, but name and size of a shard are checked by dataset_shard, and the manifest comes without
 * inputs and counts of records: 10,000 shards open in some milliseconds. */
enum status dataset_open_lazily(struct dataset **out, const char *folder, struct error *err);
void dataset_close(struct dataset **d);
const char *dataset_folder(const struct dataset *d);
const struct manifest *dataset_manifest(const struct dataset *d);
uint64_t dataset_sequences(const struct dataset *d);
/* Place of the dataset's `sequence` (counted over the shards in order). False: no such one. */
bool dataset_locate(const struct dataset *d, uint64_t sequence, uint32_t *shard, uint64_t *index);
/* A reader of one shard, held to the manifest's identity and counts. */
enum status dataset_shard(const struct dataset *d, uint32_t shard, struct shard_reader **out,
                          struct error *err);

/* Writes quarantine.jsonl and then dataset.json from the sealed shards 0..shards-1. A shard's digest
 * is taken from its file in work/ where that is, else computed. Same shards, same bytes. */
enum status dataset_finish(const char *folder, uint32_t shards, struct error *err);

/* Every digest, record and count: manifest, shards, quarantine.jsonl, conservation. `finding` is
 * called once per fault; ST_OK also where there are some. */
enum status dataset_verify(const char *folder, shard_finding_fn *finding, void *arg,
                           struct error *err);

#endif
