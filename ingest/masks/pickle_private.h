/* ingest/masks/pickle_private.h: the stack machine, shared by pickle.c (running), pickle_scalars.c (the
 * opcodes that push one scalar) and pickle_check.c (depth, cycles, repeated keys). */
#ifndef DEEM_INGEST_MASKS_PICKLE_PRIVATE_H
#define DEEM_INGEST_MASKS_PICKLE_PRIVATE_H

#include "core/bytes.h"
#include "core/hash.h"
#include "ingest/masks/pickle.h"

struct pickle_machine {
    struct cursor in;
    const uint8_t *frame_end; /* NULL outside frames */
    struct arena *arena;
    const struct pickle_limits *limits;
    struct pickle_value **stack;
    size_t depth, stack_cap;
    size_t *marks; /* stack heights */
    size_t n_marks, marks_cap;
    struct pickle_value **memo; /* small indices */
    size_t memo_cap;
    struct hash_map *far_memo; /* indices far beyond the count */
    uint64_t memo_count;
    uint64_t operations;
    uint64_t at;      /* byte of the current opcode */
    const char *name; /* of the current opcode */
    bool stopped;
};

/* All return ST_FAIL with CAUSE_FORMAT or CAUSE_LIMIT, byte and opcode in the text. */
enum status pickle_error(struct pickle_machine *m, struct error *err, const char *code,
                         const char *what);
/* `size` bytes of the input, inside the frame. */
enum status pickle_take(struct pickle_machine *m, const uint8_t **p, uint64_t size,
                        struct error *err);
/* Up to the next newline, which is passed over. */
enum status pickle_line(struct pickle_machine *m, const char **line, size_t *size,
                        struct error *err);
enum status pickle_push(struct pickle_machine *m, struct pickle_value *v, struct error *err);
/* A fresh value; NULL: *err is set. */
struct pickle_value *pickle_new(struct pickle_machine *m, enum pickle_type type, struct error *err);
bool pickle_decimal(const char *s, size_t size, int64_t *out);

typedef enum status pickle_op_fn(struct pickle_machine *m, struct error *err);
pickle_op_fn pickle_op_int, pickle_op_long, pickle_op_float, pickle_op_string, pickle_op_unicode,
    pickle_op_binint, pickle_op_binint1, pickle_op_binint2, pickle_op_long1, pickle_op_long4,
    pickle_op_binfloat, pickle_op_binstring, pickle_op_short_binstring, pickle_op_binunicode,
    pickle_op_short_binunicode, pickle_op_binunicode8, pickle_op_binbytes, pickle_op_short_binbytes,
    pickle_op_binbytes8;

enum status pickle_check(struct pickle_machine *m, struct pickle_value *root, struct error *err);

#endif
