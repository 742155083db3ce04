/* ingest/settings.c: see settings.h. */
#include "ingest/settings.h"

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
static const char *const variant_names[] = { "A", "B", "C" };

const char *ingest_kind_name(enum ingest_kind k)
{
    return k == INGEST_MMC4 ? "mmc4" : "pairs";
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

static void write_options(struct json_writer *w, const struct ingest_options *opt,
                          struct error *err)
{
    json_key(w, "options");
    json_begin_object(w);
    put_uint(w, "seed", opt->filter.seed);
    if (opt->kind == INGEST_MMC4) {
        put_real(w, "min-similarity", opt->filter.min_similarity);
        put_uint(w, "max-images", opt->filter.max_images);
        put_real(w, "keep-single", opt->filter.keep_single);
    } else {
        put_uint(w, "min-caption", opt->filter.min_caption);
        put_uint(w, "captions", opt->caption_count);
    }
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

/* Of everything that can change a byte of the dataset. */
static void write_versions(struct json_writer *w)
{
    char text[64];
    json_key(w, "versions");
    json_begin_object(w);
    put_text(w, "deem", DEEM_VERSION);
    put_text(w, "zstd", ZSTD_versionString());
    put_text(w, "lmdb", mdb_version(NULL, NULL, NULL));
    snprintf(text, sizeof text, "%u", XXH_versionNumber());
    put_text(w, "xxhash", text);
    snprintf(text, sizeof text, "%d", JPEG_LIB_VERSION);
    put_text(w, "libjpeg", text);
    put_text(w, "sentencepiece", spm_version());
    json_end_object(w);
}

enum status settings_write(struct buffer *out, const struct ingest_options *opt,
                           const struct tokenizer *t, struct error *err)
{
    struct json_writer w;
    struct error local = { 0 };
    char hex[65];

    hash_hex(hex, tokenizer_sha256(t), 32);
    json_writer_init(&w, out);
    json_begin_object(&w);
    put_text(&w, "kind", ingest_kind_name(opt->kind));
    write_options(&w, opt, &local);
    if (opt->caption_count > 0)
        write_captions(&w, opt, &local);
    json_key(&w, "tokenizer");
    json_begin_object(&w);
    put_text(&w, "sha256", hex);
    put_uint(&w, "pieces", tokenizer_special(t)->pieces);
    json_end_object(&w);
    write_versions(&w);
    json_end_object(&w);
    if (local.cause != CAUSE_NONE) {
        if (err)
            *err = local;
        return ST_FAIL;
    }
    return json_writer_finish(&w, err);
}

/* ---- comparison ---- */

struct difference {
    struct buffer text;
    unsigned count;
};

static void say(struct difference *d, const char *key, const struct json_value *there,
                const struct json_value *now)
{
    const char *a = there ? there->text ? there->text : "other" : "absent";
    const char *b = now ? now->text ? now->text : "other" : "absent";
    buffer_printf(&d->text, NULL, "%s%s: %s there, %s now", d->count++ ? "; " : "", key, a, b);
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

/* Two levels of objects and lists below the top: the settings have no more. Member by member in
 * the order of `now`, then what is only there. */
static void compare(struct difference *d, const struct json_value *there,
                    const struct json_value *now, unsigned depth)
{
    const struct json_value *a = there->child, *b = now->child;
    for (; a && b; a = a->next, b = b->next) {
        const char *key = b->key ? b->key : "entry";
        const bool same_key = !a->key || (b->key && strcmp(a->key, b->key) == 0);
        if (!same_key || is_tree(a) != is_tree(b) || (!is_tree(a) && !same_leaf(a, b)))
            say(d, key, same_key ? a : NULL, b);
        else if (is_tree(a) && depth > 0)
            compare(d, a, b, depth - 1);
    }
    for (; a; a = a->next)
        say(d, a->key ? a->key : "entry", a, NULL);
    for (; b; b = b->next)
        say(d, b->key ? b->key : "entry", NULL, b);
}

enum status settings_compare(const char *where, const char *there, size_t there_size,
                             const char *now, size_t now_size, struct error *err)
{
    struct arena arena;
    struct json_value *a = NULL, *b = NULL;
    struct difference d = { 0 };

    arena_init(&arena, 0);
    enum status st = json_parse(&arena, &a, there, there_size, NULL, err);
    if (st == ST_OK)
        st = json_parse(&arena, &b, now, now_size, NULL, err);
    if (st == ST_OK) {
        compare(&d, a, b, 4);
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
