/* ingest/settings.h: the options that decide what comes out, the tokenizer and the versions of the
 * libraries that write, as one JSON object: kept in plan and manifest, hashed into every record's
 * identity, compared when a command meets an existing dataset. */
#ifndef DEEM_INGEST_SETTINGS_H
#define DEEM_INGEST_SETTINGS_H

#include "core/error.h"
#include "core/mem.h"
#include "ingest/ingest.h"
#include "ingest/tokenizer.h"

/* {"kind":..,"options":{..},"tokenizer":{..},"versions":{..}} */
enum status settings_write(struct buffer *out, const struct ingest_options *opt,
                           const struct tokenizer *t, struct error *err);
/* ST_OK: alike. ST_FAIL: CAUSE_ARG names every difference: "seed: 0 there, 1 now". */
enum status settings_compare(const char *where, const char *there, size_t there_size,
                             const char *now, size_t now_size, struct error *err);

#endif
