/* ingest/scan.c: see scan.h. */
#include "ingest/scan.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/stop.h"
#include "ingest/piece.h"
#include "ingest/source.h"
#include "shards/dictionary.h"
#include "shards/sample.h"

/* One input's share, filled by one job. */
struct share {
    const struct ingest_options *opt;
    const struct input *input;
    uint32_t number;
    uint64_t records;
    struct buffer seen;  /* struct schedule_identity */
    struct buffer names; /* FILE of every member, NUL-terminated */
    struct scan_pictures pictures;
    struct progress *progress;
};

static enum status open_source(struct source **s, const struct ingest_options *opt,
                               const struct input *in, struct error *err)
{
    return opt->kind == INGEST_MMC4 ? source_open_mmc4(s, in->path, in->file, &opt->limits, err)
                                    : source_open_pairs(s, in->path, in->file, &opt->limits, err);
}

/* ---- documents ---- */

static enum status add_name(struct share *s, const struct document *d, struct error *err)
{
    const size_t n = d->file.size;
    const uint8_t *last = n + 1 <= s->names.size ? s->names.data + s->names.size - n - 1 : NULL;
    if (last && memcmp(last, d->file.data, n) == 0 && (last == s->names.data || last[-1] == 0))
        return ST_OK;
    const enum status st = buffer_append(&s->names, d->file.data, n, err);
    return st == ST_OK ? buffer_append(&s->names, "", 1, err) : st;
}

static enum status look_up(struct share *s, const struct document *d, struct error *err)
{
    for (size_t i = 0; i < d->image_count; i++) {
        const struct document_image *m = &d->images[i];
        struct picture_place place;
        if (!m->usable || !m->has_similarity || !(m->similarity >= s->opt->filter.min_similarity))
            continue;
        const enum status st =
            picture_index_find(s->pictures.index, &place, &m->name, &m->raw_url, err);
        if (st == ST_FAIL)
            return st;
        s->pictures.missing += st == ST_END;
        s->pictures.found += st == ST_OK;
        s->pictures.bytes += st == ST_OK ? place.size : 0;
    }
    return ST_OK;
}

static enum status add_document(struct share *s, const struct document *d, struct error *err)
{
    struct schedule_identity seen = { .at = { s->number, s->records } };
    enum status st = filter_identity(seen.id, d, err);
    if (st == ST_OK)
        st = buffer_append(&s->seen, &seen, sizeof seen, err);
    if (st == ST_OK)
        st = add_name(s, d, err);
    return st == ST_OK && s->pictures.index ? look_up(s, d, err) : st;
}

static enum status scan_input(void *arg, bool cancelled, struct error *err)
{
    struct share *s = arg;
    struct source *source = NULL;
    if (cancelled)
        return ST_OK;
    enum status st = open_source(&source, s->opt, s->input, err);
    while (st == ST_OK) {
        const struct document *d = NULL;
        struct source_damage damage;
        struct error why = { 0 };
        st = source_next(source, &d, &damage, &why);
        if (st == ST_OK)
            st = add_document(s, d, err);
        else if (st == ST_SKIP)
            st = ST_OK; /* the unit will say what is wrong with it */
        else if (st == ST_FAIL && err)
            *err = why;
        s->records += st == ST_OK;
        if (st == ST_OK)
            st = stop_check(err);
    }
    source_close(&source);
    progress_add(s->progress, s->input->size);
    return st == ST_END ? ST_OK : st;
}

static enum status check_names(const struct share *shares, size_t n, struct error *err)
{
    struct hash_map *map = NULL;
    enum status st = hash_map_open(&map, n, err);
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        const char *name = (const char *)shares[i].names.data;
        for (size_t at = 0; at < shares[i].names.size && st == ST_OK;) {
            const size_t size = strlen(name + at);
            uint64_t first = i;
            st = hash_map_insert(map, name + at, size, &first, err);
            if (st == ST_SKIP)
                st = error_set(err, ST_FAIL, CAUSE_FORMAT,
                               "%s and %s: both give records the name \"%s\"; make two datasets, "
                               "a recipe takes many",
                               shares[first].input->path, shares[i].input->path, name + at);
            at += size + 1;
        }
    }
    hash_map_close(&map);
    return st;
}

static enum status mark_duplicates(struct schedule *p, const struct share *shares,
                                   struct error *err)
{
    struct buffer all = { 0 };
    enum status st = ST_OK;
    for (size_t i = 0; i < p->inputs.count && st == ST_OK; i++)
        st = buffer_append(&all, shares[i].seen.data, shares[i].seen.size, err);
    if (st == ST_OK)
        st = schedule_mark(p, (void *)all.data, all.size / sizeof(struct schedule_identity), err);
    buffer_clear(&all);
    return st;
}

static enum status collect(struct schedule *p, const struct ingest_options *opt,
                           struct share *shares, struct scan_pictures *pictures, struct error *err)
{
    uint64_t *records = mem_calloc(p->inputs.count, sizeof *records);
    if (!records)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "scan");
    for (size_t i = 0; i < p->inputs.count; i++) {
        records[i] = shares[i].records;
        p->records += records[i];
        if (!pictures)
            continue;
        pictures->found += shares[i].pictures.found;
        pictures->missing += shares[i].pictures.missing;
        pictures->bytes += shares[i].pictures.bytes;
    }
    enum status st = check_names(shares, p->inputs.count, err);
    if (st == ST_OK)
        st = schedule_cut(p, records, opt->inputs_per_shard, opt->records_per_unit, err);
    if (st == ST_OK)
        st = mark_duplicates(p, shares, err);
    mem_free(records);
    return st;
}

