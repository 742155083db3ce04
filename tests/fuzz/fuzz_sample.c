/* tests/fuzz/fuzz_sample.c: any bytes as an encoded sequence. What is accepted and written again reads
 * back to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "shards/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sample_slot slot = { 300, 301, 4 };
    struct arena arena;
    struct buffer again, third;
    struct sample s, t;
    struct error err = { 0 };

    arena_init(&arena, 1 << 28);
    buffer_init(&again);
    buffer_init(&third);
    if (sample_decode(&s, &arena, data, size, &slot, &err) == ST_OK) {
        if (sample_encode(&again, &s, &slot, &err) != ST_OK ||
            sample_decode(&t, &arena, again.data, again.size, &slot, &err) != ST_OK ||
            sample_encode(&third, &t, &slot, &err) != ST_OK || third.size != again.size ||
            memcmp(third.data, again.data, again.size) != 0)
            abort();
    } else if (err.cause == CAUSE_NONE) {
        abort();
    }
    buffer_clear(&again);
    buffer_clear(&third);
    arena_clear(&arena);
    return 0;
}
