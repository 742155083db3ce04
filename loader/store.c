/* loader/store.c: see store.h. Readers are kept in a table under one lock; a thread takes a reader out,
 * reads without the lock, and puts it back. The least recently used idle reader goes first. */
#include "loader/store.h"

#include <pthread.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/hash.h"
#include "shards/dataset.h"

struct source_data {
    struct dataset **datasets;
    uint64_t *begin; /* [n + 1] first sequence of each dataset in the source */
    size_t n;
};
struct open_reader {
    struct shard_reader *reader; /* NULL: free entry */
    uint32_t source, dataset, shard;
    uint64_t used; /* clock of last use */
    bool busy;
};
struct store {
    struct source_data *sources;
    size_t n_sources;
    const struct shard_facts *facts; /* of the first dataset; the others agree */
    uint32_t seq_len;
    pthread_mutex_t lock;
    bool lock_made;
    struct open_reader *readers;
    size_t cap;
    uint64_t clock;
    unsigned open;
};

void store_sequence_init(struct store_sequence *s)
{
    *s = (struct store_sequence){ 0 };
    arena_init(&s->arena, 0);
}

void store_sequence_clear(struct store_sequence *s)
{
    for (size_t i = 0; s->pictures && i < s->sample.image_count; i++)
        buffer_clear(&s->pictures[i].memory);
    mem_free(s->pictures);
    mem_free(s->twin);
    arena_clear(&s->arena);
    store_sequence_init(s);
}

/* ---- opening ---- */

static enum status check_facts(const struct shard_facts *a, const struct shard_facts *b,
                               const char *folder, struct error *err)
{
    if (memcmp(a->tokenizer_sha256, b->tokenizer_sha256, sizeof a->tokenizer_sha256) != 0 ||
        a->pieces != b->pieces || a->bos != b->bos || a->eos != b->eos)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: made with another tokenizer than the others",
                         folder);
    if (a->image_tokens != b->image_tokens)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "%s: %u tokens a picture, the other datasets have %u", folder,
                         (unsigned)b->image_tokens, (unsigned)a->image_tokens);
    return ST_OK;
}

static enum status open_source(struct store *s, struct source_data *d,
                               const struct loader_source *from, struct error *err)
{
    if (from->n_datasets == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "source %s has no dataset", from->name);
    d->datasets = mem_calloc(from->n_datasets, sizeof(struct dataset *));
    d->begin = mem_calloc(from->n_datasets + 1, sizeof *d->begin);
    if (!d->datasets || !d->begin)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: datasets");
    d->n = from->n_datasets;
    for (size_t i = 0; i < d->n; i++) {
        if (dataset_open_lazily(&d->datasets[i], from->datasets[i], err) != ST_OK)
            return ST_FAIL;
        const struct shard_facts *facts = &dataset_manifest(d->datasets[i])->facts;
        if (!s->facts)
            s->facts = facts;
        if (check_facts(s->facts, facts, from->datasets[i], err) != ST_OK)
            return ST_FAIL;
        s->seq_len = facts->seq_len > s->seq_len ? facts->seq_len : s->seq_len;
        if (!add_ok_u64(d->begin[i], dataset_sequences(d->datasets[i]), &d->begin[i + 1]))
            return error_set(err, ST_FAIL, CAUSE_LIMIT, "source %s: too many sequences",
                             from->name);
    }
    return ST_OK;
}

enum status store_open(struct store **out, const struct loader_source *sources, size_t n_sources,
                       unsigned open_shards, struct error *err)
{
    struct store *s = mem_calloc(1, sizeof *s);
    enum status st = ST_FAIL;

    *out = NULL;
    if (s) {
        s->lock_made = pthread_mutex_init(&s->lock, NULL) == 0;
        s->sources = mem_calloc(n_sources, sizeof *s->sources);
        s->cap = open_shards > 0 ? open_shards : 1;
        s->readers = mem_calloc(s->cap, sizeof *s->readers);
    }
    if (!s || !s->lock_made || !s->sources || !s->readers) {
        error_set(err, st, CAUSE_NOMEM, "out of memory: datasets");
        goto done;
    }
    s->n_sources = n_sources;
    for (size_t i = 0; i < n_sources; i++)
        if (open_source(s, &s->sources[i], &sources[i], err) != ST_OK)
            goto done;
    st = ST_OK;
    *out = s;
    s = NULL;
done:
    store_close(&s);
    return st;
}

