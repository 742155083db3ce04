/* ingest/exclude.h: a take-down list (F16): URLs, picture hashes (XXH3-128, 32 hex digits) and record
 * keys (FILE:LINE, TAR:KEY), one to a line; blank lines and lines that begin with # say nothing.
 * Read-only once open, so any thread may ask. */
#ifndef DEEM_INGEST_EXCLUDE_H
#define DEEM_INGEST_EXCLUDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/document.h"
#include "core/error.h"
#include "core/hash.h"

struct exclude;
/* ST_FAIL: CAUSE_IO, CAUSE_LIMIT, CAUSE_NOMEM. */
enum status exclude_open(struct exclude **out, const char *path, struct error *err);
void exclude_close(struct exclude **x);
size_t exclude_count(const struct exclude *x); /* different entries */
/* All are false for x NULL. */
bool exclude_url(const struct exclude *x, const struct text *url);
bool exclude_key(const struct exclude *x, const char *key, size_t size);
bool exclude_picture(const struct exclude *x, struct hash128 hash);

#endif
