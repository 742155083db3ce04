/* ingest/stream_zip.c: the JSON-lines members of a zip. With a directory by its word, checked; of a file
 * that was cut, one local header after the other. A member is inflated to its declared size and no
 * byte further. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "ingest/stream_private.h"

enum { DESCRIPTOR_MAX = 24 };

/* Position of the member called like the zip without its .zip; zip_count where there is none. */
static size_t namesake(const struct stream *s)
{
    const char *base = path_base(s->path);
    const size_t n = strlen(base) > 4 ? strlen(base) - 4 : 0, count = zip_count(s->zip);
    for (size_t i = 0; i < count; i++) {
        const struct zip_member *m = zip_at(s->zip, i);
        if (m->name_size == n && n > 0 && memcmp(m->name, base, n) == 0)
            return i;
    }
    return count;
}

enum status stream_zip_open(struct stream *s, struct error *err)
{
    struct error why = { 0 };
    enum status st = zip_open(&s->zip, s->feed.fd, s->path, s->info.size, s->limits.max_members,
                              s->limits.max_name, &why);
    if (st == ST_SKIP && !s->zip) {
        snprintf(s->bad_code, sizeof s->bad_code, "%s", why.code);
        snprintf(s->bad_text, sizeof s->bad_text, "%.190s", why.text);
        return ST_OK;
    }
    if (st == ST_FAIL) {
        if (err && err->cause == CAUSE_NONE)
            *err = why;
        return st;
    }
    s->zip_cut = st == ST_SKIP;
    s->exact = namesake(s);
    return hash_map_open(&s->names, 0, err);
}

static bool is_lines(const struct zip_member *m)
{
    static const char end[] = ".jsonl";
    const size_t n = sizeof end - 1;
    return m->name_size >= n && memcmp(m->name + m->name_size - n, end, n) == 0 &&
           strlen(m->name) == m->name_size;
}

