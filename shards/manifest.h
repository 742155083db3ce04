/* shards/manifest.h: dataset.json (design.md 5, 8). Written last, by rename; ends with the SHA-256 of
 * all that stands before. Format: docs/shard-format.md, "Manifest". */
#ifndef DEEM_SHARDS_MANIFEST_H
#define DEEM_SHARDS_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "shards/facts.h"

enum { MANIFEST_FORMAT = 1 };

struct manifest_shard {
    char name[32]; /* "000000.mdb" */
    uint64_t sequences, pictures, documents, images, tokens;
    uint64_t bytes;
    uint8_t sha256[32];
};

struct manifest {
    struct arena arena; /* holds the strings of `facts` */
    struct shard_facts facts;
    struct manifest_shard *shards;
    size_t shard_count;
    struct unit_facts total; /* inputs in their order, parts of one file added up; shard is 0 */
    struct unit_count records, pictures; /* sums over the inputs */
    uint64_t quarantine_bytes;           /* of quarantine.jsonl */
    uint8_t quarantine_sha256[32];
};
void manifest_init(struct manifest *m);
void manifest_clear(struct manifest *m);
/* Adds a shard's counts to the totals. The first call also sets the facts (copied); later ones must
 * agree: CAUSE_FORMAT. */
enum status manifest_add(struct manifest *m, const struct shard_facts *facts,
                         const struct unit_facts *unit, uint64_t bytes, const uint8_t sha256[32],
                         struct error *err);
enum status manifest_encode(struct buffer *out, const struct manifest *m, struct error *err);
/* Checks the digest and every field. ST_FAIL: CAUSE_FORMAT, CAUSE_CHECKSUM, CAUSE_NOMEM. */
enum status manifest_decode(struct manifest *m, const void *data, size_t size, struct error *err);
/* `path` is the file. A missing file is CAUSE_IO. */
enum status manifest_read(struct manifest *m, const char *path, struct error *err);
/* Facts, shards and totals alone, without the inputs and their counts: in a hundredth of the time. */
enum status manifest_read_shards(struct manifest *m, const char *path, struct error *err);

#endif