void store_close(struct store **pointer)
{
    struct store *s = *pointer;

    *pointer = NULL;
    if (!s)
        return;
    for (size_t i = 0; s->readers && i < s->cap; i++)
        shard_reader_close(&s->readers[i].reader);
    for (size_t i = 0; s->sources && i < s->n_sources; i++) {
        for (size_t k = 0; s->sources[i].datasets && k < s->sources[i].n; k++)
            dataset_close(&s->sources[i].datasets[k]);
        mem_free(s->sources[i].datasets);
        mem_free(s->sources[i].begin);
    }
    if (s->lock_made)
        pthread_mutex_destroy(&s->lock);
    mem_free(s->sources);
    mem_free(s->readers);
    mem_free(s);
}

uint64_t store_sequences(const struct store *s, uint32_t source)
{
    const struct source_data *d = &s->sources[source];

    return d->begin[d->n];
}

struct label_ids store_ids(const struct store *s)
{
    struct label_ids ids = label_ids_of((int32_t)s->facts->pieces);

    ids.bos = s->facts->bos;
    ids.eos = s->facts->eos;
    return ids;
}

const struct shard_facts *store_facts(const struct store *s)
{
    return s->facts;
}

uint32_t store_seq_len(const struct store *s)
{
    return s->seq_len;
}

bool store_locate(const struct store *s, uint32_t source, uint64_t sequence, uint32_t *dataset,
                  uint32_t *shard, uint64_t *index)
{
    const struct source_data *d = &s->sources[source];
    size_t lo = 0, hi = d->n;

    if (sequence >= d->begin[d->n])
        return false;
    while (hi - lo > 1) {
        const size_t middle = lo + (hi - lo) / 2;
        if (sequence < d->begin[middle])
            hi = middle;
        else
            lo = middle;
    }
    *dataset = (uint32_t)lo;
    return dataset_locate(d->datasets[lo], sequence - d->begin[lo], shard, index);
}

const char *store_folder(const struct store *s, uint32_t source, uint32_t dataset)
{
    return dataset_folder(s->sources[source].datasets[dataset]);
}

enum status store_digest(const struct store *s, uint32_t source, uint32_t dataset, uint8_t out[32],
                         struct error *err)
{
    const struct manifest *m = dataset_manifest(s->sources[source].datasets[dataset]);
    struct hash_stream *h = NULL;

    if (hash_stream_open(&h, HASH_SHA256, err) != ST_OK)
        return ST_FAIL;
    hash_stream_update(h, m->facts.identity, sizeof m->facts.identity);
    for (size_t i = 0; i < m->shard_count; i++)
        hash_stream_update(h, m->shards[i].sha256, sizeof m->shards[i].sha256);
    hash_stream_digest(h, out);
    hash_stream_close(&h);
    return ST_OK;
}

/* ---- readers ---- */

/* Takes an idle reader of the shard, or an entry to open one in. Under the lock. */
static struct open_reader *find_entry(struct store *s, uint32_t source, uint32_t dataset,
                                      uint32_t shard)
{
    struct open_reader *oldest = NULL;

    for (size_t i = 0; i < s->cap; i++) {
        struct open_reader *r = &s->readers[i];
        if (r->busy)
            continue;
        if (r->reader && r->source == source && r->dataset == dataset && r->shard == shard)
            return r;
        if (!oldest || !r->reader || (oldest->reader && r->used < oldest->used))
            oldest = r;
    }
    return oldest;
}

