/* shards/shard_writer.c: a shard by liblmdb. The file's bytes depend on the history of commits and on
 * the map size, so both are functions of the bytes written: a commit follows every 16 MiB of values,
 * and the map is what the file holds by then and a fixed room on top. Key order is dictionary,
 * pictures, quarantine rows, sequences, pieces, unit record. */
#include "shards/shard_writer.h"

#include <errno.h>
#include <inttypes.h>
#include <lmdb.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/log.h"
#include "shards/page_reader.h"
#include "shards/value_private.h"
#include "shards/zstd_private.h"

enum {
    DEFAULT_LEVEL = 9,
    COMMIT_BYTES = 16 * 1048576,
    MAP_STEP = 64 * 1048576,
    MAX_VALUE = 64 * 1048576,
    PLAIN_LEVEL = 9,
};

struct stored_picture {
    uint32_t width, height, codec, bytes;
    struct hash128 hash;
};

struct shard_writer {
    char *path;
    struct shard_writer_options opt;
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    bool has_dbi, created;
    size_t map_bytes;
    uint64_t pending; /* bytes of values since the last commit */
    struct zstd_encoder *sequence_encoder, *plain_encoder;
    struct hash_stream *hash;
    struct hash_map *by_hash; /* content hash and size to picture number */
    struct stored_picture *pictures;
    size_t picture_count, picture_cap;
    struct buffer value;     /* one value under construction */
    struct buffer encoded;   /* a sequence before compression */
    struct buffer sequences; /* finished values, one after the other */
    size_t *ends;            /* where each ends */
    size_t sequence_count, end_cap;
    uint64_t images, tokens;
    uint32_t max_input; /* largest input index that a document names */
    struct buffer rows; /* lines of quarantine.jsonl */
    uint64_t row_count;
};

void shard_writer_options_init(struct shard_writer_options *opt)
{
    *opt = (struct shard_writer_options){ .zstd_level = DEFAULT_LEVEL };
}

/* A full disk reaches us from liblmdb as EIO, so that the room left is asked for. */
static enum status lmdb_failed(const struct shard_writer *w, const char *what, int rc,
                               struct error *err)
{
    uint64_t room = UINT64_MAX;
    char *folder = path_folder(w->path);
    enum cause cause = rc == ENOMEM ? CAUSE_NOMEM : CAUSE_IO;
    struct error ignored = { 0 };

    if (folder && file_free_space(folder, &room, &ignored) != ST_OK)
        room = UINT64_MAX;
    mem_free(folder);
    if ((rc == EIO || rc == ENOSPC) && room < COMMIT_BYTES)
        return error_set(err, ST_FAIL, CAUSE_IO,
                         "%s: %s: no space left on the device (%" PRIu64 " bytes free)", w->path,
                         what, room);
    return error_set(err, ST_FAIL, cause, "%s: %s: %s", w->path, what, mdb_strerror(rc));
}

/* A transaction is open afterwards; the map has room for all it may take before the next commit. */
static enum status need_txn(struct shard_writer *w, struct error *err)
{
    MDB_envinfo info;
    MDB_stat stat;
    int rc;

    if (w->txn)
        return ST_OK;
    if ((rc = mdb_env_info(w->env, &info)) != 0 || (rc = mdb_env_stat(w->env, &stat)) != 0)
        return lmdb_failed(w, "state", rc, err);
    const size_t used = (info.me_last_pgno + 1) * stat.ms_psize;
    const size_t want = (used + COMMIT_BYTES + MAX_VALUE) / MAP_STEP * MAP_STEP + MAP_STEP;
    if (want != w->map_bytes) {
        if ((rc = mdb_env_set_mapsize(w->env, want)) != 0)
            return lmdb_failed(w, "map", rc, err);
        w->map_bytes = want;
    }
    if ((rc = mdb_txn_begin(w->env, NULL, 0, &w->txn)) != 0) {
        w->txn = NULL;
        return lmdb_failed(w, "begin", rc, err);
    }
    if (!w->has_dbi && (rc = mdb_dbi_open(w->txn, NULL, 0, &w->dbi)) != 0)
        return lmdb_failed(w, "open database", rc, err);
    w->has_dbi = true;
    return ST_OK;
}

static enum status commit(struct shard_writer *w, struct error *err)
{
    if (!w->txn)
        return ST_OK;
    const int rc = mdb_txn_commit(w->txn);
    w->txn = NULL;
    w->pending = 0;
    return rc == 0 ? ST_OK : lmdb_failed(w, "commit", rc, err);
}

