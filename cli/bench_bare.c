/* cli/bench_bare.c: see bench_bare.h. Each part calls its library as plainly as can be. */
#include "cli/bench_bare.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "core/file.h"
#include "core/image.h"
#include "shards/sample.h"

const char *bench_part_name(enum bench_part p)
{
    static const char *const names[] = { "inflate", "decode", "sentencepiece", "zstd", "write" };
    return names[p];
}

static enum status inflate_file(void *arg, const char *relative, const struct file_info *info,
                                struct error *err)
{
    static const size_t room = 1 << 18;
    const struct bench_work *b = arg;
    struct buffer file = { 0 };
    char *path = path_join(b->dump->docs, relative);
    uint8_t *out = mem_alloc(room);
    z_stream z = { 0 };
    (void)info;
    enum status st = path && out ? file_read_all(&file, path, 0, err)
                                 : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: inflate");
    if (st == ST_OK && inflateInit2(&z, MAX_WBITS + 16) != Z_OK)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: inflate");
    if (st == ST_OK) {
        int result = Z_OK;
        z.next_in = file.data;
        z.avail_in = (uInt)file.size;
        while (result == Z_OK) {
            z.next_out = out;
            z.avail_out = (uInt)room;
            result = inflate(&z, Z_NO_FLUSH);
        }
        inflateEnd(&z);
    }
    buffer_clear(&file);
    mem_free(out);
    mem_free(path);
    return st;
}

static enum status decode_file(void *arg, const char *relative, const struct file_info *info,
                               struct error *err)
{
    const struct bench_work *b = arg;
    struct buffer file = { 0 };
    struct image picture = { 0 };
    char *path = path_join(b->dump->images, relative);
    (void)info;
    enum status st = path ? file_read_all(&file, path, 0, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: path");
    if (st == ST_OK)
        st = image_decode(&picture, file.data, file.size, NULL, NULL, err);
    image_clear(&picture);
    buffer_clear(&file);
    mem_free(path);
    return st;
}

static enum status encode_texts(const struct bench_work *b, struct error *err)
{
    const char *text = (const char *)b->dump->texts.data, *end = text + b->dump->texts.size;
    struct id_list ids = { 0 };
    enum status st = ST_OK;
    while (text < end && st == ST_OK) {
        const size_t size = strlen(text);
        ids.size = 0;
        st = tokenizer_encode_plain(b->tokenizer, &ids, text, size, err);
        text += size + 1;
    }
    id_list_clear(&ids);
    return st;
}

static enum status compress_sequences(const struct bench_work *b, struct error *err)
{
    const size_t *sizes = (const void *)b->sizes.data;
    const uint8_t *data = b->sequences.data;
    const size_t n = b->sizes.size / sizeof *sizes,
                 room = ZSTD_compressBound(SAMPLE_MAX_BYTES / 64);
    ZSTD_CCtx *z = ZSTD_createCCtx();
    ZSTD_CDict *d = ZSTD_createCDict(b->dictionary.data, b->dictionary.size, b->level);
    void *out = mem_alloc(room);
    enum status st =
        z && d && out ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: zstd");
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        const size_t got = ZSTD_compress_usingCDict(z, out, room, data, sizes[i], d);
        if (ZSTD_isError(got))
            st = error_set(err, ST_FAIL, CAUSE_INTERNAL, "zstd: %s", ZSTD_getErrorName(got));
        data += sizes[i];
    }
    ZSTD_freeCCtx(z);
    ZSTD_freeCDict(d);
    mem_free(out);
    return st;
}

static enum status write_bytes(const struct bench_work *b, struct error *err)
{
    enum { BLOCK = 1 << 20 };
    char *path = str_format("%s/written", b->dump->folder);
    uint8_t *block = mem_calloc(1, BLOCK);
    int fd = -1;
    enum status st = path && block ? file_open_write(&fd, path, err)
                                   : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: write");
    for (uint64_t left = b->written; left > 0 && st == ST_OK;) {
        const size_t size = left < BLOCK ? (size_t)left : BLOCK;
        st = file_write(fd, path, block, size, err);
        left -= size;
    }
    if (st == ST_OK)
        st = file_sync(fd, path, err);
    if (fd >= 0 && file_close(&fd, path, err) != ST_OK)
        st = ST_FAIL;
    if (path)
        file_remove(path, NULL);
    mem_free(path);
    mem_free(block);
    return st;
}

enum status bench_bare(enum bench_part part, const struct bench_work *work, struct error *err)
{
    void *arg = (void *)(uintptr_t)work; /* the callbacks only read it */
    switch (part) {
    case BENCH_INFLATE:
        return file_walk(work->dump->docs, inflate_file, arg, err);
    case BENCH_DECODE:
        return file_walk(work->dump->images, decode_file, arg, err);
    case BENCH_TOKENS:
        return encode_texts(work, err);
    case BENCH_ZSTD:
        return compress_sequences(work, err);
    case BENCH_WRITE:
        return write_bytes(work, err);
    case BENCH_PARTS:
        break;
    }
    return ST_OK;
}
