/* core/hash_map.c: the map of hash.h. Entries lie in one array in order of insertion; a table of
 * indices with linear probing finds them; keys lie in an arena, so they never move. */
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "core/mem.h"

struct hash_map_entry {
    const char *key;
    size_t size;
    uint64_t hash, value;
};
struct hash_map {
    struct hash_map_entry *entries;
    size_t count, cap;
    size_t *slots;    /* entry index + 1; 0 = free */
    size_t slot_mask; /* slots - 1; a power of two minus one */
    struct arena keys;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "map: out of memory");
}

/* The slot that holds the key, or the free one where it belongs. */
static size_t find_slot(const struct hash_map *m, const void *key, size_t size, uint64_t hash)
{
    size_t i = (size_t)hash & m->slot_mask;
    while (m->slots[i] != 0) {
        const struct hash_map_entry *e = &m->entries[m->slots[i] - 1];
        if (e->hash == hash && e->size == size && (size == 0 || memcmp(e->key, key, size) == 0))
            break;
        i = (i + 1) & m->slot_mask;
    }
    return i;
}

/* Twice the slots and entries. On failure the map is as before. */
static enum status grow(struct hash_map *m, size_t slots, struct error *err)
{
    const size_t cap = slots / 2;
    size_t *fresh = mem_calloc(slots, sizeof *fresh);
    struct hash_map_entry *entries = fresh ? mem_realloc(m->entries, cap, sizeof *entries) : NULL;
    if (!entries) {
        mem_free(fresh);
        return no_memory(err);
    }
    for (size_t e = 0; e < m->count; e++) {
        size_t i = (size_t)entries[e].hash & (slots - 1);
        while (fresh[i] != 0)
            i = (i + 1) & (slots - 1);
        fresh[i] = e + 1;
    }
    mem_free(m->slots);
    m->slots = fresh;
    m->slot_mask = slots - 1;
    m->entries = entries;
    m->cap = cap;
    return ST_OK;
}

enum status hash_map_open(struct hash_map **out, size_t expected, struct error *err)
{
    size_t slots = 16;
    while (slots / 2 < expected && slots <= SIZE_MAX / 4)
        slots *= 2;
    struct hash_map *m = mem_calloc(1, sizeof *m);
    *out = m;
    if (!m)
        return no_memory(err);
    arena_init(&m->keys, 0);
    const enum status st = grow(m, slots, err);
    if (st != ST_OK)
        hash_map_close(out);
    return st;
}

enum status hash_map_insert(struct hash_map *m, const void *key, size_t size, uint64_t *value,
                            struct error *err)
{
    const uint64_t hash = hash_xxh3_64(key, size);
    size_t slot = find_slot(m, key, size, hash);
    if (m->slots[slot] != 0) {
        *value = m->entries[m->slots[slot] - 1].value;
        return ST_SKIP;
    }
    if (m->count == m->cap) {
        const enum status st =
            m->slot_mask > SIZE_MAX / 4 ? no_memory(err) : grow(m, 2 * (m->slot_mask + 1), err);
        if (st != ST_OK)
            return st;
        slot = find_slot(m, key, size, hash);
    }
    const char *copy = arena_strndup(&m->keys, key, size);
    if (!copy)
        return no_memory(err);
    m->entries[m->count] = (struct hash_map_entry){ copy, size, hash, *value };
    m->slots[slot] = ++m->count;
    return ST_OK;
}

static struct hash_map_entry *find(const struct hash_map *m, const void *key, size_t size)
{
    const size_t at = m->slots[find_slot(m, key, size, hash_xxh3_64(key, size))];
    return at == 0 ? NULL : &m->entries[at - 1];
}

bool hash_map_get(const struct hash_map *m, const void *key, size_t size, uint64_t *value)
{
    const struct hash_map_entry *e = find(m, key, size);
    if (e)
        *value = e->value;
    return e != NULL;
}

bool hash_map_set(struct hash_map *m, const void *key, size_t size, uint64_t value)
{
    struct hash_map_entry *e = find(m, key, size);
    if (e)
        e->value = value;
    return e != NULL;
}

size_t hash_map_count(const struct hash_map *m)
{
    return m->count;
}

void hash_map_at(const struct hash_map *m, size_t i, const void **key, size_t *size,
                 uint64_t *value)
{
    *key = m->entries[i].key;
    *size = m->entries[i].size;
    *value = m->entries[i].value;
}

void hash_map_close(struct hash_map **m)
{
    if (!m || !*m)
        return;
    arena_clear(&(*m)->keys);
    mem_free((*m)->entries);
    mem_free((*m)->slots);
    mem_free(*m);
    *m = NULL;
}
