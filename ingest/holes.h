/* ingest/holes.h: which MMC4 shards are missing from a run of inputs (spec data.md 1.1, F15). */
#ifndef DEEM_INGEST_HOLES_H
#define DEEM_INGEST_HOLES_H

#include "core/error.h"
#include "core/mem.h"
#include "ingest/inputs.h"

/* Appends a line for people about shard numbers between the lowest and the highest that no input has,
 * without the 14 that never existed; nothing where there are none. */
enum status holes_describe(struct buffer *out, const struct inputs *in, struct error *err);

#endif
