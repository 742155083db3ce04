/* ingest/stream_gzip.c: gzip members one after the other, checked to the last byte, and the inflate
 * calls that zip shares. zlib's memory comes from core/mem. */
#include <limits.h>
#include <string.h>

#include "core/mem.h"
#include "ingest/stream_private.h"

static void *z_alloc(void *opaque, unsigned n, unsigned size)
{
    (void)opaque;
    return mem_calloc(n, size);
}

static void z_free(void *opaque, void *p)
{
    (void)opaque;
    mem_free(p);
}

enum status stream_inflate_start(struct stream *s, int window_bits, struct error *err)
{
    if (s->z_open)
        inflateEnd(&s->z);
    s->z_open = false;
    memset(&s->z, 0, sizeof s->z);
    s->z.zalloc = z_alloc;
    s->z.zfree = z_free;
    if (inflateInit2(&s->z, window_bits) != Z_OK)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: inflate: out of memory", s->path);
    s->z_open = true;
    return ST_OK;
}

enum status stream_inflate(struct stream *s, void *data, size_t size, size_t *got, int *result,
                           struct error *err)
{
    const unsigned room = size < UINT_MAX ? (unsigned)size : UINT_MAX;
    s->z.next_out = data;
    s->z.avail_out = room;
    *result = Z_OK;
    while (s->z.avail_out > 0 && *result == Z_OK) {
        const enum status st = feed_fill(&s->feed, err);
        if (st != ST_OK)
            return st;
        const size_t left = s->feed.size - s->feed.at;
        s->z.next_in = s->feed.block + s->feed.at;
        s->z.avail_in = (unsigned)left;
        *result = inflate(&s->z, Z_SYNC_FLUSH);
        const size_t taken = left - s->z.avail_in;
        s->feed.at += taken;
        s->in += taken;
        if (left == 0)
            break; /* nothing to come: zlib has given what it had */
    }
    *got = room - s->z.avail_out;
    if (*result == Z_MEM_ERROR)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: inflate: out of memory", s->path);
    return ST_OK;
}

static enum status gzip_fault(const struct stream *s, struct error *err)
{
    const char *why = s->z.msg ? s->z.msg : "damaged data";
    if (strcmp(why, "incorrect data check") == 0)
        return stream_fault(s, "gzip-crc", "the data do not match their CRC", err);
    if (strcmp(why, "incorrect length check") == 0)
        return stream_fault(s, "gzip-length", "the data do not have the length noted", err);
    return stream_fault(s, "gzip-data", why, err);
}

/* Between two members: the next one, the end, or bytes that are neither. */
static enum status next_member(struct stream *s, bool *end, struct error *err)
{
    const enum status st = feed_fill(&s->feed, err);
    if (st != ST_OK)
        return st;
    *end = s->feed.at == s->feed.size;
    if (*end)
        return ST_OK;
    if (s->feed.block[s->feed.at] != 0x1f)
        return stream_fault(s, "gzip-trailing", "bytes after the last gzip member", err);
    inflateReset(&s->z);
    s->frame_done = false;
    return ST_OK;
}

enum status stream_gzip_read(struct stream *s, void *data, size_t size, size_t *got,
                             struct error *err)
{
    int result = Z_OK;
    bool end = false;
    *got = 0;
    while (*got == 0) {
        enum status st = s->frame_done ? next_member(s, &end, err) : ST_OK;
        if (st != ST_OK || end)
            return st;
        st = stream_inflate(s, data, size, got, &result, err);
        if (st != ST_OK)
            return st;
        s->frame_done = result == Z_STREAM_END;
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return gzip_fault(s, err);
        if (*got < size && !s->frame_done)
            return stream_fault(s, "gzip-cut", "the file ends inside a gzip member", err);
    }
    return ST_OK;
}
