/* tests/trainer/test_dist.c: the collectives between ranks of one process. Threads stand for ranks. */
#include "tests/support/support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "trainer/dist.h"

enum { MOST = 8, ELEMENTS = 1003 };

struct rank_run {
    struct dist *d;
    void (*body)(struct rank_run *run);
    float part[ELEMENTS];
    double sum;
    int64_t most;
    enum status st;
    struct error err;
};

static void *run_one(void *arg)
{
    struct rank_run *run = arg;
    run->body(run);
    return NULL;
}

static struct rank_run *run_all(int world, double deadline, void (*body)(struct rank_run *))
{
    const struct dist_options opt = { .deadline_seconds = deadline };
    struct dist *ranks[MOST];
    pthread_t threads[MOST];
    struct error err = { 0 };
    struct rank_run *runs = calloc((size_t)world, sizeof *runs);

    assert_non_null(runs);
    assert_int_equal(dist_open_loopback(ranks, world, &opt, &err), ST_OK);
    for (int r = 0; r < world; r++) {
        runs[r].d = ranks[r];
        runs[r].body = body;
        assert_int_equal(pthread_create(&threads[r], NULL, run_one, &runs[r]), 0);
    }
    for (int r = 0; r < world; r++)
        pthread_join(threads[r], NULL);
    for (int r = 0; r < world; r++)
        dist_close(&ranks[r]);
    return runs;
}

/* Element i of rank r: large and small values, so that another order of the sum gives other bits. */
static float element(int r, int64_t i)
{
    return (r % 2 ? 1e6f : 1e-3f) * (float)(i % 7 + 1) * (float)(r + 1);
}

static void offsets_of(int64_t *offsets, int world)
{
    for (int r = 0; r <= world; r++)
        offsets[r] =
            (int64_t)ELEMENTS * r * r / (world * world); /* unequal parts, the first may be 0 */
}

static void scatter_and_gather(struct rank_run *run)
{
    float data[ELEMENTS];
    int64_t offsets[MOST + 1], bytes[MOST + 1];
    const int world = dist_size(run->d), rank = dist_rank(run->d);

    offsets_of(offsets, world);
    for (int64_t i = 0; i < ELEMENTS; i++)
        data[i] = element(rank, i);
    run->st = dist_reduce_scatter(run->d, run->part, data, offsets, &run->err);
    if (run->st != ST_OK)
        return;
    memcpy(data + offsets[rank], run->part,
           (size_t)(offsets[rank + 1] - offsets[rank]) * sizeof data[0]);
    for (int r = 0; r <= world; r++)
        bytes[r] = offsets[r] * (int64_t)sizeof data[0];
    run->st = dist_all_gather(run->d, data, bytes, &run->err);
    memcpy(run->part, data, sizeof data);
    run->sum = 1.0 / (rank + 1);
    run->most = 10 - rank;
    if (run->st == ST_OK)
        run->st = dist_all_sum(run->d, &run->sum, 1, &run->err);
    if (run->st == ST_OK)
        run->st = dist_all_max(run->d, &run->most, 1, &run->err);
}

static void sums_run_in_rank_order_on_every_rank(void **state)
{
    (void)state;
    for (int world = 1; world <= MOST; world++) {
        struct rank_run *runs = run_all(world, 20.0, scatter_and_gather);
        double sum = 0.0;
        for (int r = 0; r < world; r++)
            sum += 1.0 / (r + 1);
        for (int r = 0; r < world; r++) {
            assert_int_equal(runs[r].st, ST_OK);
            assert_true(runs[r].sum == sum);
            assert_int_equal(runs[r].most, 10);
            for (int64_t i = 0; i < ELEMENTS; i++) {
                float want = element(0, i);
                for (int from = 1; from < world; from++)
                    want += element(from, i);
                assert_true(runs[r].part[i] == want);
            }
        }
        free(runs);
    }
}

static void one_rank_stays_away(struct rank_run *run)
{
    run->st = dist_rank(run->d) == 1 ? ST_STOP : dist_barrier(run->d, &run->err);
}

static void a_rank_that_does_not_come_fails_the_others(void **state)
{
    (void)state;
    struct rank_run *runs = run_all(3, 0.2, one_rank_stays_away);
    for (int r = 0; r < 3; r += 2) {
        assert_int_equal(runs[r].st, ST_FAIL);
        assert_int_equal(runs[r].err.cause, CAUSE_PEER);
        assert_non_null(strstr(runs[r].err.text, "barrier"));
    }
    free(runs);
}

