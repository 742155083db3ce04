/* cli/inspect_json.c: the line of `deem inspect --json`. Members by design.md 8 first, ours behind. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/inspect.h"
#include "core/json.h"
#include "core/rle.h"

static void put_u64(struct json_writer *w, const char *name, uint64_t v)
{
    json_key(w, name);
    json_uint(w, v);
}

static void put_bool(struct json_writer *w, const char *name, bool v)
{
    json_key(w, name);
    json_bool(w, v);
}

static void put_text(struct json_writer *w, const char *name, const char *text)
{
    json_key(w, name);
    json_string(w, text);
}

static void put_hex64(struct json_writer *w, const char *name, uint64_t v)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, v);
    put_text(w, name, text);
}

static void put_hash(struct json_writer *w, const char *name, struct hash128 h)
{
    char text[33];
    hash128_hex(text, h);
    put_text(w, name, text);
}

static enum status put_documents(struct json_writer *w, const struct inspect_item *item,
                                 struct error *err)
{
    struct buffer name;
    enum status st = ST_OK;

    buffer_init(&name);
    json_key(w, "documents");
    json_begin_array(w);
    for (size_t i = 0; st == ST_OK && i < item->sample->document_count; i++) {
        const struct sample_document *d = &item->sample->documents[i];
        name.size = 0;
        st = shard_reader_record_name(item->reader, d, &name, err);
        if (st != ST_OK)
            break;
        json_begin_object(w);
        json_key(w, "key");
        json_string_n(w, (const char *)name.data, name.size);
        put_u64(w, "start", d->start);
        put_u64(w, "length", d->length);
        put_bool(w, "cont", d->cont);
        put_hex64(w, "record_key", d->record_key);
        put_hex64(w, "url_hash", d->url_hash);
        json_end_object(w);
    }
    json_end_array(w);
    buffer_clear(&name);
    return st;
}

/* `"masks":[{"region":1,"rle":"..."}]`: regions in the order of their slots, with the image's place. */
static enum status put_masks(struct json_writer *w, const struct sample *s, struct error *err)
{
    struct rle rle;
    struct buffer text;
    uint64_t region = 0;
    enum status st = ST_OK;

    rle_init(&rle);
    buffer_init(&text);
    json_key(w, "masks");
    json_begin_array(w);
    for (size_t i = 0; st == ST_OK && i < s->image_count; i++) {
        const struct sample_mask *m = &s->images[i].mask;
        if (m->h == 0)
            continue;
        text.size = 0;
        st = rle_from_varints(&rle, m->h, m->w, m->runs, m->size, err);
        if (st == ST_OK)
            st = rle_to_string(&text, &rle, err);
        json_begin_object(w);
        put_u64(w, "region", ++region);
        put_u64(w, "image", i);
        json_key(w, "rle");
        json_string_n(w, (const char *)text.data, text.size);
        json_end_object(w);
    }
    json_end_array(w);
    rle_clear(&rle);
    buffer_clear(&text);
    return st == ST_OK ? ST_OK : ST_FAIL;
}

/* A 0 or 1 a token: 1 = a trained target. */
static void put_loss_mask(struct json_writer *w, const struct sample *s)
{
    json_key(w, "loss_mask");
    json_begin_array(w);
    for (size_t i = 0; i < s->token_count; i++)
        json_uint(w, s->loss[i]);
    json_end_array(w);
}

/* As COCO writes it: size [h, w] and the compressed string. */
static enum status put_mask(struct json_writer *w, const struct sample_mask *m, struct error *err)
{
    struct rle rle;
    struct buffer text;

    rle_init(&rle);
    buffer_init(&text);
    enum status st = rle_from_varints(&rle, m->h, m->w, m->runs, m->size, err);
    if (st == ST_OK)
        st = rle_to_string(&text, &rle, err);
    if (st == ST_OK) {
        json_key(w, "mask");
        json_begin_object(w);
        json_key(w, "size");
        json_begin_array(w);
        json_uint(w, m->h);
        json_uint(w, m->w);
        json_end_array(w);
        json_key(w, "counts");
        json_string_n(w, (const char *)text.data, text.size);
        json_end_object(w);
    }
    rle_clear(&rle);
    buffer_clear(&text);
    return st == ST_OK ? ST_OK : ST_FAIL;
}

