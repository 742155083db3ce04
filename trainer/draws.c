/* trainer/draws.c: see draws.h. */
#include "trainer/draws.h"

#include <string.h>

void draw_open(struct rng *r, const struct draw_key *key, const char *purpose, const char *name)
{
    struct rng_key k;
    rng_key_init(&k, key->seed, purpose);
    rng_key_integer(&k, key->step);
    rng_key_integer(&k, key->sequence);
    rng_key_integer(&k, key->picture);
    if (name)
        rng_key_string(&k, name, strlen(name));
    rng_init(r, &k);
}

void draw_open_initial(struct rng *r, uint64_t seed, const char *name)
{
    struct rng_key k;
    rng_key_init(&k, seed, "T9");
    rng_key_string(&k, name, strlen(name));
    rng_init(r, &k);
}

void draw_state(int32_t out[4], const struct rng *r)
{
    memcpy(out, r->h, 4 * sizeof *out);
}
