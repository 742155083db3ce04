/* ingest/masks/refer.h: RefCOCO, RefCOCO+, RefCOCOg in the original release: a folder with instances.json
 * and refs(NAME).p (spec data.md 1.4 (a)). One instance an expression, ids from 1 in the order of the
 * pickle. */
#ifndef DEEM_INGEST_MASKS_REFER_H
#define DEEM_INGEST_MASKS_REFER_H

#include "ingest/masks/mask_store.h"

struct refer_options {
    const char *split; /* "train" */
    bool latin1; /* byte strings that are not UTF-8 are Latin-1; default: the ref is damaged */
};

/* ST_FAIL: CAUSE_ARG (no such files in the folder), CAUSE_FORMAT (a refused opcode, JSON), CAUSE_IO,
 * CAUSE_NOMEM. */
enum status refer_read(struct mask_store *store, const char *folder,
                       const struct refer_options *opt, struct error *err);

#endif
