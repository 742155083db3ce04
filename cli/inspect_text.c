/* cli/inspect_text.c: a sequence in a terminal: documents, text, slots and pictures in reading order. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/inspect.h"
#include "cli/printable.h"
#include "cli/term_picture.h"

static enum status put_head(struct buffer *out, const struct inspect_item *item, struct error *err)
{
    const struct sample *s = item->sample;
    const struct shard_facts *f = shard_reader_facts(item->reader);
    enum status st = buffer_printf(
        out, err, "== sequence %" PRIu64 "  shard %" PRIu32 "  index %" PRIu64 "  source ",
        item->sequence, item->shard, item->index);

    if (st == ST_OK)
        st = printable_terminal(out, f->sources[s->source], strlen(f->sources[s->source]), true,
                                err);
    if (st == ST_OK)
        st = buffer_printf(out, err, "  %zu of %" PRIu32 " tokens  %zu images  %zu documents",
                           s->token_count, f->seq_len, s->image_count, s->document_count);
    if (st == ST_OK && item->planned)
        st = buffer_printf(out, err, "  micro-batch %" PRIu64 "  rank %" PRIu64 "  epoch %" PRIu64,
                           item->micro_batch, item->rank, item->epoch);
    if (st == ST_OK && item->substituted)
        st = buffer_append_str(out, "  in place of a damaged one", err);
    return st == ST_OK ? buffer_append_str(out, " ==\n", err) : st;
}

static enum status put_document(struct buffer *out, const struct inspect_item *item,
                                const struct sample_document *d, struct error *err)
{
    struct buffer name;

    buffer_init(&name);
    enum status st = shard_reader_record_name(item->reader, d, &name, err);
    if (st == ST_OK)
        st = buffer_append_str(out, "\n-- document ", err);
    if (st == ST_OK)
        st = printable_terminal(out, name.data, name.size, true, err);
    if (st == ST_OK)
        st = buffer_printf(out, err, "  tokens %u to %u%s --\n", d->start,
                           (unsigned)(d->start + d->length - 1), d->cont ? "  (continued)" : "");
    buffer_clear(&name);
    return st;
}

static enum status put_picture(struct buffer *out, const struct inspect_item *item,
                               const struct sample_image *m, struct term_picture *pictures,
                               struct error *err)
{
    struct buffer memory;
    struct shard_picture p;
    struct image img = { 0 };
    struct image_decode_options opt;
    struct error bad = { 0 };

    buffer_init(&memory);
    image_decode_options_init(&opt);
    enum status st = shard_reader_picture(item->reader, m->picture, &memory, &p, err);
    if (st == ST_OK) {
        st = image_decode(&img, p.data, p.size, &opt, NULL, &bad);
        if (st == ST_OK)
            st = term_picture_draw(pictures, out, &img, err);
        else if (st == ST_SKIP)
            st = buffer_printf(out, err, "  (%s)\n", bad.text);
        else
            *err = bad;
    }
    image_clear(&img);
    buffer_clear(&memory);
    return st;
}

static enum status put_image(struct buffer *out, const struct inspect_item *item, size_t i,
                             struct term_picture *pictures, struct error *err)
{
    const struct sample_image *m = &item->sample->images[i];
    char similarity[48] = "";
    enum status st;

    if (m->has_similarity)
        snprintf(similarity, sizeof similarity, "  similarity %.4f", m->similarity);
    st = buffer_printf(out, err,
                       "\n[image %zu at %u  %" PRIu32 " x %" PRIu32 " %s  %" PRIu64
                       " bytes%s  %s its sentence%s%s%s]\n",
                       i, m->soi, m->width, m->height, image_codec_name(m->codec), m->bytes,
                       similarity, m->after ? "after" : "before", m->loss ? "  loss" : "  no loss",
                       m->prev ? "  previous picture" : "", m->mask.h ? "  region mask" : "");
    return st == ST_OK && pictures ? put_picture(out, item, m, pictures, err) : st;
}

/* Tokens [from, to) as text. */
static enum status put_run(struct buffer *out, const struct inspect_item *item, size_t from,
                           size_t to, struct error *err)
{
    struct buffer text;
    enum status st = ST_OK;

    if (from == to)
        return ST_OK;
    if (!item->pieces)
        return buffer_printf(out, err, "(%zu tokens)", to - from);
    buffer_init(&text);
    st = pieces_decode(item->pieces, &text, item->sample->ids + from, to - from, err);
    if (st == ST_OK)
        st = printable_terminal(out, text.data, text.size, false, err);
    buffer_clear(&text);
    return st;
}

enum status inspect_text(struct buffer *out, const struct inspect_item *item,
                         struct term_picture *pictures, struct error *err)
{
    const struct sample *s = item->sample;
    const struct sample_slot slot = shard_facts_slot(shard_reader_facts(item->reader));
    size_t from = 0, document = 0, image = 0;
    enum status st = put_head(out, item, err);

    for (size_t i = 0; i < s->token_count && st == ST_OK; i++) {
        const bool starts = document < s->document_count && i == s->documents[document].start;
        const bool shows = image < s->image_count && i == s->images[image].soi;
        if (!starts && !shows)
            continue;
        st = put_run(out, item, from, i, err);
        from = i;
        if (st == ST_OK && starts)
            st = put_document(out, item, &s->documents[document++], err);
        if (st == ST_OK && shows) {
            st = put_image(out, item, image++, pictures, err);
            from = i + 1 + slot.tokens;
            i = from - 1;
        }
    }
    if (st == ST_OK)
        st = put_run(out, item, from, s->token_count, err);
    return st == ST_OK ? buffer_append_str(out, "\n\n", err) : st;
}
