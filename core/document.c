/* core/document.c: see document.h. */
#include "core/document.h"

#include <inttypes.h>

void document_key(struct rng_key *k, const struct document *d)
{
    rng_key_string(k, d->file.data, d->file.size);
    if (d->key.data)
        rng_key_string(k, d->key.data, d->key.size);
    else
        rng_key_integer(k, d->line);
}

void document_draw(struct rng *r, uint64_t seed, const char *purpose, const struct document *d)
{
    struct rng_key k;
    rng_key_init(&k, seed, purpose);
    document_key(&k, d);
    rng_init(r, &k);
}

enum status document_name(struct buffer *out, const struct document *d, struct error *err)
{
    enum status st = buffer_append(out, d->file.data, d->file.size, err);
    if (st != ST_OK)
        return st;
    if (!d->key.data)
        return buffer_printf(out, err, ":%" PRIu64, d->line);
    st = buffer_append(out, ":", 1, err);
    return st == ST_OK ? buffer_append(out, d->key.data, d->key.size, err) : st;
}
