/* ingest/masks/picture_ids.c: see picture_ids.h. */
#include "ingest/masks/picture_ids.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"

enum { LINE_MAX_ID = 128, PIECE = 1 << 16, COCO_DIGITS = 12 };

struct scan {
    struct picture_ids *list;
    char line[LINE_MAX_ID]; /* of the current line, as far as it may be an id */
    size_t line_size;
    bool plain; /* the line may still be one id */
    char digits[COCO_DIGITS];
    size_t run; /* digits seen in a row */
};

static enum status add(struct hash_map *m, const char *key, size_t size, struct error *err)
{
    uint64_t value = 1;
    const enum status st = hash_map_insert(m, key, size, &value, err);
    return st == ST_SKIP ? ST_OK : st;
}

/* Twelve digits without leading zeros, as ids are printed. */
static enum status add_coco(struct scan *s, struct error *err)
{
    size_t zeros = 0;
    while (zeros < COCO_DIGITS - 1 && s->digits[zeros] == '0')
        zeros++;
    return add(s->list->coco, s->digits + zeros, COCO_DIGITS - zeros, err);
}

static enum status end_line(struct scan *s, struct error *err)
{
    size_t size = s->line_size;
    while (size > 0 && strchr(" \t\r", s->line[size - 1]))
        size--;
    const enum status st = s->plain && size > 0 ? add(s->list->lines, s->line, size, err) : ST_OK;
    s->line_size = 0;
    s->plain = true;
    return st;
}

static enum status take(struct scan *s, char c, struct error *err)
{
    enum status st = ST_OK;

    if (c >= '0' && c <= '9') {
        if (s->run < COCO_DIGITS)
            s->digits[s->run] = c;
        s->run++;
    } else {
        if (s->run == COCO_DIGITS && c == '.')
            st = add_coco(s, err);
        s->run = 0;
    }
    if (st != ST_OK)
        return st;
    if (c == '\n')
        return end_line(s, err);
    if (strchr("{}[]\"", c) || s->line_size == LINE_MAX_ID)
        s->plain = false;
    else if (s->line_size > 0 || !strchr(" \t\r", c))
        s->line[s->line_size++] = c;
    return ST_OK;
}

enum status picture_ids_open(struct picture_ids *l, const char *path, struct error *err)
{
    struct scan s = { .list = l, .plain = true };
    struct buffer piece;
    int fd = -1;
    size_t got = 1;

    l->lines = l->coco = NULL;
    buffer_init(&piece);
    enum status st = hash_map_open(&l->lines, 64, err);
    if (st == ST_OK)
        st = hash_map_open(&l->coco, 64, err);
    if (st == ST_OK)
        st = buffer_reserve(&piece, PIECE, err);
    if (st == ST_OK)
        st = file_open_read(&fd, path, NULL, err);
    while (st == ST_OK && got > 0) {
        st = file_read(fd, path, piece.data, PIECE, &got, err);
        for (size_t i = 0; st == ST_OK && i < got; i++)
            st = take(&s, (char)piece.data[i], err);
    }
    if (st == ST_OK)
        st = end_line(&s, err);
    if (fd >= 0)
        file_close(&fd, path, NULL);
    buffer_clear(&piece);
    return st;
}

void picture_ids_close(struct picture_ids *l)
{
    hash_map_close(&l->lines);
    hash_map_close(&l->coco);
}

static bool has(const struct hash_map *m, const char *key, size_t size)
{
    uint64_t value = 0;
    return hash_map_get(m, key, size, &value);
}

bool picture_ids_has(const struct picture_ids *l, const char *key, const char *file_name,
                     int64_t coco_id)
{
    const char *base = path_base(file_name), *dot = strrchr(base, '.');
    char id[24];

    if (has(l->lines, base, strlen(base)) || (dot && has(l->lines, base, (size_t)(dot - base))))
        return true;
    if (coco_id < 0)
        return has(l->lines, key, strlen(key));
    const int n = snprintf(id, sizeof id, "%" PRId64, coco_id);
    return has(l->coco, id, (size_t)n) || has(l->lines, id, (size_t)n);
}
