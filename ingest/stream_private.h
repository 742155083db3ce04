/* ingest/stream_private.h: what the kinds of stream share. */
#ifndef DEEM_INGEST_STREAM_PRIVATE_H
#define DEEM_INGEST_STREAM_PRIVATE_H

#include <zlib.h>
#include <zstd.h>

#include "core/file.h"
#include "core/hash.h"
#include "ingest/stream.h"
#include "ingest/zip.h"

enum stream_kind { STREAM_PLAIN, STREAM_GZIP, STREAM_ZSTD, STREAM_ZIP };

/* A run of the file, read in blocks. */
struct feed {
    int fd;
    const char *path;
    uint8_t *block; /* owned */
    size_t at, size;
    uint64_t offset; /* in the file, of the next block */
    uint64_t end;    /* where the run ends */
};

struct stream {
    struct source_limits limits;
    struct file_info info;
    char *path;
    struct feed feed;
    enum stream_kind kind;
    bool started, open; /* a member was begun; it has not ended */
    char bad_code[32];  /* of the container as a whole: reported instead of members */
    char bad_text[200];
    uint64_t in, out;   /* bytes of the member taken and given */
    struct error fault; /* found behind bytes that are still to be handed over */
    bool faulty;
    z_stream z;
    bool z_open, frame_done; /* between two gzip members or zstd frames */
    ZSTD_DStream *zstd;
    struct zip *zip;
    const struct zip_member *member;
    uint32_t crc;
    size_t next, exact;     /* members of the directory: to look at, called like the zip */
    struct hash_map *names; /* base names of the members begun */
    bool lines_seen;        /* a JSON-lines member was found */
    bool zip_cut;           /* no directory: local headers are walked from walk_at */
    bool walk_over, end_told;
    uint64_t walk_at;
    unsigned faults; /* told so far */
};

/* Makes at least one byte available at block[at] unless the run is over. */
enum status feed_fill(struct feed *f, struct error *err);
void feed_seek(struct feed *f, uint64_t offset, uint64_t end);

/* Each gives up to `size` bytes, or ends (*got 0), or fails as stream_read. */
enum status stream_gzip_read(struct stream *s, void *data, size_t size, size_t *got,
                             struct error *err);
enum status stream_zstd_read(struct stream *s, void *data, size_t size, size_t *got,
                             struct error *err);
enum status stream_zip_open(struct stream *s, struct error *err);
enum status stream_zip_member(struct stream *s, const char **name, struct error *err);
enum status stream_zip_read(struct stream *s, void *data, size_t size, size_t *got,
                            struct error *err);
/* inflate with our allocator; window_bits as inflateInit2 takes them. */
enum status stream_inflate_start(struct stream *s, int window_bits, struct error *err);
/* Runs inflate over what the feed holds. *result is zlib's code. */
enum status stream_inflate(struct stream *s, void *data, size_t size, size_t *got, int *result,
                           struct error *err);
/* Fills err: ST_SKIP, CAUSE_FORMAT, with code and the byte in the file. */
enum status stream_fault(const struct stream *s, const char *code, const char *what,
                         struct error *err);

#endif
