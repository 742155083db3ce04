/* ingest/piece.c: see piece.h. A unit is a sentence with its own slots. */
#include "ingest/piece.h"

#include <inttypes.h>
#include <string.h>

/* What piece_document walks over, and where the next piece begins. */
struct walk {
    struct piece_maker *m;
    const struct text *sentences;
    const struct filter_place *places;
    size_t n, place_count;
    size_t unit, place; /* of the first unit that is in no piece yet */
    uint32_t number;
    bool rest; /* the open segment's text follows what is encoded of it, behind a space */
    piece_emit_fn *emit;
    void *arg;
};

void piece_options_init(struct piece_options *opt)
{
    *opt = (struct piece_options){ .seq_len = 2048, .max_images = 15, .image_tokens = 77 };
}

enum status piece_options_check(const struct piece_options *opt, struct error *err)
{
    if (opt->seq_len > UINT16_MAX)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--seq-len: %" PRIu32 ", at most 65535",
                         opt->seq_len);
    if (opt->image_tokens < 1 || opt->max_images < 1)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "--image-tokens and --images-per-seq: at least 1");
    if (opt->seq_len < 16 || opt->seq_len - 4 < opt->image_tokens)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "--seq-len: %" PRIu32 " holds no image of %" PRIu32
                         " tokens with text, at least 16 and image tokens + 4",
                         opt->seq_len, opt->image_tokens);
    return ST_OK;
}

void piece_maker_init(struct piece_maker *m, const struct tokenizer *t,
                      const struct piece_options *opt)
{
    *m = (struct piece_maker){ .tokenizer = t, .opt = *opt };
}

void piece_maker_clear(struct piece_maker *m)
{
    id_list_clear(&m->ids);
    buffer_clear(&m->text);
    buffer_clear(&m->slots);
}

static size_t image_count(const struct piece_maker *m)
{
    return m->slots.size / sizeof(struct piece_image);
}

/* Positions past 16 bits are cut off: such a piece is too long and never emitted. */
static enum status put_slot(struct piece_maker *m, size_t place, struct error *err)
{
    const struct special_ids *s = tokenizer_special(m->tokenizer);
    const struct piece_image image = { (uint32_t)place, (uint16_t)m->ids.size };
    enum status st = buffer_append(&m->slots, &image, sizeof image, err);
    if (st == ST_OK)
        st = id_list_push(&m->ids, s->soi, 1, err);
    return st == ST_OK ? id_list_push(&m->ids, s->sniffer, m->opt.image_tokens, err) : st;
}

/* The template takes one space away on each side of a slot (3.2). */
static enum status close_segment(struct walk *w, bool after_slot, bool before_slot,
                                 struct error *err)
{
    struct piece_maker *m = w->m;
    const char *text = (const char *)m->text.data;
    size_t size = m->text.size;
    enum status st = ST_OK;

    if (!w->rest && after_slot && size > 0 && text[0] == ' ') {
        text++;
        size--;
    }
    if (before_slot && size > 0 && text[size - 1] == ' ')
        size--;
    if (size > 0)
        st = w->rest ? tokenizer_encode_rest(m->tokenizer, &m->ids, text, size, err)
                     : tokenizer_encode_segment(m->tokenizer, &m->ids, text, size, after_slot, err);
    m->text.size = 0;
    w->rest = false;
    return st;
}

/* The slots of places [first, end) on one side of their sentence. *after: the open segment follows a
 * slot. */
static enum status put_slots(struct walk *w, size_t first, size_t end, bool before, bool *after,
                             struct error *err)
{
    enum status st = ST_OK;
    for (size_t i = first; i < end && st == ST_OK; i++) {
        if (w->places[i].before != before)
            continue;
        st = close_segment(w, *after, true, err);
        if (st == ST_OK)
            st = put_slot(w->m, i, err);
        *after = true;
    }
    return st;
}

/* Moves `place` past the places of unit `u`, and returns the first of them. */
static size_t places_of(const struct walk *w, size_t u, size_t *place)
{
    const size_t first = *place;
    while (*place < w->place_count && w->places[*place].sentence == u)
        ++*place;
    return first;
}

/* Appends units [w->unit, end) with their slots; `place` moves past the slots used. */
static enum status put_units(struct walk *w, size_t end, size_t *place, struct error *err)
{
    struct piece_maker *m = w->m;
    bool after = false;
    enum status st = ST_OK;

