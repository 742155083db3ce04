/* ingest/masks/pascal_part.h: Pascal-Part (Chen et al. 2014): one MAT file a picture, and a split list
 * (spec data.md 1.5). Sided fine part names are reduced to VLPart's 93 categories "object:part". */
#ifndef DEEM_INGEST_MASKS_PASCAL_PART_H
#define DEEM_INGEST_MASKS_PASCAL_PART_H

#include "ingest/masks/mask_store.h"

enum { PASCAL_PART_CATEGORIES = 93 };

/* The id of a raw part of an object class ("person", "lear"), or 0: the first category of the object,
 * in list order, whose short name is a substring of the raw name. *known_object: the class has one. */
int pascal_part_reduce(const char *object, const char *part, bool *known_object);

/* `folder` holds ID.mat (or Annotations_Part does), `list` the ids, one a line. A list of NULL is looked
 * for at folder/ImageSets/Main/SPLIT.txt and folder/SPLIT.txt. ST_FAIL: CAUSE_ARG, CAUSE_FORMAT (a MAT
 * file, by name and byte), CAUSE_IO, CAUSE_NOMEM. */
enum status pascal_part_read(struct mask_store *store, const char *folder, const char *list,
                             const char *split, struct error *err);

#endif
