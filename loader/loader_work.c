/* loader/loader_work.c: what workers do, and in which order: the most urgent piece first, so that all of
 * them help the batch that is due. One huge picture holds up its own batch only. */
#include <assert.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "loader/loader_private.h"

enum { SUBSTITUTES_MAX = 1000 };

uint64_t loader_micro_batch(const struct loader *l, uint64_t n)
{
    return n / l->share * plan_micro_batches(l->plan) + l->begin + n % l->share;
}

void loader_slot_reset(struct loader *l, struct loader_slot *s)
{
    for (uint64_t r = 0; r < l->opt.batch_micro; r++)
        store_sequence_clear(&s->rows[r].stored);
    l->bytes -= s->bytes;
    s->bytes = 0;
    s->state = SLOT_EMPTY;
    s->buffer = NULL;
    s->failed = false;
    error_clear(&s->err);
}

/* ---- picking ---- */

static struct loader_buffer *free_buffer(struct loader *l)
{
    for (size_t i = 0; i < l->n_buffers; i++)
        if (!l->buffers[i].used)
            return &l->buffers[i];
    return NULL;
}

static struct loader_item pick_row(struct loader_slot *s, uint64_t rows)
{
    for (uint64_t r = 0; r < rows; r++)
        if (s->rows[r].state == ROW_WANTED) {
            s->rows[r].state = ROW_BUSY;
            return (struct loader_item){ .kind = ITEM_READ, .slot = s, .row = r };
        }
    return (struct loader_item){ .kind = ITEM_NONE };
}

static struct loader_item pick_image(struct loader_slot *s)
{
    const struct batch *b = &s->buffer->batch;

    while (s->next_image < b->I && !loader_image_is_first(s, s->next_image))
        s->next_image++;
    if (s->next_image >= b->I)
        return (struct loader_item){ .kind = ITEM_NONE };
    return (struct loader_item){ .kind = ITEM_DECODE, .slot = s, .image = s->next_image++ };
}

/* Buffers go to slots in order, or a late batch could starve the one that is due; beyond the head they
 * also need room. */
static bool may_bind(const struct loader *l, const struct loader_slot *s)
{
    const struct loader_slot *before = &l->slots[(s->n + l->n_slots - 1) % l->n_slots];

    if (s->n == l->head)
        return true;
    return s->n < l->head + l->opt.decoded_ahead && before->state >= SLOT_BINDING &&
           l->bytes <= l->opt.memory;
}

static struct loader_item pick_in(struct loader *l, struct loader_slot *s)
{
    struct loader_item item = { .kind = ITEM_NONE };

    if (s->failed)
        return item;
    if (s->state == SLOT_READING)
        item = pick_row(s, l->opt.batch_micro);
    if (s->state == SLOT_DECODING)
        item = pick_image(s);
    if (s->state == SLOT_STORED && may_bind(l, s)) {
        struct loader_buffer *b = free_buffer(l);
        if (b) {
            b->used = true;
            b->slot_n = s->n;
            s->buffer = b;
            s->state = SLOT_BINDING;
            item = (struct loader_item){ .kind = ITEM_BIND, .slot = s };
        }
    }
    return item;
}

/* Begins the next batch where ring and memory have room; the one that is due always. */
static struct loader_item begin_slot(struct loader *l)
{
    struct loader_slot *s = &l->slots[l->tail % l->n_slots];
    const bool due = l->tail == l->head;

    if (l->tail - l->head >= l->n_slots || s->state != SLOT_EMPTY)
        return (struct loader_item){ .kind = ITEM_NONE };
    if (!due && l->bytes + l->largest_stored > l->opt.memory)
        return (struct loader_item){ .kind = ITEM_NONE };
    s->n = l->tail++;
    s->state = SLOT_READING;
    plan_samples(l->plan, loader_micro_batch(l, s->n), l->samples);
    for (uint64_t r = 0; r < l->opt.batch_micro; r++) {
        s->rows[r].sample = l->samples[r];
        s->rows[r].taken = l->samples[r].sequence;
        s->rows[r].tries = 0;
        s->rows[r].bad = false;
        s->rows[r].state = ROW_WANTED;
    }
    return pick_row(s, l->opt.batch_micro);
}

