/* trainer/tensor_file.c: see tensor_file.h. Numbers pass through a block of fixed size, so that reading
 * costs no memory beside the caller's. */
#include "trainer/tensor_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "trainer/tensor_file_private.h"

static const struct {
    const char *name;
    unsigned bits;
} types[TENSOR_TYPE_COUNT] = {
    [TENSOR_BOOL] = { "BOOL", 8 },       [TENSOR_F4] = { "F4", 4 },
    [TENSOR_F6_E2M3] = { "F6_E2M3", 6 }, [TENSOR_F6_E3M2] = { "F6_E3M2", 6 },
    [TENSOR_U8] = { "U8", 8 },           [TENSOR_I8] = { "I8", 8 },
    [TENSOR_F8_E5M2] = { "F8_E5M2", 8 }, [TENSOR_F8_E4M3] = { "F8_E4M3", 8 },
    [TENSOR_F8_E8M0] = { "F8_E8M0", 8 }, [TENSOR_I16] = { "I16", 16 },
    [TENSOR_U16] = { "U16", 16 },        [TENSOR_F16] = { "F16", 16 },
    [TENSOR_BF16] = { "BF16", 16 },      [TENSOR_I32] = { "I32", 32 },
    [TENSOR_U32] = { "U32", 32 },        [TENSOR_F32] = { "F32", 32 },
    [TENSOR_F64] = { "F64", 64 },        [TENSOR_C64] = { "C64", 64 },
    [TENSOR_I64] = { "I64", 64 },        [TENSOR_U64] = { "U64", 64 },
};

const char *tensor_type_name(enum tensor_type type)
{
    return types[type].name;
}

unsigned tensor_type_bits(enum tensor_type type)
{
    return types[type].bits;
}

enum status tensor_file_make(struct tensor_file **out, struct error *err)
{
    struct tensor_file *f = mem_calloc(1, sizeof *f);
    if (!f)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: tensor file");
    arena_init(&f->names, 0);
    if (hash_map_open(&f->by_name, 64, err) != ST_OK) {
        mem_free(f);
        return ST_FAIL;
    }
    *out = f;
    return ST_OK;
}

void tensor_file_close(struct tensor_file **f)
{
    if (!*f)
        return;
    for (size_t i = 0; i < (*f)->n_sources; i++) {
        file_close(&(*f)->sources[i].fd, (*f)->sources[i].path, NULL);
        mem_free((*f)->sources[i].path);
    }
    mem_free((*f)->sources);
    mem_free((*f)->list);
    hash_map_close(&(*f)->by_name);
    arena_clear(&(*f)->names);
    mem_free(*f);
    *f = NULL;
}

static enum status add_source(struct tensor_file *f, const char *path, struct tensor_source s,
                              struct error *err)
{
    struct tensor_source *list = mem_realloc(f->sources, f->n_sources + 1, sizeof *list);
    if (list)
        f->sources = list;
    s.path = mem_strdup(path);
    if (!list || !s.path) {
        mem_free(s.path);
        file_close(&s.fd, path, NULL);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", path);
    }
    f->sources[f->n_sources++] = s;
    return ST_OK;
}

enum status tensor_file_add_source(struct tensor_file *f, const char *path, struct error *err)
{
    struct file_info info;
    struct tensor_source s = { .fd = -1 };
    if (file_open_read(&s.fd, path, &info, err) != ST_OK)
        return ST_FAIL;
    s.size = info.size;
    return add_source(f, path, s, err);
}

enum status tensor_file_add_memory(struct tensor_file *f, const char *label, const uint8_t *data,
                                   size_t size, struct error *err)
{
    return add_source(f, label, (struct tensor_source){ .fd = -1, .memory = data, .size = size },
                      err);
}

enum status tensor_file_bytes(const struct tensor_file *f, size_t source, void *out, size_t size,
                              uint64_t offset, struct error *err)
{
    const struct tensor_source *s = &f->sources[source];
    uint64_t end = 0;
    if (s->fd >= 0)
        return file_pread(s->fd, s->path, out, size, offset, err);
    if (!add_ok_u64(offset, size, &end) || end > s->size)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: byte %" PRIu64 ": ends early", s->path,
                         s->size);
    if (size > 0)
        memcpy(out, s->memory + offset, size);
    return ST_OK;
}

static bool has_control(const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return true;
    return false;
}

enum status tensor_file_add(struct tensor_file *f, const struct tensor_info *info, const char *name,
                            size_t size, struct error *err)
{
    const char *path = f->sources[info->source].path;
    uint64_t index = f->count;

    if (size == 0 || has_control(name, size))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: tensor name \"%.*s\" is %s", path,
                         (int)(size > 200 ? 200 : size), name, size ? "not printable" : "empty");
    if (f->count == f->cap) {
        const size_t cap = f->cap ? 2 * f->cap : 64;
        struct tensor_info *list = mem_realloc(f->list, cap, sizeof *list);
        if (!list)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", path);
        f->list = list;
        f->cap = cap;
    }
    const enum status st = hash_map_insert(f->by_name, name, size, &index, err);
    if (st == ST_SKIP)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: tensor %.*s occurs twice", path,
                         (int)(size > 200 ? 200 : size), name);
    char *copy = st == ST_OK ? arena_strndup(&f->names, name, size) : NULL;
    if (!copy)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", path);
    f->list[f->count] = *info;
    f->list[f->count++].name = copy;
    return ST_OK;
}

