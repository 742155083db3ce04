/* ingest/tar.c: see tar.h. */
#include "ingest/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"

enum { BLOCK = 1 << 16, TAR_BLOCK = 512, DEPTH_MOST = 16 };

struct tar {
    struct archive *archive;
    struct archive_entry *entry; /* of our own: libarchive 3.6 does not check that it got one */
    struct file_info info;
    struct source_limits limits;
    char *path;
    int fd;
    uint8_t *block;  /* owned */
    uint64_t offset; /* in the file, of what libarchive asks for next */
    uint64_t after;  /* behind the last member and its padding */
    uint64_t members;
    struct error io;             /* of the callbacks */
    int opened;                  /* what libarchive said to the first block */
    bool over, incomplete, lost; /* lost: looking for the next header after a bad one */
};

static enum status fault(struct tar *t, const char *code, enum cause cause, uint64_t at,
                         const char *what, struct error *err)
{
    (void)t;
    error_set(err, ST_SKIP, cause, "byte %" PRIu64 ": %s", at, what);
    return error_code(err, ST_SKIP, code);
}

static la_ssize_t read_block(struct archive *a, void *arg, const void **data)
{
    struct tar *t = arg;
    const uint64_t left = t->offset < t->info.size ? t->info.size - t->offset : 0;
    const size_t size = left < BLOCK ? (size_t)left : BLOCK;
    *data = t->block;
    if (size == 0)
        return 0;
    if (file_pread(t->fd, t->path, t->block, size, t->offset, &t->io) != ST_OK) {
        archive_set_error(a, t->io.sys, "read");
        return ARCHIVE_FATAL;
    }
    t->offset += size;
    return (la_ssize_t)size;
}

static la_int64_t skip_bytes(struct archive *a, void *arg, la_int64_t request)
{
    struct tar *t = arg;
    const uint64_t left = t->offset < t->info.size ? t->info.size - t->offset : 0;
    const uint64_t want = request > 0 ? (uint64_t)request : 0;
    const uint64_t step = want < left ? want : left;
    (void)a;
    t->offset += step;
    return (la_int64_t)step;
}

enum status tar_open(struct tar **out, const char *path, const struct source_limits *limits,
                     struct error *err)
{
    struct tar *t = mem_calloc(1, sizeof *t);
    enum status st = ST_FAIL;
    *out = t;
    if (!t)
        return error_set(err, st, CAUSE_NOMEM, "%s: out of memory", path);
    t->fd = -1;
    if (limits)
        t->limits = *limits;
    else
        source_limits_init(&t->limits);
    t->path = mem_strdup(path);
    t->block = mem_alloc(BLOCK);
    t->archive = t->path && t->block ? archive_read_new() : NULL;
    t->entry = t->archive ? archive_entry_new2(t->archive) : NULL;
    if (!t->entry || archive_read_support_format_tar(t->archive) != ARCHIVE_OK ||
        archive_read_set_callback_data(t->archive, t) != ARCHIVE_OK) {
        error_set(err, st, CAUSE_NOMEM, "%s: out of memory", path);
        goto fail;
    }
    st = file_open_read(&t->fd, path, &t->info, err);
    if (st != ST_OK)
        goto fail;
    archive_read_set_read_callback(t->archive, read_block);
    archive_read_set_skip_callback(t->archive, skip_bytes);
    t->opened = archive_read_open1(t->archive);
    if (t->opened == ARCHIVE_OK ||
        (t->io.cause == CAUSE_NONE && archive_errno(t->archive) != ENOMEM))
        return ST_OK; /* what is no tar is said by tar_next */
    st = ST_FAIL;
    if (t->io.cause != CAUSE_NONE && err && err->cause == CAUSE_NONE)
        *err = t->io;
    error_set(err, st, CAUSE_NOMEM, "%s: %s", path, archive_error_string(t->archive));
fail:
    tar_close(out);
    return st;
}

