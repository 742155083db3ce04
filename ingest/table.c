/* ingest/table.c: see table.h.
 *   NAME.entries  u32 key bytes, u32 value bytes, key, value; one after the other
 *   NAME.keys     "DEEMTAB1", u64 identity, u64 count, u64 bytes of NAME.entries; then per entry u64
 *                 XXH3-64 of the key, u64 offset of the entry; sorted by both
 * Keys are sorted in runs of bounded size that are merged at the end. The rename of NAME.keys makes the
 * table valid. All integers are little-endian. */
#include "ingest/table.h"

#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/mem.h"

enum { RUN = 1 << 21, BLOCK = 1 << 20, PIECE = 1 << 16, HEADER = 32, KEY_BYTES = 16 };
static const char MAGIC[] = "DEEMTAB1";

struct sort_key {
    uint64_t hash, offset;
};

/* A file that is written front to back. */
struct out_file {
    char *path;
    int fd;
    uint8_t *block;
    size_t used;
    uint64_t size;
};

struct table_writer {
    struct out_file entries, runs;
    char *keys, *keys_tmp; /* paths */
    struct sort_key *run;
    size_t run_size, run_cap, run_most;
    uint64_t count;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "table: out of memory");
}

static enum status out_open(struct out_file *f, const char *path, struct error *err)
{
    f->path = mem_strdup(path);
    f->block = mem_alloc(BLOCK);
    return f->path && f->block ? file_open_write(&f->fd, path, err) : no_memory(err);
}

static enum status out_flush(struct out_file *f, struct error *err)
{
    const enum status st = file_write(f->fd, f->path, f->block, f->used, err);
    f->used = 0;
    return st;
}

static enum status out_put(struct out_file *f, const void *data, size_t size, struct error *err)
{
    if (size > BLOCK - f->used) {
        const enum status st = out_flush(f, err);
        if (st != ST_OK)
            return st;
    }
    f->size += size;
    if (size > BLOCK)
        return file_write(f->fd, f->path, data, size, err);
    if (size > 0)
        memcpy(f->block + f->used, data, size);
    f->used += size;
    return ST_OK;
}

static void out_close(struct out_file *f)
{
    file_close(&f->fd, f->path, NULL);
    mem_free(f->path);
    mem_free(f->block);
    *f = (struct out_file){ .fd = -1 };
}

static char *file_name(const char *folder, const char *name, const char *end)
{
    return str_format("%s/%s.%s", folder, name, end);
}

enum status table_create(struct table_writer **out, const char *folder, const char *name,
                         size_t run, struct error *err)
{
    struct table_writer *w = mem_calloc(1, sizeof *w);
    char *entries = file_name(folder, name, "entries"), *runs = file_name(folder, name, "runs");
    enum status st = ST_FAIL;
    *out = w;
    if (w)
        w->entries.fd = w->runs.fd = -1;
    if (!w || !entries || !runs) {
        no_memory(err);
        goto done;
    }
    w->run_most = run > 0 ? run : RUN;
    w->keys = file_name(folder, name, "keys");
    w->keys_tmp = file_name(folder, name, "keys.tmp");
    if (!w->keys || !w->keys_tmp) {
        no_memory(err);
        goto done;
    }
    st = file_remove(w->keys, err); /* from here on there is no table */
    if (st == ST_OK)
        st = out_open(&w->entries, entries, err);
    if (st == ST_OK)
        st = out_open(&w->runs, runs, err);
done:
    mem_free(entries);
    mem_free(runs);
    if (st != ST_OK)
        table_writer_close(out);
    return st;
}

void table_writer_close(struct table_writer **w)
{
    if (!w || !*w)
        return;
    if ((*w)->runs.path)
        file_remove((*w)->runs.path, NULL);
    out_close(&(*w)->entries);
    out_close(&(*w)->runs);
    mem_free((*w)->keys);
    mem_free((*w)->keys_tmp);
    mem_free((*w)->run);
    mem_free(*w);
    *w = NULL;
}

