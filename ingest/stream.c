/* ingest/stream.c: see stream.h. Opening, plain files, the limits; the kinds are stream_gzip.c,
 * stream_zstd.c and stream_zip.c. */
#include "ingest/stream.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/mem.h"
#include "ingest/stream_private.h"

enum { BLOCK = 1 << 16 };
static const uint64_t FREE_OUTPUT = (uint64_t)16 << 20; /* bytes before the ratio counts */

void source_limits_init(struct source_limits *l)
{
    *l = (struct source_limits){ .max_members = 1000000,
                                 .max_name = 1024,
                                 .max_member = (uint64_t)64 << 20,
                                 .max_lines_member = (uint64_t)16 << 30,
                                 .max_line = (uint64_t)64 << 20,
                                 .max_ratio = 200,
                                 .max_depth = 64,
                                 .max_string = (uint64_t)16 << 20,
                                 .max_object = 1000000 };
}

void feed_seek(struct feed *f, uint64_t offset, uint64_t end)
{
    f->at = f->size = 0;
    f->offset = offset;
    f->end = end;
}

enum status feed_fill(struct feed *f, struct error *err)
{
    if (f->at < f->size || f->offset >= f->end)
        return ST_OK;
    const uint64_t left = f->end - f->offset;
    const size_t want = left < BLOCK ? (size_t)left : BLOCK;
    const enum status st = file_pread(f->fd, f->path, f->block, want, f->offset, err);
    f->at = 0;
    f->size = st == ST_OK ? want : 0;
    f->offset += f->size;
    /* A file that got shorter under our hands is an I/O matter, not one of its format. */
    if (st != ST_OK && err && err->cause == CAUSE_FORMAT) {
        err->cause = CAUSE_IO;
        error_prefix(err, st, "changed while read");
    }
    return st;
}

