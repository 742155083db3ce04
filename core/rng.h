/* core/rng.h: counter-based random draws as a function of (seed, purpose, record key).
 * Normative definition: spec data.md 2.3.1 (Philox4x32-10 over XXH3-128 of the key bytes). Nothing
 * is shared between keys and nothing advances a global stream. Not for several threads at once
 * on the same struct; copies are independent. */
#ifndef DEEM_CORE_RNG_H
#define DEEM_CORE_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* One Philox4x32-10 block. Source: Salmon et al. 2011, Random123. */
void philox4x32_10(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

enum { RNG_KEY_MAX = 4608 }; /* bytes; a record field is a name of at most 1,024 bytes */

/* Builds the key bytes K field by field. `overflow` is set when a field did not fit. */
struct rng_key {
    uint8_t bytes[RNG_KEY_MAX];
    size_t size;
    bool overflow;
};
void rng_key_init(struct rng_key *k, uint64_t seed, const char *purpose);
void rng_key_string(struct rng_key *k, const char *s, size_t size);
void rng_key_integer(struct rng_key *k, uint64_t v);

struct rng {
    uint32_t h[4];     /* state h0..h3 */
    uint64_t position; /* next word */
    uint64_t block;    /* cached block number + 1; 0 = none */
    uint64_t words[2]; /* of the cached block */
};
void rng_init(struct rng *r, const struct rng_key *k);

uint64_t rng_word(struct rng *r);                          /* next word */
uint64_t rng_word_at(const struct rng *r, uint64_t index); /* w[index], stream untouched */
double rng_unit(struct rng *r);
bool rng_bernoulli(struct rng *r, double p);
uint64_t rng_below(struct rng *r, uint64_t n); /* n >= 1 */
/* First k of a permutation of 0..n-1 into out[0..n-1] (workspace and result). */
void rng_pick(struct rng *r, uint64_t *out, size_t n, size_t k);
size_t rng_weighted(struct rng *r, const uint64_t *weights, size_t n); /* sum >= 1, no wrap */
uint64_t rng_order(struct rng *r);
/* Position i of a permutation of 0..n-1 without a list; 0 <= i < n. */
uint64_t rng_perm_at(const struct rng *r, uint64_t n, uint64_t i);
/* Element e of a standard normal tensor (spec model.md 3.5), in double. */
double rng_normal_at(const struct rng *r, uint64_t e);
/* 64-bit record key of data.md 4.5: XXH3-64 of key bytes made with purpose "K", seed 0. */
uint64_t rng_record_id(const struct rng_key *k);

#endif
