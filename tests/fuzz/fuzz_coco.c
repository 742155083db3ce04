/* tests/fuzz/fuzz_coco.c: any bytes as a COCO-shaped file, through the store with all its filters. Whatever
 * is read is accounted for: seen = stored + filtered + quarantined. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#include "core/file.h"
#include "ingest/masks/coco.h"

static uint64_t sum(const struct mask_count *list, size_t n)
{
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += list[i].n;
    return total;
}

static void check(struct mask_store *s)
{
    struct error err = { 0 };
    const enum status st = mask_store_finish(s, &err);
    const struct mask_counts *c = mask_store_counts(s);

    if (st == ST_OK && c->seen != c->stored + sum(c->filtered, c->n_filtered) +
                                      sum(c->quarantined, c->n_quarantined))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct coco_options coco = { .image_captions = size % 2,
                                       .annotation_captions = size % 3 == 0 };
    struct mask_options options;
    struct mask_store *store = NULL;
    struct error err = { 0 };
    char path[64], spill[64];
    int fd = -1;

    snprintf(path, sizeof path, "/tmp/deem-fuzz-%d.json", (int)getpid());
    snprintf(spill, sizeof spill, "/tmp/deem-fuzz-%d.work", (int)getpid());
    mask_options_init(&options);
    options.tolerance = 10000;
    options.min_area = 1;
    if (file_open_write(&fd, path, &err) != ST_OK ||
        file_write(fd, path, data, size, &err) != ST_OK || file_close(&fd, path, &err) != ST_OK ||
        mask_store_open(&store, spill, &options, &err) != ST_OK)
        abort();
    if (coco_read(store, path, &coco, &err) == ST_OK)
        check(store);
    else if (err.cause == CAUSE_NONE)
        abort();
    mask_store_close(&store);
    file_remove(path, NULL);
    return 0;
}
