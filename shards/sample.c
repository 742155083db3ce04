/* shards/sample.c: the encoded sequence, little-endian, in this order:
 *     version u8, source u8, flags u8, parts u8 (1: loss runs, 2: masks)
 *     tokens u16, ids stored u16, documents u16, images u16
 *     ids: u16 each, a slot as 0xFFFF
 *     documents, images: fixed fields and varints, see put_document and put_image
 *     loss: varint runs that start with zeros and sum to the token count
 *     masks: per image h, w, size as varints and `size` bytes
 * Everything that is derivable is stored nevertheless and checked: a decoder that disagrees with the
 * writer notices. */
#include "shards/sample.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"

enum {
    SAMPLE_VERSION = 1,
    PART_LOSS = 1,
    PART_MASKS = 2,
    DOCUMENT_CONT = 1,
    DOCUMENT_LINE = 2,
    DOCUMENT_URL = 4,
    IMAGE_SIMILARITY = 1,
    IMAGE_AFTER = 2,
    IMAGE_LOSS = 4,
    IMAGE_PREV = 8,
    IMAGE_CONVERTED = 16, /* original_hash differs from hash and is stored */
    MAX_KEY = 4096,
};

/* Growing output that remembers a failed append. */
struct out {
    struct buffer *b;
    struct error *err;
    bool failed;
};

static void put(struct out *o, const void *data, size_t size)
{
    if (!o->failed && size > 0 && buffer_append(o->b, data, size, o->err) != ST_OK)
        o->failed = true;
}

static void put_u8(struct out *o, unsigned v)
{
    const uint8_t b = (uint8_t)v;
    put(o, &b, 1);
}

static void put_u16(struct out *o, uint16_t v)
{
    uint8_t b[2];
    store_u16le(b, v);
    put(o, b, sizeof b);
}

static void put_u64(struct out *o, uint64_t v)
{
    uint8_t b[8];
    store_u64le(b, v);
    put(o, b, sizeof b);
}

