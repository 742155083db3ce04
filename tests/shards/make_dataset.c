/* tests/shards/make_dataset.c: writes small datasets for tests in other languages: DIR/mmc4 and
 * DIR/instruct, DIR/page (pictures that a browser shows); and DIR/tiny, DIR/sample-0 ..., from which tests/data and the fuzz corpus were made. */
#include "tests/shards/fixture.h"

#include <stdio.h>
#include <sys/stat.h>

static void write_samples(const char *folder)
{
    struct fixture_random r = { 44 };
    const struct sample_slot slot = shard_facts_slot(fixture_facts(true));
    const struct sample_image picture = { .codec = IMAGE_WEBP, .original_hash = { 1, 2 } };

    for (unsigned i = 0; i < 4; i++) {
        struct arena arena;
        struct buffer bytes;
        char *path = str_format("%s/sample-%u", folder, i);
        FILE *f = fopen(path, "wb");
        arena_init(&arena, 0);
        buffer_init(&bytes);
        const struct sample s = fixture_sample(&r, &arena, i % 2, &picture, 1);
        assert_int_equal(sample_encode(&bytes, &s, &slot, NULL), ST_OK);
        assert_non_null(f);
        assert_int_equal(fwrite(bytes.data, 1, bytes.size, f), bytes.size);
        fclose(f);
        buffer_clear(&bytes);
        arena_clear(&arena);
        mem_free(path);
    }
}

int main(int argc, char **argv)
{
    const struct fixture_options mmc4 = {
        .seed = 41, .shards = 3, .sequences = 20, .max_picture = 3000, .dictionary = true
    };
    const struct fixture_options instruct = {
        .seed = 42, .shards = 1, .sequences = 20, .max_picture = 3000, .instruct = true
    };

    const struct fixture_options tiny = {
        .seed = 43, .shards = 1, .sequences = 3, .max_picture = 200, .instruct = true
    };

    if (argc != 2) {
        fprintf(stderr, "usage: make_dataset DIR\n");
        return 64;
    }
    mkdir(argv[1], 0777);
    char *a = str_format("%s/mmc4", argv[1]), *b = str_format("%s/instruct", argv[1]);
    fixture_dataset(&mmc4, a);
    fixture_dataset(&instruct, b);
    const struct fixture_options page = {
        .seed = 45, .shards = 1, .sequences = 4, .real = true, .instruct = true
    };
    char *d = str_format("%s/page", argv[1]);
    fixture_dataset(&page, d);
    mem_free(d);
    char *c = str_format("%s/tiny", argv[1]);
    fixture_dataset(&tiny, c);
    write_samples(argv[1]);
    mem_free(a);
    mem_free(b);
    mem_free(c);
    return 0;
}
