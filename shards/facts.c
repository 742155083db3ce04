/* shards/facts.c: facts of a dataset and of a unit as JSON. Members are always written in the same
 * order and without space, so equal facts are equal bytes. */
#include "shards/facts.h"

#include <inttypes.h>
#include <string.h>

#include "core/bytes.h"
#include "shards/fields_private.h"

enum { MAX_PIECES = 65529 }; /* ids and special ids fit 16 bits */

struct sample_slot shard_facts_slot(const struct shard_facts *f)
{
    return (struct sample_slot){ (uint16_t)f->pieces, (uint16_t)(f->pieces + 1),
                                 (uint16_t)f->image_tokens };
}

static void put_u64(struct json_writer *w, const char *name, uint64_t v)
{
    json_key(w, name);
    json_uint(w, v);
}

static void put_raw(struct json_writer *w, const char *name, const char *json)
{
    json_key(w, name);
    json_raw(w, json, strlen(json));
}

void facts_write(struct json_writer *w, const struct shard_facts *f)
{
    const char variant[2] = { f->variant, '\0' };

    json_key(w, "kind");
    json_string(w, f->kind);
    json_key(w, "sources");
    json_begin_array(w);
    for (size_t i = 0; i < f->source_count; i++)
        json_string(w, f->sources[i]);
    json_end_array(w);
    field_write_hex(w, "identity", f->identity, sizeof f->identity);
    put_u64(w, "seed", f->seed);
    json_key(w, "tokenizer");
    json_begin_object(w);
    field_write_hex(w, "sha256", f->tokenizer_sha256, sizeof f->tokenizer_sha256);
    json_key(w, "variant");
    json_string(w, variant);
    put_u64(w, "pieces", f->pieces);
    put_u64(w, "unk", f->unk);
    put_u64(w, "bos", f->bos);
    put_u64(w, "eos", f->eos);
    json_end_object(w);
    put_u64(w, "seq_len", f->seq_len);
    put_u64(w, "image_tokens", f->image_tokens);
    put_u64(w, "images_per_seq", f->images_per_seq);
    put_raw(w, "options", f->options);
    put_raw(w, "versions", f->versions);
}

void facts_write_tally(struct json_writer *w, const struct tally *t)
{
    json_begin_object(w);
    for (size_t i = 0; i < t->size; i++)
        put_u64(w, t->names[i], t->counts[i]);
    json_end_object(w);
}

void facts_write_count(struct json_writer *w, const struct unit_count *c)
{
    put_u64(w, "seen", c->seen);
    put_u64(w, "stored", c->stored);
    json_key(w, "filtered");
    facts_write_tally(w, &c->filtered);
    json_key(w, "quarantined");
    facts_write_tally(w, &c->quarantined);
}

void facts_write_inputs(struct json_writer *w, const struct unit_input *inputs, size_t count)
{
    json_begin_array(w);
    for (size_t i = 0; i < count; i++) {
        const struct unit_input *one = &inputs[i];
        json_begin_object(w);
        json_key(w, "file");
        json_string(w, one->file);
        json_key(w, "name");
        json_string(w, one->name);
        put_u64(w, "bytes", one->bytes);
        json_key(w, "incomplete");
        json_bool(w, one->incomplete);
        facts_write_count(w, &one->records);
        json_key(w, "pictures");
        json_begin_object(w);
        facts_write_count(w, &one->pictures);
        json_end_object(w);
        if (one->notes.size > 0) {
            json_key(w, "notes");
            facts_write_tally(w, &one->notes);
        }
        json_end_object(w);
    }
    json_end_array(w);
}

enum status facts_encode(struct buffer *out, const struct shard_facts *f,
                         const struct unit_facts *u, struct error *err)
{
    struct json_writer w;

    json_writer_init(&w, out);
    json_begin_object(&w);
    put_u64(&w, "format", SHARD_FORMAT);
    put_u64(&w, "shard", u->shard);
    facts_write(&w, f);
    put_u64(&w, "sequences", u->sequences);
    put_u64(&w, "pictures", u->pictures);
    put_u64(&w, "documents", u->documents);
    put_u64(&w, "images", u->images);
    put_u64(&w, "tokens", u->tokens);
    put_u64(&w, "pieces_dropped", u->pieces_dropped);
    put_u64(&w, "quarantine_rows", u->quarantine_rows);
    json_key(&w, "inputs");
    facts_write_inputs(&w, u->inputs, u->input_count);
    json_end_object(&w);
    return json_writer_finish(&w, err);
}

