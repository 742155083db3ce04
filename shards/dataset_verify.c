/* shards/dataset_verify.c: `deem verify` of a dataset: digests first, then every record, then what the
 * shards add up to. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "shards/dataset.h"

/* Less is done before a person asks; stderr holds findings only. */
static const uint64_t progress_from_bytes = (uint64_t)1 << 32;

struct check {
    const char *folder;
    struct manifest manifest; /* as found */
    struct manifest rebuilt;  /* from the shards */
    struct buffer rows;       /* of all shards */
    bool whole;               /* every shard could be read so far */
    shard_finding_fn *finding;
    void *arg;
};

static void find(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void find(struct check *c, const char *fmt, ...)
{
    struct error e = { 0 };
    char text[768];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    error_set(&e, ST_FAIL, CAUSE_FORMAT, "%s", text);
    c->finding(c->arg, &e);
}

/* A fault becomes a finding, unless memory ran out. */
static enum status tolerate(struct check *c, enum status st, struct error *e, struct error *err)
{
    if (st != ST_FAIL)
        return ST_OK;
    if (e->cause == CAUSE_NOMEM) {
        if (err)
            *err = *e;
        return ST_FAIL;
    }
    c->finding(c->arg, e);
    c->whole = false;
    error_clear(e);
    return ST_OK;
}

static enum status check_digest(struct check *c, const char *path, const uint8_t want[32],
                                struct error *e)
{
    uint8_t got[32];

    if (hash_sha256_file(got, path, e) != ST_OK)
        return ST_FAIL;
    if (memcmp(got, want, sizeof got) != 0)
        return error_set(e, ST_FAIL, CAUSE_CHECKSUM, "%s: SHA-256 differs from the manifest", path);
    (void)c;
    return ST_OK;
}

static enum status check_records(struct check *c, struct shard_reader *r, uint32_t shard,
                                 struct error *e)
{
    const struct manifest_shard *s = &c->manifest.shards[shard];
    struct error ignored = { 0 };

    if (shard_reader_verify(r, c->finding, c->arg, e) != ST_OK)
        return ST_FAIL;
    if (!facts_equal(shard_reader_facts(r), &c->manifest.facts))
        find(c, "%s: facts differ from the manifest", s->name);
    if (!c->whole)
        return ST_OK;
    if (shard_reader_quarantine(r, &c->rows, &ignored) != ST_OK ||
        manifest_add(&c->rebuilt, shard_reader_facts(r), shard_reader_unit(r),
                     shard_reader_file_size(r), s->sha256, e) != ST_OK)
        c->whole = false;
    return c->whole || e->cause == CAUSE_NONE ? ST_OK : ST_FAIL;
}

static enum status check_shard(struct check *c, uint32_t shard, struct error *err)
{
    struct shard_reader_options opt;
    struct shard_reader *r = NULL;
    struct error e = { 0 };
    char *path = dataset_shard_path(c->folder, shard);
    enum status st;

    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", c->folder);
    shard_reader_options_init(&opt);
    opt.identity = c->manifest.facts.identity;
    opt.has_number = true;
    opt.number = shard;
    st = tolerate(c, check_digest(c, path, c->manifest.shards[shard].sha256, &e), &e, err);
    if (st == ST_OK)
        st = tolerate(c, shard_reader_open(&r, path, &opt, &e), &e, err);
    if (st == ST_OK && r)
        st = tolerate(c, check_records(c, r, shard, &e), &e, err);
    shard_reader_close(&r);
    mem_free(path);
    return st;
}

static enum status check_shards(struct check *c, struct error *err)
{
    uint64_t bytes = 0;
    enum status st = ST_OK;

    for (size_t i = 0; i < c->manifest.shard_count; i++)
        bytes += c->manifest.shards[i].bytes;
    struct progress *progress =
        bytes >= progress_from_bytes ? progress_open("verify", "bytes", bytes) : NULL;
    for (size_t i = 0; i < c->manifest.shard_count && st == ST_OK; i++) {
        st = check_shard(c, (uint32_t)i, err);
        progress_add(progress, c->manifest.shards[i].bytes);
    }
    progress_close(&progress);
    return st;
}

static enum status check_quarantine(struct check *c, struct error *err)
{
    struct error e = { 0 };
    uint8_t digest[32];
    char *path = dataset_quarantine_path(c->folder);
    enum status st;

    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", c->folder);
    st = tolerate(c, check_digest(c, path, c->manifest.quarantine_sha256, &e), &e, err);
    hash_sha256(digest, c->rows.data, c->rows.size);
    if (c->whole && memcmp(digest, c->manifest.quarantine_sha256, sizeof digest) != 0)
        find(c, "%s: differs from the rows in the shards", path);
    mem_free(path);
    return st;
}

/* Seen = stored + filtered + quarantined, for every input, for records and pictures. */
static void check_conservation(struct check *c)
{
    const struct unit_facts *t = &c->manifest.total;

    for (size_t i = 0; i < t->input_count; i++) {
        if (!unit_count_holds(&t->inputs[i].records))
            find(c, "%s/dataset.json: %s: records seen are not stored + filtered + quarantined",
                 c->folder, t->inputs[i].file);
        if (!unit_count_holds(&t->inputs[i].pictures))
            find(c, "%s/dataset.json: %s: pictures seen are not stored + filtered + quarantined",
                 c->folder, t->inputs[i].file);
    }
    if (!unit_count_holds(&c->manifest.records) || !unit_count_holds(&c->manifest.pictures))
        find(c, "%s/dataset.json: totals seen are not stored + filtered + quarantined", c->folder);
    if (c->manifest.pictures.stored != t->images)
        find(c, "%s/dataset.json: pictures stored: got %" PRIu64 ", sequences hold %" PRIu64,
             c->folder, c->manifest.pictures.stored, t->images);
}

/* The manifest is a function of the shards: made again it must be the same text. */
static enum status check_rebuilt(struct check *c, struct error *err)
{
    struct buffer found, made;
    enum status st = ST_OK;

    buffer_init(&found);
    buffer_init(&made);
    c->rebuilt.quarantine_bytes = c->rows.size;
    hash_sha256(c->rebuilt.quarantine_sha256, c->rows.data, c->rows.size);
    st = manifest_encode(&found, &c->manifest, err);
    if (st == ST_OK)
        st = manifest_encode(&made, &c->rebuilt, err);
    if (st == ST_OK && (found.size != made.size || memcmp(found.data, made.data, found.size) != 0))
        find(c, "%s/dataset.json: differs from what the shards add up to", c->folder);
    buffer_clear(&found);
    buffer_clear(&made);
    return st;
}

static enum status check_all(struct check *c, struct error *err)
{
    struct dataset *d = NULL;
    struct error e = { 0 };
    char *path = dataset_manifest_path(c->folder);
    enum status st = path ? tolerate(c, manifest_read(&c->manifest, path, &e), &e, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", c->folder);

    mem_free(path);
    if (st != ST_OK || !c->whole)
        return st;
    st = tolerate(c, dataset_open(&d, c->folder, &e), &e, err); /* names and sizes */
    dataset_close(&d);
    if (st == ST_OK)
        st = check_shards(c, err);
    if (st == ST_OK)
        st = check_quarantine(c, err);
    if (st != ST_OK)
        return st;
    check_conservation(c);
    return c->whole ? check_rebuilt(c, err) : ST_OK;
}

enum status dataset_verify(const char *folder, shard_finding_fn *finding, void *arg,
                           struct error *err)
{
    struct check c = { .folder = folder, .whole = true, .finding = finding, .arg = arg };

    manifest_init(&c.manifest);
    manifest_init(&c.rebuilt);
    buffer_init(&c.rows);
    const enum status st = check_all(&c, err);
    buffer_clear(&c.rows);
    manifest_clear(&c.manifest);
    manifest_clear(&c.rebuilt);
    return st;
}
