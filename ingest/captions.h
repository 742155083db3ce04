/* ingest/captions.h: captions by URL from BLIP's JSON arrays (spec data.md 1.2), joined in bounded
 * memory: the files are streamed once into a table in DATASET/work. The first entry of a URL wins, in
 * the order of the files. Lookups are thread-safe. */
#ifndef DEEM_INGEST_CAPTIONS_H
#define DEEM_INGEST_CAPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/document.h"
#include "core/error.h"
#include "core/mem.h"
#include "ingest/source.h"

/* By its name, is it a sibling of BLIP's `ccs|laion_synthetic_filtered_large.json`: without `synthetic`
 * (web captions) or without `_large` (the smaller captioner)? */
bool captions_sibling(const char *path);

struct captions;
/* Reads `paths` into the folder `work`, or opens the table that lies there. Bad entries are counted
 * and passed over. ST_FAIL: CAUSE_IO, CAUSE_FORMAT (no JSON array), CAUSE_LIMIT, CAUSE_NOMEM. */
enum status captions_open(struct captions **out, const char *work, const char *const *paths,
                          size_t count, const struct source_limits *limits, struct error *err);
void captions_close(struct captions **c);
uint64_t captions_count(const struct captions *c);
/* ST_OK: *out holds the caption (replaced). ST_END: no entry for this URL. ST_FAIL: CAUSE_IO. */
enum status captions_find(const struct captions *c, struct buffer *out, const struct text *url,
                          struct error *err);

#endif