static enum status read_sources(struct shard_facts *f, struct arena *arena,
                                const struct json_value *array, struct error *err)
{
    const char **names = arena_alloc(arena, array->count + 1, sizeof *names);
    size_t n = 0;

    if (!names)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sources");
    if (array->count < 1 || array->count > SHARD_MAX_SOURCES)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "member sources: want 1 to 256 names");
    for (const struct json_value *v = array->child; v; v = v->next) {
        if (v->type != JSON_T_STRING)
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "member sources: want strings");
        names[n] = arena_strndup(arena, v->text, v->size);
        if (!names[n++])
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sources");
    }
    f->sources = names;
    f->source_count = n;
    return ST_OK;
}

static enum status read_tokenizer(struct shard_facts *f, const struct json_value *object,
                                  struct error *err)
{
    const char *variant = NULL;

    if (field_hex(f->tokenizer_sha256, sizeof f->tokenizer_sha256, object, "sha256", err) !=
            ST_OK ||
        field_text(&variant, object, "variant", err) != ST_OK ||
        field_u32(&f->pieces, object, "pieces", err) != ST_OK ||
        field_u16(&f->unk, object, "unk", err) != ST_OK ||
        field_u16(&f->bos, object, "bos", err) != ST_OK ||
        field_u16(&f->eos, object, "eos", err) != ST_OK)
        return ST_FAIL;
    f->variant = variant[0];
    if (variant[0] < 'A' || variant[0] > 'C' || variant[1] != '\0')
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "member variant: want A, B or C");
    if (f->pieces < 1 || f->pieces > MAX_PIECES)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "member pieces: got %" PRIu32 ", want 1 to %d",
                         f->pieces, MAX_PIECES);
    return ST_OK;
}

static enum status read_text(const char **out, struct arena *arena, const struct json_value *object,
                             const char *name, struct error *err)
{
    const char *text = NULL;
    if (field_text(&text, object, name, err) != ST_OK)
        return ST_FAIL;
    *out = arena_strndup(arena, text, strlen(text));
    return *out ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: facts");
}

enum status facts_read(struct shard_facts *f, struct arena *arena, const struct json_value *object,
                       struct error *err)
{
    const struct json_value *sources = NULL, *tokenizer = NULL, *options = NULL, *versions = NULL;

    *f = (struct shard_facts){ 0 };
    if (read_text(&f->kind, arena, object, "kind", err) != ST_OK ||
        field_value(&sources, JSON_T_ARRAY, object, "sources", err) != ST_OK ||
        read_sources(f, arena, sources, err) != ST_OK ||
        field_hex(f->identity, sizeof f->identity, object, "identity", err) != ST_OK ||
        field_u64(&f->seed, object, "seed", err) != ST_OK ||
        field_value(&tokenizer, JSON_T_OBJECT, object, "tokenizer", err) != ST_OK ||
        read_tokenizer(f, tokenizer, err) != ST_OK ||
        field_u32(&f->seq_len, object, "seq_len", err) != ST_OK ||
        field_u32(&f->image_tokens, object, "image_tokens", err) != ST_OK ||
        field_u32(&f->images_per_seq, object, "images_per_seq", err) != ST_OK ||
        field_value(&options, JSON_T_OBJECT, object, "options", err) != ST_OK ||
        field_rewrite(&f->options, arena, options, err) != ST_OK ||
        field_value(&versions, JSON_T_OBJECT, object, "versions", err) != ST_OK ||
        field_rewrite(&f->versions, arena, versions, err) != ST_OK)
        return ST_FAIL;
    if (f->seq_len < 1 || f->seq_len > SAMPLE_MAX_TOKENS || f->image_tokens < 1 ||
        f->image_tokens >= f->seq_len)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "members seq_len, image_tokens: got %" PRIu32 ", %" PRIu32, f->seq_len,
                         f->image_tokens);
    return ST_OK;
}

static enum status read_tally(struct tally *t, const struct json_value *object, const char *name,
                              struct error *err)
{
    const struct json_value *members = NULL;
    uint64_t n = 0;

