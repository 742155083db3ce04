/* trainer/safetensors.c: reading. See safetensors.h. */
#include "trainer/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/json.h"
#include "trainer/tensor_file_private.h"
#include "trainer/weight_index.h"

enum { TENSORS_MAX = 4000000 };

struct header {
    struct tensor_file *f;
    struct json *j;
    const char *path;
    size_t source;
    uint64_t data_start; /* byte of the file where tensors begin */
    uint64_t data_size;
};

static enum status bad(const struct header *h, struct error *err, const char *what)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: byte %" PRIu64 ": %s", h->path,
                     json_offset(h->j), what);
}

static enum status expect(struct header *h, enum json_event want, const char *what,
                          struct error *err)
{
    enum json_event e;
    if (json_next(h->j, &e, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "%s", h->path);
    return e == want ? ST_OK : bad(h, err, what);
}

/* A number without sign, fraction or exponent. */
static bool plain_integer(const struct json *j, uint64_t *out)
{
    size_t size = 0;
    const char *s = json_text(j, &size);
    uint64_t v = 0;
    for (size_t i = 0; i < size; i++)
        if (s[i] < '0' || s[i] > '9' || !mul_ok_u64(v, 10, &v) ||
            !add_ok_u64(v, (uint64_t)(s[i] - '0'), &v))
            return false;
    *out = v;
    return size > 0;
}

/* A list of integers; *n is how many. */
static enum status read_integers(struct header *h, uint64_t *out, int cap, int *n,
                                 struct error *err)
{
    enum json_event e;
    *n = 0;
    if (expect(h, JSON_ARRAY_BEGIN, "want a list of integers", err) != ST_OK)
        return ST_FAIL;
    for (;;) {
        if (json_next(h->j, &e, err) != ST_OK)
            return error_prefix(err, ST_FAIL, "%s", h->path);
        if (e == JSON_ARRAY_END)
            return ST_OK;
        if (*n == cap)
            return bad(h, err, "too many axes");
        if (e != JSON_NUMBER || !plain_integer(h->j, &out[*n]))
            return bad(h, err, "want an integer of 64 bits");
        ++*n;
    }
}

static enum status read_type(struct header *h, enum tensor_type *out, struct error *err)
{
    size_t size = 0;
    if (expect(h, JSON_STRING, "dtype: want a string", err) != ST_OK)
        return ST_FAIL;
    const char *s = json_text(h->j, &size);
    for (int i = 0; i < TENSOR_TYPE_COUNT; i++) {
        const char *name = tensor_type_name((enum tensor_type)i);
        if (strlen(name) == size && memcmp(name, s, size) == 0) {
            *out = (enum tensor_type)i;
            return ST_OK;
        }
    }
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: byte %" PRIu64 ": dtype %.*s is unknown",
                     h->path, json_offset(h->j), (int)(size > 64 ? 64 : size), s);
}

enum { SAW_TYPE = 1, SAW_SHAPE = 2, SAW_OFFSETS = 4, SAW_ALL = 7 };

static enum status read_shape(struct header *h, struct tensor_info *t, struct error *err)
{
    uint64_t axes[TENSOR_RANK_MAX];
    if (read_integers(h, axes, TENSOR_RANK_MAX, &t->rank, err) != ST_OK)
        return ST_FAIL;
    for (int i = 0; i < t->rank; i++) {
        if (axes[i] > INT64_MAX)
            return bad(h, err, "shape: an axis is larger than any file");
        t->shape[i] = (int64_t)axes[i];
    }
    return ST_OK;
}

