/* ingest/zip.h: the directory of a zip file, held against its local headers (APPNOTE 6.3.10,
 * robustness.md 2.3 ARC1 to ARC7). Nothing is inflated here. One thread. */
#ifndef DEEM_INGEST_ZIP_H
#define DEEM_INGEST_ZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { ZIP_STORED = 0, ZIP_DEFLATED = 8 };

struct zip_member {
    const char *name; /* NUL-terminated; as written, controls and all */
    size_t name_size;
    uint64_t header;       /* of the local header in the file */
    uint64_t data;         /* of its first byte; 0 until zip_check_member */
    uint64_t packed, size; /* bytes; claims until read */
    uint32_t crc;
    uint16_t method, flags;
    bool sizes_known; /* false: only the stream itself tells (no directory was read) */
};

struct zip;
/* Reads the directory. ST_SKIP: it is missing, damaged or not to be trusted: *err holds code and
 * text; with code "zip-end" (no end record: the file was cut) *out is set and zip_walk finds what is
 * there, else *out is NULL. ST_FAIL: CAUSE_IO, CAUSE_NOMEM. */
enum status zip_open(struct zip **out, int fd, const char *path, uint64_t file_size,
                     uint64_t max_members, size_t max_name, struct error *err);
void zip_close(struct zip **z);
size_t zip_count(const struct zip *z);
const struct zip_member *zip_at(const struct zip *z, size_t i);
/* Compares the local header of member `i` with the directory and sets `data`. ST_SKIP: they differ,
 * or the member is encrypted or packed by a method that is not supported. */
enum status zip_check_member(struct zip *z, size_t i, struct error *err);
/* Without a directory: appends the member whose local header lies at `offset`. ST_END: no header is
 * there. ST_SKIP: it is cut. */
enum status zip_walk(struct zip *z, uint64_t offset, struct error *err);

#endif
