/* loader/loader.c: see loader.h. Opening, delivery in order, resume, and the ledger of who waited for
 * what. The workers' side is loader_work.c. */
#include "loader/loader.h"

#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "loader/loader_private.h"

enum { THREADS_MAX = 256, AHEAD_MAX = 4096 };

static void *memory_alloc(void *arg, size_t bytes)
{
    (void)arg;
    return mem_alloc_aligned(64, bytes);
}

static void memory_free(void *arg, void *p, size_t bytes)
{
    (void)arg;
    (void)bytes;
    mem_free(p);
}

void loader_options_init(struct loader_options *opt)
{
    *opt = (struct loader_options){ .block = 256,
                                    .batch_global = 1,
                                    .batch_micro = 1,
                                    .world = 1,
                                    .seq_len = 2048,
                                    .length_multiple = 64,
                                    .image_multiple = 8,
                                    .threads = cpu_count(),
                                    .stored_ahead = 16,
                                    .decoded_ahead = 2,
                                    .memory = (uint64_t)1 << 30,
                                    .open_shards = 64,
                                    .batch_memory = { memory_alloc, memory_free, NULL } };
    decode_options_init(&opt->decode);
}

const char *loader_work_name(enum loader_work w)
{
    static const char *const names[LOADER_WORK_COUNT] = { "read",   "inflate",  "decode",
                                                          "resize", "assemble", "idle" };

    return (unsigned)w < LOADER_WORK_COUNT ? names[w] : "unknown";
}

/* ---- opening ---- */

static enum status check_options(const struct loader_options *o, struct error *err)
{
    if (o->n_sources == 0 || !o->sources)
        return error_set(err, ST_FAIL, CAUSE_ARG, "no source of data");
    if (o->threads > THREADS_MAX)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%u loader threads, allowed %d", o->threads,
                         THREADS_MAX);
    if (o->decoded_ahead < 1 || o->stored_ahead < o->decoded_ahead || o->stored_ahead > AHEAD_MAX)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "batches ahead: %u decoded, %u stored; 1 <= decoded <= stored <= %d",
                         o->decoded_ahead, o->stored_ahead, AHEAD_MAX);
    if (o->length_multiple < 1 || o->image_multiple < 1 || o->seq_len < 2)
        return error_set(err, ST_FAIL, CAUSE_ARG, "multiples of length and pictures begin at 1");
    if (o->decode.side_a < 1)
        return error_set(err, ST_FAIL, CAUSE_ARG, "encoder pictures of 0 pixels");
    return ST_OK;
}

static enum status open_plan(struct loader *l, struct error *err)
{
    const struct loader_options *o = &l->opt;
    struct plan_source *sources = mem_calloc(o->n_sources, sizeof *sources);
    struct plan_options plan = { .seed = o->seed,
                                 .mixing = o->mixing,
                                 .order = o->order,
                                 .block = o->block,
                                 .batch_global = o->batch_global,
                                 .batch_micro = o->batch_micro,
                                 .sources = sources,
                                 .n_sources = o->n_sources };
    uint64_t end = 0;

    if (!sources)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plan");
    for (uint32_t i = 0; i < o->n_sources; i++)
        sources[i] = (struct plan_source){ .name = o->sources[i].name,
                                           .sequences = store_sequences(l->store, i),
                                           .weight = o->sources[i].weight };
    enum status st = plan_open(&l->plan, &plan, err);
    if (st == ST_OK)
        st = plan_share(l->plan, o->world, o->rank, &l->begin, &end, err);
    l->share = end - l->begin;
    mem_free(sources);
    return st;
}

static enum status make_slots(struct loader *l, struct error *err)
{
    const uint64_t b = l->opt.batch_micro;

