/* trainer/metrics.c: see metrics.h. A line is one write, so that a reader never sees half of one. */
#include "trainer/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "trainer/tensorboard.h"

enum { METRICS_MAX_BYTES = 1 << 30 };

struct metrics {
    char *path;
    int fd;
    struct tensorboard *board;
    struct progress *progress;
};

/* The fields of a line, in order; the reader and the writer share this table. */
static const struct field {
    const char *name;
    size_t offset;
    bool whole;
} fields[] = {
#define REAL(name)                                                                                 \
    {                                                                                              \
#name, offsetof(struct metrics_row, name), false                                           \
    }
#define WHOLE(name)                                                                                \
    {                                                                                              \
#name, offsetof(struct metrics_row, name), true                                            \
    }
    WHOLE(step),
    REAL(loss),
    REAL(loss_ntp),
    REAL(loss_nip),
    REAL(loss_csr),
    REAL(lr),
    REAL(grad_norm),
    WHOLE(tokens),
    WHOLE(images),
    REAL(seconds),
    REAL(loader_wait_seconds),
    REAL(collective_seconds),
    REAL(rank_spread_seconds),
    REAL(checkpoint_seconds),
    REAL(mfu),
    WHOLE(skipped),
    WHOLE(damaged),
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static double real_of(const struct metrics_row *row, const struct field *f)
{
    double v = 0.0;
    memcpy(&v, (const char *)row + f->offset, sizeof v);
    return v;
}

static int64_t whole_of(const struct metrics_row *row, const struct field *f)
{
    int64_t v = 0;
    memcpy(&v, (const char *)row + f->offset, sizeof v);
    return v;
}

static enum status parse_line(struct metrics_row *row, const char *line, size_t size,
                              struct error *err)
{
    struct json_options opt;
    struct json_value *root = NULL;
    struct arena arena;

    json_options_init(&opt);
    arena_init(&arena, 0);
    *row = (struct metrics_row){ .step = -1 };
    const enum status st = json_parse(&arena, &root, line, size, &opt, err);
    for (size_t i = 0; i < FIELDS && st == ST_OK; i++) {
        const struct json_value *v = json_get(root, fields[i].name);
        char *to = (char *)row + fields[i].offset;
        int64_t whole = 0;
        if (v && fields[i].whole && json_value_int64(v, &whole))
            memcpy(to, &whole, sizeof whole);
        else if (v && !fields[i].whole && v->type == JSON_T_NUMBER)
            memcpy(to, &v->number, sizeof v->number);
        else if (v && !fields[i].whole && v->type == JSON_T_NULL)
            memcpy(to, &(double){ (double)NAN }, sizeof v->number);
    }
    const struct json_value *state = json_get(root, "state");
    if (st == ST_OK && state && state->type == JSON_T_STRING && state->size < sizeof row->state)
        memcpy(row->state, state->text, state->size);
    arena_clear(&arena);
    return st;
}

/* Calls for every whole line: rows are appended to `rows`, and the bytes of those before `first_step`
 * counted in *keep. A last line without newline is a cut one and ends the walk. */
static enum status read_lines(struct buffer *rows, const struct buffer *text, const char *path,
                              int64_t first_step, size_t *keep, struct error *err)
{
    size_t at = 0, line = 0;
    *keep = 0;
    while (at < text->size) {
        const uint8_t *end = memchr(text->data + at, '\n', text->size - at);
        struct metrics_row row;
        if (!end)
            break;
        const size_t size = (size_t)(end - (text->data + at));
        if (parse_line(&row, (const char *)text->data + at, size, err) != ST_OK || row.step < 0)
            return error_prefix(err, error_set(err, ST_FAIL, CAUSE_FORMAT, "no step"),
                                "%s: line %zu", path, line);
        at += size + 1;
        line++;
        if (row.step >= first_step)
            continue;
        *keep = at;
        if (rows && buffer_append(rows, &row, sizeof row, err) != ST_OK)
            return ST_FAIL;
    }
    return ST_OK;
}

/* Cuts the file behind the last step before `first_step`. */
static enum status drop_later_steps(const char *path, int64_t first_step, struct error *err)
{
    struct buffer text;
    size_t keep = 0;

    buffer_init(&text);
    if (!file_exists(path))
        return ST_OK;
    enum status st = file_read_all(&text, path, METRICS_MAX_BYTES, err);
    if (st == ST_OK)
        st = read_lines(NULL, &text, path, first_step, &keep, err);
    if (st == ST_OK && keep < text.size)
        st = file_replace(path, text.data, keep, err);
    buffer_clear(&text);
    return st;
}

enum status metrics_open(struct metrics **out, const char *folder, int64_t first_step,
                         int64_t end_step, struct error *err)
{
    struct metrics *m = mem_calloc(1, sizeof *m);
    char *board = str_format("%s/tensorboard", folder);
    enum status st = ST_FAIL;

    *out = NULL;
    if (m) {
        m->fd = -1;
        m->path = str_format("%s/metrics.jsonl", folder);
    }
    if (!m || !m->path || !board)
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: metrics");
    else
        st = drop_later_steps(m->path, first_step, err);
    if (st == ST_OK)
        st = file_open_append(&m->fd, m->path, err);
    if (st == ST_OK)
        st = tensorboard_open(&m->board, board, err);
    if (st == ST_OK) {
        m->progress = progress_open("train", "steps", (uint64_t)end_step);
        progress_skip(m->progress, (uint64_t)first_step);
    } else {
        metrics_close(&m);
    }
    mem_free(board);
    *out = m;
    return st;
}

static enum status write_line(struct metrics *m, const struct metrics_row *row, struct error *err)
{
    struct buffer line;
    struct json_writer w;

    buffer_init(&line);
    json_writer_init(&w, &line);
    json_begin_object(&w);
    for (size_t i = 0; i < FIELDS; i++) {
        json_key(&w, fields[i].name);
        if (fields[i].whole)
            json_int(&w, whole_of(row, &fields[i]));
        else
            json_number(&w, real_of(row, &fields[i]));
    }
    if (row->state[0]) {
        json_key(&w, "state");
        json_string(&w, row->state);
    }
    json_end_object(&w);
    enum status st = json_writer_finish(&w, err);
    if (st == ST_OK)
        st = buffer_append(&line, "\n", 1, err);
    if (st == ST_OK)
        st = file_write(m->fd, m->path, line.data, line.size, err);
    buffer_clear(&line);
    return st;
}

enum status metrics_write(struct metrics *m, const struct metrics_row *row, struct error *err)
{
    enum status st = write_line(m, row, err);
    for (size_t i = 1; i < FIELDS && st == ST_OK; i++) {
        const double v =
            fields[i].whole ? (double)whole_of(row, &fields[i]) : real_of(row, &fields[i]);
        st = tensorboard_scalar(m->board, row->step, fields[i].name, (float)v, err);
    }
    progress_note(m->progress,
                  "loss %.4f (ntp %.4f nip %.4f csr %.4f) lr %.3g norm %.3g %.0f tok/s %.1f img/s "
                  "wait %.1f%% mfu %.1f%%",
                  row->loss, row->loss_ntp, row->loss_nip, row->loss_csr, row->lr, row->grad_norm,
                  row->seconds > 0 ? (double)row->tokens / row->seconds : 0.0,
                  row->seconds > 0 ? (double)row->images / row->seconds : 0.0,
                  row->seconds > 0 ? 100.0 * row->loader_wait_seconds / row->seconds : 0.0,
                  100.0 * row->mfu);
    progress_add(m->progress, 1);
    return st;
}

enum status metrics_picture(struct metrics *m, int64_t step, const char *tag, int width, int height,
                            const uint8_t *png, size_t size, struct error *err)
{
    return tensorboard_picture(m->board, step, tag, width, height, png, size, err);
}

void metrics_close(struct metrics **m)
{
    if (!*m)
        return;
    progress_close(&(*m)->progress);
    tensorboard_close(&(*m)->board);
    file_close(&(*m)->fd, (*m)->path, NULL);
    mem_free((*m)->path);
    mem_free(*m);
    *m = NULL;
}

enum status metrics_read(struct metrics_row **rows, size_t *count, const char *folder,
                         struct error *err)
{
    struct buffer text, found;
    size_t keep = 0;
    char *path = str_format("%s/metrics.jsonl", folder);

    buffer_init(&text);
    buffer_init(&found);
    enum status st = path ? file_read_all(&text, path, METRICS_MAX_BYTES, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: metrics");
    if (st == ST_OK)
        st = read_lines(&found, &text, path, INT64_MAX, &keep, err);
    if (st == ST_OK) {
        *count = found.size / sizeof **rows;
        *rows = (void *)found.data;
        buffer_init(&found);
    }
    buffer_clear(&found);
    buffer_clear(&text);
    mem_free(path);
    return st;
}
