/* tests/trainer/test_dist_faults.c: training steps of N ranks in one process, everything drawn by seed: ranks,
 * sizes, collectives, yields, and often a fault of one rank. Without a fault every rank ends with the bits
 * of one rank that adds in rank order; with one all others fail with CAUSE_PEER after the same step, and
 * a fresh group goes on from there to the same bits (robustness.md T20, its ranks and collectives).
 * test_trainer_dist_faults [seeds [first seed]]; a failure names the seed. */
#include "tests/support/support.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/rng.h"
#include "tests/trainer/dist_plan.h"
#include "trainer/dist.h"
#include "trainer/optimizer.h"

struct rank_run {
    struct plan *plan;
    struct dist *d;
    bool faulty;
    struct params *params;
    struct optimizer *optimizer;
    struct rng yields;
    int done;              /* steps */
    struct state saved[2]; /* the last is saved[done % 2] */
    enum status st, again;
    struct error err, again_err;
    bool wrong; /* data with success that are not one rank's */
    double waited;
};

static double summed(const struct plan *p, const struct op *op, int64_t i)
{
    double sum = 0.0;
    for (int r = 0; r < p->world; r++)
        sum += (double)dist_plan_element(p, op->salt, r, i);
    return sum;
}

static enum status call_reduce(struct rank_run *run, const struct op *op)
{
    const struct plan *p = run->plan;
    const int rank = dist_rank(run->d);
    float data[COUNT + 1], part[COUNT + 1];

    for (int i = 0; i < op->count; i++)
        data[i] = dist_plan_element(p, op->salt, rank, i);
    const enum status st = dist_reduce_scatter(run->d, part, data, op->offsets, &run->err);
    for (int64_t i = op->offsets[rank]; i < op->offsets[rank + 1] && st == ST_OK; i++) {
        float want = dist_plan_element(p, op->salt, 0, i);
        for (int r = 1; r < p->world; r++)
            want += dist_plan_element(p, op->salt, r, i);
        run->wrong |= part[i - op->offsets[rank]] != want;
    }
    return st;
}

static enum status call_gather(struct rank_run *run, const struct op *op)
{
    const struct plan *p = run->plan;
    const int rank = dist_rank(run->d);
    float data[COUNT + 1] = { 0 };
    int64_t bytes[WORLDS + 1];

    for (int r = 0; r <= p->world; r++)
        bytes[r] = op->offsets[r] * (int64_t)sizeof data[0];
    for (int64_t i = op->offsets[rank]; i < op->offsets[rank + 1]; i++)
        data[i] = dist_plan_element(p, op->salt, rank, i);
    const enum status st = dist_all_gather(run->d, data, bytes, &run->err);
    for (int r = 0; r < p->world && st == ST_OK; r++)
        for (int64_t i = op->offsets[r]; i < op->offsets[r + 1]; i++)
            run->wrong |= data[i] != dist_plan_element(p, op->salt, r, i);
    return st;
}

static enum status call_sum(struct rank_run *run, const struct op *op)
{
    double values[COUNT + 1];
    for (int i = 0; i < op->count; i++)
        values[i] = (double)dist_plan_element(run->plan, op->salt, dist_rank(run->d), i);
    const enum status st = dist_all_sum(run->d, values, op->count, &run->err);
    for (int i = 0; i < op->count && st == ST_OK; i++)
        run->wrong |= values[i] != summed(run->plan, op, i);
    return st;
}

static enum status call_max(struct rank_run *run, const struct op *op)
{
    const struct plan *p = run->plan;
    int64_t values[COUNT + 1];
    for (int i = 0; i < op->count; i++)
        values[i] = llrintf(dist_plan_element(p, op->salt, dist_rank(run->d), i));
    const enum status st = dist_all_max(run->d, values, op->count, &run->err);
    for (int i = 0; i < op->count && st == ST_OK; i++) {
        int64_t most = INT64_MIN;
        for (int r = 0; r < p->world; r++) {
            const int64_t v = llrintf(dist_plan_element(p, op->salt, r, i));
            most = v > most ? v : most;
        }
        run->wrong |= values[i] != most;
    }
    return st;
}

