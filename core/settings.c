/* core/settings.c: a table of settings applied to the entries of yaml.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/yaml.h"

enum { WORD_MAX = 63 };

size_t word_distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    const size_t n = strnlen(a, WORD_MAX), m = strnlen(b, WORD_MAX);

    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const size_t replace = diagonal + (a[i - 1] != b[j - 1]);
            const size_t drop = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = replace < drop ? replace : drop;
        }
    }
    return row[m];
}

/* `pattern` may hold * for one component of the dotted key. */
static bool matches(const char *pattern, const char *key)
{
    while (*pattern && *key) {
        if (*pattern == '*') {
            pattern++;
            key += strcspn(key, ".");
        } else if (*pattern++ != *key++) {
            return false;
        }
    }
    return *pattern == *key;
}

const struct setting *settings_find(const struct setting *table, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++)
        if (matches(table[i].key, key))
            return &table[i];
    return NULL;
}

/* "3, 3, 27, 3" or one item of such a list. */
static bool read_ints(const struct setting *s, const char *text, struct setting_ints *to)
{
    while (*text) {
        char *end = NULL;
        errno = 0;
        const int64_t v = strtoll(text, &end, 10);
        if (errno || end == text || (*end && *end != ',') || to->count == SETTING_INTS_MAX ||
            (s->low < s->high && ((double)v < s->low || (double)v > s->high)))
            return false;
        to->items[to->count++] = v;
        text = *end ? end + 1 + strspn(end + 1, " ") : end;
    }
    return true;
}

/* Writes the value of `text` to `to` (may be NULL: only a check). False: not of the type or range. */
static bool read_value(const struct setting *s, const char *text, void *to)
{
    union {
        int64_t whole;
        double real;
        uint64_t bytes;
        int choice;
        bool flag;
    } v;
    char *end = NULL;
    const bool ranged = s->low < s->high;

    errno = 0;
    switch (s->type) {
    case SETTING_TEXT:
        if (to)
            memcpy(to, &text, sizeof text);
        return true;
    case SETTING_INT:
        v.whole = strtoll(text, &end, 10);
        if (errno || end == text || *end ||
            (ranged && ((double)v.whole < s->low || (double)v.whole > s->high)))
            return false;
        break;
    case SETTING_REAL:
        v.real = strtod(text, &end);
        if (end == text || *end || !isfinite(v.real) ||
            (ranged && (v.real < s->low || v.real > s->high)))
            return false;
        break;
    case SETTING_BOOL:
        v.flag = strcmp(text, "true") == 0;
        if (!v.flag && strcmp(text, "false") != 0)
            return false;
        if (to)
            memcpy(to, &v.flag, sizeof v.flag);
        return true;
    case SETTING_CHOICE:
        for (v.choice = 0; s->choices[v.choice]; v.choice++)
            if (strcmp(s->choices[v.choice], text) == 0)
                break;
        if (!s->choices[v.choice])
            return false;
        if (to)
            memcpy(to, &v.choice, sizeof v.choice);
        return true;
    case SETTING_BYTES: {
        static const char units[] = "KMGT";
        v.bytes = strtoull(text, &end, 10);
        const char *unit = *end ? strchr(units, *end) : NULL;
        if (errno || end == text || text[0] == '-' || (*end && (!unit || end[1])) ||
            (unit && __builtin_mul_overflow(v.bytes, 1ull << (10 * (unit - units + 1)), &v.bytes)))
            return false;
        break;
    }
    case SETTING_INTS: {
        struct setting_ints ints = { .count = 0 };
        if (!read_ints(s, text, &ints))
            return false;
        if (to)
            memcpy(to, &ints, sizeof ints);
        return true;
    }
    }
    if (to)
        memcpy(to, &v, sizeof(uint64_t)); /* the three that reach here are 8 bytes wide */
    return true;
}

static void describe(char *out, size_t cap, const struct setting *s)
{
    static const char *const names[] = {
        [SETTING_TEXT] = "a text",        [SETTING_INT] = "a whole number",
        [SETTING_REAL] = "a number",      [SETTING_BOOL] = "true or false",
        [SETTING_CHOICE] = "one of",      [SETTING_BYTES] = "bytes such as 512M",
        [SETTING_INTS] = "whole numbers",
    };
    int n = snprintf(out, cap, "%s", names[s->type]);
    for (int i = 0; s->type == SETTING_CHOICE && s->choices[i] && n < (int)cap; i++)
        n += snprintf(out + n, cap - (size_t)n, "%s %s", i ? "," : "", s->choices[i]);
    if (s->low < s->high && n < (int)cap)
        snprintf(out + n, cap - (size_t)n, " from %.10g to %.10g", s->low, s->high);
}