    m->text.size = 0;
    w->rest = false;
    for (size_t u = w->unit; u < end && st == ST_OK; u++) {
        const size_t first = places_of(w, u, place);
        if (u > w->unit)
            st = buffer_append(&m->text, " ", 1, err);
        if (st == ST_OK)
            st = put_slots(w, first, *place, true, &after, err);
        if (st == ST_OK)
            st = buffer_append(&m->text, w->sentences[u].data, w->sentences[u].size, err);
        if (st == ST_OK)
            st = put_slots(w, first, *place, false, &after, err);
    }
    return st == ST_OK ? close_segment(w, after, false, err) : st;
}

static void start_piece(struct piece_maker *m)
{
    m->ids.size = 0;
    m->slots.size = 0;
}

/* The ids of a piece that holds units [w->unit, end). */
static enum status build(struct walk *w, size_t end, size_t *place, struct error *err)
{
    const struct special_ids *s = tokenizer_special(w->m->tokenizer);
    start_piece(w->m);
    enum status st = id_list_push(&w->m->ids, s->bos, 1, err);
    *place = w->place;
    if (st == ST_OK)
        st = put_units(w, end, place, err);
    if (st == ST_OK && end == w->n)
        st = id_list_push(&w->m->ids, s->eos, 1, err);
    return st;
}

static bool fits(const struct piece_maker *m)
{
    return m->ids.size <= m->opt.seq_len && image_count(m) <= m->opt.max_images;
}

static enum status emit(struct walk *w, const uint16_t *ids, size_t count,
                        const struct piece_image *images, size_t images_n, struct error *err)
{
    const struct piece p = { ids, count, images, images_n, w->number, w->number > 0 };
    w->number++;
    return w->emit(w->arg, &p, err);
}

static enum status emit_built(struct walk *w, struct error *err)
{
    const struct piece_maker *m = w->m;
    const void *images = m->slots.data;
    return emit(w, m->ids.data, m->ids.size, images, image_count(m), err);
}

/* The id that is next to be dealt out: a slot counts as a whole. */
static size_t element_size(const struct piece_maker *m, size_t at, bool *slot)
{
    *slot = m->ids.data[at] == tokenizer_special(m->tokenizer)->soi;
    return *slot ? 1u + m->opt.image_tokens : 1u;
}

/* A unit that fits no piece: its ids are dealt out to pieces of bos and at most N-2 of them. */
static enum status cut_unit(struct walk *w, struct error *err)
{
    struct piece_maker *m = w->m;
    const struct special_ids *s = tokenizer_special(m->tokenizer);
    const bool last_unit = w->unit + 1 == w->n;
    struct id_list out = { 0 };
    size_t image = 0; /* next of m->slots */

    start_piece(m);
    enum status st = put_units(w, w->unit + 1, &w->place, err);
    w->unit++;
    for (size_t at = 0; at < m->ids.size && st == ST_OK;) {
        const size_t first = image;
        struct piece_image *images = (void *)m->slots.data;
        out.size = 0;
        st = id_list_push(&out, s->bos, 1, err);
        while (at < m->ids.size && st == ST_OK) {
            bool slot = false;
            const size_t size = element_size(m, at, &slot);
            if (out.size - 1 + size > m->opt.seq_len - 2 ||
                (slot && image - first == m->opt.max_images))
                break;
            if (slot && images)
                images[image++].soi = (uint16_t)out.size;
            st = id_list_append(&out, m->ids.data + at, size, err);
            at += size;
        }
        if (st == ST_OK && at == m->ids.size && last_unit)
            st = id_list_push(&out, s->eos, 1, err);
        if (st == ST_OK)
            st = emit(w, out.data, out.size, images ? images + first : NULL, image - first, err);
    }
    id_list_clear(&out);
    return st;
}

/* A piece that grows unit by unit: m->ids always are those of a piece that ends here, of which the
 * first `closed` stay whatever follows; m->text gave the others. So the work is linear. */
struct growth {
    size_t end, place; /* behind the last unit, and behind its places */
    size_t closed;
    bool after; /* the open segment follows a slot */
    bool anew;  /* the last unit changed ids of those before it */
};

/* Makes room for `sentence` behind the open segment. */
static enum status join(struct walk *w, struct growth *g, const struct text *sentence,
                        struct error *err)
{
    struct piece_maker *m = w->m;
    const char *text = (const char *)m->text.data;
    if (sentence->size > 0 && sentence->data[0] != ' ' &&
        tokenizer_may_pause(m->tokenizer, text, m->text.size)) {
        w->rest = true;
        m->text.size = 0;
        return ST_OK;
    }
    g->anew = m->ids.size > g->closed;
    m->ids.size = g->closed;
    return buffer_append(&m->text, " ", 1, err);
}

