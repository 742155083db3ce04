/* core/json_tree.c: whole values in an arena, built without recursion. */
#include <string.h>

#include "core/hash.h"
#include "core/json.h"
#include "core/json_private.h"

/* A container that is still open. */
struct open_value {
    struct json_value *value, *last;
};
struct tree {
    struct json *json;
    struct arena *arena;
    struct open_value *stack;
    size_t depth, cap;
    struct json_value *root;
    const char *key; /* of the next member */
    size_t key_size;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "json: out of memory");
}

static enum status push(struct tree *t, struct json_value *v, struct error *err)
{
    if (t->depth == t->cap) {
        const size_t cap = t->cap ? 2 * t->cap : 16;
        struct open_value *grown = mem_realloc(t->stack, cap, sizeof *grown);
        if (!grown)
            return no_memory(err);
        t->stack = grown;
        t->cap = cap;
    }
    t->stack[t->depth++] = (struct open_value){ v, NULL };
    return ST_OK;
}

static const struct json_value *same_key(const struct json_value *from,
                                         const struct json_value *key)
{
    for (; from; from = from->next)
        if (from->key_size == key->key_size && memcmp(from->key, key->key, key->key_size) == 0)
            return from;
    return NULL;
}

/* Takes members out whose key comes again later: the last one wins. */
static void drop_earlier_few(struct json_value *object)
{
    for (struct json_value **at = &object->child; *at;) {
        if (same_key((*at)->next, *at)) {
            *at = (*at)->next;
            object->count--;
        } else {
            at = &(*at)->next;
        }
    }
}

/* The same for many members: each key's last position first, then one pass. */
static enum status drop_earlier_many(struct json_value *object, struct error *err)
{
    struct hash_map *last = NULL;
    uint64_t position = 0;
    enum status st = hash_map_open(&last, object->count, err);
    for (const struct json_value *m = object->child; st == ST_OK && m; m = m->next, position++) {
        uint64_t value = position;
        st = hash_map_insert(last, m->key, m->key_size, &value, err);
        if (st == ST_SKIP) {
            hash_map_set(last, m->key, m->key_size, position);
            st = ST_OK;
        }
    }
    position = 0;
    for (struct json_value **at = &object->child; st == ST_OK && *at; position++) {
        uint64_t value = 0;
        hash_map_get(last, (*at)->key, (*at)->key_size, &value);
        if (value != position) {
            *at = (*at)->next;
            object->count--;
        } else {
            at = &(*at)->next;
        }
    }
    hash_map_close(&last);
    return st;
}

static enum status close_value(struct tree *t, struct error *err)
{
    struct json_value *v = t->stack[--t->depth].value;
    if (v->type != JSON_T_OBJECT || v->count < 2)
        return ST_OK;
    if (v->count > 16)
        return drop_earlier_many(v, err);
    drop_earlier_few(v);
    return ST_OK;
}

static enum status keep_text(struct tree *t, const char **text, size_t *size, struct error *err)
{
    const char *s = json_text(t->json, size);
    *text = arena_strndup(t->arena, s, *size);
    return *text ? ST_OK : no_memory(err);
}

static void attach(struct tree *t, struct json_value *v)
{
    if (t->depth == 0) {
        t->root = v;
        return;
    }
    struct open_value *parent = &t->stack[t->depth - 1];
    if (parent->last)
        parent->last->next = v;
    else
        parent->value->child = v;
    parent->last = v;
    parent->value->count++;
    if (parent->value->type == JSON_T_OBJECT) {
        v->key = t->key;
        v->key_size = t->key_size;
    }
}

static enum status add(struct tree *t, enum json_event event, struct error *err)
{
    struct json_value *v = arena_alloc(t->arena, 1, sizeof *v);
    enum status st = ST_OK;
    if (!v)
        return no_memory(err);
    *v = (struct json_value){ .type = JSON_T_NULL, .offset = json_offset(t->json) };
    if (event == JSON_TRUE || event == JSON_FALSE)
        v->type = JSON_T_BOOL;
    else if (event == JSON_NUMBER)
        v->type = JSON_T_NUMBER;
    else if (event == JSON_STRING)
        v->type = JSON_T_STRING;
    else if (event == JSON_ARRAY_BEGIN)
        v->type = JSON_T_ARRAY;
    else if (event == JSON_OBJECT_BEGIN)
        v->type = JSON_T_OBJECT;
    v->boolean = event == JSON_TRUE;
    if (event == JSON_NUMBER || event == JSON_STRING)
        st = keep_text(t, &v->text, &v->size, err);
    if (event == JSON_NUMBER)
        v->number = json_double(t->json);
    attach(t, v);
    if (st == ST_OK && (v->type == JSON_T_ARRAY || v->type == JSON_T_OBJECT))
        st = push(t, v, err);
    return st;
}

static enum status step(struct tree *t, struct error *err)
{
    enum json_event event = JSON_END;
    const enum status st = json_next(t->json, &event, err);
    if (st != ST_OK)
        return st;
    if (event == JSON_END)
        return ST_END;
    if (event == JSON_KEY)
        return keep_text(t, &t->key, &t->key_size, err);
    if (event != JSON_ARRAY_END && event != JSON_OBJECT_END)
        return add(t, event, err);
    return t->depth == 0 ? ST_END : close_value(t, err);
}

enum status json_read_tree(struct json *j, struct arena *arena, struct json_value **out,
                           struct error *err)
{
    struct tree t = { .json = j, .arena = arena };
    enum status st = ST_OK;
    *out = NULL;
    do
        st = step(&t, err);
    while (st == ST_OK && (!t.root || t.depth > 0));
    mem_free(t.stack);
    if (st == ST_OK)
        *out = t.root;
    return st;
}

enum status json_parse(struct arena *arena, struct json_value **out, const void *data, size_t size,
                       const struct json_options *opt, struct error *err)
{
    struct json *j = NULL;
    enum json_event event = JSON_END;
    *out = NULL;
    enum status st = json_open(&j, data, size, opt, err);
    if (st == ST_OK)
        st = json_read_tree(j, arena, out, err);
    if (st == ST_OK)
        st = json_next(j, &event, err); /* only white space may follow */
    json_close(&j);
    if (st != ST_OK)
        *out = NULL;
    return st;
}

const struct json_value *json_get(const struct json_value *object, const char *key)
{
    const size_t size = strlen(key);
    if (!object || object->type != JSON_T_OBJECT)
        return NULL;
    for (const struct json_value *m = object->child; m; m = m->next)
        if (m->key_size == size && memcmp(m->key, key, size) == 0)
            return m;
    return NULL;
}

bool json_value_int64(const struct json_value *v, int64_t *out)
{
    return v && v->type == JSON_T_NUMBER && json_number_int64(v->text, v->size, out);
}

bool json_value_id64(const struct json_value *v, int64_t *out)
{
    return v && v->type == JSON_T_STRING ? json_decimal_int64(v->text, v->size, out)
                                         : json_value_int64(v, out);
}
