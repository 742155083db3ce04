/* tests/loader/fixture.h: small datasets in the real format, and a digest of a batch. */
#ifndef DEEM_TESTS_LOADER_FIXTURE_H
#define DEEM_TESTS_LOADER_FIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "loader/loader.h"

enum { FIXTURE_PIECES = 300, FIXTURE_SLOT = 2, FIXTURE_PICTURES = 6 };

struct fixture_options {
    unsigned shards, per_shard; /* sequences of each shard; shard i has i % 3 fewer */
    unsigned seed;              /* of the content */
    bool regions;               /* every second picture is a region of the one before it */
    bool losses;                /* sequences bring their own targets */
    bool even;                  /* every shard has per_shard sequences */
};
/* Makes dataset.json and shards under `folder` (created). Returns the sequences in it. */
uint64_t fixture_dataset(const char *folder, const struct fixture_options *opt);
/* dataset.json of opt->shards even shards, of which only those with made[i] exist. */
void fixture_simulated(const char *folder, const struct fixture_options *opt, const bool *made);

/* loader_open and loader_next that fail the test with their message. */
struct loader *fixture_open(const struct loader_options *opt);
const struct batch *fixture_next(struct loader *l);

/* XXH3-64 over everything a trainer reads of a batch. */
uint64_t fixture_digest(const struct batch *b);
/* Options for quick tests: 8 x 8 and 16 x 16 pixels, two sources below `folder` (a, b) at 2 : 1. */
void fixture_loader_options(struct loader_options *opt, struct loader_source sources[2],
                            const char *paths[2]);

#endif