static enum status put_value(struct shard_writer *w, enum value_kind kind, uint32_t number,
                             const uint8_t *value, size_t size, struct error *err)
{
    uint8_t key[VALUE_KEY];
    MDB_val k = { sizeof key, key }, v = { size, (void *)(uintptr_t)value }; /* only read */

    value_key(key, kind, number);
    if (need_txn(w, err) != ST_OK)
        return ST_FAIL;
    const int rc = mdb_put(w->txn, w->dbi, &k, &v, MDB_APPEND);
    if (rc != 0)
        return lmdb_failed(w, value_kind_name(kind), rc, err);
    w->pending += size;
    return w->pending >= COMMIT_BYTES ? commit(w, err) : ST_OK;
}

/* Starts w->value: an empty head. */
static enum status value_start(struct shard_writer *w, struct error *err)
{
    static const uint8_t head[VALUE_HEAD] = { 0 };
    w->value.size = 0;
    return buffer_append(&w->value, head, sizeof head, err);
}

static enum status value_finish(struct shard_writer *w, enum value_kind kind, uint32_t number,
                                unsigned flags, size_t plain, struct error *err)
{
    const struct value_place place = { w->opt.facts->identity, w->opt.shard, kind, number };

    if (w->value.size > MAX_VALUE)
        return error_set(err, ST_FAIL, CAUSE_LIMIT, "%s: %s of %zu bytes, allowed %d", w->path,
                         value_kind_name(kind), w->value.size, MAX_VALUE);
    value_seal(w->value.data, w->value.size, flags, (uint32_t)plain, &place, w->hash);
    return ST_OK;
}

/* A value of plain bytes, or of a zstd frame without dictionary. */
static enum status put_bytes(struct shard_writer *w, enum value_kind kind, uint32_t number,
                             const void *data, size_t size, bool compress, struct error *err)
{
    enum status st = value_start(w, err);

    if (st == ST_OK)
        st = compress ? zstd_encode(w->plain_encoder, &w->value, data, size, err)
                      : buffer_append(&w->value, data, size, err);
    if (st == ST_OK)
        st = value_finish(w, kind, number, compress ? VALUE_ZSTD : 0, size, err);
    return st == ST_OK ? put_value(w, kind, number, w->value.data, w->value.size, err) : st;
}

static enum status open_env(struct shard_writer *w, struct error *err)
{
    int rc = mdb_env_create(&w->env);

    if (rc != 0)
        return lmdb_failed(w, "create", rc, err);
    w->map_bytes = 2 * (size_t)MAP_STEP;
    if ((rc = mdb_env_set_mapsize(w->env, w->map_bytes)) != 0)
        return lmdb_failed(w, "map", rc, err);
    rc = mdb_env_open(w->env, w->path, MDB_NOSUBDIR | MDB_NOLOCK, 0666);
    if (rc == ENOMEM)
        return lmdb_failed(w, "create", rc, err);
    if (rc != 0)
        return error_set(err, ST_FAIL, CAUSE_CREATE, "%s: create: %s", w->path, mdb_strerror(rc));
    w->created = true;
    return ST_OK;
}

static enum status open_parts(struct shard_writer *w, struct error *err)
{
    const struct shard_writer_options *o = &w->opt;

    if (zstd_encoder_open(&w->sequence_encoder, o->dictionary, o->dictionary_size, o->zstd_level,
                          err) != ST_OK ||
        zstd_encoder_open(&w->plain_encoder, NULL, 0, PLAIN_LEVEL, err) != ST_OK ||
        hash_stream_open(&w->hash, HASH_XXH3_64, err) != ST_OK ||
        hash_map_open(&w->by_hash, 1024, err) != ST_OK || file_remove(w->path, err) != ST_OK ||
        open_env(w, err) != ST_OK)
        return ST_FAIL;
    return o->dictionary
               ? put_bytes(w, VALUE_DICTIONARY, 0, o->dictionary, o->dictionary_size, false, err)
               : ST_OK;
}

enum status shard_writer_open(struct shard_writer **out, const char *path,
                              const struct shard_writer_options *opt, struct error *err)
{
    struct shard_writer *w = mem_calloc(1, sizeof *w);

    *out = NULL;
    if (w) {
        w->opt = *opt;
        w->path = mem_strdup(path);
    }
    if (!w || !w->path) {
        mem_free(w);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", path);
    }
    if (open_parts(w, err) != ST_OK) {
        shard_writer_close(&w);
        return ST_FAIL;
    }
    *out = w;
    return ST_OK;
}

