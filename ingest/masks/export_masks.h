/* ingest/masks/export_masks.h: a published mask set becomes the two products of spec data.md 7.5: a
 * COCO-shaped file and SET_SPLIT_conversation.json, with SET_SPLIT_quarantine.jsonl and
 * SET_SPLIT_manifest.json. The products are functions of inputs, options, seed and templates. */
#ifndef DEEM_INGEST_MASKS_EXPORT_MASKS_H
#define DEEM_INGEST_MASKS_EXPORT_MASKS_H

#include "ingest/masks/mask_store.h"

enum mask_set {
    MASK_SET_COCO,
    MASK_SET_REFCOCO,
    MASK_SET_REFCOCO_PLUS,
    MASK_SET_REFCOCOG,
    MASK_SET_PASCAL_PART,
    MASK_SET_PARTIMAGENET,
    MASK_SET_VG,
    MASK_SET_VCR,
    MASK_SETS
};
/* "coco", "refcoco", "refcoco+", ..., NULL-terminated. */
extern const char *const mask_set_names[MASK_SETS + 1];

struct export_masks_options {
    enum mask_set set;
    const char *split; /* default "train" */
    const char *const *annotations;
    size_t annotation_count;
    const char *const *images; /* none: the pictures' sizes are not checked */
    size_t image_count;
    const char *out;
    uint64_t seed;
    uint64_t max_regions;       /* of a conversation, by D8a; default 15 */
    uint64_t max_instances;     /* by D11; 0 = all */
    bool paper200k;             /* max_instances by the set's share of 200,000 */
    const char *exclude;        /* file of picture ids, or NULL */
    const char *const *compare; /* files of picture ids whose overlap is reported */
    size_t compare_count;
    const char *templates; /* NULL: the one that came with the program */
    bool latin1;           /* refer pickles: byte strings that are not UTF-8 */
    struct mask_options masks;
};
void export_masks_options_init(struct export_masks_options *opt);

struct export_masks_overlap {
    const char *file;             /* base name, borrowed from the options */
    uint64_t pictures, instances; /* of the export that are in it */
};
struct export_masks_report {
    struct mask_counts regions;
    uint64_t pictures, instances; /* stored */
    uint64_t regions_over_cap;    /* left out of conversations by max_regions */
    uint64_t coco_pictures;       /* instances on pictures of COCO */
    struct export_masks_overlap overlaps[16];
    size_t overlap_count;
};
/* ST_FAIL: CAUSE_ARG (inputs missing, options), CAUSE_FORMAT (a broken file, beyond the tolerance),
 * CAUSE_LOCKED, CAUSE_CREATE, CAUSE_IO, CAUSE_NOMEM; nothing new stands under a final name then. */
enum status export_masks_run(struct export_masks_report *report,
                             const struct export_masks_options *opt, struct error *err);

#endif
