/* ingest/masks/output_file.c: see output_file.h. */
#include "ingest/masks/output_file.h"

#include <string.h>

#include "core/file.h"

enum { PIECE_BYTES = 1 << 20 };

enum status output_file_open(struct output_file *f, const char *path, struct error *err)
{
    memset(f, 0, sizeof *f);
    f->fd = -1;
    buffer_init(&f->pending);
    f->path = mem_strdup(path);
    f->temporary = str_format("%s.tmp", path);
    if (!f->path || !f->temporary)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", path);
    if (hash_stream_open(&f->hash, HASH_SHA256, err) != ST_OK)
        return ST_FAIL;
    return file_open_write(&f->fd, f->temporary, err);
}

static enum status flush(struct output_file *f, struct error *err)
{
    const enum status st = file_write(f->fd, f->temporary, f->pending.data, f->pending.size, err);
    if (st == ST_OK) {
        hash_stream_update(f->hash, f->pending.data, f->pending.size);
        f->bytes += f->pending.size;
        f->pending.size = 0;
    }
    return st;
}

enum status output_file_piece(struct output_file *f, struct error *err)
{
    return f->pending.size < PIECE_BYTES ? ST_OK : flush(f, err);
}

enum status output_file_seal(struct output_file *f, struct error *err)
{
    enum status st = f->pending.size ? flush(f, err) : ST_OK;

    if (st == ST_OK)
        st = file_sync(f->fd, f->temporary, err);
    if (st == ST_OK)
        st = file_close(&f->fd, f->temporary, err);
    if (st == ST_OK)
        hash_stream_digest(f->hash, f->digest);
    return st;
}

enum status output_file_publish(struct output_file *f, struct error *err)
{
    const enum status st = file_rename(f->temporary, f->path, err);
    if (st == ST_OK) {
        mem_free(f->temporary);
        f->temporary = NULL;
    }
    return st;
}

void output_file_close(struct output_file *f)
{
    if (f->fd >= 0)
        file_close(&f->fd, f->temporary, NULL);
    if (f->temporary)
        file_remove(f->temporary, NULL);
    mem_free(f->temporary);
    mem_free(f->path);
    f->temporary = f->path = NULL;
    hash_stream_close(&f->hash);
    buffer_clear(&f->pending);
}