/* *entry is NULL when all entries are busy: the reader is then the caller's alone. */
static enum status take_reader(struct store *s, uint32_t source, uint32_t dataset, uint32_t shard,
                               struct open_reader **entry, struct shard_reader **reader,
                               struct error *err)
{
    struct shard_reader *old = NULL;

    pthread_mutex_lock(&s->lock);
    struct open_reader *e = find_entry(s, source, dataset, shard);
    *reader = NULL;
    if (e) {
        const bool same =
            e->reader && e->source == source && e->dataset == dataset && e->shard == shard;
        if (same)
            *reader = e->reader;
        else
            old = e->reader;
        s->open -= old ? 1 : 0;
        *e = (struct open_reader){ *reader, source, dataset, shard, ++s->clock, true };
    }
    pthread_mutex_unlock(&s->lock);
    *entry = e;
    shard_reader_close(&old);
    if (*reader)
        return ST_OK;
    const enum status st = dataset_shard(s->sources[source].datasets[dataset], shard, reader, err);
    pthread_mutex_lock(&s->lock);
    if (e) {
        e->reader = *reader;
        e->busy = st == ST_OK;
        s->open += st == ST_OK ? 1 : 0;
    }
    pthread_mutex_unlock(&s->lock);
    return st;
}

static void return_reader(struct store *s, struct open_reader *entry, struct shard_reader *reader)
{
    if (!entry) {
        shard_reader_close(&reader);
        return;
    }
    pthread_mutex_lock(&s->lock);
    entry->busy = false;
    pthread_mutex_unlock(&s->lock);
}

unsigned store_open_shards(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    const unsigned n = s->open;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- reading ---- */

/* Bytes of every picture, each once: regions of one picture share it. */
static enum status read_pictures(struct store_sequence *out, struct shard_reader *r,
                                 struct error *err)
{
    const size_t n = out->sample.image_count;
    struct shard_picture picture;

    if (n == 0)
        return ST_OK;
    out->pictures = mem_calloc(n, sizeof *out->pictures);
    out->twin = mem_calloc(n, sizeof *out->twin);
    if (!out->pictures || !out->twin)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: pictures of a sequence");
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t number = out->sample.images[i].picture;
        uint32_t first = 0;
        while (out->sample.images[first].picture != number)
            first++;
        out->twin[i] = first;
        if (first < i)
            continue;
        struct store_picture *to = &out->pictures[i];
        if (shard_reader_picture(r, number, &to->memory, &picture, err) != ST_OK)
            return ST_FAIL;
        to->data = picture.data;
        to->size = picture.size;
        out->picture_bytes += picture.size;
        out->bytes += to->memory.cap;
    }
    return ST_OK;
}

enum status store_read(struct store *s, uint32_t source, uint64_t sequence,
                       struct store_sequence *out, struct store_timing *timing, struct error *err)
{
    struct open_reader *entry = NULL;
    struct shard_reader *reader = NULL;

    store_sequence_clear(out);
    if (!store_locate(s, source, sequence, &out->dataset, &out->shard, &out->index))
        return error_set(err, ST_FAIL, CAUSE_ARG, "source %u has no sequence %llu",
                         (unsigned)source, (unsigned long long)sequence);
    enum status st = take_reader(s, source, out->dataset, out->shard, &entry, &reader, err);
    if (st != ST_OK)
        goto done;
    const double begin = clock_seconds();
    st = shard_reader_sequence(reader, out->index, &out->sample, &out->arena, err);
    const double middle = clock_seconds();
    out->bytes = out->arena.used;
    if (st == ST_OK)
        st = read_pictures(out, reader, err);
    timing->inflate_seconds += middle - begin;
    timing->read_seconds += clock_seconds() - middle;
    return_reader(s, entry, reader);
done:
    if (st != ST_OK) {
        error_prefix(err, st, "%s", store_folder(s, source, out->dataset));
        store_sequence_clear(out);
    }
    return st;
}
