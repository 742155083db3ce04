/* The plan: exact mixing, permutations, random access at any size, ranks that add up to one. */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "core/rng.h"
#include "loader/plan.h"

static struct plan *make(uint64_t s0, uint64_t s1, uint64_t w0, uint64_t w1, uint64_t global,
                         uint64_t micro, enum plan_mixing mixing, enum plan_order order)
{
    const struct plan_source sources[] = { { "mmc4", s0, w0 }, { "pairs", s1, w1 } };
    struct plan_options opt;
    struct plan *p = NULL;

    plan_options_init(&opt);
    opt.seed = 42;
    opt.sources = sources;
    opt.n_sources = 2;
    opt.batch_global = global;
    opt.batch_micro = micro;
    opt.mixing = mixing;
    opt.order = order;
    opt.block = 7;
    assert_int_equal(plan_open(&p, &opt, NULL), ST_OK);
    return p;
}

static void every_block_of_three_micro_batches_is_two_to_one(void **state)
{
    struct plan *p = make(1000, 1000, 2, 1, 12, 4, PLAN_STRATIFIED, PLAN_PERMUTATION);
    unsigned orders[3] = { 0 };

    (void)state;
    for (uint64_t block = 0; block < 300; block++) {
        unsigned second = 0;
        for (uint64_t j = 0; j < 3; j++)
            if (plan_source(p, 3 * block + j) == 1) {
                second++;
                orders[j]++;
            }
        assert_int_equal(second, 1);
    }
    for (size_t j = 0; j < 3; j++)
        assert_in_range(orders[j], 70, 130); /* the order is drawn */
    plan_close(&p);
}

/* D6 of block b is pick(3, 3) over [first, first, second], by the letter of data.md 2.3.1. */
static void the_mix_is_the_draw_of_the_specification(void **state)
{
    struct plan *p = make(1000, 1000, 2, 1, 12, 4, PLAN_STRATIFIED, PLAN_PERMUTATION);
    static const uint32_t list[3] = { 0, 0, 1 };

    (void)state;
    for (uint64_t block = 0; block < 20; block++) {
        struct rng_key key;
        struct rng r;
        uint64_t pick[3];
        rng_key_init(&key, 42, "D6");
        rng_key_integer(&key, block);
        rng_init(&r, &key);
        rng_pick(&r, pick, 3, 3);
        for (uint64_t j = 0; j < 3; j++)
            assert_int_equal(plan_source(p, 3 * block + j), list[pick[j]]);
    }
    plan_close(&p);
}

/* Counts draws of each sequence over whole epochs of the first source. */
static void check_exactly_once(uint64_t sequences, uint64_t micro, enum plan_order order)
{
    struct plan *p = make(sequences, 5, 2, 1, 3 * micro, micro, PLAN_STRATIFIED, order);
    const uint64_t epochs = 3;
    unsigned *seen = calloc(sequences * epochs, sizeof *seen);
    struct plan_sample *out = calloc(micro, sizeof *out);
    uint64_t draws = 0;

    assert_non_null(seen);
    for (uint64_t m = 0; draws < sequences * epochs; m++) {
        plan_samples(p, m, out);
        for (uint64_t i = 0; i < micro && out[0].source == 0; i++, draws++) {
            assert_true(out[i].sequence < sequences);
            if (out[i].epoch < epochs)
                seen[out[i].epoch * sequences + out[i].sequence]++;
        }
    }
    for (uint64_t i = 0; i < sequences * epochs; i++)
        if (seen[i] != 1)
            fail_msg("%llu sequences: place %llu seen %u times", (unsigned long long)sequences,
                     (unsigned long long)i, seen[i]);
    free(seen);
    free(out);
    plan_close(&p);
}

static void every_sequence_comes_exactly_once_an_epoch_at_awkward_sizes(void **state)
{
    static const uint64_t sizes[] = { 1, 2, 3, 6, 7, 8, 13, 14, 97, 1009 };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (uint64_t micro = 1; micro <= 5; micro += 2) {
            check_exactly_once(sizes[i], micro, PLAN_PERMUTATION);
            check_exactly_once(sizes[i], micro, PLAN_BLOCK);
        }
}