static int key_order(const void *a, const void *b)
{
    const struct sort_key *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static enum status put_key(struct out_file *f, const struct sort_key *k, struct error *err)
{
    uint8_t bytes[KEY_BYTES];
    store_u64le(bytes, k->hash);
    store_u64le(bytes + 8, k->offset);
    return out_put(f, bytes, sizeof bytes, err);
}

static enum status flush_run(struct table_writer *w, struct error *err)
{
    enum status st = ST_OK;
    if (w->run_size > 0)
        qsort(w->run, w->run_size, sizeof *w->run, key_order);
    for (size_t i = 0; i < w->run_size && st == ST_OK; i++)
        st = put_key(&w->runs, &w->run[i], err);
    w->run_size = 0;
    return st;
}

static enum status add_key(struct table_writer *w, struct sort_key k, struct error *err)
{
    if (w->run_size == w->run_cap) {
        const size_t cap = w->run_cap ? 2 * w->run_cap : 1024;
        struct sort_key *grown = mem_realloc(w->run, cap, sizeof *grown);
        if (!grown)
            return no_memory(err);
        w->run = grown;
        w->run_cap = cap;
    }
    w->run[w->run_size++] = k;
    w->count++;
    return w->run_size == w->run_most ? flush_run(w, err) : ST_OK;
}

enum status table_add(struct table_writer *w, const void *key, size_t key_size, const void *value,
                      size_t value_size, struct error *err)
{
    const struct sort_key k = { hash_xxh3_64(key, key_size), w->entries.size };
    uint8_t head[8];
    if (key_size > UINT32_MAX || value_size > UINT32_MAX)
        return error_set(err, ST_FAIL, CAUSE_LIMIT, "table: an entry over 4 GiB");
    store_u32le(head, (uint32_t)key_size);
    store_u32le(head + 4, (uint32_t)value_size);
    enum status st = out_put(&w->entries, head, sizeof head, err);
    if (st == ST_OK)
        st = out_put(&w->entries, key, key_size, err);
    if (st == ST_OK)
        st = out_put(&w->entries, value, value_size, err);
    return st == ST_OK ? add_key(w, k, err) : st;
}

/* A sorted run that is being merged. */
struct run_reader {
    uint64_t at, end; /* bytes in the file of runs */
    uint8_t *piece;
    size_t pos, size;
    struct sort_key head;
};

/* Takes the next key. ST_END: the run is used up. */
static enum status run_next(struct run_reader *r, const struct out_file *f, struct error *err)
{
    if (r->pos == r->size) {
        const uint64_t left = r->end - r->at;
        if (left == 0)
            return ST_END;
        r->size = left < PIECE ? (size_t)left : PIECE;
        r->pos = 0;
        const enum status st = file_pread(f->fd, f->path, r->piece, r->size, r->at, err);
        if (st != ST_OK)
            return st;
        r->at += r->size;
    }
    r->head.hash = load_u64le(r->piece + r->pos);
    r->head.offset = load_u64le(r->piece + r->pos + 8);
    r->pos += KEY_BYTES;
    return ST_OK;
}

static void sink_down(struct run_reader **heap, size_t n, size_t i)
{
    for (;;) {
        size_t least = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < n; child++)
            if (key_order(&heap[child]->head, &heap[least]->head) < 0)
                least = child;
        if (least == i)
            return;
        struct run_reader *t = heap[i];
        heap[i] = heap[least];
        heap[least] = t;
        i = least;
    }
}

static enum status merge_heap(struct table_writer *w, struct run_reader **heap, size_t n,
                              struct out_file *out, struct error *err)
{
    enum status st = ST_OK;
    for (size_t i = n; i-- > 0;)
        sink_down(heap, n, i);
    while (n > 0 && st == ST_OK) {
        st = put_key(out, &heap[0]->head, err);
        if (st == ST_OK)
            st = run_next(heap[0], &w->runs, err);
        if (st == ST_END) {
            heap[0] = heap[--n];
            st = ST_OK;
        }
        if (n > 0)
            sink_down(heap, n, 0);
    }
    return st;
}

static enum status merge(struct table_writer *w, struct out_file *out, struct error *err)
{
    const uint64_t bytes = w->runs.size, run_bytes = (uint64_t)w->run_most * KEY_BYTES;
    const size_t n = (size_t)((bytes + run_bytes - 1) / run_bytes);
    struct run_reader *runs = mem_calloc(n ? n : 1, sizeof *runs);
    struct run_reader **heap = mem_calloc(n ? n : 1, sizeof *heap);
    enum status st = runs && heap ? out_flush(&w->runs, err) : no_memory(err);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        runs[i].at = i * run_bytes;
        runs[i].end = bytes - runs[i].at < run_bytes ? bytes : runs[i].at + run_bytes;
        runs[i].piece = mem_alloc(PIECE);
        heap[i] = &runs[i];
        st = runs[i].piece ? run_next(&runs[i], &w->runs, err) : no_memory(err);
    }
    if (st == ST_OK)
        st = merge_heap(w, heap, n, out, err);
    for (size_t i = 0; runs && i < n; i++)
        mem_free(runs[i].piece);
    mem_free(heap);
    mem_free(runs);
    return st;
}

