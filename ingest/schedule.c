/* ingest/schedule.c: see schedule.h. Units, duplicates, and the plan's two files: work/dictionary and
 * work/plan.json. */
#include "ingest/schedule.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "ingest/signature.h"

enum { PLAN_FORMAT = 1 };
static const uint64_t PLAN_MAX_BYTES = UINT64_C(1) << 32;

void schedule_clear(struct schedule *p)
{
    inputs_clear(&p->inputs);
    mem_free(p->units);
    mem_free(p->duplicates);
    buffer_clear(&p->dictionary);
    *p = (struct schedule){ 0 };
}

/* ---- units ---- */

static enum status add_unit(struct schedule *p, const struct schedule_unit *u, struct error *err)
{
    struct schedule_unit *units = p->units;
    if ((p->unit_count & (p->unit_count - 1)) == 0) { /* grow at powers of two */
        units = mem_realloc(units, p->unit_count ? p->unit_count * 2 : 1, sizeof *units);
        if (!units)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "plan: units");
        p->units = units;
    }
    p->units[p->unit_count++] = *u;
    return ST_OK;
}

enum status schedule_cut(struct schedule *p, const uint64_t *records, uint32_t inputs_per_shard,
                         uint64_t records_per_unit, struct error *err)
{
    struct schedule_unit run = { 0 };
    enum status st = ST_OK;

    for (uint32_t i = 0; i < p->inputs.count && st == ST_OK; i++) {
        const bool large = records && records[i] > records_per_unit;
        if (run.count > 0 && (large || run.count == inputs_per_shard)) {
            st = add_unit(p, &run, err);
            run.count = 0;
        }
        if (!large) {
            run.first = run.count++ == 0 ? i : run.first;
            continue;
        }
        for (uint64_t at = 0; at < records[i] && st == ST_OK; at += records_per_unit) {
            const bool last = records[i] - at <= records_per_unit;
            const struct schedule_unit cut = { i, 1, at, last ? 0 : records_per_unit };
            st = add_unit(p, &cut, err);
        }
    }
    return st == ST_OK && run.count > 0 ? add_unit(p, &run, err) : st;
}

/* ---- duplicates ---- */

static int by_record(const struct schedule_record *a, const struct schedule_record *b)
{
    if (a->input != b->input)
        return a->input < b->input ? -1 : 1;
    return a->record < b->record ? -1 : a->record > b->record;
}

static int by_identity(const void *x, const void *y)
{
    const struct schedule_identity *a = x, *b = y;
    const int order = memcmp(a->id, b->id, sizeof a->id);
    return order ? order : by_record(&a->at, &b->at);
}

static int compare_records(const void *x, const void *y)
{
    return by_record(x, y);
}

enum status schedule_mark(struct schedule *p, struct schedule_identity *seen, size_t n,
                          struct error *err)
{
    size_t count = 0;
    if (n > 0)
        qsort(seen, n, sizeof *seen, by_identity);
    for (size_t i = 1; i < n; i++)
        count += memcmp(seen[i - 1].id, seen[i].id, sizeof seen[i].id) == 0;
    p->duplicates = mem_calloc(count + 1, sizeof *p->duplicates);
    if (!p->duplicates)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "plan: %zu duplicates", count);
    for (size_t i = 1; i < n; i++)
        if (memcmp(seen[i - 1].id, seen[i].id, sizeof seen[i].id) == 0)
            p->duplicates[p->duplicate_count++] = seen[i].at;
    qsort(p->duplicates, count, sizeof *p->duplicates, compare_records);
    return ST_OK;
}

bool schedule_is_duplicate(const struct schedule *p, uint32_t input, uint64_t record)
{
    const struct schedule_record at = { input, record };
    return p->duplicate_count > 0 &&
           bsearch(&at, p->duplicates, p->duplicate_count, sizeof at, compare_records) != NULL;
}

/* ---- files ---- */

static char *plan_path(const char *work)
{
    return path_join(work, "plan.json");
}

static char *dictionary_path(const char *work)
{
    return path_join(work, "dictionary");
}

static void write_plan(struct json_writer *w, const struct schedule *p,
                       const struct buffer *signature)
{
    uint8_t digest[32];
    char hex[65];

    hash_sha256(digest, p->dictionary.data, p->dictionary.size);
    hash_hex(hex, digest, sizeof digest);
    json_begin_object(w);
    json_key(w, "format");
    json_int(w, PLAN_FORMAT);
    json_key(w, "signature");
    json_raw(w, (const char *)signature->data, signature->size);
    json_key(w, "records");
    json_uint(w, p->records);
    json_key(w, "units");
    json_begin_array(w);
    for (size_t i = 0; i < p->unit_count; i++) {
        json_begin_array(w);
        json_uint(w, p->units[i].first);
        json_uint(w, p->units[i].count);
        json_uint(w, p->units[i].skip);
        json_uint(w, p->units[i].take);
        json_end_array(w);
    }
    json_end_array(w);
    json_key(w, "duplicates");
    json_begin_array(w);
    for (size_t i = 0; i < p->duplicate_count; i++) {
        json_begin_array(w);
        json_uint(w, p->duplicates[i].input);
        json_uint(w, p->duplicates[i].record);
        json_end_array(w);
    }
    json_end_array(w);
    json_key(w, "dictionary");
    json_string(w, hex);
    json_end_object(w);
}

