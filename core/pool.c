/* core/pool.c: see pool.h. One mutex guards everything; `filled` wakes workers, `drained` wakes
 * submitters, `idle` wakes those who wait for the end. */
#include "core/pool.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "core/mem.h"

struct pool_job {
    pool_run_fn *run;
    void *arg;
};
struct pool {
    pthread_mutex_t lock;
    pthread_cond_t filled, drained, idle;
    struct pool_job *ring;
    size_t cap, head, count; /* waiting jobs: ring[head], ... */
    size_t running;
    bool closing, cancelled;
    struct error first; /* the first failure; CAUSE_NONE: none */
    pthread_t *threads;
    unsigned workers; /* started */
};

/* Runs the oldest waiting job. Called and left with the lock held; count > 0. */
static void run_one(struct pool *p)
{
    const struct pool_job job = p->ring[p->head];
    const bool cancelled = p->cancelled;
    struct error err = { 0 };
    p->head = (p->head + 1) % p->cap;
    p->count--;
    p->running++;
    pthread_cond_signal(&p->drained);
    pthread_mutex_unlock(&p->lock);

    const enum status st = job.run(job.arg, cancelled, &err);

    pthread_mutex_lock(&p->lock);
    p->running--;
    if (st == ST_FAIL && p->first.cause == CAUSE_NONE) {
        if (err.cause == CAUSE_NONE)
            error_set(&err, st, CAUSE_INTERNAL, "a job failed without saying why");
        p->first = err;
        p->cancelled = true;
        pthread_cond_broadcast(&p->drained); /* blocked submitters get ST_STOP */
    }
    if (p->running == 0 && p->count == 0)
        pthread_cond_broadcast(&p->idle);
}

static void *work(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->count == 0 && !p->closing)
            pthread_cond_wait(&p->filled, &p->lock);
        if (p->count == 0)
            break; /* closing, and nothing is left to run */
        run_one(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

enum status pool_open(struct pool **out, unsigned workers, size_t queue, struct error *err)
{
    struct pool *p = mem_calloc(1, sizeof *p);
    *out = p;
    if (!p)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "pool: out of memory");
    pthread_mutex_init(&p->lock, NULL); /* the default kinds cannot fail here */
    pthread_cond_init(&p->filled, NULL);
    pthread_cond_init(&p->drained, NULL);
    pthread_cond_init(&p->idle, NULL);
    p->cap = queue > 0 ? queue : 1;
    p->ring = mem_calloc(p->cap, sizeof *p->ring);
    p->threads = workers > 0 ? mem_calloc(workers, sizeof *p->threads) : NULL;
    if (!p->ring || (workers > 0 && !p->threads)) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "pool: out of memory");
        goto fail;
    }
    for (unsigned i = 0; i < workers; i++) {
        if (pthread_create(&p->threads[i], NULL, work, p) != 0) {
            error_set(err, ST_FAIL, CAUSE_NOMEM, "pool: thread %u of %u cannot be created", i + 1,
                      workers);
            goto fail;
        }
        p->workers = i + 1;
    }
    return ST_OK;
fail:
    pool_close(out, NULL);
    return ST_FAIL;
}

enum status pool_submit(struct pool *p, pool_run_fn *run, void *arg, struct error *err)
{
    enum status st = ST_STOP;
    (void)err;
    pthread_mutex_lock(&p->lock);
    while (p->count == p->cap && !p->cancelled)
        pthread_cond_wait(&p->drained, &p->lock);
    if (!p->cancelled) {
        p->ring[(p->head + p->count) % p->cap] = (struct pool_job){ run, arg };
        p->count++;
        st = ST_OK;
        if (p->workers == 0)
            run_one(p);
        else
            pthread_cond_signal(&p->filled);
    }
    pthread_mutex_unlock(&p->lock);
    return st;
}

bool pool_help(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    const bool any = p->count > 0;
    if (any)
        run_one(p);
    pthread_mutex_unlock(&p->lock);
    return any;
}

/* With the lock held and nothing running. */
static enum status outcome(const struct pool *p, struct error *err)
{
    if (p->first.cause == CAUSE_NONE)
        return p->cancelled ? ST_STOP : ST_OK;
    if (err && err->cause == CAUSE_NONE)
        *err = p->first;
    return ST_FAIL;
}

enum status pool_wait(struct pool *p, struct error *err)
{
    pthread_mutex_lock(&p->lock);
    while (p->count > 0 || p->running > 0)
        pthread_cond_wait(&p->idle, &p->lock);
    const enum status st = outcome(p, err);
    pthread_mutex_unlock(&p->lock);
    return st;
}

void pool_cancel(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->cancelled = true;
    pthread_cond_broadcast(&p->drained);
    pthread_mutex_unlock(&p->lock);
}

enum status pool_close(struct pool **p, struct error *err)
{
    struct pool *q = p ? *p : NULL;
    if (!q)
        return ST_OK;
    pthread_mutex_lock(&q->lock);
    q->closing = true;
    pthread_cond_broadcast(&q->filled);
    pthread_mutex_unlock(&q->lock);
    for (unsigned i = 0; i < q->workers; i++)
        pthread_join(q->threads[i], NULL);
    const enum status st = outcome(q, err);
    pthread_cond_destroy(&q->idle);
    pthread_cond_destroy(&q->drained);
    pthread_cond_destroy(&q->filled);
    pthread_mutex_destroy(&q->lock);
    mem_free(q->threads);
    mem_free(q->ring);
    mem_free(q);
    *p = NULL;
    return st;
}

unsigned cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}
