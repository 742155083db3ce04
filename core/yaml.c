/* core/yaml.c: YAML files into a flat list of entries, by libyaml's event parser and an explicit stack. */
#include "core/yaml.h"

#include <string.h>
#include <yaml.h>

#include "core/file.h"

enum { YAML_MAX_BYTES = 1 << 20, YAML_MAX_DEPTH = 32, YAML_MAX_KEY = 512 };

void yaml_init(struct yaml *y)
{
    *y = (struct yaml){ .source = "" };
    arena_init(&y->memory, 0);
}

void yaml_clear(struct yaml *y)
{
    mem_free(y->entries);
    arena_clear(&y->memory);
    yaml_init(y);
}

const struct yaml_entry *yaml_find(const struct yaml *y, const char *key)
{
    for (size_t i = 0; i < y->count; i++)
        if (strcmp(y->entries[i].key, key) == 0)
            return &y->entries[i];
    return NULL;
}

/* Whether a mapping of that key has members already. */
static bool has_members(const struct yaml *y, const char *key)
{
    const size_t n = strlen(key);
    for (size_t i = 0; i < y->count; i++)
        if (strncmp(y->entries[i].key, key, n) == 0 && y->entries[i].key[n] == '.')
            return true;
    return false;
}

struct walk {
    struct yaml *y;
    struct error *err;
    char key[YAML_MAX_KEY];         /* dotted path of the value that comes next */
    size_t lengths[YAML_MAX_DEPTH]; /* of the path at each open mapping */
    int depth;                      /* open mappings */
    bool want_key, in_list;
    struct yaml_entry *entry; /* the open list */
};

static enum status refuse(const struct walk *w, const yaml_event_t *e, const char *what)
{
    return error_set(w->err, ST_FAIL, CAUSE_ARG, "%s: line %zu: %s", w->y->source,
                     e->start_mark.line + 1, what);
}

static enum status out_of_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: settings");
}

/* A fresh entry of that key, or the emptied old one. NULL: out of memory. */
static struct yaml_entry *entry_of(struct yaml *y, const char *key, int line)
{
    for (size_t i = 0; i < y->count; i++)
        if (strcmp(y->entries[i].key, key) == 0) {
            y->entries[i].count = 0;
            y->entries[i].list = false;
            y->entries[i].line = line;
            return &y->entries[i];
        }
    const char *copy = arena_strndup(&y->memory, key, strlen(key));
    if (copy && y->count == y->cap) {
        const size_t cap = y->cap ? 2 * y->cap : 32;
        struct yaml_entry *grown = mem_realloc(y->entries, cap, sizeof *grown);
        if (!grown)
            return NULL;
        y->entries = grown;
        y->cap = cap;
    }
    if (!copy)
        return NULL;
    y->entries[y->count] = (struct yaml_entry){ .key = copy, .line = line };
    return &y->entries[y->count++];
}

static bool entry_add(struct yaml *y, struct yaml_entry *e, const char *text, size_t size)
{
    const char **items = arena_alloc(&y->memory, e->count + 1, sizeof *items);
    const char *copy = items ? arena_strndup(&y->memory, text, size) : NULL;
    if (!copy)
        return false;
    for (size_t i = 0; i < e->count; i++)
        items[i] = e->items[i];
    items[e->count++] = copy;
    e->items = items;
    return true;
}

/* Appends ".name" to the path of the open mapping. */
static enum status take_key(struct walk *w, const yaml_event_t *e)
{
    const char *name = (const char *)e->data.scalar.value;
    const size_t size = e->data.scalar.length, at = w->lengths[w->depth - 1];

    if (size == 0 || memchr(name, '\0', size) || memchr(name, '.', size))
        return refuse(w, e, "a key must be a word without dots");
    if (at + size + 2 > sizeof w->key)
        return refuse(w, e, "the key is too long");
    if (at > 0)
        w->key[at] = '.';
    memcpy(w->key + at + (at > 0), name, size + 1);
    w->want_key = false;
    return ST_OK;
}

static enum status take_value(struct walk *w, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    const size_t size = e->data.scalar.length;
    struct yaml_entry *entry = w->entry;

    if (memchr(text, '\0', size))
        return refuse(w, e, "a NUL byte in a value");
    if (!w->in_list) {
        if (yaml_find(w->y, w->key) || has_members(w->y, w->key))
            return refuse(w, e, "this key stands twice");
        entry = entry_of(w->y, w->key, (int)e->start_mark.line + 1);
    }
    if (!entry || !entry_add(w->y, entry, text, size))
        return out_of_memory(w->err);
    w->want_key = !w->in_list;
    return ST_OK;
}

static enum status take_scalar(struct walk *w, const yaml_event_t *e)
{
    if (e->data.scalar.anchor || e->data.scalar.tag)
        return refuse(w, e, "anchors and tags are refused");
    if (w->depth == 0)
        return refuse(w, e, "want a mapping of settings");
    return w->want_key ? take_key(w, e) : take_value(w, e);
}

