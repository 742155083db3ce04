/* trainer/deem_cache.h: built models with their plans, by shape, in one arena. A training run meets few
 * shapes (rows are padded to the recipe's length, pictures to a bucket), so the least recently used one
 * goes when the cache is full. One thread. */
#ifndef DEEM_TRAINER_DEEM_CACHE_H
#define DEEM_TRAINER_DEEM_CACHE_H

#include "trainer/deem.h"
#include "trainer/runner.h"

enum { DEEM_CACHE_MAX = 8 };

struct deem_cache;
/* All borrowed until close. `entries` 1 .. DEEM_CACHE_MAX. */
enum status deem_cache_open(struct deem_cache **out, const struct deem_config *config,
                            const struct deem_options *options, struct params *params,
                            struct placement *where, int entries, struct error *err);
void deem_cache_close(struct deem_cache **c);
/* The model and runner of that shape, built now or before; valid until the next call. The table of
 * parameters gets its memory with the first shape: load weights after it. */
enum status deem_cache_get(struct deem_cache *c, const struct deem_shape *shape, struct deem **m,
                           struct runner **r, struct error *err);

/* Memory of all programs that it holds now, bytes. */
int64_t deem_cache_bytes(const struct deem_cache *c);

#endif
