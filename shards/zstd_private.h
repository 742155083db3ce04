/* shards/zstd_private.h: zstd frames of a shard: one frame, with its content size and its checksum,
 * and with the dataset's dictionary where there is one. A coder belongs to one thread. */
#ifndef DEEM_SHARDS_ZSTD_PRIVATE_H
#define DEEM_SHARDS_ZSTD_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

struct zstd_encoder;
/* `dictionary` NULL: none; else borrowed until close. */
enum status zstd_encoder_open(struct zstd_encoder **out, const void *dictionary, size_t size,
                              int level, struct error *err);
void zstd_encoder_close(struct zstd_encoder **e);
/* Appends the frame. */
enum status zstd_encode(struct zstd_encoder *e, struct buffer *out, const void *data, size_t size,
                        struct error *err);

struct zstd_decoder;
/* The dictionary is copied. ST_FAIL: CAUSE_NOMEM. */
enum status zstd_decoder_open(struct zstd_decoder **out, const void *dictionary, size_t size,
                              struct error *err);
void zstd_decoder_close(struct zstd_decoder **d);
/* Replaces the content of `out` by the `plain` bytes of the one frame in `data`. ST_FAIL: CAUSE_FORMAT
 * (another size, no checksum flag, bytes behind the frame, no frame), CAUSE_NOMEM. */
enum status zstd_decode(struct zstd_decoder *d, struct buffer *out, const void *data, size_t size,
                        size_t plain, struct error *err);

#endif