static enum status call_broadcast(struct rank_run *run, const struct op *op)
{
    float data[COUNT + 1];
    for (int i = 0; i < op->count; i++)
        data[i] = dist_plan_element(run->plan, op->salt, dist_rank(run->d), i);
    const enum status st =
        dist_broadcast(run->d, data, (size_t)op->count * sizeof data[0], op->root, &run->err);
    for (int i = 0; i < op->count && st == ST_OK; i++)
        run->wrong |= data[i] != dist_plan_element(run->plan, op->salt, op->root, i);
    return st;
}

static enum status call(struct rank_run *run, const struct op *op)
{
    switch (op->kind) {
    case REDUCE_SCATTER:
        return call_reduce(run, op);
    case ALL_GATHER:
        return call_gather(run, op);
    case ALL_SUM:
        return call_sum(run, op);
    case ALL_MAX:
        return call_max(run, op);
    case BROADCAST:
        return call_broadcast(run, op);
    default:
        return dist_barrier(run->d, &run->err);
    }
}

static size_t state_bytes(const struct plan *p)
{
    return (size_t)p->elements * sizeof(float);
}

static enum status save(struct rank_run *run, struct state *to)
{
    const enum status st = optimizer_gather(run->optimizer, to->m, to->v, &run->err);
    memcpy(to->values, run->params->values, state_bytes(run->plan));
    to->updates = optimizer_steps(run->optimizer);
    return st;
}

static bool same(const struct plan *p, const struct state *a, const struct state *b)
{
    const size_t bytes = state_bytes(p);
    return memcmp(a->values, b->values, bytes) == 0 && memcmp(a->m, b->m, bytes) == 0 &&
           memcmp(a->v, b->v, bytes) == 0 && a->updates == b->updates;
}

/* ST_OK also where the step was skipped for a gradient that is not finite, as the plan says. */
static enum status update(struct rank_run *run)
{
    const struct plan *p = run->plan;
    struct optimizer_report report;
    const enum status st =
        optimizer_step(run->optimizer, 1.0 / p->world, schedule_factor(run->done + 1, 2, STEPS + 2),
                       &report, &run->err);
    if (st == ST_OK || st == ST_SKIP)
        run->wrong |= (st == ST_SKIP) != (run->done == p->bad_step);
    return st == ST_SKIP ? ST_OK : st;
}

/* The fault. ST_OK: the rank goes on, too late; else it is out, or its call has failed. */
static enum status misbehave(struct rank_run *run)
{
    struct plan *p = run->plan;
    const struct timespec ms = { .tv_nsec = 1000000 };

    switch (p->fault) {
    case ABORTS:
        dist_abort(run->d, 76);
        return ST_STOP;
    case LEAVES:
        dist_close(&run->d);
        return ST_STOP;
    case STALLS:
        while (atomic_load(&p->ended) < p->world - 1)
            nanosleep(&ms, NULL);
        return ST_OK;
    default:
        return call(run, &p->wrong);
    }
}

static enum status step_part(struct rank_run *run, int at)
{
    const struct plan *p = run->plan;
    const int n = p->n_ops[run->done], rank = dist_rank(run->d);

    for (uint64_t k = rng_below(&run->yields, 8); k > 5; k--)
        sched_yield();
    if (run->faulty && run->done == p->fault_step && at == p->fault_at) {
        const enum status st = misbehave(run);
        if (st != ST_OK)
            return st;
        if (p->fault == DISAGREES)
            run->wrong = true; /* its call agreed with no other */
    }
    const double begun = clock_seconds();
    enum status st = ST_OK;
    if (at < n) {
        st = call(run, &p->ops[run->done][at]);
    } else if (at == n) {
        for (int64_t i = 0; i < p->elements; i++)
            run->params->gradients[i] =
                dist_plan_gradient(p, run->done, rank, i, run->params->values[i]);
        st = update(run);
    } else {
        st = save(run, &run->saved[(run->done + 1) % 2]);
    }
    run->waited = clock_seconds() - begun;
    return st;
}

/* From the call after the failed one, which then must fail without it. */
static bool stays_away(const struct rank_run *run)
{
    return !run->d || (run->faulty && run->plan->fault == DISAGREES);
}

