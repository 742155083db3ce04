/* ingest/masks/mask_store.c: see mask_store.h. Regions gather in a batch; its chunks are made into masks
 * by workers, and the results are counted and spilled in the order they came. */
#include "ingest/masks/mask_store_private.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "ingest/masks/json_fields.h"

void mask_options_init(struct mask_options *opt)
{
    memset(opt, 0, sizeof *opt);
    opt->min_area = 16;
    opt->nearest_side = 448;
    opt->tolerance = 100;
}

void mask_count_add(struct mask_count *list, size_t *n, const char *name)
{
    size_t i = 0;
    while (i < *n && strcmp(list[i].name, name) != 0)
        i++;
    if (i == MASK_REASONS_MAX)
        i--; /* reasons are names in our code: fewer than the table holds */
    if (i == *n) {
        (*n)++;
        list[i].n = 0;
        for (size_t k = 0; k + 1 < sizeof list[i].name && (list[i].name[k] = name[k]); k++)
            list[i].name[k + 1] = '\0';
    }
    list[i].n++;
}

static void batch_init(struct mask_batch *b)
{
    for (size_t i = 0; i < MASK_BATCH; i++) {
        segmentation_init(&b->items[i].seg);
        buffer_init(&b->items[i].caption);
        rle_init(&b->items[i].mask);
    }
    for (size_t i = 0; i < MASK_CHUNKS; i++) {
        rle_scratch_init(&b->chunks[i].scratch);
        rle_sampler_init(&b->chunks[i].sampler);
    }
}

static void batch_clear(struct mask_batch *b)
{
    for (size_t i = 0; i < MASK_BATCH; i++) {
        segmentation_clear(&b->items[i].seg);
        buffer_clear(&b->items[i].caption);
        rle_clear(&b->items[i].mask);
    }
    for (size_t i = 0; i < MASK_CHUNKS; i++) {
        rle_scratch_clear(&b->chunks[i].scratch);
        rle_sampler_clear(&b->chunks[i].sampler);
    }
}

enum status mask_store_open(struct mask_store **out, const char *spill,
                            const struct mask_options *opt, struct error *err)
{
    struct mask_store *s = mem_calloc(1, sizeof *s);
    enum status st = ST_OK;

    *out = NULL;
    if (!s)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "mask store");
    s->opt = *opt;
    s->fd = -1;
    arena_init(&s->arena, 0);
    batch_init(&s->batch);
    s->spill = mem_strdup(spill);
    if (!s->spill)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "mask store");
    if (st == ST_OK)
        st = hash_map_open(&s->by_image, 1024, err);
    if (st == ST_OK)
        st = file_open_write(&s->fd, spill, err);
    if (st == ST_OK)
        st = pool_open(&s->pool, opt->jobs, MASK_CHUNKS, err);
    if (st != ST_OK)
        mask_store_close(&s);
    *out = s;
    return st;
}

void mask_store_close(struct mask_store **store)
{
    struct mask_store *s = *store;

    if (!s)
        return;
    if (s->pool)
        pool_close(&s->pool, NULL);
    if (s->fd >= 0) {
        file_close(&s->fd, s->spill, NULL);
        file_remove(s->spill, NULL);
    }
    batch_clear(&s->batch);
    hash_map_close(&s->by_image);
    arena_clear(&s->arena);
    buffer_clear(&s->rows);
    buffer_clear(&s->out);
    buffer_clear(&s->instances);
    buffer_clear(&s->entries);
    buffer_clear(&s->categories);
    buffer_clear(&s->first);
    buffer_clear(&s->order);
    mem_free(s->spill);
    mem_free(s);
    *store = NULL;
}

/* A copy in the arena; NULL stays NULL. */
static enum status keep(struct mask_store *s, const char **out, const char *text, struct error *err)
{
    *out = NULL;
    if (!text)
        return ST_OK;
    *out = arena_strndup(&s->arena, text, strlen(text));
    return *out ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "text of a mask set");
}

enum status mask_store_instance(struct mask_store *s, const struct mask_instance *in,
                                uint32_t *index, struct error *err)
{
    struct mask_instance copy = *in;
    uint64_t at = mask_store_instances(s);
    uint8_t key[8];

    store_u64le(key, (uint64_t)in->image_id);
    const enum status st = hash_map_insert(s->by_image, key, sizeof key, &at, err);
    if (st != ST_OK)
        return st;
    if (keep(s, &copy.key, in->key, err) != ST_OK ||
        keep(s, &copy.file_name, in->file_name, err) != ST_OK ||
        keep(s, &copy.caption, in->caption, err) != ST_OK ||
        keep(s, &copy.location, in->location, err) != ST_OK ||
        keep(s, &copy.turns, in->turns, err) != ST_OK)
        return ST_FAIL;
    *index = (uint32_t)at;
    return buffer_append(&s->instances, &copy, sizeof copy, err);
}

