/* ingest/tokenizer.h: text to ids and back, by a SentencePiece model that the user gives. Special
 * ids follow from the number of pieces V and are put by the builder only: nothing in a text becomes
 * one (spec data.md 3; design.md 8). Reading calls are thread-safe on one tokenizer. */
#ifndef DEEM_INGEST_TOKENIZER_H
#define DEEM_INGEST_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How a text segment after a slot is encoded (data.md 3.3). */
enum tokenizer_variant {
    TOKENIZER_A, /* stripped, dummy prefix in every segment: the default */
    TOKENIZER_B, /* stripped, prefix cut off the first piece after a slot; no such piece: unknown */
    TOKENIZER_C, /* not stripped, no prefix after a slot */
};

struct tokenizer_options {
    enum tokenizer_variant variant;
    uint64_t max_bytes;  /* of the model file; default 64 MiB */
    uint32_t max_pieces; /* default 1,000,000; ids are u16, so over 65,529 are refused anyway */
    uint32_t max_piece_bytes; /* default 4,096 */
};
void tokenizer_options_init(struct tokenizer_options *opt);

enum { TOKENIZER_SPECIALS = 7, TOKENIZER_MAX_PIECES = 65529 };

/* pad V-1 is a piece of the model; the others lie behind it. */
struct special_ids {
    uint32_t pieces; /* V */
    uint16_t unk, bos, eos;
    uint16_t pad, soi, sniffer, ref, ref_end, box, box_end;
};
void special_ids_init(struct special_ids *s, uint32_t pieces); /* all but unk, bos, eos */

/* Growable list of ids. */
struct id_list {
    uint16_t *data;
    size_t size, cap;
};
enum status id_list_append(struct id_list *l, const uint16_t *ids, size_t n, struct error *err);
enum status id_list_push(struct id_list *l, uint16_t id, size_t times, struct error *err);
void id_list_clear(struct id_list *l); /* frees */

struct tokenizer;
/* ST_FAIL: CAUSE_IO, CAUSE_LIMIT, CAUSE_FORMAT (not a usable model), CAUSE_ARG (too many pieces),
 * CAUSE_NOMEM. `opt` NULL: defaults. */
enum status tokenizer_open(struct tokenizer **out, const char *path,
                           const struct tokenizer_options *opt, struct error *err);
void tokenizer_close(struct tokenizer **t);

const struct special_ids *tokenizer_special(const struct tokenizer *t);
const uint8_t *tokenizer_sha256(const struct tokenizer *t); /* 32 bytes, of the model file */
enum tokenizer_variant tokenizer_variant_of(const struct tokenizer *t);

/* The bare model: no bos, no stripping, pad ids left as they come. Appends. */
enum status tokenizer_encode_plain(const struct tokenizer *t, struct id_list *out, const char *text,
                                   size_t size, struct error *err);
/* One segment of a document; `after_slot`: it follows a slot (else bos). Applies stripping, variant
 * and the pad rule. Appends; an empty segment appends nothing. */
enum status tokenizer_encode_segment(const struct tokenizer *t, struct id_list *out,
                                     const char *text, size_t size, bool after_slot,
                                     struct error *err);
/* May a segment that begins with `text` be encoded up to there, and what follows behind one space by
 * tokenizer_encode_rest, with the ids of the whole? For long texts that grow. */
bool tokenizer_may_pause(const struct tokenizer *t, const char *text, size_t size);
/* `text`, not empty and not led by a space, goes on the segment behind one space. Appends. */
enum status tokenizer_encode_rest(const struct tokenizer *t, struct id_list *out, const char *text,
                                  size_t size, struct error *err);
/* Appends the table of shards/pieces.h, for people who read ids without the model. */
enum status tokenizer_pieces(const struct tokenizer *t, struct buffer *table, struct error *err);

#ifdef __cplusplus
}
#endif
#endif