static void *run_one(void *arg)
{
    struct rank_run *run = arg;
    const struct plan *p = run->plan;

    while (run->done < p->steps && run->st == ST_OK) {
        for (int at = 0; at < p->n_ops[run->done] + 2 && run->st == ST_OK; at++)
            run->st = step_part(run, at);
        if (run->st == ST_OK) {
            run->done++;
            run->wrong |= !same(p, &run->saved[run->done % 2], &p->states[run->done]);
        }
    }
    if (run->st != ST_OK && !stays_away(run)) {
        const double begun = clock_seconds();
        run->again = dist_barrier(run->d, &run->again_err);
        run->waited = fmax(run->waited, clock_seconds() - begun);
    }
    atomic_fetch_add(&run->plan->ended, 1);
    return NULL;
}

static bool every(const void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return true;
}

static void rates(const void *arg, const char *name, double *lr, double *weight_decay)
{
    (void)arg;
    *lr = name[0] == 'a' ? 1e-2 : 3e-3;
    *weight_decay = name[0] == 'a' ? 0.1 : 0.0;
}

static void state_open(const struct plan *p, struct state *s)
{
    float *block = calloc((size_t)p->elements, 3 * sizeof *block);
    assert_non_null(block);
    *s = (struct state){ block, block + p->elements, block + 2 * p->elements, 0 };
}

static struct params *make_params(const struct plan *p)
{
    static const char *const names[] = { "a", "b" };
    struct params *params = NULL;
    struct error err = { 0 };
    size_t index = 0;

    assert_int_equal(params_open(&params, every, NULL, &err), ST_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(params_declare(params, &index, names[i], &p->sizes[i], 1, &err), ST_OK);
    assert_int_equal(params_allocate(params, &err), ST_OK);
    return params;
}

static void rank_open(struct rank_run *run, struct plan *p, struct dist *d, int done,
                      const struct state *from)
{
    const struct optimizer_settings settings = { 0.9, 0.99, 1e-8, 1.0, 1e-6 };
    struct rng_key key;

    *run = (struct rank_run){ .plan = p, .d = d, .done = done };
    rng_key_init(&key, p->seed, "test yields");
    rng_key_integer(&key, d ? (uint64_t)dist_rank(d) : 0);
    rng_init(&run->yields, &key);
    state_open(p, &run->saved[0]);
    state_open(p, &run->saved[1]);
    run->params = make_params(p);
    memcpy(run->params->values, from->values, state_bytes(p));
    assert_int_equal(
        optimizer_open(&run->optimizer, run->params, NULL, d, &settings, rates, NULL, &run->err),
        ST_OK);
    assert_int_equal(optimizer_restore(run->optimizer, from->m, from->v, from->updates, &run->err),
                     ST_OK);
}

static void rank_close(struct rank_run *run)
{
    optimizer_close(&run->optimizer);
    params_close(&run->params);
    dist_close(&run->d);
    free(run->saved[0].values);
    free(run->saved[1].values);
}

/* One rank, which adds the gradients of all in rank order. */
static void run_alone(struct plan *p)
{
    struct params *sized = make_params(p);
    struct rank_run run;

    p->elements = sized->trainable_elements;
    params_close(&sized);
    state_open(p, &p->states[0]);
    for (int64_t i = 0; i < p->elements; i++)
        p->states[0].values[i] = dist_plan_element(p, 5, 0, i);
    rank_open(&run, p, NULL, 0, &p->states[0]);
    for (; run.done < p->steps; run.done++) {
        for (int64_t i = 0; i < p->elements; i++) {
            const float value = run.params->values[i];
            float sum = dist_plan_gradient(p, run.done, 0, i, value);
            for (int r = 1; r < p->world; r++)
                sum += dist_plan_gradient(p, run.done, r, i, value);
            run.params->gradients[i] = sum;
        }
        assert_int_equal(update(&run), ST_OK);
        state_open(p, &p->states[run.done + 1]);
        assert_int_equal(save(&run, &p->states[run.done + 1]), ST_OK);
    }
    assert_false(run.wrong);
    rank_close(&run);
}

static void run_group(struct rank_run *runs, struct plan *p, bool faulty, int done,
                      const struct state *from)
{
    const struct dist_options opt = { .deadline_seconds = faulty ? p->deadline : PATIENCE };
    struct dist *ranks[WORLDS];
    pthread_t threads[WORLDS];
    struct error err = { 0 };

    atomic_store(&p->ended, 0);
    assert_int_equal(dist_open_loopback(ranks, p->world, &opt, &err), ST_OK);
    for (int r = 0; r < p->world; r++) {
        rank_open(&runs[r], p, ranks[r], done, from);
        runs[r].faulty = faulty && r == p->fault_rank;
    }
    for (int r = 0; r < p->world; r++)
        assert_int_equal(pthread_create(&threads[r], NULL, run_one, &runs[r]), 0);
    for (int r = 0; r < p->world; r++)
        assert_int_equal(pthread_join(threads[r], NULL), 0);
}

static void hold(const struct rank_run *run, int rank, bool holds, const char *what)
{
    const struct plan *p = run->plan;
    if (!holds)
        fail_msg("seed %llu: rank %d of %d, fault %d of rank %d in step %d at %d: not so: %s; "
                 "status %d after %d steps, %.3f s: %s",
                 (unsigned long long)p->seed, rank, p->world, (int)p->fault, p->fault_rank,
                 p->fault_step, p->fault_at, what, (int)run->st, run->done, run->waited,
                 run->err.text);
}

static void check_whole(const struct rank_run *runs, const struct plan *p)
{
    for (int r = 0; r < p->world; r++) {
        hold(&runs[r], r, runs[r].st == ST_OK && runs[r].done == p->steps, "ends without fault");
        hold(&runs[r], r, !runs[r].wrong, "the bits of one rank");
    }
}

static void check_broken(const struct rank_run *runs, const struct plan *p)
{
    const bool stalls = p->fault == STALLS, gone = p->fault == ABORTS || p->fault == LEAVES;

    for (int r = 0; r < p->world; r++) {
        const struct rank_run *run = &runs[r];
        hold(run, r, run->done == runs[0].done, "all stand after the same step");
        /* a short deadline may pass before the stall, where the machine is busy */
        hold(run, r, stalls ? run->done <= p->fault_step : run->done == p->fault_step,
             "no step is done after the fault");
        hold(run, r, !run->wrong, "success only with the bits of one rank");
        hold(run, r, run->waited < (stalls ? p->deadline + 5.0 : PATIENCE / 2.0), "in time");
        if (!stays_away(run))
            hold(run, r, run->again == ST_FAIL && run->again_err.cause == CAUSE_PEER,
                 "the group stays broken");
        if (r == p->fault_rank && gone)
            hold(run, r, run->st == ST_STOP, "the fault came");
        else
            hold(run, r, run->st == ST_FAIL && run->err.cause == CAUSE_PEER, "fails by a peer");
    }
}

static void close_all(struct rank_run *runs, int world)
{
    for (int r = 0; r < world; r++)
        rank_close(&runs[r]);
}

static enum fault try_seed(uint64_t seed)
{
    struct rank_run runs[WORLDS], fresh[WORLDS];
    struct plan *p = calloc(1, sizeof *p);

