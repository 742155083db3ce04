/* ingest/masks/id_list.h: sets of picture ids out of files of any kind: lines that are one id, and COCO's
 * picture names (12 digits before a dot) wherever they stand: POPE lines, Karpathy and LLaVA JSON,
 * COCO-shaped files. */
#ifndef DEEM_INGEST_MASKS_ID_LIST_H
#define DEEM_INGEST_MASKS_ID_LIST_H

#include "core/hash.h"

struct id_list {
    struct hash_map *lines; /* whole lines, as text */
    struct hash_map *coco;  /* ids out of picture names, in decimal */
};
enum status id_list_open(struct id_list *l, const char *path, struct error *err);
void id_list_close(struct id_list *l);
/* coco_id -1: the picture is none of COCO's. `key` and the stem of the file name are compared with
 * lines, the COCO id with both. */
bool id_list_has(const struct id_list *l, const char *key, const char *file_name, int64_t coco_id);

#endif
