/* ingest/scan.h: what is read of a dump before work starts: how many records, which are exact
 * duplicates, and the token ids that the zstd dictionary is trained on. Reads text, no picture. */
#ifndef DEEM_INGEST_SCAN_H
#define DEEM_INGEST_SCAN_H

#include <stdint.h>

#include "core/error.h"
#include "ingest/ingest.h"
#include "ingest/picture_index.h"
#include "ingest/schedule.h"
#include "ingest/tokenizer.h"

/* Of a dry run: what the index says to the images that pass F1 and F2a. */
struct scan_pictures {
    const struct picture_index *index;
    uint64_t found, missing, bytes;
};
/* Fills schedule->units, duplicates, dictionary and records from schedule->inputs, on `threads`
 * threads. `pictures` may be NULL. ST_FAIL: CAUSE_FORMAT (one name for records of two inputs),
 * CAUSE_IO, CAUSE_NOMEM, CAUSE_SIGNAL. */
enum status scan_dump(struct schedule *schedule, const struct ingest_options *opt,
                      const struct tokenizer *t, unsigned threads, struct scan_pictures *pictures,
                      struct error *err);

#endif
