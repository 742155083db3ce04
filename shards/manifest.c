/* shards/manifest.c: the manifest as canonical JSON. Its last member is the SHA-256 of all bytes before
 * the comma that leads to it. */
#include "shards/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "shards/fields_private.h"
#include "shards/manifest_private.h"

enum { TAIL_BYTES = 11 + 64 + 3 }; /* ,"sha256":" 64 digits "}\n */
static const uint64_t max_manifest_bytes = (uint64_t)1 << 30;

void manifest_init(struct manifest *m)
{
    *m = (struct manifest){ 0 };
    arena_init(&m->arena, 0);
    unit_facts_init(&m->total);
}

void manifest_clear(struct manifest *m)
{
    arena_clear(&m->arena);
    mem_free(m->shards);
    unit_facts_clear(&m->total);
    unit_count_clear(&m->records);
    unit_count_clear(&m->pictures);
    manifest_init(m);
}

static enum status copy_text(const char **out, struct arena *arena, const char *text,
                             struct error *err)
{
    *out = arena_strndup(arena, text, strlen(text));
    return *out ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: manifest");
}

static enum status copy_facts(struct manifest *m, const struct shard_facts *f, struct error *err)
{
    const char **sources = arena_alloc(&m->arena, f->source_count + 1, sizeof *sources);

    if (!sources)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: manifest");
    m->facts = *f;
    m->facts.sources = sources;
    for (size_t i = 0; i < f->source_count; i++)
        if (copy_text(&sources[i], &m->arena, f->sources[i], err) != ST_OK)
            return ST_FAIL;
    if (copy_text(&m->facts.kind, &m->arena, f->kind, err) != ST_OK ||
        copy_text(&m->facts.options, &m->arena, f->options, err) != ST_OK)
        return ST_FAIL;
    return copy_text(&m->facts.versions, &m->arena, f->versions, err);
}

/* A file that several units share follows itself directly: units are runs of the input list. */
static enum status add_input(struct manifest *m, const struct unit_input *in, struct error *err)
{
    struct unit_facts *t = &m->total;
    size_t at = t->input_count - 1;

    if (t->input_count == 0 || strcmp(t->inputs[at].file, in->file) != 0)
        if (unit_facts_input(t, in->file, in->name, in->bytes, &at, err) != ST_OK)
            return ST_FAIL;
    t->inputs[at].incomplete |= in->incomplete;
    if (unit_count_merge(&t->inputs[at].records, &in->records, err) != ST_OK ||
        unit_count_merge(&t->inputs[at].pictures, &in->pictures, err) != ST_OK ||
        tally_merge(&t->inputs[at].notes, &in->notes, err) != ST_OK ||
        unit_count_merge(&m->records, &in->records, err) != ST_OK)
        return ST_FAIL;
    return unit_count_merge(&m->pictures, &in->pictures, err);
}

static enum status add_counts(struct unit_facts *t, const struct unit_facts *u, struct error *err)
{
    if (!add_ok_u64(t->sequences, u->sequences, &t->sequences) ||
        !add_ok_u64(t->pictures, u->pictures, &t->pictures) ||
        !add_ok_u64(t->documents, u->documents, &t->documents) ||
        !add_ok_u64(t->images, u->images, &t->images) ||
        !add_ok_u64(t->tokens, u->tokens, &t->tokens) ||
        !add_ok_u64(t->pieces_dropped, u->pieces_dropped, &t->pieces_dropped) ||
        !add_ok_u64(t->quarantine_rows, u->quarantine_rows, &t->quarantine_rows))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "totals wrap");
    return ST_OK;
}

enum status manifest_add(struct manifest *m, const struct shard_facts *facts,
                         const struct unit_facts *unit, uint64_t bytes, const uint8_t sha256[32],
                         struct error *err)
{
    struct manifest_shard *shards = mem_realloc(m->shards, m->shard_count + 1, sizeof *shards);

    if (!shards)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: manifest");
    m->shards = shards;
    if (m->shard_count == 0 && copy_facts(m, facts, err) != ST_OK)
        return ST_FAIL;
    if (!facts_equal(&m->facts, facts))
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "shard %" PRIu32 " was made with other options or inputs than shard 0",
                         unit->shard);
    if (unit->shard != m->shard_count)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "shard number: got %" PRIu32 ", want %zu",
                         unit->shard, m->shard_count);
    struct manifest_shard *s = &shards[m->shard_count];
    *s = (struct manifest_shard){
        .sequences = unit->sequences,
        .pictures = unit->pictures,
        .documents = unit->documents,
        .images = unit->images,
        .tokens = unit->tokens,
        .bytes = bytes,
    };
    snprintf(s->name, sizeof s->name, "%06" PRIu32 ".mdb", unit->shard);
    memcpy(s->sha256, sha256, sizeof s->sha256);
    m->shard_count++;
    for (size_t i = 0; i < unit->input_count; i++)
        if (add_input(m, &unit->inputs[i], err) != ST_OK)
            return ST_FAIL;
    return add_counts(&m->total, unit, err);
}