void shard_writer_close(struct shard_writer **writer)
{
    struct shard_writer *w = *writer;

    if (!w)
        return;
    if (w->txn)
        mdb_txn_abort(w->txn);
    if (w->env)
        mdb_env_close(w->env);
    if (w->created)
        file_remove(w->path, NULL);
    zstd_encoder_close(&w->sequence_encoder);
    zstd_encoder_close(&w->plain_encoder);
    hash_stream_close(&w->hash);
    hash_map_close(&w->by_hash);
    mem_free(w->pictures);
    mem_free(w->ends);
    buffer_clear(&w->value);
    buffer_clear(&w->encoded);
    buffer_clear(&w->sequences);
    buffer_clear(&w->rows);
    mem_free(w->path);
    mem_free(w);
    *writer = NULL;
}

size_t shard_writer_memory(const struct shard_writer *w)
{
    return w->value.cap + w->encoded.cap + w->sequences.cap + w->rows.cap +
           w->end_cap * sizeof *w->ends + w->picture_cap * (sizeof *w->pictures + 64);
}

/* Whether picture `number` holds just these bytes. */
static enum status same_bytes(struct shard_writer *w, uint64_t number, const void *data,
                              size_t size, bool *same, struct error *err)
{
    uint8_t key[VALUE_KEY];
    MDB_val k = { sizeof key, key }, v;

    value_key(key, VALUE_PICTURE, (uint32_t)number);
    if (need_txn(w, err) != ST_OK)
        return ST_FAIL;
    const int rc = mdb_get(w->txn, w->dbi, &k, &v);
    if (rc != 0)
        return lmdb_failed(w, "read back a picture", rc, err);
    *same = v.mv_size == VALUE_HEAD + PICTURE_HEAD + size &&
            memcmp((const uint8_t *)v.mv_data + VALUE_HEAD + PICTURE_HEAD, data, size) == 0;
    return ST_OK;
}

static enum status note_picture(struct shard_writer *w, const struct image_info *info, size_t size,
                                struct hash128 hash, struct error *err)
{
    if (w->picture_count == w->picture_cap) {
        const size_t cap = w->picture_cap ? 2 * w->picture_cap : 256;
        struct stored_picture *p = mem_realloc(w->pictures, cap, sizeof *p);
        if (!p)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", w->path);
        w->pictures = p;
        w->picture_cap = cap;
    }
    w->pictures[w->picture_count++] = (struct stored_picture){
        info->width, info->height, (uint32_t)info->codec, (uint32_t)size, hash,
    };
    return ST_OK;
}

static enum status put_picture(struct shard_writer *w, const void *data, size_t size,
                               const struct image_info *info, struct hash128 hash,
                               struct error *err)
{
    const uint32_t number = (uint32_t)w->picture_count;
    uint8_t head[PICTURE_HEAD] = { (uint8_t)info->codec };

    store_u32le(head + 4, info->width);
    store_u32le(head + 8, info->height);
    store_u64le(head + 12, hash.low);
    store_u64le(head + 20, hash.high);
    if (value_start(w, err) != ST_OK || buffer_append(&w->value, head, sizeof head, err) != ST_OK ||
        buffer_append(&w->value, data, size, err) != ST_OK ||
        value_finish(w, VALUE_PICTURE, number, 0, PICTURE_HEAD + size, err) != ST_OK ||
        note_picture(w, info, size, hash, err) != ST_OK)
        return ST_FAIL;
    return put_value(w, VALUE_PICTURE, number, w->value.data, w->value.size, err);
}

enum status shard_writer_picture(struct shard_writer *w, const void *data, size_t size,
                                 const struct image_info *info, uint32_t *number,
                                 struct hash128 *hash, struct error *err)
{
    uint8_t key[24];
    uint64_t found = w->picture_count;
    bool same = false;

    if (size == 0 || info->codec < IMAGE_JPEG || info->codec > IMAGE_BMP)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: picture of %zu bytes, codec %d", w->path,
                         size, (int)info->codec);
    *hash = hash_xxh3_128(data, size);
    store_u64le(key, hash->low);
    store_u64le(key + 8, hash->high);
    store_u64le(key + 16, size);
    const enum status st = hash_map_insert(w->by_hash, key, sizeof key, &found, err);
    if (st == ST_FAIL)
        return ST_FAIL;
    if (st == ST_SKIP && same_bytes(w, found, data, size, &same, err) != ST_OK)
        return ST_FAIL;
    *number = same ? (uint32_t)found : (uint32_t)w->picture_count;
    return same ? ST_OK : put_picture(w, data, size, info, *hash, err);
}

