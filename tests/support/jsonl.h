/* tests/support/jsonl.h: walks a JSON-lines file of reference cases. Include after support.h. */
#ifndef DEEM_TESTS_JSONL_H
#define DEEM_TESTS_JSONL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/json.h"
#include "core/mem.h"

struct jsonl {
    char *data; /* whole file */
    size_t size, at;
    unsigned line; /* of the current case, from 1 */
    struct arena arena;
};
void jsonl_open(struct jsonl *f, const char *path); /* fails the test where it is not there */
/* The next case, or NULL. Valid until the next call. */
const struct json_value *jsonl_next(struct jsonl *f);
void jsonl_close(struct jsonl *f);

/* Members that must be there. */
const struct json_value *jsonl_get(const struct json_value *v, const char *key);
int64_t jsonl_int(const struct json_value *v, const char *key);
uint64_t jsonl_u64(const struct json_value *v, const char *key); /* a decimal string */
bool jsonl_is(const struct json_value *v, const char *key, const char *text);

#endif