enum status schedule_save(const struct schedule *p, const char *work,
                          const struct buffer *signature, struct error *err)
{
    char *plan = plan_path(work), *dictionary = dictionary_path(work);
    struct buffer text = { 0 };
    struct json_writer w;
    enum status st =
        plan && dictionary ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "plan: path");
    if (st == ST_OK)
        st = file_replace(dictionary, p->dictionary.data, p->dictionary.size, err);
    if (st == ST_OK) {
        json_writer_init(&w, &text);
        write_plan(&w, p, signature);
        st = json_writer_finish(&w, err);
    }
    if (st == ST_OK)
        st = file_replace(plan, text.data, text.size, err);
    buffer_clear(&text);
    mem_free(plan);
    mem_free(dictionary);
    return st;
}

static enum status broken(const char *path, const char *what, struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: plan: %s; remove the folder to plan anew",
                     path, what);
}

/* `n` numbers of an array into out; false: not that. */
static bool read_numbers(const struct json_value *v, uint64_t *out, size_t n)
{
    const struct json_value *e = v->type == JSON_T_ARRAY && v->count == n ? v->child : NULL;
    for (size_t i = 0; i < n; i++, e = e->next) {
        int64_t x = 0;
        if (!e || !json_value_int64(e, &x) || x < 0)
            return false;
        out[i] = (uint64_t)x;
    }
    return true;
}

static enum status read_units(struct schedule *p, const char *path, const struct json_value *list,
                              struct error *err)
{
    uint64_t n[4];
    if (!list || list->type != JSON_T_ARRAY)
        return broken(path, "no units", err);
    for (const struct json_value *v = list->child; v; v = v->next) {
        if (!read_numbers(v, n, 4) || n[0] >= p->inputs.count || n[1] < 1 ||
            n[1] > p->inputs.count - n[0])
            return broken(path, "a unit names no inputs", err);
        const struct schedule_unit u = { (uint32_t)n[0], (uint32_t)n[1], n[2], n[3] };
        const enum status st = add_unit(p, &u, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

static enum status read_duplicates(struct schedule *p, const char *path,
                                   const struct json_value *list, struct error *err)
{
    uint64_t n[2];
    if (!list || list->type != JSON_T_ARRAY)
        return broken(path, "no duplicates", err);
    p->duplicates = mem_calloc(list->count + 1, sizeof *p->duplicates);
    if (!p->duplicates)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "plan: duplicates");
    for (const struct json_value *v = list->child; v; v = v->next) {
        if (!read_numbers(v, n, 2) || n[0] >= p->inputs.count)
            return broken(path, "a duplicate names no input", err);
        p->duplicates[p->duplicate_count++] = (struct schedule_record){ (uint32_t)n[0], n[1] };
    }
    return ST_OK;
}

static enum status read_dictionary(struct schedule *p, const char *work,
                                   const struct json_value *digest, struct error *err)
{
    char *path = dictionary_path(work);
    uint8_t got[32];
    char hex[65];
    enum status st = path ? file_read_all(&p->dictionary, path, 1u << 20, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "plan: path");
    if (st == ST_OK) {
        hash_sha256(got, p->dictionary.data, p->dictionary.size);
        hash_hex(hex, got, sizeof got);
        if (!digest || digest->type != JSON_T_STRING || strcmp(digest->text, hex) != 0)
            st = error_set(err, ST_FAIL, CAUSE_CHECKSUM, "%s: not the plan's dictionary", path);
    }
    mem_free(path);
    return st;
}

static enum status read_plan(struct schedule *p, const char *path, const char *work,
                             const struct json_value *v, struct error *err)
{
    const struct json_value *records = json_get(v, "records");
    int64_t n = 0;
    if (!records || !json_value_int64(records, &n) || n < 0)
        return broken(path, "no record count", err);
    p->records = (uint64_t)n;
    enum status st = read_units(p, path, json_get(v, "units"), err);
    if (st == ST_OK)
        st = read_duplicates(p, path, json_get(v, "duplicates"), err);
    return st == ST_OK ? read_dictionary(p, work, json_get(v, "dictionary"), err) : st;
}

static enum status check_signature(const char *path, const struct json_value *v,
                                   const struct buffer *now, struct error *err)
{
    const struct json_value *there = json_get(v, "signature"), *format = json_get(v, "format");
    int64_t n = 0;
    if (!there || !format || !json_value_int64(format, &n) || n != PLAN_FORMAT)
        return broken(path, "of another format", err);
    return signature_compare(path, there, now, err);
}

enum status schedule_load(struct schedule *p, const char *work, const struct buffer *signature,
                          struct error *err)
{
    char *path = plan_path(work);
    struct buffer text = { 0 };
    struct arena arena;
    struct json_value *v = NULL;
    enum status st = ST_FAIL;

    arena_init(&arena, 0);
    if (!path) {
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "plan: path");
        goto done;
    }
    if (!file_exists(path)) {
        st = ST_END;
        goto done;
    }
    st = file_read_all(&text, path, PLAN_MAX_BYTES, err);
    if (st == ST_OK)
        st = json_parse(&arena, &v, text.data, text.size, NULL, err);
    if (st == ST_OK)
        st = check_signature(path, v, signature, err);
    if (st == ST_OK)
        st = read_plan(p, path, work, v, err);
done:
    arena_clear(&arena);
    buffer_clear(&text);
    mem_free(path);
    return st;
}
