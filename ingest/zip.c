/* ingest/zip.c: see zip.h. Offsets and sizes are claims: every sum is checked, and members may touch
 * neither each other nor the directory. */
#include "ingest/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/mem.h"

enum {
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR_SIZE = 20,
    ENTRY_SIZE = 46,
    LOCAL_SIZE = 30,
    COMMENT_MAX = 65535,
    DIRECTORY_MAX = 1 << 28,
};

struct zip {
    int fd;
    const char *path;
    uint64_t file_size, directory; /* where the directory begins */
    size_t max_name, count, cap;
    struct zip_member *members;
    struct arena names;
};

/* What the end records say. */
struct ends {
    uint64_t at; /* of the first of them */
    uint64_t entries, size, offset;
};

static enum status bad(struct error *err, const char *code, uint64_t at, const char *what)
{
    error_set(err, ST_SKIP, CAUSE_FORMAT, "byte %" PRIu64 ": %s", at, what);
    return error_code(err, ST_SKIP, code);
}

static enum status no_memory(const struct zip *z, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: zip: out of memory", z->path);
}

/* The end record is what ends exactly with the file; a second such place would show two tools two
 * directories. */
static enum status find_end(const struct zip *z, uint64_t *at, uint8_t record[END_SIZE],
                            struct error *err)
{
    const uint64_t room = END_SIZE + COMMENT_MAX;
    const size_t size = (size_t)(z->file_size < room ? z->file_size : room);
    uint8_t *tail = mem_alloc(size ? size : 1);
    int found = 0;
    if (!tail)
        return no_memory(z, err);
    enum status st = file_pread(z->fd, z->path, tail, size, z->file_size - size, err);
    for (size_t i = 0; st == ST_OK && i + END_SIZE <= size; i++)
        if (load_u32le(tail + i) == 0x06054b50u &&
            load_u16le(tail + i + 20) == size - i - END_SIZE) {
            memcpy(record, tail + i, END_SIZE);
            *at = z->file_size - size + i;
            found++;
        }
    mem_free(tail);
    if (st == ST_OK && found == 0)
        st = bad(err, "zip-end", z->file_size, "no end record");
    if (st == ST_OK && found > 1)
        st = bad(err, "zip-two-ends", *at, "a second end record, in a comment");
    return st;
}

/* The 64-bit end record in front of the plain one, where there is one. */
static enum status read_end64(const struct zip *z, struct ends *e, struct error *err)
{
    uint8_t locator[LOCATOR_SIZE], record[END64_SIZE];
    uint64_t size = 0;
    if (e->at < LOCATOR_SIZE)
        return ST_END;
    enum status st = file_pread(z->fd, z->path, locator, LOCATOR_SIZE, e->at - LOCATOR_SIZE, err);
    if (st != ST_OK || load_u32le(locator) != 0x07064b50u)
        return st == ST_OK ? ST_END : st;
    const uint64_t at = load_u64le(locator + 8);
    if (load_u32le(locator + 4) != 0 || load_u32le(locator + 16) > 1)
        return bad(err, "zip-disks", e->at - LOCATOR_SIZE, "an archive on several disks");
    if (at > e->at - LOCATOR_SIZE || e->at - LOCATOR_SIZE - at < END64_SIZE)
        return bad(err, "zip-end64", e->at - LOCATOR_SIZE, "the 64-bit end record lies elsewhere");
    st = file_pread(z->fd, z->path, record, END64_SIZE, at, err);
    if (st != ST_OK)
        return st;
    if (load_u32le(record) != 0x06064b50u || !add_ok_u64(load_u64le(record + 4), 12, &size) ||
        size != e->at - LOCATOR_SIZE - at)
        return bad(err, "zip-end64", at, "the 64-bit end record is damaged");
    if (load_u32le(record + 16) != 0 || load_u32le(record + 20) != 0 ||
        load_u64le(record + 24) != load_u64le(record + 32))
        return bad(err, "zip-disks", at, "an archive on several disks");
    *e = (struct ends){ at, load_u64le(record + 32), load_u64le(record + 40),
                        load_u64le(record + 48) };
    return ST_OK;
}

