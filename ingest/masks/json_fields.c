/* ingest/masks/json_fields.c: see json_fields.h. */
#include "ingest/masks/json_fields.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "ingest/stream.h"

bool json_key_is(const struct json *j, const char *name)
{
    size_t size = 0;
    const char *key = json_text(j, &size);
    return size == strlen(name) && memcmp(key, name, size) == 0;
}

/* The value's event; containers are skipped, and *ok is false for them. */
static enum status scalar(struct json *j, enum json_event *event, bool *ok, struct error *err)
{
    const enum status st = json_next(j, event, err);
    *ok = true;
    if (st == ST_OK && (*event == JSON_ARRAY_BEGIN || *event == JSON_OBJECT_BEGIN)) {
        *ok = false;
        return json_skip(j, err);
    }
    return st;
}

enum status json_field_int64(struct json *j, int64_t *out, bool *ok, struct error *err)
{
    enum json_event event = JSON_NULL;
    const enum status st = scalar(j, &event, ok, err);
    if (st == ST_OK && *ok)
        *ok = event == JSON_NUMBER && json_int64(j, out);
    return st;
}

enum status json_field_id(struct json *j, int64_t *out, bool *ok, struct error *err)
{
    enum json_event event = JSON_NULL;
    const enum status st = scalar(j, &event, ok, err);
    if (st == ST_OK && *ok)
        *ok = (event == JSON_NUMBER || event == JSON_STRING) && json_id64(j, out);
    return st;
}

static enum status keep_text(struct json *j, struct buffer *out, bool *ok, struct error *err)
{
    size_t size = 0;
    const char *text = json_text(j, &size);

    if (size && memchr(text, 0, size)) {
        *ok = false;
        return ST_OK;
    }
    if (buffer_append(out, text, size, err) != ST_OK || buffer_append(out, "", 1, err) != ST_OK)
        return ST_FAIL;
    out->size--;
    return ST_OK;
}

enum status json_field_text(struct json *j, struct buffer *out, bool *ok, struct error *err)
{
    enum json_event event = JSON_NULL;
    const enum status st = scalar(j, &event, ok, err);

    out->size = 0;
    if (st == ST_OK && *ok)
        *ok = event == JSON_STRING;
    return st == ST_OK && *ok ? keep_text(j, out, ok, err) : st;
}

enum status json_field_id_text(struct json *j, struct buffer *out, bool *ok, struct error *err)
{
    enum json_event event = JSON_NULL;
    int64_t id = 0;
    const enum status st = scalar(j, &event, ok, err);

    out->size = 0;
    if (st != ST_OK || !*ok)
        return st;
    if (event == JSON_STRING)
        return keep_text(j, out, ok, err);
    *ok = event == JSON_NUMBER && json_int64(j, &id);
    return *ok ? buffer_printf(out, err, "%" PRId64, id) : ST_OK;
}

enum status json_field_numbers(struct json *j, double *out, size_t n, bool *ok, struct error *err)
{
    enum json_event event = JSON_NULL;
    enum status st = json_next(j, &event, err);
    size_t got = 0;

    *ok = st == ST_OK && event == JSON_ARRAY_BEGIN;
    if (!*ok)
        return st == ST_OK && event == JSON_OBJECT_BEGIN ? json_skip(j, err) : st;
    while ((st = json_next(j, &event, err)) == ST_OK && event != JSON_ARRAY_END) {
        if (event == JSON_NUMBER && got < n) {
            out[got++] = json_double(j);
            continue;
        }
        *ok = false;
        if (event != JSON_NUMBER && (st = json_skip(j, err)) != ST_OK)
            break;
    }
    if (got != n)
        *ok = false;
    return st;
}

enum status json_field_bool(struct json *j, bool *out, bool *ok, struct error *err)
{
    enum json_event event = JSON_NULL;
    int64_t v = 0;
    const enum status st = scalar(j, &event, ok, err);

    if (st != ST_OK || !*ok)
        return st;
    *ok = event == JSON_TRUE || event == JSON_FALSE ||
          (event == JSON_NUMBER && json_int64(j, &v) && (v == 0 || v == 1));
    *out = event == JSON_TRUE || v == 1;
    return ST_OK;
}

bool json_file_is_packed(const char *path)
{
    static const char *const ends[] = { ".zip", ".gz", ".zst" };
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (n > strlen(ends[i]) && strcmp(path + n - strlen(ends[i]), ends[i]) == 0)
            return true;
    return false;
}

static enum status read_piece(void *arg, uint8_t *data, size_t size, size_t *got, struct error *err)
{
    const struct json_file *f = arg;
    if (!f->packed)
        return file_read(f->fd, f->path, data, size, got, err);
    const enum status st = stream_read(f->packed, data, size, got, err);
    return st == ST_SKIP ? ST_FAIL : st; /* half a document is none */
}

static enum status open_packed(struct json_file *f, struct error *err)
{
    struct source_limits limits;
    const char *member = NULL;

    source_limits_init(&limits);
    enum status st = stream_open(&f->packed, f->path, &limits, err);
    if (st == ST_OK)
        st = stream_member(f->packed, &member, err);
    if (st == ST_END)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "no member named like the archive");
    return st == ST_SKIP ? ST_FAIL : st;
}

enum status json_file_open(struct json_file *f, const char *path, struct error *err)
{
    struct json_options opt;

    *f = (struct json_file){ .path = path, .fd = -1 };
    json_options_init(&opt);
    opt.bom_allowed = true;
    enum status st =
        json_file_is_packed(path) ? open_packed(f, err) : file_open_read(&f->fd, path, NULL, err);
    if (st == ST_OK)
        st = json_open_stream(&f->json, read_piece, f, &opt, err);
    if (st != ST_OK)
        json_file_close(f);
    return st;
}

void json_file_close(struct json_file *f)
{
    json_close(&f->json);
    stream_close(&f->packed);
    if (f->fd >= 0)
        file_close(&f->fd, f->path, NULL);
}
