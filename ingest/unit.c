/* ingest/unit.c: see unit.h. The loop over records, their counts, and damage against tolerance. */
#include "ingest/unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/stop.h"
#include "ingest/unit_private.h"

/* What one unit leaves for the next cut of the same file. */
struct carry {
    struct source *source;
    uint64_t record; /* where it stands */
};

struct unit_input *unit_input(struct unit *u)
{
    return &u->driver->facts->inputs[u->input];
}

/* ---- quarantine ---- */

/* The parts "got X, want Y" of a message; the whole text where it has none. Writes into `room`. */
static void split_message(char room[2][256], const char *text)
{
    const char *got = strstr(text, "got "), *want = got ? strstr(got, ", want ") : NULL;
    if (!want) {
        snprintf(room[0], 256, "%.255s", text);
        room[1][0] = 0;
        return;
    }
    const size_t size = (size_t)(want - got) - 4;
    snprintf(room[0], 256, "%.*s", (int)(size < 255 ? size : 255), got + 4);
    snprintf(room[1], 256, "%.255s", want + 7);
}

static const char *code_of(const struct error *why)
{
    return why->code[0] ? why->code : error_cause_name(why->cause);
}

/* Writes the row with what it lacks: the file, the code and, from the message, found and allowed. */
static enum status put_row(struct unit *u, const struct quarantine_row *given,
                           const struct error *why, struct error *err)
{
    struct quarantine_row row = *given;
    char said[2][256];

    split_message(said, why->text);
    row.file = unit_input(u)->file;
    row.code = code_of(why);
    if (!row.found)
        row.found = said[0];
    if (!row.allowed && said[1][0])
        row.allowed = said[1];
    return shard_writer_quarantine(u->driver->writer, &row, err);
}

enum status unit_quarantine(struct unit *u, const char *member, const char *stage, uint64_t offset,
                            uint64_t length, uint64_t hash, const struct error *why,
                            struct error *err)
{
    const struct document *d = u->document;
    char line[32];
    snprintf(line, sizeof line, "%" PRIu64, d->line);
    struct quarantine_row row = { .member = member,
                                  .record = d->key.data ? d->key.data : line,
                                  .offset = offset,
                                  .stage = stage,
                                  .length = length,
                                  .hash = hash };
    return put_row(u, &row, why, err);
}

/* ---- damage ---- */

/* Adds a record to the window. */
static enum status count_damage(struct unit *u, bool damaged, struct error *err)
{
    struct unit_damage *w = &u->damage;
    const uint32_t allowed = u->c->opt->tolerance;
    const uint32_t in_a_row = allowed > 100 ? allowed : 100;

    w->sum += (uint32_t)damaged - w->recent[w->at];
    w->recent[w->at] = damaged;
    w->at = (w->at + 1) % UNIT_WINDOW;
    w->row = damaged ? w->row + 1 : 0;
    if (!damaged || (w->sum <= allowed && w->row < in_a_row))
        return ST_OK;
    return error_set(err, ST_FAIL, CAUSE_LIMIT,
                     "%s: damage beyond tolerance: %" PRIu32 " of the last %d records, %" PRIu32
                     " in a row; allowed %" PRIu32 " and fewer than %" PRIu32
                     " (--tolerance); the same command with a higher "
                     "tolerance goes on",
                     unit_input(u)->file, w->sum, (int)UNIT_WINDOW, w->row, allowed, in_a_row);
}

static enum status damaged_record(struct unit *u, const struct source_damage *damage,
                                  const struct error *why, struct error *err)
{
    struct unit_count *n = &unit_input(u)->records;
    struct quarantine_row row = { 0 };

    row.member = damage->member.data;
    row.record = damage->record.data;
    row.offset = damage->offset;
    row.stage = damage->stage;
    row.found = damage->found.data;
    row.allowed = damage->allowed.data;
    row.length = damage->length;
    row.hash = damage->hash;
    enum status st = put_row(u, &row, why, err);
    if (st == ST_OK)
        st = tally_add(&n->quarantined, code_of(why), 1, err);
    n->seen++;
    return st == ST_OK ? count_damage(u, true, err) : st;
}

/* ---- records ---- */

static enum status drop_record(struct unit *u, enum filter_reason reason, struct error *err)
{
    return tally_add(&unit_input(u)->records.filtered, filter_reason_name(reason), 1, err);
}