static void put_u64(struct json_writer *w, const char *name, uint64_t v)
{
    json_key(w, name);
    json_uint(w, v);
}

static void write_shards(struct json_writer *w, const struct manifest *m)
{
    json_key(w, "shards");
    json_begin_array(w);
    for (size_t i = 0; i < m->shard_count; i++) {
        const struct manifest_shard *s = &m->shards[i];
        json_begin_object(w);
        json_key(w, "name");
        json_string(w, s->name);
        put_u64(w, "sequences", s->sequences);
        put_u64(w, "pictures", s->pictures);
        put_u64(w, "documents", s->documents);
        put_u64(w, "images", s->images);
        put_u64(w, "tokens", s->tokens);
        put_u64(w, "bytes", s->bytes);
        field_write_hex(w, "sha256", s->sha256, sizeof s->sha256);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_totals(struct json_writer *w, const struct manifest *m)
{
    const struct unit_facts *t = &m->total;

    json_key(w, "totals");
    json_begin_object(w);
    put_u64(w, "sequences", t->sequences);
    put_u64(w, "pictures", t->pictures);
    put_u64(w, "documents", t->documents);
    put_u64(w, "images", t->images);
    put_u64(w, "tokens", t->tokens);
    put_u64(w, "pieces_dropped", t->pieces_dropped);
    json_end_object(w);
    json_key(w, "records");
    json_begin_object(w);
    facts_write_count(w, &m->records);
    json_end_object(w);
    json_key(w, "pictures");
    json_begin_object(w);
    facts_write_count(w, &m->pictures);
    json_end_object(w);
    json_key(w, "inputs");
    facts_write_inputs(w, t->inputs, t->input_count);
    json_key(w, "quarantine");
    json_begin_object(w);
    put_u64(w, "rows", t->quarantine_rows);
    put_u64(w, "bytes", m->quarantine_bytes);
    field_write_hex(w, "sha256", m->quarantine_sha256, sizeof m->quarantine_sha256);
    json_end_object(w);
}

enum status manifest_encode(struct buffer *out, const struct manifest *m, struct error *err)
{
    const size_t start = out->size;
    struct json_writer w;
    uint8_t digest[32];
    char hex[65];

    json_writer_init(&w, out);
    json_begin_object(&w);
    put_u64(&w, "format", MANIFEST_FORMAT);
    facts_write(&w, &m->facts);
    write_shards(&w, m);
    write_totals(&w, m);
    json_end_object(&w);
    if (json_writer_finish(&w, err) != ST_OK)
        return ST_FAIL;
    out->size--; /* the brace; the digest goes in front of it */
    hash_sha256(digest, out->data + start, out->size - start);
    hash_hex(hex, digest, sizeof digest);
    return buffer_printf(out, err, ",\"sha256\":\"%s\"}\n", hex);
}

static enum status check_digest(const uint8_t *data, size_t size, struct error *err)
{
    uint8_t digest[32];
    char hex[65], tail[TAIL_BYTES + 1];

    if (size <= TAIL_BYTES)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "manifest ends early: %zu bytes", size);
    hash_sha256(digest, data, size - TAIL_BYTES);
    hash_hex(hex, digest, sizeof digest);
    snprintf(tail, sizeof tail, ",\"sha256\":\"%s\"}\n", hex);
    if (memcmp(tail, data + size - TAIL_BYTES, TAIL_BYTES) != 0)
        return error_set(err, ST_FAIL, CAUSE_CHECKSUM,
                         "the manifest's digest of itself differs: want %s", hex);
    return ST_OK;
}

static enum status read_shard(struct manifest_shard *s, const struct json_value *v, size_t number,
                              struct error *err)
{
    const char *name = NULL;
    char want[32];

    snprintf(want, sizeof want, "%06zu.mdb", number);
    if (field_text(&name, v, "name", err) != ST_OK ||
        field_u64(&s->sequences, v, "sequences", err) != ST_OK ||
        field_u64(&s->pictures, v, "pictures", err) != ST_OK ||
        field_u64(&s->documents, v, "documents", err) != ST_OK ||
        field_u64(&s->images, v, "images", err) != ST_OK ||
        field_u64(&s->tokens, v, "tokens", err) != ST_OK ||
        field_u64(&s->bytes, v, "bytes", err) != ST_OK ||
        field_hex(s->sha256, sizeof s->sha256, v, "sha256", err) != ST_OK)
        return ST_FAIL;
    if (strcmp(name, want) != 0)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "shard %zu: name: want %s", number, want);
    memcpy(s->name, want, sizeof s->name);
    return ST_OK;
}

static enum status read_shards(struct manifest *m, const struct json_value *top, struct error *err)
{
    const struct json_value *array = NULL;

