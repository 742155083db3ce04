/* shards/tally.c: counts by name and the conservation law (design.md 2). */
#include <string.h>

#include "core/bytes.h"
#include "shards/facts.h"

/* Index of `name`, or of the first name behind it. */
static size_t tally_place(const struct tally *t, const char *name, bool *there)
{
    size_t i = 0;

    while (i < t->size && strcmp(t->names[i], name) < 0)
        i++;
    *there = i < t->size && strcmp(t->names[i], name) == 0;
    return i;
}

enum status tally_add(struct tally *t, const char *name, uint64_t n, struct error *err)
{
    bool there = false;
    const size_t at = tally_place(t, name, &there);

    if (n == 0)
        return ST_OK;
    if (there)
        return add_ok_u64(t->counts[at], n, &t->counts[at])
                   ? ST_OK
                   : error_set(err, ST_FAIL, CAUSE_FORMAT, "count of %s wraps", name);
    if (t->size >= TALLY_MAX_NAMES)
        return error_set(err, ST_FAIL, CAUSE_LIMIT, "more than %d names of counts",
                         TALLY_MAX_NAMES);
    char **names = mem_realloc(t->names, t->size + 1, sizeof *names);
    if (names)
        t->names = names;
    uint64_t *counts = mem_realloc(t->counts, t->size + 1, sizeof *counts);
    if (counts)
        t->counts = counts;
    char *copy = mem_strdup(name);
    if (!names || !counts || !copy) {
        mem_free(copy);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: counts");
    }
    memmove(names + at + 1, names + at, (t->size - at) * sizeof *names);
    memmove(counts + at + 1, counts + at, (t->size - at) * sizeof *counts);
    names[at] = copy;
    counts[at] = n;
    t->size++;
    return ST_OK;
}

uint64_t tally_get(const struct tally *t, const char *name)
{
    bool there = false;
    const size_t at = tally_place(t, name, &there);
    return there ? t->counts[at] : 0;
}

uint64_t tally_sum(const struct tally *t)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < t->size; i++)
        if (!add_ok_u64(sum, t->counts[i], &sum))
            return UINT64_MAX;
    return sum;
}

enum status tally_merge(struct tally *into, const struct tally *from, struct error *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < from->size && st == ST_OK; i++)
        st = tally_add(into, from->names[i], from->counts[i], err);
    return st;
}

void tally_clear(struct tally *t)
{
    for (size_t i = 0; i < t->size; i++)
        mem_free(t->names[i]);
    mem_free(t->names);
    mem_free(t->counts);
    *t = (struct tally){ 0 };
}

bool unit_count_holds(const struct unit_count *c)
{
    uint64_t sum = 0;
    return add_ok_u64(c->stored, tally_sum(&c->filtered), &sum) &&
           add_ok_u64(sum, tally_sum(&c->quarantined), &sum) && sum == c->seen;
}

enum status unit_count_merge(struct unit_count *into, const struct unit_count *from,
                             struct error *err)
{
    if (!add_ok_u64(into->seen, from->seen, &into->seen) ||
        !add_ok_u64(into->stored, from->stored, &into->stored))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "counts wrap");
    enum status st = tally_merge(&into->filtered, &from->filtered, err);
    return st == ST_OK ? tally_merge(&into->quarantined, &from->quarantined, err) : st;
}

void unit_count_clear(struct unit_count *c)
{
    tally_clear(&c->filtered);
    tally_clear(&c->quarantined);
    c->seen = c->stored = 0;
}

void unit_facts_init(struct unit_facts *u)
{
    *u = (struct unit_facts){ 0 };
}

enum status unit_facts_input(struct unit_facts *u, const char *file, const char *name,
                             uint64_t bytes, size_t *index, struct error *err)
{
    struct unit_input *inputs = mem_realloc(u->inputs, u->input_count + 1, sizeof *inputs);
    struct unit_input one = { .bytes = bytes };

    if (inputs)
        u->inputs = inputs;
    one.file = mem_strdup(file);
    one.name = mem_strdup(name);
    if (!inputs || !one.file || !one.name) {
        mem_free(one.file);
        mem_free(one.name);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: inputs");
    }
    inputs[u->input_count] = one;
    *index = u->input_count++;
    return ST_OK;
}

void unit_facts_clear(struct unit_facts *u)
{
    for (size_t i = 0; i < u->input_count; i++) {
        mem_free(u->inputs[i].file);
        mem_free(u->inputs[i].name);
        unit_count_clear(&u->inputs[i].records);
        unit_count_clear(&u->inputs[i].pictures);
        tally_clear(&u->inputs[i].notes);
    }
    mem_free(u->inputs);
    unit_facts_init(u);
}
