/* tests/fuzz/fuzz_source_jsonl.c: any bytes as JSON lines, gzip, zstd or zip of MMC4 documents. */
#include "tests/fuzz/fuzz_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_source(source_open_mmc4, data, size);
    return 0;
}
