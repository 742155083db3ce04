/* ingest/masks/vcr.h: Visual Commonsense Reasoning (spec data.md 1.8, 7.3): questions, answers and
 * rationales whose object mentions become regions. Mentions are taken from the 0-based token lists
 * where these agree with the text, else the text's 1-based numbers minus one; numbers that are no
 * mention stay. */
#ifndef DEEM_INGEST_MASKS_VCR_H
#define DEEM_INGEST_MASKS_VCR_H

#include "ingest/masks/mask_store.h"

enum { VCR_FILL = 4 /* objects listed at least, where there are as many (7.3) */ };

/* The texts of a record as an instance's `turns`: question, answer, rationale, then the class name of
 * each object in the order of its regions, each ended by VCR_END. A mention of object k (place in
 * that order, from 0) is VCR_MENTION, k in decimal, VCR_MENTION. Control bytes of the source are
 * spaces, so neither mark occurs by itself. */
#define VCR_END     '\x1e'
#define VCR_MENTION '\x01'

/* `lines` is train.jsonl; metadata are looked for below each root, in order. Regions carry their place
 * among the record's objects as original_id. ST_FAIL: CAUSE_IO, CAUSE_NOMEM, beyond the tolerance. */
enum status vcr_read(struct mask_store *store, const char *lines, const char *const *roots,
                     size_t root_count, struct error *err);

#endif