static enum status put_image(struct json_writer *w, const struct sample_image *m, struct error *err)
{
    enum status st = ST_OK;

    json_begin_object(w);
    put_u64(w, "soi", m->soi);
    put_u64(w, "nearest_bos", m->nearest_bos);
    put_u64(w, "document", m->document);
    json_key(w, "similarity");
    if (m->has_similarity)
        json_number(w, m->similarity);
    else
        json_null(w);
    put_text(w, "side", m->after ? "after" : "before");
    put_u64(w, "width", m->width);
    put_u64(w, "height", m->height);
    put_text(w, "codec", image_codec_name(m->codec));
    put_u64(w, "bytes", m->bytes);
    put_hash(w, "hash", m->hash);
    put_hash(w, "original_hash", m->original_hash);
    put_bool(w, "loss", m->loss);
    put_bool(w, "prev", m->prev);
    put_u64(w, "picture", m->picture);
    if (m->mask.h > 0)
        st = put_mask(w, &m->mask, err);
    json_end_object(w);
    return st;
}

static enum status put_list_of_images(struct json_writer *w, const struct sample *s,
                                      struct error *err)
{
    enum status st = ST_OK;

    json_key(w, "images");
    json_begin_array(w);
    for (size_t i = 0; st == ST_OK && i < s->image_count; i++)
        st = put_image(w, &s->images[i], err);
    json_end_array(w);
    return st;
}

static enum status put_decoded(struct json_writer *w, const struct inspect_item *item,
                               struct error *err)
{
    struct buffer text;
    enum status st = ST_OK;

    json_key(w, "text");
    if (!item->pieces) {
        json_null(w);
        return ST_OK;
    }
    buffer_init(&text);
    st = pieces_decode(item->pieces, &text, item->sample->ids, item->sample->token_count, err);
    if (st == ST_OK)
        json_string_n(w, (const char *)text.data, text.size);
    buffer_clear(&text);
    return st;
}

/* Runs [start, length) of trained targets; only where the sequence stores a mask. */
static void put_loss(struct json_writer *w, const struct sample *s)
{
    if (!s->loss)
        return;
    json_key(w, "targets");
    json_begin_array(w);
    for (size_t i = 0; i < s->token_count;) {
        const size_t start = i;
        while (i < s->token_count && s->loss[i])
            i++;
        if (i > start) {
            json_begin_array(w);
            json_uint(w, start);
            json_uint(w, i - start);
            json_end_array(w);
        } else {
            i++;
        }
    }
    json_end_array(w);
}

enum status inspect_json(struct buffer *out, const struct inspect_item *item, struct error *err)
{
    const struct sample *s = item->sample;
    struct json_writer w;

    json_writer_init(&w, out);
    json_begin_object(&w);
    put_u64(&w, "sequence", item->sequence);
    put_u64(&w, "shard", item->shard);
    put_u64(&w, "index", item->index);
    put_text(&w, "source", shard_reader_facts(item->reader)->sources[s->source]);
    if (item->planned) {
        put_u64(&w, "micro_batch", item->micro_batch);
        put_u64(&w, "rank", item->rank);
        put_u64(&w, "epoch", item->epoch);
        put_text(&w, "dataset", item->dataset);
        put_text(&w, "recipe_source", item->source);
        put_bool(&w, "substituted", item->substituted);
    }
    json_key(&w, "ids");
    json_begin_array(&w);
    for (size_t i = 0; i < s->token_count; i++)
        json_uint(&w, s->ids[i]);
    json_end_array(&w);
    if (put_documents(&w, item, err) != ST_OK || put_list_of_images(&w, s, err) != ST_OK ||
        put_decoded(&w, item, err) != ST_OK)
        return ST_FAIL;
    put_u64(&w, "flags", s->flags);
    put_loss(&w, s);
    if (s->loss) {
        put_loss_mask(&w, s);
        if (put_masks(&w, s, err) != ST_OK)
            return ST_FAIL;
    }
    json_end_object(&w);
    const enum status st = json_writer_finish(&w, err);
    return st == ST_OK ? buffer_append(out, "\n", 1, err) : st;
}