bool tensor_info_complete(struct tensor_info *t)
{
    const unsigned bits = tensor_type_bits(t->type);
    uint64_t n = 1, all = 0;

    for (int i = 0; i < t->rank; i++)
        if (t->shape[i] < 0 || !mul_ok_u64(n, (uint64_t)t->shape[i], &n))
            return false;
    if (n > INT64_MAX || !mul_ok_u64(n, bits, &all) || all % 8 != 0)
        return false;
    t->count = (int64_t)n;
    t->bytes = all / 8;
    t->contiguous = true;
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        t->stride[i] = stride;
        stride *= t->shape[i] > 0 ? t->shape[i] : 1;
    }
    return true;
}

static int by_place(const void *a, const void *b)
{
    const struct tensor_info *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

enum status tensor_file_order(struct tensor_file *f, struct error *err)
{
    if (f->count > 1)
        qsort(f->list, f->count, sizeof *f->list, by_place);
    for (size_t i = 0; i < f->count; i++)
        if (!hash_map_set(f->by_name, f->list[i].name, strlen(f->list[i].name), i))
            return error_set(err, ST_FAIL, CAUSE_INTERNAL, "tensor file: a name got lost");
    return ST_OK;
}

size_t tensor_file_count(const struct tensor_file *f)
{
    return f->count;
}

const struct tensor_info *tensor_file_at(const struct tensor_file *f, size_t i)
{
    return &f->list[i];
}

const struct tensor_info *tensor_file_find(const struct tensor_file *f, const char *name)
{
    uint64_t i = 0;
    return hash_map_get(f->by_name, name, strlen(name), &i) ? &f->list[i] : NULL;
}

const char *tensor_file_path(const struct tensor_file *f, const struct tensor_info *t)
{
    return f->sources[t->source].path;
}

void tensor_info_text(char *out, size_t size, const struct tensor_info *t)
{
    size_t used = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < t->rank && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%" PRId64, i ? "," : "", t->shape[i]);
    if (used < size)
        snprintf(out + used, size - used, "] %s", tensor_type_name(t->type));
}

uint16_t float_to_bf16(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

uint16_t float_to_f16(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
    const uint32_t magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* rounds past 65504 */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: a multiple of 2^-24 */
        const double scaled = fabs((double)v) * 16777216.0;
        return (uint16_t)(sign | (uint16_t)nearbyint(scaled));
    }
    const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (uint16_t)((rounded - 0x38000000) >> 13));
}

float float_from_f16(uint16_t v)
{
    const unsigned exponent = v >> 10 & 31, fraction = v & 1023;
    float r;
    if (exponent == 31)
        r = fraction ? NAN : INFINITY;
    else if (exponent == 0)
        r = ldexpf((float)fraction, -24);
    else
        r = ldexpf((float)(1024 + fraction), (int)exponent - 25);
    return v & 0x8000 ? -r : r;
}

static float float_from_u32(uint32_t u)
{
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}

float float_from_bf16(uint16_t v)
{
    return float_from_u32((uint32_t)v << 16);
}

static double double_from_u64(uint64_t u)
{
    double v;
    memcpy(&v, &u, sizeof v);
    return v;
}

static bool readable_f32(enum tensor_type type)
{
    switch (type) {
    case TENSOR_F32:
    case TENSOR_F16:
    case TENSOR_BF16:
    case TENSOR_F64:
    case TENSOR_BOOL:
    case TENSOR_U8:
    case TENSOR_I8:
    case TENSOR_I16:
    case TENSOR_U16:
    case TENSOR_I32:
    case TENSOR_U32:
    case TENSOR_I64:
    case TENSOR_U64:
        return true;
    default:
        return false;
    }
}

static int64_t integer_at(enum tensor_type type, const uint8_t *p, bool *fits)
{
    switch (type) {
    case TENSOR_BOOL:
        return p[0] != 0;
    case TENSOR_U8:
        return p[0];
    case TENSOR_I8:
        return (int8_t)p[0];
    case TENSOR_I16:
        return (int16_t)load_u16le(p);
    case TENSOR_U16:
        return load_u16le(p);
    case TENSOR_I32:
        return (int32_t)load_u32le(p);
    case TENSOR_U32:
        return load_u32le(p);
    case TENSOR_U64:
        *fits = *fits && load_u64le(p) <= INT64_MAX;
        return (int64_t)load_u64le(p);
    default: /* I64 */
        return (int64_t)load_u64le(p);
    }
}

