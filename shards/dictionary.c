/* shards/dictionary.c: training by libzstd's cover search on one thread. */
#include "shards/dictionary.h"

#include <limits.h>
#include <zdict.h>

enum status dictionary_train(struct buffer *out, const void *data, const size_t *sizes,
                             size_t count, struct error *err)
{
    if (count < DICTIONARY_MIN_SAMPLES || count > UINT_MAX)
        return ST_OK;
    if (buffer_reserve(out, DICTIONARY_MAX_BYTES, err) != ST_OK)
        return ST_FAIL;
    const size_t n = ZDICT_trainFromBuffer(out->data + out->size, DICTIONARY_MAX_BYTES, data, sizes,
                                           (unsigned)count);
    if (!ZDICT_isError(n)) /* samples without a common part give an error: no dictionary then */
        out->size += n;
    return ST_OK;
}
