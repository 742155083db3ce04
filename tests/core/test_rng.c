/* tests/core/test_rng.c: every vector of goldens/data/random. */
#include "tests/support/support.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/json.h"
#include "core/rng.h"

typedef void case_fn(const struct json_value *c, int line);

static void each_line(const char *name, case_fn *each, int least)
{
    char path[300];
    size_t size = 0;
    int lines = 0;
    snprintf(path, sizeof path, TEST_GOLDENS "/data/random/%s", name);
    char *data = (char *)test_read_file(path, &size), *line = data;
    while (*line) {
        struct arena a;
        struct json_value *v = NULL;
        const size_t n = strcspn(line, "\n");
        arena_init(&a, 0);
        assert_int_equal(json_parse(&a, &v, line, n, NULL, NULL), ST_OK);
        each(v, ++lines);
        arena_clear(&a);
        line += n + (line[n] == '\n');
    }
    assert_true(lines >= least);
    free(data);
}

static uint64_t number(const struct json_value *v)
{
    assert_non_null(v);
    return strtoull(v->text, NULL, 10);
}

static void hex_words(uint32_t *out, const struct json_value *list)
{
    for (const struct json_value *v = list->child; v; v = v->next)
        *out++ = (uint32_t)strtoul(v->text, NULL, 16);
}

static void check_philox(const struct json_value *c, int line)
{
    uint32_t counter[4], key[2], want[4], got[4];
    hex_words(counter, json_get(c, "counter"));
    hex_words(key, json_get(c, "key"));
    hex_words(want, json_get(c, "out"));
    philox4x32_10(got, counter, key);
    if (memcmp(got, want, sizeof got) != 0)
        fail_msg("philox.jsonl line %d differs", line);
}

/* Builds the key of a case and compares its bytes. */
static void make_key(struct rng_key *k, const struct json_value *c, const char *purpose, int line)
{
    char hex[2 * RNG_KEY_MAX + 1];
    const struct json_value *seed = json_get(c, "seed");
    rng_key_init(k, seed ? number(seed) : 0, purpose);
    for (const struct json_value *f = json_get(c, "fields")->child; f; f = f->next) {
        const struct json_value *s = json_get(f, "s");
        if (s)
            rng_key_string(k, s->text, s->size);
        else
            rng_key_integer(k, number(json_get(f, "i")));
    }
    assert_false(k->overflow);
    hash_hex(hex, k->bytes, k->size);
    if (strcmp(hex, json_get(c, "key")->text) != 0)
        fail_msg("line %d: other key bytes", line);
}

static void open_case(struct rng *r, const struct json_value *c, int line)
{
    struct rng_key k;
    char hex[33];
    make_key(&k, c, json_get(c, "purpose")->text, line);
    hash128_hex(hex, hash_xxh3_128(k.bytes, k.size));
    assert_string_equal(hex, json_get(c, "h128")->text);
    rng_init(r, &k);
}

static void check_pick(struct rng *r, const struct json_value *c, int line)
{
    const size_t n = (size_t)number(json_get(c, "n"));
    uint64_t *out = calloc(n, sizeof *out);
    size_t i = 0;
    rng_pick(r, out, n, (size_t)number(json_get(c, "k")));
    for (const struct json_value *v = json_get(c, "result")->child; v; v = v->next)
        if (out[i++] != number(v))
            fail_msg("draws.jsonl line %d: pick differs at %zu", line, i);
    free(out);
}

static bool check_results(struct rng *r, const struct json_value *c, const char *draw)
{
    uint64_t weights[64];
    size_t n = 0;
    const struct json_value *list = json_get(c, "weights"), *at = json_get(c, "at");
    for (const struct json_value *v = list ? list->child : NULL; v; v = v->next)
        weights[n++] = number(v);
    at = at ? at->child : NULL;
    for (const struct json_value *v = json_get(c, "results")->child; v; v = v->next) {
        if (strcmp(draw, "bernoulli") == 0) {
            if (rng_bernoulli(r, json_get(c, "p")->number) != v->boolean)
                return false;
            continue;
        }
        uint64_t got = 0;
        if (strcmp(draw, "below") == 0)
            got = rng_below(r, number(json_get(c, "n")));
        else if (strcmp(draw, "weighted") == 0)
            got = rng_weighted(r, weights, n);
        else if (strcmp(draw, "perm_at") == 0)
            got = rng_perm_at(r, number(json_get(c, "n")), number(at));
        else
            return false;
        if (got != number(v))
            return false;
        at = at ? at->next : NULL;
    }
    return true;
}

