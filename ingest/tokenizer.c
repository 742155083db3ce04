/* ingest/tokenizer.c: see tokenizer.h. The rules around the bare model: edges of segments, variants,
 * the pad rule, special ids. */
#include "ingest/tokenizer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/unicode.h"
#include "ingest/spm.h"
#include "shards/pieces.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, how the model writes a space */
enum { SPACE_MARK_BYTES = 3 };

struct tokenizer {
    struct spm *model;     /* as the file says */
    struct spm *no_prefix; /* variant C only: the same without the dummy prefix */
    enum tokenizer_variant variant;
    bool at_spaces; /* spm_check */
    struct special_ids special;
    uint8_t sha256[32];
    struct id_list pad_bytes; /* the byte pieces that stand for the pad piece in text */
};

void tokenizer_options_init(struct tokenizer_options *opt)
{
    *opt = (struct tokenizer_options){ .variant = TOKENIZER_A,
                                       .max_bytes = 64u << 20,
                                       .max_pieces = 1000000,
                                       .max_piece_bytes = 4096 };
}

void special_ids_init(struct special_ids *s, uint32_t pieces)
{
    const uint16_t V = (uint16_t)pieces;
    s->pieces = pieces;
    s->pad = (uint16_t)(V - 1);
    s->soi = V;
    s->sniffer = (uint16_t)(V + 1);
    s->ref = (uint16_t)(V + 2);
    s->ref_end = (uint16_t)(V + 3);
    s->box = (uint16_t)(V + 4);
    s->box_end = (uint16_t)(V + 5);
}

static enum status id_list_reserve(struct id_list *l, size_t more, struct error *err)
{
    size_t need = 0;
    if (!add_ok_size(l->size, more, &need))
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "ids: %zu more", more);
    if (need <= l->cap)
        return ST_OK;
    size_t cap = l->cap ? l->cap : 64;
    while (cap < need)
        if (!mul_ok_size(cap, 2, &cap))
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "ids: %zu more", more);
    uint16_t *data = mem_realloc(l->data, cap, sizeof *data);
    if (!data)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "ids: %zu", cap);
    l->data = data;
    l->cap = cap;
    return ST_OK;
}

enum status id_list_append(struct id_list *l, const uint16_t *ids, size_t n, struct error *err)
{
    const enum status st = id_list_reserve(l, n, err);
    if (st != ST_OK || n == 0)
        return st;
    memcpy(l->data + l->size, ids, n * sizeof *ids);
    l->size += n;
    return ST_OK;
}

enum status id_list_push(struct id_list *l, uint16_t id, size_t times, struct error *err)
{
    const enum status st = id_list_reserve(l, times, err);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < times; i++)
        l->data[l->size++] = id;
    return ST_OK;
}

void id_list_clear(struct id_list *l)
{
    mem_free(l->data);
    *l = (struct id_list){ 0 };
}

static enum status unusable(const char *path, const char *why, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: tokenizer: %s", path, why);
}

/* The pad piece must not come out of text, so its bytes need pieces of their own. */
static enum status find_pad_bytes(struct tokenizer *t, const char *path, struct error *err)
{
    const uint32_t pad = t->special.pad;
    const enum spm_type type = spm_type(t->model, pad);
    size_t size = 0;

