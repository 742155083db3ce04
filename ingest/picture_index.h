/* ingest/picture_index.h: where the pictures of a dump lie, by image_name and URL: folders, folders per
 * shard, re-encoded names, img2dataset files and tars (spec data.md 1.1). Holds no paths in memory.
 * Built once by the plan, kept in DATASET/work, so that every run looks into the same one. Finding is
 * thread-safe; each thread opens its own reader. */
#ifndef DEEM_INGEST_PICTURE_INDEX_H
#define DEEM_INGEST_PICTURE_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "core/document.h"
#include "core/error.h"
#include "core/mem.h"
#include "ingest/source.h"

struct picture_index;
/* Walks `paths` in their order and writes the index into the folder `work`, or opens the one that lies
 * there. ST_FAIL: CAUSE_IO, CAUSE_FORMAT, CAUSE_NOMEM. */
enum status picture_index_open(struct picture_index **out, const char *work,
                               const char *const *paths, size_t count,
                               const struct source_limits *limits, struct error *err);
void picture_index_close(struct picture_index **x);
uint64_t picture_index_count(const struct picture_index *x); /* pictures in it */

/* Where a picture lies; meaningful to the index only. */
struct picture_place {
    uint64_t file;   /* of its entry in the index */
    uint64_t offset; /* of its first byte there */
    uint64_t size;   /* bytes */
};
/* The lookup of data.md 1.1 and design.md 8. ST_OK, ST_END (missing), ST_FAIL. */
enum status picture_index_find(const struct picture_index *x, struct picture_place *place,
                               const struct text *image_name, const struct text *raw_url,
                               struct error *err);

/* Reads pictures; keeps archives open between calls. One thread. */
struct picture_reader;
enum status picture_reader_open(struct picture_reader **out, const struct picture_index *x,
                                struct error *err);
/* Replaces what `out` holds. A file that vanished or changed since the plan: ST_FAIL, CAUSE_IO. Larger
 * than limits.max_member: ST_SKIP, code "limit-bytes". */
enum status picture_reader_read(struct picture_reader *r, struct buffer *out,
                                const struct picture_place *place, struct error *err);
void picture_reader_close(struct picture_reader **r);

#endif
