/* ingest/instruct_read.c: records of instruction sets into a work file and a list of 64 bytes a record. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "ingest/instruct_private.h"

enum { RECORD_PARTS = 7 }; /* texts of a record in the work file */

void instruct_record_init(struct instruct_record *r)
{
    memset(r, 0, sizeof *r);
}

void instruct_record_clear(struct instruct_record *r)
{
    buffer_clear(&r->key);
    buffer_clear(&r->id);
    buffer_clear(&r->pictures);
    buffer_clear(&r->turns);
    buffer_clear(&r->masks);
    buffer_clear(&r->source);
    buffer_clear(&r->prefix);
}

void instruct_record_reset(struct instruct_record *r)
{
    r->key.size = r->id.size = r->pictures.size = r->turns.size = r->masks.size = 0;
    r->source.size = r->prefix.size = 0;
    r->turn_count = r->mask_count = 0;
}

enum status instruct_text(struct buffer *out, const char *text, size_t size, struct error *err)
{
    out->size = 0;
    const enum status st = buffer_append(out, text, size, err);
    return st == ST_OK ? buffer_append(out, "", 1, err) : st;
}

enum status instruct_add_turn(struct instruct_record *r, const char *text, size_t size,
                              struct error *err)
{
    enum status st = buffer_append(&r->turns, text, size, err);
    if (st == ST_OK)
        st = buffer_append(&r->turns, "", 1, err);
    r->turn_count++;
    return st;
}

void instruct_draw(const struct instruct_list *l, struct rng *g, const char *purpose,
                   const char *id, const uint64_t *position)
{
    const char *set = instruct_set_names[l->opt->set];
    struct rng_key key;

    rng_key_init(&key, l->opt->base.filter.seed, purpose);
    rng_key_string(&key, set, strlen(set));
    rng_key_string(&key, id, strlen(id));
    if (strcmp(purpose, "D11") != 0)
        rng_key_integer(&key, 0); /* epoch: frozen at ingest */
    if (position)
        rng_key_integer(&key, *position);
    rng_init(g, &key);
}

static enum status put_entry(struct instruct_list *l, struct instruct_entry *e,
                             const struct instruct_origin *at, struct error *err)
{
    e->input = at->input;
    e->from = at->offset;
    e->length = at->length;
    return buffer_append(&l->entries, e, sizeof *e, err);
}

static enum status put_part(struct buffer *out, const struct buffer *part, struct error *err)
{
    uint8_t size[4];
    store_u32le(size, (uint32_t)part->size);
    const enum status st = buffer_append(out, size, sizeof size, err);
    return st == ST_OK && part->size ? buffer_append(out, part->data, part->size, err) : st;
}

enum status instruct_keep(struct instruct_list *l, const struct instruct_record *r,
                          const struct instruct_origin *at, struct error *err)
{
    const struct buffer *const parts[RECORD_PARTS] = { &r->key,   &r->id,    &r->pictures,
                                                       &r->turns, &r->masks, &r->source,
                                                       &r->prefix };
    struct instruct_entry e = { .fate = INSTRUCT_KEPT };
    uint8_t counts[8];
    struct rng g;
    enum status st;

    if (l->opt->exclude && instruct_names_picture(&l->excluded, r))
        return instruct_filter(l, "excluded", at, err);
    l->scratch.size = 0;
    store_u32le(counts, r->turn_count);
    store_u32le(counts + 4, r->mask_count);
    st = buffer_append(&l->scratch, counts, sizeof counts, err);
    for (size_t i = 0; st == ST_OK && i < RECORD_PARTS; i++)
        st = put_part(&l->scratch, parts[i], err);
    if (st == ST_OK)
        st = spool_put(&l->spool, l->scratch.data, l->scratch.size, &e.offset, err);
    if (st != ST_OK)
        return st;
    instruct_draw(l, &g, "D11", (const char *)r->id.data, NULL);
    e.order = rng_order(&g);
    e.size = (uint32_t)l->scratch.size;
    return put_entry(l, &e, at, err);
}

enum status instruct_filter(struct instruct_list *l, const char *reason,
                            const struct instruct_origin *at, struct error *err)
{
    struct instruct_entry e = { .fate = INSTRUCT_FILTERED, .reason = reason };
    return put_entry(l, &e, at, err);
}

/* XXH3-64 of the raw record, read again from its file; 0 where its place is not known. */
static uint64_t raw_hash(const struct instruct_origin *at)
{
    struct buffer raw = { 0 };
    int fd = -1;
    uint64_t hash = 0;

    if (!json_file_is_packed(at->path) && at->length > 0 && at->length < (64u << 20) &&
        buffer_reserve(&raw, (size_t)at->length, NULL) == ST_OK &&
        file_open_read(&fd, at->path, NULL, NULL) == ST_OK &&
        file_pread(fd, at->path, raw.data, (size_t)at->length, at->offset, NULL) == ST_OK)
        hash = hash_xxh3_64(raw.data, (size_t)at->length);
    if (fd >= 0)
        file_close(&fd, at->path, NULL);
    buffer_clear(&raw);
    return hash;
}

enum status instruct_bad(struct instruct_list *l, const struct instruct_origin *at,
                         struct error *why, struct error *err)
{
    struct instruct_entry e = { .fate = INSTRUCT_BAD, .hash = raw_hash(at) };
    enum status st;

    l->scratch.size = 0;
    st = buffer_printf(&l->scratch, err, "%" PRIu64 "%c%s%c%s%c", at->number, 0,
                       why->code[0] ? why->code : error_cause_name(why->cause), 0, why->text, 0);
    if (st == ST_OK)
        st = spool_put(&l->spool, l->scratch.data, l->scratch.size, &e.offset, err);
    e.size = (uint32_t)l->scratch.size;
    error_clear(why);
    return st == ST_OK ? put_entry(l, &e, at, err) : st;
}

static enum status get_part(struct cursor *c, struct buffer *out, struct error *err)
{
    uint32_t size = 0;
    out->size = 0;
    if (!get_u32le(c, &size))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "work file of records: cut");
    const uint8_t *p = cursor_take(c, size);
    if (!p)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "work file of records: cut");
    return size ? buffer_append(out, p, size, err) : ST_OK;
}

enum status instruct_load(const struct instruct_list *l, const struct instruct_entry *e,
                          struct buffer *bytes, struct instruct_record *out, struct error *err)
{
    struct buffer *const parts[RECORD_PARTS] = { &out->key,   &out->id,    &out->pictures,
                                                 &out->turns, &out->masks, &out->source,
                                                 &out->prefix };
    enum status st = spool_get(&l->spool, bytes, e->offset, e->size, err);
    if (st != ST_OK || e->fate != INSTRUCT_KEPT)
        return st;
    struct cursor c = cursor_make(bytes->data, bytes->size, 0);
    get_u32le(&c, &out->turn_count);
    get_u32le(&c, &out->mask_count);
    for (size_t i = 0; st == ST_OK && i < RECORD_PARTS; i++)
        st = get_part(&c, parts[i], err);
    return st;
}
