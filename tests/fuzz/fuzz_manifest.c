/* tests/fuzz/fuzz_manifest.c: any text as a manifest. Its digest is put right first, so that what stands
 * in it is read; what is accepted and written again reads back to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#include "core/hash.h"
#include "shards/manifest.h"

enum { TAIL = 78 };

static void check(const void *data, size_t size)
{
    struct manifest m, n;
    struct buffer again, third;
    struct error err = { 0 };

    manifest_init(&m);
    manifest_init(&n);
    buffer_init(&again);
    buffer_init(&third);
    if (manifest_decode(&m, data, size, &err) == ST_OK) {
        if (manifest_encode(&again, &m, &err) != ST_OK ||
            manifest_decode(&n, again.data, again.size, &err) != ST_OK ||
            manifest_encode(&third, &n, &err) != ST_OK || third.size != again.size ||
            memcmp(third.data, again.data, again.size) != 0)
            abort();
    } else if (err.cause == CAUSE_NONE) {
        abort();
    }
    manifest_clear(&m);
    manifest_clear(&n);
    buffer_clear(&again);
    buffer_clear(&third);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buffer b;
    uint8_t digest[32];
    char hex[65];

    check(data, size);
    if (size <= TAIL)
        return 0;
    buffer_init(&b);
    hash_sha256(digest, data, size - TAIL);
    hash_hex(hex, digest, sizeof digest);
    if (buffer_append(&b, data, size - TAIL, NULL) == ST_OK &&
        buffer_printf(&b, NULL, ",\"sha256\":\"%s\"}\n", hex) == ST_OK)
        check(b.data, b.size);
    buffer_clear(&b);
    return 0;
}
