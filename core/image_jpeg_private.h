/* core/image_jpeg_private.h: one libjpeg decompressor behind a guard. libjpeg reports errors by a
 * jump; everything it touches lives in struct jpeg_session, owned by the caller, so that nothing is
 * lost when it jumps. */
#ifndef DEEM_CORE_IMAGE_JPEG_PRIVATE_H
#define DEEM_CORE_IMAGE_JPEG_PRIVATE_H

#include <setjmp.h>
#include <stdio.h>
/* jpeglib.h wants stdio.h first */
#include <jpeglib.h>

#include "core/image_private.h"

struct jpeg_session {
    struct jpeg_decompress_struct in;
    struct jpeg_compress_struct out; /* transcoding only */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    struct image_job *job;
    struct image *picture; /* decode: where pixels go; encode: where they come from */
    uint8_t *row;          /* decode: one CMYK row */
    int quality;           /* encode */
    bool subsample_420;
    struct jpeg_destination_mgr dest;
    struct buffer *bytes; /* encode and transcode: where the file goes */
    struct error *err;
    enum status st; /* what the guard found */
};

typedef void jpeg_body_fn(struct jpeg_session *s);
/* Runs `body` between creation and destruction of s->in and s->out. ST_OK, ST_SKIP (bad picture, with
 * code), ST_FAIL (CAUSE_NOMEM). */
enum status jpeg_session_run(struct jpeg_session *s, jpeg_body_fn *body);
/* Header, memory and scan limits; for use in bodies. */
void jpeg_session_header(struct jpeg_session *s, bool save_markers);
/* Makes s->out append to s->bytes. */
void jpeg_session_to_buffer(struct jpeg_session *s);
/* Body: decodes s->job into s->picture. */
jpeg_body_fn jpeg_session_decode;

#endif
