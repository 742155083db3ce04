/* ingest/unit.h: one work unit of web documents or pairs: records in, filters, pieces, packing, one
 * shard out. Pure: a function of the unit's inputs and the schedule. */
#ifndef DEEM_INGEST_UNIT_H
#define DEEM_INGEST_UNIT_H

#include <stdbool.h>

#include "core/error.h"
#include "core/log.h"
#include "ingest/captions.h"
#include "ingest/driver.h"
#include "ingest/exclude.h"
#include "ingest/gate.h"
#include "ingest/ingest.h"
#include "ingest/picture_index.h"
#include "ingest/schedule.h"
#include "ingest/tokenizer.h"

/* What all units share; read-only but for gate and progress, which are thread-safe. */
struct unit_context {
    const struct ingest_options *opt;
    const struct schedule *schedule;
    const struct tokenizer *tokenizer;
    const struct picture_index *pictures; /* mmc4 */
    const struct captions *captions;      /* pairs; NULL: the samples' own */
    const struct exclude *exclude;        /* NULL: nothing is excluded */
    struct gate *gate;
    struct progress *progress;
};

/* For struct driver_job; `arg` is the context. */
enum status unit_run(void *arg, const struct driver_unit *driver, struct error *err);
bool unit_follows(void *arg, uint32_t unit);
void unit_release(void *arg, void *carry);

#endif
