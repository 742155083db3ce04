/* ingest/lines.c: see lines.h. A line inside one block of the stream is handed out in place; only lines
 * that cross a block are copied. */
#include "ingest/lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/mem.h"
#include "ingest/stream.h"

enum { BLOCK = 1 << 18 };

struct lines {
    struct stream *stream;
    struct source_limits limits;
    uint8_t *block; /* owned */
    size_t at, size;
    struct buffer part;      /* the line's bytes of blocks before */
    struct hash_stream *sum; /* of a line too long to keep */
    uint64_t long_size;      /* its bytes so far; 0: none */
    const char *member;
    bool in_member, incomplete;
    uint64_t number, offset; /* of the line that comes next */
    char why[300];
};

enum status lines_open(struct lines **out, const char *path, const struct source_limits *limits,
                       struct error *err)
{
    struct lines *s = mem_calloc(1, sizeof *s);
    enum status st = ST_FAIL;
    *out = s;
    if (!s)
        return error_set(err, st, CAUSE_NOMEM, "%s: out of memory", path);
    if (limits)
        s->limits = *limits;
    else
        source_limits_init(&s->limits);
    buffer_init(&s->part);
    s->block = mem_alloc(BLOCK);
    if (!s->block)
        error_set(err, st, CAUSE_NOMEM, "%s: out of memory", path);
    else
        st = hash_stream_open(&s->sum, HASH_XXH3_64, err);
    if (st == ST_OK)
        st = stream_open(&s->stream, path, &s->limits, err);
    if (st != ST_OK)
        lines_close(out);
    return st;
}

void lines_close(struct lines **s)
{
    if (!s || !*s)
        return;
    stream_close(&(*s)->stream);
    hash_stream_close(&(*s)->sum);
    buffer_clear(&(*s)->part);
    mem_free((*s)->block);
    mem_free(*s);
    *s = NULL;
}

bool lines_incomplete(const struct lines *s, const char **why)
{
    if (why)
        *why = s->incomplete ? s->why : NULL;
    return s->incomplete;
}

static enum status damaged(struct lines *s, enum status st, const struct error *err)
{
    if (st == ST_SKIP && !s->incomplete) {
        s->incomplete = true;
        snprintf(s->why, sizeof s->why, "%.290s", err ? err->text : "damaged");
    }
    return st;
}

static bool is_blank(const uint8_t *p, size_t size, bool first)
{
    if (first && size >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        p += 3;
        size -= 3;
    }
    for (size_t i = 0; i < size; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
            return false;
    return true;
}

/* Keeps block bytes of a line that goes on; past the limit only their hash. */
static enum status keep(struct lines *s, const uint8_t *p, size_t size, struct error *err)
{
    if (s->long_size == 0 && size <= s->limits.max_line - s->part.size)
        return buffer_append(&s->part, p, size, err);
    if (s->long_size == 0) {
        hash_stream_update(s->sum, s->part.data, s->part.size);
        s->long_size = s->part.size;
        s->part.size = 0;
    }
    hash_stream_update(s->sum, p, size);
    s->long_size += size;
    return ST_OK;
}

static void place(struct lines *s, struct line *l, uint64_t length, bool newline)
{
    *l = (struct line){
        .member = s->member, .number = s->number, .offset = s->offset, .length = length
    };
    s->number++;
    s->offset += length + newline;
}

/* XXH3-64 of the line too long. */
static uint64_t long_hash(struct lines *s)
{
    uint8_t digest[8];
    hash_stream_digest(s->sum, digest);
    s->long_size = 0;
    return load_u64le(digest);
}

/* The line too long that ends here. */
static enum status too_long(struct lines *s, struct line *l, bool newline, struct error *err)
{
    place(s, l, s->long_size, newline);
    l->hash = long_hash(s);
    error_set(err, ST_SKIP, CAUSE_LIMIT,
              "line %" PRIu64 ": %" PRIu64 " bytes, at most %" PRIu64 " allowed", l->number,
              l->length, s->limits.max_line);
    return error_code(err, ST_SKIP, "limit-line");
}

/* The line [p, p + size), or the kept part and it. ST_END: blank. */
static enum status finish(struct lines *s, struct line *l, const uint8_t *p, size_t size,
                          bool newline, struct error *err)
{
    const bool first = s->number == 0;
    if (s->part.size > 0 || s->long_size > 0 || size > s->limits.max_line) {
        const enum status st = keep(s, p, size, err);
        if (st != ST_OK)
            return st;
        if (s->long_size > 0)
            return too_long(s, l, newline, err);
        p = s->part.data;
        size = s->part.size;
        s->part.size = 0; /* the bytes stay until the next line */
    }
    place(s, l, size, newline);
    l->data = p;
    return is_blank(p, size, first) ? ST_END : ST_OK;
}

/* The line that a fault of the container cut. */
static void cut_line(struct lines *s, struct line *l)
{
    const size_t size = s->part.size;
    place(s, l, size + s->long_size, false);
    l->hash = s->long_size > 0 ? long_hash(s) : hash_xxh3_64(s->part.data, size);
    s->part.size = 0;
}

/* More bytes of the member. ST_END: it is over. ST_SKIP: a fault. */
static enum status fill(struct lines *s, struct line *l, struct error *err)
{
    s->at = s->size = 0;
    const enum status st = stream_read(s->stream, s->block, BLOCK, &s->size, err);
    if (st == ST_OK && s->size > 0)
        return ST_OK;
    s->in_member = false;
    if (st == ST_SKIP)
        cut_line(s, l);
    return st == ST_OK ? ST_END : damaged(s, st, err);
}

static enum status next_member(struct lines *s, struct line *l, struct error *err)
{
    s->number = s->offset = 0;
    const enum status st = stream_member(s->stream, &s->member, err);
    if (st == ST_SKIP)
        place(s, l, 0, false);
    s->in_member = st == ST_OK;
    return damaged(s, st, err);
}

/* One line, blank or not. ST_END: a blank line or the end of a member; go on. */
static enum status one_line(struct lines *s, struct line *l, struct error *err)
{
    for (;;) {
        if (s->at == s->size) {
            const enum status st = fill(s, l, err);
            if (st == ST_END && (s->part.size > 0 || s->long_size > 0))
                return finish(s, l, s->block, 0, false, err);
            if (st != ST_OK)
                return st;
        }
        const uint8_t *p = s->block + s->at;
        const size_t left = s->size - s->at;
        const uint8_t *newline = memchr(p, '\n', left);
        if (newline) {
            s->at += (size_t)(newline - p) + 1;
            return finish(s, l, p, (size_t)(newline - p), true, err);
        }
        s->at = s->size;
        const enum status st = keep(s, p, left, err);
        if (st != ST_OK)
            return st;
    }
}

enum status lines_next(struct lines *s, struct line *l, struct error *err)
{
    for (;;) {
        enum status st = ST_OK;
        if (!s->in_member) {
            st = next_member(s, l, err);
            if (st != ST_OK)
                return st;
        }
        st = one_line(s, l, err);
        if (st != ST_END)
            return st;
    }
}
