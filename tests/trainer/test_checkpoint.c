/* tests/trainer/test_checkpoint.c: a checkpoint is there whole or not at all, and no flipped bit, cut file or
 * failed system call is ever loaded. */
#include "tests/support/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/hash.h"
#include "trainer/checkpoint.h"

static bool trains(const void *arg, const char *name)
{
    (void)arg;
    return strncmp(name, "frozen", 6) != 0;
}

static struct params *make_params(float seed)
{
    struct params *p = NULL;
    struct error err = { 0 };
    size_t index = 0;
    static const char *const names[] = { "a.weight", "frozen.weight", "b.bias" };

    assert_int_equal(params_open(&p, trains, NULL, &err), ST_OK);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(
            params_declare(p, &index, names[i], (int64_t[]){ 3, (int64_t)i + 5 }, 2, &err), ST_OK);
    assert_int_equal(params_allocate(p, &err), ST_OK);
    for (size_t i = 0; i < 3; i++)
        for (int64_t k = 0; k < p->list[i].count; k++)
            p->list[i].value[k] = seed + (float)i * 100.0f + (float)k;
    return p;
}

struct fixture {
    char *folder;
    struct params *params;
    float *m, *v;
};

static int set_up(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    fx->folder = test_temp_folder();
    fx->params = make_params(1.0f);
    const size_t n = (size_t)fx->params->trainable_elements;
    fx->m = calloc(n, sizeof *fx->m);
    fx->v = calloc(n, sizeof *fx->v);
    for (size_t i = 0; i < n; i++) {
        fx->m[i] = 0.5f * (float)i;
        fx->v[i] = 0.25f * (float)i;
    }
    *state = fx;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fx = *state;
    params_close(&fx->params);
    test_remove_tree(fx->folder);
    free(fx->folder);
    free(fx->m);
    free(fx->v);
    free(fx);
    return 0;
}

static const char data[] = "{\"mmc4\":[\"abc\"]}", recipe[] = "steps: 3\n";

static enum status save(const struct fixture *fx, int64_t step, struct error *err)
{
    struct checkpoint_writer *w = NULL;
    const struct checkpoint_state state = {
        step, 1, 2, data, sizeof data - 1, recipe, sizeof recipe - 1,
    };
    double blocked = -1.0;
    enum status st = checkpoint_writer_open(&w, fx->folder, 2, fx->params, err);
    if (st == ST_OK)
        st = checkpoint_writer_start(w, fx->m, fx->v, &state, &blocked, err);
    const enum status closed = checkpoint_writer_close(&w, err);
    return st == ST_OK ? closed : st;
}

/* Loads the newest one into fresh parameters; -1 where there is none. */
static int64_t load(const struct fixture *fx)
{
    struct params *p = make_params(-7.0f);
    struct checkpoint *c = NULL;
    struct error err = { 0 };
    char *path = NULL;
    int64_t step = -1;
    const size_t n = (size_t)p->trainable_elements;
    float *m = calloc(n, sizeof *m), *v = calloc(n, sizeof *v);

    const enum status st = checkpoint_find(&path, fx->folder, &err);
    if (st == ST_OK) {
        assert_int_equal(checkpoint_open(&c, path, &err), ST_OK);
        if (checkpoint_load(c, p, m, v, &err) != ST_OK)
            fail_msg("%s", err.text);
        step = c->step;
        assert_int_equal(c->skipped, 1);
        assert_int_equal(c->damaged, 2);
        assert_int_equal(c->data.size, sizeof data - 1);
        assert_memory_equal(c->data.data, data, sizeof data - 1);
        assert_memory_equal(c->recipe.data, recipe, sizeof recipe - 1);
        for (size_t i = 0; i < 3; i++) {
            const struct param *q = &p->list[i];
            const size_t bytes = (size_t)q->count * sizeof *m;
            assert_memory_equal(q->value, fx->params->list[i].value, bytes);
            if (!q->trainable) /* between the tensors of a block there may be gaps */
                continue;
            assert_memory_equal(m + q->offset, fx->m + q->offset, bytes);
            assert_memory_equal(v + q->offset, fx->v + q->offset, bytes);
        }
        checkpoint_close(&c);
    } else {
        assert_int_equal(st, ST_END);
    }
    free(path);
    free(m);
    free(v);
    params_close(&p);
    return step;
}

static void what_was_saved_is_loaded(void **state)
{
    const struct fixture *fx = *state;
    struct error err = { 0 };

    assert_false(checkpoint_any(fx->folder));
    assert_int_equal(load(fx), -1);
    assert_int_equal(save(fx, 7, &err), ST_OK);
    assert_true(checkpoint_any(fx->folder));
    assert_int_equal(load(fx), 7);
}

static void the_newest_two_are_kept_beyond_six_digits(void **state)
{
    const struct fixture *fx = *state;
    struct error err = { 0 };
    char **names = NULL;
    size_t count = 0;

    assert_int_equal(save(fx, 999998, &err), ST_OK);
    assert_int_equal(save(fx, 999999, &err), ST_OK);
    assert_int_equal(save(fx, 1000000, &err), ST_OK);
    assert_int_equal(load(fx), 1000000);
    assert_int_equal(file_list(fx->folder, &names, &count, &err), ST_OK);
    assert_int_equal(count, 2);
    assert_string_equal(names[0], "step-1000000");
    assert_string_equal(names[1], "step-999999");
    file_list_free(&names, count);
}

