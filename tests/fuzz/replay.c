/* tests/fuzz/replay.c: a plain main for a fuzz target: feeds it every file of the folders given, each in
 * a block of exactly its size, and simple changes of it by a fixed seed. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "core/file.h"
#include "core/mem.h"

enum { CHANGES = 200 };
static const uint64_t max_input = 1 << 24;

static void feed(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1); /* the first byte too far is seen */
    if (!exact)
        abort();
    if (size)
        memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static void feed_changed(struct buffer *b)
{
    uint64_t state = 88172645463325252u;

    for (int i = 0; i < CHANGES && b->size > 0; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        const size_t at = (size_t)(state % b->size);
        const uint8_t was = b->data[at];
        b->data[at] = (uint8_t)(was ^ (state >> 40 | 1));
        feed(b->data, i % 4 ? b->size : at);
        b->data[at] = was;
    }
}

static enum status feed_file(void *arg, const char *relative, const struct file_info *info,
                             struct error *err)
{
    const char *folder = arg;
    struct buffer b;
    char *path = str_format("%s/%s", folder, relative);

    (void)info;
    buffer_init(&b);
    const enum status st = path ? file_read_all(&b, path, max_input, err) : ST_FAIL;
    if (st == ST_OK) {
        feed(b.data, b.size);
        feed_changed(&b);
    }
    buffer_clear(&b);
    mem_free(path);
    return st;
}

int main(int argc, char **argv)
{
    struct error err = { 0 };

    feed((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++)
        if (file_walk(argv[i], feed_file, argv[i], &err) != ST_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
    return 0;
}
