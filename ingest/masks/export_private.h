/* ingest/masks/export_private.h: the exporter's state, shared by export_masks.c (reading, choosing),
 * export_coco.c and export_conversation.c (the products), export_manifest.c. */
#ifndef DEEM_INGEST_MASKS_EXPORT_PRIVATE_H
#define DEEM_INGEST_MASKS_EXPORT_PRIVATE_H

#include "core/rng.h"
#include "ingest/masks/export_masks.h"
#include "ingest/masks/mask_template.h"
#include "ingest/masks/output_file.h"

enum { EXPORT_COCO, EXPORT_CONVERSATION, EXPORT_QUARANTINE, EXPORT_FILES };

struct exporter {
    const struct export_masks_options *opt;
    struct export_masks_report *report;
    struct mask_store *store;
    struct mask_templates templates;
    struct mask_template template;
    struct output_file files[EXPORT_FILES]; /* COCO: path NULL where the set has no such product */
    struct buffer rle, caption, text, vocabulary[2];
    uint64_t *picks; /* for D8a: as many as the largest instance has regions */
    uint32_t *kept;  /* entries of the instance at hand, not dropped */
    struct rle mask;
};

const char *export_set_name(const struct exporter *x);
/* Entries of instance k that are not dropped into x->kept, in input order. */
size_t export_kept(struct exporter *x, size_t k);
/* A draw keyed by (set, image id, epoch 0[, position]). */
void export_draw(const struct exporter *x, struct rng *r, const char *purpose,
                 const struct mask_instance *in, const uint64_t *position);
/* RLE string and caption of an entry in x->rle, x->caption; its mask in x->mask. */
enum status export_load(struct exporter *x, uint32_t entry, struct error *err);
/* "segmentation" value of x->rle on its picture. */
void export_segmentation(struct exporter *x, struct json_writer *w, const struct mask_instance *in);
void export_bbox(struct exporter *x, struct json_writer *w);

enum status export_write_coco(struct exporter *x, struct error *err);
enum status export_write_conversation(struct exporter *x, struct error *err);
enum status export_write_manifest(struct exporter *x, struct output_file *f, struct error *err);

#endif