bool mask_store_find(const struct mask_store *s, int64_t image_id, uint32_t *index)
{
    uint64_t at = 0;
    uint8_t key[8];

    store_u64le(key, (uint64_t)image_id);
    if (!hash_map_get(s->by_image, key, sizeof key, &at))
        return false;
    *index = (uint32_t)at;
    return true;
}

enum status mask_store_category(struct mask_store *s, int64_t id, const char *name,
                                const char *supercategory, struct error *err)
{
    struct mask_category c = { .id = id };

    if (keep(s, &c.name, name, err) != ST_OK ||
        keep(s, &c.supercategory, supercategory, err) != ST_OK)
        return ST_FAIL;
    return buffer_append(&s->categories, &c, sizeof c, err);
}

/* More than `tolerance` damaged records of the last 10,000, or 100 in a row (design.md 8). */
static enum status tolerate(struct mask_store *s, bool damaged, struct error *err)
{
    uint8_t *slot = &s->window[s->counts.seen % MASK_WINDOW];

    s->in_window += (uint64_t)damaged - *slot;
    *slot = damaged;
    s->in_row = damaged ? s->in_row + 1 : 0;
    s->counts.seen++;
    if (s->in_window > s->opt.tolerance || (s->in_row >= 100 && s->opt.tolerance < MASK_WINDOW))
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%" PRIu64 " of the last %d records are damaged, want at most %" PRIu64
                         " and no 100 in a row; the last: %s",
                         s->in_window, MASK_WINDOW, s->opt.tolerance, s->last_damage);
    return ST_OK;
}

static const char *base_name(const char *path)
{
    return path ? path_base(path) : "";
}

/* XXH3-64 of the record's raw bytes, read again; false where they cannot be told. */
static bool raw_hash(const struct mask_origin *at, uint64_t *hash)
{
    struct buffer raw;
    int fd = -1;
    bool ok = false;

    buffer_init(&raw);
    if (at->path && !json_file_is_packed(at->path) && at->length > 0 && at->length < (64u << 20) &&
        buffer_reserve(&raw, (size_t)at->length, NULL) == ST_OK &&
        file_open_read(&fd, at->path, NULL, NULL) == ST_OK &&
        file_pread(fd, at->path, raw.data, (size_t)at->length, at->offset, NULL) == ST_OK) {
        *hash = hash_xxh3_64(raw.data, (size_t)at->length);
        ok = true;
    }
    if (fd >= 0)
        file_close(&fd, at->path, NULL);
    buffer_clear(&raw);
    return ok;
}

static enum status quarantine_row(struct mask_store *s, const struct mask_origin *at,
                                  const struct error *why, struct error *err)
{
    struct json_writer w;
    uint64_t hash = 0;
    char hex[17];

    json_writer_init(&w, &s->rows);
    json_begin_object(&w);
    json_key(&w, "file");
    json_string(&w, base_name(at->path));
    json_key(&w, "member");
    if (at->member)
        json_string(&w, at->member);
    else
        json_null(&w);
    json_key(&w, "record");
    json_uint(&w, at->record);
    json_key(&w, "offset");
    json_uint(&w, at->offset);
    json_key(&w, "stage");
    json_string(&w, "masks");
    json_key(&w, "code");
    json_string(&w, why->code[0] ? why->code : error_cause_name(why->cause));
    json_key(&w, "found");
    json_string(&w, why->text);
    json_key(&w, "allowed");
    json_null(&w);
    json_key(&w, "length");
    json_uint(&w, at->length);
    json_key(&w, "hash");
    if (raw_hash(at, &hash)) {
        uint8_t bytes[8];
        for (int i = 0; i < 8; i++)
            bytes[i] = (uint8_t)(hash >> (56 - 8 * i));
        hash_hex(hex, bytes, 8);
        json_string(&w, hex);
    } else {
        json_null(&w);
    }
    json_end_object(&w);
    if (json_writer_finish(&w, err) != ST_OK)
        return ST_FAIL;
    return buffer_append(&s->rows, "\n", 1, err);
}

enum status mask_store_damage(struct mask_store *s, const struct mask_origin *at, struct error *why,
                              struct error *err)
{
    mask_count_add(s->counts.quarantined, &s->counts.n_quarantined,
                   why->code[0] ? why->code : error_cause_name(why->cause));
    const enum status st = quarantine_row(s, at, why, err);
    memcpy(s->last_damage, why->text, sizeof s->last_damage);
    s->last_damage[sizeof s->last_damage - 1] = '\0';
    error_clear(why);
    return st;
}

static void count_filtered(struct mask_store *s, const char *reason)
{
    mask_count_add(s->counts.filtered, &s->counts.n_filtered, reason);
}