static void ranks_disagree(struct rank_run *run)
{
    run->st = dist_rank(run->d) == 1 ? dist_all_sum(run->d, &run->sum, 1, &run->err)
                                     : dist_barrier(run->d, &run->err);
}

static void different_collectives_are_noticed(void **state)
{
    (void)state;
    struct rank_run *runs = run_all(2, 20.0, ranks_disagree);
    for (int r = 0; r < 2; r++)
        assert_int_equal(runs[r].err.cause, CAUSE_PEER);
    free(runs);
}

static void roots_differ(struct rank_run *run)
{
    run->sum = dist_rank(run->d);
    run->st = dist_broadcast(run->d, &run->sum, sizeof run->sum, dist_rank(run->d) == 2, &run->err);
}

static void cuts_differ(struct rank_run *run)
{
    float data[ELEMENTS] = { 0 };
    const int64_t offsets[4] = { 0, 10, dist_rank(run->d) == 2 ? 21 : 20, 30 };
    run->st = dist_reduce_scatter(run->d, run->part, data, offsets, &run->err);
}

static void other_roots_and_other_cuts_of_the_same_whole_are_noticed(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        struct rank_run *runs = run_all(3, 20.0, which ? cuts_differ : roots_differ);
        for (int r = 0; r < 3; r++) {
            assert_int_equal(runs[r].st, ST_FAIL);
            assert_int_equal(runs[r].err.cause, CAUSE_PEER);
        }
        free(runs);
    }
}

static void one_gives_up(struct rank_run *run)
{
    if (dist_rank(run->d) == 0)
        dist_abort(run->d, 76);
    else
        run->st = dist_barrier(run->d, &run->err);
}

static void a_rank_that_gives_up_releases_the_others(void **state)
{
    (void)state;
    struct rank_run *runs = run_all(4, 60.0, one_gives_up);
    for (int r = 1; r < 4; r++)
        assert_int_equal(runs[r].err.cause, CAUSE_PEER);
    free(runs);
}

static void broadcast_root_2(struct rank_run *run)
{
    run->sum = dist_rank(run->d);
    run->st = dist_broadcast(run->d, &run->sum, sizeof run->sum, 2, &run->err);
}

static void a_broadcast_reaches_every_rank(void **state)
{
    (void)state;
    struct rank_run *runs = run_all(4, 20.0, broadcast_root_2);
    for (int r = 0; r < 4; r++)
        assert_true(runs[r].st == ST_OK && runs[r].sum == 2.0);
    free(runs);
}

static void opening_survives_each_failed_allocation(void **state)
{
    struct dist *ranks[3];
    struct error err = { 0 };
    (void)state;

    for (uint64_t k = 1;; k++) {
        error_clear(&err);
        mem_fail_at(k, false);
        const enum status st = dist_open_loopback(ranks, 3, NULL, &err);
        const uint64_t asked = mem_fail_at(0, false);
        if (st == ST_OK) {
            for (int r = 0; r < 3; r++)
                dist_close(&ranks[r]);
            assert_true(asked < k);
            break;
        }
        assert_int_equal(err.cause, CAUSE_NOMEM);
        assert_null(ranks[0]);
    }
}

static void a_launcher_variable_that_is_no_number_is_refused(void **state)
{
    struct dist *d = NULL;
    struct error err = { 0 };
    (void)state;

    setenv("OMPI_COMM_WORLD_SIZE", "two", 1);
    assert_int_equal(dist_open(&d, NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, "OMPI_COMM_WORLD_SIZE"));
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    setenv("OMPI_COMM_WORLD_RANK", "2", 1);
    error_clear(&err);
    assert_int_equal(dist_open(&d, NULL, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    unsetenv("OMPI_COMM_WORLD_SIZE");
    unsetenv("OMPI_COMM_WORLD_RANK");
    error_clear(&err);
    assert_int_equal(dist_open(&d, NULL, &err), ST_OK);
    assert_int_equal(dist_size(d), 1);
    dist_close(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_run_in_rank_order_on_every_rank),
        cmocka_unit_test(a_rank_that_does_not_come_fails_the_others),
        cmocka_unit_test(different_collectives_are_noticed),
        cmocka_unit_test(other_roots_and_other_cuts_of_the_same_whole_are_noticed),
        cmocka_unit_test(a_rank_that_gives_up_releases_the_others),
        cmocka_unit_test(a_broadcast_reaches_every_rank),
        cmocka_unit_test(opening_survives_each_failed_allocation),
        cmocka_unit_test(a_launcher_variable_that_is_no_number_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