    l->n_slots = (size_t)l->opt.stored_ahead + l->opt.decoded_ahead + 1;
    l->n_buffers = (size_t)l->opt.decoded_ahead + LOADER_HELD;
    l->slots = mem_calloc(l->n_slots, sizeof *l->slots);
    l->buffers = mem_calloc(l->n_buffers, sizeof *l->buffers);
    l->samples = mem_calloc(b, sizeof *l->samples);
    bool made = l->slots && l->buffers && l->samples;
    for (size_t i = 0; made && i < l->n_slots; i++) {
        l->slots[i].rows = mem_calloc(b, sizeof *l->slots[i].rows);
        made = l->slots[i].rows != NULL;
        for (uint64_t r = 0; made && r < b; r++)
            store_sequence_init(&l->slots[i].rows[r].stored);
    }
    if (!made)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: loader");
    return ST_OK;
}

static enum status start_workers(struct loader *l, struct error *err)
{
    l->made += pthread_mutex_init(&l->lock, NULL) == 0;
    l->made += l->made == 1 && pthread_cond_init(&l->work, NULL) == 0;
    l->made += l->made == 2 && pthread_cond_init(&l->done, NULL) == 0;
    if (l->made < 3)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: loader lock");
    if (l->opt.threads == 0)
        return ST_OK;
    enum status st = pool_open(&l->pool, l->opt.threads, l->opt.threads, err);
    for (unsigned i = 0; i < l->opt.threads && st == ST_OK; i++)
        st = pool_submit(l->pool, loader_worker, l, err);
    return st;
}

enum status loader_open(struct loader **out, const struct loader_options *opt, struct error *err)
{
    struct loader *l = NULL;
    enum status st = ST_FAIL;

    *out = NULL;
    if (check_options(opt, err) != ST_OK)
        return ST_FAIL;
    l = mem_calloc(1, sizeof *l);
    if (!l)
        return error_set(err, st, CAUSE_NOMEM, "out of memory: loader");
    l->opt = *opt;
    l->sources = mem_dup(opt->sources, opt->n_sources * sizeof *l->sources);
    if (!l->sources) {
        error_set(err, st, CAUSE_NOMEM, "out of memory: loader");
        goto done;
    }
    l->opt.sources = l->sources;
    st = store_open(&l->store, opt->sources, opt->n_sources, opt->open_shards, err);
    if (st != ST_OK)
        goto done;
    l->ids = store_ids(l->store);
    st = open_plan(l, err);
    if (st == ST_OK)
        st = make_slots(l, err);
    if (st == ST_OK)
        st = start_workers(l, err);
done:
    if (st != ST_OK)
        loader_close(&l);
    *out = l;
    return st;
}

void loader_close(struct loader **pointer)
{
    struct loader *l = *pointer;

    *pointer = NULL;
    if (!l)
        return;
    if (l->made == 3) {
        pthread_mutex_lock(&l->lock);
        l->closing = true;
        pthread_cond_broadcast(&l->work);
        pthread_mutex_unlock(&l->lock);
    }
    if (l->pool)
        pool_close(&l->pool, NULL);
    for (size_t i = 0; l->slots && i < l->n_slots; i++) {
        if (l->slots[i].rows)
            loader_slot_reset(l, &l->slots[i]);
        mem_free(l->slots[i].rows);
    }
    for (size_t i = 0; l->buffers && i < l->n_buffers; i++)
        loader_buffer_clear(l, &l->buffers[i]);
    if (l->made > 2)
        pthread_cond_destroy(&l->done);
    if (l->made > 1)
        pthread_cond_destroy(&l->work);
    if (l->made > 0)
        pthread_mutex_destroy(&l->lock);
    mem_free(l->slots);
    mem_free(l->buffers);
    mem_free(l->samples);
    plan_close(&l->plan);
    store_close(&l->store);
    mem_free(l->sources);
    mem_free(l);
}

/* ---- delivery ---- */

/* What the batch that is due lacks now. */
static enum loader_work lacking(const struct loader *l)
{
    const struct loader_slot *s = &l->slots[l->head % l->n_slots];

    if (l->tail == l->head || s->state == SLOT_EMPTY || s->state == SLOT_READING)
        return LOADER_READ;
    return s->state == SLOT_DECODING ? LOADER_DECODE : LOADER_ASSEMBLE;
}