static const char *nearest(const struct setting *table, size_t count, const char *key)
{
    const char *best = NULL;
    size_t least = strlen(key) / 2 + 1;
    for (size_t i = 0; i < count; i++) {
        const size_t d = word_distance(table[i].key, key);
        if (d < least) {
            least = d;
            best = table[i].key;
        }
    }
    return best;
}

static void check_entry(const struct yaml_entry *e, const struct setting *table, size_t count,
                        struct buffer *faults, struct error *err)
{
    const struct setting *s = settings_find(table, count, e->key);
    char want[256];

    if (!s) {
        const char *near = nearest(table, count, e->key);
        buffer_printf(faults, err, "; line %d: unknown key %s%s%s%s", e->line, e->key,
                      near ? ", did you mean " : "", near ? near : "", near ? "?" : "");
        return;
    }
    describe(want, sizeof want, s);
    const bool list = s->list || s->type == SETTING_INTS;
    if (e->count != 1 && !list)
        buffer_printf(faults, err, "; line %d: %s: got a list of %zu, want %s", e->line, e->key,
                      e->count, want);
    if (s->type == SETTING_INTS && e->count > SETTING_INTS_MAX)
        buffer_printf(faults, err, "; line %d: %s: got a list of %zu, want at most %d", e->line,
                      e->key, e->count, SETTING_INTS_MAX);
    for (size_t i = 0; i < e->count && (list || e->count == 1); i++)
        if (!read_value(s, e->items[i], NULL))
            buffer_printf(faults, err, "; line %d: %s: got \"%s\", want %s", e->line, e->key,
                          e->items[i], want);
}

enum status settings_check(const struct yaml *y, const struct setting *table, size_t count,
                           struct error *err)
{
    struct buffer faults;
    struct error inner = { 0 };
    enum status st = ST_OK;

    buffer_init(&faults);
    for (size_t i = 0; i < y->count; i++)
        check_entry(&y->entries[i], table, count, &faults, &inner);
    if (inner.cause != CAUSE_NONE)
        st = error_set(err, ST_FAIL, inner.cause, "%s", inner.text);
    else if (faults.size > 0)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "%s: %s", y->source, (char *)faults.data + 2);
    buffer_clear(&faults);
    return st;
}

static const char *value_of(const struct yaml *y, const struct setting *s)
{
    const struct yaml_entry *e = yaml_find(y, s->key);
    return e && e->count == 1 ? e->items[0] : s->by_default;
}

/* The numbers in force of a list setting. */
static bool ints_of(struct setting_ints *out, const struct yaml *y, const struct setting *s)
{
    const struct yaml_entry *e = yaml_find(y, s->key);
    bool good = true;
    out->count = 0;
    if (!e)
        return read_ints(s, s->by_default, out);
    for (size_t i = 0; i < e->count && good; i++)
        good = read_ints(s, e->items[i], out);
    return good;
}

enum status settings_fill(void *out, const struct yaml *y, const struct setting *table,
                          size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        const char *text = value_of(y, &table[i]);
        if (strchr(table[i].key, '*'))
            continue;
        void *to = (char *)out + table[i].offset;
        const bool good = table[i].type == SETTING_INTS ? ints_of(to, y, &table[i])
                                                        : read_value(&table[i], text, to);
        if (!good)
            return error_set(err, ST_FAIL, CAUSE_ARG, "%s: bad value \"%s\"", table[i].key, text);
    }
    return ST_OK;
}

/* Plain where that reads back as it is, else in double quotes. */
static void print_scalar(struct buffer *out, const char *text, struct error *err)
{
    static const char safe[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-";
    const size_t n = strlen(text);
    if (n > 0 && text[0] != '-' && strspn(text, safe) == n) {
        buffer_append_str(out, text, err);
        return;
    }
    buffer_append_str(out, "\"", err);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buffer_append_str(out, "\\", err);
        if ((unsigned char)*text < 0x20)
            buffer_printf(out, err, "\\x%02x", (unsigned char)*text);
        else
            buffer_append(out, text, 1, err);
    }
    buffer_append_str(out, "\"", err);
}

/* Opens the mappings of `key` that `before` has not opened; returns the last component. */
static const char *print_path(struct buffer *out, const char *key, const char *before,
                              struct error *err)
{
    size_t depth = 0;
    for (const char *dot = strchr(key, '.'); dot; dot = strchr(key, '.')) {
        const size_t n = (size_t)(dot - key);
        const bool same = before && strncmp(before, key, n + 1) == 0;
        if (!same) {
            before = NULL;
            buffer_printf(out, err, "%*s%.*s:\n", (int)(2 * depth), "", (int)n, key);
        }
        key = dot + 1;
        before = before ? before + n + 1 : NULL;
        depth++;
    }
    buffer_printf(out, err, "%*s", (int)(2 * depth), "");
    return key;
}