static float float_at(enum tensor_type type, const uint8_t *p)
{
    bool fits = true;
    switch (type) {
    case TENSOR_F32:
        return float_from_u32(load_u32le(p));
    case TENSOR_BF16:
        return float_from_bf16(load_u16le(p));
    case TENSOR_F16:
        return float_from_f16(load_u16le(p));
    case TENSOR_F64:
        return (float)double_from_u64(load_u64le(p));
    default:
        return (float)integer_at(type, p, &fits);
    }
}

static enum status refuse_type(const struct tensor_file *f, const struct tensor_info *t,
                               const char *want, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: tensor %s: type: got %s, want %s",
                     tensor_file_path(f, t), t->name, tensor_type_name(t->type), want);
}

enum { BLOCK = 1 << 16 };

enum status tensor_file_read_f32_part(const struct tensor_file *f, const struct tensor_info *t,
                                      int64_t first, int64_t count, float *out, struct error *err)
{
    const size_t width = tensor_type_bits(t->type) / 8;
    uint8_t block[BLOCK] = { 0 };

    if (!readable_f32(t->type))
        return refuse_type(f, t, "numbers", err);
    if (!t->contiguous || first < 0 || count < 0 || first > t->count - count)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: tensor %s: elements %" PRId64 " + %" PRId64,
                         tensor_file_path(f, t), t->name, first, count);
    for (int64_t done = 0; done < count;) {
        int64_t n = count - done < BLOCK / 8 ? count - done : BLOCK / 8;
        const uint64_t at = t->offset + (uint64_t)(first + done) * width;
        if (tensor_file_bytes(f, t->source, block, (size_t)n * width, at, err) != ST_OK)
            return error_prefix(err, ST_FAIL, "tensor %s", t->name);
        for (int64_t i = 0; i < n; i++)
            out[done + i] = float_at(t->type, block + (size_t)i * width);
        done += n;
    }
    return ST_OK;
}

/* Elements that do not lie row-major: the whole run is held, then picked from. */
static enum status read_strided(const struct tensor_file *f, const struct tensor_info *t,
                                float *out, struct error *err)
{
    const size_t width = tensor_type_bits(t->type) / 8;
    int64_t at[TENSOR_RANK_MAX] = { 0 };
    uint8_t *raw = t->bytes <= SIZE_MAX ? mem_alloc((size_t)t->bytes) : NULL;
    enum status st = ST_FAIL;

    if (!raw) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: tensor %s", t->name);
        goto done;
    }
    st = tensor_file_bytes(f, t->source, raw, (size_t)t->bytes, t->offset, err);
    for (int64_t i = 0; i < t->count && st == ST_OK; i++) {
        uint64_t element = 0;
        for (int a = 0; a < t->rank; a++)
            element += (uint64_t)(at[a] * t->stride[a]);
        out[i] = float_at(t->type, raw + element * width);
        for (int a = t->rank - 1; a >= 0 && ++at[a] == t->shape[a]; a--)
            at[a] = 0;
    }
done:
    mem_free(raw);
    return st;
}

enum status tensor_file_read_f32(const struct tensor_file *f, const struct tensor_info *t,
                                 float *out, struct error *err)
{
    if (t->contiguous)
        return tensor_file_read_f32_part(f, t, 0, t->count, out, err);
    if (!readable_f32(t->type))
        return refuse_type(f, t, "numbers", err);
    return t->count > 0 ? read_strided(f, t, out, err) : ST_OK;
}

enum status tensor_file_read_i32(const struct tensor_file *f, const struct tensor_info *t,
                                 int32_t *out, struct error *err)
{
    const size_t width = tensor_type_bits(t->type) / 8;
    uint8_t block[BLOCK] = { 0 };

    if (!readable_f32(t->type) || t->type == TENSOR_F32 || t->type == TENSOR_F16 ||
        t->type == TENSOR_BF16 || t->type == TENSOR_F64 || !t->contiguous)
        return refuse_type(f, t, "integers", err);
    for (int64_t done = 0; done < t->count;) {
        const int64_t n = t->count - done < BLOCK / 8 ? t->count - done : BLOCK / 8;
        if (tensor_file_bytes(f, t->source, block, (size_t)n * width,
                              t->offset + (uint64_t)done * width, err) != ST_OK)
            return error_prefix(err, ST_FAIL, "tensor %s", t->name);
        for (int64_t i = 0; i < n; i++) {
            bool fits = true;
            const int64_t v = integer_at(t->type, block + (size_t)i * width, &fits);
            if (!fits || v < INT32_MIN || v > INT32_MAX)
                return error_set(err, ST_FAIL, CAUSE_FORMAT,
                                 "%s: tensor %s: element %" PRId64 " does not fit 32 bits",
                                 tensor_file_path(f, t), t->name, done + i);
            out[done + i] = (int32_t)v;
        }
        done += n;
    }
    return ST_OK;
}
