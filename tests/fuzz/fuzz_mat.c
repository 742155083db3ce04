/* tests/fuzz/fuzz_mat.c: any bytes as a MAT file. Every number and text of what is accepted can be read. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "ingest/masks/matfile.h"

static double read_all(const struct mat_value *v, unsigned depth)
{
    double sum = 0;
    const uint64_t children = v->class == MAT_STRUCT ? v->count * v->fields
                              : v->class == MAT_CELL ? v->count
                                                     : 0;

    if (depth > 17)
        abort();
    if (v->text)
        return (double)strlen(v->text);
    for (uint64_t i = 0; i < children; i++)
        sum += read_all(v->children[i], depth + 1);
    for (uint64_t i = 0; v->data && i < v->count; i++)
        sum += mat_number(v, i) != 0;
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mat_limits limits;
    struct mat_value *v = NULL;
    struct arena arena;
    struct error err = { 0 };

    arena_init(&arena, 1 << 26);
    mat_limits_init(&limits);
    limits.max_variable = 1 << 22;
    limits.max_elements = 1 << 22;
    if (mat_parse(&v, &arena, data, size, "anno", &limits, &err) == ST_OK) {
        if (read_all(v, 1) < 0)
            abort();
    } else if (err.cause == CAUSE_NONE || v) {
        abort();
    }
    arena_clear(&arena);
    return 0;
}
