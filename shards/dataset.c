/* shards/dataset.c: the folder of design.md 5 as a whole. */
#include "shards/dataset.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"

struct dataset {
    char *folder;
    struct manifest manifest;
    uint64_t *first; /* shard_count + 1: number of each shard's first sequence */
};

char *dataset_manifest_path(const char *folder)
{
    return str_format("%s/dataset.json", folder);
}

char *dataset_shard_path(const char *folder, uint32_t shard)
{
    return str_format("%s/shards/%06" PRIu32 ".mdb", folder, shard);
}

char *dataset_quarantine_path(const char *folder)
{
    return str_format("%s/quarantine.jsonl", folder);
}

char *dataset_digest_path(const char *folder, uint32_t shard)
{
    return str_format("%s/work/%06" PRIu32 ".sha256", folder, shard);
}

static enum status out_of_memory(const char *folder, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", folder);
}

static enum status read_manifest(struct manifest *m, const char *folder, bool lazy,
                                 struct error *err)
{
    char *path = dataset_manifest_path(folder);
    struct file_info info;
    enum status st = path ? file_stat(path, &info, err) : out_of_memory(folder, err);

    if (st == ST_END)
        st = error_set(err, ST_FAIL, CAUSE_IO, "%s: no dataset.json: not a (finished) dataset",
                       folder);
    if (st == ST_OK)
        st = lazy ? manifest_read_shards(m, path, err) : manifest_read(m, path, err);
    mem_free(path);
    return st;
}

static enum status check_size(const char *folder, const struct manifest *m, uint32_t shard,
                              struct error *err)
{
    char *path = dataset_shard_path(folder, shard);
    struct file_info info;
    enum status st = path ? file_stat(path, &info, err) : out_of_memory(folder, err);

    if (st == ST_END)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: the shard is missing", path);
    else if (st == ST_OK && (!info.is_regular || info.size != m->shards[shard].bytes))
        st = error_set(err, ST_FAIL, CAUSE_FORMAT,
                       "%s: size: got %" PRIu64 ", the manifest says %" PRIu64, path, info.size,
                       m->shards[shard].bytes);
    mem_free(path);
    return st;
}

/* Calls `finding` for each file in shards/ that the manifest does not name. */
static enum status list_extra(const char *folder, const struct manifest *m,
                              shard_finding_fn *finding, void *arg, struct error *err)
{
    char *path = str_format("%s/shards", folder), **names = NULL;
    size_t count = 0, next = 0;
    enum status st = path ? file_list(path, &names, &count, err) : out_of_memory(folder, err);

    for (size_t i = 0; st == ST_OK && i < count; i++) { /* both lists are in the order of bytes */
        struct error e = { 0 };
        while (next < m->shard_count && strcmp(m->shards[next].name, names[i]) < 0)
            next++;
        if (next < m->shard_count && strcmp(m->shards[next].name, names[i]) == 0)
            continue;
        error_set(&e, ST_FAIL, CAUSE_FORMAT, "%s/%s: the manifest names no such shard", path,
                  names[i]);
        finding(arg, &e);
    }
    file_list_free(&names, count);
    mem_free(path);
    return st;
}

static void keep_first(void *arg, const struct error *finding)
{
    struct error *err = arg;
    if (err && err->cause == CAUSE_NONE)
        *err = *finding;
}

static enum status check_files(const char *folder, const struct manifest *m, struct error *err)
{
    struct error extra = { 0 };

    for (size_t i = 0; i < m->shard_count; i++)
        if (check_size(folder, m, (uint32_t)i, err) != ST_OK)
            return ST_FAIL;
    if (list_extra(folder, m, keep_first, &extra, err) != ST_OK)
        return ST_FAIL;
    if (extra.cause != CAUSE_NONE)
        return error_set(err, ST_FAIL, extra.cause, "%s", extra.text);
    return ST_OK;
}

