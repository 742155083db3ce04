/* trainer/torch_file.c: see torch_file.h. The zip archive is read from its directory at the end; members are
 * stored, so a tensor is a run of bytes of the file and is read in place later. */
#include "trainer/torch_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/mem.h"
#include "trainer/tensor_file_private.h"
#include "trainer/torch_private.h"
#include "trainer/weight_index.h"

enum { DIRECTORY_MAX = 256 << 20, PICKLE_MAX = 64 << 20, MEMBERS_MAX = 1 << 20 };

struct member {
    const char *name;
    uint64_t header; /* byte of the local header */
    uint64_t size;
};

struct archive {
    struct tensor_file *f;
    size_t source;
    const char *path;
    uint64_t file_size;
    uint64_t directory, directory_size, count;
    struct member *members;
    struct hash_map *by_name; /* below the archive's folder -> index */
    struct arena memory;
};

static enum status bad(const struct archive *a, uint64_t byte, const char *what, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: byte %" PRIu64 ": %s", a->path, byte, what);
}

static enum status fetch(const struct archive *a, void *out, size_t size, uint64_t offset,
                         struct error *err)
{
    uint64_t end = 0;
    if (!add_ok_u64(offset, size, &end) || end > a->file_size)
        return bad(a, offset, "the archive points past its end", err);
    return tensor_file_bytes(a->f, a->source, out, size, offset, err);
}

/* The 64-bit end record, where the plain one is full. */
static enum status find_end64(struct archive *a, uint64_t end, struct error *err)
{
    uint8_t locator[20], record[56];
    if (end < sizeof locator)
        return bad(a, end, "zip64 locator is missing", err);
    if (fetch(a, locator, sizeof locator, end - sizeof locator, err) != ST_OK)
        return ST_FAIL;
    if (load_u32le(locator) != 0x07064b50)
        return bad(a, end, "zip64 locator is missing", err);
    const uint64_t at = load_u64le(locator + 8);
    if (fetch(a, record, sizeof record, at, err) != ST_OK)
        return ST_FAIL;
    if (load_u32le(record) != 0x06064b50)
        return bad(a, at, "zip64 end record is missing", err);
    a->count = load_u64le(record + 32);
    a->directory_size = load_u64le(record + 40);
    a->directory = load_u64le(record + 48);
    return ST_OK;
}

static enum status find_end(struct archive *a, struct error *err)
{
    enum { TAIL = 22 + 65535 };
    const size_t n = a->file_size < TAIL ? (size_t)a->file_size : TAIL;
    uint8_t *tail = mem_alloc(n ? n : 1);
    enum status st = ST_FAIL;

    if (!tail)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", a->path);
    if (fetch(a, tail, n, a->file_size - n, err) != ST_OK)
        goto done;
    for (size_t i = n >= 22 ? n - 22 + 1 : 0; i-- > 0;) {
        if (load_u32le(tail + i) != 0x06054b50)
            continue;
        const uint64_t end = a->file_size - n + i;
        a->count = load_u16le(tail + i + 10);
        a->directory_size = load_u32le(tail + i + 12);
        a->directory = load_u32le(tail + i + 16);
        const bool full =
            a->count == 0xffff || a->directory == 0xffffffff || a->directory_size == 0xffffffff;
        st = full ? find_end64(a, end, err) : ST_OK;
        goto done;
    }
    bad(a, 0, "no zip archive; PyTorch files before 1.6 are not read: save it again", err);
done:
    mem_free(tail);
    return st;
}

/* Sizes and offset that do not fit 32 bits stand in the extra field 1. */
static bool read_zip64(struct cursor *extra, uint64_t *size, uint64_t *packed, uint64_t *header)
{
    uint16_t id = 0, n = 0;
    struct cursor field;
    while (cursor_left(extra) >= 4) {
        if (!get_u16le(extra, &id) || !get_u16le(extra, &n) || !cursor_sub(extra, n, &field))
            return false;
        if (id != 1)
            continue;
        return (*size != 0xffffffff || get_u64le(&field, size)) &&
               (*packed != 0xffffffff || get_u64le(&field, packed)) &&
               (*header != 0xffffffff || get_u64le(&field, header));
    }
    return true;
}

static enum status read_member(struct archive *a, struct cursor *c, struct member *m,
                               struct error *err)
{
    const uint64_t at = a->directory + (uint64_t)(c->p - c->start);
    const uint8_t *h = cursor_take(c, 46);
    struct cursor extra;
    if (!h || load_u32le(h) != 0x02014b50)
        return bad(a, at, "a directory entry is broken", err);
    uint64_t packed = load_u32le(h + 20);
    const size_t name_size = load_u16le(h + 28);
    m->size = load_u32le(h + 24);
    m->header = load_u32le(h + 42);
    const uint8_t *name = cursor_take(c, name_size);
    if (!name || !cursor_sub(c, load_u16le(h + 30), &extra) ||
        !cursor_take(c, load_u16le(h + 32)) || !read_zip64(&extra, &m->size, &packed, &m->header))
        return bad(a, at, "a directory entry is cut", err);
    if (load_u16le(h + 10) != 0 || packed != m->size || (load_u16le(h + 8) & 1))
        return bad(a, at, "a member is compressed or encrypted", err);
    m->name = arena_strndup(&a->memory, (const char *)name, name_size);
    return m->name ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", a->path);
}