    if (type == SPM_CONTROL || type == SPM_UNUSED)
        return ST_OK; /* never arises from text */
    if (type != SPM_NORMAL)
        return unusable(path, "the last piece cannot be the pad: it is a byte or <unk>", err);
    const char *piece = spm_piece(t->model, pad, &size);
    for (size_t i = 0; i < size; i++) {
        char name[8];
        const int n = snprintf(name, sizeof name, "<0x%02X>", (unsigned)(uint8_t)piece[i]);
        const uint32_t id = spm_find(t->model, name, (size_t)n);
        if (spm_type(t->model, id) != SPM_BYTE)
            return unusable(path, "it has no byte pieces", err);
        const enum status st = id_list_push(&t->pad_bytes, (uint16_t)id, 1, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static enum status set_specials(struct tokenizer *t, const char *path, struct error *err)
{
    const uint32_t pieces = spm_pieces(t->model);
    const int32_t unk = spm_unk(t->model), bos = spm_bos(t->model), eos = spm_eos(t->model);

    if (pieces > TOKENIZER_MAX_PIECES)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "%s: tokenizer: %" PRIu32 " pieces, at most %d fit 16-bit ids", path,
                         pieces, TOKENIZER_MAX_PIECES);
    if (unk < 0 || bos < 0 || eos < 0 || bos == eos || (uint32_t)unk >= pieces ||
        (uint32_t)bos >= pieces || (uint32_t)eos >= pieces)
        return unusable(path, "needs the pieces <unk>, <s> and </s>", err);
    special_ids_init(&t->special, pieces);
    t->special.unk = (uint16_t)unk;
    t->special.bos = (uint16_t)bos;
    t->special.eos = (uint16_t)eos;
    if (t->special.pad == bos || t->special.pad == eos)
        return unusable(path, "the last piece cannot be the pad: it is <s> or </s>", err);
    return find_pad_bytes(t, path, err);
}

enum status tokenizer_open(struct tokenizer **out, const char *path,
                           const struct tokenizer_options *opt, struct error *err)
{
    struct tokenizer_options defaults;
    struct buffer file = { 0 };
    struct tokenizer *t = mem_calloc(1, sizeof *t);
    enum status st = ST_FAIL;

    *out = NULL;
    tokenizer_options_init(&defaults);
    opt = opt ? opt : &defaults;
    if (!t)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "tokenizer");
    t->variant = opt->variant;
    st = file_read_all(&file, path, opt->max_bytes, err);
    if (st != ST_OK)
        goto done;
    hash_sha256(t->sha256, file.data, file.size);
    st = spm_check(file.data, file.size, opt->max_pieces, opt->max_piece_bytes, &t->at_spaces, err);
    if (st == ST_OK)
        st = spm_open(&t->model, file.data, file.size, true, err);
    if (st == ST_OK && t->variant == TOKENIZER_C)
        st = spm_open(&t->no_prefix, file.data, file.size, false, err);
    if (st != ST_OK) {
        error_prefix(err, st, "%s", path);
        goto done;
    }
    st = set_specials(t, path, err);
done:
    buffer_clear(&file);
    if (st != ST_OK)
        tokenizer_close(&t);
    *out = t;
    return st;
}

void tokenizer_close(struct tokenizer **t)
{
    if (!*t)
        return;
    spm_close(&(*t)->model);
    spm_close(&(*t)->no_prefix);
    id_list_clear(&(*t)->pad_bytes);
    mem_free(*t);
    *t = NULL;
}

const struct special_ids *tokenizer_special(const struct tokenizer *t)
{
    return &t->special;
}

const uint8_t *tokenizer_sha256(const struct tokenizer *t)
{
    return t->sha256;
}

enum tokenizer_variant tokenizer_variant_of(const struct tokenizer *t)
{
    return t->variant;
}

/* Where encoded ids go: as they come, or by the rules of a segment. */
struct sink {
    const struct tokenizer *t;
    struct id_list *out;
    bool map_pad, cut_prefix;
};

static enum status sink_id(const struct sink *k, uint32_t id, struct error *err)
{
    const struct tokenizer *t = k->t;
    if (k->map_pad && id == t->special.pad)
        return id_list_append(k->out, t->pad_bytes.data, t->pad_bytes.size, err);
    return id_list_push(k->out, (uint16_t)id, 1, err);
}

/* Variant B: the first piece loses its space mark and is looked up anew. */
static enum status sink_first(const struct sink *k, uint32_t id, struct error *err)
{
    size_t size = 0;
    const char *piece = spm_piece(k->t->model, id, &size);
    const bool marked =
        size >= SPACE_MARK_BYTES && memcmp(piece, SPACE_MARK, SPACE_MARK_BYTES) == 0;
    if (!marked)
        return sink_id(k, id, err);
    if (size == SPACE_MARK_BYTES)
        return ST_OK;
    return sink_id(k, spm_find(k->t->model, piece + SPACE_MARK_BYTES, size - SPACE_MARK_BYTES),
                   err);
}

static enum status sink_put(void *arg, const int *ids, size_t n, struct error *err)
{
    const struct sink *k = arg;
    enum status st = id_list_reserve(k->out, n, err);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        const uint32_t id = (uint32_t)ids[i];
        st = i == 0 && k->cut_prefix ? sink_first(k, id, err) : sink_id(k, id, err);
    }
    return st;
}

enum status tokenizer_encode_plain(const struct tokenizer *t, struct id_list *out, const char *text,
                                   size_t size, struct error *err)
{
    struct sink k = { t, out, false, false };
    return spm_encode(t->model, text, size, sink_put, &k, err);
}

enum status tokenizer_encode_segment(const struct tokenizer *t, struct id_list *out,
                                     const char *text, size_t size, bool after_slot,
                                     struct error *err)
{
    struct sink k = { t, out, true, t->variant == TOKENIZER_B && after_slot };
    const bool bare = t->variant == TOKENIZER_C && after_slot;
    size_t offset = 0;

    if (t->variant != TOKENIZER_C)
        unicode_strip(text, &offset, &size);
    if (size == 0)
        return ST_OK;
    return spm_encode(bare ? t->no_prefix : t->model, text + offset, size, sink_put, &k, err);
}

bool tokenizer_may_pause(const struct tokenizer *t, const char *text, size_t size)
{
    uint32_t last = 0;
    size_t at = size;
    if (!t->at_spaces || size == 0)
        return false;
    while (at > 0 && ((uint8_t)text[--at] & 0xc0) == 0x80)
        ; /* to the start of the last code point */
    utf8_next(&last, text + at, size - at);
    return !unicode_is_space(last) && last != 0x2581; /* which the model writes for a space */
}

enum status tokenizer_encode_rest(const struct tokenizer *t, struct id_list *out, const char *text,
                                  size_t size, struct error *err)
{
    struct sink k = { t, out, true, false };
    size_t offset = 0, stripped = size;

    unicode_strip(text, &offset, &stripped);
    if (t->variant != TOKENIZER_C)
        size = stripped ? offset + stripped : 0;
    return size ? spm_encode(t->model, text, size, sink_put, &k, err) : ST_OK;
}

enum status tokenizer_pieces(const struct tokenizer *t, struct buffer *table, struct error *err)
{
    static const enum piece_kind kinds[] = { [SPM_NORMAL] = PIECE_NORMAL,
                                             [SPM_UNKNOWN] = PIECE_UNKNOWN,
                                             [SPM_CONTROL] = PIECE_CONTROL,
                                             [SPM_UNUSED] = PIECE_UNUSED,
                                             [SPM_BYTE] = PIECE_BYTE };
    enum status st = ST_OK;
    for (uint32_t id = 0; id < t->special.pieces && st == ST_OK; id++) {
        size_t size = 0;
        const char *piece = spm_piece(t->model, id, &size);
        st = pieces_append(table, kinds[spm_type(t->model, id)], piece, size, err);
    }
    return st;
}
