/* trainer/safetensors_writer.c: writing. See safetensors.h. */
#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/mem.h"
#include "trainer/safetensors.h"

struct planned {
    enum tensor_type type;
    uint64_t bytes;
};

struct safetensors_writer {
    char *path, *temp;
    int fd;
    bool created; /* temp is there and ours to remove */
    struct planned *list;
    size_t count, next;
    struct hash_stream *hash;
};

enum { BLOCK = 1 << 14 }; /* elements converted at a time */

static enum status entry_bytes(const struct safetensors_entry *e, uint64_t *out, struct error *err)
{
    uint64_t n = 1;
    for (int i = 0; i < e->rank; i++)
        if (e->shape[i] < 0 || !mul_ok_u64(n, (uint64_t)e->shape[i], &n))
            return error_set(err, ST_FAIL, CAUSE_ARG, "tensor %s: the size wraps", e->name);
    if (!mul_ok_u64(n, tensor_type_bits(e->type), &n) || n % 8)
        return error_set(err, ST_FAIL, CAUSE_ARG, "tensor %s: no whole bytes", e->name);
    *out = n / 8;
    return ST_OK;
}

static void write_entry(struct json_writer *w, const struct safetensors_entry *e, uint64_t begin,
                        uint64_t end)
{
    json_key(w, e->name);
    json_begin_object(w);
    json_key(w, "dtype");
    json_string(w, tensor_type_name(e->type));
    json_key(w, "shape");
    json_begin_array(w);
    for (int i = 0; i < e->rank; i++)
        json_int(w, e->shape[i]);
    json_end_array(w);
    json_key(w, "data_offsets");
    json_begin_array(w);
    json_uint(w, begin);
    json_uint(w, end);
    json_end_array(w);
    json_end_object(w);
}

