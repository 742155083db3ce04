/* ingest/masks/mask_store_finish.c: what only shows once all regions are in: categories that do not
 * exist, ids that occur again, equal masks of one instance with one label. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/masks/mask_store_private.h"

static struct mask_entry *entries_of(struct mask_store *s)
{
    return (struct mask_entry *)(void *)s->entries.data;
}

/* A region that was fine by itself. */
static enum status drop_damaged(struct mask_store *s, struct mask_entry *e, const char *code,
                                const char *what, int64_t found, struct error *err)
{
    struct error why = { 0 };

    error_set(&why, ST_SKIP, CAUSE_FORMAT, "record %" PRIu64 ": %s %" PRId64, e->at.record, what,
              found);
    error_code(&why, ST_SKIP, code);
    e->dropped = true;
    return mask_store_damage(s, &e->at, &why, err);
}

static enum status check_categories(struct mask_store *s, struct error *err)
{
    struct mask_entry *e = entries_of(s);
    int64_t known = 0;
    bool any = false;
    enum status st = ST_OK;

    for (size_t i = 0; st == ST_OK && i < mask_store_entries(s); i++) {
        if (any && e[i].category == known)
            continue;
        any = mask_store_category_of(s, e[i].category) != NULL;
        known = e[i].category;
        if (any)
            continue;
        st =
            drop_damaged(s, &e[i], "annotation-category", "no category has id", e[i].category, err);
    }
    return st;
}

struct id_at {
    int64_t id;
    size_t at;
};

static int compare_ids(const void *a, const void *b)
{
    const struct id_at *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* The first of an id stays. */
static enum status check_ids(struct mask_store *s, struct error *err)
{
    const size_t n = mask_store_entries(s);
    struct mask_entry *e = entries_of(s);
    enum status st = ST_OK;

    if (n < 2)
        return ST_OK;
    struct id_at *ids = mem_calloc(n, sizeof *ids);
    if (!ids)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%zu annotation ids", n);
    for (size_t i = 0; i < n; i++)
        ids[i] = (struct id_at){ e[i].id, i };
    qsort(ids, n, sizeof *ids, compare_ids);
    for (size_t i = 1; st == ST_OK && i < n; i++) {
        struct mask_entry *again = &e[ids[i].at];
        if (ids[i].id != ids[i - 1].id || again->dropped)
            continue;
        st = drop_damaged(s, again, "annotation-id-again", "an annotation before it has id",
                          again->id, err);
    }
    mem_free(ids);
    return st;
}

/* order: entries by instance, input order kept; first: where each instance begins. */
static enum status group(struct mask_store *s, struct error *err)
{
    const size_t n = mask_store_entries(s), k = mask_store_instances(s);
    const struct mask_entry *e = entries_of(s);

    if (buffer_reserve(&s->first, (k + 2) * sizeof(uint32_t), err) != ST_OK ||
        buffer_reserve(&s->order, (n + 1) * sizeof(uint32_t), err) != ST_OK)
        return ST_FAIL;
    uint32_t *first = (uint32_t *)(void *)s->first.data, *order = (uint32_t *)(void *)s->order.data;
    memset(first, 0, (k + 2) * sizeof *first);
    for (size_t i = 0; i < n; i++)
        first[e[i].instance + 2]++;
    for (size_t i = 0; i < k; i++)
        first[i + 2] += first[i + 1];
    for (size_t i = 0; i < n; i++) /* first[x + 1] moves from the start of x to its end */
        order[first[e[i].instance + 1]++] = (uint32_t)i;
    s->first.size = (k + 1) * sizeof *first;
    s->order.size = n * sizeof *order;
    return ST_OK;
}

/* Equal hashes of one instance are told apart by their bytes. */
static enum status same_region(struct mask_store *s, size_t a, size_t b, struct buffer text[4],
                               bool *same, struct error *err)
{
    const struct mask_entry *x = mask_store_entry_at(s, a), *y = mask_store_entry_at(s, b);

    *same = false;
    if (x->hash != y->hash || x->category != y->category || x->rle_size != y->rle_size ||
        x->caption_size != y->caption_size || x->crowd != y->crowd)
        return ST_OK;
    if (mask_store_read(s, a, &text[0], &text[1], err) != ST_OK ||
        mask_store_read(s, b, &text[2], &text[3], err) != ST_OK)
        return ST_FAIL;
    *same = memcmp(text[0].data, text[2].data, text[0].size + 1) == 0 &&
            memcmp(text[1].data, text[3].data, text[1].size + 1) == 0;
    return ST_OK;
}

struct hash_at {
    uint64_t hash;
    uint32_t entry;
};

static int compare_hashes(const void *a, const void *b)
{
    const struct hash_at *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

/* The regions of one instance, sorted by hash: equal ones are neighbours. */
static enum status merge_in_instance(struct mask_store *s, size_t k, struct hash_at *list,
                                     struct buffer text[4], struct error *err)
{
    const uint32_t *first = mask_store_first(s), *order = mask_store_order(s);
    size_t n = 0;
    enum status st = ST_OK;

    for (uint32_t i = first[k]; i < first[k + 1]; i++)
        if (!entries_of(s)[order[i]].dropped)
            list[n++] = (struct hash_at){ entries_of(s)[order[i]].hash, order[i] };
    qsort(list, n, sizeof *list, compare_hashes);
    for (size_t i = 0, kept = 0; st == ST_OK && i < n; i++) { /* list[0 .. kept) stay */
        bool same = false;
        for (size_t j = kept; st == ST_OK && !same && j-- > 0 && list[j].hash == list[i].hash;)
            st = same_region(s, list[j].entry, list[i].entry, text, &same, err);
        if (same)
            mask_store_drop(s, list[i].entry, "duplicate");
        else
            list[kept++] = list[i];
    }
    return st;
}

static enum status merge_duplicates(struct mask_store *s, struct error *err)
{
    const uint32_t *first = mask_store_first(s);
    size_t most = 1;
    struct buffer text[4];
    enum status st = ST_OK;

    for (size_t k = 0; k < mask_store_instances(s); k++)
        most = first[k + 1] - first[k] > most ? first[k + 1] - first[k] : most;
    struct hash_at *list = mem_calloc(most, sizeof *list);
    if (!list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%zu regions of a picture", most);
    for (int i = 0; i < 4; i++)
        buffer_init(&text[i]);
    for (size_t k = 0; st == ST_OK && k < mask_store_instances(s); k++)
        st = merge_in_instance(s, k, list, text, err);
    for (int i = 0; i < 4; i++)
        buffer_clear(&text[i]);
    mem_free(list);
    return st;
}

enum status mask_store_finish(struct mask_store *s, struct error *err)
{
    enum status st = mask_store_flush(s, err);

    if (st == ST_OK)
        st = check_categories(s, err);
    if (st == ST_OK)
        st = check_ids(s, err);
    s->counts.stored = 0;
    for (size_t i = 0; i < mask_store_entries(s); i++)
        s->counts.stored += !entries_of(s)[i].dropped;
    if (st == ST_OK)
        st = group(s, err);
    return st == ST_OK ? merge_duplicates(s, err) : st;
}