static enum status open_parts(struct dataset *d, const char *folder, bool lazy, struct error *err)
{
    d->folder = mem_strdup(folder);
    if (!d->folder)
        return out_of_memory(folder, err);
    if (read_manifest(&d->manifest, folder, lazy, err) != ST_OK ||
        (!lazy && check_files(folder, &d->manifest, err) != ST_OK))
        return ST_FAIL;
    d->first = mem_calloc(d->manifest.shard_count + 1, sizeof *d->first);
    if (!d->first)
        return out_of_memory(folder, err);
    for (size_t i = 0; i < d->manifest.shard_count; i++)
        d->first[i + 1] = d->first[i] + d->manifest.shards[i].sequences;
    return ST_OK;
}

static enum status open_dataset(struct dataset **out, const char *folder, bool lazy,
                                struct error *err)
{
    struct dataset *d = mem_calloc(1, sizeof *d);

    *out = NULL;
    if (!d)
        return out_of_memory(folder, err);
    manifest_init(&d->manifest);
    if (open_parts(d, folder, lazy, err) != ST_OK) {
        dataset_close(&d);
        return ST_FAIL;
    }
    *out = d;
    return ST_OK;
}

enum status dataset_open(struct dataset **out, const char *folder, struct error *err)
{
    return open_dataset(out, folder, false, err);
}

enum status dataset_open_lazily(struct dataset **out, const char *folder, struct error *err)
{
    return open_dataset(out, folder, true, err);
}

void dataset_close(struct dataset **d)
{
    if (!*d)
        return;
    manifest_clear(&(*d)->manifest);
    mem_free((*d)->folder);
    mem_free((*d)->first);
    mem_free(*d);
    *d = NULL;
}

const char *dataset_folder(const struct dataset *d)
{
    return d->folder;
}

const struct manifest *dataset_manifest(const struct dataset *d)
{
    return &d->manifest;
}

uint64_t dataset_sequences(const struct dataset *d)
{
    return d->manifest.total.sequences;
}

bool dataset_locate(const struct dataset *d, uint64_t sequence, uint32_t *shard, uint64_t *index)
{
    size_t low = 0, high = d->manifest.shard_count;

    if (sequence >= d->manifest.total.sequences)
        return false;
    while (high - low > 1) { /* first[low] <= sequence < first[high] */
        const size_t middle = low + (high - low) / 2;
        if (d->first[middle] <= sequence)
            low = middle;
        else
            high = middle;
    }
    *shard = (uint32_t)low;
    *index = sequence - d->first[low];
    return true;
}

/* The counts of a shard against its line in the manifest. */
static enum status check_counts(const struct manifest *m, const struct shard_reader *r,
                                uint32_t shard, const char *path, struct error *err)
{
    const struct manifest_shard *want = &m->shards[shard];
    const struct unit_facts *got = shard_reader_unit(r);

    if (got->sequences != want->sequences || got->pictures != want->pictures ||
        got->documents != want->documents || got->images != want->images ||
        got->tokens != want->tokens || shard_reader_file_size(r) != want->bytes)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: counts differ from the manifest", path);
    if (!facts_equal(shard_reader_facts(r), &m->facts))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: facts differ from the manifest", path);
    return ST_OK;
}

static enum status open_shard(const char *folder, const struct manifest *m, uint32_t shard,
                              struct shard_reader **out, struct error *err)
{
    struct shard_reader_options opt;
    char *path = dataset_shard_path(folder, shard);

    *out = NULL;
    if (!path)
        return out_of_memory(folder, err);
    shard_reader_options_init(&opt);
    opt.identity = m->facts.identity;
    opt.has_number = true;
    opt.number = shard;
    enum status st = shard_reader_open(out, path, &opt, err);
    if (st == ST_OK && check_counts(m, *out, shard, path, err) != ST_OK) {
        shard_reader_close(out);
        st = ST_FAIL;
    }
    mem_free(path);
    return st;
}

