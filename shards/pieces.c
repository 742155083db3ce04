/* shards/pieces.c: table of a tokenizer's pieces: per id a kind u8, a length as varint, the bytes. */
#include "shards/pieces.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/json.h"

enum { SPECIALS = 6, MAX_PIECE = 65536 };
/* Ids behind the pieces: V, V + 1, ... (design.md 8). */
static const char *const special_names[SPECIALS] = { "<|startofimage|>", "<|sniffer|>", "<ref>",
                                                     "</ref>",           "<box>",       "</box>" };

struct piece {
    const char *text;
    uint32_t size;
    uint8_t kind;
    uint8_t byte; /* PIECE_BYTE: its value */
};

struct pieces {
    uint8_t *table;
    struct piece *list;
    uint32_t count;
};

enum status pieces_append(struct buffer *table, enum piece_kind kind, const char *text, size_t size,
                          struct error *err)
{
    uint8_t head[11] = { (uint8_t)kind };
    size_t n = 1;

    for (size_t v = size; n == 1 || v > 0; v >>= 7)
        head[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
    if (buffer_append(table, head, n, err) != ST_OK)
        return ST_FAIL;
    return size > 0 ? buffer_append(table, text, size, err) : ST_OK;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* "<0xNN>" */
static bool parse_byte(struct piece *p)
{
    if (p->size != 6 || memcmp(p->text, "<0x", 3) != 0 || p->text[5] != '>')
        return false;
    const int high = hex_digit(p->text[3]), low = hex_digit(p->text[4]);
    p->byte = (uint8_t)(high * 16 + low);
    return high >= 0 && low >= 0;
}

static enum status read_table(struct pieces *p, size_t size, struct error *err)
{
    struct cursor c = cursor_make(p->table, size, 0);

    for (uint32_t i = 0; i < p->count; i++) {
        struct piece *one = &p->list[i];
        uint64_t length = 0;
        get_u8(&c, &one->kind);
        if (!get_varint(&c, &length) || length > MAX_PIECE)
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "piece table: piece %" PRIu32, i);
        one->text = (const char *)cursor_take(&c, (size_t)length);
        one->size = (uint32_t)length;
        if (!one->text || one->kind < PIECE_NORMAL || one->kind > PIECE_BYTE ||
            (one->kind == PIECE_BYTE && !parse_byte(one)))
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "piece table: piece %" PRIu32, i);
    }
    if (cursor_left(&c) > 0)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "piece table: bytes behind the last piece");
    return ST_OK;
}

enum status pieces_open(struct pieces **out, const void *table, size_t size, uint32_t count,
                        struct error *err)
{
    struct pieces *p = mem_calloc(1, sizeof *p);

    *out = NULL;
    if (p) {
        p->table = mem_dup(table, size);
        p->list = mem_calloc(count, sizeof *p->list);
        p->count = count;
    }
    if (!p || !p->table || !p->list) {
        pieces_close(&p);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: piece table");
    }
    if (read_table(p, size, err) != ST_OK) {
        pieces_close(&p);
        return ST_FAIL;
    }
    *out = p;
    return ST_OK;
}

void pieces_close(struct pieces **p)
{
    if (!*p)
        return;
    mem_free((*p)->table);
    mem_free((*p)->list);
    mem_free(*p);
    *p = NULL;
}

const char *pieces_text(const struct pieces *p, uint16_t id, size_t *size)
{
    if (id < p->count) {
        *size = p->list[id].size;
        return p->list[id].text;
    }
    if (id - p->count >= SPECIALS)
        return NULL;
    *size = strlen(special_names[id - p->count]);
    return special_names[id - p->count];
}

/* Text of a piece with U+2581 as a space; the space that the encoder put before a text is left out. */
static enum status append_normal(struct buffer *raw, const struct piece *one, bool first,
                                 struct error *err)
{
    static const char space[] = "\xe2\x96\x81";
    enum status st = ST_OK;

    for (size_t i = 0; i < one->size && st == ST_OK;) {
        const bool is_space = one->size - i >= 3 && memcmp(one->text + i, space, 3) == 0;
        if (!is_space)
            st = buffer_append(raw, one->text + i, 1, err);
        else if (i > 0 || !first)
            st = buffer_append(raw, " ", 1, err);
        i += is_space ? 3 : 1;
    }
    return st;
}

/* Whether `id` is text; else its name goes to *name ("" = nothing is shown). */
static bool is_text(const struct pieces *p, uint16_t id, char name[64])
{
    size_t size = 0;
    const char *text = pieces_text(p, id, &size);

    if (id < p->count && p->list[id].kind != PIECE_UNKNOWN && p->list[id].kind != PIECE_CONTROL)
        return true;
    if (!text)
        snprintf(name, 64, "<%u>", id);
    else
        snprintf(name, 64, "%.*s", (int)(size < 60 ? size : 60), text);
    return false;
}

/* The run of text ids at ids[0..n); *taken of them. */
static enum status append_run(const struct pieces *p, struct buffer *out, const uint16_t *ids,
                              size_t n, size_t *taken, struct error *err)
{
    struct buffer raw;
    char name[64];
    uint64_t replaced = 0;
    enum status st = ST_OK;
    size_t i = 0;

    buffer_init(&raw);
    for (; i < n && st == ST_OK && is_text(p, ids[i], name); i++) {
        const struct piece *one = &p->list[ids[i]];
        if (one->kind == PIECE_BYTE)
            st = buffer_append(&raw, &one->byte, 1, err);
        else
            st = append_normal(&raw, one, i == 0, err);
    }
    if (st == ST_OK && raw.size > 0)
        st = utf8_repair(out, raw.data, raw.size, &replaced, err);
    buffer_clear(&raw);
    *taken = i;
    return st;
}

enum status pieces_decode(const struct pieces *p, struct buffer *out, const uint16_t *ids, size_t n,
                          struct error *err)
{
    const uint32_t soi = p->count, sniffer = p->count + 1;
    char name[64];
    enum status st = ST_OK;

    for (size_t i = 0; i < n && st == ST_OK;) {
        size_t taken = 1;
        if (is_text(p, ids[i], name)) {
            st = append_run(p, out, ids + i, n - i, &taken, err);
        } else if (ids[i] == soi && i + 1 < n && ids[i + 1] == sniffer) {
            while (i + taken < n && ids[i + taken] == sniffer)
                taken++;
            st = buffer_append_str(out, "<image>", err);
        } else {
            st = buffer_append_str(out, name, err);
        }
        i += taken;
    }
    return st;
}