static enum status check_images(const struct shard_writer *w, const struct sample *s,
                                struct error *err)
{
    for (size_t i = 0; i < s->image_count; i++) {
        const struct sample_image *m = &s->images[i];
        const struct stored_picture *p =
            m->picture < w->picture_count ? &w->pictures[m->picture] : NULL;
        if (!p || p->width != m->width || p->height != m->height || p->bytes != m->bytes ||
            p->codec != (uint32_t)m->codec || !hash128_equal(p->hash, m->hash))
            return error_set(err, ST_FAIL, CAUSE_ARG,
                             "%s: sequence %zu: image %zu is not stored picture %" PRIu32, w->path,
                             w->sequence_count, i, m->picture);
    }
    return ST_OK;
}

static enum status keep_sequence(struct shard_writer *w, struct error *err)
{
    if (w->sequence_count == w->end_cap) {
        const size_t cap = w->end_cap ? 2 * w->end_cap : 256;
        size_t *ends = mem_realloc(w->ends, cap, sizeof *ends);
        if (!ends)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", w->path);
        w->ends = ends;
        w->end_cap = cap;
    }
    if (buffer_append(&w->sequences, w->value.data, w->value.size, err) != ST_OK)
        return ST_FAIL;
    w->ends[w->sequence_count++] = w->sequences.size;
    return ST_OK;
}

enum status shard_writer_sequence(struct shard_writer *w, const struct sample *s, struct error *err)
{
    const struct shard_facts *f = w->opt.facts;
    const struct sample_slot slot = shard_facts_slot(f);
    const unsigned flags = VALUE_ZSTD | (w->opt.dictionary ? VALUE_WITH_DICTIONARY : 0);

    if (s->source >= f->source_count || s->token_count > f->seq_len)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: sequence %zu: source %u or %zu tokens",
                         w->path, w->sequence_count, s->source, s->token_count);
    w->encoded.size = 0;
    if (check_images(w, s, err) != ST_OK || sample_encode(&w->encoded, s, &slot, err) != ST_OK ||
        value_start(w, err) != ST_OK ||
        zstd_encode(w->sequence_encoder, &w->value, w->encoded.data, w->encoded.size, err) !=
            ST_OK ||
        value_finish(w, VALUE_SEQUENCE, (uint32_t)w->sequence_count, flags, w->encoded.size, err) !=
            ST_OK ||
        keep_sequence(w, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < s->document_count; i++)
        if (s->documents[i].input > w->max_input)
            w->max_input = s->documents[i].input;
    w->images += s->image_count;
    w->tokens += s->token_count;
    return ST_OK;
}

static void put_text(struct json_writer *j, const char *name, const char *text)
{
    json_key(j, name);
    if (text)
        json_string(j, text);
    else
        json_null(j);
}

enum status quarantine_row_write(struct buffer *out, const struct quarantine_row *row,
                                 struct error *err)
{
    struct json_writer j;
    char hash[17];
    uint8_t bytes[8];

    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(row->hash >> (56 - 8 * i));
    hash_hex(hash, bytes, sizeof bytes);
    json_writer_init(&j, out);
    json_begin_object(&j);
    put_text(&j, "file", row->file);
    put_text(&j, "member", row->member);
    put_text(&j, "record", row->record);
    json_key(&j, "offset");
    json_uint(&j, row->offset);
    put_text(&j, "stage", row->stage);
    put_text(&j, "code", row->code);
    put_text(&j, "found", row->found);
    put_text(&j, "allowed", row->allowed);
    json_key(&j, "length");
    json_uint(&j, row->length);
    put_text(&j, "hash", hash);
    json_end_object(&j);
    const enum status st = json_writer_finish(&j, err);
    return st == ST_OK ? buffer_append(out, "\n", 1, err) : st;
}

enum status shard_writer_quarantine(struct shard_writer *w, const struct quarantine_row *row,
                                    struct error *err)
{
    const enum status st = quarantine_row_write(&w->rows, row, err);
    if (st == ST_OK)
        w->row_count++;
    return st;
}

/* Pieces end with a line, and hold at most QUARANTINE_PIECE bytes unless one line is longer. */
static enum status put_rows(struct shard_writer *w, struct error *err)
{
    size_t at = 0;

