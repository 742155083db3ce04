/* tests/loader/make_loader_dataset.c: FOLDER gets a small dataset, for tests in other languages. */
#include "tests/support/support.h"

#include <stdio.h>

#include "tests/loader/fixture.h"

int main(int argc, char **argv)
{
    const struct fixture_options opt = { .shards = 3, .per_shard = 20, .seed = 5, .regions = true };

    if (argc != 2) {
        fprintf(stderr, "usage: make_loader_dataset FOLDER\n");
        return 64;
    }
    printf("%llu\n", (unsigned long long)fixture_dataset(argv[1], &opt));
    return 0;
}
