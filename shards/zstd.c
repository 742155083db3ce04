/* shards/zstd.c: frames by libzstd with every limit set. Format: RFC 8878. */
#include <zstd.h>

#include "shards/zstd_private.h"

#include "core/bytes.h"

enum {
    WINDOW_LOG_MAX = 27,
    DESCRIPTOR_AT = 4, /* byte of the frame header behind the magic */
    DESCRIPTOR_CHECKSUM = 4,
};

struct zstd_encoder {
    ZSTD_CCtx *context;
};

struct zstd_decoder {
    ZSTD_DCtx *context;
    ZSTD_DDict *dictionary;
};

static enum status out_of_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: zstd");
}

enum status zstd_encoder_open(struct zstd_encoder **out, const void *dictionary, size_t size,
                              int level, struct error *err)
{
    struct zstd_encoder *e = mem_calloc(1, sizeof *e);

    *out = NULL;
    if (!e)
        return out_of_memory(err);
    e->context = ZSTD_createCCtx();
    if (!e->context ||
        ZSTD_isError(ZSTD_CCtx_setParameter(e->context, ZSTD_c_compressionLevel, level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(e->context, ZSTD_c_checksumFlag, 1)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(e->context, ZSTD_c_contentSizeFlag, 1)) ||
        (dictionary && ZSTD_isError(ZSTD_CCtx_loadDictionary(e->context, dictionary, size)))) {
        zstd_encoder_close(&e);
        return out_of_memory(err);
    }
    *out = e;
    return ST_OK;
}

void zstd_encoder_close(struct zstd_encoder **e)
{
    if (!*e)
        return;
    ZSTD_freeCCtx((*e)->context);
    mem_free(*e);
    *e = NULL;
}

enum status zstd_encode(struct zstd_encoder *e, struct buffer *out, const void *data, size_t size,
                        struct error *err)
{
    const size_t bound = ZSTD_compressBound(size);

    if (ZSTD_isError(bound))
        return error_set(err, ST_FAIL, CAUSE_LIMIT, "zstd: %zu bytes are too many", size);
    if (buffer_reserve(out, bound, err) != ST_OK)
        return ST_FAIL;
    const size_t n = ZSTD_compress2(e->context, out->data + out->size, bound, data, size);
    if (ZSTD_isError(n))
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "zstd: %s", ZSTD_getErrorName(n));
    out->size += n;
    return ST_OK;
}

enum status zstd_decoder_open(struct zstd_decoder **out, const void *dictionary, size_t size,
                              struct error *err)
{
    struct zstd_decoder *d = mem_calloc(1, sizeof *d);

    *out = NULL;
    if (!d)
        return out_of_memory(err);
    d->context = ZSTD_createDCtx();
    if (size > 0)
        d->dictionary = ZSTD_createDDict(dictionary, size);
    if (!d->context || (size > 0 && !d->dictionary) ||
        ZSTD_isError(ZSTD_DCtx_setParameter(d->context, ZSTD_d_windowLogMax, WINDOW_LOG_MAX))) {
        zstd_decoder_close(&d);
        return out_of_memory(err);
    }
    *out = d;
    return ST_OK;
}

void zstd_decoder_close(struct zstd_decoder **d)
{
    if (!*d)
        return;
    ZSTD_freeDDict((*d)->dictionary);
    ZSTD_freeDCtx((*d)->context);
    mem_free(*d);
    *d = NULL;
}

/* One whole frame of `plain` bytes with a checksum, before anything is decoded. */
static enum status check_frame(const uint8_t *data, size_t size, size_t plain, struct error *err)
{
    const size_t frame = ZSTD_findFrameCompressedSize(data, size);

    if (ZSTD_isError(frame) || frame != size || load_u32le(data) != ZSTD_MAGICNUMBER)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "zstd: not one whole frame of %zu bytes",
                         size);
    if (!(data[DESCRIPTOR_AT] & DESCRIPTOR_CHECKSUM))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "zstd: frame has no checksum");
    if (ZSTD_getFrameContentSize(data, size) != plain)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "zstd: frame does not hold %zu bytes", plain);
    return ST_OK;
}

enum status zstd_decode(struct zstd_decoder *d, struct buffer *out, const void *data, size_t size,
                        size_t plain, struct error *err)
{
    size_t n;

    out->size = 0;
    if (check_frame(data, size, plain, err) != ST_OK ||
        buffer_reserve(out, plain + 1, err) != ST_OK)
        return ST_FAIL;
    if (d->dictionary)
        n = ZSTD_decompress_usingDDict(d->context, out->data, plain, data, size, d->dictionary);
    else
        n = ZSTD_decompressDCtx(d->context, out->data, plain, data, size);
    if (ZSTD_isError(n) || n != plain)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "zstd: %s",
                         ZSTD_isError(n) ? ZSTD_getErrorName(n) : "size differs");
    out->size = n;
    return ST_OK;
}