static void check_draw(const struct json_value *c, int line)
{
    const char *draw = json_get(c, "draw")->text;
    struct rng r;
    open_case(&r, c, line);
    uint64_t i = 0;
    for (const struct json_value *w = json_get(c, "words")->child; w; w = w->next, i++) {
        struct rng again = r;
        again.position = i;
        if (rng_word_at(&r, i) != strtoull(w->text, NULL, 16) ||
            rng_word(&again) != rng_word_at(&r, i))
            fail_msg("draws.jsonl line %d: word %d", line, (int)i);
    }
    if (strcmp(draw, "pick") == 0)
        check_pick(&r, c, line);
    else if (strcmp(draw, "order") == 0)
        assert_true(rng_order(&r) == strtoull(json_get(c, "result")->text, NULL, 16));
    else if (!check_results(&r, c, draw))
        fail_msg("draws.jsonl line %d: %s differs", line, draw);
    const struct json_value *used = json_get(c, "words_used");
    if (used && r.position != number(used))
        fail_msg("draws.jsonl line %d: %d words used", line, (int)r.position);
}

static void check_record_id(const struct json_value *c, int line)
{
    struct rng_key k;
    char hex[20];
    make_key(&k, c, "K", line);
    snprintf(hex, sizeof hex, "%016" PRIx64, rng_record_id(&k));
    assert_string_equal(hex, json_get(c, "id")->text);
}

static void check_tensor(const struct rng *r, const struct json_value *c, const char *draw,
                         int line)
{
    const struct json_value *at = json_get(c, "at")->child, *std = json_get(c, "std"),
                            *kept = json_get(c, "kept"), *p = json_get(c, "p");
    for (const struct json_value *v = json_get(c, "results")->child; v; v = v->next) {
        const uint64_t e = number(at);
        const double unit = (double)(rng_word_at(r, e) >> 11) * 0x1p-53;
        double got = 0, tolerance = 0;
        if (strcmp(draw, "normal") == 0) {
            got = rng_normal_at(r, e) * (std ? std->number : 1.0);
            tolerance = 1e-12;
        } else if (strcmp(draw, "mask") == 0) {
            got = unit < p->number ? 0 : 1;
        } else {
            got = json_get(c, "a")->number * (2.0 * unit - 1.0);
            tolerance = 1e-15;
        }
        if (!(fabs(got - v->number) <= tolerance))
            fail_msg("trainer.jsonl line %d: element %" PRIu64 " is %.17g", line, e, got);
        at = at->next;
    }
    if (!kept)
        return;
    uint64_t size = 1, n = 0;
    for (const struct json_value *s = json_get(c, "shape")->child; s; s = s->next)
        size *= number(s);
    for (uint64_t e = 0; e < (size < 4096 ? size : 4096); e++)
        n += (double)(rng_word_at(r, e) >> 11) * 0x1p-53 >= p->number;
    assert_int_equal(n, number(kept));
}

static void check_trainer(const struct json_value *c, int line)
{
    const char *draw = json_get(c, "draw")->text;
    const struct json_value *result = json_get(c, "result");
    struct rng r;
    open_case(&r, c, line);
    if (strcmp(draw, "below") == 0)
        assert_int_equal(rng_below(&r, number(json_get(c, "n"))), number(result));
    else if (strcmp(draw, "bernoulli") == 0)
        assert_int_equal(rng_bernoulli(&r, json_get(c, "p")->number), result->boolean);
    else
        check_tensor(&r, c, draw, line);
}

static void every_philox_block_is_the_published_one(void **state)
{
    (void)state;
    each_line("philox.jsonl", check_philox, 23);
}
static void every_draw_equals_its_vector(void **state)
{
    (void)state;
    each_line("draws.jsonl", check_draw, 530);
}
static void every_record_id_equals_its_vector(void **state)
{
    (void)state;
    each_line("record_ids.jsonl", check_record_id, 28);
}
static void every_draw_of_the_trainer_equals_its_vector(void **state)
{
    (void)state;
    each_line("trainer.jsonl", check_trainer, 200);
}

static void a_permutation_takes_every_place_once(void **state)
{
    struct rng_key k;
    struct rng r;
    (void)state;

    rng_key_init(&k, 7, "D5c");
    rng_init(&r, &k);
    for (uint64_t n = 1; n < 600; n += 37) {
        bool seen[600] = { false };
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t at = rng_perm_at(&r, n, i);
            assert_true(at < n && !seen[at]);
            seen[at] = true;
        }
    }
}

static void a_key_too_long_says_so(void **state)
{
    static char name[RNG_KEY_MAX];
    struct rng_key k;
    (void)state;

    memset(name, 'x', sizeof name);
    rng_key_init(&k, 0, "K");
    rng_key_string(&k, name, RNG_KEY_MAX - 12 - 6 - 5);
    assert_false(k.overflow);
    rng_key_integer(&k, 1);
    assert_true(k.overflow);
    rng_key_init(&k, 0, "K");
    rng_key_string(&k, name, SIZE_MAX);
    assert_true(k.overflow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_philox_block_is_the_published_one),
        cmocka_unit_test(every_draw_equals_its_vector),
        cmocka_unit_test(every_record_id_equals_its_vector),
        cmocka_unit_test(every_draw_of_the_trainer_equals_its_vector),
        cmocka_unit_test(a_permutation_takes_every_place_once),
        cmocka_unit_test(a_key_too_long_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