static void frozen_weights_are_written_once_a_run(void **state)
{
    const struct fixture *fx = *state;
    struct checkpoint_writer *w = NULL;
    struct error err = { 0 };
    struct stat first, second;
    char path[4096];
    double blocked = 0.0;

    assert_int_equal(checkpoint_writer_open(&w, fx->folder, 2, fx->params, &err), ST_OK);
    for (int64_t step = 1; step <= 2; step++) {
        const struct checkpoint_state s = {
            step, 1, 2, data, sizeof data - 1, recipe, sizeof recipe - 1
        };
        assert_int_equal(checkpoint_writer_start(w, fx->m, fx->v, &s, &blocked, &err), ST_OK);
    }
    assert_int_equal(checkpoint_writer_close(&w, &err), ST_OK);
    snprintf(path, sizeof path, "%s/step-000001/frozen.safetensors", fx->folder);
    assert_int_equal(stat(path, &first), 0);
    snprintf(path, sizeof path, "%s/step-000002/frozen.safetensors", fx->folder);
    assert_int_equal(stat(path, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
    assert_int_equal(load(fx), 2);
}

/* Every 97th bit (STRIDE=1: every one) of every file of the newest checkpoint, one at a time: it must be passed
 * over for the older one, and verify must say so. Robustness.md T10. */
static void a_flipped_bit_anywhere_is_noticed(void **state)
{
    static const char *const files[] = { "weights.safetensors",   "frozen.safetensors",
                                         "optimizer.safetensors", "state.json",
                                         "recipe.yaml",           "manifest.json" };
    const struct fixture *fx = *state;
    struct error err = { 0 };
    char path[4200], folder[4096];
    const size_t stride = test_number("STRIDE", 97);
    size_t flips = 0;

    assert_int_equal(save(fx, 5, &err), ST_OK);
    snprintf(folder, sizeof folder, "%s/step-000005", fx->folder);
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        size_t size = 0;
        snprintf(path, sizeof path, "%s/%s", folder, files[f]);
        uint8_t *bytes = test_read_file(path, &size);
        for (size_t bit = f; bit < 8 * size; bit += stride, flips++) {
            struct buffer findings;
            size_t count = 0;
            char *found = NULL;
            FILE *out = fopen(path, "r+b");
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            fwrite(bytes, 1, size, out);
            fclose(out);
            bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            buffer_init(&findings);
            assert_int_equal(checkpoint_verify(folder, &findings, &count, &err), ST_OK);
            if (count == 0)
                fail_msg("%s: bit %zu went unnoticed", files[f], bit);
            assert_int_equal(checkpoint_find(&found, fx->folder, &err), ST_END);
            buffer_clear(&findings);
        }
        FILE *out = fopen(path, "wb");
        fwrite(bytes, 1, size, out);
        fclose(out);
        free(bytes);
    }
    print_message("%zu flips\n", flips);
    assert_int_equal(load(fx), 5);
}

/* Each system call of a save fails once: the save says so, or finished; the older checkpoint or the new one
 * loads, never anything else. */
static void a_failed_system_call_leaves_the_older_one(void **state)
{
    const struct fixture *fx = *state;
    struct error err = { 0 };

    assert_int_equal(save(fx, 1, &err), ST_OK);
    for (uint64_t k = 1;; k++) {
        error_clear(&err);
        file_fail_at(k, ENOSPC, false);
        const enum status st = save(fx, 2, &err);
        const uint64_t asked = file_fail_at(0, 0, false);
        const int64_t step = load(fx);
        assert_true(step == 1 || step == 2);
        if (asked < k) {
            assert_int_equal(st, ST_OK);
            break;
        }
        if (st == ST_FAIL)
            assert_true(err.cause == CAUSE_IO || err.cause == CAUSE_CREATE);
        assert_int_equal(save(fx, 1, &err) == ST_OK || err.cause != CAUSE_NONE, 1);
    }
    assert_int_equal(load(fx), 2);
}

static void another_model_is_refused_with_every_name(void **state)
{
    const struct fixture *fx = *state;
    struct params *p = NULL;
    struct checkpoint *c = NULL;
    struct error err = { 0 };
    size_t index = 0;
    char *path = NULL;
    float m[64], v[64];

    assert_int_equal(save(fx, 3, &err), ST_OK);
    assert_int_equal(params_open(&p, trains, NULL, &err), ST_OK);
    params_declare(p, &index, "a.weight", (int64_t[]){ 2, 2 }, 2, &err);
    params_declare(p, &index, "c.weight", (int64_t[]){ 2, 2 }, 2, &err);
    assert_int_equal(params_allocate(p, &err), ST_OK);
    assert_int_equal(checkpoint_find(&path, fx->folder, &err), ST_OK);
    assert_int_equal(checkpoint_open(&c, path, &err), ST_OK);
    assert_int_equal(checkpoint_load(c, p, m, v, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_non_null(strstr(err.text, "a.weight has another shape"));
    assert_non_null(strstr(err.text, "c.weight is missing"));
    checkpoint_close(&c);
    params_close(&p);
    free(path);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_is_loaded),
        TEST(the_newest_two_are_kept_beyond_six_digits),
        TEST(frozen_weights_are_written_once_a_run),
        TEST(a_flipped_bit_anywhere_is_noticed),
        TEST(a_failed_system_call_leaves_the_older_one),
        TEST(another_model_is_refused_with_every_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
