/* ingest/holes.c: see holes.h. */
#include "ingest/holes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of docs_no_face_shard_N_v3 and docs_shard_N_v3; source: spec data.md 1.1. */
static const uint32_t never_existed[] = { 3218,  3267,  5064,  5146,  7119,  8991,  9750,
                                          11899, 15127, 15252, 16996, 17369, 17499, 17818 };
enum { SHOWN = 20 };

/* N of a name docs[_no_face]_shard_N_vX. */
static bool shard_number(uint32_t *out, const char *name)
{
    const char *at = strstr(name, "docs_") == name ? strstr(name, "shard_") : NULL;
    char *end = NULL;
    if (!at || at[6] < '0' || at[6] > '9')
        return false;
    const unsigned long n = strtoul(at + 6, &end, 10);
    *out = (uint32_t)n;
    return strncmp(end, "_v", 2) == 0 && n <= UINT32_MAX;
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static bool is_known(uint32_t n)
{
    return bsearch(&n, never_existed, sizeof never_existed / sizeof *never_existed, sizeof n,
                   by_number) != NULL;
}

enum status holes_describe(struct buffer *out, const struct inputs *in, struct error *err)
{
    uint32_t *numbers = mem_calloc(in->count ? in->count : 1, sizeof *numbers);
    size_t count = 0;
    uint64_t holes = 0;
    enum status st = ST_OK;

    if (!numbers)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "input list");
    for (size_t i = 0; i < in->count; i++)
        count += shard_number(&numbers[count], in->list[i].name);
    qsort(numbers, count, sizeof *numbers, by_number);
    for (size_t i = 1; i < count && st == ST_OK; i++)
        for (uint32_t n = numbers[i - 1]; n < numbers[i] && n + 1 < numbers[i] && st == ST_OK;) {
            if (is_known(++n))
                continue;
            if (holes++ < SHOWN)
                st = buffer_printf(out, err, "%s%" PRIu32,
                                   holes == 1 ? "no input for these shards: " : ", ", n);
        }
    if (st == ST_OK && holes > SHOWN)
        st = buffer_printf(out, err, " and %" PRIu64 " more", holes - SHOWN);
    mem_free(numbers);
    return st;
}
