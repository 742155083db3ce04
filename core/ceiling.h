/* core/ceiling.h: a hard ceiling on the memory of the process by RLIMIT_DATA: LMDB's read-only map and
 * mapped files do not count. Past it allocations fail (CAUSE_NOMEM); nothing is killed. */
#ifndef DEEM_CORE_CEILING_H
#define DEEM_CORE_CEILING_H

#include <stdint.h>

#include "core/error.h"

/* At most `bytes` more than the process holds now, and the stacks of `threads` more threads. A lower
 * limit that is set already stays. ST_FAIL: CAUSE_IO. */
enum status memory_ceiling(uint64_t bytes, unsigned threads, struct error *err);

#endif