enum status table_finish(struct table_writer *w, uint64_t identity, struct error *err)
{
    struct out_file keys = { .fd = -1 };
    uint8_t header[HEADER];
    enum status st = flush_run(w, err);
    if (st == ST_OK)
        st = out_flush(&w->entries, err);
    if (st == ST_OK)
        st = file_sync(w->entries.fd, w->entries.path, err);
    if (st == ST_OK)
        st = out_open(&keys, w->keys_tmp, err);
    memcpy(header, MAGIC, 8);
    store_u64le(header + 8, identity);
    store_u64le(header + 16, w->count);
    store_u64le(header + 24, w->entries.size);
    if (st == ST_OK)
        st = out_put(&keys, header, sizeof header, err);
    if (st == ST_OK)
        st = merge(w, &keys, err);
    if (st == ST_OK)
        st = out_flush(&keys, err);
    if (st == ST_OK)
        st = file_sync(keys.fd, keys.path, err);
    out_close(&keys);
    return st == ST_OK ? file_rename(w->keys_tmp, w->keys, err) : st;
}

struct table {
    struct file_map entries, keys;
    uint64_t count;
};

static enum status map_files(struct table *t, const char *folder, const char *name,
                             uint64_t identity, struct error *err)
{
    char *keys = file_name(folder, name, "keys"), *entries = file_name(folder, name, "entries");
    struct file_info info;
    uint64_t size = 0;
    enum status st = keys && entries ? file_stat(keys, &info, err) : no_memory(err);
    if (st == ST_OK)
        st = file_map_open(&t->keys, keys, err);
    if (st != ST_OK)
        goto done;
    const uint8_t *p = t->keys.data;
    if (t->keys.size < HEADER || memcmp(p, MAGIC, 8) != 0 || load_u64le(p + 8) != identity) {
        st = ST_END;
        goto done;
    }
    t->count = load_u64le(p + 16);
    st = file_map_open(&t->entries, entries, err);
    if (st == ST_OK && (!mul_ok_u64(t->count, KEY_BYTES, &size) || size != t->keys.size - HEADER ||
                        t->entries.size != load_u64le(p + 24)))
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: damaged: sizes do not agree", keys);
done:
    mem_free(keys);
    mem_free(entries);
    return st;
}

enum status table_open(struct table **out, const char *folder, const char *name, uint64_t identity,
                       struct error *err)
{
    struct table *t = mem_calloc(1, sizeof *t);
    *out = t;
    if (!t)
        return no_memory(err);
    const enum status st = map_files(t, folder, name, identity, err);
    if (st != ST_OK)
        table_close(out);
    return st;
}

void table_close(struct table **t)
{
    if (!t || !*t)
        return;
    file_map_close(&(*t)->entries);
    file_map_close(&(*t)->keys);
    mem_free(*t);
    *t = NULL;
}

uint64_t table_count(const struct table *t)
{
    return t->count;
}

static struct sort_key key_at(const struct table *t, uint64_t i)
{
    const uint8_t *p = t->keys.data + HEADER + i * KEY_BYTES;
    return (struct sort_key){ load_u64le(p), load_u64le(p + 8) };
}

void table_seek(const struct table *t, struct table_cursor *c, const void *key, size_t key_size)
{
    uint64_t low = 0, high = t->count;
    *c = (struct table_cursor){ key, key_size, hash_xxh3_64(key, key_size), 0 };
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (key_at(t, middle).hash < c->hash)
            low = middle + 1;
        else
            high = middle;
    }
    c->at = low;
}

/* Key and value of the entry at `place`. */
static enum status entry_at(const struct table *t, uint64_t place, const uint8_t **key,
                            size_t *key_size, struct table_value *v, struct error *err)
{
    struct cursor c = cursor_make(t->entries.data, t->entries.size, 0);
    uint32_t sizes[2] = { 0, 0 };
    if (place <= t->entries.size && cursor_take(&c, (size_t)place) && get_u32le(&c, &sizes[0]) &&
        get_u32le(&c, &sizes[1])) {
        *key = cursor_take(&c, sizes[0]);
        *key_size = sizes[0];
        *v = (struct table_value){ cursor_take(&c, sizes[1]), sizes[1], place };
    }
    if (c.failed || place > t->entries.size)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "table of work: damaged entry");
    return ST_OK;
}

enum status table_at(const struct table *t, uint64_t place, struct table_value *v,
                     struct error *err)
{
    const uint8_t *key = NULL;
    size_t key_size = 0;
    return entry_at(t, place, &key, &key_size, v, err);
}

enum status table_next(const struct table *t, struct table_cursor *c, struct table_value *v,
                       struct error *err)
{
    while (c->at < t->count) {
        const struct sort_key k = key_at(t, c->at);
        const uint8_t *key = NULL;
        size_t key_size = 0;
        if (k.hash != c->hash)
            return ST_END;
        c->at++;
        const enum status st = entry_at(t, k.offset, &key, &key_size, v, err);
        if (st != ST_OK)
            return st;
        if (key_size == c->key_size && (key_size == 0 || memcmp(key, c->key, key_size) == 0))
            return ST_OK;
    }
    return ST_END;
}