static enum status read_member(struct header *h, struct tensor_info *t, uint64_t offsets[2],
                               unsigned *saw, struct error *err)
{
    size_t size = 0;
    const char *key = json_text(h->j, &size);
    unsigned bit = 0;
    int n = 0;
    enum status st = ST_FAIL;

    if (strcmp(key, "dtype") == 0) {
        bit = SAW_TYPE;
        st = read_type(h, &t->type, err);
    } else if (strcmp(key, "shape") == 0) {
        bit = SAW_SHAPE;
        st = read_shape(h, t, err);
    } else if (strcmp(key, "data_offsets") == 0) {
        bit = SAW_OFFSETS;
        st = read_integers(h, offsets, 2, &n, err);
        if (st == ST_OK && n != 2)
            return bad(h, err, "data_offsets: want two integers");
    } else {
        return bad(h, err, "want dtype, shape or data_offsets");
    }
    if (st == ST_OK && (*saw & bit))
        return bad(h, err, "a member occurs twice");
    *saw |= bit;
    return st;
}

static enum status place(struct header *h, struct tensor_info *t, const uint64_t offsets[2],
                         const char *name, struct error *err)
{
    const uint64_t begin = offsets[0], end = offsets[1];
    if (!tensor_info_complete(t))
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: tensor %s: shape: the size wraps or fills no whole bytes", h->path,
                         name);
    if (begin > end || end > h->data_size || end - begin != t->bytes)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: tensor %s: data_offsets: got [%" PRIu64 ",%" PRIu64 "], want %" PRIu64
                         " bytes inside %" PRIu64,
                         h->path, name, begin, end, t->bytes, h->data_size);
    t->offset = h->data_start + begin;
    return ST_OK;
}

static enum status read_tensor(struct header *h, struct error *err)
{
    struct tensor_info t = { .source = h->source };
    uint64_t offsets[2] = { 0, 0 };
    unsigned saw = 0;
    size_t size = 0;
    enum json_event e = JSON_NULL;
    const char *key = json_text(h->j, &size);
    char *name = mem_strndup(key, size);
    enum status st = name ? expect(h, JSON_OBJECT_BEGIN, "a tensor is no object", err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", h->path);

    while (st == ST_OK) {
        st = json_next(h->j, &e, err);
        if (st != ST_OK)
            error_prefix(err, st, "%s", h->path);
        else if (e == JSON_OBJECT_END)
            break;
        else
            st = read_member(h, &t, offsets, &saw, err);
    }
    if (st == ST_OK && saw != SAW_ALL)
        st = bad(h, err, "a tensor lacks dtype, shape or data_offsets");
    if (st == ST_OK)
        st = place(h, &t, offsets, name, err);
    if (st == ST_OK)
        st = tensor_file_add(h->f, &t, name, size, err);
    mem_free(name);
    return st;
}

static enum status read_metadata(struct header *h, struct error *err)
{
    enum json_event e;
    if (expect(h, JSON_OBJECT_BEGIN, "__metadata__ is no object", err) != ST_OK)
        return ST_FAIL;
    for (;;) {
        if (json_next(h->j, &e, err) != ST_OK)
            return error_prefix(err, ST_FAIL, "%s", h->path);
        if (e == JSON_OBJECT_END)
            return ST_OK;
        if (expect(h, JSON_STRING, "__metadata__: want strings", err) != ST_OK)
            return ST_FAIL;
    }
}

static enum status read_members(struct header *h, struct error *err)
{
    enum json_event e = JSON_NULL;
    bool metadata = false;
    if (expect(h, JSON_OBJECT_BEGIN, "the header is no object", err) != ST_OK)
        return ST_FAIL;
    for (;;) {
        size_t size = 0;
        if (json_next(h->j, &e, err) != ST_OK)
            return error_prefix(err, ST_FAIL, "%s", h->path);
        if (e == JSON_OBJECT_END)
            break;
        const char *key = json_text(h->j, &size);
        const bool meta = size == 12 && memcmp(key, "__metadata__", 12) == 0;
        if (meta && metadata)
            return bad(h, err, "__metadata__ occurs twice");
        metadata |= meta;
        if ((meta ? read_metadata(h, err) : read_tensor(h, err)) != ST_OK)
            return ST_FAIL;
    }
    if (expect(h, JSON_END, "bytes after the header's object", err) != ST_OK)
        return ST_FAIL;
    if (json_replaced(h->j) > 0)
        return bad(h, err, "the header is not UTF-8");
    return ST_OK;
}

/* The tensors of this source fill the file from data_start to its end, without holes or overlaps. */
static enum status check_cover(const struct header *h, struct error *err)
{
    uint64_t at = h->data_start;
    for (size_t i = 0; i < h->f->count; i++) {
        const struct tensor_info *t = &h->f->list[i];
        if (t->source != h->source)
            continue;
        if (t->offset != at)
            return error_set(
                err, ST_FAIL, CAUSE_FORMAT,
                "%s: byte %" PRIu64 ": tensor %s: %s: want byte %" PRIu64, h->path, t->offset,
                t->name, t->offset > at ? "a hole before it" : "overlaps the one before it", at);
        at += t->bytes;
    }
    if (at != h->data_start + h->data_size)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: byte %" PRIu64 ": %" PRIu64 " bytes that belong to no tensor",
                         h->path, at, h->data_start + h->data_size - at);
    return ST_OK;
}