static enum status read_ends(const struct zip *z, struct ends *e, struct error *err)
{
    uint8_t r[END_SIZE] = { 0 };
    uint64_t end = 0;
    enum status st = find_end(z, &e->at, r, err);
    if (st != ST_OK)
        return st;
    const uint64_t plain_at = e->at;
    const uint16_t entries = load_u16le(r + 10);
    const uint32_t size = load_u32le(r + 12), offset = load_u32le(r + 16);
    st = read_end64(z, e, err);
    if (st == ST_END) {
        if (load_u16le(r + 4) != 0 || load_u16le(r + 6) != 0 || load_u16le(r + 8) != entries)
            return bad(err, "zip-disks", plain_at, "an archive on several disks");
        *e = (struct ends){ plain_at, entries, size, offset };
    } else if (st != ST_OK) {
        return st;
    } else if ((entries != 0xffff && entries != e->entries) ||
               (size != 0xffffffffu && size != e->size) ||
               (offset != 0xffffffffu && offset != e->offset)) {
        return bad(err, "zip-end64", plain_at, "the two end records differ");
    }
    if (!add_ok_u64(e->offset, e->size, &end) || end != e->at)
        return bad(err, "zip-prepended", e->at,
                   "the directory does not end here: bytes before the archive, or damage");
    return ST_OK;
}

/* 64-bit fields of an extra area, in the order of APPNOTE 4.5.3; only those that are all ones in the
 * record are there. */
static bool read_extra64(struct cursor extra, uint64_t *fields[3], const bool want[3])
{
    bool seen = false;
    while (cursor_left(&extra) >= 4) {
        uint16_t id = 0, size = 0;
        struct cursor c;
        get_u16le(&extra, &id);
        get_u16le(&extra, &size);
        if (!cursor_sub(&extra, size, &c))
            return false;
        if (id != 1)
            continue;
        if (seen)
            return false;
        seen = true;
        for (int i = 0; i < 3; i++)
            if (want[i] && !get_u64le(&c, fields[i]))
                return false;
    }
    return seen || !(want[0] || want[1] || want[2]);
}

static struct zip_member *add_member(struct zip *z, const uint8_t *name, size_t size)
{
    if (z->count == z->cap) {
        const size_t cap = z->cap ? 2 * z->cap : 16;
        struct zip_member *grown = mem_realloc(z->members, cap, sizeof *grown);
        if (!grown)
            return NULL;
        z->members = grown;
        z->cap = cap;
    }
    const char *copy = arena_strndup(&z->names, (const char *)name, size);
    if (!copy)
        return NULL;
    struct zip_member *m = &z->members[z->count++];
    *m = (struct zip_member){ .name = copy, .name_size = size };
    return m;
}

static enum status read_entry(struct zip *z, struct cursor *c, struct error *err)
{
    const uint64_t at = cursor_offset(c);
    const uint8_t *p = cursor_take(c, ENTRY_SIZE);
    struct cursor extra;
    if (!p || load_u32le(p) != 0x02014b50u)
        return bad(err, "zip-directory", at, "no directory entry");
    const size_t name_size = load_u16le(p + 28);
    const uint8_t *name = cursor_take(c, name_size);
    if (!name || !cursor_sub(c, load_u16le(p + 30), &extra) || !cursor_take(c, load_u16le(p + 32)))
        return bad(err, "zip-directory", at, "a directory entry is cut");
    if (name_size > z->max_name)
        return bad(err, "limit-name", at, "a member name is too long");
    struct zip_member *m = add_member(z, name, name_size);
    if (!m)
        return no_memory(z, err);
    m->flags = load_u16le(p + 8);
    m->method = load_u16le(p + 10);
    m->crc = load_u32le(p + 16);
    m->packed = load_u32le(p + 20);
    m->size = load_u32le(p + 24);
    m->header = load_u32le(p + 42);
    m->sizes_known = true;
    uint64_t *fields[3] = { &m->size, &m->packed, &m->header };
    const bool want[3] = { m->size == 0xffffffffu, m->packed == 0xffffffffu,
                           m->header == 0xffffffffu };
    if (!read_extra64(extra, fields, want))
        return bad(err, "zip-extra64", at, "64-bit fields missing, cut or there twice");
    const uint16_t disk = load_u16le(p + 34);
    if (disk != 0 && disk != 0xffff)
        return bad(err, "zip-disks", at, "an archive on several disks");
    return ST_OK;
}

static int by_header(const void *a, const void *b)
{
    const struct zip_member *const *x = a, *const *y = b;
    return (*x)->header < (*y)->header ? -1 : (*x)->header > (*y)->header;
}