void tar_close(struct tar **t)
{
    if (!t || !*t)
        return;
    archive_entry_free((*t)->entry);
    archive_read_free((*t)->archive);
    file_close(&(*t)->fd, (*t)->path, NULL);
    mem_free((*t)->block);
    mem_free((*t)->path);
    mem_free(*t);
    *t = NULL;
}

bool tar_incomplete(const struct tar *t)
{
    return t->incomplete;
}

const struct file_info *tar_info(const struct tar *t)
{
    return &t->info;
}

static bool all_zero(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* The file behind the last member: zeros that begin with an end block, and nothing else. */
static enum status check_end(struct tar *t, struct error *err)
{
    struct file_info now;
    uint64_t at = t->after;
    enum status st = file_stat(t->path, &now, err);
    if (st == ST_FAIL)
        return st;
    if (st == ST_END || now.size != t->info.size || now.mtime_ns != t->info.mtime_ns ||
        now.inode != t->info.inode)
        return error_set(err, ST_FAIL, CAUSE_IO, "%s: changed while it was read", t->path);
    if (at > t->info.size || t->info.size - at < TAR_BLOCK) {
        t->incomplete = true;
        return fault(t, "tar-cut", CAUSE_FORMAT, t->info.size,
                     "the file ends without an end-of-archive block", err);
    }
    while (at < t->info.size) {
        const uint64_t left = t->info.size - at;
        const size_t size = left < BLOCK ? (size_t)left : BLOCK;
        st = file_pread(t->fd, t->path, t->block, size, at, err);
        if (st != ST_OK)
            return st;
        if (!all_zero(t->block, size)) {
            t->incomplete = true;
            return fault(t, "tar-trailing", CAUSE_FORMAT, at, "bytes behind the end of the archive",
                         err);
        }
        at += size;
    }
    return ST_END;
}

/* libarchive could not go on, or met a bad header. */
static enum status damaged(struct tar *t, int result, struct error *err)
{
    const char *why = archive_error_string(t->archive);
    const uint64_t at = (uint64_t)archive_read_header_position(t->archive);
    why = why ? why : "damaged";
    t->incomplete = true;
    if (result == ARCHIVE_RETRY)
        return fault(t, "tar-header", CAUSE_FORMAT, at, why, err);
    t->over = true;
    if (t->io.cause != CAUSE_NONE) {
        if (err && err->cause == CAUSE_NONE)
            *err = t->io;
        return ST_FAIL;
    }
    if (archive_errno(t->archive) == ENOMEM)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: %s", t->path, why);
    return fault(t, strstr(why, "runcated") ? "tar-cut" : "tar-header", CAUSE_FORMAT, at, why, err);
}

static bool good_name(const struct tar *t, const char *name)
{
    int depth = 0;
    size_t n = 0;
    for (; name[n]; n++) {
        if ((unsigned char)name[n] < 0x20 || name[n] == 0x7f)
            return false;
        depth += name[n] == '/';
    }
    return n > 0 && n <= t->limits.max_name && depth <= DEPTH_MOST;
}

static const char *name_of(struct archive_entry *e)
{
    const char *name = archive_entry_pathname(e);
    if (!name)
        name = archive_entry_pathname_utf8(e);
    while (name && strncmp(name, "./", 2) == 0)
        name += 2;
    return name;
}

/* What a regular entry is: whole, or damaged in a way of its own. */
static enum status take(struct tar *t, struct archive_entry *e, struct tar_member *m,
                        struct error *err)
{
    const la_int64_t size = archive_entry_size(e);
    m->name = name_of(e);
    m->header = (uint64_t)archive_read_header_position(t->archive);
    m->data = (uint64_t)archive_filter_bytes(t->archive, 0);
    m->size = size > 0 ? (uint64_t)size : 0;
    if (archive_entry_sparse_reset(e) > 0)
        return fault(t, "tar-sparse", CAUSE_FORMAT, m->header, "a sparse member", err);
    const uint64_t left = m->data < t->info.size ? t->info.size - m->data : 0;
    if (m->size > left) {
        t->over = t->incomplete = true;
        return fault(t, "tar-cut", CAUSE_FORMAT, m->header, "the file ends inside a member", err);
    }
    t->after = m->data + (m->size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    if (!m->name || !good_name(t, m->name)) {
        m->name = NULL;
        return fault(t, "member-name", CAUSE_FORMAT, m->header,
                     "a member name that is empty, too long or has control bytes", err);
    }
    if (m->size > t->limits.max_member) {
        error_set(err, ST_SKIP, CAUSE_LIMIT,
                  "byte %" PRIu64 ": %" PRIu64 " bytes, at most %" PRIu64 " allowed", m->header,
                  m->size, t->limits.max_member);
        return error_code(err, ST_SKIP, "limit-bytes");
    }
    return ST_OK;
}

/* Passes over what is no regular member. */
static enum status next_entry(struct tar *t, struct error *err)
{
    for (;;) {
        const int result = archive_read_next_header2(t->archive, t->entry);
        if (result == ARCHIVE_RETRY && t->lost)
            continue; /* told already */
        if (result == ARCHIVE_EOF) {
            t->over = true;
            return t->incomplete ? ST_END : check_end(t, err);
        }
        t->lost = result == ARCHIVE_RETRY;
        if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
            return damaged(t, result, err);
        if (++t->members > t->limits.max_members) {
            t->over = t->incomplete = true;
            return fault(t, "limit-members", CAUSE_LIMIT, t->after, "too many members", err);
        }
        if (archive_entry_filetype(t->entry) == AE_IFREG && !archive_entry_hardlink(t->entry))
            return ST_OK;
        t->after = (uint64_t)archive_filter_bytes(t->archive, 0);
    }
}

enum status tar_next(struct tar *t, struct tar_member *m, struct error *err)
{
    *m = (struct tar_member){ NULL, 0, 0, 0 };
    if (t->over)
        return ST_END;
    if (t->opened != ARCHIVE_OK) {
        t->over = t->incomplete = true;
        return fault(t, "container-magic", CAUSE_FORMAT, 0, "no tar header", err);
    }
    const enum status st = next_entry(t, err);
    return st == ST_OK ? take(t, t->entry, m, err) : st;
}

enum status tar_read(const struct tar *t, struct buffer *out, const struct tar_member *m,
                     struct error *err)
{
    out->size = 0;
    enum status st = buffer_reserve(out, m->size > 0 ? (size_t)m->size : 1, err);
    if (st == ST_OK)
        st = file_pread(t->fd, t->path, out->data, (size_t)m->size, m->data, err);
    if (st == ST_OK)
        out->size = (size_t)m->size;
    else if (err && err->cause == CAUSE_FORMAT)
        err->cause = CAUSE_IO; /* its end was checked: the file became shorter */
    return st;
}

enum status tar_hash(const struct tar *t, uint64_t *out, const struct tar_member *m,
                     struct error *err)
{
    struct hash_stream *h = NULL;
    uint8_t digest[8];
    uint64_t at = m->data, left = m->size;
    uint8_t *block = mem_alloc(BLOCK);
    enum status st = block ? hash_stream_open(&h, HASH_XXH3_64, err)
                           : error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", t->path);
    while (st == ST_OK && left > 0) {
        const size_t size = left < BLOCK ? (size_t)left : BLOCK;
        st = file_pread(t->fd, t->path, block, size, at, err);
        if (st == ST_OK)
            hash_stream_update(h, block, size);
        at += size;
        left -= size;
    }
    if (st == ST_OK) {
        hash_stream_digest(h, digest);
        *out = load_u64le(digest);
    }
    hash_stream_close(&h);
    mem_free(block);
    return st;
}
