/* ingest/spool.c: see spool.h. */
#include "ingest/spool.h"

#include "core/file.h"

enum status spool_open(struct spool *s, const char *path, struct error *err)
{
    *s = (struct spool){ .path = mem_strdup(path), .fd = -1 };
    if (!s->path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", path);
    return file_open_write(&s->fd, path, err);
}

enum status spool_put(struct spool *s, const void *data, size_t size, uint64_t *offset,
                      struct error *err)
{
    const enum status st = file_pwrite(s->fd, s->path, data, size, s->size, err);
    *offset = s->size;
    if (st == ST_OK)
        s->size += size;
    return st;
}

enum status spool_get(const struct spool *s, struct buffer *out, uint64_t offset, size_t size,
                      struct error *err)
{
    out->size = 0;
    enum status st = buffer_reserve(out, size, err);
    if (st == ST_OK)
        st = file_pread(s->fd, s->path, out->data, size, offset, err);
    if (st == ST_OK)
        out->size = size;
    return st;
}

void spool_close(struct spool *s)
{
    if (!s->path)
        return;
    file_close(&s->fd, s->path, NULL);
    file_remove(s->path, NULL);
    mem_free(s->path);
    *s = (struct spool){ .fd = -1 };
}
