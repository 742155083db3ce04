/* loader/loader_export.c: see loader_export.h. Counts of users are atomic: Python may drop a tensor on
 * any thread. */
#include "loader/loader_export.h"

#include <stdatomic.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "loader/loader.h"

enum { DL_CPU = 1, DL_INT = 0, DL_UINT = 1, DIMS_MAX = 4 };

struct loader_export {
    struct loader *loader;
    atomic_uint users; /* the handle and each batch */
    struct arena arena;
    struct buffer text;
};
struct loader_export_batch {
    struct loader_export *from;
    const struct batch *batch;
    atomic_uint users; /* the handle and each tensor */
    struct buffer text;
};
struct exported_tensor {
    struct dl_managed_tensor managed; /* first: the deleter gets its address */
    int64_t shape[DIMS_MAX];
    struct loader_export_batch *batch;
};

/* ---- options ---- */

static bool is_key(const struct json_value *v, const char *name)
{
    return v->key_size == strlen(name) && memcmp(v->key, name, v->key_size) == 0;
}

static enum status refuse(const struct json_value *v, const char *what, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_ARG, "loader options: %.*s: %s", (int)v->key_size, v->key,
                     what);
}

struct number_field {
    const char *name;
    void *at;
    size_t size;
    int64_t low, high;
};

static enum status set_number(const struct number_field *f, const struct json_value *v,
                              struct error *err)
{
    int64_t n = 0;

    if (!json_value_int64(v, &n) || n < f->low || n > f->high)
        return refuse(v, "not a whole number in range", err);
    if (f->size == sizeof(uint64_t))
        memcpy(f->at, &n, sizeof n);
    else
        memcpy(f->at, &(uint32_t){ (uint32_t)n }, sizeof(uint32_t));
    return ST_OK;
}

/* ST_END: `v` is no number option. */
static enum status read_number(struct loader_options *o, const struct json_value *v,
                               struct error *err)
{
    const int64_t big = INT64_MAX, some = 1000000;
    const struct number_field fields[] = {
        { "seed", &o->seed, sizeof o->seed, 0, big },
        { "block", &o->block, sizeof o->block, 1, big },
        { "batch_global", &o->batch_global, sizeof o->batch_global, 1, some },
        { "batch_micro", &o->batch_micro, sizeof o->batch_micro, 1, some },
        { "world", &o->world, sizeof o->world, 1, some },
        { "rank", &o->rank, sizeof o->rank, 0, some },
        { "seq_len", &o->seq_len, sizeof o->seq_len, 2, 65535 },
        { "length_multiple", &o->length_multiple, sizeof o->length_multiple, 1, 65536 },
        { "image_multiple", &o->image_multiple, sizeof o->image_multiple, 1, 65536 },
        { "memory", &o->memory, sizeof o->memory, 0, big },
        { "image_side", &o->decode.side_a, sizeof o->decode.side_a, 1, 16384 },
        { "decode_side", &o->decode.side_b, sizeof o->decode.side_b, 0, 16384 },
        { "threads", &o->threads, sizeof o->threads, 0, 256 },
        { "stored_ahead", &o->stored_ahead, sizeof o->stored_ahead, 1, 4096 },
        { "decoded_ahead", &o->decoded_ahead, sizeof o->decoded_ahead, 1, 4096 },
        { "open_shards", &o->open_shards, sizeof o->open_shards, 1, 65536 },
    };

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (is_key(v, fields[i].name))
            return set_number(&fields[i], v, err);
    return ST_END;
}

static enum status read_switch(struct loader_options *o, const struct json_value *v,
                               struct error *err)
{
    const struct {
        const char *name;
        bool *at;
    } fields[] = { { "flip", &o->flip },
                   { "masks", &o->masks },
                   { "needs_image", &o->needs_image },
                   { "skip_damaged", &o->skip_damaged } };

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (!is_key(v, fields[i].name))
            continue;
        if (v->type != JSON_T_BOOL)
            return refuse(v, "not true or false", err);
        *fields[i].at = v->boolean;
        return ST_OK;
    }
    return ST_END;
}