/* Under the lock: until the slot that is due has ended, one way or the other. */
static double wait_for_head(struct loader *l)
{
    struct loader_slot *s = &l->slots[l->head % l->n_slots];
    double waited = 0.0;

    while (l->tail == l->head || s->in_work > 0 || (s->state != SLOT_READY && !s->failed)) {
        const enum loader_work what = lacking(l);
        const double begin = clock_seconds();
        const struct loader_item item =
            l->opt.threads == 0 ? loader_pick(l) : (struct loader_item){ .kind = ITEM_NONE };
        if (item.kind != ITEM_NONE) {
            pthread_mutex_unlock(&l->lock);
            loader_run(l, &item);
            pthread_mutex_lock(&l->lock);
        } else {
            pthread_cond_wait(&l->done, &l->lock);
        }
        const double took = clock_seconds() - begin;
        l->stats.wait_seconds[what] += took;
        waited += took;
    }
    return waited;
}

enum status loader_next(struct loader *l, const struct batch **out, struct error *err)
{
    enum status st = ST_OK;

    *out = NULL;
    pthread_mutex_lock(&l->lock);
    struct loader_slot *s = &l->slots[l->head % l->n_slots];
    if (l->held >= LOADER_HELD) {
        st = error_set(err, ST_FAIL, CAUSE_ARG, "loader: %d batches are held, release one",
                       LOADER_HELD);
        goto done;
    }
    const double waited = wait_for_head(l);
    if (s->failed) {
        if (err && err->cause == CAUSE_NONE)
            *err = s->err;
        st = ST_FAIL;
        goto done;
    }
    struct batch *b = &s->buffer->batch;
    b->wait_seconds = waited;
    l->stats.batches++;
    l->stats.sequences += (uint64_t)b->B;
    l->stats.pictures += (uint64_t)b->I;
    for (int64_t r = 0; r < b->B; r++)
        l->stats.tokens += (uint64_t)b->rows[r].length;
    l->held++;
    l->head++;
    loader_slot_reset(l, s); /* the buffer stays used until it is released */
    *out = b;
    pthread_cond_broadcast(&l->work);
done:
    pthread_mutex_unlock(&l->lock);
    return st;
}

