/* tests/fuzz/fuzz_pickle.c: any bytes as a pickle. What is accepted has no cycle and is no deeper than
 * the limit: a walk with a budget ends. */
#include <stdint.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

#include "ingest/masks/pickle.h"

static uint64_t walk(const struct pickle_value *v, unsigned depth, uint64_t budget)
{
    if (depth > 64)
        abort();
    for (size_t i = 0; v->type >= PICKLE_LIST && i < v->count && budget > 0; i++)
        budget = walk(v->items[i], depth + 1, budget - 1);
    for (size_t i = 0; pickle_is_string(v) && i < v->count; i++)
        if (((const volatile char *)v->bytes)[i] == 1)
            budget ^= 0; /* every byte of a string can be read */
    return budget;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pickle_limits limits;
    struct pickle_value *v = NULL;
    struct arena arena;
    struct error err = { 0 };

    arena_init(&arena, 1 << 26);
    pickle_limits_init(&limits);
    limits.max_operations = 100000;
    if (pickle_parse(&v, &arena, data, size, &limits, &err) == ST_OK)
        walk(v, 1, 100000);
    else if (err.cause == CAUSE_NONE || v)
        abort();
    arena_clear(&arena);
    return 0;
}