/* The record is stored: its entries are counted by what became of them. */
static enum status count_pictures(struct unit *u, struct error *err)
{
    struct unit_count *n = &unit_input(u)->pictures;
    const struct filter_result *r = u->result;
    enum status st = ST_OK;
    for (size_t i = 0; i < u->document->image_count && st == ST_OK; i++) {
        const struct filter_image *m = &r->images[i];
        n->seen++;
        if (m->fate == FILTER_KEPT)
            n->stored++;
        else if (m->fate == FILTER_DROPPED)
            st = tally_add(&n->filtered, filter_reason_name(m->reason), 1, err);
        else
            st = tally_add(&n->quarantined, u->codes[i], 1, err);
    }
    return st;
}

static void store_record(struct unit *u)
{
    unit_input(u)->records.stored++;
    u->driver->facts->documents++;
}

static bool is_excluded(struct unit *u, struct error *err, enum status *st)
{
    const struct document *d = u->document;
    if (!u->c->exclude)
        return false;
    u->name.size = 0;
    *st = document_name(&u->name, d, err);
    return *st == ST_OK && (exclude_url(u->c->exclude, &d->url) ||
                            exclude_key(u->c->exclude, (const char *)u->name.data, u->name.size));
}

static enum status reserve_pictures(struct unit *u, struct error *err)
{
    const struct document *d = u->document;
    const size_t n = d->image_count ? d->image_count : 1;
    u->pictures = arena_alloc(d->arena, n, sizeof *u->pictures);
    u->places = arena_alloc(d->arena, n, sizeof *u->places);
    u->codes = arena_alloc(d->arena, n, sizeof *u->codes);
    return u->pictures && u->places && u->codes
               ? ST_OK
               : error_set(err, ST_FAIL, CAUSE_NOMEM, "record with %zu images", n);
}

static enum status take_document(struct unit *u, struct error *err)
{
    const struct document *d = u->document;
    const struct filter_pictures pictures = { unit_picture_exists, unit_picture_verify, u };
    struct filter_result result;

    enum status st = filter_interleaved(&result, d, &u->c->opt->filter, &pictures, err);
    if (st != ST_OK)
        return st;
    if (result.reason != FILTER_NONE)
        return drop_record(u, result.reason, err);
    u->result = &result;
    st = count_pictures(u, err);
    if (st == ST_OK)
        st = piece_document(&u->maker, d->sentences, d->sentence_count, result.places,
                            result.place_count, unit_emit_piece, u, err);
    u->result = NULL;
    store_record(u);
    return st;
}

/* The caption that counts: the sample's own, or the one of its URL in the caption files. */
static enum status find_caption(struct unit *u, struct document *d, struct text *found,
                                struct error *err)
{
    if (!u->c->captions)
        return ST_OK;
    const enum status st = captions_find(u->c->captions, &u->caption, &d->url, err);
    if (st != ST_OK)
        return st;
    *found = (struct text){ (const char *)u->caption.data, u->caption.size };
    d->caption = DOCUMENT_CAPTION_STRING;
    d->sentences = found;
    d->sentence_count = 1;
    return ST_OK;
}

static enum status take_pair(struct unit *u, struct error *err)
{
    struct document d = *u->document;
    struct unit_count *records = &unit_input(u)->records, *pictures = &unit_input(u)->pictures;
    struct filter_image image = { FILTER_KEPT, FILTER_NONE };
    enum filter_reason reason = FILTER_NONE;
    struct text caption, found = { 0 };
    uint64_t length = 0;

    enum status st = find_caption(u, &d, &found, err);
    if (st == ST_END)
        return drop_record(u, FILTER_F8_NO_CAPTION, err);
    if (st == ST_OK)
        st = filter_caption(&reason, &caption, &length, &d, &u->c->opt->filter, piece_tokens,
                            &u->maker, err);
    if (st != ST_OK)
        return st;
    if (reason != FILTER_NONE)
        return drop_record(u, reason, err);
    if (d.image_count > 0 && exclude_url(u->c->exclude, &d.images[0].raw_url))
        return drop_record(u, FILTER_F16_EXCLUDED, err);
    st = unit_picture_take(u, 0, &image, d.images[0].name.data, d.images[0].bytes, d.images[0].size,
                           err);
    if (st == ST_SKIP)
        return image.fate == FILTER_DROPPED ? drop_record(u, image.reason, err)
                                            : tally_add(&records->quarantined, u->codes[0], 1, err);
    if (st != ST_OK)
        return st;
    pictures->seen++;
    pictures->stored++;
    store_record(u);
    return piece_pair(&u->maker, &caption, filter_pair_before(&d, u->c->opt->filter.seed),
                      unit_emit_piece, u, err);
}