static bool has_controls(const char *name)
{
    for (; *name; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return true;
    return false;
}

static enum status begin_member(struct stream *s, size_t i, const char **name, struct error *err)
{
    uint64_t at = i;
    s->member = zip_at(s->zip, i);
    *name = s->member->name;
    const char *base = path_base(*name);
    if (has_controls(*name)) {
        error_set(err, ST_SKIP, CAUSE_FORMAT, "%s: control bytes in a member name", *name);
        return error_code(err, ST_SKIP, "member-name");
    }
    const enum status st = hash_map_insert(s->names, base, strlen(base), &at, err);
    if (st == ST_SKIP) { /* its records would have the keys of another's */
        error_set(err, st, CAUSE_FORMAT, "%s: a second member of this name", *name);
        return error_code(err, st, "member-twice");
    }
    if (st != ST_OK)
        return st;
    s->open = true;
    s->crc = 0;
    feed_seek(&s->feed, s->member->data,
              s->member->sizes_known ? s->member->data + s->member->packed : s->info.size);
    if (s->feed.end > s->info.size) /* a cut file: what is there */
        s->feed.end = s->info.size;
    return s->member->method == ZIP_DEFLATED ? stream_inflate_start(s, -MAX_WBITS, err) : ST_OK;
}

static enum status next_by_directory(struct stream *s, const char **name, struct error *err)
{
    const size_t count = zip_count(s->zip), exact = s->exact;
    for (; s->next < count; s->next++) {
        if (exact < count ? s->next != exact : !is_lines(zip_at(s->zip, s->next)))
            continue;
        s->lines_seen = true;
        const size_t i = s->next++;
        const enum status st = zip_check_member(s->zip, i, err);
        *name = zip_at(s->zip, i)->name;
        return st == ST_OK ? begin_member(s, i, name, err) : st;
    }
    if (s->lines_seen)
        return ST_END;
    s->lines_seen = true;
    error_set(err, ST_SKIP, CAUSE_FORMAT, "no .jsonl member among %zu", count);
    return error_code(err, ST_SKIP, "zip-no-lines");
}

/* Where the data descriptor ends that follows `at`: with or without signature, 32 or 64 bit sizes; the
 * next signature decides. */
static enum status after_descriptor(const struct stream *s, uint64_t at, uint64_t *next,
                                    struct error *err)
{
    static const size_t sizes[] = { 16, 12, 24, 20 };
    uint8_t bytes[DESCRIPTOR_MAX + 4] = { 0 };
    const uint64_t left = s->info.size - at;
    const size_t size = left < sizeof bytes ? (size_t)left : sizeof bytes;
    const enum status st = file_pread(s->feed.fd, s->path, bytes, size, at, err);
    *next = s->info.size;
    for (size_t i = 0; st == ST_OK && i < 4; i++) {
        const uint32_t magic = sizes[i] + 4 <= size ? load_u32le(bytes + sizes[i]) : 0;
        if (magic == 0x04034b50u || magic == 0x02014b50u) {
            *next = at + sizes[i];
            break;
        }
    }
    return st;
}

/* Of a cut file: the header behind the member before. */
static enum status next_by_walking(struct stream *s, const char **name, struct error *err)
{
    for (;;) {
        const size_t before = zip_count(s->zip);
        enum status st = s->walk_over ? ST_END : zip_walk(s->zip, s->walk_at, err);
        if (st == ST_END && !s->end_told) {
            s->walk_over = s->end_told = true;
            if (s->faults > 0)
                return ST_END; /* the cut was met inside a member and told there */
            return stream_fault(s, "zip-end", "no end record: the file was cut", err);
        }
        if (st != ST_OK) {
            s->walk_over = true;
            s->faults++;
            return st;
        }
        const struct zip_member *m = zip_at(s->zip, before);
        if (m->sizes_known && (!add_ok_u64(m->data, m->packed, &s->walk_at)))
            s->walk_over = true;
        if (!is_lines(m) && m->sizes_known)
            continue;
        s->walk_over |= !m->sizes_known; /* until its end has been found */
        if (!is_lines(m)) {
            s->faults++;
            return stream_fault(s, "zip-end", "a cut archive with a member of unknown size", err);
        }
        return begin_member(s, before, name, err);
    }
}

enum status stream_zip_member(struct stream *s, const char **name, struct error *err)
{
    return s->zip_cut ? next_by_walking(s, name, err) : next_by_directory(s, name, err);
}

static enum status check_end(struct stream *s, struct error *err)
{
    const struct zip_member *m = s->member;
    if (m->sizes_known && s->out != m->size)
        return stream_fault(s, "zip-size", "the member has another size than declared", err);
    if (m->sizes_known && s->in != m->packed)
        return stream_fault(s, "zip-size", "bytes after the packed data", err);
    if (m->sizes_known && s->crc != m->crc)
        return stream_fault(s, "zip-crc", "the data do not match their CRC", err);
    if (!m->sizes_known) {
        const uint64_t at = s->feed.offset - (uint64_t)(s->feed.size - s->feed.at);
        s->walk_over = false;
        return after_descriptor(s, at, &s->walk_at, err);
    }
    return ST_OK;
}

static enum status read_stored(struct stream *s, void *data, size_t size, size_t *got,
                               struct error *err)
{
    const enum status st = feed_fill(&s->feed, err);
    const size_t left = s->feed.size - s->feed.at;
    if (st != ST_OK)
        return st;
    *got = left < size ? left : size;
    if (*got > 0)
        memcpy(data, s->feed.block + s->feed.at, *got);
    s->feed.at += *got;
    s->in += *got;
    if (*got == 0 && s->in < s->member->packed)
        return stream_fault(s, "zip-cut", "the file ends inside a member", err);
    return ST_OK;
}

static enum status read_deflated(struct stream *s, void *data, size_t size, size_t *got,
                                 struct error *err)
{
    int result = Z_OK;
    if (s->frame_done)
        return ST_OK;
    const enum status st = stream_inflate(s, data, size, got, &result, err);
    if (st != ST_OK)
        return st;
    s->frame_done = result == Z_STREAM_END;
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
        return stream_fault(s, "zip-data", s->z.msg ? s->z.msg : "damaged data", err);
    if (*got < size && !s->frame_done)
        return s->zip_cut ? stream_fault(s, "zip-cut", "the file ends inside a member", err)
                          : stream_fault(s, "zip-data", "the packed data end early", err);
    return ST_OK;
}

enum status stream_zip_read(struct stream *s, void *data, size_t size, size_t *got,
                            struct error *err)
{
    const struct zip_member *m = s->member;
    if (s->out == 0)
        s->frame_done = false;
    enum status st = m->method == ZIP_STORED ? read_stored(s, data, size, got, err)
                                             : read_deflated(s, data, size, got, err);
    s->crc = (uint32_t)crc32_z(s->crc, data, *got);
    if (m->sizes_known && *got > 0 && s->out + *got > m->size) {
        *got = (size_t)(m->size - s->out); /* the declared bytes, and no more */
        error_clear(err);
        st = stream_fault(s, "zip-size", "the member is larger than declared", err);
    } else if (st == ST_OK && *got == 0) {
        st = check_end(s, err);
    }
    s->faults += st == ST_SKIP;
    return st;
}