/* Members are known by what stands behind the archive's own folder: "data.pkl", "data/0". */
static enum status keep(struct archive *a, size_t i, struct error *err)
{
    const char *slash = strchr(a->members[i].name, '/');
    const char *name = slash ? slash + 1 : a->members[i].name;
    uint64_t index = i;
    const enum status st = hash_map_insert(a->by_name, name, strlen(name), &index, err);
    if (st == ST_SKIP)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: member %s occurs twice", a->path, name);
    return st;
}

static enum status read_directory(struct archive *a, struct error *err)
{
    uint8_t *bytes = NULL;
    enum status st = ST_FAIL;

    if (a->directory_size > DIRECTORY_MAX || a->count > MEMBERS_MAX)
        return error_set(err, ST_FAIL, CAUSE_LIMIT, "%s: %" PRIu64 " members, allowed %d", a->path,
                         a->count, MEMBERS_MAX);
    bytes = mem_alloc(a->directory_size ? (size_t)a->directory_size : 1);
    a->members = mem_calloc(a->count ? (size_t)a->count : 1, sizeof *a->members);
    if (!bytes || !a->members) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", a->path);
        goto done;
    }
    st = fetch(a, bytes, (size_t)a->directory_size, a->directory, err);
    struct cursor c = cursor_make(bytes, (size_t)a->directory_size, 0);
    for (size_t i = 0; i < a->count && st == ST_OK; i++) {
        st = read_member(a, &c, &a->members[i], err);
        if (st == ST_OK)
            st = keep(a, i, err);
    }
done:
    mem_free(bytes);
    return st;
}

/* Where the bytes of a member begin. */
static enum status locate(const struct archive *a, const char *name, uint64_t *offset,
                          uint64_t *size, struct error *err)
{
    uint64_t i = 0, end = 0;
    uint8_t h[30];
    if (!hash_map_get(a->by_name, name, strlen(name), &i))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: member %s is missing", a->path, name);
    const struct member *m = &a->members[i];
    if (fetch(a, h, sizeof h, m->header, err) != ST_OK)
        return ST_FAIL;
    if (load_u32le(h) != 0x04034b50)
        return bad(a, m->header, "a member's header is missing", err);
    *offset = m->header + 30 + load_u16le(h + 26) + load_u16le(h + 28);
    *size = m->size;
    if (!add_ok_u64(*offset, *size, &end) || end > a->file_size)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: member %s runs past the end", a->path,
                         name);
    return ST_OK;
}

/* Shape, strides and place of a tensor; its last element lies inside the storage. */
static enum status place(const struct archive *a, const char *name, const struct pickle_tensor *t,
                         struct tensor_info *info, struct error *err)
{
    char member[300];
    uint64_t offset = 0, size = 0;
    const uint64_t width = tensor_type_bits(t->storage->type) / 8;

    *info = (struct tensor_info){ .type = t->storage->type, .rank = t->rank, .source = a->source };
    memcpy(info->shape, t->shape, sizeof info->shape);
    if (!tensor_info_complete(info))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: tensor %s: the size wraps", a->path,
                         name);
    snprintf(member, sizeof member, "data/%s", t->storage->key);
    if (locate(a, member, &offset, &size, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "tensor %s", name);
    uint64_t last = 0, part = 0;
    bool fits = true;
    for (int i = 0; i < t->rank && info->count > 0; i++) {
        fits = fits && mul_ok_u64((uint64_t)t->shape[i] - 1, (uint64_t)t->stride[i], &part) &&
               add_ok_u64(last, part, &last);
        info->contiguous =
            info->contiguous && (t->shape[i] == 1 || t->stride[i] == info->stride[i]);
        info->stride[i] = t->stride[i];
    }
    uint64_t end = info->count > 0 ? 1 : 0;
    fits = fits && add_ok_u64(end, last, &end) && mul_ok_u64(end, width, &info->bytes) &&
           mul_ok_u64((uint64_t)t->offset, width, &part) && add_ok_u64(part, info->bytes, &end) &&
           end <= size;
    if (!fits)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: tensor %s: reaches past its storage %s of %" PRIu64 " bytes", a->path,
                         name, member, size);
    info->offset = offset + part;
    return ST_OK;
}

static const struct pickle_value *member_of(const struct pickle_value *dict, const char *key)
{
    for (const struct pickle_cell *c = dict->first; c && c->next; c = c->next->next)
        if (c->value->type == PICKLE_TEXT && strcmp(c->value->text, key) == 0)
            return c->next->value;
    return NULL;
}

