/* tests/fuzz/fuzz_source.h: any bytes as an input of a dump, shared by the targets of the two formats.
 * Whatever they are, reading ends, every damage has a code, and records do not outnumber the bytes. */
#ifndef DEEM_TESTS_FUZZ_SOURCE_H
#define DEEM_TESTS_FUZZ_SOURCE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

#include "ingest/source.h"

typedef enum status fuzz_open_fn(struct source **out, const char *path, const char *file,
                                 const struct source_limits *limits, struct error *err);

static inline void fuzz_touch(const struct text *t)
{
    if (t->data && t->data[t->size] != '\0')
        abort();
}

static inline void fuzz_document(const struct document *d)
{
    if (d->file.size == 0 && d->kind == DOCUMENT_INTERLEAVED)
        abort();
    fuzz_touch(&d->url);
    for (size_t i = 0; i < d->sentence_count; i++)
        fuzz_touch(&d->sentences[i]);
    for (size_t i = 0; i < d->image_count; i++) {
        fuzz_touch(&d->images[i].name);
        fuzz_touch(&d->images[i].raw_url);
        for (size_t k = 0; d->images[i].bytes && k < d->images[i].size; k += 512)
            if (d->images[i].bytes[k] == d->images[i].bytes[k] + 1)
                abort(); /* reads the byte */
    }
}

static inline void fuzz_source(fuzz_open_fn *open, const uint8_t *data, size_t size)
{
    struct source_limits limits;
    struct source *s = NULL;
    struct error err = { 0 };
    char path[64];
    uint64_t records = 0;
    const int fd = memfd_create("fuzz", 0);
    if (fd < 0 || (size > 0 && write(fd, data, size) != (ssize_t)size))
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    source_limits_init(&limits);
    limits.max_lines_member = 1 << 20;
    limits.max_line = 1 << 16;
    limits.max_members = 1000;
    limits.max_member = 1 << 16;
    if (open(&s, path, "fuzz", &limits, &err) != ST_OK)
        abort();
    for (;;) {
        const struct document *d = NULL;
        struct source_damage damage;
        const enum status st = source_next(s, &d, &damage, &err);
        if (st == ST_END)
            break;
        if (st == ST_OK)
            fuzz_document(d);
        else if (st != ST_SKIP || err.code[0] == '\0' || !damage.record.data || !damage.stage)
            abort();
        error_clear(&err);
        if (++records > (1 << 20) + size)
            abort();
    }
    source_incomplete(s, NULL);
    source_close(&s);
    close(fd);
}

#endif