static enum status write_header(struct buffer *out, const struct safetensors_entry *list,
                                size_t count, const struct safetensors_pair *metadata,
                                size_t n_metadata, struct error *err)
{
    struct json_writer w;
    uint64_t at = 0, bytes = 0;

    json_writer_init(&w, out);
    json_begin_object(&w);
    if (n_metadata > 0) {
        json_key(&w, "__metadata__");
        json_begin_object(&w);
        for (size_t i = 0; i < n_metadata; i++) {
            json_key(&w, metadata[i].key);
            json_string(&w, metadata[i].value);
        }
        json_end_object(&w);
    }
    for (size_t i = 0; i < count; i++) {
        if (entry_bytes(&list[i], &bytes, err) != ST_OK)
            return ST_FAIL;
        write_entry(&w, &list[i], at, at + bytes);
        at += bytes;
    }
    json_end_object(&w);
    if (json_writer_finish(&w, err) != ST_OK)
        return ST_FAIL;
    while (out->size % 8 != 0) /* so that the numbers begin at a multiple of 8 */
        if (buffer_append(out, " ", 1, err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

static enum status emit(struct safetensors_writer *w, const void *data, size_t size,
                        struct error *err)
{
    hash_stream_update(w->hash, data, size);
    return file_write(w->fd, w->temp, data, size, err);
}

static enum status plan(struct safetensors_writer *w, const struct safetensors_entry *list,
                        size_t count, struct error *err)
{
    w->count = count;
    w->list = mem_calloc(count ? count : 1, sizeof *w->list);
    if (!w->list || !w->path || !w->temp)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: safetensors");
    for (size_t i = 0; i < count; i++) {
        w->list[i].type = list[i].type;
        if (entry_bytes(&list[i], &w->list[i].bytes, err) != ST_OK)
            return ST_FAIL;
    }
    return hash_stream_open(&w->hash, HASH_SHA256, err);
}

enum status safetensors_writer_open(struct safetensors_writer **out, const char *path,
                                    const struct safetensors_entry *list, size_t count,
                                    const struct safetensors_pair *metadata, size_t n_metadata,
                                    struct error *err)
{
    struct safetensors_writer *w = mem_calloc(1, sizeof *w);
    struct buffer header;
    uint8_t size[8];
    enum status st = ST_FAIL;

    *out = NULL;
    buffer_init(&header);
    if (!w)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: safetensors");
    w->fd = -1;
    w->path = mem_strdup(path);
    w->temp = str_format("%s.tmp", path);
    st = plan(w, list, count, err);
    if (st == ST_OK)
        st = write_header(&header, list, count, metadata, n_metadata, err);
    if (st == ST_OK)
        st = file_open_write(&w->fd, w->temp, err);
    w->created = st == ST_OK;
    store_u64le(size, header.size);
    if (st == ST_OK)
        st = emit(w, size, sizeof size, err);
    if (st == ST_OK)
        st = emit(w, header.data, header.size, err);
    buffer_clear(&header);
    if (st != ST_OK)
        safetensors_writer_close(&w);
    *out = w;
    return st;
}

static const struct planned *next_planned(struct safetensors_writer *w, uint64_t bytes,
                                          struct error *err)
{
    if (w->next == w->count || w->list[w->next].bytes != bytes) {
        error_set(err, ST_FAIL, CAUSE_INTERNAL, "%s: tensor %zu of %zu: %" PRIu64 " bytes put",
                  w->path, w->next, w->count, bytes);
        return NULL;
    }
    return &w->list[w->next++];
}

enum status safetensors_writer_put_raw(struct safetensors_writer *w, const void *data, size_t size,
                                       struct error *err)
{
    if (!next_planned(w, size, err))
        return ST_FAIL;
    return emit(w, data, size, err);
}

static void convert(uint8_t *out, const float *in, size_t n, enum tensor_type type)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        if (type == TENSOR_F32) {
            memcpy(&u, &in[i], 4);
            store_u32le(out + 4 * i, u);
        } else {
            store_u16le(out + 2 * i,
                        type == TENSOR_BF16 ? float_to_bf16(in[i]) : float_to_f16(in[i]));
        }
    }
}

enum status safetensors_writer_put(struct safetensors_writer *w, const float *data, int64_t count,
                                   struct error *err)
{
    uint8_t block[4 * BLOCK];
    const enum tensor_type type = w->next < w->count ? w->list[w->next].type : TENSOR_F32;
    const size_t width = tensor_type_bits(type) / 8;

    if (type != TENSOR_F32 && type != TENSOR_BF16 && type != TENSOR_F16)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: floats put into a %s tensor", w->path,
                         tensor_type_name(type));
    if (!next_planned(w, (uint64_t)count * width, err))
        return ST_FAIL;
    for (int64_t done = 0; done < count;) {
        const size_t n = (size_t)(count - done < BLOCK ? count - done : BLOCK);
        convert(block, data + done, n, type);
        if (emit(w, block, n * width, err) != ST_OK)
            return ST_FAIL;
        done += (int64_t)n;
    }
    return ST_OK;
}

enum status safetensors_writer_finish(struct safetensors_writer **w, uint8_t digest[32],
                                      struct error *err)
{
    struct safetensors_writer *x = *w;
    uint8_t sum[32];
    enum status st = ST_OK;

    if (x->next != x->count)
        st = error_set(err, ST_FAIL, CAUSE_INTERNAL, "%s: %zu of %zu tensors put", x->path, x->next,
                       x->count);
    hash_stream_digest(x->hash, sum);
    if (digest)
        memcpy(digest, sum, sizeof sum);
    if (st == ST_OK)
        st = file_sync(x->fd, x->temp, err);
    if (file_close(&x->fd, x->temp, err) != ST_OK)
        st = ST_FAIL;
    if (st == ST_OK)
        st = file_rename(x->temp, x->path, err);
    x->created = st != ST_OK;
    safetensors_writer_close(w);
    return st;
}

void safetensors_writer_close(struct safetensors_writer **w)
{
    if (!*w)
        return;
    file_close(&(*w)->fd, (*w)->temp, NULL);
    if ((*w)->created)
        file_remove((*w)->temp, NULL);
    hash_stream_close(&(*w)->hash);
    mem_free((*w)->path);
    mem_free((*w)->temp);
    mem_free((*w)->list);
    mem_free(*w);
    *w = NULL;
}
