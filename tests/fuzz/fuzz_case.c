/* tests/fuzz/fuzz_case.c: any text as the case.json of a reference case whose tensors are whole: it runs,
 * or it is refused with a reason. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#include "cli/golden.h"
#include "core/log.h"

static char folder[] = "/tmp/fuzz_case.XXXXXX";
static const char *const files[] = { "weights.safetensors", "inputs.safetensors",
                                     "expected.safetensors", "case.json" };

static void remove_folder(void)
{
    char path[80];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

/* The tensors are those of the smallest case with a program. */
static void make_folder(void)
{
    char path[80], target[400];
    if (!mkdtemp(folder) || atexit(remove_folder))
        abort();
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        snprintf(target, sizeof target, "%s/%s", CASE_FOLDER, files[i]);
        if (symlink(target, path))
            abort();
    }
    log_setup(true, false);
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
    struct placement_options cpu;
    struct golden *g = NULL;
    struct error err = { 0 };
    char path[80];

    if (!made)
        make_folder();
    made = true;
    placement_options_init(&cpu);
    snprintf(path, sizeof path, "%s/case.json", folder);
    write_file(path, data, size);
    if (golden_open(&g, folder, &cpu, &err) != ST_OK)
        abort();
    if (golden_ready(g, &err) == ST_OK)
        (void)golden_run(g, &err);
    if (err.cause == CAUSE_NONE && g->n_findings > g->n_flaws)
        abort();
    golden_close(&g);
    return 0;
}
