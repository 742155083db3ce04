/* shards/shard_verify.c: everything a shard says, held against everything else it says. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/rle.h"
#include "shards/shard_reader_private.h"

struct seen_picture {
    bool good; /* was read without a fault */
    uint32_t width, height;
    enum image_codec codec;
    uint64_t bytes;
    struct hash128 hash;
};

struct verify {
    struct shard_reader *r;
    shard_finding_fn *finding;
    void *arg;
    struct seen_picture *pictures;
    uint64_t images, tokens, findings;
};

static void report(struct verify *v, struct error *e)
{
    v->findings++;
    v->finding(v->arg, e);
    error_clear(e);
}

static void find(struct verify *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void find(struct verify *v, const char *fmt, ...)
{
    struct error e = { 0 };
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    error_set(&e, ST_FAIL, CAUSE_FORMAT, "%s: %s", v->r->path, text);
    report(v, &e);
}

/* ST_FAIL only where the search cannot go on; anything else is a finding. */
static enum status tolerate(struct verify *v, enum status st, struct error *e, struct error *err)
{
    if (st != ST_FAIL)
        return ST_OK;
    if (e->cause == CAUSE_NOMEM) {
        *err = *e;
        return ST_FAIL;
    }
    report(v, e);
    return ST_OK;
}

static enum status verify_pictures(struct verify *v, struct error *err)
{
    struct shard_picture p;
    struct error e = { 0 };
    struct buffer memory;
    enum status st = ST_OK;

    buffer_init(&memory);
    for (uint64_t i = 0; i < v->r->unit.pictures && st == ST_OK; i++) {
        const enum status one = shard_reader_picture(v->r, (uint32_t)i, &memory, &p, &e);
        st = tolerate(v, one, &e, err);
        if (one != ST_OK)
            continue;
        v->pictures[i] = (struct seen_picture){ true, p.width, p.height, p.codec, p.size, p.hash };
        if (!hash128_equal(p.hash, hash_xxh3_128(p.data, p.size)))
            find(v, "picture %" PRIu64 ": XXH3-128 of its bytes differs", i);
    }
    buffer_clear(&memory);
    return st;
}

static void verify_image(struct verify *v, uint64_t sequence, const struct sample *s, size_t i)
{
    const struct sample_image *m = &s->images[i];
    const struct sample_document *d = &s->documents[m->document];
    const struct seen_picture *p = &v->pictures[m->picture];
    const bool prev = i > 0 && s->images[i - 1].document == m->document;
    size_t bos = m->soi;

    while (bos > 0 && (bos == m->soi || s->ids[bos] != v->r->facts.bos))
        bos--;
    if (p->good && (p->width != m->width || p->height != m->height || p->codec != m->codec ||
                    p->bytes != m->bytes || !hash128_equal(p->hash, m->hash)))
        find(v, "sequence %" PRIu64 ": image %zu differs from picture %" PRIu32, sequence, i,
             m->picture);
    if (m->nearest_bos != bos)
        find(v, "sequence %" PRIu64 ": image %zu: nearest bos: got %u, want %zu", sequence, i,
             m->nearest_bos, bos);
    if (m->loss && m->soi - m->nearest_bos + 1 <= 2)
        find(v, "sequence %" PRIu64 ": image %zu has a loss without context", sequence, i);
    if (m->prev != prev)
        find(v, "sequence %" PRIu64 ": image %zu: prev: got %d, want %d", sequence, i, m->prev,
             prev);
    if (m->soi < d->start || m->soi >= d->start + d->length)
        find(v, "sequence %" PRIu64 ": image %zu lies outside its document", sequence, i);
}

static void verify_mask(struct verify *v, uint64_t sequence, size_t i, const struct sample_mask *m)
{
    struct error e = { 0 };
    struct rle rle;

    if (m->h == 0)
        return;
    rle_init(&rle);
    if (rle_from_varints(&rle, m->h, m->w, m->runs, m->size, &e) != ST_OK)
        find(v, "sequence %" PRIu64 ": image %zu: mask: %s", sequence, i, e.text);
    rle_clear(&rle);
}

static enum status verify_sequences(struct verify *v, struct error *err)
{
    struct arena arena;
    struct sample s;
    struct error e = { 0 };
    enum status st = ST_OK;

    arena_init(&arena, 0);
    const struct arena_mark mark = arena_mark(&arena);
    for (uint64_t i = 0; i < v->r->unit.sequences && st == ST_OK; i++) {
        const enum status one = shard_reader_sequence(v->r, i, &s, &arena, &e);
        st = tolerate(v, one, &e, err);
        for (size_t k = 0; one == ST_OK && k < s.image_count; k++) {
            verify_image(v, i, &s, k);
            verify_mask(v, i, k, &s.images[k].mask);
        }
        v->images += one == ST_OK ? s.image_count : 0;
        v->tokens += one == ST_OK ? s.token_count : 0;
        arena_release(&arena, mark);
    }
    arena_clear(&arena);
    return st;
}

static enum status verify_rest(struct verify *v, struct error *err)
{
    struct buffer bytes;
    struct pieces *pieces = NULL;
    struct error e = { 0 };
    uint64_t lines = 0;

    buffer_init(&bytes);
    enum status st = tolerate(v, shard_reader_dictionary(v->r, &bytes, &e), &e, err);
    bytes.size = 0;
    if (st == ST_OK)
        st = tolerate(v, shard_reader_quarantine(v->r, &bytes, &e), &e, err);
    for (size_t i = 0; i < bytes.size; i++)
        lines += bytes.data[i] == '\n';
    if (st == ST_OK && lines != v->r->unit.quarantine_rows)
        find(v, "quarantine rows: got %" PRIu64 ", want %" PRIu64, lines,
             v->r->unit.quarantine_rows);
    if (st == ST_OK)
        st = tolerate(v, shard_reader_pieces(v->r, &pieces, &e), &e, err);
    pieces_close(&pieces);
    buffer_clear(&bytes);
    return st;
}

static void verify_counts(struct verify *v)
{
    const struct unit_facts *u = &v->r->unit;
    uint64_t documents = 0;

    for (size_t i = 0; i < u->input_count; i++) {
        documents += u->inputs[i].records.stored;
        if (!unit_count_holds(&u->inputs[i].records))
            find(v, "%s: records seen are not stored + filtered + quarantined", u->inputs[i].file);
        if (!unit_count_holds(&u->inputs[i].pictures))
            find(v, "%s: pictures seen are not stored + filtered + quarantined", u->inputs[i].file);
    }
    if (documents != u->documents)
        find(v, "documents: got %" PRIu64 ", want %" PRIu64, documents, u->documents);
    if (v->findings == 0 && (v->images != u->images || v->tokens != u->tokens))
        find(v, "images, tokens: got %" PRIu64 ", %" PRIu64 ", want %" PRIu64 ", %" PRIu64,
             v->images, v->tokens, u->images, u->tokens);
}

/* No record but those of the format lies in the file: kinds and numbers without gaps. */
static enum status known_key(void *arg, const uint8_t *key, size_t key_size, uint64_t value_size,
                             struct error *err)
{
    uint64_t *next = arg; /* by kind */
    (void)value_size;
    if (key_size != VALUE_KEY || !value_kind_name(key[0]))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "key of no known kind");
    const uint64_t number =
        (uint64_t)key[1] << 24 | (uint64_t)key[2] << 16 | (uint64_t)key[3] << 8 | key[4];
    if (number != next[key[0]]++)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s %" PRIu64 ": number out of order",
                         value_kind_name(key[0]), number);
    return ST_OK;
}

static enum status verify_tree(struct verify *v, struct error *err)
{
    uint64_t next[256] = { 0 };
    struct error e = { 0 };
    const enum status one = page_reader_walk(v->r->pages, known_key, next, &e);

    if (one == ST_OK && (next[VALUE_SEQUENCE] != v->r->unit.sequences ||
                         next[VALUE_PICTURE] != v->r->unit.pictures))
        find(v, "the file holds more records than the unit record counts");
    return tolerate(v, one, &e, err);
}

enum status shard_reader_verify(struct shard_reader *r, shard_finding_fn *finding, void *arg,
                                struct error *err)
{
    struct verify v = { .r = r, .finding = finding, .arg = arg };
    enum status st;

    v.pictures = mem_calloc((size_t)r->unit.pictures + 1, sizeof *v.pictures);
    if (!v.pictures)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", r->path);
    st = verify_pictures(&v, err);
    if (st == ST_OK)
        st = verify_sequences(&v, err);
    if (st == ST_OK)
        st = verify_rest(&v, err);
    if (st == ST_OK)
        st = verify_tree(&v, err);
    if (st == ST_OK)
        verify_counts(&v);
    mem_free(v.pictures);
    return st;
}
