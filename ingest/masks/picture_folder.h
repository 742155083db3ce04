/* ingest/masks/picture_folder.h: pictures of annotated sets, found by the path annotations give them. A
 * picture's path below one of the folders must end with that path; a base name that occurs once is
 * enough. COCO's two trees name one picture differently (COCO_train2014_000000000077.jpg and
 * 000000000077.jpg): each finds the other. Reading is thread-safe. */
#ifndef DEEM_INGEST_MASKS_PICTURE_FOLDER_H
#define DEEM_INGEST_MASKS_PICTURE_FOLDER_H

#include "core/error.h"
#include "core/mem.h"

struct picture_folder;
/* Walks the folders in their order. ST_FAIL: CAUSE_IO, CAUSE_NOMEM. */
enum status picture_folder_open(struct picture_folder **out, const char *const *folders,
                                size_t count, struct error *err);
/* A fresh path in *path. ST_END: there is none. ST_FAIL: CAUSE_NOMEM. */
enum status picture_folder_find(const struct picture_folder *p, const char *location, char **path,
                                struct error *err);
void picture_folder_close(struct picture_folder **p);

/* What stands behind the last '_' of a COCO name "COCO_..._NNNNNNNNNNNN.ext", else the base name. */
const char *picture_name_2017(const char *file_name);

#endif
