/* shards/shard_reader.c: records of a shard by the page reader. */
#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "shards/shard_reader_private.h"

void shard_reader_options_init(struct shard_reader_options *opt)
{
    *opt = (struct shard_reader_options){ .max_record_bytes = (uint64_t)64 << 20 };
}

enum status shard_reader_value(struct shard_reader *r, enum value_kind kind, uint32_t number,
                               struct buffer *memory, struct value *out, struct error *err)
{
    const struct value_place place = { r->facts.identity, r->unit.shard, kind, number };
    uint8_t key[VALUE_KEY];
    const uint8_t *data = NULL;
    size_t size = 0;

    value_key(key, kind, number);
    enum status st =
        page_reader_get(r->pages, key, sizeof key, r->max_record_bytes, memory, &data, &size, err);
    if (st == ST_END)
        return ST_END;
    if (st == ST_OK && value_open(out, data, size, &place, r->hash, err) == ST_OK)
        return ST_OK;
    if (st == ST_OK) /* what the page reader says begins with the path already */
        error_prefix(err, ST_FAIL, "%s: %s %" PRIu32, r->path, value_kind_name(kind), number);
    return ST_FAIL;
}

static enum status missing(const struct shard_reader *r, enum value_kind kind, uint32_t number,
                           struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: %s %" PRIu32 " is not in the shard", r->path,
                     value_kind_name(kind), number);
}

/* The unit record names the identity and number that its own hash is made with. */
static enum status read_unit(struct shard_reader *r, const struct shard_reader_options *opt,
                             struct error *err)
{
    uint8_t key[VALUE_KEY];
    const uint8_t *data = NULL;
    size_t size = 0;
    struct value v;

    value_key(key, VALUE_UNIT, 0);
    enum status st = page_reader_get(r->pages, key, sizeof key, r->max_record_bytes, &r->memory,
                                     &data, &size, err);
    if (st == ST_END)
        return missing(r, VALUE_UNIT, 0, err);
    if (st != ST_OK)
        return st;
    if (size < VALUE_HEAD)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: unit record ends early", r->path);
    if (facts_decode(&r->facts, &r->unit, &r->arena, data + VALUE_HEAD, size - VALUE_HEAD, err) !=
        ST_OK)
        return error_prefix(err, ST_FAIL, "%s: unit record", r->path);
    const struct value_place place = { r->facts.identity, r->unit.shard, VALUE_UNIT, 0 };
    if (value_open(&v, data, size, &place, r->hash, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "%s: unit record", r->path);
    if (opt->identity && memcmp(opt->identity, r->facts.identity, SHARD_IDENTITY_BYTES) != 0)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: the shard belongs to another dataset",
                         r->path);
    if (opt->has_number && opt->number != r->unit.shard)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: the shard is number %" PRIu32 ", want %" PRIu32, r->path,
                         r->unit.shard, opt->number);
    return ST_OK;
}

