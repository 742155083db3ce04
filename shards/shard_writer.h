/* shards/shard_writer.h: writes the shard of one work unit: a fresh LMDB file, records in key order,
 * committed at fixed byte counts, so that equal content gives equal bytes. Format:
 * docs/shard-format.md. A writer belongs to one thread and its file to one process; what it wrote
 * before `seal` is never read again. Sequences (compressed, some kB each) and quarantine rows are held
 * in memory until `seal`; pictures go to the file at once. */
#ifndef DEEM_SHARDS_SHARD_WRITER_H
#define DEEM_SHARDS_SHARD_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/image.h"
#include "shards/facts.h"
#include "shards/sample.h"

struct shard_writer_options {
    const struct shard_facts *facts; /* borrowed until close */
    uint32_t shard;                  /* number of the unit */
    const void *dictionary;          /* zstd dictionary, borrowed; NULL = none */
    size_t dictionary_size;
    const void *pieces; /* table of shards/pieces.h, borrowed; NULL = none */
    size_t pieces_size;
    int zstd_level; /* default 9 */
};
void shard_writer_options_init(struct shard_writer_options *opt);

/* One row of quarantine.jsonl (design.md 8). Strings may be NULL (written as null). */
struct quarantine_row {
    const char *file, *member, *record; /* record: LINE as text, or KEY */
    uint64_t offset;
    const char *stage, *code, *found, *allowed;
    uint64_t length; /* of the raw bytes */
    uint64_t hash;   /* XXH3-64 of the raw bytes; written as 16 hex digits */
};
/* Appends the row as one JSON line. */
enum status quarantine_row_write(struct buffer *out, const struct quarantine_row *row,
                                 struct error *err);

struct shard_writer;
/* Creates `path` anew (an older file is removed). ST_FAIL: CAUSE_CREATE, CAUSE_IO (no space is said),
 * CAUSE_NOMEM, CAUSE_ARG. */
enum status shard_writer_open(struct shard_writer **out, const char *path,
                              const struct shard_writer_options *opt, struct error *err);

/* Stores a picture unless equal bytes are stored already; *number is its place in order of first use,
 * *hash the XXH3-128 of its bytes. Call for the pictures of a sequence before the sequence. */
enum status shard_writer_picture(struct shard_writer *w, const void *data, size_t size,
                                 const struct image_info *info, uint32_t *number,
                                 struct hash128 *hash, struct error *err);
/* The next sequence. The images' `picture`, `hash`, `bytes`, `width`, `height` and `codec` must be
 * those of a stored picture (CAUSE_ARG otherwise). */
enum status shard_writer_sequence(struct shard_writer *w, const struct sample *s,
                                  struct error *err);
enum status shard_writer_quarantine(struct shard_writer *w, const struct quarantine_row *row,
                                    struct error *err);
/* Bytes the writer holds in memory, for the accounting of --memory. */
size_t shard_writer_memory(const struct shard_writer *w);

/* Writes what is held and the header (the counts of `unit` that the writer keeps are set in it),
 * fsync, digest, rename to `final_path`, fsync of the folder. With `digest_path` (may be NULL) the
 * digest is written there, as `sha256sum` prints it, before the rename. The unit's counts must obey
 * the conservation law: CAUSE_INTERNAL otherwise. Close the writer afterwards. */
enum status shard_writer_seal(struct shard_writer *w, struct unit_facts *unit,
                              const char *final_path, const char *digest_path, uint8_t sha256[32],
                              struct error *err);
/* Without a seal the unsealed file is removed. NULL-safe. */
void shard_writer_close(struct shard_writer **w);

#endif
