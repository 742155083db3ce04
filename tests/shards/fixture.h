/* tests/shards/fixture.h: small datasets made by seed, with every kind of record and field. */
#ifndef DEEM_TESTS_SHARDS_FIXTURE_H
#define DEEM_TESTS_SHARDS_FIXTURE_H

#include "tests/support/support.h"

#include "core/mem.h"
#include "shards/dataset.h"
#include "shards/shard_writer.h"

struct fixture_options {
    uint64_t seed;
    uint32_t shards, sequences; /* sequences per shard */
    size_t max_picture;         /* bytes */
    bool dictionary;
    bool real;     /* pictures are PNG files of 64 x 48 red pixels but for one; else random bytes */
    bool instruct; /* masks and loss masks; else "mmc4" with lines, similarities */
};

/* Facts of every fixture: V = 300, T = 4, N = 256, M = 6. */
const struct shard_facts *fixture_facts(bool instruct);
/* A sequence whose images name pictures 0..5 of `pictures`; all of it in `arena`. */
struct fixture_random {
    uint64_t state;
};
uint32_t fixture_draw(struct fixture_random *r, uint32_t below);
struct sample fixture_sample(struct fixture_random *r, struct arena *arena, bool instruct,
                             const struct sample_image *pictures, uint32_t count);

/* Writes shard `shard` to `path` by way of `path`.tmp; fails the test where that fails. */
void fixture_shard(const struct fixture_options *opt, uint32_t shard, const char *path,
                   uint8_t sha256[32]);
/* A whole dataset in the new folder `folder`. */
void fixture_dataset(const struct fixture_options *opt, const char *folder);

/* Field by field; fails the test on a difference. */
void fixture_assert_equal(const struct sample *a, const struct sample *b);

#endif