static enum status parse_header(struct header *h, const uint8_t *text, size_t size,
                                struct error *err)
{
    struct json_options opt;
    if (size == 0 || text[0] != '{')
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: byte 8: the header does not start with {",
                         h->path);
    json_options_init(&opt);
    opt.base_offset = 8;
    opt.max_depth = 3;
    opt.max_members = TENSORS_MAX;
    if (json_open(&h->j, text, size, &opt, err) != ST_OK)
        return ST_FAIL;
    enum status st = read_members(h, err);
    json_close(&h->j);
    if (st == ST_OK)
        st = tensor_file_order(h->f, err);
    return st == ST_OK ? check_cover(h, err) : st;
}

/* Header of the source added last. */
static enum status read_source(struct tensor_file *f, struct error *err)
{
    const size_t source = f->n_sources - 1;
    const struct tensor_source *s = &f->sources[source];
    struct header h = { .f = f, .path = s->path, .source = source };
    uint8_t head[8];
    uint8_t *text = NULL;
    enum status st = ST_FAIL;

    if (s->size < 8)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: file size: got %" PRIu64 " bytes, want 8 and a header", s->path,
                         s->size);
    if (tensor_file_bytes(f, source, head, 8, 0, err) != ST_OK)
        return ST_FAIL;
    const uint64_t size = load_u64le(head);
    if (size > SAFETENSORS_HEADER_MAX)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: byte 0: header size: got %" PRIu64 ", allowed %d", s->path, size,
                         SAFETENSORS_HEADER_MAX);
    if (size > s->size - 8)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: byte 0: header size: got %" PRIu64 ", the file has %" PRIu64
                         " bytes after it",
                         s->path, size, s->size - 8);
    text = mem_alloc(size ? (size_t)size : 1);
    if (!text) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", s->path);
        goto done;
    }
    st = tensor_file_bytes(f, source, text, (size_t)size, 8, err);
    h.data_start = 8 + size;
    h.data_size = s->size - h.data_start;
    if (st == ST_OK)
        st = parse_header(&h, text, (size_t)size, err);
done:
    mem_free(text);
    return st;
}

static enum status add_file(struct tensor_file *f, const char *path, struct error *err)
{
    if (tensor_file_add_source(f, path, err) != ST_OK)
        return ST_FAIL;
    return read_source(f, err);
}

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

enum status safetensors_open(struct tensor_file **out, const char *path, struct error *err)
{
    struct tensor_file *f = NULL;
    enum status st = tensor_file_make(&f, err);

    *out = NULL;
    if (st == ST_OK)
        st = ends_with(path, ".json") ? weight_index_open(f, path, add_file, err)
                                      : add_file(f, path, err);
    if (st != ST_OK)
        tensor_file_close(&f);
    *out = f;
    return st;
}

enum status safetensors_open_memory(struct tensor_file **out, const char *label,
                                    const uint8_t *data, size_t size, struct error *err)
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
