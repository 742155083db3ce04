/* ingest/picture_private.h: what the files of the picture index share.
 *
 * The table's keys are 's' + the stem of the name under which a picture is looked for, or 'u' + its URL
 * (img2dataset samples without local_identifier). A value is
 *   u8 level, u32 PATH, u64 offset, u64 size, u64 bytes and i64 mtime of the file, u16 name bytes,
 *   u16 file bytes, name, file below the PATH, member (orders the pictures of a tar)
 * little-endian. */
#ifndef DEEM_INGEST_PICTURE_PRIVATE_H
#define DEEM_INGEST_PICTURE_PRIVATE_H

#include <stdbool.h>

#include "core/file.h"
#include "ingest/picture_index.h"
#include "ingest/table.h"

/* Where a name counts: at the top of a PATH (names given by img2dataset too), or one folder below. */
enum picture_level { PICTURE_TOP, PICTURE_BELOW };

struct picture_record {
    enum picture_level level;
    uint32_t path;
    uint64_t offset, size; /* of the picture in the file */
    uint64_t file_size;
    int64_t file_mtime_ns;
    struct text name, file, member;
};
/* False: damaged. */
bool picture_record_read(struct picture_record *r, const uint8_t *data, size_t size);

struct picture_index {
    struct table *table;
    char **paths;
    size_t count;
    struct source_limits limits;
};

/* Length of the name without its extension; *known: that is one of the rule's, or there is none. */
size_t picture_stem(const char *name, size_t size, bool *known);

/* Adds what lies at paths[path] to the table. */
enum status picture_scan(struct table_writer *w, const char *const *paths, size_t path,
                         const struct source_limits *limits, struct error *err);

#endif
