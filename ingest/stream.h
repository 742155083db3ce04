/* ingest/stream.h: the bytes of a JSON-lines input out of whatever holds them: nothing, gzip (RFC
 * 1952), zstd (RFC 8878) or zip (APPNOTE 6.3, members stored or deflated). The kind follows the first
 * bytes, which must agree with the name (robustness.md 2.3). All that can be decompressed before a
 * fault is handed over. One thread. */
#ifndef DEEM_INGEST_STREAM_H
#define DEEM_INGEST_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "ingest/source.h"

struct stream;
/* `limits` are copied. ST_FAIL: CAUSE_IO, CAUSE_FORMAT (no regular file), CAUSE_NOMEM. */
enum status stream_open(struct stream **out, const char *path, const struct source_limits *limits,
                        struct error *err);
/* Goes to the next JSON-lines member (of what is no archive: the one there is, name NULL); of a zip
 * the member named like the zip without .zip, else every .jsonl member in the directory's order.
 * *name is borrowed until the next call. ST_END: no more. ST_SKIP: the archive, or the member *name,
 * is damaged: *err holds code and text; call again. ST_FAIL: CAUSE_IO, CAUSE_NOMEM. */
enum status stream_member(struct stream *s, const char **name, struct error *err);
/* Up to `size` bytes of the member; *got 0: its end. ST_SKIP: a fault, all before it was handed over;
 * the member is over. ST_FAIL: CAUSE_IO (the file changed while it was read, too), CAUSE_NOMEM. */
enum status stream_read(struct stream *s, void *data, size_t size, size_t *got, struct error *err);
void stream_close(struct stream **s);

#endif
