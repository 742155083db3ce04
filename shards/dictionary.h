/* shards/dictionary.h: the zstd dictionary of a dataset, trained once on encoded sequences or runs of
 * ids of the plan's first records. One thread; a pure function of its input and of the library. */
#ifndef DEEM_SHARDS_DICTIONARY_H
#define DEEM_SHARDS_DICTIONARY_H

#include <stddef.h>

#include "core/error.h"
#include "core/mem.h"

enum {
    DICTIONARY_MAX_BYTES = 65536,
    DICTIONARY_MIN_SAMPLES = 64, /* fewer: no dictionary */
};

/* Appends the dictionary of `count` samples that lie one after the other in `data`. Too few samples,
 * or samples the library can learn nothing from: nothing is appended, ST_OK. ST_FAIL: CAUSE_NOMEM. */
enum status dictionary_train(struct buffer *out, const void *data, const size_t *sizes,
                             size_t count, struct error *err);

#endif