static enum status open_parts(struct shard_reader *r, const char *path,
                              const struct shard_reader_options *opt, struct error *err)
{
    r->path = mem_strdup(path);
    if (!r->path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", path);
    if (page_reader_open(&r->pages, path, err) != ST_OK ||
        hash_stream_open(&r->hash, HASH_XXH3_64, err) != ST_OK || read_unit(r, opt, err) != ST_OK)
        return ST_FAIL;
    if (r->unit.sequences > UINT32_MAX || r->unit.pictures > UINT32_MAX ||
        r->unit.sequences + r->unit.pictures >= page_reader_entries(r->pages))
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: unit record counts more records than the file holds", path);
    return ST_OK;
}

enum status shard_reader_open(struct shard_reader **out, const char *path,
                              const struct shard_reader_options *opt, struct error *err)
{
    struct shard_reader_options defaults;
    struct shard_reader *r = mem_calloc(1, sizeof *r);

    *out = NULL;
    if (!r)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", path);
    shard_reader_options_init(&defaults);
    if (!opt)
        opt = &defaults;
    arena_init(&r->arena, 0);
    r->max_record_bytes = opt->max_record_bytes;
    if (open_parts(r, path, opt, err) != ST_OK) {
        shard_reader_close(&r);
        return ST_FAIL;
    }
    *out = r;
    return ST_OK;
}

void shard_reader_close(struct shard_reader **reader)
{
    struct shard_reader *r = *reader;

    if (!r)
        return;
    page_reader_close(&r->pages);
    hash_stream_close(&r->hash);
    zstd_decoder_close(&r->sequence_decoder);
    zstd_decoder_close(&r->plain_decoder);
    unit_facts_clear(&r->unit);
    arena_clear(&r->arena);
    buffer_clear(&r->memory);
    buffer_clear(&r->plain);
    mem_free(r->path);
    mem_free(r);
    *reader = NULL;
}

const struct shard_facts *shard_reader_facts(const struct shard_reader *r)
{
    return &r->facts;
}

const struct unit_facts *shard_reader_unit(const struct shard_reader *r)
{
    return &r->unit;
}

uint64_t shard_reader_sequences(const struct shard_reader *r)
{
    return r->unit.sequences;
}

uint64_t shard_reader_pictures(const struct shard_reader *r)
{
    return r->unit.pictures;
}

uint64_t shard_reader_file_size(const struct shard_reader *r)
{
    return page_reader_file_size(r->pages);
}

static enum status need_decoder(struct shard_reader *r, struct zstd_decoder **decoder,
                                bool with_dictionary, struct error *err)
{
    struct value v = { 0 };

    if (*decoder)
        return ST_OK;
    if (with_dictionary) {
        const enum status st = shard_reader_value(r, VALUE_DICTIONARY, 0, &r->memory, &v, err);
        if (st == ST_END)
            return missing(r, VALUE_DICTIONARY, 0, err);
        if (st != ST_OK)
            return st;
    }
    return zstd_decoder_open(decoder, v.payload, v.size, err);
}

/* The plain bytes of a compressed value, in r->plain. */
static enum status inflate(struct shard_reader *r, struct zstd_decoder *decoder,
                           const struct value *v, struct error *err)
{
    if (!(v->flags & VALUE_ZSTD))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "value is not compressed");
    if (v->plain_bytes > r->max_record_bytes)
        return error_set(err, ST_FAIL, CAUSE_LIMIT, "value of %" PRIu32 " bytes, allowed %" PRIu64,
                         v->plain_bytes, r->max_record_bytes);
    return zstd_decode(decoder, &r->plain, v->payload, v->size, v->plain_bytes, err);
}

/* Indices against what the unit record says. */
static enum status check_indices(const struct shard_reader *r, const struct sample *s,
                                 struct error *err)
{
    if (s->source >= r->facts.source_count || s->token_count > r->facts.seq_len)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "source %u or %zu tokens", s->source,
                         s->token_count);
    for (size_t i = 0; i < s->document_count; i++)
        if (s->documents[i].input >= r->unit.input_count)
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "document %zu names input %" PRIu32, i,
                             s->documents[i].input);
    for (size_t i = 0; i < s->image_count; i++)
        if (s->images[i].picture >= r->unit.pictures)
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "image %zu names picture %" PRIu32, i,
                             s->images[i].picture);
    return ST_OK;
}

/* A copy of the plain bytes goes to the arena: masks of the sequence stay in them. */
static enum status decode_sequence(struct shard_reader *r, const struct value *v,
                                   struct sample *out, struct arena *arena, struct error *err)
{
    const struct sample_slot slot = shard_facts_slot(&r->facts);
    struct zstd_decoder *decoder =
        v->flags & VALUE_WITH_DICTIONARY ? r->sequence_decoder : r->plain_decoder;

    if (inflate(r, decoder, v, err) != ST_OK)
        return ST_FAIL;
    uint8_t *plain = arena_alloc(arena, r->plain.size, 1);
    if (!plain)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory");
    memcpy(plain, r->plain.data, r->plain.size);
    if (sample_decode(out, arena, plain, r->plain.size, &slot, err) != ST_OK)
        return ST_FAIL;
    return check_indices(r, out, err);
}

enum status shard_reader_sequence(struct shard_reader *r, uint64_t index, struct sample *out,
                                  struct arena *arena, struct error *err)
{
    struct value v;