enum status dataset_shard(const struct dataset *d, uint32_t shard, struct shard_reader **out,
                          struct error *err)
{
    *out = NULL;
    if (shard >= d->manifest.shard_count)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: no shard %" PRIu32, d->folder, shard);
    if (check_size(d->folder, &d->manifest, shard, err) != ST_OK)
        return ST_FAIL;
    return open_shard(d->folder, &d->manifest, shard, out, err);
}

/* The digest that the writer left, or a fresh one. */
static enum status shard_digest(const char *folder, uint32_t shard, const char *path,
                                uint8_t sha256[32], struct error *err)
{
    char *digest_path = dataset_digest_path(folder, shard);
    struct buffer line;
    struct error ignored = { 0 };
    bool known = false;

    if (!digest_path)
        return out_of_memory(folder, err);
    buffer_init(&line);
    if (file_read_all(&line, digest_path, 256, &ignored) == ST_OK && line.size > 64) {
        struct hash128 half[2];
        known = hash128_from_hex(&half[0], (const char *)line.data, 32) &&
                hash128_from_hex(&half[1], (const char *)line.data + 32, 32);
        for (unsigned i = 0; known && i < 32; i++) {
            const uint64_t word = i % 16 < 8 ? half[i / 16].high : half[i / 16].low;
            sha256[i] = (uint8_t)(word >> (56 - 8 * (i % 8)));
        }
    }
    buffer_clear(&line);
    mem_free(digest_path);
    return known ? ST_OK : hash_sha256_file(sha256, path, err);
}

static enum status add_shard(struct manifest *m, const char *folder, uint32_t shard,
                             struct buffer *rows, struct error *err)
{
    struct shard_reader_options opt;
    struct shard_reader *r = NULL;
    uint8_t sha256[32];
    char *path = dataset_shard_path(folder, shard);
    enum status st = path ? ST_OK : out_of_memory(folder, err);

    shard_reader_options_init(&opt);
    opt.has_number = true;
    opt.number = shard;
    if (st == ST_OK)
        st = shard_reader_open(&r, path, &opt, err);
    if (st == ST_OK)
        st = shard_digest(folder, shard, path, sha256, err);
    if (st == ST_OK)
        st = shard_reader_quarantine(r, rows, err);
    if (st == ST_OK) {
        st = manifest_add(m, shard_reader_facts(r), shard_reader_unit(r), shard_reader_file_size(r),
                          sha256, err);
        if (st != ST_OK)
            error_prefix(err, st, "%s", path);
    }
    shard_reader_close(&r);
    mem_free(path);
    return st;
}

static enum status write_files(struct manifest *m, const char *folder, const struct buffer *rows,
                               struct error *err)
{
    char *quarantine = dataset_quarantine_path(folder), *manifest = dataset_manifest_path(folder);
    struct buffer text;
    enum status st = quarantine && manifest ? ST_OK : out_of_memory(folder, err);

    buffer_init(&text);
    hash_sha256(m->quarantine_sha256, rows->data, rows->size);
    m->quarantine_bytes = rows->size;
    if (st == ST_OK)
        st = file_replace(quarantine, rows->data, rows->size, err);
    if (st == ST_OK)
        st = manifest_encode(&text, m, err);
    if (st == ST_OK)
        st = file_replace(manifest, text.data, text.size, err);
    buffer_clear(&text);
    mem_free(quarantine);
    mem_free(manifest);
    return st;
}

enum status dataset_finish(const char *folder, uint32_t shards, struct error *err)
{
    struct manifest m;
    struct buffer rows;
    enum status st = ST_OK;

    if (shards == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: a dataset has at least one shard", folder);
    manifest_init(&m);
    buffer_init(&rows);
    for (uint32_t i = 0; i < shards && st == ST_OK; i++)
        st = add_shard(&m, folder, i, &rows, err);
    if (st == ST_OK)
        st = write_files(&m, folder, &rows, err);
    buffer_clear(&rows);
    manifest_clear(&m);
    return st;
}
