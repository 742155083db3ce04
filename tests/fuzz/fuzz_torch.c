/* tests/fuzz/fuzz_torch.c: any bytes as a PyTorch .bin, a zip with a pickle. What opens lies inside the
 * file, tensor by tensor, and reads without a step outside. */
#include <stdint.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz.h"

#include "core/mem.h"
#include "trainer/torch_file.h"

enum { COUNT_READ = 1 << 16 };

static void read_one(const struct tensor_file *f, const struct tensor_info *t, size_t size)
{
    struct error err = { 0 };

    if (t->bytes > size || t->offset > size - t->bytes || t->count < 0)
        abort();
    if (t->count > COUNT_READ) /* strides of 0 make large tensors of few bytes */
        return;
    float *values = mem_calloc((size_t)t->count + 1, sizeof *values);
    if (values && tensor_file_read_f32(f, t, values, &err) != ST_OK && err.cause == CAUSE_NONE)
        abort();
    mem_free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_file *f = NULL;
    struct error err = { 0 };

    if (torch_file_open_memory(&f, "fuzz", data, size, &err) != ST_OK) {
        if (f || err.cause == CAUSE_NONE)
            abort();
        return 0;
    }
    for (size_t i = 0; i < tensor_file_count(f); i++)
        read_one(f, tensor_file_at(f, i), size);
    tensor_file_close(&f);
    return 0;
}
