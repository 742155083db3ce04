/* ingest/stream_zstd.c: zstd frames one after the other; libzstd checks the content checksums. */
#include "ingest/stream_private.h"

enum { WINDOW_LOG = 27 }; /* 128 MiB, libzstd's own default for decoders */

static enum status zstd_start(struct stream *s, struct error *err)
{
    if (s->zstd)
        return ST_OK;
    s->zstd = ZSTD_createDStream();
    if (!s->zstd || ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, WINDOW_LOG)))
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: zstd: out of memory", s->path);
    return ST_OK;
}

enum status stream_zstd_read(struct stream *s, void *data, size_t size, size_t *got,
                             struct error *err)
{
    ZSTD_outBuffer out = { data, size, 0 };
    enum status st = zstd_start(s, err);
    while (st == ST_OK && out.pos < out.size) {
        st = feed_fill(&s->feed, err);
        const size_t left = s->feed.size - s->feed.at, before = out.pos;
        if (st != ST_OK || (left == 0 && s->frame_done))
            break;
        ZSTD_inBuffer in = { s->feed.block + s->feed.at, left, 0 };
        const size_t n = ZSTD_decompressStream(s->zstd, &out, &in);
        s->feed.at += in.pos;
        s->in += in.pos;
        if (ZSTD_isError(n)) {
            st = stream_fault(s, "zstd-data", ZSTD_getErrorName(n), err);
        } else if (left == 0 && out.pos == before) {
            st = stream_fault(s, "zstd-cut", "the file ends inside a zstd frame", err);
        } else {
            s->frame_done = n == 0;
        }
    }
    *got = out.pos;
    return st;
}