/* What is odd about the record and yet kept. */
static enum status note_oddities(struct unit *u, struct error *err)
{
    struct tally *notes = &unit_input(u)->notes;
    const enum status st = tally_add(notes, "utf8-replaced", u->document->replaced, err);
    return st == ST_OK ? tally_add(notes, "F1-matrix", filter_disagreements(u->document), err) : st;
}

static enum status take_record(struct unit *u, const struct document *d, struct error *err)
{
    const enum ingest_kind kind = u->c->opt->kind;
    u->document = d;
    unit_input(u)->records.seen++;
    enum status st = note_oddities(u, err);
    if (st != ST_OK)
        return st;
    if (schedule_is_duplicate(u->c->schedule, u->scheduled, u->record))
        return drop_record(u, FILTER_F10_DUPLICATE, err);
    if (u->c->opt->filter.drop_flagged && d->flagged)
        return drop_record(u, FILTER_F10_FLAGGED, err);
    if (is_excluded(u, err, &st))
        return drop_record(u, FILTER_F16_EXCLUDED, err);
    if (st == ST_OK)
        st = reserve_pictures(u, err);
    if (st != ST_OK)
        return st;
    return kind == INGEST_MMC4 ? take_document(u, err) : take_pair(u, err);
}

/* ---- inputs ---- */

/* An archive may hold several members, each with a name of its own in record keys: every one is an
 * input of the unit's facts, and all are the same file. */
static enum status name_input(struct unit *u, const char *name, size_t size, struct error *err)
{
    const struct input *in = &u->c->schedule->inputs.list[u->scheduled];
    if (u->named && strlen(unit_input(u)->name) == size &&
        memcmp(unit_input(u)->name, name, size) == 0)
        return ST_OK;
    u->name.size = 0;
    enum status st = buffer_append(&u->name, name, size, err);
    if (st == ST_OK)
        st = buffer_append(&u->name, "", 1, err);
    if (st == ST_OK)
        st = unit_facts_input(u->driver->facts, in->file, (const char *)u->name.data, in->size,
                              &u->input, err);
    u->named = u->named || st == ST_OK;
    return st;
}

/* Where nothing has named the open input yet, it goes by its file's name. */
static enum status name_by_file(struct unit *u, struct error *err)
{
    const char *name = u->c->schedule->inputs.list[u->scheduled].name;
    return u->named ? ST_OK : name_input(u, name, strlen(name), err);
}

static enum status next_record(struct unit *u, struct error *err)
{
    const struct input *in = &u->c->schedule->inputs.list[u->scheduled];
    const struct document *d = NULL;
    struct source_damage damage;
    struct error why = { 0 };

    memset(&damage, 0, sizeof damage);
    enum status st = source_next(u->source, &d, &damage, &why);
    if (st == ST_SKIP) {
        st = name_by_file(u, err);
        if (st == ST_OK)
            st = damaged_record(u, &damage, &why, err);
    } else if (st == ST_OK) {
        st = name_input(u, d->file.data, d->file.size, err);
        if (st == ST_OK)
            st = take_record(u, d, err);
        if (st == ST_OK)
            st = count_damage(u, false, err);
        else
            error_prefix(err, st, "%s: record %" PRIu64, in->file, u->record);
    } else if (st == ST_FAIL && err) {
        *err = why;
    }
    if (st == ST_OK) {
        u->record++;
        progress_add(u->c->progress, 1);
    }
    return st;
}

static enum status open_input(struct unit *u, uint32_t scheduled, struct error *err)
{
    const struct input *in = &u->c->schedule->inputs.list[scheduled];
    u->scheduled = scheduled;
    u->record = 0;
    u->named = false;
    if (u->source)
        return ST_OK; /* carried over: stands where this cut begins */
    return u->c->opt->kind == INGEST_MMC4
               ? source_open_mmc4(&u->source, in->path, in->file, &u->c->opt->limits, err)
               : source_open_pairs(&u->source, in->path, in->file, &u->c->opt->limits, err);
}