enum status stream_fault(const struct stream *s, const char *code, const char *what,
                         struct error *err)
{
    const uint64_t at = s->feed.offset - (uint64_t)(s->feed.size - s->feed.at);
    error_set(err, ST_SKIP, CAUSE_FORMAT, "byte %" PRIu64 ": %s", at, what);
    return error_code(err, ST_SKIP, code);
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* What the name promises; *known false: any kind may come. */
static enum stream_kind kind_of_name(const char *path, bool *known)
{
    *known = true;
    if (ends_with(path, ".gz"))
        return STREAM_GZIP;
    if (ends_with(path, ".zst"))
        return STREAM_ZSTD;
    if (ends_with(path, ".zip"))
        return STREAM_ZIP;
    *known = ends_with(path, ".jsonl");
    return STREAM_PLAIN;
}

static enum stream_kind kind_of_bytes(const uint8_t *p, size_t size)
{
    if (size >= 2 && p[0] == 0x1f && p[1] == 0x8b)
        return STREAM_GZIP;
    if (size >= 4 && (load_u32le(p) == 0xfd2fb528u || (load_u32le(p) & ~15u) == 0x184d2a50u))
        return STREAM_ZSTD;
    if (size >= 4 && (load_u32le(p) == 0x04034b50u || load_u32le(p) == 0x06054b50u))
        return STREAM_ZIP;
    return STREAM_PLAIN;
}

/* Sets kind, or bad_code where name and bytes disagree. */
static enum status find_kind(struct stream *s, struct error *err)
{
    static const char *const names[] = { "plain text", "gzip", "zstd", "zip" };
    bool known = false;
    const enum stream_kind promised = kind_of_name(s->path, &known);
    feed_seek(&s->feed, 0, s->info.size);
    const enum status st = feed_fill(&s->feed, err);
    if (st != ST_OK)
        return st;
    s->kind = kind_of_bytes(s->feed.block, s->feed.size);
    if (!known || s->kind == promised)
        return ST_OK;
    snprintf(s->bad_code, sizeof s->bad_code, "container-magic");
    snprintf(s->bad_text, sizeof s->bad_text, "byte 0: the name says %s, the bytes are %s%s",
             names[promised],
             s->info.size == 0 ? "none"
             : s->kind         ? names[s->kind]
                               : "no ",
             s->info.size == 0 || s->kind ? "" : names[promised]);
    return ST_OK;
}

enum status stream_open(struct stream **out, const char *path, const struct source_limits *limits,
                        struct error *err)
{
    struct stream *s = mem_calloc(1, sizeof *s);
    enum status st = ST_FAIL;
    *out = s;
    if (!s)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", path);
    s->feed.fd = -1;
    s->path = mem_strdup(path);
    s->feed.block = mem_alloc(BLOCK);
    if (limits)
        s->limits = *limits;
    else
        source_limits_init(&s->limits);
    if (!s->path || !s->feed.block) {
        error_set(err, st, CAUSE_NOMEM, "%s: out of memory", path);
        goto fail;
    }
    s->feed.path = s->path;
    st = file_open_read(&s->feed.fd, path, &s->info, err);
    if (st == ST_OK)
        st = find_kind(s, err);
    if (st == ST_OK && s->kind == STREAM_ZIP && !s->bad_code[0])
        st = stream_zip_open(s, err);
    if (st == ST_OK)
        return st;
fail:
    stream_close(out);
    return st;
}

enum status stream_member(struct stream *s, const char **name, struct error *err)
{
    *name = NULL;
    s->open = false;
    s->in = s->out = 0;
    s->faulty = false;
    error_clear(&s->fault);
    if (s->bad_code[0]) {
        if (s->started)
            return ST_END;
        s->started = true;
        error_set(err, ST_SKIP, CAUSE_FORMAT, "%s", s->bad_text);
        return error_code(err, ST_SKIP, s->bad_code);
    }
    if (s->kind == STREAM_ZIP)
        return stream_zip_member(s, name, err);
    if (s->started)
        return ST_END;
    s->started = s->open = true;
    feed_seek(&s->feed, 0, s->info.size);
    s->frame_done = true;
    return s->kind == STREAM_GZIP ? stream_inflate_start(s, 16 + MAX_WBITS, err) : ST_OK;
}

static enum status plain_read(struct stream *s, void *data, size_t size, size_t *got,
                              struct error *err)
{
    const enum status st = feed_fill(&s->feed, err);
    const size_t left = s->feed.size - s->feed.at;
    if (st != ST_OK)
        return st;
    *got = left < size ? left : size;
    memcpy(data, s->feed.block + s->feed.at, *got);
    s->feed.at += *got;
    return ST_OK;
}

static enum status check_limits(const struct stream *s, struct error *err)
{
    uint64_t most = 0;
    const char *code = NULL;
    if (s->out > s->limits.max_lines_member) {
        code = "limit-bytes";
        error_set(err, ST_SKIP, CAUSE_LIMIT, "more than %" PRIu64 " bytes of lines",
                  s->limits.max_lines_member);
    } else if (s->out > FREE_OUTPUT &&
               (!mul_ok_u64(s->in, s->limits.max_ratio, &most) ? false : s->out > most)) {
        code = "limit-ratio";
        error_set(err, ST_SKIP, CAUSE_LIMIT,
                  "%" PRIu64 " bytes out of %" PRIu64 ", more than %" PRIu64 " to 1 allowed",
                  s->out, s->in, s->limits.max_ratio);
    }
    return code ? error_code(err, ST_SKIP, code) : ST_OK;
}

/* At the end of a member: the file must still be the one that was opened. */
static enum status check_unchanged(const struct stream *s, struct error *err)
{
    struct file_info now;
    const enum status st = file_stat(s->path, &now, err);
    if (st == ST_FAIL)
        return st;
    if (st == ST_OK && now.size == s->info.size && now.mtime_ns == s->info.mtime_ns &&
        now.inode == s->info.inode)
        return ST_OK;
    return error_set(err, ST_FAIL, CAUSE_IO, "%s: changed while it was read", s->path);
}

static enum status read_kind(struct stream *s, void *data, size_t size, size_t *got,
                             struct error *err)
{
    switch (s->kind) {
    case STREAM_GZIP:
        return stream_gzip_read(s, data, size, got, err);
    case STREAM_ZSTD:
        return stream_zstd_read(s, data, size, got, err);
    case STREAM_ZIP:
        return stream_zip_read(s, data, size, got, err);
    case STREAM_PLAIN:
        break;
    }
    return plain_read(s, data, size, got, err);
}

enum status stream_read(struct stream *s, void *data, size_t size, size_t *got, struct error *err)
{
    enum status st = ST_OK;
    *got = 0;
    if (!s->open)
        return ST_OK;
    if (!s->faulty) {
        st = read_kind(s, data, size, got, &s->fault);
        s->out += *got;
        if (st == ST_OK && s->kind != STREAM_PLAIN)
            st = check_limits(s, &s->fault);
        if (st == ST_OK && *got == 0)
            st = check_unchanged(s, &s->fault);
        s->faulty = st != ST_OK;
        if (*got > 0 && st != ST_FAIL)
            return ST_OK; /* the fault comes with the next call */
        if (st == ST_OK) {
            s->open = false;
            return st;
        }
    }
    s->open = false;
    st = s->fault.cause == CAUSE_FORMAT || s->fault.cause == CAUSE_LIMIT ||
                 s->fault.cause == CAUSE_CHECKSUM
             ? ST_SKIP
             : ST_FAIL;
    if (err && err->cause == CAUSE_NONE)
        *err = s->fault;
    return st;
}

void stream_close(struct stream **s)
{
    struct stream *t = s ? *s : NULL;
    if (!t)
        return;
    if (t->z_open)
        inflateEnd(&t->z);
    ZSTD_freeDStream(t->zstd);
    zip_close(&t->zip);
    hash_map_close(&t->names);
    file_close(&t->feed.fd, t->path, NULL);
    mem_free(t->feed.block);
    mem_free(t->path);
    mem_free(t);
    *s = NULL;
}
