/* ingest/source_jsonl.c: MMC4 documents out of JSON-lines inputs, plain, gzip, zstd or zip. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "ingest/lines.h"
#include "ingest/mmc4.h"
#include "ingest/source_private.h"

struct source_jsonl {
    struct source head; /* first */
    struct lines *lines;
    struct mmc4 *parser;
    struct document doc;
    char *base;         /* of the input's path */
    const char *member; /* whose stem `stem` is; NULL: the input's */
    struct text stem;   /* FILE */
    char record[24];    /* LINE in decimal */
};

/* FILE of a base name: without a final .gz, .zst or .zip, then without .jsonl (data.md 2.3.1). */
static struct text stem_of(const char *base)
{
    static const char *const ends[] = { ".gz", ".zst", ".zip" };
    struct text t = { base, strlen(base) };
    for (size_t i = 0; i < 3; i++) {
        const size_t n = strlen(ends[i]);
        if (t.size >= n && memcmp(base + t.size - n, ends[i], n) == 0) {
            t.size -= n;
            break;
        }
    }
    if (t.size >= 6 && memcmp(base + t.size - 6, ".jsonl", 6) == 0)
        t.size -= 6;
    return t;
}

static struct source_jsonl *jsonl(struct source *s)
{
    return (struct source_jsonl *)(void *)s; /* the head is its first member */
}

static void fill_damage(struct source_jsonl *s, struct source_damage *damage, const struct line *l)
{
    snprintf(s->record, sizeof s->record, "%" PRIu64, l->number);
    damage->member = (struct text){ l->member, l->member ? strlen(l->member) : 0 };
    damage->record = (struct text){ s->record, strlen(s->record) };
    damage->offset = l->offset;
    damage->length = l->length;
    damage->hash = l->hash;
}

static enum status jsonl_next(struct source *source, const struct document **d,
                              struct source_damage *damage, struct error *err)
{
    struct source_jsonl *s = jsonl(source);
    struct line l;
    enum status st = lines_next(s->lines, &l, err);
    if (st == ST_SKIP)
        fill_damage(s, damage, &l);
    if (st != ST_OK)
        return st;
    const uint8_t *p = l.data;
    /* A BOM may stand at the start of the file only. */
    const size_t bom = l.number == 0 && l.length >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    st = mmc4_parse(s->parser, &s->doc, &damage->found, &damage->allowed, p + bom,
                    (size_t)l.length - bom, l.offset + bom, err);
    if (st == ST_SKIP) {
        l.hash = hash_xxh3_64(p, (size_t)l.length);
        fill_damage(s, damage, &l);
        damage->stage = "parse";
    }
    if (st != ST_OK)
        return st;
    if (l.member != s->member) {
        s->member = l.member;
        s->stem = stem_of(path_base(l.member));
    }
    s->doc.file = s->stem;
    s->doc.line = l.number;
    s->doc.offset = l.offset;
    s->doc.length = l.length;
    *d = &s->doc;
    return ST_OK;
}

static enum status jsonl_skip(struct source *source, uint64_t records, struct error *err)
{
    struct source_jsonl *s = jsonl(source);
    for (; records > 0; records--) {
        struct line l;
        const enum status st = lines_next(s->lines, &l, err);
        if (st == ST_SKIP)
            error_clear(err);
        else if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static bool jsonl_incomplete(const struct source *source, const char **why)
{
    const struct source_jsonl *s = (const struct source_jsonl *)(const void *)source;
    return lines_incomplete(s->lines, why);
}

static void jsonl_close(struct source *source)
{
    struct source_jsonl *s = jsonl(source);
    lines_close(&s->lines);
    mmc4_close(&s->parser);
    mem_free(s->base);
    mem_free(s);
}

static const struct source_calls calls = { jsonl_next, jsonl_skip, jsonl_incomplete, jsonl_close };

enum status source_open_mmc4(struct source **out, const char *path, const char *file,
                             const struct source_limits *limits, struct error *err)
{
    struct source_jsonl *s = mem_calloc(1, sizeof *s);
    enum status st = ST_FAIL;
    *out = s ? &s->head : NULL;
    if (!s)
        return error_set(err, st, CAUSE_NOMEM, "%s: out of memory", file);
    s->head.calls = &calls;
    s->base = mem_strdup(path_base(path));
    if (!s->base)
        error_set(err, st, CAUSE_NOMEM, "%s: out of memory", file);
    else
        st = lines_open(&s->lines, path, limits, err);
    if (st == ST_OK)
        st = mmc4_open(&s->parser, limits, err);
    if (st != ST_OK) {
        source_close(out);
        return st;
    }
    s->stem = stem_of(s->base);
    return ST_OK;
}