    assert_non_null(p);
    dist_plan_draw(p, seed);
    run_alone(p);
    run_group(runs, p, p->fault != NONE, 0, &p->states[0]);
    if (p->fault == NONE) {
        check_whole(runs, p);
    } else {
        check_broken(runs, p);
        const struct rank_run *left = &runs[(p->fault_rank + 1) % p->world];
        const struct state *from = left->done > 0 ? &left->saved[left->done % 2] : &p->states[0];
        run_group(fresh, p, false, left->done, from);
        check_whole(fresh, p);
        close_all(fresh, p->world);
    }
    close_all(runs, p->world);
    for (int s = 0; s <= p->steps; s++)
        free(p->states[s].values);
    const enum fault fault = p->fault;
    free(p);
    return fault;
}

static void ranks_agree_or_fail_together(void **state)
{
    const uint64_t *seeds = *state; /* first, count */
    int seen[FAULTS] = { 0 };

    for (uint64_t i = 0; i < seeds[1]; i++)
        seen[try_seed(seeds[0] + i)]++;
    print_message("seeds %llu to %llu: %d without fault, %d abort, %d leave, %d stall, "
                  "%d disagree\n",
                  (unsigned long long)seeds[0], (unsigned long long)(seeds[0] + seeds[1] - 1),
                  seen[NONE], seen[ABORTS], seen[LEAVES], seen[STALLS], seen[DISAGREES]);
}

int main(int argc, char **argv)
{
    uint64_t seeds[2] = { argc > 2 ? strtoull(argv[2], NULL, 10) : 0,
                          argc > 1 ? strtoull(argv[1], NULL, 10) : 100 };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(ranks_agree_or_fail_together, seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
