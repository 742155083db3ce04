/* ingest/masks/pickle.h: an interpreter for the 53 opcodes of Python pickles that hold data only
 * (protocols 0 to 5; spec robustness.md 2.7). It has no notion of imports or calls: the 15 opcodes
 * that need one (GLOBAL, STACK_GLOBAL, INST, OBJ, NEWOBJ, NEWOBJ_EX, REDUCE, BUILD, EXT1, EXT2, EXT4,
 * PERSID, BINPERSID, NEXT_BUFFER, READONLY_BUFFER) are errors. No recursion anywhere. */
#ifndef DEEM_INGEST_MASKS_PICKLE_H
#define DEEM_INGEST_MASKS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

enum pickle_type {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_BYTES, /* bytes, bytearray, and Python 2's str: of no known encoding */
    PICKLE_TEXT,  /* unicode as UTF-8 */
    PICKLE_LIST,
    PICKLE_TUPLE,
    PICKLE_DICT, /* items: key, value, key, value, ... */
    PICKLE_SET,
    PICKLE_FROZENSET,
};

/* Lives in the arena of the parse, or (strings) in the parsed bytes. Values may be shared; there are
 * no cycles. */
struct pickle_value {
    enum pickle_type type;
    uint32_t depth; /* containers below and including this one */
    uint32_t mark;  /* of the check, not for callers */
    size_t count;   /* items, or bytes of a string */
    union {
        int64_t integer; /* PICKLE_INT; PICKLE_BOOL: 0 or 1 */
        double real;
        const char *bytes; /* not NUL-terminated */
        struct {
            struct pickle_value **items;
            size_t cap;
        };
    };
};

struct pickle_limits {
    uint64_t max_operations; /* default 2e8 */
    uint64_t max_memo;       /* entries; default 5e7 */
    uint32_t max_depth;      /* nested containers; default 64 */
    uint64_t max_object;     /* bytes of one string; default 64 MiB */
};
void pickle_limits_init(struct pickle_limits *l);

/* Exactly one pickle in data[0 .. size), which must outlive *out. ST_FAIL: CAUSE_FORMAT or
 * CAUSE_LIMIT; the text names byte and opcode, the code is "pickle-refused", "pickle-opcode",
 * "pickle-cut", "pickle-stack", "pickle-value", "pickle-memo", "pickle-frame", "pickle-cycle",
 * "pickle-limit" or "pickle-trailing". CAUSE_NOMEM. */
enum status pickle_parse(struct pickle_value **out, struct arena *arena, const uint8_t *data,
                         size_t size, const struct pickle_limits *limits, struct error *err);

/* The value of a string key; NULL where it is absent or `v` is no dict. */
const struct pickle_value *pickle_get(const struct pickle_value *v, const char *key);
bool pickle_is_string(const struct pickle_value *v); /* bytes or text; false for NULL */

#endif
