/* trainer/tensorboard.c: see tensorboard.h. Records are appended whole, one write each. */
#include "trainer/tensorboard.h"

#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/mem.h"

struct tensorboard {
    int fd;
    char *path;
};

uint32_t tensorboard_masked_crc(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* Protocol buffer fields. Wire types: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
static enum status put_varint(struct buffer *b, uint64_t v, struct error *err)
{
    uint8_t bytes[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        bytes[n++] = (uint8_t)(v | 0x80);
    bytes[n++] = (uint8_t)v;
    return buffer_append(b, bytes, n, err);
}

static enum status put_int(struct buffer *b, unsigned field, int64_t v, struct error *err)
{
    const enum status st = put_varint(b, field << 3, err);
    return st == ST_OK ? put_varint(b, (uint64_t)v, err) : st;
}

static enum status put_bytes(struct buffer *b, unsigned field, const void *data, size_t size,
                             struct error *err)
{
    enum status st = put_varint(b, field << 3 | 2, err);
    if (st == ST_OK)
        st = put_varint(b, size, err);
    return st == ST_OK ? buffer_append(b, data, size, err) : st;
}

static enum status put_fixed(struct buffer *b, unsigned field, const void *value, size_t size,
                             struct error *err)
{
    const enum status st = put_varint(b, field << 3 | (size == 8 ? 1 : 5), err);
    return st == ST_OK ? buffer_append(b, value, size, err) : st;
}

/* Event { wall_time = 1 (double), step = 2, file_version = 3 or summary = 5 }, framed as a record. */
static enum status write_event(struct tensorboard *t, int64_t step, unsigned field,
                               const void *data, size_t size, struct error *err)
{
    const double now = (double)clock_wall_ms() / 1000.0;
    struct buffer event, record;
    uint8_t head[12], tail[4];
    enum status st = ST_OK;

    buffer_init(&event);
    buffer_init(&record);
    st = put_fixed(&event, 1, &now, sizeof now, err);
    if (st == ST_OK)
        st = put_int(&event, 2, step, err);
    if (st == ST_OK)
        st = put_bytes(&event, field, data, size, err);
    store_u64le(head, event.size);
    store_u32le(head + 8, tensorboard_masked_crc(head, 8));
    if (st == ST_OK)
        st = buffer_append(&record, head, sizeof head, err);
    if (st == ST_OK)
        st = buffer_append(&record, event.data, event.size, err);
    if (st == ST_OK) {
        store_u32le(tail, tensorboard_masked_crc(event.data, event.size));
        st = buffer_append(&record, tail, sizeof tail, err);
    }
    if (st == ST_OK)
        st = file_write(t->fd, t->path, record.data, record.size, err);
    buffer_clear(&event);
    buffer_clear(&record);
    return st;
}

/* Summary { value = 1 { tag = 1, simple_value = 2 or image = 4 } }. */
static enum status write_summary(struct tensorboard *t, int64_t step, const char *tag,
                                 unsigned field, const void *data, size_t size, struct error *err)
{
    struct buffer value, summary;
    enum status st = ST_OK;

    buffer_init(&value);
    buffer_init(&summary);
    st = put_bytes(&value, 1, tag, strlen(tag), err);
    if (st == ST_OK)
        st = field == 2 ? put_fixed(&value, 2, data, size, err)
                        : put_bytes(&value, field, data, size, err);
    if (st == ST_OK)
        st = put_bytes(&summary, 1, value.data, value.size, err);
    if (st == ST_OK)
        st = write_event(t, step, 5, summary.data, summary.size, err);
    buffer_clear(&value);
    buffer_clear(&summary);
    return st;
}

enum status tensorboard_open(struct tensorboard **out, const char *folder, struct error *err)
{
    static const char version[] = "brain.Event:2";
    struct tensorboard *t = mem_calloc(1, sizeof *t);
    enum status st = ST_FAIL;

    *out = NULL;
    if (!t)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: event file");
    t->fd = -1;
    t->path = str_format("%s/events.out.tfevents.%lld", folder, (long long)clock_wall_ms());
    if (!t->path)
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: event file");
    else if (file_make_folders(folder, err) == ST_OK)
        st = file_open_write(&t->fd, t->path, err);
    if (st == ST_OK)
        st = write_event(t, 0, 3, version, strlen(version), err);
    if (st != ST_OK)
        tensorboard_close(&t);
    *out = t;
    return st;
}

enum status tensorboard_scalar(struct tensorboard *t, int64_t step, const char *tag, float value,
                               struct error *err)
{
    return write_summary(t, step, tag, 2, &value, sizeof value, err);
}

enum status tensorboard_picture(struct tensorboard *t, int64_t step, const char *tag, int width,
                                int height, const uint8_t *png, size_t size, struct error *err)
{
    struct buffer
        image; /* Image { height = 1, width = 2, colorspace = 3 (RGB = 3), encoded = 4 } */
    enum status st = ST_OK;

    buffer_init(&image);
    st = put_int(&image, 1, height, err);
    if (st == ST_OK)
        st = put_int(&image, 2, width, err);
    if (st == ST_OK)
        st = put_int(&image, 3, 3, err);
    if (st == ST_OK)
        st = put_bytes(&image, 4, png, size, err);
    if (st == ST_OK)
        st = write_summary(t, step, tag, 4, image.data, image.size, err);
    buffer_clear(&image);
    return st;
}

void tensorboard_close(struct tensorboard **t)
{
    if (!*t)
        return;
    file_close(&(*t)->fd, (*t)->path, NULL);
    mem_free((*t)->path);
    mem_free(*t);
    *t = NULL;
}
