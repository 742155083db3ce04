/* shards/manifest_scan.c: the shards and totals of a manifest, read straight from its canonical text. A
 * tree of 10,000 shards and their inputs takes a hundred times as long as these bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "shards/fields_private.h"
#include "shards/manifest_private.h"

struct scan {
    const char *p, *end;
};

static bool take(struct scan *s, const char *literal)
{
    const size_t n = strlen(literal);

    if ((size_t)(s->end - s->p) < n || memcmp(s->p, literal, n) != 0)
        return false;
    s->p += n;
    return true;
}

/* `name` and its value, as JSON writes them. */
static bool take_u64(struct scan *s, const char *name, uint64_t *out)
{
    const char *first = NULL;

    *out = 0;
    if (!take(s, name))
        return false;
    first = s->p;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
        if (!mul_ok_u64(*out, 10, out) || !add_ok_u64(*out, (uint64_t)(*s->p - '0'), out))
            return false;
    return s->p > first && (*first != '0' || s->p == first + 1);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool take_digest(struct scan *s, uint8_t out[32])
{
    if (s->end - s->p < 64)
        return false;
    for (size_t i = 0; i < 32; i++, s->p += 2) {
        const int high = hex_digit(s->p[0]), low = hex_digit(s->p[1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool take_shard(struct scan *s, struct manifest_shard *out, size_t number)
{
    snprintf(out->name, sizeof out->name, "%06zu.mdb", number);
    return take(s, "{\"name\":\"") && take(s, out->name) &&
           take_u64(s, "\",\"sequences\":", &out->sequences) &&
           take_u64(s, ",\"pictures\":", &out->pictures) &&
           take_u64(s, ",\"documents\":", &out->documents) &&
           take_u64(s, ",\"images\":", &out->images) && take_u64(s, ",\"tokens\":", &out->tokens) &&
           take_u64(s, ",\"bytes\":", &out->bytes) && take(s, ",\"sha256\":\"") &&
           take_digest(s, out->sha256) && take(s, "\"}");
}

static bool take_totals(struct scan *s, struct unit_facts *t)
{
    return take_u64(s, ",\"totals\":{\"sequences\":", &t->sequences) &&
           take_u64(s, ",\"pictures\":", &t->pictures) &&
           take_u64(s, ",\"documents\":", &t->documents) &&
           take_u64(s, ",\"images\":", &t->images) && take_u64(s, ",\"tokens\":", &t->tokens) &&
           take_u64(s, ",\"pieces_dropped\":", &t->pieces_dropped) && take(s, "},\"records\":{");
}

/* What stands before the shards, as a tree of its own. */
static enum status read_head(struct manifest *m, const char *data, size_t size, struct error *err)
{
    struct json_value *top = NULL;
    struct buffer head;
    struct arena tree;
    uint64_t format = 0;

    arena_init(&tree, 0);
    buffer_init(&head);
    enum status st = buffer_append(&head, data, size, err);
    if (st == ST_OK)
        st = buffer_append(&head, "}", 1, err);
    if (st == ST_OK)
        st = json_parse(&tree, &top, head.data, head.size, NULL, err);
    if (st == ST_OK)
        st = field_u64(&format, top, "format", err);
    if (st == ST_OK && format != MANIFEST_FORMAT)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "manifest format: got %" PRIu64 ", want %d",
                       format, MANIFEST_FORMAT);
    if (st == ST_OK)
        st = facts_read(&m->facts, &m->arena, top, err);
    buffer_clear(&head);
    arena_clear(&tree);
    return st;
}

enum status manifest_scan(struct manifest *m, const char *data, size_t size, struct error *err)
{
    static const char begin[] = ",\"shards\":[";
    const char *list = memmem(data, size, begin, sizeof begin - 1);
    const size_t shard_bytes = 150; /* no shard's text is shorter */

    if (!list)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "manifest without shards");
    if (read_head(m, data, (size_t)(list - data), err) != ST_OK)
        return ST_FAIL;
    struct scan s = { list + sizeof begin - 1, data + size };
    m->shards = mem_calloc((size_t)(s.end - s.p) / shard_bytes + 1, sizeof *m->shards);
    if (!m->shards)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: manifest");
    bool good = true;
    while (good && !take(&s, "]")) {
        good = m->shard_count == 0 || take(&s, ",");
        good = good && (size_t)(s.end - s.p) > shard_bytes &&
               take_shard(&s, &m->shards[m->shard_count], m->shard_count);
        m->shard_count += good;
    }
    if (!good || !take_totals(&s, &m->total))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %td: shard %zu is not as deem writes it",
                         s.p - data, m->shard_count);
    return ST_OK;
}
