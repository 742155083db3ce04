/* ingest/gate.h: the memory ceiling by accounting. Every worker's ordinary needs are set aside once;
 * what goes beyond them, a large record or picture, passes one at a time. Thread-safe. */
#ifndef DEEM_INGEST_GATE_H
#define DEEM_INGEST_GATE_H

#include <stdint.h>

#include "core/error.h"
#include "core/image.h"
#include "ingest/source.h"

struct gate;
/* *workers is lowered to what `memory` bytes carry. ST_FAIL: CAUSE_ARG where one worker and one record
 * of the allowed size do not fit. */
enum status gate_open(struct gate **out, unsigned *workers, uint64_t memory,
                      const struct source_limits *records, const struct image_limits *pictures,
                      struct error *err);
void gate_close(struct gate **g);
/* Before work that holds `bytes`; waits where that is more than ordinary and another is at it. */
void gate_enter(struct gate *g, uint64_t bytes);
void gate_leave(struct gate *g, uint64_t bytes);
/* What the ordinary needs of a worker are, in bytes. */
uint64_t gate_ordinary(void);

#endif