/* Records [skip, skip + take) of the open input; take 0: all from skip on. */
static enum status read_input(struct unit *u, const struct schedule_unit *s, struct error *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && (s->take == 0 || u->record < s->skip + s->take)) {
        st = stop_check(err);
        if (st == ST_OK)
            st = next_record(u, err);
    }
    if (st != ST_OK && st != ST_END)
        return st;
    const char *why = NULL;
    const bool incomplete = st == ST_END && source_incomplete(u->source, &why);
    const struct input *in = &u->c->schedule->inputs.list[u->scheduled];
    st = name_by_file(u, err);
    if (st == ST_OK && incomplete) {
        unit_input(u)->incomplete = true;
        log_line(LOG_WARN, "%s: incomplete: %s", in->file, why ? why : "ends early");
    }
    return st;
}

static enum status read_inputs(struct unit *u, struct carry *carry, struct error *err)
{
    const struct schedule_unit *s = &u->c->schedule->units[u->driver->number];
    const uint64_t stands = u->source ? carry->record : 0;
    enum status st = ST_OK;

    for (uint32_t i = 0; i < s->count && st == ST_OK; i++) {
        st = open_input(u, s->first + i, err);
        u->record = stands;
        if (st == ST_OK && s->skip > stands) {
            st = source_skip(u->source, s->skip - stands, err);
            u->record = s->skip;
        }
        if (st == ST_END)
            st = error_set(err, ST_FAIL, CAUSE_IO, "%s: changed since it was scheduled",
                           u->c->schedule->inputs.list[s->first + i].path);
        if (st == ST_OK)
            st = read_input(u, s, err);
        if (st != ST_OK || s->take == 0)
            source_close(&u->source);
    }
    return st;
}

/* ---- the unit ---- */

static enum status open_unit(struct unit *u, struct error *err)
{
    const struct ingest_options *opt = u->c->opt;
    struct packer_options p;

    packer_options_init(&p);
    p.seq_len = opt->piece.seq_len;
    p.max_images = opt->piece.max_images;
    piece_maker_init(&u->maker, u->c->tokenizer, &opt->piece);
    enum status st = packer_open(&u->packer, &p, unit_emit_sequence, u, err);
    if (st == ST_OK)
        st = spool_open(&u->spool, u->driver->scratch, err);
    if (st == ST_OK && opt->kind == INGEST_MMC4)
        st = picture_reader_open(&u->reader, u->c->pictures, err);
    return st;
}

static void close_unit(struct unit *u)
{
    unit_free_pieces(u);
    packer_close(&u->packer);
    piece_maker_clear(&u->maker);
    spool_close(&u->spool);
    picture_reader_close(&u->reader);
    struct buffer *buffers[] = { &u->name,    &u->raw, &u->stored,    &u->caption,
                                 &u->picture, &u->ids, &u->documents, &u->images };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        buffer_clear(buffers[i]);
}

/* Leaves the source to the next cut, or closes it. */
static void hand_over(struct unit *u, struct carry *carry)
{
    const uint32_t next = u->driver->number + 1;
    void *arg = (void *)(uintptr_t)u->c;
    if (carry && u->source && next < u->c->schedule->unit_count && unit_follows(arg, next)) {
        carry->source = u->source;
        carry->record = u->record;
        u->source = NULL;
    }
    source_close(&u->source);
}

enum status unit_run(void *arg, const struct driver_unit *driver, struct error *err)
{
    struct carry *carry = *driver->carry;
    struct unit *u = mem_calloc(1, sizeof *u);
    if (u && !carry)
        carry = mem_calloc(1, sizeof *carry);
    if (!u || !carry) {
        mem_free(u);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "unit %" PRIu32, driver->number);
    }
    *driver->carry = carry;
    u->c = arg;
    u->driver = driver;
    u->source = carry->source;
    carry->source = NULL;
    enum status st = open_unit(u, err);
    if (st == ST_OK)
        st = read_inputs(u, carry, err);
    if (st == ST_OK)
        st = packer_finish(u->packer, err);
    hand_over(u, st == ST_OK ? carry : NULL);
    close_unit(u);
    mem_free(u);
    return st;
}

bool unit_follows(void *arg, uint32_t unit)
{
    const struct unit_context *c = arg;
    const struct schedule_unit *a = &c->schedule->units[unit - 1], *b = &c->schedule->units[unit];
    return a->take > 0 && a->first == b->first;
}

void unit_release(void *arg, void *carry)
{
    struct carry *c = carry;
    (void)arg;
    source_close(&c->source);
    mem_free(c);
}
