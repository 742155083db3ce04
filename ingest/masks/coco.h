/* ingest/masks/coco.h: COCO-shaped annotation files: COCO instances, PartImageNet, the "with mask" files
 * of RefCOCO/+/g and Visual Genome (spec data.md 1.3, 1.4 (b), 1.6, 1.7). Read as a stream: once where
 * `images` stand before `annotations`, twice otherwise. */
#ifndef DEEM_INGEST_MASKS_COCO_H
#define DEEM_INGEST_MASKS_COCO_H

#include "ingest/masks/mask_store.h"

struct coco_options {
    bool image_captions;      /* one image row an expression: its caption is the label */
    bool annotation_captions; /* the annotation's caption is the label */
    bool own_category;        /* category ids are not looked at: all regions get category 1 */
    bool coco_pictures;       /* image ids are COCO's (original_id where there is one) */
};

/* ST_FAIL: the file is no such JSON (CAUSE_FORMAT, with its byte), CAUSE_IO, CAUSE_NOMEM, or beyond
 * the tolerance. */
enum status coco_read(struct mask_store *store, const char *path, const struct coco_options *opt,
                      struct error *err);

/* What a region of Visual Genome is found by: its picture, its box rounded, its phrase trimmed. Never 0;
 * NaN is as far left as can be. */
uint64_t coco_match(int64_t image_id, const double box[4], const char *phrase);

#endif
