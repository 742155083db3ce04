/* tests/ingest/tarball.h: writes tars member by member, good and bad. Include after support.h. */
#ifndef DEEM_TESTS_TARBALL_H
#define DEEM_TESTS_TARBALL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tarball {
    uint8_t data[1 << 17];
    size_t size;
};

/* A ustar header at `at`; the checksum is made for it. */
static inline void tarball_seal(uint8_t *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

static inline uint8_t *tarball_add(struct tarball *t, const char *name, char type, const void *data,
                                   size_t size)
{
    uint8_t *h = t->data + t->size;
    const size_t padded = (size + 511) / 512 * 512;
    assert_true(t->size + 512 + padded + 1024 < sizeof t->data);
    memset(h, 0, 512 + padded);
    snprintf((char *)h, 100, "%s", name);
    memcpy(h + 100, "0000444\0000001750\0000001750", 24);
    snprintf((char *)h + 124, 12, "%011o", (unsigned)size);
    memcpy(h + 136, "14000000000", 12);
    h[156] = (uint8_t)type;
    memcpy(h + 257, "ustar\00000", 8);
    tarball_seal(h);
    if (size)
        memcpy(h + 512, data, size);
    t->size += 512 + padded;
    return h;
}

static inline void tarball_text(struct tarball *t, const char *name, const char *text)
{
    tarball_add(t, name, '0', text, strlen(text));
}

static inline void tarball_end(struct tarball *t)
{
    memset(t->data + t->size, 0, 1024);
    t->size += 1024;
}

static inline void tarball_write(const struct tarball *t, size_t size, const char *path)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(t->data, 1, size, f), size);
    fclose(f);
}

#endif