static enum status scan_documents(struct schedule *p, const struct ingest_options *opt,
                                  unsigned threads, struct scan_pictures *pictures,
                                  struct error *err)
{
    const size_t n = p->inputs.count;
    struct share *shares = mem_calloc(n, sizeof *shares);
    struct progress *progress = progress_open("plan", "bytes", p->inputs.bytes);
    struct pool *pool = NULL;
    struct error later = { 0 };
    enum status st = shares ? pool_open(&pool, threads > 1 ? threads : 0, threads, err)
                            : error_set(err, ST_FAIL, CAUSE_NOMEM, "scan");

    for (size_t i = 0; i < n && st == ST_OK; i++) {
        shares[i] = (struct share){
            .opt = opt, .input = &p->inputs.list[i], .number = (uint32_t)i, .progress = progress
        };
        if (pictures)
            shares[i].pictures.index = pictures->index;
        st = pool_submit(pool, scan_input, &shares[i], err);
    }
    if (pool && pool_close(&pool, &later) != ST_OK && (st == ST_OK || st == ST_STOP)) {
        st = ST_FAIL;
        if (err)
            *err = later;
    }
    if (st == ST_OK)
        st = collect(p, opt, shares, pictures, err);
    for (size_t i = 0; shares && i < n; i++) {
        buffer_clear(&shares[i].seen);
        buffer_clear(&shares[i].names);
    }
    mem_free(shares);
    progress_close(&progress);
    return st;
}

/* ---- dictionary ---- */

enum { TRAINING_RECORDS = 500, TRAINING_BYTES = 1 << 20 };

struct training {
    const struct special_ids *special;
    uint32_t image_tokens;
    struct buffer data, sizes; /* runs of ids, slots as one marker; size_t each */
    unsigned records;
};

static enum status add_sample(void *arg, const struct piece *p, struct error *err)
{
    struct training *t = arg;
    const size_t before = t->data.size;
    enum status st = ST_OK;
    for (size_t i = 0; i < p->count && st == ST_OK; i++) {
        uint8_t id[2];
        const bool slot = p->ids[i] == t->special->soi;
        store_u16le(id, slot ? (uint16_t)SAMPLE_SLOT : p->ids[i]);
        i += slot ? t->image_tokens : 0;
        st = buffer_append(&t->data, id, sizeof id, err);
    }
    const size_t size = t->data.size - before;
    return st == ST_OK ? buffer_append(&t->sizes, &size, sizeof size, err) : st;
}

static enum status train_on(struct training *t, struct piece_maker *m, const struct document *d,
                            const struct filter_options *opt, struct error *err)
{
    enum filter_reason reason = FILTER_NONE;
    struct filter_result r = { 0 };
    struct text caption;
    uint64_t length = 0;
    enum status st = d->kind == DOCUMENT_PAIR
                         ? filter_caption(&reason, &caption, &length, d, opt, piece_tokens, m, err)
                         : filter_interleaved(&r, d, opt, NULL, err);
    if (st != ST_OK || reason != FILTER_NONE ||
        (d->kind != DOCUMENT_PAIR && r.reason != FILTER_NONE))
        return st;
    t->records++;
    if (d->kind == DOCUMENT_PAIR)
        return piece_pair(m, &caption, filter_pair_before(d, opt->seed), add_sample, t, err);
    return piece_document(m, d->sentences, d->sentence_count, r.places, r.place_count, add_sample,
                          t, err);
}

static enum status read_training(struct training *t, struct piece_maker *m,
                                 const struct schedule *p, const struct ingest_options *opt,
                                 struct error *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < p->inputs.count && st == ST_OK; i++) {
        struct source *source = NULL;
        st = open_source(&source, opt, &p->inputs.list[i], err);
        while (st == ST_OK && t->records < TRAINING_RECORDS && t->data.size < TRAINING_BYTES) {
            const struct document *d = NULL;
            struct source_damage damage;
            struct error why = { 0 };
            st = source_next(source, &d, &damage, &why);
            if (st == ST_OK)
                st = train_on(t, m, d, &opt->filter, err);
            else if (st == ST_SKIP)
                st = ST_OK;
            else if (st == ST_FAIL && err)
                *err = why;
            if (st == ST_OK)
                st = stop_check(err);
        }
        const bool enough = st == ST_OK;
        source_close(&source);
        if (enough)
            break;
        st = st == ST_END ? ST_OK : st;
    }
    return st;
}

/* One thread, in input order: the same records whatever the number of workers. */
static enum status train_dictionary(struct schedule *p, const struct ingest_options *opt,
                                    const struct tokenizer *tokenizer, struct error *err)
{
    struct training t = { .special = tokenizer_special(tokenizer),
                          .image_tokens = opt->piece.image_tokens };
    struct piece_maker m;
    piece_maker_init(&m, tokenizer, &opt->piece);
    enum status st = read_training(&t, &m, p, opt, err);
    if (st == ST_OK)
        st = dictionary_train(&p->dictionary, t.data.data, (const void *)t.sizes.data,
                              t.sizes.size / sizeof(size_t), err);
    piece_maker_clear(&m);
    buffer_clear(&t.data);
    buffer_clear(&t.sizes);
    return st;
}

enum status scan_dump(struct schedule *schedule, const struct ingest_options *opt,
                      const struct tokenizer *t, unsigned threads, struct scan_pictures *pictures,
                      struct error *err)
{
    enum status st = opt->kind == INGEST_MMC4
                         ? scan_documents(schedule, opt, threads, pictures, err)
                         : schedule_cut(schedule, NULL, opt->inputs_per_shard, 0, err);
    return st == ST_OK ? train_dictionary(schedule, opt, t, err) : st;
}