static enum status read_choice(struct loader_options *o, const struct json_value *v,
                               struct error *err)
{
    static const struct {
        const char *name, *first, *second;
    } choices[] = { { "geometry", "crop", "squash" },
                    { "mode", "exact", "fast" },
                    { "mixing", "stratified", "iid" },
                    { "order", "permutation", "block" } };

    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        if (!is_key(v, choices[i].name))
            continue;
        const bool second = v->type == JSON_T_STRING && strcmp(v->text, choices[i].second) == 0;
        if (!second && (v->type != JSON_T_STRING || strcmp(v->text, choices[i].first) != 0))
            return refuse(v, "not one of its two values", err);
        if (i == 0)
            o->decode.geometry = second ? RESAMPLE_SQUASH : RESAMPLE_CROP;
        else if (i == 1)
            o->decode.mode = second ? DECODE_FAST : DECODE_EXACT;
        else if (i == 2)
            o->mixing = second ? PLAN_IID : PLAN_STRATIFIED;
        else
            o->order = second ? PLAN_BLOCK : PLAN_PERMUTATION;
        return ST_OK;
    }
    return ST_END;
}

static enum status read_source(struct loader_source *s, struct arena *arena,
                               const struct json_value *v, struct error *err)
{
    const struct json_value *name = json_get(v, "name"), *list = json_get(v, "datasets");
    const struct json_value *weight = json_get(v, "weight");
    int64_t n = 1;
    size_t i = 0;

    if (!name || name->type != JSON_T_STRING || !list || list->type != JSON_T_ARRAY ||
        list->count == 0 || (weight && (!json_value_int64(weight, &n) || n < 1)))
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "loader options: sources: each needs name, datasets, weight from 1");
    const char **folders = arena_alloc(arena, list->count, sizeof(const char *));
    if (!folders)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: loader options");
    for (const struct json_value *d = list->child; d; d = d->next) {
        if (d->type != JSON_T_STRING)
            return error_set(err, ST_FAIL, CAUSE_ARG, "loader options: datasets are folder names");
        folders[i++] = d->text;
    }
    *s = (struct loader_source){ name->text, folders, i, (uint64_t)n };
    return ST_OK;
}

static enum status read_sources(struct loader_options *o, struct arena *arena,
                                const struct json_value *v, struct error *err)
{
    size_t n = 0;

    if (v->type != JSON_T_ARRAY || v->count == 0)
        return refuse(v, "not a list of sources", err);
    struct loader_source *sources = arena_alloc(arena, v->count, sizeof *sources);
    if (!sources)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: loader options");
    for (const struct json_value *s = v->child; s; s = s->next)
        if (read_source(&sources[n++], arena, s, err) != ST_OK)
            return ST_FAIL;
    o->sources = sources;
    o->n_sources = n;
    return ST_OK;
}