    if (index >= r->unit.sequences)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: sequence %" PRIu64 ": there are %" PRIu64,
                         r->path, index, r->unit.sequences);
    const uint32_t number = (uint32_t)index;
    enum status st = shard_reader_value(r, VALUE_SEQUENCE, number, &r->memory, &v, err);
    if (st == ST_OK && (v.flags & VALUE_WITH_DICTIONARY) && !r->sequence_decoder) {
        st = need_decoder(r, &r->sequence_decoder, true, err); /* takes r->memory */
        if (st == ST_OK)
            st = shard_reader_value(r, VALUE_SEQUENCE, number, &r->memory, &v, err);
    } else if (st == ST_OK && !(v.flags & VALUE_WITH_DICTIONARY)) {
        st = need_decoder(r, &r->plain_decoder, false, err);
    }
    if (st == ST_END)
        return missing(r, VALUE_SEQUENCE, number, err);
    if (st != ST_OK)
        return st;
    if (decode_sequence(r, &v, out, arena, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "%s: sequence %" PRIu64, r->path, index);
    return ST_OK;
}

enum status shard_reader_picture(struct shard_reader *r, uint32_t number, struct buffer *memory,
                                 struct shard_picture *out, struct error *err)
{
    struct value v;

    if (number >= r->unit.pictures)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: picture %" PRIu32 ": there are %" PRIu64,
                         r->path, number, r->unit.pictures);
    const enum status st = shard_reader_value(r, VALUE_PICTURE, number, memory, &v, err);
    if (st == ST_END)
        return missing(r, VALUE_PICTURE, number, err);
    if (st != ST_OK)
        return st;
    const uint8_t *head = v.payload;
    if (v.flags != 0 || v.size <= PICTURE_HEAD || head[0] < IMAGE_JPEG || head[0] > IMAGE_BMP ||
        head[1] || head[2] || head[3])
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: picture %" PRIu32 ": head", r->path,
                         number);
    *out = (struct shard_picture){
        .codec = (enum image_codec)head[0],
        .width = load_u32le(head + 4),
        .height = load_u32le(head + 8),
        .hash = { load_u64le(head + 12), load_u64le(head + 20) },
        .data = head + PICTURE_HEAD,
        .size = v.size - PICTURE_HEAD,
    };
    return ST_OK;
}

enum status shard_reader_dictionary(struct shard_reader *r, struct buffer *out, struct error *err)
{
    struct value v;
    const enum status st = shard_reader_value(r, VALUE_DICTIONARY, 0, &r->memory, &v, err);

    if (st == ST_END)
        return ST_OK;
    return st == ST_OK ? buffer_append(out, v.payload, v.size, err) : st;
}

/* The plain bytes of a record made without dictionary, in r->plain. ST_END: no such record. */
static enum status read_plain(struct shard_reader *r, enum value_kind kind, uint32_t number,
                              struct error *err)
{
    struct value v;
    enum status st = need_decoder(r, &r->plain_decoder, false, err);

    if (st == ST_OK)
        st = shard_reader_value(r, kind, number, &r->memory, &v, err);
    if (st == ST_OK && inflate(r, r->plain_decoder, &v, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "%s: %s %" PRIu32, r->path, value_kind_name(kind),
                            number);
    return st;
}

enum status shard_reader_quarantine(struct shard_reader *r, struct buffer *out, struct error *err)
{
    enum status st = ST_OK;

    for (uint32_t number = 0; st == ST_OK; number++) {
        st = read_plain(r, VALUE_QUARANTINE, number, err);
        if (st == ST_OK)
            st = buffer_append(out, r->plain.data, r->plain.size, err);
    }
    return st == ST_END ? ST_OK : st;
}

enum status shard_reader_pieces(struct shard_reader *r, struct pieces **out, struct error *err)
{
    const enum status st = read_plain(r, VALUE_PIECES, 0, err);

    *out = NULL;
    if (st == ST_END)
        return ST_OK;
    if (st != ST_OK)
        return st;
    if (pieces_open(out, r->plain.data, r->plain.size, r->facts.pieces, err) != ST_OK)
        return error_prefix(err, ST_FAIL, "%s", r->path);
    return ST_OK;
}

enum status shard_reader_record_name(const struct shard_reader *r, const struct sample_document *d,
                                     struct buffer *out, struct error *err)
{
    if (d->input >= r->unit.input_count)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: input %" PRIu32, r->path, d->input);
    if (buffer_append_str(out, r->unit.inputs[d->input].name, err) != ST_OK ||
        buffer_append(out, ":", 1, err) != ST_OK)
        return ST_FAIL;
    if (d->has_line)
        return buffer_printf(out, err, "%" PRIu64, d->line);
    return d->key_size > 0 ? buffer_append(out, d->key, d->key_size, err) : ST_OK;
}
