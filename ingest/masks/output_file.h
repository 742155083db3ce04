/* ingest/masks/output_file.h: a file written in pieces that appears under its name only when it is whole:
 * beside it as NAME.tmp, synced, renamed. Its SHA-256 is known then. */
#ifndef DEEM_INGEST_MASKS_OUTPUT_FILE_H
#define DEEM_INGEST_MASKS_OUTPUT_FILE_H

#include <stdint.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/mem.h"

struct output_file {
    struct buffer pending; /* callers append here, then call output_file_piece */
    char *path, *temporary;
    int fd;
    uint64_t bytes; /* written so far */
    struct hash_stream *hash;
    uint8_t digest[32]; /* after output_file_seal */
};
enum status output_file_open(struct output_file *f, const char *path, struct error *err);
/* Writes `pending` once it is large enough. */
enum status output_file_piece(struct output_file *f, struct error *err);
/* Writes the rest and syncs; the file still has its temporary name. */
enum status output_file_seal(struct output_file *f, struct error *err);
/* The sealed file takes its name. */
enum status output_file_publish(struct output_file *f, struct error *err);
/* Removes what was not published. NULL-safe fields: an f of zeros with fd -1 is fine. */
void output_file_close(struct output_file *f);

#endif
