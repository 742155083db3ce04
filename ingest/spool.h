/* ingest/spool.h: a work file that holds the pictures of a unit from the moment they are verified
 * until the sequence that shows them is written. Never read by another run. One thread. */
#ifndef DEEM_INGEST_SPOOL_H
#define DEEM_INGEST_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

struct spool {
    char *path;
    int fd;        /* -1: closed */
    uint64_t size; /* bytes written */
};
enum status spool_open(struct spool *s, const char *path, struct error *err);
/* Appends; *offset is where the bytes begin. */
enum status spool_put(struct spool *s, const void *data, size_t size, uint64_t *offset,
                      struct error *err);
/* Replaces what `out` holds. */
enum status spool_get(const struct spool *s, struct buffer *out, uint64_t offset, size_t size,
                      struct error *err);
/* Removes the file; safe on a zeroed or half-opened spool. */
void spool_close(struct spool *s);

#endif