static enum status begin_mapping(struct walk *w, const yaml_event_t *e)
{
    if (e->data.mapping_start.anchor || e->data.mapping_start.tag)
        return refuse(w, e, "anchors and tags are refused");
    if (w->in_list || (w->depth > 0 && w->want_key))
        return refuse(w, e, "a mapping cannot stand here");
    if (w->depth == YAML_MAX_DEPTH)
        return refuse(w, e, "more than 32 levels");
    if (w->depth > 0 && (yaml_find(w->y, w->key) || has_members(w->y, w->key)))
        return refuse(w, e, "this key stands twice");
    w->lengths[w->depth] = w->depth > 0 ? strlen(w->key) : 0;
    w->depth++;
    w->want_key = true;
    return ST_OK;
}

static enum status begin_list(struct walk *w, const yaml_event_t *e)
{
    if (e->data.sequence_start.anchor || e->data.sequence_start.tag)
        return refuse(w, e, "anchors and tags are refused");
    if (w->in_list || w->want_key || w->depth == 0)
        return refuse(w, e, "a list cannot stand here");
    if (yaml_find(w->y, w->key) || has_members(w->y, w->key))
        return refuse(w, e, "this key stands twice");
    w->entry = entry_of(w->y, w->key, (int)e->start_mark.line + 1);
    if (!w->entry)
        return out_of_memory(w->err);
    w->entry->list = true;
    w->in_list = true;
    return ST_OK;
}

static enum status take_event(struct walk *w, const yaml_event_t *e, int *documents)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return ++*documents > 1 ? refuse(w, e, "several documents in one file") : ST_OK;
    case YAML_ALIAS_EVENT:
        return refuse(w, e, "aliases are refused");
    case YAML_SCALAR_EVENT:
        return take_scalar(w, e);
    case YAML_MAPPING_START_EVENT:
        return begin_mapping(w, e);
    case YAML_MAPPING_END_EVENT:
        w->depth--;
        w->want_key = true;
        return ST_OK;
    case YAML_SEQUENCE_START_EVENT:
        return begin_list(w, e);
    case YAML_SEQUENCE_END_EVENT:
        w->in_list = false;
        w->want_key = true;
        return ST_OK;
    default:
        return ST_OK;
    }
}

enum status yaml_parse(struct yaml *y, const void *data, size_t size, const char *source,
                       struct error *err)
{
    struct walk w = { .y = y, .err = err };
    yaml_parser_t parser;
    enum status st = ST_OK;
    int documents = 0;
    bool ended = false;

    y->source = arena_strndup(&y->memory, source, strlen(source));
    if (!y->source)
        return out_of_memory(err);
    if (size > YAML_MAX_BYTES)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: %zu bytes, at most 1 MiB", source, size);
    if (!yaml_parser_initialize(&parser))
        return out_of_memory(err);
    yaml_parser_set_input_string(&parser, data, size);
    while (st == ST_OK && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            st =
                error_set(err, ST_FAIL, parser.error == YAML_MEMORY_ERROR ? CAUSE_NOMEM : CAUSE_ARG,
                          "%s: line %zu: %s", source, parser.problem_mark.line + 1,
                          parser.problem ? parser.problem : "not YAML");
            break;
        }
        st = take_event(&w, &event, &documents);
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return st;
}

enum status yaml_read(struct yaml *y, const char *path, struct error *err)
{
    struct buffer text;
    buffer_init(&text);
    enum status st = file_read_all(&text, path, YAML_MAX_BYTES, err);
    if (st == ST_FAIL && err->cause == CAUSE_LIMIT)
        err->cause = CAUSE_ARG; /* a recipe, not data */
    if (st == ST_OK)
        st = yaml_parse(y, text.data ? (const void *)text.data : "", text.size, path, err);
    buffer_clear(&text);
    return st;
}

enum status yaml_set(struct yaml *y, const char *assignment, struct error *err)
{
    const char *equals = strchr(assignment, '=');
    struct yaml one;
    enum status st = ST_FAIL;

    yaml_init(&one);
    if (!equals || equals == assignment)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--set %s: want key=value", assignment);
    char *key = mem_strndup(assignment, (size_t)(equals - assignment));
    char *text = str_format("value: %s", equals + 1);
    if (!key || !text)
        out_of_memory(err);
    else
        st = yaml_parse(&one, text, strlen(text), assignment, err);
    if (st == ST_OK && (one.count != 1 || strcmp(one.entries[0].key, "value") != 0))
        st = error_set(err, ST_FAIL, CAUSE_ARG, "--set %s: want one value or [a, b]", assignment);
    struct yaml_entry *entry = st == ST_OK ? entry_of(y, key, 0) : NULL;
    if (st == ST_OK && !entry)
        st = out_of_memory(err);
    for (size_t i = 0; st == ST_OK && entry && i < one.entries[0].count; i++) {
        const char *item = one.entries[0].items[i];
        if (!entry_add(y, entry, item, strlen(item)))
            st = out_of_memory(err);
    }
    if (st == ST_OK && entry)
        entry->list = one.entries[0].list;
    mem_free(key);
    mem_free(text);
    yaml_clear(&one);
    return st;
}