/* Members that share bytes make bombs. Local headers are at least as long as their names. */
static enum status check_overlap(const struct zip *z, struct error *err)
{
    const struct zip_member **sorted = mem_calloc(z->count ? z->count : 1, sizeof *sorted);
    enum status st = ST_OK;
    uint64_t end = 0;
    if (!sorted)
        return no_memory(z, err);
    for (size_t i = 0; i < z->count; i++)
        sorted[i] = &z->members[i];
    qsort(sorted, z->count, sizeof *sorted, by_header);
    for (size_t i = 0; i < z->count && st == ST_OK; i++) {
        const struct zip_member *m = sorted[i];
        if (m->header < end)
            st = bad(err, "zip-overlap", m->header, "members overlap");
        else if (!add_ok_u64(m->header, LOCAL_SIZE + m->name_size, &end) ||
                 !add_ok_u64(end, m->packed, &end) || end > z->directory)
            st = bad(err, "zip-overlap", m->header, "a member runs into the directory");
    }
    mem_free(sorted);
    return st;
}

static enum status read_directory(struct zip *z, const struct ends *e, uint64_t max_members,
                                  struct error *err)
{
    uint8_t *data = NULL;
    if (e->entries > max_members || e->size > DIRECTORY_MAX) {
        error_set(err, ST_SKIP, CAUSE_LIMIT, "%" PRIu64 " members, at most %" PRIu64 " allowed",
                  e->entries, max_members);
        return error_code(err, ST_SKIP, "limit-members");
    }
    z->directory = e->offset;
    data = mem_alloc(e->size ? (size_t)e->size : 1);
    if (!data)
        return no_memory(z, err);
    enum status st = file_pread(z->fd, z->path, data, (size_t)e->size, e->offset, err);
    struct cursor c = cursor_make(data, (size_t)e->size, e->offset);
    for (uint64_t i = 0; st == ST_OK && i < e->entries; i++)
        st = read_entry(z, &c, err);
    if (st == ST_OK && cursor_left(&c) != 0)
        st = bad(err, "zip-directory", cursor_offset(&c), "bytes after the last directory entry");
    mem_free(data);
    return st == ST_OK ? check_overlap(z, err) : st;
}

enum status zip_open(struct zip **out, int fd, const char *path, uint64_t file_size,
                     uint64_t max_members, size_t max_name, struct error *err)
{
    struct ends e = { 0 };
    struct zip *z = mem_calloc(1, sizeof *z);
    *out = z;
    if (!z)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: zip: out of memory", path);
    z->fd = fd;
    z->path = path;
    z->file_size = file_size;
    z->max_name = max_name;
    arena_init(&z->names, 0);
    enum status st = read_ends(z, &e, err);
    const bool cut = st == ST_SKIP && e.at == 0;
    if (st == ST_OK)
        st = read_directory(z, &e, max_members, err);
    if (st == ST_FAIL || (st == ST_SKIP && !cut))
        zip_close(out);
    return st;
}

void zip_close(struct zip **z)
{
    if (!z || !*z)
        return;
    arena_clear(&(*z)->names);
    mem_free((*z)->members);
    mem_free(*z);
    *z = NULL;
}

size_t zip_count(const struct zip *z)
{
    return z->count;
}

const struct zip_member *zip_at(const struct zip *z, size_t i)
{
    return &z->members[i];
}

static enum status check_method(const struct zip_member *m, struct error *err)
{
    if (m->flags & 1)
        return bad(err, "zip-encrypted", m->header, "the member is encrypted");
    if (m->method != ZIP_STORED && m->method != ZIP_DEFLATED) {
        error_set(err, ST_SKIP, CAUSE_FORMAT,
                  "byte %" PRIu64 ": packed by method %u; 0 (stored) and 8 (deflate) are supported",
                  m->header, m->method);
        return error_code(err, ST_SKIP, "zip-method");
    }
    return ST_OK;
}