    if (field_value(&members, JSON_T_OBJECT, object, name, err) != ST_OK)
        return ST_FAIL;
    for (const struct json_value *v = members->child; v; v = v->next)
        if (field_u64(&n, members, v->key, err) != ST_OK || tally_add(t, v->key, n, err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

enum status facts_read_count(struct unit_count *c, const struct json_value *object,
                             struct error *err)
{
    if (field_u64(&c->seen, object, "seen", err) != ST_OK ||
        field_u64(&c->stored, object, "stored", err) != ST_OK ||
        read_tally(&c->filtered, object, "filtered", err) != ST_OK ||
        read_tally(&c->quarantined, object, "quarantined", err) != ST_OK)
        return ST_FAIL;
    return ST_OK;
}

enum status facts_read_inputs(struct unit_facts *u, const struct json_value *array,
                              struct error *err)
{
    for (const struct json_value *v = array->child; v; v = v->next) {
        const struct json_value *pictures = NULL;
        const char *file = NULL, *name = NULL;
        uint64_t bytes = 0;
        size_t at = 0;

        if (field_text(&file, v, "file", err) != ST_OK ||
            field_text(&name, v, "name", err) != ST_OK ||
            field_u64(&bytes, v, "bytes", err) != ST_OK ||
            field_value(&pictures, JSON_T_OBJECT, v, "pictures", err) != ST_OK ||
            unit_facts_input(u, file, name, bytes, &at, err) != ST_OK ||
            field_bool(&u->inputs[at].incomplete, v, "incomplete", err) != ST_OK ||
            facts_read_count(&u->inputs[at].records, v, err) != ST_OK ||
            facts_read_count(&u->inputs[at].pictures, pictures, err) != ST_OK ||
            (json_get(v, "notes") && read_tally(&u->inputs[at].notes, v, "notes", err) != ST_OK))
            return ST_FAIL;
    }
    return ST_OK;
}

static enum status read_unit(struct unit_facts *u, const struct json_value *object,
                             struct error *err)
{
    const struct json_value *inputs = NULL;

    if (field_u32(&u->shard, object, "shard", err) != ST_OK ||
        field_u64(&u->sequences, object, "sequences", err) != ST_OK ||
        field_u64(&u->pictures, object, "pictures", err) != ST_OK ||
        field_u64(&u->documents, object, "documents", err) != ST_OK ||
        field_u64(&u->images, object, "images", err) != ST_OK ||
        field_u64(&u->tokens, object, "tokens", err) != ST_OK ||
        field_u64(&u->pieces_dropped, object, "pieces_dropped", err) != ST_OK ||
        field_u64(&u->quarantine_rows, object, "quarantine_rows", err) != ST_OK ||
        field_value(&inputs, JSON_T_ARRAY, object, "inputs", err) != ST_OK)
        return ST_FAIL;
    return facts_read_inputs(u, inputs, err);
}

enum status facts_decode(struct shard_facts *f, struct unit_facts *u, struct arena *arena,
                         const void *data, size_t size, struct error *err)
{
    struct arena tree;
    struct json_value *top = NULL;
    uint64_t format = 0;
    enum status st = ST_FAIL;

    arena_init(&tree, 0);
    unit_facts_init(u);
    if (json_parse(&tree, &top, data, size, NULL, err) != ST_OK ||
        field_u64(&format, top, "format", err) != ST_OK)
        goto done;
    if (format != SHARD_FORMAT) {
        error_set(err, ST_FAIL, CAUSE_FORMAT, "shard format: got %" PRIu64 ", want %d", format,
                  SHARD_FORMAT);
        goto done;
    }
    if (facts_read(f, arena, top, err) == ST_OK)
        st = read_unit(u, top, err);
done:
    if (st != ST_OK)
        unit_facts_clear(u);
    arena_clear(&tree);
    return st;
}

bool facts_equal(const struct shard_facts *a, const struct shard_facts *b)
{
    if (a->source_count != b->source_count)
        return false;
    for (size_t i = 0; i < a->source_count; i++)
        if (strcmp(a->sources[i], b->sources[i]) != 0)
            return false;
    return memcmp(a->identity, b->identity, sizeof a->identity) == 0 &&
           strcmp(a->kind, b->kind) == 0 && a->seed == b->seed &&
           memcmp(a->tokenizer_sha256, b->tokenizer_sha256, sizeof a->tokenizer_sha256) == 0 &&
           a->variant == b->variant && a->pieces == b->pieces && a->bos == b->bos &&
           a->eos == b->eos && a->unk == b->unk && a->seq_len == b->seq_len &&
           a->image_tokens == b->image_tokens && a->images_per_seq == b->images_per_seq &&
           strcmp(a->options, b->options) == 0 && strcmp(a->versions, b->versions) == 0;
}
