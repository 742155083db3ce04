/* tests/fuzz/fuzz_source_tar.c: any bytes as a tar of image-text pairs. */
#include "tests/fuzz/fuzz_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_source(source_open_pairs, data, size);
    return 0;
}