void loader_release(struct loader *l, const struct batch *b)
{
    pthread_mutex_lock(&l->lock);
    for (size_t i = 0; b && i < l->n_buffers; i++)
        if (&l->buffers[i].batch == b && l->buffers[i].used && l->buffers[i].slot_n < l->head) {
            l->buffers[i].used = false;
            l->held--;
        }
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

uint64_t loader_tell(const struct loader *l, uint64_t *done)
{
    if (done)
        *done = l->head % l->share;
    return l->head / l->share;
}

enum status loader_seek(struct loader *l, uint64_t step, struct error *err)
{
    uint64_t n = 0, last = 0;

    if (!mul_ok_u64(step, l->share, &n) || !mul_ok_u64(step, l->opt.batch_global, &last))
        return error_set(err, ST_FAIL, CAUSE_ARG, "step %llu is out of reach",
                         (unsigned long long)step);
    pthread_mutex_lock(&l->lock);
    l->paused = true;
    while (l->in_work > 0)
        pthread_cond_wait(&l->done, &l->lock);
    for (size_t i = 0; i < l->n_slots; i++)
        loader_slot_reset(l, &l->slots[i]);
    for (size_t i = 0; i < l->n_buffers; i++)
        l->buffers[i].used = false;
    l->held = 0;
    l->head = l->tail = n;
    l->paused = false;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return ST_OK;
}

void loader_stats(struct loader *l, struct loader_stats *out)
{
    pthread_mutex_lock(&l->lock);
    *out = l->stats;
    pthread_mutex_unlock(&l->lock);
    out->open_shards = store_open_shards(l->store);
}

/* ---- identity ---- */

static enum status digest_hex(char out[65], const struct loader *l, uint32_t source,
                              uint32_t dataset, struct error *err)
{
    uint8_t digest[32];

    if (store_digest(l->store, source, dataset, digest, err) != ST_OK)
        return ST_FAIL;
    hash_hex(out, digest, sizeof digest);
    return ST_OK;
}

void loader_facts(const struct loader *l, struct loader_facts *out)
{
    const struct shard_facts *f = store_facts(l->store);

    out->pieces = (int32_t)f->pieces;
    out->image_tokens = f->image_tokens;
    out->seq_len = store_seq_len(l->store);
    memcpy(out->tokenizer_sha256, f->tokenizer_sha256, sizeof out->tokenizer_sha256);
}

enum status loader_identity(const struct loader *l, struct buffer *out, struct error *err)
{
    struct json_writer w;
    char hex[65];

    json_writer_init(&w, out);
    json_begin_array(&w);
    for (uint32_t i = 0; i < l->opt.n_sources; i++)
        for (uint32_t k = 0; k < l->sources[i].n_datasets; k++) {
            if (digest_hex(hex, l, i, k, err) != ST_OK)
                return ST_FAIL;
            json_begin_object(&w);
            json_key(&w, "source");
            json_string(&w, l->sources[i].name);
            json_key(&w, "dataset");
            json_string(&w, path_base(store_folder(l->store, i, k)));
            json_key(&w, "digest");
            json_string(&w, hex);
            json_end_object(&w);
        }
    json_end_array(&w);
    return json_writer_finish(&w, err);
}

static bool member_is(const struct json_value *v, const char *key, const char *text)
{
    const struct json_value *m = json_get(v, key);

    return m && m->type == JSON_T_STRING && strcmp(m->text, text) == 0;
}

enum status loader_check_identity(const struct loader *l, const void *json, size_t size,
                                  struct error *err)
{
    struct json_value *root = NULL;
    struct arena arena;
    enum status st = ST_FAIL;
    char hex[65];

    arena_init(&arena, 0);
    if (json_parse(&arena, &root, json, size, NULL, err) != ST_OK)
        goto done;
    const struct json_value *v = root->type == JSON_T_ARRAY ? root->child : NULL;
    for (uint32_t i = 0; i < l->opt.n_sources; i++)
        for (uint32_t k = 0; k < l->sources[i].n_datasets; k++) {
            if (digest_hex(hex, l, i, k, err) != ST_OK)
                goto done;
            if (!v || !member_is(v, "source", l->sources[i].name) || !member_is(v, "digest", hex)) {
                error_set(err, st, CAUSE_CHECKSUM,
                          "%s: source %s: not the dataset that the checkpoint was trained on",
                          store_folder(l->store, i, k), l->sources[i].name);
                goto done;
            }
            v = v->next;
        }
    if (v)
        error_set(err, st, CAUSE_CHECKSUM, "the checkpoint was trained on more datasets");
    else
        st = ST_OK;
done:
    arena_clear(&arena);
    return st;
}

enum status loader_place(const struct loader *l, uint64_t step, uint64_t i,
                         struct loader_place *out, struct error *err)
{
    const uint64_t b = l->opt.batch_micro, per_step = plan_micro_batches(l->plan);
    uint64_t micro = 0;

    if (i >= l->opt.batch_global || !mul_ok_u64(step, per_step, &micro))
        return error_set(err, ST_FAIL, CAUSE_ARG, "step %llu has no row %llu",
                         (unsigned long long)step, (unsigned long long)i);
    struct plan_sample *samples = mem_calloc(b, sizeof *samples);
    if (!samples)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: plan");
    plan_samples(l->plan, micro + i / b, samples);
    *out = (struct loader_place){ .sample = samples[i % b], .rank = i / b / l->share };
    mem_free(samples);
    if (!store_locate(l->store, out->sample.source, out->sample.sequence, &out->dataset,
                      &out->shard, &out->index))
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "plan names a sequence that is not there");
    out->folder = store_folder(l->store, out->sample.source, out->dataset);
    return ST_OK;
}

const char *loader_folder(const struct loader *l, uint32_t source, uint32_t dataset)
{
    return store_folder(l->store, source, dataset);
}