/* A worker: the masks of one chunk, and what the filters say of them. */
static enum status make_masks(void *arg, bool cancelled, struct error *err)
{
    struct mask_chunk *c = arg;
    (void)err;

    for (size_t i = 0; !cancelled && i < c->count; i++) {
        struct mask_item *m = &c->items[i];
        error_clear(&m->err);
        m->reason = NULL;
        if (m->region.crowd && !c->opt->keep_crowds) {
            m->st = ST_OK;
            m->reason = "crowd";
            continue;
        }
        m->st = segmentation_to_rle(&m->mask, &m->seg, m->h, m->w, &c->scratch, &m->err);
        if (m->st == ST_SKIP && strcmp(m->err.code, "mask-no-polygon") == 0) {
            m->st = ST_OK;
            m->reason = "no-polygon";
        }
        if (m->st != ST_OK || m->reason)
            continue;
        const uint64_t area = rle_area(&m->mask);
        const uint32_t side = c->opt->nearest_side;
        if (area == 0)
            m->reason = "empty";
        else if (area < c->opt->min_area)
            m->reason = "small";
        else if ((m->st = rle_sampler_set(&c->sampler, m->mask.h, m->mask.w, side, side,
                                          &m->err)) == ST_OK &&
                 rle_sampled_area(&c->sampler, &m->mask) == 0)
            m->reason = "vanishes";
    }
    return ST_OK;
}

static enum status flush_spill(struct mask_store *s, struct error *err)
{
    if (s->out.size == 0)
        return ST_OK;
    const enum status st = file_pwrite(s->fd, s->spill, s->out.data, s->out.size, s->written, err);
    s->written += s->out.size;
    s->out.size = 0;
    return st;
}

static enum status spill_region(struct mask_store *s, const struct mask_item *m, struct error *err)
{
    const size_t from = s->out.size;
    struct mask_entry e = { .offset = s->written + from,
                            .id = m->region.id,
                            .original_id = m->region.original_id,
                            .category = m->region.category,
                            .match = m->region.match,
                            .instance = m->region.instance,
                            .crowd = m->region.crowd,
                            .caption_size = (uint32_t)m->caption.size,
                            .at = m->at };

    if (rle_to_string(&s->out, &m->mask, err) != ST_OK)
        return ST_FAIL;
    e.rle_size = (uint32_t)(s->out.size - from);
    if (m->caption.size && buffer_append(&s->out, m->caption.data, m->caption.size, err) != ST_OK)
        return ST_FAIL;
    e.hash = hash_xxh3_64(s->out.data + from, s->out.size - from);
    if (buffer_append(&s->entries, &e, sizeof e, err) != ST_OK)
        return ST_FAIL;
    return s->out.size >= MASK_SPILL_PIECE ? flush_spill(s, err) : ST_OK;
}

/* Counts what became of one item. */
static enum status settle(struct mask_store *s, struct mask_item *m, struct error *err)
{
    enum status st = ST_OK;

    if (m->st == ST_FAIL) {
        *err = m->err;
        return ST_FAIL;
    }
    if (m->st == ST_SKIP) {
        st = mask_store_damage(s, &m->at, &m->err, err);
        return st == ST_OK ? tolerate(s, true, err) : st;
    }
    if (m->reason)
        count_filtered(s, m->reason);
    else
        st = spill_region(s, m, err);
    return st == ST_OK ? tolerate(s, false, err) : st;
}

static enum status flush_batch(struct mask_store *s, struct error *err)
{
    struct mask_batch *b = &s->batch;
    enum status st = ST_OK;

    for (size_t i = 0, k = 0; st == ST_OK && i < b->count; i += MASK_CHUNK, k++) {
        struct mask_chunk *c = &b->chunks[k];
        c->items = b->items + i;
        c->count = b->count - i < MASK_CHUNK ? b->count - i : MASK_CHUNK;
        c->opt = &s->opt;
        st = pool_submit(s->pool, make_masks, c, err);
    }
    if (st == ST_OK)
        st = pool_wait(s->pool, err);
    for (size_t i = 0; st == ST_OK && i < b->count; i++)
        st = settle(s, &b->items[i], err);
    b->count = 0;
    return st;
}

/* Paths repeat from record to record: one copy each. */
static enum status intern(struct mask_store *s, const char **out, const char **last,
                          const char *text, struct error *err)
{
    if (text && *last && strcmp(text, *last) == 0)
        *out = *last;
    else if (keep(s, out, text, err) != ST_OK)
        return ST_FAIL;
    *last = *out;
    return ST_OK;
}