static enum status add_tensors(struct archive *a, const struct pickle_value *dict,
                               struct error *err)
{
    const struct pickle_value *inner =
        dict->type == PICKLE_DICT ? member_of(dict, "state_dict") : NULL;
    if (inner && inner->type == PICKLE_DICT)
        dict = inner;
    if (dict->type != PICKLE_DICT)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: data.pkl holds no dictionary", a->path);
    for (const struct pickle_cell *c = dict->first; c && c->next; c = c->next->next) {
        const struct pickle_value *k = c->value, *v = c->next->value;
        struct tensor_info info;
        if (k->type != PICKLE_TEXT || !v || v->type != PICKLE_TENSOR)
            return error_set(err, ST_FAIL, CAUSE_FORMAT,
                             "%s: data.pkl: entry %.200s is no named tensor", a->path,
                             k->type == PICKLE_TEXT ? k->text : "?");
        if (place(a, k->text, &v->tensor, &info, err) != ST_OK ||
            tensor_file_add(a->f, &info, k->text, k->size, err) != ST_OK)
            return ST_FAIL;
    }
    return ST_OK;
}

static enum status read_pickle(struct archive *a, struct error *err)
{
    uint64_t offset = 0, size = 0;
    struct pickle_value *root = NULL;
    uint8_t *bytes = NULL;
    enum status st = locate(a, "data.pkl", &offset, &size, err);

    if (st == ST_OK && size > PICKLE_MAX)
        st = error_set(err, ST_FAIL, CAUSE_LIMIT, "%s: data.pkl: got %" PRIu64 " bytes, allowed %d",
                       a->path, size, PICKLE_MAX);
    if (st == ST_OK && !(bytes = mem_alloc(size ? (size_t)size : 1)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", a->path);
    if (st == ST_OK)
        st = fetch(a, bytes, (size_t)size, offset, err);
    if (st == ST_OK)
        st = pickle_read(&root, &a->memory, a->path, bytes, (size_t)size, err);
    if (st == ST_OK)
        st = add_tensors(a, root, err);
    mem_free(bytes);
    return st;
}

/* The order of bytes inside storages is little-endian unless the archive says otherwise. */
static enum status check_order(const struct archive *a, struct error *err)
{
    uint64_t offset = 0, size = 0, i = 0;
    char text[8] = { 0 };
    if (!hash_map_get(a->by_name, "byteorder", 9, &i))
        return ST_OK;
    if (locate(a, "byteorder", &offset, &size, err) != ST_OK)
        return ST_FAIL;
    if (size != 6 || fetch(a, text, 6, offset, err) != ST_OK || strcmp(text, "little") != 0)
        return bad(a, offset, "numbers are not little-endian", err);
    return ST_OK;
}

static enum status read_source(struct tensor_file *f, struct error *err)
{
    struct archive a = { .f = f, .source = f->n_sources - 1 };
    a.path = f->sources[a.source].path;
    a.file_size = f->sources[a.source].size;
    arena_init(&a.memory, (size_t)1 << 30);
    enum status st = hash_map_open(&a.by_name, 256, err);
    if (st == ST_OK)
        st = find_end(&a, err);
    if (st == ST_OK)
        st = read_directory(&a, err);
    if (st == ST_OK)
        st = check_order(&a, err);
    if (st == ST_OK)
        st = read_pickle(&a, err);
    if (st == ST_OK)
        st = tensor_file_order(f, err);
    mem_free(a.members);
    hash_map_close(&a.by_name);
    arena_clear(&a.memory);
    return st;
}

static enum status add_file(struct tensor_file *f, const char *path, struct error *err)
{
    if (tensor_file_add_source(f, path, err) != ST_OK)
        return ST_FAIL;
    return read_source(f, err);
}

enum status torch_file_open(struct tensor_file **out, const char *path, struct error *err)
{
    struct tensor_file *f = NULL;
    const size_t n = strlen(path);
    enum status st = tensor_file_make(&f, err);

    *out = NULL;
    if (st == ST_OK)
        st = n > 5 && strcmp(path + n - 5, ".json") == 0 ? weight_index_open(f, path, add_file, err)
                                                         : add_file(f, path, err);
    if (st != ST_OK)
        tensor_file_close(&f);
    *out = f;
    return st;
}

enum status torch_file_open_memory(struct tensor_file **out, const char *label, const uint8_t *data,
                                   size_t size, struct error *err)
{
    struct tensor_file *f = NULL;
    enum status st = tensor_file_make(&f, err);

    *out = NULL;
    if (st == ST_OK)
        st = tensor_file_add_memory(f, label, data, size, err);
    if (st == ST_OK)
        st = read_source(f, err);
    if (st != ST_OK)
        tensor_file_close(&f);
    *out = f;
    return st;
}
