/* tests/fuzz/fuzz_safetensors.c: any bytes as a safetensors file. Every tensor of what is accepted lies
 * within the bytes, is found by its name, and can be read. */
#include <stdint.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

#include "trainer/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_file *f = NULL;
    struct error err = { 0 };

    if (safetensors_open_memory(&f, "fuzz", data, size, &err) != ST_OK) {
        if (f || err.cause == CAUSE_NONE)
            abort();
        return 0;
    }
    for (size_t i = 0; i < tensor_file_count(f); i++) {
        const struct tensor_info *t = tensor_file_at(f, i);
        if (t->bytes > size || t->offset > size - t->bytes || t->count < 0 ||
            tensor_file_find(f, t->name) != t)
            abort();
        float *values = malloc((size_t)t->count * sizeof *values + 1);
        error_clear(&err);
        if (!values ||
            (tensor_file_read_f32(f, t, values, &err) != ST_OK && err.cause != CAUSE_FORMAT))
            abort();
        free(values);
    }
    tensor_file_close(&f);
    return 0;
}
