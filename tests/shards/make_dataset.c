/* tests/shards/make_dataset.c: writes small datasets for tests in other languages: DIR/mmc4 and
 * DIR/instruct. */
#include "tests/shards/fixture.h"

#include <stdio.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
    const struct fixture_options mmc4 = {
        .seed = 41, .shards = 3, .sequences = 20, .max_picture = 3000, .dictionary = true
    };
    const struct fixture_options instruct = {
        .seed = 42, .shards = 1, .sequences = 20, .max_picture = 3000, .instruct = true
    };

    if (argc != 2) {
        fprintf(stderr, "usage: make_dataset DIR\n");
        return 64;
    }
    mkdir(argv[1], 0777);
    char *a = str_format("%s/mmc4", argv[1]), *b = str_format("%s/instruct", argv[1]);
    fixture_dataset(&mmc4, a);
    fixture_dataset(&instruct, b);
    mem_free(a);
    mem_free(b);
    return 0;
}