static void print_ints(struct buffer *out, const struct yaml *y, const struct setting *s,
                       struct error *err)
{
    struct setting_ints ints;
    ints_of(&ints, y, s);
    for (int i = 0; i < ints.count; i++)
        buffer_printf(out, err, "%s%lld", i ? ", " : "[", (long long)ints.items[i]);
    buffer_append_str(out, ints.count ? "]" : "[]", err);
}

static void print_entry(struct buffer *out, const struct yaml_entry *e, const char *before,
                        struct error *err)
{
    buffer_printf(out, err, "%s: ", print_path(out, e->key, before, err));
    if (e->list)
        buffer_append_str(out, "[", err);
    for (size_t i = 0; i < e->count; i++) {
        if (i > 0)
            buffer_append_str(out, ", ", err);
        print_scalar(out, e->items[i], err);
    }
    buffer_append_str(out, e->list ? "]" : "", err);
}

/* Entries that match a * setting are printed together at the first of their settings, sorted as they
 * stand in the file. */
static const char *print_free(struct buffer *out, const struct yaml *y, const struct setting *table,
                              size_t count, const char *before, struct error *err)
{
    for (size_t i = 0; i < y->count; i++) {
        const struct setting *s = settings_find(table, count, y->entries[i].key);
        if (!s || !strchr(s->key, '*'))
            continue;
        print_entry(out, &y->entries[i], before, err);
        buffer_append_str(out, "\n", err);
        before = y->entries[i].key;
    }
    return before;
}

enum status settings_print(struct buffer *out, const struct yaml *y, const struct setting *table,
                           size_t count, bool help, struct error *err)
{
    const char *before = NULL;
    bool free_printed = false;
    struct error inner = { 0 };

    for (size_t i = 0; i < count; i++) {
        const struct setting *s = &table[i];
        if (strchr(s->key, '*')) {
            if (!free_printed)
                before = print_free(out, y, table, count, before, &inner);
            free_printed = true;
            continue;
        }
        buffer_printf(out, &inner, "%s: ", print_path(out, s->key, before, &inner));
        if (s->type == SETTING_INTS)
            print_ints(out, y, s, &inner);
        else
            print_scalar(out, value_of(y, s), &inner);
        if (help)
            buffer_printf(out, &inner, " # %s", s->help);
        buffer_append_str(out, "\n", &inner);
        before = s->key;
    }
    if (inner.cause != CAUSE_NONE)
        return error_set(err, ST_FAIL, inner.cause, "%s", inner.text);
    return ST_OK;
}

static bool listed(const char *key, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], key) == 0)
            return true;
    return false;
}

static bool same_items(const struct yaml_entry *a, const struct yaml_entry *b)
{
    bool same = a && b && a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static const char *first_item(const struct yaml_entry *e)
{
    return !e ? "(absent)" : e->count == 0 ? "[]" : e->items[0];
}

static bool same_value(const struct setting *s, const struct yaml *ya, const struct yaml *yb)
{
    const char *a = value_of(ya, s), *b = value_of(yb, s);
    struct setting_ints ia, ib;
    union {
        const char *text;
        int64_t whole;
        double real;
        uint64_t bits;
    } va = { .bits = 0 }, vb = { .bits = 0 };
    if (s->type == SETTING_TEXT)
        return strcmp(a, b) == 0;
    if (s->type == SETTING_INTS)
        return ints_of(&ia, ya, s) && ints_of(&ib, yb, s) && ia.count == ib.count &&
               memcmp(ia.items, ib.items, (size_t)ia.count * sizeof ia.items[0]) == 0;
    return read_value(s, a, &va) && read_value(s, b, &vb) && va.bits == vb.bits;
}

enum status settings_compare(struct buffer *out, size_t *differences, const struct yaml *a,
                             const struct yaml *b, const struct setting *table, size_t count,
                             const char *const *ignore, size_t ignored, struct error *err)
{
    const struct yaml *const both[2] = { a, b };
    enum status st = ST_OK;

    *differences = 0;
    for (size_t i = 0; i < count && st == ST_OK; i++) {
        const struct setting *s = &table[i];
        if (strchr(s->key, '*') || listed(s->key, ignore, ignored) || same_value(s, a, b))
            continue;
        ++*differences;
        st = buffer_printf(out, err, "%s: %s, here %s\n", s->key, value_of(a, s), value_of(b, s));
    }
    for (size_t side = 0; side < 2; side++)
        for (size_t i = 0; i < both[side]->count && st == ST_OK; i++) {
            const char *key = both[side]->entries[i].key;
            const struct setting *s = settings_find(table, count, key);
            const struct yaml_entry *ea = yaml_find(a, key), *eb = yaml_find(b, key);
            if (!s || !strchr(s->key, '*') || (side == 1 && ea) || same_items(ea, eb) ||
                listed(key, ignore, ignored) || listed(s->key, ignore, ignored))
                continue;
            ++*differences;
            st = buffer_printf(out, err, "%s: %s, here %s\n", key, first_item(ea), first_item(eb));
        }
    return st;
}