static void put_varint(struct out *o, uint64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    do {
        b[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    put(o, b, n);
}

static void put_hash(struct out *o, struct hash128 h)
{
    put_u64(o, h.low);
    put_u64(o, h.high);
}

static enum status wrong(struct error *err, enum cause cause, const char *what, size_t at)
{
    return error_set(err, ST_FAIL, cause, "sequence: %s at %zu", what, at);
}

/* The rules that hold for every sequence; a fault is the caller's (CAUSE_ARG) when writing and the
 * file's (CAUSE_FORMAT) when reading. */
static enum status check_documents(const struct sample *s, enum cause cause, struct error *err)
{
    for (size_t i = 0; i < s->document_count; i++) {
        const struct sample_document *d = &s->documents[i];
        if ((size_t)d->start + d->length > s->token_count)
            return wrong(err, cause, "document reaches past the tokens", i);
        if (i > 0 && d->start < s->documents[i - 1].start + s->documents[i - 1].length)
            return wrong(err, cause, "document begins inside the one before", i);
        if (!d->has_line && d->key_size > MAX_KEY)
            return wrong(err, cause, "document key is longer than 4096 bytes", i);
    }
    return ST_OK;
}

static enum status check_image(const struct sample *s, size_t i, const struct sample_slot *slot,
                               enum cause cause, struct error *err)
{
    const struct sample_image *m = &s->images[i];

    if ((size_t)m->soi + slot->tokens >= s->token_count || s->ids[m->soi] != slot->soi)
        return wrong(err, cause, "image has no slot", i);
    if (i > 0 && m->soi <= s->images[i - 1].soi)
        return wrong(err, cause, "images are out of order", i);
    if (m->nearest_bos > m->soi)
        return wrong(err, cause, "nearest bos lies behind the image", i);
    if (m->document >= s->document_count)
        return wrong(err, cause, "image names no document", i);
    if (m->codec < IMAGE_JPEG || m->codec > IMAGE_BMP)
        return wrong(err, cause, "image has an unknown codec", i);
    return ST_OK;
}

static enum status check_sample(const struct sample *s, const struct sample_slot *slot,
                                enum cause cause, struct error *err)
{
    size_t slots = 0;

    if (s->token_count < 1 || s->token_count > SAMPLE_MAX_TOKENS)
        return wrong(err, cause, "number of tokens is not from 1 to 65535", s->token_count);
    if (s->document_count < 1 || s->document_count > s->token_count ||
        s->image_count > s->token_count)
        return wrong(err, cause, "more documents or images than tokens", s->document_count);
    if (check_documents(s, cause, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < s->image_count; i++)
        if (check_image(s, i, slot, cause, err) != ST_OK)
            return ST_FAIL;
    for (size_t i = 0; i < s->token_count; i++)
        slots += s->ids[i] == slot->soi;
    if (slots != s->image_count)
        return wrong(err, cause, "number of slots differs from the number of images", slots);
    return ST_OK;
}

/* Writes ids with each slot as one marker; *stored counts them. */
static enum status put_ids(struct out *o, const struct sample *s, const struct sample_slot *slot,
                           uint16_t *stored, struct error *err)
{
    for (size_t i = 0; i < s->token_count; i++) {
        uint16_t id = s->ids[i];
        if (id == SAMPLE_SLOT || id == slot->sniffer)
            return wrong(err, CAUSE_ARG, "id stands outside a slot", i);
        if (id == slot->soi) {
            for (size_t k = 1; k <= slot->tokens; k++)
                if (i + k >= s->token_count || s->ids[i + k] != slot->sniffer)
                    return wrong(err, CAUSE_ARG, "slot is not whole", i);
            i += slot->tokens;
            id = SAMPLE_SLOT;
        }
        put_u16(o, id);
        (*stored)++;
    }
    return ST_OK;
}

static void put_document(struct out *o, const struct sample_document *d)
{
    put_u16(o, d->start);
    put_u16(o, d->length);
    put_u8(o, (d->cont ? DOCUMENT_CONT : 0) | (d->has_line ? DOCUMENT_LINE : 0) |
                  (d->url_hash ? DOCUMENT_URL : 0));
    put_varint(o, d->input);
    if (d->has_line) {
        put_varint(o, d->line);
    } else {
        put_varint(o, d->key_size);
        put(o, d->key, d->key_size);
    }
    put_u64(o, d->record_key);
    if (d->url_hash)
        put_u64(o, d->url_hash);
}

static void put_image(struct out *o, const struct sample_image *m)
{
    const bool converted = !hash128_equal(m->hash, m->original_hash);
    uint64_t bits;

    put_u16(o, m->soi);
    put_u16(o, m->nearest_bos);
    put_u16(o, m->document);
    put_u8(o, (m->has_similarity ? IMAGE_SIMILARITY : 0) | (m->after ? IMAGE_AFTER : 0) |
                  (m->loss ? IMAGE_LOSS : 0) | (m->prev ? IMAGE_PREV : 0) |
                  (converted ? IMAGE_CONVERTED : 0));
    put_u8(o, (unsigned)m->codec);
    if (m->has_similarity) {
        memcpy(&bits, &m->similarity, sizeof bits);
        put_u64(o, bits);
    }
    put_varint(o, m->picture);
    put_varint(o, m->width);
    put_varint(o, m->height);
    put_varint(o, m->bytes);
    put_hash(o, m->hash);
    if (converted)
        put_hash(o, m->original_hash);
}

static void put_loss(struct out *o, const struct sample *s)
{
    for (size_t i = 0, want = 0; i < s->token_count; want ^= 1) {
        size_t run = 0;
        while (i + run < s->token_count && (s->loss[i + run] != 0) == (want != 0))
            run++;
        put_varint(o, run);
        i += run;
    }
}

static bool has_masks(const struct sample *s)
{
    for (size_t i = 0; i < s->image_count; i++)
        if (s->images[i].mask.h > 0)
            return true;
    return false;
}

enum status sample_encode(struct buffer *out, const struct sample *s,
                          const struct sample_slot *slot, struct error *err)
{
    struct out o = { out, err, false };
    const bool masks = has_masks(s);
    const size_t start = out->size;
    uint16_t stored = 0;

    if (check_sample(s, slot, CAUSE_ARG, err) != ST_OK)
        return ST_FAIL;
    put_u8(&o, SAMPLE_VERSION);
    put_u8(&o, s->source);
    put_u8(&o, s->flags);
    put_u8(&o, (s->loss ? PART_LOSS : 0) | (masks ? PART_MASKS : 0));
    put_u16(&o, (uint16_t)s->token_count);
    put_u16(&o, 0); /* the number of stored ids, known below */
    put_u16(&o, (uint16_t)s->document_count);
    put_u16(&o, (uint16_t)s->image_count);
    if (put_ids(&o, s, slot, &stored, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < s->document_count; i++)
        put_document(&o, &s->documents[i]);
    for (size_t i = 0; i < s->image_count; i++)
        put_image(&o, &s->images[i]);
    if (s->loss)
        put_loss(&o, s);
    for (size_t i = 0; masks && i < s->image_count; i++) {
        const struct sample_mask *m = &s->images[i].mask;
        put_varint(&o, m->h);
        put_varint(&o, m->h ? m->w : 0);
        put_varint(&o, m->h ? m->size : 0);
        put(&o, m->runs, m->h ? m->size : 0);
    }
    if (o.failed)
        return ST_FAIL;
    store_u16le(out->data + start + 6, stored);
    return ST_OK;
}

static enum status nomem(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sequence");
}

static enum status bad(const struct cursor *c, const char *what, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "sequence: byte %" PRIu64 ": %s", cursor_offset(c),
                     what);
}

static bool get_u32var(struct cursor *c, uint32_t *out)
{
    uint64_t v = 0;
    if (!get_varint(c, &v) || v > UINT32_MAX) {
        c->failed = true;
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

static enum status get_ids(struct cursor *c, struct sample *s, struct arena *arena, size_t stored,
                           const struct sample_slot *slot, struct error *err)
{
    const uint8_t *in = cursor_take(c, 2 * stored);
    uint16_t *ids = arena_alloc(arena, s->token_count, sizeof *ids);
    size_t n = 0;

    if (!in)
        return bad(c, "ids end early", err);
    if (!ids)
        return nomem(err);
    for (size_t i = 0; i < stored; i++) {
        const uint16_t id = load_u16le(in + 2 * i);
        const bool marker = id == SAMPLE_SLOT;
        if (s->token_count - n < 1 + (marker ? (size_t)slot->tokens : 0))
            return bad(c, "ids give more tokens than stated", err);
        if (id == slot->soi || id == slot->sniffer)
            return bad(c, "slot ids stand where a marker is due", err);
        ids[n++] = marker ? slot->soi : id;
        for (unsigned k = 0; marker && k < slot->tokens; k++)
            ids[n++] = slot->sniffer;
    }
    if (n != s->token_count)
        return bad(c, "ids give fewer tokens than stated", err);
    s->ids = ids;
    return ST_OK;
}

static enum status get_document(struct cursor *c, struct sample_document *d, struct arena *arena,
                                struct error *err)
{
    uint8_t flags = 0;
    uint64_t size = 0;

    get_u16le(c, &d->start);
    get_u16le(c, &d->length);
    get_u8(c, &flags);
    get_u32var(c, &d->input);
    d->cont = flags & DOCUMENT_CONT;
    d->has_line = flags & DOCUMENT_LINE;
    if (flags > (DOCUMENT_CONT | DOCUMENT_LINE | DOCUMENT_URL))
        return bad(c, "unknown flag of a document", err);
    if (d->has_line) {
        get_varint(c, &d->line);
    } else {
        const uint8_t *key =
            get_varint(c, &size) && size <= MAX_KEY ? cursor_take(c, (size_t)size) : NULL;
        if (!key)
            return bad(c, "document key", err);
        d->key = arena_strndup(arena, (const char *)key, (size_t)size);
        d->key_size = (size_t)size;
        if (!d->key)
            return nomem(err);
    }
    get_u64le(c, &d->record_key);
    if (flags & DOCUMENT_URL)
        get_u64le(c, &d->url_hash);
    return c->failed ? bad(c, "document ends early", err) : ST_OK;
}

static enum status get_image(struct cursor *c, struct sample_image *m, struct error *err)
{
    uint8_t flags = 0, codec = 0;
    uint64_t bits = 0;

    get_u16le(c, &m->soi);
    get_u16le(c, &m->nearest_bos);
    get_u16le(c, &m->document);
    get_u8(c, &flags);
    get_u8(c, &codec);
    m->codec = (enum image_codec)codec;
    m->has_similarity = flags & IMAGE_SIMILARITY;
    m->after = flags & IMAGE_AFTER;
    m->loss = flags & IMAGE_LOSS;
    m->prev = flags & IMAGE_PREV;
    if (m->has_similarity && get_u64le(c, &bits))
        memcpy(&m->similarity, &bits, sizeof bits);
    get_u32var(c, &m->picture);
    get_u32var(c, &m->width);
    get_u32var(c, &m->height);
    get_varint(c, &m->bytes);
    get_u64le(c, &m->hash.low);
    get_u64le(c, &m->hash.high);
    m->original_hash = m->hash;
    if (flags & IMAGE_CONVERTED) {
        get_u64le(c, &m->original_hash.low);
        get_u64le(c, &m->original_hash.high);
    }
    if (flags > 31)
        return bad(c, "unknown flag of an image", err);
    return c->failed ? bad(c, "image ends early", err) : ST_OK;
}

static enum status get_loss(struct cursor *c, struct sample *s, struct arena *arena,
                            struct error *err)
{
    uint8_t *loss = arena_alloc(arena, s->token_count, 1);
    uint64_t run = 0;
    uint8_t value = 0;

    if (!loss)
        return nomem(err);
    for (size_t i = 0; i < s->token_count; value ^= 1) {
        if (!get_varint(c, &run) || run > s->token_count - i || (run == 0 && i > 0))
            return bad(c, "run of the loss mask", err);
        memset(loss + i, value, (size_t)run);
        i += (size_t)run;
    }
    s->loss = loss;
    return ST_OK;
}

static enum status get_mask(struct cursor *c, struct sample_mask *m, struct error *err)
{
    uint64_t size = 0;

    get_u32var(c, &m->h);
    get_u32var(c, &m->w);
    get_varint(c, &size);
    if (c->failed || (m->h == 0) != (m->w == 0) || (m->h == 0) != (size == 0) ||
        size > cursor_left(c))
        return bad(c, "mask", err);
    m->runs = m->h ? cursor_take(c, (size_t)size) : NULL;
    m->size = (size_t)size;
    return ST_OK;
}

/* The two lists, each entry in turn; their memory is bounded by the bytes that are there. */
static enum status get_lists(struct cursor *c, struct sample *s, struct arena *arena,
                             struct sample_image **list, struct error *err)
{
    if (s->document_count > cursor_left(c) || s->image_count > cursor_left(c))
        return bad(c, "lists end early", err);
    struct sample_document *documents =
        arena_alloc(arena, s->document_count + 1, sizeof *documents);
    struct sample_image *images = arena_alloc(arena, s->image_count + 1, sizeof *images);
    if (!documents || !images)
        return nomem(err);
    memset(documents, 0, (s->document_count + 1) * sizeof *documents);
    memset(images, 0, (s->image_count + 1) * sizeof *images);
    s->documents = documents;
    s->images = *list = images;
    for (size_t i = 0; i < s->document_count; i++)
        if (get_document(c, &documents[i], arena, err) != ST_OK)
            return ST_FAIL;
    for (size_t i = 0; i < s->image_count; i++)
        if (get_image(c, &images[i], err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

static enum status get_parts(struct cursor *c, struct sample *s, struct arena *arena,
                             struct sample_image *images, unsigned parts, struct error *err)
{
    if ((parts & PART_LOSS) && get_loss(c, s, arena, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; (parts & PART_MASKS) && i < s->image_count; i++)
        if (get_mask(c, &images[i].mask, err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

enum status sample_decode(struct sample *out, struct arena *arena, const void *data, size_t size,
                          const struct sample_slot *slot, struct error *err)
{
    struct cursor c = cursor_make(data, size, 0);
    uint8_t version = 0, parts = 0;
    uint16_t tokens = 0, stored = 0, documents = 0, images = 0;
    struct sample_image *list = NULL;

    *out = (struct sample){ 0 };
    get_u8(&c, &version);
    get_u8(&c, &out->source);
    get_u8(&c, &out->flags);
    get_u8(&c, &parts);
    get_u16le(&c, &tokens);
    get_u16le(&c, &stored);
    get_u16le(&c, &documents);
    if (!get_u16le(&c, &images) || version != SAMPLE_VERSION || tokens == 0 ||
        parts > (PART_LOSS | PART_MASKS))
        return bad(&c, "head", err);
    out->token_count = tokens;
    out->document_count = documents;
    out->image_count = images;
    if (get_ids(&c, out, arena, stored, slot, err) != ST_OK ||
        get_lists(&c, out, arena, &list, err) != ST_OK ||
        get_parts(&c, out, arena, list, parts, err) != ST_OK)
        return ST_FAIL;
    if (cursor_left(&c) > 0)
        return bad(&c, "bytes behind the end", err);
    return check_sample(out, slot, CAUSE_FORMAT, err);
}
