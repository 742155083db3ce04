/* ingest/masks/picture_ids.h: sets of picture ids out of files of any kind: lines that are one id, and COCO's
 * picture names (12 digits before a dot) wherever they stand: POPE lines, Karpathy and LLaVA JSON,
 * COCO-shaped files. */
#ifndef DEEM_INGEST_MASKS_PICTURE_IDS_H
#define DEEM_INGEST_MASKS_PICTURE_IDS_H

#include "core/hash.h"

struct picture_ids {
    struct hash_map *lines; /* whole lines, as text */
    struct hash_map *coco;  /* ids out of picture names, in decimal */
};
enum status picture_ids_open(struct picture_ids *l, const char *path, struct error *err);
void picture_ids_close(struct picture_ids *l);
/* coco_id -1: the picture is none of COCO's. `key` and the stem of the file name are compared with
 * lines, the COCO id with both. */
bool picture_ids_has(const struct picture_ids *l, const char *key, const char *file_name,
                     int64_t coco_id);

#endif
