/* tests/trainer/test_draws.c: the trainer's draws against goldens/data/random/trainer.jsonl. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "trainer/draws.h"

static uint64_t number(const struct json_value *v)
{
    assert_non_null(v);
    return strtoull(v->text, NULL, 10);
}

static const char *text(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    return m ? m->text : "";
}

/* The generator of a line, by the trainer's own functions. */
static struct rng open_line(const struct json_value *v)
{
    struct rng r;
    const struct json_value *f = json_get(v, "fields")->child;
    if (strcmp(text(v, "purpose"), "T9") == 0) {
        draw_open_initial(&r, number(json_get(v, "seed")), text(f, "s"));
        return r;
    }
    const struct draw_key key = { number(json_get(v, "seed")), number(json_get(f, "i")),
                                  number(json_get(f->next, "i")),
                                  number(json_get(f->next->next, "i")) };
    const struct json_value *name = f->next->next->next;
    draw_open(&r, &key, text(v, "purpose"), name ? text(name, "s") : NULL);
    return r;
}

static double element(const struct json_value *v, const struct rng *r, uint64_t e)
{
    const char *draw = text(v, "draw");
    const struct json_value *std = json_get(v, "std");
    const double unit = (double)(rng_word_at(r, e) >> 11) * 0x1p-53;
    if (strcmp(draw, "normal") == 0)
        return (std ? std->number : 1.0) * rng_normal_at(r, e);
    if (strcmp(draw, "mask") == 0)
        return unit < json_get(v, "p")->number ? 0.0 : 1.0;
    return json_get(v, "a")->number * (2.0 * unit - 1.0);
}

static void check_line(const struct json_value *v)
{
    struct rng r = open_line(v);
    const char *draw = text(v, "draw");
    if (strcmp(draw, "below") == 0) {
        assert_int_equal(rng_below(&r, number(json_get(v, "n"))), number(json_get(v, "result")));
        return;
    }
    if (strcmp(draw, "bernoulli") == 0) {
        assert_int_equal(rng_bernoulli(&r, json_get(v, "p")->number),
                         json_get(v, "result")->boolean);
        return;
    }
    const struct json_value *at = json_get(v, "at")->child, *want = json_get(v, "results")->child;
    for (; at; at = at->next, want = want->next)
        assert_true(fabs(element(v, &r, number(at)) - want->number) <= 1e-12);
    assert_null(want);
}

static void every_draw_of_the_trainer_equals_its_vector(void **state)
{
    struct buffer data = { 0 };
    struct error err = { 0 };
    int lines = 0;
    (void)state;
    assert_int_equal(file_read_all(&data, TEST_GOLDENS "/data/random/trainer.jsonl", 0, &err),
                     ST_OK);
    for (size_t from = 0; from < data.size; lines++) {
        const uint8_t *end = memchr(data.data + from, '\n', data.size - from);
        const size_t n = end ? (size_t)(end - data.data) - from : data.size - from;
        struct arena memory;
        struct json_value *v = NULL;
        arena_init(&memory, 0);
        assert_int_equal(json_parse(&memory, &v, data.data + from, n, NULL, &err), ST_OK);
        check_line(v);
        arena_clear(&memory);
        from += n + 1;
    }
    assert_int_equal(lines, 200);
    buffer_clear(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_draw_of_the_trainer_equals_its_vector),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