    if (field_value(&array, JSON_T_ARRAY, top, "shards", err) != ST_OK)
        return ST_FAIL;
    m->shards = mem_calloc(array->count + 1, sizeof *m->shards);
    if (!m->shards)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: manifest");
    for (const struct json_value *v = array->child; v; v = v->next)
        if (read_shard(&m->shards[m->shard_count], v, m->shard_count, err) != ST_OK)
            return ST_FAIL;
        else
            m->shard_count++;
    return ST_OK;
}

static enum status read_totals(struct manifest *m, const struct json_value *top, struct error *err)
{
    const struct json_value *totals = NULL, *inputs = NULL, *records = NULL, *pictures = NULL,
                            *quarantine = NULL;
    struct unit_facts *t = &m->total;

    if (field_value(&totals, JSON_T_OBJECT, top, "totals", err) != ST_OK ||
        field_u64(&t->sequences, totals, "sequences", err) != ST_OK ||
        field_u64(&t->pictures, totals, "pictures", err) != ST_OK ||
        field_u64(&t->documents, totals, "documents", err) != ST_OK ||
        field_u64(&t->images, totals, "images", err) != ST_OK ||
        field_u64(&t->tokens, totals, "tokens", err) != ST_OK ||
        field_u64(&t->pieces_dropped, totals, "pieces_dropped", err) != ST_OK ||
        field_value(&inputs, JSON_T_ARRAY, top, "inputs", err) != ST_OK ||
        facts_read_inputs(t, inputs, err) != ST_OK ||
        field_value(&records, JSON_T_OBJECT, top, "records", err) != ST_OK ||
        facts_read_count(&m->records, records, err) != ST_OK ||
        field_value(&pictures, JSON_T_OBJECT, top, "pictures", err) != ST_OK ||
        facts_read_count(&m->pictures, pictures, err) != ST_OK ||
        field_value(&quarantine, JSON_T_OBJECT, top, "quarantine", err) != ST_OK ||
        field_u64(&t->quarantine_rows, quarantine, "rows", err) != ST_OK ||
        field_u64(&m->quarantine_bytes, quarantine, "bytes", err) != ST_OK)
        return ST_FAIL;
    return field_hex(m->quarantine_sha256, sizeof m->quarantine_sha256, quarantine, "sha256", err);
}

/* The shards' counts add up to the totals. */
static enum status check_sums(const struct manifest *m, struct error *err)
{
    struct unit_facts sum = { 0 }, one;

    for (size_t i = 0; i < m->shard_count; i++) {
        const struct manifest_shard *s = &m->shards[i];
        one = (struct unit_facts){ .sequences = s->sequences,
                                   .pictures = s->pictures,
                                   .documents = s->documents,
                                   .images = s->images,
                                   .tokens = s->tokens };
        if (add_counts(&sum, &one, err) != ST_OK)
            return ST_FAIL;
    }
    if (sum.sequences != m->total.sequences || sum.pictures != m->total.pictures ||
        sum.documents != m->total.documents || sum.images != m->total.images ||
        sum.tokens != m->total.tokens)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "shards do not add up to the totals");
    return ST_OK;
}

enum status manifest_decode(struct manifest *m, const void *data, size_t size, struct error *err)
{
    struct arena tree;
    struct json_value *top = NULL;
    uint64_t format = 0;
    enum status st = ST_FAIL;

    arena_init(&tree, 0);
    if (check_digest(data, size, err) != ST_OK ||
        json_parse(&tree, &top, data, size, NULL, err) != ST_OK ||
        field_u64(&format, top, "format", err) != ST_OK)
        goto done;
    if (format != MANIFEST_FORMAT) {
        error_set(err, ST_FAIL, CAUSE_FORMAT, "manifest format: got %" PRIu64 ", want %d", format,
                  MANIFEST_FORMAT);
        goto done;
    }
    if (facts_read(&m->facts, &m->arena, top, err) == ST_OK && read_shards(m, top, err) == ST_OK &&
        read_totals(m, top, err) == ST_OK)
        st = check_sums(m, err);
done:
    arena_clear(&tree);
    return st;
}

static enum status decode_shards(struct manifest *m, const void *data, size_t size,
                                 struct error *err)
{
    if (check_digest(data, size, err) != ST_OK || manifest_scan(m, data, size, err) != ST_OK)
        return ST_FAIL;
    return check_sums(m, err);
}

typedef enum status decode_fn(struct manifest *m, const void *data, size_t size, struct error *err);

static enum status read_by(decode_fn *decode, struct manifest *m, const char *path,
                           struct error *err)
{
    struct buffer bytes;
    enum status st;

    buffer_init(&bytes);
    st = file_read_all(&bytes, path, max_manifest_bytes, err);
    if (st == ST_OK) {
        st = decode(m, bytes.data, bytes.size, err);
        if (st != ST_OK)
            error_prefix(err, st, "%s", path);
    }
    buffer_clear(&bytes);
    return st;
}

enum status manifest_read(struct manifest *m, const char *path, struct error *err)
{
    return read_by(manifest_decode, m, path, err);
}

enum status manifest_read_shards(struct manifest *m, const char *path, struct error *err)
{
    return read_by(decode_shards, m, path, err);
}
