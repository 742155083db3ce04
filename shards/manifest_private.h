/* shards/manifest_private.h: what the two ways of reading a manifest share. */
#ifndef DEEM_SHARDS_MANIFEST_PRIVATE_H
#define DEEM_SHARDS_MANIFEST_PRIVATE_H

#include "shards/manifest.h"

/* Facts, shards and totals out of a text whose digest was checked. ST_FAIL: CAUSE_FORMAT also where the
 * text is JSON, but not as manifest_encode writes it; CAUSE_NOMEM. */
enum status manifest_scan(struct manifest *m, const char *data, size_t size, struct error *err);

#endif