static void epochs_come_in_different_orders(void **state)
{
    struct plan *p = make(101, 5, 2, 1, 3, 1, PLAN_STRATIFIED, PLAN_PERMUTATION);
    uint64_t first[101] = { 0 }, second[101] = { 0 };
    struct plan_sample s;
    size_t a = 0, b = 0;

    (void)state;
    for (uint64_t m = 0; a < 101 || b < 101; m++) {
        plan_samples(p, m, &s);
        if (s.source == 0 && s.epoch == 0)
            first[a++] = s.sequence;
        if (s.source == 0 && s.epoch == 1)
            second[b++] = s.sequence;
    }
    assert_memory_not_equal(first, second, sizeof first);
    plan_close(&p);
}

static void blocks_keep_neighbours_together(void **state)
{
    struct plan *p = make(700, 5, 2, 1, 3, 1, PLAN_STRATIFIED, PLAN_BLOCK);
    struct plan_sample s;
    uint64_t n = 0, block = 0;

    (void)state;
    for (uint64_t m = 0; n < 700; m++) {
        plan_samples(p, m, &s);
        if (s.source != 0)
            continue;
        if (n % 7 == 0)
            block = s.sequence / 7;
        assert_int_equal(s.sequence / 7, block);
        n++;
    }
    plan_close(&p);
}

static void a_thousand_million_sequences_need_no_list(void **state)
{
    const uint64_t S = 1000000007;
    struct plan *p = make(S, 12, 2, 1, 128, 4, PLAN_STRATIFIED, PLAN_PERMUTATION);
    struct plan_sample a[4], b[4];

    (void)state;
    for (uint64_t m = 0; m < 3000; m++) {
        const uint64_t at = m * 1000003 * 32;
        plan_samples(p, at, a);
        plan_samples(p, at, b);
        assert_int_equal(a[3].sequence, b[3].sequence);
        assert_int_equal(a[0].step, at / 32);
        for (size_t i = 0; i < 4; i++)
            assert_true(a[i].sequence < (a[i].source == 0 ? S : 12));
    }
    plan_close(&p);
}

static void an_independent_mix_has_the_right_share(void **state)
{
    struct plan *p = make(1000, 1000, 2, 1, 4, 4, PLAN_IID, PLAN_PERMUTATION);
    unsigned second = 0;

    (void)state;
    for (uint64_t m = 0; m < 3000; m++)
        second += plan_source(p, m);
    assert_in_range(second, 900, 1100);
    plan_close(&p);
}

static void ranks_share_the_micro_batches_in_runs(void **state)
{
    struct plan *p = make(10, 10, 2, 1, 24, 4, PLAN_STRATIFIED, PLAN_PERMUTATION);
    static const uint64_t worlds[] = { 1, 2, 3, 6 };
    uint64_t begin = 0, end = 0;

    (void)state;
    for (size_t w = 0; w < 4; w++) {
        uint64_t next = 0;
        for (uint64_t r = 0; r < worlds[w]; r++) {
            assert_int_equal(plan_share(p, worlds[w], r, &begin, &end, NULL), ST_OK);
            assert_int_equal(begin, next);
            next = end;
        }
        assert_int_equal(next, 6);
    }
    assert_int_equal(plan_share(p, 4, 0, &begin, &end, NULL), ST_FAIL);
    assert_int_equal(plan_share(p, 2, 2, &begin, &end, NULL), ST_FAIL);
    plan_close(&p);
}

static void an_empty_source_is_refused_by_name(void **state)
{
    const struct plan_source source = { "captions", 0, 1 };
    struct plan_options opt;
    struct error err = { 0 };
    struct plan *p = NULL;

    (void)state;
    plan_options_init(&opt);
    opt.sources = &source;
    opt.n_sources = 1;
    assert_int_equal(plan_open(&p, &opt, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, "captions"));
    assert_null(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_of_three_micro_batches_is_two_to_one),
        cmocka_unit_test(the_mix_is_the_draw_of_the_specification),
        cmocka_unit_test(every_sequence_comes_exactly_once_an_epoch_at_awkward_sizes),
        cmocka_unit_test(epochs_come_in_different_orders),
        cmocka_unit_test(blocks_keep_neighbours_together),
        cmocka_unit_test(a_thousand_million_sequences_need_no_list),
        cmocka_unit_test(an_independent_mix_has_the_right_share),
        cmocka_unit_test(ranks_share_the_micro_batches_in_runs),
        cmocka_unit_test(an_empty_source_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
