/* core/yaml.h: settings from YAML files by one table. A file is read into a flat list (dotted key, value,
 * line); a table of settings (key, type, default, range, help) checks it, fills a struct and prints
 * the documentation. Refused: aliases, anchors, tags, several documents, duplicate keys, lists of
 * anything but scalars, depth over 32, files over 1 MiB (robustness.md 2.9). Not thread-safe per
 * object. */
#ifndef DEEM_CORE_YAML_H
#define DEEM_CORE_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"

struct yaml_entry {
    const char *key;    /* "batch.global" */
    const char **items; /* one for a scalar, any number for a list */
    size_t count;
    bool list;
    int line; /* from 1; 0 where it came from yaml_set */
};
struct yaml {
    struct yaml_entry *entries; /* in the order of the file */
    size_t count, cap;
    const char *source; /* for messages */
    struct arena memory;
};
void yaml_init(struct yaml *y);
void yaml_clear(struct yaml *y);
/* Reads data[0..size); `source` names it in messages. ST_FAIL: CAUSE_ARG (the text names source and
 * line; exit 64), CAUSE_NOMEM. */
enum status yaml_parse(struct yaml *y, const void *data, size_t size, const char *source,
                       struct error *err);
enum status yaml_read(struct yaml *y, const char *path, struct error *err);
/* "key=value" or "key=[a, b]": replaces the entry of that key or adds one. */
enum status yaml_set(struct yaml *y, const char *assignment, struct error *err);
const struct yaml_entry *yaml_find(const struct yaml *y, const char *key);

enum setting_type {
    SETTING_TEXT,   /* const char *; "" where not given */
    SETTING_INT,    /* int64_t in [low, high] */
    SETTING_REAL,   /* double in [low, high], finite */
    SETTING_BOOL,   /* bool: true or false */
    SETTING_CHOICE, /* int: position in choices */
    SETTING_BYTES,  /* uint64_t: a number with K, M, G, T */
    SETTING_INTS,   /* struct setting_ints: a list of whole numbers, each in [low, high] */
};
enum { SETTING_INTS_MAX = 8 };
struct setting_ints {
    int64_t items[SETTING_INTS_MAX];
    int count;
};
/* One setting. `key` may hold `*` for one component: such settings are checked, not stored. */
struct setting {
    const char *key;
    enum setting_type type;
    size_t offset;          /* of the field in the struct that settings_fill fills */
    const char *by_default; /* as it would stand in the file; a list without its brackets */
    double low, high;
    const char *const *choices; /* NULL-terminated */
    const char *help;           /* one line, with unit and source */
    bool list;                  /* `*` keys only: a list of texts (or one) */
};
/* The setting of that key, or NULL. */
const struct setting *settings_find(const struct setting *table, size_t count, const char *key);
/* Every key of `y` must be in the table, with a value of its type and range; unknown keys name the
 * nearest known one. All faults are reported in one text. CAUSE_ARG. */
enum status settings_check(const struct yaml *y, const struct setting *table, size_t count,
                           struct error *err);
/* Fills `out` from defaults and `y` (checked before). Texts are borrowed from `y` and the table. */
enum status settings_fill(void *out, const struct yaml *y, const struct setting *table,
                          size_t count, struct error *err);
/* The whole table with the values in force, as YAML that reads back to the same; with `help`, each
 * line carries its comment. Entries of `*` keys stand as they are in `y`. */
enum status settings_print(struct buffer *out, const struct yaml *y, const struct setting *table,
                           size_t count, bool help, struct error *err);
/* One line "key: A, here B" for each key whose value in force differs; *differences counts them.
 * Keys in ignore[0..ignored) are skipped; "data.*.x" there skips all that match that setting. */
enum status settings_compare(struct buffer *out, size_t *differences, const struct yaml *a,
                             const struct yaml *b, const struct setting *table, size_t count,
                             const char *const *ignore, size_t ignored, struct error *err);

/* Edit distance of two words, at most 63 bytes of each: for "did you mean". */
size_t word_distance(const char *a, const char *b);

#endif
