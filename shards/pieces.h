/* shards/pieces.h: the tokenizer's pieces as a table that lies in every shard, so that ids can be read
 * as text without the model file. For people only: nothing is trained on this text. */
#ifndef DEEM_SHARDS_PIECES_H
#define DEEM_SHARDS_PIECES_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

enum piece_kind { /* values are stored */
                  PIECE_NORMAL = 1,
                  PIECE_UNKNOWN = 2,
                  PIECE_CONTROL = 3,
                  PIECE_UNUSED = 4,
                  PIECE_BYTE = 5, /* text "<0xNN>" */
};

/* Appends one piece to a table under construction; call in the order of ids. */
enum status pieces_append(struct buffer *table, enum piece_kind kind, const char *text, size_t size,
                          struct error *err);

struct pieces;
/* Over a table (copied). `count`: V, must equal the number of entries. ST_FAIL: CAUSE_FORMAT,
 * CAUSE_NOMEM. */
enum status pieces_open(struct pieces **out, const void *table, size_t size, uint32_t count,
                        struct error *err);
void pieces_close(struct pieces **p);
/* The piece as written, borrowed; special ids V.. by their names; NULL for an id beyond them. */
const char *pieces_text(const struct pieces *p, uint16_t id, size_t *size);
/* Appends UTF-8: pieces as text, control and special ids by name, a slot (soi and sniffers) as one
 * "<image>". Bytes that are no UTF-8 come as U+FFFD. */
enum status pieces_decode(const struct pieces *p, struct buffer *out, const uint16_t *ids, size_t n,
                          struct error *err);

#endif
