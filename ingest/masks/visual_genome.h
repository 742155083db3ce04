/* ingest/masks/visual_genome.h: Visual Genome region descriptions (spec data.md 1.7): image_data.json,
 * region_descriptions.json, and vg_train_with_mask.json where there is one. A region's mask is that of
 * the mask file for the same picture, rounded box and phrase, else its box. */
#ifndef DEEM_INGEST_MASKS_VISUAL_GENOME_H
#define DEEM_INGEST_MASKS_VISUAL_GENOME_H

#include "ingest/masks/mask_store.h"

struct visual_genome_paths {
    const char *image_data; /* NULL only where `regions` is */
    const char *regions;    /* NULL: the mask file alone is the source */
    const char *masks;      /* NULL: boxes only */
};
/* Which of the three a file is, by its first bytes: 'i', 'r', 'm', or 0. */
enum status visual_genome_kind(int *kind, const char *path, struct error *err);

/* `spill` names the working file of the mask index. ST_FAIL: CAUSE_ARG (a file is missing),
 * CAUSE_FORMAT, CAUSE_IO, CAUSE_NOMEM. */
enum status visual_genome_read(struct mask_store *store, const struct visual_genome_paths *paths,
                               const struct mask_options *opt, const char *spill,
                               struct error *err);

#endif
