/* ingest/masks/picture_folder.h: pictures of annotated sets in folders and tars, found by the path that
 * annotations give them. Names are compared by whole components, in steps; within a step PATHs are
 * searched in the order given, inside a PATH in byte order, and the first hit wins:
 *   1. the picture's path below its PATH ends with the path asked for, or is all of its end (a PATH that
 *      begins further down, or flat);
 *   2. one of COCO's pictures lies in any folder under either of its names: COCO's two trees name one
 *      picture COCO_train2014_000000000077.jpg and 000000000077.jpg.
 * Finding and reading are thread-safe. */
#ifndef DEEM_INGEST_MASKS_PICTURE_FOLDER_H
#define DEEM_INGEST_MASKS_PICTURE_FOLDER_H

#include <stdbool.h>

#include "core/error.h"
#include "core/mem.h"

struct picture_folder;
/* Walks the PATHs in their order: folders in full depth with the tars in them, and tars; what can be read
 * of a damaged tar is taken. ST_FAIL: CAUSE_IO (no such PATH), CAUSE_FORMAT (neither a folder nor a
 * .tar), CAUSE_NOMEM. */
enum status picture_folder_open(struct picture_folder **out, const char *const *paths, size_t count,
                                struct error *err);
void picture_folder_close(struct picture_folder **p);

/* Where a picture lies. Strings belong to the picture_folder. */
struct found_picture {
    const char *root;      /* its PATH */
    const char *archive;   /* tar below it ("" where the PATH is the tar), NULL: a file */
    const char *name;      /* below root, or of the member */
    uint64_t offset, size; /* bytes; offset 0 in a file */
};
/* ST_END: there is none. ST_FAIL: CAUSE_NOMEM. */
enum status picture_folder_find(const struct picture_folder *p, const char *location,
                                struct found_picture *found, struct error *err);
/* Replaces what `out` holds. ST_SKIP: more than `most` bytes, code "picture-bytes". ST_FAIL: CAUSE_IO
 * (vanished or shorter than it was), CAUSE_NOMEM. */
enum status picture_folder_read(const struct found_picture *found, struct buffer *out,
                                uint64_t most, struct error *err);

/* What stands behind the last '_' of a COCO name "COCO_..._NNNNNNNNNNNN.ext", else the base name. */
const char *picture_name_2017(const char *file_name);
/* Whether that is twelve digits and an extension, as COCO names its pictures. */
bool picture_is_coco(const char *file_name);

#endif
