/* ingest/mmc4.h: one line of MMC4 as a document (spec data.md 1.1; reading rules 1; what makes a record
 * bad 2.2 step 1; contract design.md 8). One parser belongs to one thread. */
#ifndef DEEM_INGEST_MMC4_H
#define DEEM_INGEST_MMC4_H

#include <stddef.h>
#include <stdint.h>

#include "core/document.h"
#include "core/error.h"
#include "ingest/source.h"

struct mmc4;
enum status mmc4_open(struct mmc4 **out, const struct source_limits *limits, struct error *err);
/* Fills the document's fields of the line; file, line, offset, length and hash are the caller's.
 * `offset` is the line's, for messages. ST_SKIP: damaged, *err holds code ("json-syntax", "json-limit",
 * "record-schema", "text-nul") and text, *found and *allowed are set where there is something to say.
 * All is valid until the next call. ST_FAIL: CAUSE_NOMEM. */
enum status mmc4_parse(struct mmc4 *p, struct document *d, struct text *found, struct text *allowed,
                       const uint8_t *line, size_t size, uint64_t offset, struct error *err);
void mmc4_close(struct mmc4 **p);

#endif
