/* ingest/unit_emit.c: pieces of records into the packer, bins into the shard. */
#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "ingest/unit_private.h"

/* ---- pieces ---- */

static void link_piece(struct unit *u, struct unit_piece *p)
{
    p->prev = NULL;
    p->next = u->pieces;
    if (u->pieces)
        u->pieces->prev = p;
    u->pieces = p;
}

static void free_piece(struct unit *u, struct unit_piece *p)
{
    if (p->prev)
        p->prev->next = p->next;
    else
        u->pieces = p->next;
    if (p->next)
        p->next->prev = p->prev;
    mem_free(p);
}

void unit_free_pieces(struct unit *u)
{
    while (u->pieces)
        free_piece(u, u->pieces);
}

/* One block: the struct, images, ids, key. */
static struct unit_piece *alloc_piece(const struct piece *p, size_t key_size)
{
    const size_t images = p->image_count * sizeof(struct unit_piece_image);
    const size_t ids = p->count * sizeof *p->ids;
    uint8_t *block = mem_calloc(1, sizeof(struct unit_piece) + images + ids + key_size + 1);
    if (!block)
        return NULL;
    struct unit_piece *out = (void *)block;
    out->images = (void *)(block + sizeof *out);
    out->ids = (void *)(block + sizeof *out + images);
    out->key = (char *)(block + sizeof *out + images + ids);
    out->count = p->count;
    out->image_count = p->image_count;
    memcpy(out->ids, p->ids, ids);
    return out;
}

static uint64_t draw(const struct unit *u, const char *purpose, uint32_t piece)
{
    struct rng_key k;
    struct rng g;
    rng_key_init(&k, u->c->opt->filter.seed, purpose);
    document_key(&k, u->document);
    rng_key_integer(&k, piece);
    rng_init(&g, &k);
    return rng_order(&g);
}

static void fill_piece(struct unit *u, struct unit_piece *out, const struct piece *p)
{
    const struct document *d = u->document;
    struct rng_key k;

    rng_key_init(&k, 0, "K");
    document_key(&k, d);
    out->record_key = rng_record_id(&k);
    out->url_hash = d->url.size ? hash_xxh3_64(d->url.data, d->url.size) : 0;
    out->cont = p->cont;
    out->number = p->number;
    out->input = (uint32_t)u->input;
    out->has_line = d->key.data == NULL;
    out->line = d->line;
    out->key_size = d->key.size;
    if (!out->has_line)
        memcpy(out->key, d->key.data, d->key.size);
    for (size_t i = 0; i < p->image_count; i++) {
        const bool pair = d->kind == DOCUMENT_PAIR;
        const struct filter_place *at = pair ? NULL : &u->result->places[p->images[i].place];
        const uint32_t index = pair ? 0 : at->index;
        out->images[i] =
            (struct unit_piece_image){ .picture = u->pictures[index],
                                       .soi = p->images[i].soi,
                                       .has_similarity = !pair,
                                       .similarity = d->images[index].similarity,
                                       .after = pair ? p->images[i].soi != 1 : !at->before };
    }
}

enum status unit_emit_piece(void *arg, const struct piece *p, struct error *err)
{
    struct unit *u = arg;
    struct unit_piece *piece = alloc_piece(p, u->document->key.size);
    if (!piece)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "piece of %zu ids", p->count);
    fill_piece(u, piece, p);
    link_piece(u, piece);
    const struct packer_item item = { .order = draw(u, "D5a", p->number),
                                      .bin = draw(u, "D5b", p->number),
                                      .tokens = (uint32_t)p->count,
                                      .images = (uint32_t)p->image_count,
                                      .payload = piece };
    return packer_push(u->packer, &item, err);
}

/* ---- sequences ---- */

static enum status put_document(struct unit *u, const struct unit_piece *p, struct error *err)
{
    const struct sample_document d = { .start = (uint16_t)(u->ids.size / sizeof *p->ids),
                                       .length = (uint16_t)p->count,
                                       .cont = p->cont,
                                       .input = p->input,
                                       .has_line = p->has_line,
                                       .line = p->line,
                                       .key = p->has_line ? NULL : p->key,
                                       .key_size = p->has_line ? 0 : p->key_size,
                                       .record_key = p->record_key,
                                       .url_hash = p->url_hash };
    return buffer_append(&u->documents, &d, sizeof d, err);
}

static enum status put_image(struct unit *u, const struct unit_piece *p, size_t i, size_t start,
                             struct error *err)
{
    const struct unit_piece_image *m = &p->images[i];
    const struct unit_picture *pic = &m->picture;
    struct sample_image out = { .soi = (uint16_t)(start + m->soi),
                                .nearest_bos = (uint16_t)start,
                                .document =
                                    (uint16_t)(u->documents.size / sizeof(struct sample_document)),
                                .has_similarity = m->has_similarity,
                                .similarity = m->similarity,
                                .after = m->after,
                                .loss = m->soi + 1 > 2,
                                .prev = i > 0,
                                .width = pic->info.width,
                                .height = pic->info.height,
                                .bytes = pic->size,
                                .codec = pic->info.codec,
                                .original_hash = pic->original_hash };
    enum status st = spool_get(&u->spool, &u->picture, pic->offset, (size_t)pic->size, err);
    if (st == ST_OK)
        st = shard_writer_picture(u->driver->writer, u->picture.data, u->picture.size, &pic->info,
                                  &out.picture, &out.hash, err);
    return st == ST_OK ? buffer_append(&u->images, &out, sizeof out, err) : st;
}

static enum status put_piece(struct unit *u, const struct unit_piece *p, struct error *err)
{
    const size_t start = u->ids.size / sizeof *p->ids;
    enum status st = ST_OK;
    for (size_t i = 0; i < p->image_count && st == ST_OK; i++)
        st = put_image(u, p, i, start, err);
    if (st == ST_OK)
        st = put_document(u, p, err);
    return st == ST_OK ? buffer_append(&u->ids, p->ids, p->count * sizeof *p->ids, err) : st;
}

enum status unit_emit_sequence(void *arg, const struct packer_item *items, size_t count,
                               uint32_t tokens, uint32_t images, struct error *err)
{
    struct unit *u = arg;
    enum status st = ST_OK;

    u->ids.size = u->documents.size = u->images.size = 0;
    for (size_t i = 0; i < count && st == ST_OK && images > 0; i++)
        st = put_piece(u, items[i].payload, err);
    if (st == ST_OK && images > 0) {
        const struct sample s = { .ids = (const void *)u->ids.data,
                                  .token_count = tokens,
                                  .documents = (const void *)u->documents.data,
                                  .document_count = count,
                                  .images = (const void *)u->images.data,
                                  .image_count = images };
        st = shard_writer_sequence(u->driver->writer, &s, err);
    }
    if (images == 0)
        u->driver->facts->pieces_dropped += count;
    for (size_t i = 0; i < count && st == ST_OK; i++)
        free_piece(u, items[i].payload);
    return st;
}