struct loader_item loader_pick(struct loader *l)
{
    struct loader_item item = { .kind = ITEM_NONE };

    if (l->closing || l->paused)
        return item;
    for (uint64_t n = l->head; n < l->tail && item.kind == ITEM_NONE; n++)
        item = pick_in(l, &l->slots[n % l->n_slots]);
    if (item.kind == ITEM_NONE)
        item = begin_slot(l);
    if (item.kind != ITEM_NONE) {
        item.slot->in_work++;
        l->in_work++;
    }
    return item;
}

/* ---- running ---- */

static bool is_damage(const struct error *err)
{
    return err->cause == CAUSE_CHECKSUM || err->cause == CAUSE_FORMAT || err->cause == CAUSE_LIMIT;
}

/* The next sequence of the source stands in for a damaged one: a pure function of the data. */
static bool substitute(const struct loader *l, struct loader_row *row, const struct error *err)
{
    const uint64_t n = store_sequences(l->store, row->sample.source);

    if (!l->opt.skip_damaged || !is_damage(err) || row->tries + 1 >= n ||
        row->tries >= SUBSTITUTES_MAX)
        return false;
    row->taken = (row->taken + 1) % n;
    row->tries++;
    return true;
}

static enum status run_read(struct loader *l, struct loader_row *row, struct store_timing *timing,
                            uint64_t *substituted, struct error *err)
{
    enum status st = ST_FAIL;

    do {
        error_clear(err);
        st = store_read(l->store, row->sample.source, row->taken, &row->stored, timing, err);
    } while (st != ST_OK && substitute(l, row, err) && ++*substituted);
    if (st == ST_OK && row->stored.sample.token_count > (size_t)l->opt.seq_len)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "%s: sequence of %zu tokens, allowed %lld",
                       store_folder(l->store, row->sample.source, row->stored.dataset),
                       row->stored.sample.token_count, (long long)l->opt.seq_len);
    return st;
}

enum status loader_resolve(struct loader *l, struct loader_place *place, struct error *err)
{
    struct loader_row row = { .sample = place->sample, .taken = place->sample.sequence };
    struct store_timing timing = { 0 };
    uint64_t substituted = 0;

    store_sequence_init(&row.stored);
    const enum status st = run_read(l, &row, &timing, &substituted, err);
    if (st == ST_OK) {
        place->dataset = row.stored.dataset;
        place->shard = row.stored.shard;
        place->index = row.stored.index;
        place->folder = store_folder(l->store, place->sample.source, place->dataset);
        place->substituted = substituted > 0;
    }
    store_sequence_clear(&row.stored);
    return st;
}

static void fail_slot(struct loader_slot *s, const struct error *err)
{
    if (s->failed)
        return;
    s->failed = true;
    s->err = *err;
}

/* Under the lock from here on. */
static void book_read(struct loader *l, struct loader_slot *s, struct loader_row *row)
{
    row->state = ROW_DONE;
    row->bad = false;
    s->bytes += row->stored.bytes;
    l->bytes += row->stored.bytes;
    l->stats.stored_bytes += row->stored.picture_bytes;
    for (uint64_t r = 0; r < l->opt.batch_micro; r++)
        if (s->rows[r].state != ROW_DONE)
            return;
    s->state = SLOT_STORED;
    l->largest_stored = s->bytes > l->largest_stored ? s->bytes : l->largest_stored;
}

/* A picture that passed its checksum but does not decode: the whole row is read anew. */
static bool reread_bad_rows(struct loader *l, struct loader_slot *s)
{
    bool again = false;

    for (uint64_t r = 0; r < l->opt.batch_micro; r++) {
        struct loader_row *row = &s->rows[r];
        if (!row->bad)
            continue;
        again = true;
        row->state = ROW_WANTED;
        s->bytes -= row->stored.bytes;
        l->bytes -= row->stored.bytes;
        l->stats.substituted++;
    }
    if (again) {
        s->buffer->used = false;
        s->buffer = NULL;
        s->state = SLOT_READING;
    }
    return again;
}

