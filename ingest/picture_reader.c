/* ingest/picture_reader.c: the bytes of a picture the index found. Files must still be what they were
 * when the plan was made; the few archives read last stay open. */
#include <inttypes.h>
#include <string.h>

#include "core/mem.h"
#include "ingest/picture_private.h"

enum { OPEN_MOST = 4 };

struct picture_reader {
    const struct picture_index *index;
    struct {
        char *path;
        int fd;
    } open[OPEN_MOST];
    unsigned next; /* slot that is given up next */
};

enum status picture_reader_open(struct picture_reader **out, const struct picture_index *x,
                                struct error *err)
{
    struct picture_reader *r = mem_calloc(1, sizeof *r);
    *out = r;
    if (!r)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "picture reader: out of memory");
    r->index = x;
    for (int i = 0; i < OPEN_MOST; i++)
        r->open[i].fd = -1;
    return ST_OK;
}

void picture_reader_close(struct picture_reader **r)
{
    if (!r || !*r)
        return;
    for (int i = 0; i < OPEN_MOST; i++) {
        file_close(&(*r)->open[i].fd, (*r)->open[i].path, NULL);
        mem_free((*r)->open[i].path);
    }
    mem_free(*r);
    *r = NULL;
}

/* Opens and compares with what the index saw. */
static enum status open_same(int *fd, const char *path, const struct picture_record *p,
                             struct error *err)
{
    struct file_info info;
    const enum status st = file_open_read(fd, path, &info, err);
    if (st != ST_OK) {
        if (err && err->cause == CAUSE_FORMAT)
            err->cause = CAUSE_IO; /* it was a file when the plan was made */
        return error_prefix(err, st, "picture vanished since the plan");
    }
    if (info.size == p->file_size && info.mtime_ns == p->file_mtime_ns)
        return ST_OK;
    file_close(fd, path, NULL);
    return error_set(err, ST_FAIL, CAUSE_IO, "%s: changed since the plan", path);
}

/* A descriptor of an archive that stays open. Takes `path` over. */
static enum status open_archive(struct picture_reader *r, int *fd, char *path,
                                const struct picture_record *p, struct error *err)
{
    for (int i = 0; i < OPEN_MOST; i++)
        if (r->open[i].path && strcmp(r->open[i].path, path) == 0) {
            *fd = r->open[i].fd;
            mem_free(path);
            return ST_OK;
        }
    const enum status st = open_same(fd, path, p, err);
    if (st != ST_OK) {
        mem_free(path);
        return st;
    }
    const unsigned slot = r->next++ % OPEN_MOST;
    file_close(&r->open[slot].fd, r->open[slot].path, NULL);
    mem_free(r->open[slot].path);
    r->open[slot].path = path;
    r->open[slot].fd = *fd;
    return ST_OK;
}

static enum status read_bytes(int fd, const char *path, struct buffer *out,
                              const struct picture_record *p, struct error *err)
{
    enum status st = buffer_reserve(out, p->size > 0 ? (size_t)p->size : 1, err);
    if (st == ST_OK)
        st = file_pread(fd, path, out->data, (size_t)p->size, p->offset, err);
    if (st == ST_OK)
        out->size = (size_t)p->size;
    else if (err && err->cause == CAUSE_FORMAT)
        err->cause = CAUSE_IO;
    return st;
}

enum status picture_reader_read(struct picture_reader *r, struct buffer *out,
                                const struct picture_place *place, struct error *err)
{
    struct table_value v;
    struct picture_record p = { 0 };
    int fd = -1;
    out->size = 0;
    enum status st = table_at(r->index->table, place->file, &v, err);
    if (st != ST_OK)
        return st;
    if (!picture_record_read(&p, v.data, v.size) || p.path >= r->index->count)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "picture index: damaged entry");
    if (p.size > r->index->limits.max_member) {
        error_set(err, ST_SKIP, CAUSE_LIMIT, "%.*s: %" PRIu64 " bytes, at most %" PRIu64 " allowed",
                  (int)p.file.size, p.file.data, p.size, r->index->limits.max_member);
        return error_code(err, ST_SKIP, "limit-bytes");
    }
    char *path = p.file.size > 0
                     ? str_format("%s/%.*s", r->index->paths[p.path], (int)p.file.size, p.file.data)
                     : mem_strdup(r->index->paths[p.path]);
    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "picture reader: out of memory");
    if (p.member.size > 0) {
        st = open_archive(r, &fd, path, &p, err);
        return st == ST_OK ? read_bytes(fd, "archive of pictures", out, &p, err) : st;
    }
    st = open_same(&fd, path, &p, err);
    if (st == ST_OK)
        st = read_bytes(fd, path, out, &p, err);
    file_close(&fd, path, NULL);
    mem_free(path);
    return st;
}
