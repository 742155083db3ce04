/* tests/fuzz/fuzz.h: the one function of a fuzz target: libFuzzer or replay.c calls it with input after
 * input. */
#ifndef DEEM_TESTS_FUZZ_H
#define DEEM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Returns 0; a broken property aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