    for (uint32_t number = 0; at < w->rows.size; number++) {
        size_t end = at;
        while (end < w->rows.size) {
            const uint8_t *line = w->rows.data + end;
            const uint8_t *stop = memchr(line, '\n', w->rows.size - end);
            const size_t size = stop ? (size_t)(stop - line) + 1 : w->rows.size - end;
            if (end > at && end + size - at > QUARANTINE_PIECE)
                break;
            end += size;
        }
        if (put_bytes(w, VALUE_QUARANTINE, number, w->rows.data + at, end - at, true, err) != ST_OK)
            return ST_FAIL;
        at = end;
    }
    return ST_OK;
}

static enum status put_sequences(struct shard_writer *w, struct error *err)
{
    size_t at = 0;

    for (size_t i = 0; i < w->sequence_count; i++) {
        if (put_value(w, VALUE_SEQUENCE, (uint32_t)i, w->sequences.data + at, w->ends[i] - at,
                      err) != ST_OK)
            return ST_FAIL;
        at = w->ends[i];
    }
    return ST_OK;
}

static enum status check_unit(const struct shard_writer *w, struct unit_facts *u, struct error *err)
{
    u->documents = 0;
    for (size_t i = 0; i < u->input_count; i++) {
        const struct unit_input *in = &u->inputs[i];
        if (!unit_count_holds(&in->records) || !unit_count_holds(&in->pictures))
            return error_set(err, ST_FAIL, CAUSE_INTERNAL,
                             "%s: %s: seen is not stored + filtered + quarantined", w->path,
                             in->file);
        u->documents += in->records.stored;
    }
    if (w->sequence_count > 0 && w->max_input >= u->input_count)
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "%s: a document names input %" PRIu32,
                         w->path, w->max_input);
    return ST_OK;
}

static enum status put_unit(struct shard_writer *w, struct unit_facts *u, struct error *err)
{
    struct buffer text;
    enum status st;

    buffer_init(&text);
    u->shard = w->opt.shard;
    u->sequences = w->sequence_count;
    u->pictures = w->picture_count;
    u->images = w->images;
    u->tokens = w->tokens;
    u->quarantine_rows = w->row_count;
    st = facts_encode(&text, w->opt.facts, u, err);
    if (st == ST_OK)
        st = put_bytes(w, VALUE_UNIT, 0, text.data, text.size, false, err);
    buffer_clear(&text);
    return st;
}

/* What is on disk, not what is in the cache: fsync, then a look at the pages and the digest. */
static enum status finish_file(const struct shard_writer *w, uint8_t sha256[32], struct error *err)
{
    struct page_reader *pages = NULL;
    int fd = -1;
    enum status st = file_open_append(&fd, w->path, err);

    if (st == ST_OK)
        st = file_sync(fd, w->path, err);
    if (file_close(&fd, w->path, err) != ST_OK)
        st = ST_FAIL;
    if (st == ST_OK)
        st = page_reader_open(&pages, w->path, err);
    page_reader_close(&pages);
    return st == ST_OK ? hash_sha256_file(sha256, w->path, err) : st;
}

static enum status write_digest(const char *digest_path, const char *final_path,
                                const uint8_t sha256[32], struct error *err)
{
    char hex[65];
    struct buffer line;

    buffer_init(&line);
    hash_hex(hex, sha256, 32);
    enum status st = buffer_printf(&line, err, "%s  %s\n", hex, path_base(final_path));
    if (st == ST_OK)
        st = file_replace(digest_path, line.data, line.size, err);
    buffer_clear(&line);
    return st;
}

enum status shard_writer_seal(struct shard_writer *w, struct unit_facts *unit,
                              const char *final_path, const char *digest_path, uint8_t sha256[32],
                              struct error *err)
{
    if (check_unit(w, unit, err) != ST_OK || put_rows(w, err) != ST_OK ||
        put_sequences(w, err) != ST_OK)
        return ST_FAIL;
    if (w->opt.pieces &&
        put_bytes(w, VALUE_PIECES, 0, w->opt.pieces, w->opt.pieces_size, true, err) != ST_OK)
        return ST_FAIL;
    if (put_unit(w, unit, err) != ST_OK || commit(w, err) != ST_OK)
        return ST_FAIL;
    mdb_env_close(w->env);
    w->env = NULL;
    if (finish_file(w, sha256, err) != ST_OK ||
        (digest_path && write_digest(digest_path, final_path, sha256, err) != ST_OK) ||
        file_rename(w->path, final_path, err) != ST_OK)
        return ST_FAIL;
    w->created = false;
    return ST_OK;
}
