/* tests/fuzz/fuzz_weight_index.c: any text as the index of sharded weights. The shards it may name are
 * asked for by the path beside the index only, never by one that leads elsewhere. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#include "trainer/safetensors.h"
#include "trainer/weight_index.h"

static char folder[] = "/tmp/fuzz_weight_index.XXXXXX";

static void remove_folder(void)
{
    (void)rmdir(folder);
}

static enum status add_nothing(struct tensor_file *f, const char *path, struct error *err)
{
    const size_t n = strlen(folder);
    (void)f;
    (void)err;
    if (strncmp(path, folder, n) != 0 || path[n] != '/' || strchr(path + n + 1, '/'))
        abort();
    return ST_OK;
}

/* Nothing waits for the disk here. */
static void write_file(const char *path, const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    struct tensor_file *f = NULL;
    struct error err = { 0 };
    static const uint8_t empty[] = { 2, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    char path[64];

    if (!made && (!mkdtemp(folder) || atexit(remove_folder)))
        abort();
    made = true;
    snprintf(path, sizeof path, "%s/index.json", folder);
    write_file(path, data, size);
    if (safetensors_open_memory(&f, "empty", empty, sizeof empty, &err) != ST_OK)
        abort();
    if (weight_index_open(f, path, add_nothing, &err) != ST_OK && err.cause == CAUSE_NONE)
        abort();
    tensor_file_close(&f);
    (void)unlink(path);
    return 0;
}
