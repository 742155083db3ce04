/* ingest/spm_check.c: a bounded walk over a serialised SentencePiece model before the library gets
 * it. Format: protocol buffers wire format; fields of sentencepiece_model.proto. */
#include "ingest/spm.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/bytes.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { MODEL_PIECES = 1, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_PIECE = 1, PIECE_SCORE = 2 };
enum { NORMALIZER_CHARSMAP = 2 };

struct field {
    uint64_t number;
    unsigned wire;
    uint32_t bits;      /* of WIRE_32 */
    struct cursor body; /* of WIRE_BYTES */
};

static enum status broken(const struct cursor *c, const char *what, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "tokenizer: byte %" PRIu64 ": %s",
                     cursor_offset(c), what);
}

/* ST_END behind the last field. */
static enum status field_next(struct cursor *c, struct field *f, struct error *err)
{
    uint64_t tag = 0, n = 0;
    if (cursor_left(c) == 0)
        return ST_END;
    if (!get_varint(c, &tag))
        return broken(c, "broken field tag", err);
    *f = (struct field){ .number = tag >> 3, .wire = (unsigned)(tag & 7) };
    bool ok = f->number != 0;
    if (f->wire == WIRE_VARINT)
        ok = ok && get_varint(c, &n);
    else if (f->wire == WIRE_64)
        ok = ok && get_u64le(c, &n);
    else if (f->wire == WIRE_32)
        ok = ok && get_u32le(c, &f->bits);
    else if (f->wire == WIRE_BYTES)
        ok = ok && get_varint(c, &n) && n <= cursor_left(c) && cursor_sub(c, (size_t)n, &f->body);
    else
        ok = false;
    return ok ? ST_OK : broken(c, "broken field, not a SentencePiece model", err);
}

static enum status check_piece(struct cursor c, uint32_t max_piece_bytes, struct error *err)
{
    struct field f;
    enum status st;
    while ((st = field_next(&c, &f, err)) == ST_OK) {
        if (f.number == PIECE_PIECE && f.wire == WIRE_BYTES &&
            cursor_left(&f.body) > max_piece_bytes)
            return error_set(err, ST_FAIL, CAUSE_LIMIT,
                             "tokenizer: byte %" PRIu64 ": a piece of %zu bytes, allowed %" PRIu32,
                             cursor_offset(&f.body), cursor_left(&f.body), max_piece_bytes);
        float score = 0.0f;
        memcpy(&score, &f.bits, sizeof score);
        if (f.number == PIECE_SCORE && f.wire == WIRE_32 && isnan(score))
            return broken(&c, "a piece's score is NaN", err);
    }
    return st == ST_END ? ST_OK : st;
}

/* The table of a normaliser: u32 size of a double-array trie, the trie (u32 units), strings. A unit
 * with bit 31 clear leads on to (index ^ offset) ^ byte; one with bit 31 set points into the
 * strings. All of these must lie inside. Layout: Darts-clone. */
static enum status check_charsmap(struct cursor c, struct error *err)
{
    uint32_t size = 0, unit = 0;
    struct cursor trie;
    if (cursor_left(&c) == 0)
        return ST_OK;
    if (!get_u32le(&c, &size) || size % 4 != 0 || !cursor_sub(&c, size, &trie))
        return broken(&c, "normaliser table: the trie does not fit", err);
    const size_t strings = cursor_left(&c);
    const uint32_t n = size / 4;
    if (n == 0 || strings == 0 || c.end[-1] != 0)
        return broken(&c, "normaliser table: strings without end", err);
    for (uint32_t i = 0; i < n; i++) {
        get_u32le(&trie, &unit);
        const uint32_t offset = (unit >> 10) << ((unit & (1u << 9)) >> 6);
        const bool leaf = unit >> 31;
        if (leaf ? (unit & 0x7fffffffu) >= strings : ((i ^ offset) | 0xffu) >= n)
            return broken(&trie, "normaliser table: a unit points outside", err);
    }
    return ST_OK;
}

static enum status check_normalizer(struct cursor c, struct error *err)
{
    struct field f;
    enum status st;
    while ((st = field_next(&c, &f, err)) == ST_OK)
        if (f.number == NORMALIZER_CHARSMAP && f.wire == WIRE_BYTES &&
            check_charsmap(f.body, err) != ST_OK)
            return ST_FAIL;
    return st == ST_END ? ST_OK : st;
}

enum status spm_check(const void *model, size_t size, uint32_t max_pieces, uint32_t max_piece_bytes,
                      struct error *err)
{
    struct cursor c = cursor_make(model, size, 0);
    struct field f;
    uint32_t pieces = 0;
    enum status st;

    while ((st = field_next(&c, &f, err)) == ST_OK) {
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == MODEL_PIECES) {
            if (++pieces > max_pieces)
                return error_set(err, ST_FAIL, CAUSE_LIMIT,
                                 "tokenizer: more than %" PRIu32 " pieces", max_pieces);
            st = check_piece(f.body, max_piece_bytes, err);
        } else if (f.number == MODEL_NORMALIZER || f.number == MODEL_DENORMALIZER) {
            st = check_normalizer(f.body, err);
        }
        if (st != ST_OK)
            return st;
    }
    if (st == ST_END && pieces == 0)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "tokenizer: no pieces in it");
    return st == ST_END ? ST_OK : st;
}
