/* core/rng.c: see rng.h. The normative text is spec data.md 2.3.1; normal draws model.md 3.5. */
#include "core/rng.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/philox.h"

void philox4x32_10(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    memcpy(out, counter, 4 * sizeof *out);
    philox_block(out, key[0], key[1]);
}

static uint8_t *key_room(struct rng_key *k, size_t size)
{
    if (size > RNG_KEY_MAX - k->size) {
        k->overflow = true;
        return NULL;
    }
    uint8_t *p = k->bytes + k->size;
    k->size += size;
    return p;
}

void rng_key_init(struct rng_key *k, uint64_t seed, const char *purpose)
{
    k->size = 12;
    k->overflow = false;
    memcpy(k->bytes, "deem", 4);
    store_u64le(k->bytes + 4, seed);
    rng_key_string(k, purpose, strlen(purpose));
}

void rng_key_string(struct rng_key *k, const char *s, size_t size)
{
    uint8_t *p = size > RNG_KEY_MAX ? NULL : key_room(k, 5 + size);
    if (!p) {
        k->overflow = true;
        return;
    }
    p[0] = 's';
    store_u32le(p + 1, (uint32_t)size);
    if (size > 0)
        memcpy(p + 5, s, size);
}

void rng_key_integer(struct rng_key *k, uint64_t v)
{
    uint8_t *p = key_room(k, 9);
    if (!p)
        return;
    p[0] = 'i';
    store_u64le(p + 1, v);
}

void rng_init(struct rng *r, const struct rng_key *k)
{
    const struct hash128 h = hash_xxh3_128(k->bytes, k->size);
    *r = (struct rng){ .h = { (uint32_t)h.low, (uint32_t)(h.low >> 32), (uint32_t)h.high,
                              (uint32_t)(h.high >> 32) } };
}

uint64_t rng_word(struct rng *r)
{
    const uint64_t b = r->position / 2;
    if (r->block != b + 1) {
        uint32_t x[4];
        philox_key_block(x, r->h, b);
        r->words[0] = (uint64_t)x[1] << 32 | x[0];
        r->words[1] = (uint64_t)x[3] << 32 | x[2];
        r->block = b + 1;
    }
    return r->words[r->position++ & 1];
}

uint64_t rng_word_at(const struct rng *r, uint64_t index)
{
    uint32_t x[4];
    const unsigned half = index & 1 ? 2 : 0;
    philox_key_block(x, r->h, index / 2);
    return (uint64_t)x[half + 1] << 32 | x[half];
}

double rng_unit(struct rng *r)
{
    return (double)(rng_word(r) >> 11) * 0x1p-53;
}

bool rng_bernoulli(struct rng *r, double p)
{
    return rng_unit(r) < p;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    assert(n >= 1);
    const uint64_t reject = (0 - n) % n; /* (2^64 - n) mod n */
    for (;;) {
        uint64_t low = 0, high = 0;
        __extension__ typedef unsigned __int128 u128;
        const u128 m = (u128)rng_word(r) * n;
        low = (uint64_t)m;
        high = (uint64_t)(m >> 64);
        if (low >= reject)
            return high;
    }
}

void rng_pick(struct rng *r, uint64_t *out, size_t n, size_t k)
{
    for (size_t i = 0; i < n; i++)
        out[i] = i;
    for (size_t i = 0; i < k; i++) {
        const size_t j = i + (size_t)rng_below(r, n - i);
        const uint64_t t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}

size_t rng_weighted(struct rng *r, const uint64_t *weights, size_t n)
{
    uint64_t sum = 0, running = 0;
    for (size_t i = 0; i < n; i++)
        sum += weights[i];
    const uint64_t at = rng_below(r, sum);
    for (size_t i = 0; i + 1 < n; i++) {
        running += weights[i];
        if (running > at)
            return i;
    }
    return n - 1;
}

uint64_t rng_order(struct rng *r)
{
    return rng_word(r);
}

uint64_t rng_perm_at(const struct rng *r, uint64_t n, uint64_t i)
{
    unsigned h = 4;
    while (h < 32 && (uint64_t)1 << (2 * h) < n)
        h++;
    const uint64_t mask = ((uint64_t)1 << h) - 1;
    uint64_t x = i;
    do {
        uint64_t left = x >> h, right = x & mask;
        for (uint32_t round = 0; round < 8; round++) {
            uint32_t f[4];
            const uint32_t counter[4] = { (uint32_t)right, round, r->h[2], r->h[3] };
            philox4x32_10(f, counter, r->h);
            const uint64_t next = left ^ (f[0] & mask);
            left = right;
            right = next;
        }
        x = left << h | right;
    } while (x >= n);
    return x;
}

double rng_normal_at(const struct rng *r, uint64_t e)
{
    uint32_t x[4];
    const unsigned half = e & 2;
    philox_key_block(x, r->h, e / 4);
    const double rho = sqrt(-2.0 * log(((double)x[half] + 0.5) * 0x1p-32));
    const double theta = 2.0 * 3.14159265358979323846 * (double)x[half + 1] * 0x1p-32;
    return rho * (e & 1 ? sin(theta) : cos(theta));
}

uint64_t rng_record_id(const struct rng_key *k)
{
    return hash_xxh3_64(k->bytes, k->size);
}
