/* tests/ingest/test_packer.c: bins equal the reference cases, and hold what packing promises for
 * random items. */
#include "tests/support/support.h"

#include "tests/support/jsonl.h"

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "ingest/packer.h"

/* ---- reference cases ---- */

struct check {
    const char *name;
    const struct json_value *bin;     /* next expected bin */
    const struct json_value *dropped; /* the list */
    size_t dropped_seen;
};

static bool listed(const struct json_value *list, uint64_t position)
{
    for (const struct json_value *v = list->child; v; v = v->next)
        if (strtoull(v->text, NULL, 10) == position)
            return true;
    return false;
}

static enum status compare_bin(void *arg, const struct packer_item *items, size_t count,
                               uint32_t tokens, uint32_t images, struct error *err)
{
    struct check *k = arg;
    (void)tokens;
    (void)err;
    if (images == 0) {
        for (size_t i = 0; i < count; i++)
            assert_true(listed(k->dropped, items[i].position));
        k->dropped_seen += count;
        return ST_OK;
    }
    if (!k->bin)
        fail_msg("%s: more bins than expected", k->name);
    assert_int_equal(count, k->bin->count);
    size_t i = 0;
    for (const struct json_value *v = k->bin->child; v; v = v->next, i++)
        if (strtoull(v->text, NULL, 10) != items[i].position)
            fail_msg("%s: item %zu of a bin is %llu, want %s", k->name, i,
                     (unsigned long long)items[i].position, v->text);
    k->bin = k->bin->next;
    return ST_OK;
}

static uint64_t draw_order(uint64_t seed, const char *purpose, const struct json_value *fields)
{
    struct rng_key k;
    struct rng g;
    rng_key_init(&k, seed, purpose);
    for (const struct json_value *v = fields->child; v; v = v->next)
        if (v->type == JSON_T_STRING)
            rng_key_string(&k, v->text, v->size);
        else
            rng_key_integer(&k, strtoull(v->text, NULL, 10));
    rng_init(&g, &k);
    return rng_order(&g);
}

static void run_case(const struct json_value *c)
{
    struct packer_options opt = { (uint32_t)jsonl_int(c, "N"), (uint32_t)jsonl_int(c, "M"),
                                  (uint32_t)jsonl_int(c, "W"), (uint32_t)jsonl_int(c, "max_age"),
                                  (uint32_t)jsonl_int(c, "fill_percent") };
    struct check k = { jsonl_get(c, "name")->text, jsonl_get(c, "bins")->child,
                       jsonl_get(c, "dropped"), 0 };
    const uint64_t seed = jsonl_u64(c, "seed");
    struct packer *p = NULL;
    struct error err = { 0 };

    assert_int_equal(packer_open(&p, &opt, compare_bin, &k, &err), ST_OK);
    for (const struct json_value *v = jsonl_get(c, "items")->child; v; v = v->next) {
        const struct json_value *fields = v->child, *tokens = fields->next, *images = tokens->next;
        const struct packer_item item = { .order = draw_order(seed, "D5a", fields),
                                          .bin = draw_order(seed, "D5b", fields),
                                          .tokens = (uint32_t)strtoul(tokens->text, NULL, 10),
                                          .images = (uint32_t)strtoul(images->text, NULL, 10) };
        if (packer_push(p, &item, &err) != ST_OK)
            fail_msg("%s: %s", k.name, err.text);
    }
    assert_int_equal(packer_finish(p, &err), ST_OK);
    assert_null(k.bin);
    assert_int_equal(k.dropped_seen, k.dropped->count);
    packer_close(&p);
}

static void bins_equal_the_reference_cases(void **state)
{
    (void)state;
    struct jsonl f;
    unsigned n = 0;
    jsonl_open(&f, TEST_GOLDENS "/data/packing/cases.jsonl");
    for (const struct json_value *c; (c = jsonl_next(&f)); n++)
        run_case(c);
    assert_true(n >= 17);
    jsonl_close(&f);
}

