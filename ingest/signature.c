/* ingest/signature.c: see signature.h. */
#include "ingest/signature.h"

#include <inttypes.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include <jpeglib.h> /* wants stdio.h first */

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "ingest/spm.h"

static const char *const jpeg_names[] = { "keep", "baseline", "optimise" };
static const char *const pick_names[] = { "random", "first", "top_sim" };
static const char *const unit_names[] = { "characters", "words", "tokens" };
static const char *const variant_names[] = { "A", "B", "C" };

const char *ingest_kind_name(enum ingest_kind k)
{
    return k == INGEST_MMC4 ? "mmc4" : "pairs";
}

static void put_uint(struct json_writer *w, const char *key, uint64_t v)
{
    json_key(w, key);
    json_uint(w, v);
}

static void put_real(struct json_writer *w, const char *key, double v)
{
    json_key(w, key);
    json_number(w, v);
}

static void put_text(struct json_writer *w, const char *key, const char *v)
{
    json_key(w, key);
    json_string(w, v);
}

static void write_hash_of_file(struct json_writer *w, const char *key, const char *path,
                               struct error *err)
{
    uint8_t digest[32];
    char hex[65];
    json_key(w, key);
    if (hash_sha256_file(digest, path, err) != ST_OK) {
        json_null(w);
        return;
    }
    hash_hex(hex, digest, sizeof digest);
    json_string(w, hex);
}

static void write_limits(struct json_writer *w, const struct ingest_options *opt)
{
    const struct source_limits *l = &opt->limits;
    json_key(w, "limits");
    json_begin_object(w);
    put_uint(w, "line", l->max_line);
    put_uint(w, "lines-file", l->max_lines_member);
    put_uint(w, "member", l->max_member);
    put_uint(w, "members", l->max_members);
    put_uint(w, "member-name", l->max_name);
    put_uint(w, "ratio", l->max_ratio);
    put_uint(w, "json-depth", l->max_depth);
    put_uint(w, "json-string", l->max_string);
    put_uint(w, "json-members", l->max_object);
    put_uint(w, "picture-bytes", opt->pictures.max_bytes);
    put_uint(w, "picture-side", opt->pictures.max_side);
    put_uint(w, "picture-pixels", opt->pictures.max_pixels);
    put_uint(w, "jpeg-scans", opt->pictures.max_scans);
    put_uint(w, "decoder-memory", opt->pictures.max_memory);
    json_end_object(w);
}