/* The ids of the open segment, which stays open. */
static enum status encode_open(struct walk *w, struct growth *g, struct error *err)
{
    const size_t size = w->m->text.size;
    const bool rest = w->rest;
    g->closed = w->m->ids.size;
    const enum status st = close_segment(w, g->after, false, err);
    w->m->text.size = size;
    w->rest = rest;
    return st;
}

/* Adds the next unit; eos where it is the document's last. */
static enum status grow(struct walk *w, struct growth *g, struct error *err)
{
    struct piece_maker *m = w->m;
    const size_t u = g->end++;
    const size_t first = places_of(w, u, &g->place);
    enum status st = ST_OK;
    bool before = false;

    g->anew = false;
    for (size_t i = first; i < g->place; i++)
        before = before || w->places[i].before;
    if (before) { /* what is open ends here, as it stands */
        m->text.size = 0;
        w->rest = false;
    } else if (u > w->unit) {
        st = join(w, g, &w->sentences[u], err);
    }
    if (st == ST_OK)
        st = put_slots(w, first, g->place, true, &g->after, err);
    if (st == ST_OK)
        st = buffer_append(&m->text, w->sentences[u].data, w->sentences[u].size, err);
    if (st == ST_OK)
        st = put_slots(w, first, g->place, false, &g->after, err);
    if (st == ST_OK)
        st = encode_open(w, g, err);
    return st == ST_OK && g->end == w->n
               ? id_list_push(&m->ids, tokenizer_special(m->tokenizer)->eos, 1, err)
               : st;
}

/* The next piece takes units while they fit; a first one that does not is cut. */
static enum status next_piece(struct walk *w, struct error *err)
{
    struct piece_maker *m = w->m;
    struct growth g = { .end = w->unit, .place = w->place };
    size_t end = w->unit, good = w->place, ids = 0, slots = 0;

    start_piece(m);
    m->text.size = 0;
    w->rest = false;
    enum status st = id_list_push(&m->ids, tokenizer_special(m->tokenizer)->bos, 1, err);
    while (end < w->n && st == ST_OK) {
        ids = m->ids.size;
        slots = m->slots.size;
        st = grow(w, &g, err);
        if (st != ST_OK || !fits(m))
            break;
        good = g.place;
        end = g.end;
    }
    if (st != ST_OK)
        return st;
    if (end == w->unit)
        return cut_unit(w, err);
    if (end < g.end && g.anew) { /* the last try did not fit and left nothing to go back to */
        st = build(w, end, &good, err);
    } else if (end < g.end) {
        m->ids.size = ids;
        m->slots.size = slots;
    }
    if (st == ST_OK)
        st = emit_built(w, err);
    w->unit = end;
    w->place = good;
    return st;
}

enum status piece_document(struct piece_maker *m, const struct text *sentences, size_t n,
                           const struct filter_place *places, size_t place_count,
                           piece_emit_fn *emit_fn, void *arg, struct error *err)
{
    struct walk w = { m, sentences, places, n, place_count, 0, 0, 0, false, emit_fn, arg };
    size_t place = 0;
    enum status st = build(&w, n, &place, err);

    if (st == ST_OK && fits(m))
        return emit_built(&w, err);
    while (w.unit < n && st == ST_OK)
        st = next_piece(&w, err);
    return st;
}

enum status piece_tokens(void *maker, uint64_t *tokens, const struct text *caption,
                         struct error *err)
{
    struct piece_maker *m = maker;
    start_piece(m);
    const enum status st =
        tokenizer_encode_segment(m->tokenizer, &m->ids, caption->data, caption->size, false, err);
    *tokens = m->ids.size;
    return st;
}

enum status piece_pair(struct piece_maker *m, const struct text *caption, bool before,
                       piece_emit_fn *emit_fn, void *arg, struct error *err)
{
    const struct special_ids *s = tokenizer_special(m->tokenizer);
    const size_t room = m->opt.seq_len - m->opt.image_tokens - 3;
    struct walk w = { .m = m, .emit = emit_fn, .arg = arg };

    start_piece(m);
    enum status st = id_list_push(&m->ids, s->bos, 1, err);
    if (st == ST_OK && before)
        st = put_slot(m, 0, err);
    const size_t start = m->ids.size;
    if (st == ST_OK)
        st = tokenizer_encode_segment(m->tokenizer, &m->ids, caption->data, caption->size, before,
                                      err);
    if (m->ids.size - start > room)
        m->ids.size = start + room;
    if (st == ST_OK && !before)
        st = put_slot(m, 0, err);
    if (st == ST_OK)
        st = id_list_push(&m->ids, s->eos, 1, err);
    return st == ST_OK ? emit_built(&w, err) : st;
}
