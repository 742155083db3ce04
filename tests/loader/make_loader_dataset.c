/* tests/loader/make_loader_dataset.c: FOLDER gets a small dataset, for tests in other languages. Shard i has
 * i % 3 sequences less than PER-SHARD. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/loader/fixture.h"

int main(int argc, char **argv)
{
    struct fixture_options opt = { .shards = 3, .per_shard = 20, .seed = 5, .regions = true };

    if (argc != 2 && argc != 5) {
        fprintf(stderr, "usage: make_loader_dataset FOLDER [SEED SHARDS PER-SHARD]\n");
        return 64;
    }
    if (argc == 5) {
        opt.seed = (unsigned)strtoul(argv[2], NULL, 10);
        opt.shards = (unsigned)strtoul(argv[3], NULL, 10);
        opt.per_shard = (unsigned)strtoul(argv[4], NULL, 10);
    }
    printf("%llu\n", (unsigned long long)fixture_dataset(argv[1], &opt));
    return 0;
}