enum status mask_store_region(struct mask_store *s, const struct mask_region *r,
                              struct segmentation *seg, const struct mask_origin *at,
                              struct error *err)
{
    struct mask_item *m = &s->batch.items[s->batch.count];
    const struct mask_instance *in = mask_store_instance_at(s, r->instance);
    const struct segmentation swap = m->seg;

    m->seg = *seg;
    *seg = swap;
    segmentation_reset(seg);
    m->region = *r;
    m->h = in->h;
    m->w = in->w;
    m->at = *at;
    m->caption.size = 0;
    if (r->caption && buffer_append_str(&m->caption, r->caption, err) != ST_OK)
        return ST_FAIL;
    if (intern(s, &m->at.path, &s->last_path, at->path, err) != ST_OK ||
        intern(s, &m->at.member, &s->last_member, at->member, err) != ST_OK)
        return ST_FAIL;
    s->batch.count++;
    return s->batch.count == MASK_BATCH ? flush_batch(s, err) : ST_OK;
}

enum status mask_store_filter(struct mask_store *s, const char *reason, struct error *err)
{
    const enum status st = flush_batch(s, err);
    if (st != ST_OK)
        return st;
    count_filtered(s, reason);
    return tolerate(s, false, err);
}

enum status mask_store_quarantine(struct mask_store *s, const struct mask_origin *at,
                                  struct error *why, struct error *err)
{
    enum status st = flush_batch(s, err);
    if (st == ST_OK)
        st = mask_store_damage(s, at, why, err);
    return st == ST_OK ? tolerate(s, true, err) : st;
}

enum status mask_store_bad_image(struct mask_store *s, const struct mask_origin *at,
                                 struct error *why, struct error *err)
{
    enum status st = flush_batch(s, err);
    if (st == ST_OK)
        st = quarantine_row(s, at, why, err);
    s->counts.bad_images++;
    error_clear(why);
    return st;
}

enum status mask_store_flush(struct mask_store *s, struct error *err)
{
    const enum status st = flush_batch(s, err);
    return st == ST_OK ? flush_spill(s, err) : st;
}

size_t mask_store_instances(const struct mask_store *s)
{
    return s->instances.size / sizeof(struct mask_instance);
}

const struct mask_instance *mask_store_instance_at(const struct mask_store *s, size_t i)
{
    return (const struct mask_instance *)(const void *)s->instances.data + i;
}

size_t mask_store_entries(const struct mask_store *s)
{
    return s->entries.size / sizeof(struct mask_entry);
}

const struct mask_entry *mask_store_entry_at(const struct mask_store *s, size_t i)
{
    return (const struct mask_entry *)(const void *)s->entries.data + i;
}

const uint32_t *mask_store_first(const struct mask_store *s)
{
    return (const uint32_t *)(const void *)s->first.data;
}

const uint32_t *mask_store_order(const struct mask_store *s)
{
    return (const uint32_t *)(const void *)s->order.data;
}

size_t mask_store_categories(const struct mask_store *s)
{
    return s->categories.size / sizeof(struct mask_category);
}

const struct mask_category *mask_store_category_at(const struct mask_store *s, size_t i)
{
    return (const struct mask_category *)(const void *)s->categories.data + i;
}

const struct mask_category *mask_store_category_of(const struct mask_store *s, int64_t id)
{
    for (size_t i = mask_store_categories(s); i-- > 0;) /* the last of one id wins */
        if (mask_store_category_at(s, i)->id == id)
            return mask_store_category_at(s, i);
    return NULL;
}

const struct mask_counts *mask_store_counts(const struct mask_store *s)
{
    return &s->counts;
}

const struct buffer *mask_store_quarantine_rows(const struct mask_store *s)
{
    return &s->rows;
}

void mask_store_drop(struct mask_store *s, size_t entry, const char *reason)
{
    struct mask_entry *e = (struct mask_entry *)(void *)s->entries.data + entry;
    if (e->dropped)
        return;
    e->dropped = true;
    s->counts.stored--;
    count_filtered(s, reason);
}

enum status mask_store_read(struct mask_store *s, size_t entry, struct buffer *rle,
                            struct buffer *caption, struct error *err)
{
    const struct mask_entry *e = mask_store_entry_at(s, entry);

    rle->size = caption->size = 0;
    if (buffer_reserve(rle, (size_t)e->rle_size + 1, err) != ST_OK ||
        buffer_reserve(caption, (size_t)e->caption_size + 1, err) != ST_OK ||
        file_pread(s->fd, s->spill, rle->data, e->rle_size, e->offset, err) != ST_OK ||
        file_pread(s->fd, s->spill, caption->data, e->caption_size, e->offset + e->rle_size, err) !=
            ST_OK)
        return ST_FAIL;
    rle->size = e->rle_size;
    caption->size = e->caption_size;
    rle->data[rle->size] = caption->data[caption->size] = 0;
    return ST_OK;
}
