/* ingest/spm_check.c: a bounded walk over a serialised SentencePiece model before the library gets
 * it. Format: protocol buffers wire format; fields of sentencepiece_model.proto. */
#include "ingest/spm.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/bytes.h"

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { MODEL_PIECES = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_PIECE = 1, PIECE_SCORE = 2, PIECE_TYPE = 3, PIECE_USER_DEFINED = 4 };
enum { TRAINER_MODEL_TYPE = 3, TRAINER_SPACE_SUFFIX = 24, TRAINER_BPE = 2 };
enum { NORMALIZER_CHARSMAP = 2, NORMALIZER_PREFIX, NORMALIZER_REMOVE, NORMALIZER_ESCAPE };

/* What decides whether the model may be asked for two halves of a text, one after the other. */
struct shape {
    uint64_t model_type, space_suffix;
    uint64_t normalizer[NORMALIZER_ESCAPE + 1]; /* values; of the charsmap its size */
    bool mark,
        across; /* the space mark is a piece; a piece reaches over a space or is user-defined */
};

struct field {
    uint64_t number;
    unsigned wire;
    uint64_t value;     /* of WIRE_VARINT; else the size of the body */
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
    f->value = n;
    return ok ? ST_OK : broken(c, "broken field, not a SentencePiece model", err);
}

static bool is_mark(const uint8_t *p, size_t left)
{
    return left >= 3 && memcmp(p, "\xe2\x96\x81", 3) == 0; /* U+2581 */
}

static void note_piece(struct shape *s, const uint8_t *p, size_t size)
{
    size_t at = 0;
    while (is_mark(p + at, size - at))
        at += 3;
    s->mark = s->mark || (at == 3 && size == 3);
    for (; at < size; at++)
        s->across = s->across || is_mark(p + at, size - at);
}

static enum status check_piece(struct cursor c, uint32_t max_piece_bytes, struct shape *shape,
                               struct error *err)
{
    struct field f;
    enum status st;
    while ((st = field_next(&c, &f, err)) == ST_OK) {
        if (f.number == PIECE_PIECE && f.wire == WIRE_BYTES &&
            cursor_left(&f.body) > max_piece_bytes)
            return error_set(err, ST_FAIL, CAUSE_LIMIT,
                             "tokenizer: byte %" PRIu64 ": a piece of %zu bytes, allowed %" PRIu32,
                             cursor_offset(&f.body), cursor_left(&f.body), max_piece_bytes);
        if (f.number == PIECE_PIECE && f.wire == WIRE_BYTES)
            note_piece(shape, f.body.p, cursor_left(&f.body));
        if (f.number == PIECE_TYPE && f.wire == WIRE_VARINT)
            shape->across = shape->across || f.value == PIECE_USER_DEFINED;
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

static enum status check_normalizer(struct cursor c, struct shape *shape, struct error *err)
{
    struct field f;
    enum status st;
    while ((st = field_next(&c, &f, err)) == ST_OK) {
        if (f.number >= NORMALIZER_CHARSMAP && f.number <= NORMALIZER_ESCAPE)
            shape->normalizer[f.number] = f.value;
        if (f.number == NORMALIZER_CHARSMAP && f.wire == WIRE_BYTES &&
            check_charsmap(f.body, err) != ST_OK)
            return ST_FAIL;
    }
    return st == ST_END ? ST_OK : st;
}

static enum status read_trainer(struct cursor c, struct shape *shape, struct error *err)
{
    struct field f;
    enum status st;
    while ((st = field_next(&c, &f, err)) == ST_OK) {
        if (f.number == TRAINER_MODEL_TYPE)
            shape->model_type = f.value;
        if (f.number == TRAINER_SPACE_SUFFIX)
            shape->space_suffix = f.value;
    }
    return st == ST_END ? ST_OK : st;
}

/* Pairs are joined in an order that is local, and none of them holds a space behind something else. */
static bool cuts_at_spaces(const struct shape *s)
{
    return s->model_type == TRAINER_BPE && !s->space_suffix && s->mark && !s->across &&
           s->normalizer[NORMALIZER_CHARSMAP] == 0 && s->normalizer[NORMALIZER_PREFIX] &&
           !s->normalizer[NORMALIZER_REMOVE] && s->normalizer[NORMALIZER_ESCAPE];
}

static enum status check_part(const struct field *f, uint32_t max_piece_bytes, struct shape *shape,
                              struct error *err)
{
    struct shape unused; /* the library decodes with it, which nobody asks for */
    switch (f->number) {
    case MODEL_PIECES:
        return check_piece(f->body, max_piece_bytes, shape, err);
    case MODEL_TRAINER:
        return read_trainer(f->body, shape, err);
    case MODEL_NORMALIZER:
        return check_normalizer(f->body, shape, err);
    case MODEL_DENORMALIZER:
        return check_normalizer(f->body, &unused, err);
    default:
        return ST_OK;
    }
}

enum status spm_check(const void *model, size_t size, uint32_t max_pieces, uint32_t max_piece_bytes,
                      bool *at_spaces, struct error *err)
{
    struct shape shape = { .normalizer = {
                               [NORMALIZER_PREFIX] = 1, 1, 1 } }; /* the format's defaults */
    struct cursor c = cursor_make(model, size, 0);
    struct field f;
    uint32_t pieces = 0;
    enum status st;

    while ((st = field_next(&c, &f, err)) == ST_OK) {
        if (f.wire != WIRE_BYTES)
            continue;
        if (f.number == MODEL_PIECES && ++pieces > max_pieces)
            return error_set(err, ST_FAIL, CAUSE_LIMIT, "tokenizer: more than %" PRIu32 " pieces",
                             max_pieces);
        st = check_part(&f, max_piece_bytes, &shape, err);
        if (st != ST_OK)
            return st;
    }
    if (st == ST_END && pieces == 0)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "tokenizer: no pieces in it");
    *at_spaces = cuts_at_spaces(&shape);
    return st == ST_END ? ST_OK : st;
}