static enum status read_options(struct loader_options *o, struct arena *arena, const char *json,
                                size_t size, struct error *err)
{
    struct json_value *root = NULL;

    loader_options_init(o);
    if (json_parse(arena, &root, json, size, NULL, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "loader options");
    if (root->type != JSON_T_OBJECT)
        return error_set(err, ST_FAIL, CAUSE_ARG, "loader options: not an object");
    for (const struct json_value *v = root->child; v; v = v->next) {
        enum status st = is_key(v, "sources") ? read_sources(o, arena, v, err) : ST_END;
        if (st == ST_END)
            st = read_number(o, v, err);
        if (st == ST_END)
            st = read_switch(o, v, err);
        if (st == ST_END)
            st = read_choice(o, v, err);
        if (st == ST_END)
            return refuse(v, "no such option", err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* ---- the loader ---- */

enum status loader_export_open(struct loader_export **out, const char *json, size_t size,
                               struct error *err)
{
    struct loader_export *x = mem_calloc(1, sizeof *x);
    struct loader_options opt;

    *out = NULL;
    if (!x)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: loader");
    arena_init(&x->arena, 0);
    atomic_init(&x->users, 1);
    enum status st = read_options(&opt, &x->arena, json, size, err);
    if (st == ST_OK)
        st = loader_open(&x->loader, &opt, err);
    if (st != ST_OK)
        loader_export_close(&x);
    *out = x;
    return st;
}

static void drop_loader(struct loader_export *x)
{
    if (atomic_fetch_sub(&x->users, 1) > 1)
        return;
    loader_close(&x->loader);
    arena_clear(&x->arena);
    buffer_clear(&x->text);
    mem_free(x);
}

void loader_export_close(struct loader_export **x)
{
    if (*x)
        drop_loader(*x);
    *x = NULL;
}

enum status loader_export_next(struct loader_export *x, struct loader_export_batch **out,
                               struct error *err)
{
    struct loader_export_batch *b = mem_calloc(1, sizeof *b);

    *out = NULL;
    if (!b)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: batch");
    const enum status st = loader_next(x->loader, &b->batch, err);
    if (st != ST_OK) {
        mem_free(b);
        return st;
    }
    b->from = x;
    atomic_init(&b->users, 1);
    atomic_fetch_add(&x->users, 1);
    *out = b;
    return ST_OK;
}

enum status loader_export_seek(struct loader_export *x, uint64_t step, struct error *err)
{
    if (atomic_load(&x->users) > 1)
        return error_set(err, ST_FAIL, CAUSE_ARG, "loader: seek while batches are in use");
    return loader_seek(x->loader, step, err);
}

uint64_t loader_export_tell(const struct loader_export *x)
{
    return loader_tell(x->loader, NULL);
}

const char *loader_export_stats(struct loader_export *x)
{
    struct loader_stats s;
    struct json_writer w;

    loader_stats(x->loader, &s);
    x->text.size = 0;
    json_writer_init(&w, &x->text);
    json_begin_object(&w);
    for (int i = 0; i < 2; i++) {
        json_key(&w, i == 0 ? "worker_seconds" : "wait_seconds");
        json_begin_object(&w);
        for (int k = 0; k < LOADER_WORK_COUNT; k++) {
            json_key(&w, loader_work_name((enum loader_work)k));
            json_number(&w, i == 0 ? s.worker_seconds[k] : s.wait_seconds[k]);
        }
        json_end_object(&w);
    }
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = { { "batches", s.batches },           { "sequences", s.sequences },
                   { "pictures", s.pictures },         { "tokens", s.tokens },
                   { "stored_bytes", s.stored_bytes }, { "substituted", s.substituted },
                   { "open_shards", s.open_shards },   { "peak_bytes", s.peak_bytes } };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        json_key(&w, counts[i].name);
        json_uint(&w, counts[i].value);
    }
    json_end_object(&w);
    if (json_writer_finish(&w, NULL) != ST_OK || buffer_append(&x->text, "", 1, NULL) != ST_OK)
        return NULL;
    return (const char *)x->text.data;
}

/* ---- batches ---- */

static void drop_batch(struct loader_export_batch *b)
{
    if (atomic_fetch_sub(&b->users, 1) > 1)
        return;
    loader_release(b->from->loader, b->batch);
    drop_loader(b->from);
    buffer_clear(&b->text);
    mem_free(b);
}

void loader_export_release(struct loader_export_batch **b)
{
    if (*b)
        drop_batch(*b);
    *b = NULL;
}

static void delete_tensor(struct dl_managed_tensor *self)
{
    struct exported_tensor *t = self->context;

    drop_batch(t->batch);
    mem_free(t);
}

struct dl_managed_tensor *loader_export_tensor(struct loader_export_batch *b, const char *name)
{
    const struct batch *v = b->batch;
    const struct {
        const char *name;
        void *data;
        uint8_t code, bits;
        int32_t ndim;
        int64_t shape[DIMS_MAX];
    } tensors[] = {
        { "text_ids", v->text_ids, DL_INT, 32, 2, { v->B, v->L } },
        { "attention_mask", v->attention_mask, DL_INT, 32, 2, { v->B, v->L } },
        { "targets", v->targets, DL_INT, 32, 2, { v->B, v->L - 1 } },
        { "num_image_per_seq", v->num_image_per_seq, DL_INT, 32, 1, { v->B } },
        { "nearest_bos_idxs", v->nearest_bos_idxs, DL_INT, 32, 1, { v->I_padded } },
        { "prompt_offset", v->prompt_offset, DL_INT, 32, 1, { v->B } },
        { "gt_text_ids", v->gt_text_ids, DL_INT, 32, 2, { v->B, v->L } },
        { "image", v->image, DL_UINT, 8, 4, { v->I_padded, 3, v->R, v->R } },
        { "image_dec", v->image_dec, DL_UINT, 8, 4, { v->I_padded, 3, v->Rd, v->Rd } },
        { "mask", v->mask, DL_UINT, 8, 3, { v->I_padded, v->R, v->R } },
    };

    for (size_t i = 0; i < sizeof tensors / sizeof tensors[0]; i++) {
        if (strcmp(tensors[i].name, name) != 0 || !tensors[i].data)
            continue;
        struct exported_tensor *t = mem_calloc(1, sizeof *t);
        if (!t)
            return NULL;
        memcpy(t->shape, tensors[i].shape, sizeof t->shape);
        t->batch = b;
        t->managed = (struct dl_managed_tensor){ .tensor = { .data = tensors[i].data,
                                                             .device_type = DL_CPU,
                                                             .ndim = tensors[i].ndim,
                                                             .type_code = tensors[i].code,
                                                             .type_bits = tensors[i].bits,
                                                             .type_lanes = 1,
                                                             .shape = t->shape },
                                                 .context = t,
                                                 .deleter = delete_tensor };
        atomic_fetch_add(&b->users, 1);
        return &t->managed;
    }
    return NULL;
}

static void describe_rows(struct json_writer *w, const struct batch *v)
{
    json_key(w, "rows");
    json_begin_array(w);
    for (int64_t r = 0; r < v->B; r++) {
        const struct batch_row *row = &v->rows[r];
        const struct {
            const char *name;
            uint64_t value;
        } fields[] = { { "sequence", row->sequence }, { "taken", row->taken },
                       { "epoch", row->epoch },       { "position", row->position },
                       { "dataset", row->dataset },   { "shard", row->shard },
                       { "index", row->index },       { "record_key", row->record_key } };
        json_begin_object(w);
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
            json_key(w, fields[i].name);
            json_uint(w, fields[i].value);
        }
        json_key(w, "length");
        json_int(w, row->length);
        json_end_object(w);
    }
    json_end_array(w);
}

static void describe_images(struct json_writer *w, const struct batch *v)
{
    json_key(w, "images");
    json_begin_array(w);
    for (int64_t i = 0; i < v->I; i++) {
        const struct batch_image *image = &v->images[i];
        json_begin_object(w);
        json_key(w, "row");
        json_int(w, image->row);
        json_key(w, "slot");
        json_int(w, image->slot);
        json_key(w, "soi");
        json_int(w, image->soi);
        json_key(w, "context_length");
        json_int(w, image->context_length);
        json_key(w, "loss");
        json_bool(w, image->loss);
        json_key(w, "previous");
        json_bool(w, image->previous);
        json_end_object(w);
    }
    json_end_array(w);
}

const char *loader_export_describe(struct loader_export_batch *b)
{
    const struct batch *v = b->batch;
    struct json_writer w;

    b->text.size = 0;
    json_writer_init(&w, &b->text);
    json_begin_object(&w);
    json_key(&w, "step");
    json_uint(&w, v->step);
    json_key(&w, "micro_batch");
    json_uint(&w, v->micro_batch);
    json_key(&w, "source");
    json_uint(&w, v->source);
    json_key(&w, "wait_seconds");
    json_number(&w, v->wait_seconds);
    describe_rows(&w, v);
    describe_images(&w, v);
    json_end_object(&w);
    if (json_writer_finish(&w, NULL) != ST_OK || buffer_append(&b->text, "", 1, NULL) != ST_OK)
        return NULL;
    return (const char *)b->text.data;
}