/* After a layout or a picture: is the batch complete? */
static void book_decoded(struct loader *l, struct loader_slot *s)
{
    if (s->failed || s->in_work > 0)
        return;
    struct loader_item rest = pick_image(s);
    if (rest.kind != ITEM_NONE) {
        s->next_image = rest.image; /* not taken after all */
        return;
    }
    if (reread_bad_rows(l, s))
        return;
    s->state = SLOT_READY;
    for (uint64_t r = 0; r < l->opt.batch_micro; r++)
        store_sequence_clear(&s->rows[r].stored);
    l->bytes -= s->bytes;
    s->bytes = 0;
}

static void book_times(struct loader *l, const struct store_timing *read,
                       const struct decode_timing *decode, double assemble)
{
    double *t = l->stats.worker_seconds;

    t[LOADER_READ] += read->read_seconds;
    t[LOADER_INFLATE] += read->inflate_seconds;
    t[LOADER_DECODE] += decode->decode_seconds;
    t[LOADER_RESIZE] += decode->resize_seconds;
    t[LOADER_ASSEMBLE] += assemble;
}

void loader_run(struct loader *l, const struct loader_item *item)
{
    struct loader_slot *s = item->slot;
    struct loader_row *row = &s->rows[item->kind == ITEM_READ ? item->row : 0];
    const uint64_t before = s->buffer ? s->buffer->bytes : 0;
    struct store_timing read = { 0 };
    struct decode_timing decode = { 0 };
    struct error err = { 0 };
    uint64_t substituted = 0;
    double assemble = 0.0;
    enum status st = ST_OK;

    if (item->kind == ITEM_READ) {
        st = run_read(l, row, &read, &substituted, &err);
    } else if (item->kind == ITEM_BIND) {
        const double begin = clock_seconds();
        st = loader_bind(l, s, s->buffer, &err);
        assemble = clock_seconds() - begin;
    } else {
        assert(s->buffer); /* bound before its pictures are picked */
        row = &s->rows[s->buffer->batch.images[item->image].row];
        st = loader_decode_image(l, s, item->image, &decode, &assemble, &err);
    }

    pthread_mutex_lock(&l->lock);
    s->in_work--;
    l->in_work--;
    l->stats.substituted += substituted;
    book_times(l, &read, &decode, assemble);
    if (st != ST_OK && item->kind == ITEM_DECODE && (row->bad || substitute(l, row, &err)))
        row->bad = true; /* its other pictures may fail, too: one substitution a row */
    else if (st != ST_OK)
        fail_slot(s, &err);
    else if (item->kind == ITEM_READ)
        book_read(l, s, row);
    if (item->kind == ITEM_BIND) {
        l->bytes += s->buffer->bytes - before;
        s->state = SLOT_DECODING;
        s->next_image = 0;
    }
    if (item->kind != ITEM_READ)
        book_decoded(l, s);
    if (l->bytes > l->stats.peak_bytes)
        l->stats.peak_bytes = l->bytes;
    pthread_cond_broadcast(&l->work);
    pthread_cond_broadcast(&l->done);
    pthread_mutex_unlock(&l->lock);
}

enum status loader_worker(void *arg, bool cancelled, struct error *err)
{
    struct loader *l = arg;

    (void)err;
    pthread_mutex_lock(&l->lock);
    while (!cancelled && !l->closing) {
        const struct loader_item item = loader_pick(l);
        if (item.kind != ITEM_NONE) {
            pthread_mutex_unlock(&l->lock);
            loader_run(l, &item);
            pthread_mutex_lock(&l->lock);
            continue;
        }
        const double begin = clock_seconds();
        pthread_cond_wait(&l->work, &l->lock);
        l->stats.worker_seconds[LOADER_IDLE] += clock_seconds() - begin;
    }
    pthread_mutex_unlock(&l->lock);
    return ST_OK;
}