/* ---- properties ---- */

enum { ITEMS = 4000 };

struct tally {
    struct packer_options opt;
    uint8_t seen[ITEMS];
    uint64_t bins, tokens;
    uint64_t first[ITEMS]; /* first position of each bin, in emission order */
};

static enum status count_bin(void *arg, const struct packer_item *items, size_t count,
                             uint32_t tokens, uint32_t images, struct error *err)
{
    struct tally *t = arg;
    uint32_t sum = 0, pictures = 0;
    (void)err;
    for (size_t i = 0; i < count; i++) {
        sum += items[i].tokens;
        pictures += items[i].images;
        t->seen[items[i].position]++;
        if (i > 0)
            assert_true(items[i - 1].order <= items[i].order);
    }
    assert_int_equal(sum, tokens);
    assert_int_equal(pictures, images);
    assert_in_range(tokens, 1, t->opt.seq_len);
    assert_in_range(images, 0, t->opt.max_images);
    t->first[t->bins++] = items[0].position;
    t->tokens += tokens;
    return ST_OK;
}

static void pack_random(struct tally *t, uint64_t seed, uint32_t window)
{
    struct packer *p = NULL;
    struct error err = { 0 };
    memset(t, 0, sizeof *t);
    packer_options_init(&t->opt);
    t->opt.window = window;
    assert_int_equal(packer_open(&p, &t->opt, count_bin, t, &err), ST_OK);
    for (uint64_t i = 0; i < ITEMS; i++) {
        struct rng_key k;
        struct rng g;
        rng_key_init(&k, seed, "test");
        rng_key_integer(&k, i);
        rng_init(&g, &k);
        const uint32_t images = (uint32_t)rng_below(&g, 7);
        const struct packer_item item = { .images = images,
                                          .tokens = 20 + 78 * images + (uint32_t)rng_below(&g, 900),
                                          .order = rng_word(&g),
                                          .bin = rng_word(&g) };
        assert_int_equal(packer_push(p, &item, &err), ST_OK);
    }
    assert_int_equal(packer_finish(p, &err), ST_OK);
    packer_close(&p);
}

static void every_item_comes_out_once_within_the_limits(void **state)
{
    (void)state;
    static struct tally t;
    static const uint32_t windows[] = { 1, 7, 256, 4096 };
    for (size_t w = 0; w < 4; w++) {
        pack_random(&t, w, windows[w]);
        for (size_t i = 0; i < ITEMS; i++)
            assert_int_equal(t.seen[i], 1);
    }
    assert_true(t.tokens * 100 >= t.bins * 2048 * 98); /* whole window: at least 98 % */
}

static void the_same_items_give_the_same_bins(void **state)
{
    (void)state;
    static struct tally a, b;
    pack_random(&a, 3, 512);
    pack_random(&b, 3, 512);
    assert_int_equal(a.bins, b.bins);
    assert_memory_equal(a.first, b.first, sizeof a.first);
}

static void an_item_over_the_limits_is_refused(void **state)
{
    (void)state;
    static struct tally t;
    struct packer *p = NULL;
    struct error err = { 0 };
    packer_options_init(&t.opt);
    assert_int_equal(packer_open(&p, &t.opt, count_bin, &t, &err), ST_OK);
    const struct packer_item fits = { .tokens = 2048, .images = 15 };
    const struct packer_item long_one = { .tokens = 2049, .images = 1 };
    const struct packer_item many = { .tokens = 2048, .images = 16 };
    assert_int_equal(packer_push(p, &fits, &err), ST_OK);
    assert_int_equal(packer_push(p, &long_one, &err), ST_FAIL);
    assert_int_equal(packer_push(p, &many, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    packer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bins_equal_the_reference_cases),
        cmocka_unit_test(every_item_comes_out_once_within_the_limits),
        cmocka_unit_test(the_same_items_give_the_same_bins),
        cmocka_unit_test(an_item_over_the_limits_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