static void write_captions(struct json_writer *w, const struct ingest_options *opt,
                           struct error *err)
{
    json_key(w, "captions");
    json_begin_array(w);
    for (size_t i = 0; i < opt->caption_count; i++) {
        struct file_info info = { 0 };
        if (file_stat(opt->captions[i], &info, err) == ST_END)
            error_set(err, ST_FAIL, CAUSE_IO, "%s: no such file", opt->captions[i]);
        json_begin_object(w);
        put_text(w, "file", path_base(opt->captions[i]));
        put_uint(w, "bytes", info.size);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_options(struct json_writer *w, const struct ingest_options *opt,
                          struct error *err)
{
    json_begin_object(w);
    put_uint(w, "seed", opt->filter.seed);
    if (opt->kind == INGEST_MMC4) {
        put_real(w, "min-similarity", opt->filter.min_similarity);
        put_uint(w, "max-images", opt->filter.max_images);
        put_real(w, "keep-single", opt->filter.keep_single);
        put_text(w, "pick", pick_names[opt->filter.pick]);
        json_key(w, "drop-flagged");
        json_bool(w, opt->filter.drop_flagged);
    } else {
        put_uint(w, "min-caption", opt->filter.min_caption);
        put_text(w, "caption-unit", unit_names[opt->filter.caption_unit]);
        write_captions(w, opt, err);
    }
    put_uint(w, "min-side", opt->filter.min_side);
    put_real(w, "max-aspect", opt->filter.max_aspect);
    put_uint(w, "min-bytes", opt->filter.min_bytes);
    put_uint(w, "seq-len", opt->piece.seq_len);
    put_uint(w, "image-tokens", opt->piece.image_tokens);
    put_uint(w, "images-per-seq", opt->piece.max_images);
    put_text(w, "variant", variant_names[opt->variant]);
    put_text(w, "jpeg", jpeg_names[opt->jpeg]);
    put_uint(w, "max-side", opt->store_side);
    put_uint(w, "inputs-per-shard", opt->inputs_per_shard);
    put_uint(w, "records-per-unit", opt->records_per_unit);
    if (opt->exclude)
        write_hash_of_file(w, "exclude", opt->exclude, err);
    write_limits(w, opt);
    json_end_object(w);
}

/* Of everything that can change a byte of the dataset. */
static void write_versions(struct json_writer *w)
{
    char text[64];
    json_begin_object(w);
    put_text(w, "deem", DEEM_VERSION);
    put_text(w, "zstd", ZSTD_versionString());
    put_text(w, "lmdb", mdb_version(NULL, NULL, NULL));
    snprintf(text, sizeof text, "%u", XXH_versionNumber());
    put_text(w, "xxhash", text);
    snprintf(text, sizeof text, "%d", LIBJPEG_TURBO_VERSION_NUMBER);
    put_text(w, "libjpeg-turbo", text);
    put_text(w, "sentencepiece", spm_version());
    json_end_object(w);
}

/* What stands in both a command and a manifest. */
struct parts {
    const char *kind, *options, *versions;
    const uint8_t *tokenizer; /* SHA-256 */
};

static void begin_signature(struct json_writer *w, const struct parts *s)
{
    char hex[65];
    hash_hex(hex, s->tokenizer, 32);
    json_begin_object(w);
    put_text(w, "kind", s->kind);
    json_key(w, "options");
    json_raw(w, s->options, strlen(s->options));
    put_text(w, "tokenizer", hex);
    json_key(w, "versions");
    json_raw(w, s->versions, strlen(s->versions));
    json_key(w, "inputs");
    json_begin_object(w);
}

static enum status end_signature(struct json_writer *w, struct error *err)
{
    json_end_object(w);
    json_end_object(w);
    return json_writer_finish(w, err);
}

static enum status finish_part(struct json_writer *w, struct buffer *out, const struct error *local,
                               struct error *err)
{
    if (local && local->cause != CAUSE_NONE) {
        if (err)
            *err = *local;
        return ST_FAIL;
    }
    const enum status st = json_writer_finish(w, err);
    return st == ST_OK ? buffer_append(out, "", 1, err) : st;
}

enum status signature_make(struct signature *s, const struct ingest_options *opt,
                           const struct tokenizer *t, const struct inputs *in, struct error *err)
{
    struct json_writer w;
    struct error local = { 0 };

    *s = (struct signature){ 0 };
    json_writer_init(&w, &s->options);
    write_options(&w, opt, &local);
    const enum status st = finish_part(&w, &s->options, &local, err);
    return st == ST_OK ? signature_complete(s, ingest_kind_name(opt->kind), t, in, err) : st;
}

enum status signature_complete(struct signature *s, const char *kind, const struct tokenizer *t,
                               const struct inputs *in, struct error *err)
{
    struct json_writer w;

    json_writer_init(&w, &s->versions);
    write_versions(&w);
    enum status st = finish_part(&w, &s->versions, NULL, err);
    if (st != ST_OK)
        return st;
    const struct parts g = { kind, (const char *)s->options.data, (const char *)s->versions.data,
                             tokenizer_sha256(t) };
    json_writer_init(&w, &s->text);
    begin_signature(&w, &g);
    for (size_t i = 0; i < in->count; i++)
        put_uint(&w, in->list[i].file, in->list[i].size);
    st = end_signature(&w, err);
    if (st == ST_OK)
        hash_sha256(s->identity, s->text.data, s->text.size);
    return st;
}

void signature_clear(struct signature *s)
{
    buffer_clear(&s->options);
    buffer_clear(&s->versions);
    buffer_clear(&s->text);
}

enum status signature_of_dataset(struct buffer *out, const struct shard_facts *facts,
                                 const struct unit_input *inputs, size_t count, struct error *err)
{
    struct json_writer w;
    const struct parts g = { facts->kind, facts->options, facts->versions,
                             facts->tokenizer_sha256 };
    json_writer_init(&w, out);
    begin_signature(&w, &g);
    for (size_t i = 0; i < count; i++)
        put_uint(&w, inputs[i].file, inputs[i].bytes);
    return end_signature(&w, err);
}

/* ---- comparison ---- */

enum { COMPARE_DEPTH = 6, SHOWN_DIFFERENCES = 8 };

struct difference {
    struct buffer text;
    unsigned count;
};

static void say(struct difference *d, const char *path, const struct json_value *there,
                const struct json_value *now)
{
    const char *a = !there           ? "absent"
                    : there->text    ? there->text
                    : there->boolean ? "true"
                                     : "other";
    const char *b = !now ? "absent" : now->text ? now->text : now->boolean ? "true" : "other";
    if (d->count < SHOWN_DIFFERENCES)
        buffer_printf(&d->text, NULL, "%s%s: %s there, %s now", d->count ? "; " : "", path, a, b);
    d->count++;
}

static bool same_leaf(const struct json_value *a, const struct json_value *b)
{
    return a->type == b->type && a->boolean == b->boolean && a->size == b->size &&
           (a->size == 0 || memcmp(a->text, b->text, a->size) == 0);
}

static bool is_tree(const struct json_value *v)
{
    return v->type == JSON_T_OBJECT || v->type == JSON_T_ARRAY;
}

static void compare_value(struct difference *d, const char *path, const struct json_value *there,
                          const struct json_value *now, unsigned depth);

static void compare_objects(struct difference *d, const char *path, const struct json_value *there,
                            const struct json_value *now, unsigned depth)
{
    char below[256];
    for (const struct json_value *b = now->child; b; b = b->next) {
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", b->key);
        const struct json_value *a = json_get(there, b->key);
        if (a)
            compare_value(d, below, a, b, depth - 1);
        else
            say(d, below, NULL, b);
    }
    for (const struct json_value *a = there->child; a; a = a->next) {
        snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", a->key);
        if (!json_get(now, a->key))
            say(d, below, a, NULL);
    }
}

/* Depth is bounded by `depth`: our own settings have no more. */
static void compare_value(struct difference *d, const char *path, const struct json_value *there,
                          const struct json_value *now, unsigned depth)
{
    if (depth == 0)
        return;
    if (there->type == JSON_T_OBJECT && now->type == JSON_T_OBJECT) {
        compare_objects(d, path, there, now, depth);
        return;
    }
    if (is_tree(there) != is_tree(now) || there->count != now->count ||
        (!is_tree(there) && !same_leaf(there, now))) {
        say(d, path, there, now);
        return;
    }
    const struct json_value *b = now->child;
    for (const struct json_value *a = there->child; a && b; a = a->next, b = b->next)
        compare_value(d, path, a, b, depth - 1);
}

enum status signature_compare(const char *where, const struct json_value *there,
                              const struct buffer *now, struct error *err)
{
    struct arena arena;
    struct json_value *b = NULL;
    struct difference d = { 0 };

    arena_init(&arena, 0);
    enum status st = json_parse(&arena, &b, now->data, now->size, NULL, err);
    if (st == ST_OK) {
        compare_value(&d, "", there, b, COMPARE_DEPTH);
        buffer_append(&d.text, "", 1, NULL);
        if (d.count > 0)
            st = error_set(err, ST_FAIL, CAUSE_ARG,
                           "%s: was made with other options, inputs or libraries: %s", where,
                           d.text.data ? (const char *)d.text.data : "");
    }
    buffer_clear(&d.text);
    arena_clear(&arena);
    return st;
}
