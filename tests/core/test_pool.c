/* tests/core/test_pool.c: every accepted job runs once, whatever the workers, failures and cancels. */
#include "tests/support/support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/pool.h"

enum { JOBS = 500 };

struct job {
    atomic_int calls, told;
    bool fail;
    int number;
};
static struct job jobs[JOBS];
static const unsigned workers[] = { 0, 1, 2, 7 };

static enum status run(void *arg, bool cancelled, struct error *err)
{
    struct job *j = arg;
    atomic_fetch_add(&j->calls, 1);
    if (cancelled) {
        atomic_store(&j->told, 1);
        return ST_STOP;
    }
    return j->fail ? error_set(err, ST_FAIL, CAUSE_FORMAT, "job %d", j->number) : ST_OK;
}

static void prepare(int failing)
{
    for (int i = 0; i < JOBS; i++) {
        atomic_store(&jobs[i].calls, 0);
        atomic_store(&jobs[i].told, 0);
        jobs[i].fail = i == failing;
        jobs[i].number = i;
    }
}

static void every_job_runs_once(void **state)
{
    (void)state;
    for (size_t w = 0; w < 4; w++) {
        struct pool *p = NULL;
        struct error err = { 0 };
        prepare(-1);
        assert_int_equal(pool_open(&p, workers[w], 3, &err), ST_OK);
        for (int i = 0; i < JOBS; i++) {
            assert_int_equal(pool_submit(p, run, &jobs[i], &err), ST_OK);
            if (i % 5 == 0)
                pool_help(p);
            if (i == JOBS / 2)
                assert_int_equal(pool_wait(p, &err), ST_OK);
        }
        assert_int_equal(pool_close(&p, &err), ST_OK);
        assert_null(p);
        for (int i = 0; i < JOBS; i++)
            assert_int_equal(atomic_load(&jobs[i].calls), 1);
    }
}

static void the_first_failure_cancels_and_is_reported(void **state)
{
    (void)state;
    for (size_t w = 0; w < 4; w++) {
        struct pool *p = NULL;
        struct error err = { 0 };
        int accepted = 0, done = 0;
        prepare(40);
        assert_int_equal(pool_open(&p, workers[w], 4, &err), ST_OK);
        while (accepted < JOBS && pool_submit(p, run, &jobs[accepted], &err) == ST_OK)
            accepted++;
        assert_true(accepted > 40);
        assert_int_equal(pool_wait(p, &err), ST_FAIL);
        assert_string_equal(err.text, "job 40");
        assert_int_equal(pool_submit(p, run, &jobs[JOBS - 1], &err), ST_STOP);
        error_clear(&err);
        assert_int_equal(pool_close(&p, &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_FORMAT);
        for (int i = 0; i < JOBS; i++)
            done += atomic_load(&jobs[i].calls) == 1;
        assert_int_equal(done, accepted);
    }
}

static enum status slow(void *arg, bool cancelled, struct error *err)
{
    (void)err;
    if (!cancelled)
        usleep(2000);
    atomic_fetch_add((atomic_int *)arg, 1);
    return ST_OK;
}

static void *cancel_soon(void *arg)
{
    usleep(10000);
    pool_cancel(arg);
    return NULL;
}

static void a_blocked_submitter_is_freed_by_cancel(void **state)
{
    struct pool *p = NULL;
    struct error err = { 0 };
    atomic_int calls = 0;
    pthread_t other;
    int accepted = 0;
    (void)state;

    assert_int_equal(pool_open(&p, 1, 1, &err), ST_OK);
    assert_int_equal(pthread_create(&other, NULL, cancel_soon, p), 0);
    while (pool_submit(p, slow, &calls, &err) == ST_OK)
        accepted++;
    pthread_join(other, NULL);
    assert_int_equal(pool_wait(p, &err), ST_STOP);
    assert_int_equal(pool_close(&p, &err), ST_STOP);
    assert_int_equal(err.cause, CAUSE_NONE);
    assert_int_equal(atomic_load(&calls), accepted);
}

static void a_pool_without_memory_is_not_opened(void **state)
{
    bool done = false;
    (void)state;
    for (uint64_t k = 1; !done; k++) {
        struct pool *p = NULL;
        struct error err = { 0 };
        mem_fail_at(k, false);
        done = pool_open(&p, 2, 2, &err) == ST_OK;
        mem_fail_at(0, false);
        if (!done) {
            assert_null(p);
            assert_int_equal(err.cause, CAUSE_NOMEM);
        }
        pool_close(&p, NULL);
        assert_true(k < 10);
    }
}

static void at_least_one_core_is_there(void **state)
{
    (void)state;
    assert_true(cpu_count() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_job_runs_once),
        cmocka_unit_test(the_first_failure_cancels_and_is_reported),
        cmocka_unit_test(a_blocked_submitter_is_freed_by_cancel),
        cmocka_unit_test(a_pool_without_memory_is_not_opened),
        cmocka_unit_test(at_least_one_core_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