/* The local header's name and extra area, in a fresh block; its fixed part in `fixed`. */
static enum status read_local(const struct zip *z, uint64_t at, uint8_t fixed[LOCAL_SIZE],
                              uint8_t **rest, size_t *rest_size, struct error *err)
{
    uint64_t end = 0;
    *rest = NULL;
    if (!add_ok_u64(at, LOCAL_SIZE, &end) || end > z->file_size)
        return bad(err, "zip-cut", at, "the file ends inside a local header");
    enum status st = file_pread(z->fd, z->path, fixed, LOCAL_SIZE, at, err);
    if (st != ST_OK)
        return st;
    *rest_size = (size_t)load_u16le(fixed + 26) + load_u16le(fixed + 28);
    if (*rest_size > z->file_size - end)
        return bad(err, "zip-cut", at, "the file ends inside a local header");
    *rest = mem_alloc(*rest_size ? *rest_size : 1);
    if (!*rest)
        return no_memory(z, err);
    return file_pread(z->fd, z->path, *rest, *rest_size, end, err);
}

/* Sizes and CRC of a local header, 64-bit fields resolved; false: those are damaged. */
static bool local_sizes(const uint8_t *fixed, const uint8_t *rest, uint64_t at,
                        struct zip_member *out)
{
    const size_t name_size = load_u16le(fixed + 26);
    uint64_t unused = 0;
    out->crc = load_u32le(fixed + 14);
    out->packed = load_u32le(fixed + 18);
    out->size = load_u32le(fixed + 22);
    uint64_t *fields[3] = { &out->size, &out->packed, &unused };
    const bool want[3] = { out->size == 0xffffffffu, out->packed == 0xffffffffu, false };
    return read_extra64(cursor_make(rest + name_size, load_u16le(fixed + 28), at), fields, want);
}

enum status zip_check_member(struct zip *z, size_t i, struct error *err)
{
    struct zip_member *m = &z->members[i], local = { 0 };
    uint8_t fixed[LOCAL_SIZE], *rest = NULL;
    size_t rest_size = 0;
    uint64_t end = 0;
    enum status st = check_method(m, err);
    if (st == ST_OK)
        st = read_local(z, m->header, fixed, &rest, &rest_size, err);
    if (st != ST_OK)
        goto done;
    const bool later = (m->flags & 8) != 0; /* sizes follow the data */
    const bool alike =
        load_u32le(fixed) == 0x04034b50u && load_u16le(fixed + 6) == m->flags &&
        load_u16le(fixed + 8) == m->method && load_u16le(fixed + 26) == m->name_size &&
        memcmp(rest, m->name, m->name_size) == 0 && local_sizes(fixed, rest, m->header, &local) &&
        (later || (local.crc == m->crc && local.packed == m->packed && local.size == m->size));
    m->data = m->header + LOCAL_SIZE + rest_size;
    if (!alike)
        st = bad(err, "zip-mismatch", m->header, "local header and directory differ");
    else if (!add_ok_u64(m->data, m->packed, &end) || end > z->directory)
        st = bad(err, "zip-overlap", m->header, "a member runs into the directory");
    else if (m->method == ZIP_STORED && m->packed != m->size)
        st = bad(err, "zip-size", m->header, "a stored member with two sizes");
done:
    mem_free(rest);
    return st;
}

enum status zip_walk(struct zip *z, uint64_t offset, struct error *err)
{
    uint8_t fixed[LOCAL_SIZE], *rest = NULL, magic[4];
    size_t rest_size = 0;
    if (z->file_size < 4 || offset > z->file_size - 4)
        return ST_END;
    enum status st = file_pread(z->fd, z->path, magic, 4, offset, err);
    if (st == ST_OK && load_u32le(magic) != 0x04034b50u)
        return ST_END;
    if (st == ST_OK)
        st = read_local(z, offset, fixed, &rest, &rest_size, err);
    if (st != ST_OK)
        goto done;
    const size_t name_size = load_u16le(fixed + 26);
    struct zip_member *m = name_size > z->max_name ? NULL : add_member(z, rest, name_size);
    if (!m) {
        st = name_size > z->max_name ? bad(err, "limit-name", offset, "a member name is too long")
                                     : no_memory(z, err);
        goto done;
    }
    m->header = offset;
    m->data = offset + LOCAL_SIZE + rest_size;
    m->flags = load_u16le(fixed + 6);
    m->method = load_u16le(fixed + 8);
    if (!local_sizes(fixed, rest, offset, m))
        st = bad(err, "zip-extra64", offset, "64-bit fields missing, cut or there twice");
    m->sizes_known = (m->flags & 8) == 0;
    if (st == ST_OK)
        st = check_method(m, err);
    if (st == ST_OK && m->method == ZIP_STORED && !m->sizes_known)
        st = bad(err, "zip-method", offset, "a stored member whose size follows it");
done:
    mem_free(rest);
    return st;
}
