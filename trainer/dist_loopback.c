/* trainer/dist_loopback.c: N ranks of one process. A collective is two meetings: all ranks publish a
 * pointer to their data and what they call; after the first meeting each reads the others' data into
 * its own result; after the second nobody reads any more. */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/mem.h"
#include "trainer/dist_private.h"

struct post {
    const char *call;
    int64_t count;
    const void *data;
};

struct group {
    pthread_mutex_t lock;
    pthread_cond_t met;
    int world, members, arrived;
    uint64_t meeting; /* how many have been held */
    bool broken;
    double deadline;
    struct post posts[]; /* one a rank */
};

struct member {
    struct group *group;
    int rank;
    uint64_t calls;
};

static struct timespec deadline_after(double seconds)
{
    const double until = clock_seconds() + seconds;
    struct timespec t = { .tv_sec = (time_t)until };
    t.tv_nsec = (long)((until - (double)t.tv_sec) * 1e9);
    return t;
}

static enum status peer_lost(const struct member *m, const char *call, const char *why,
                             struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_PEER, "collective %s number %llu, rank %d of %d: %s", call,
                     (unsigned long long)m->calls, m->rank, m->group->world, why);
}

/* Everybody arrives, or nobody passes. */
static enum status meet(struct member *m, const char *call, struct error *err)
{
    struct group *g = m->group;
    const struct timespec until = deadline_after(g->deadline);
    bool late = false;

    pthread_mutex_lock(&g->lock);
    const uint64_t mine = g->meeting;
    if (++g->arrived == g->world) {
        g->arrived = 0;
        g->meeting++;
        pthread_cond_broadcast(&g->met);
    }
    while (g->meeting == mine && !g->broken && !late)
        late = pthread_cond_timedwait(&g->met, &g->lock, &until) != 0;
    const bool held = g->meeting != mine;
    if (!held) {
        g->broken = true;
        pthread_cond_broadcast(&g->met);
    }
    pthread_mutex_unlock(&g->lock);
    if (held)
        return ST_OK;
    return peer_lost(m, call, late ? "not all ranks came in time" : "another rank gave up", err);
}

/* Publishes, meets, and checks that all ranks call the same thing. */
static enum status begin(struct member *m, const char *call, int64_t count, const void *data,
                         struct error *err)
{
    struct group *g = m->group;
    m->calls++;
    pthread_mutex_lock(&g->lock);
    g->posts[m->rank] = (struct post){ call, count, data };
    pthread_mutex_unlock(&g->lock);
    if (meet(m, call, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < g->world; r++) {
        const struct post *p = &g->posts[r];
        if (strcmp(p->call, call) != 0 || p->count != count)
            return peer_lost(m, call, "the ranks call different collectives", err);
    }
    return ST_OK;
}

static enum status loop_barrier(void *self, struct error *err)
{
    return begin(self, "barrier", 0, NULL, err);
}

static enum status loop_reduce_scatter(void *self, float *part, const float *data,
                                       const int64_t *offsets, struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;
    const int64_t from = offsets[m->rank], to = offsets[m->rank + 1];

    if (begin(m, "reduce-scatter", offsets[g->world], data, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < g->world; r++) {
        const float *theirs = g->posts[r].data;
        for (int64_t i = from; i < to; i++)
            part[i - from] = r == 0 ? theirs[i] : part[i - from] + theirs[i];
    }
    return meet(m, "reduce-scatter", err);
}

static enum status loop_all_gather(void *self, void *data, const int64_t *offsets,
                                   struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;

    if (begin(m, "all-gather", offsets[g->world], data, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < g->world; r++)
        if (r != m->rank && offsets[r + 1] > offsets[r])
            memcpy((uint8_t *)data + offsets[r], (const uint8_t *)g->posts[r].data + offsets[r],
                   (size_t)(offsets[r + 1] - offsets[r]));
    return meet(m, "all-gather", err);
}

static enum status loop_all_sum(void *self, double *values, int count, struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;
    double *sums = NULL;
    enum status st = begin(m, "all-sum", count, values, err);

    if (st == ST_OK && !(sums = mem_calloc((size_t)count + 1, sizeof *sums)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sum of %d values", count);
    for (int r = 0; r < g->world && st == ST_OK; r++)
        for (int i = 0; i < count; i++)
            sums[i] += ((const double *)g->posts[r].data)[i];
    if (st == ST_OK)
        st = meet(m, "all-sum", err);
    if (st == ST_OK)
        memcpy(values, sums, (size_t)count * sizeof *sums);
    mem_free(sums);
    return st == ST_OK ? meet(m, "all-sum", err) : st;
}

static enum status loop_all_max(void *self, int64_t *values, int count, struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;
    int64_t *most = NULL;
    enum status st = begin(m, "all-max", count, values, err);

    if (st == ST_OK && !(most = mem_calloc((size_t)count + 1, sizeof *most)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: maximum of %d values", count);
    for (int r = 0; r < g->world && st == ST_OK; r++)
        for (int i = 0; i < count; i++) {
            const int64_t v = ((const int64_t *)g->posts[r].data)[i];
            most[i] = r == 0 || v > most[i] ? v : most[i];
        }
    if (st == ST_OK)
        st = meet(m, "all-max", err);
    if (st == ST_OK)
        memcpy(values, most, (size_t)count * sizeof *most);
    mem_free(most);
    return st == ST_OK ? meet(m, "all-max", err) : st;
}

static enum status loop_broadcast(void *self, void *data, size_t bytes, int root, struct error *err)
{
    struct member *m = self;
    if (begin(m, "broadcast", (int64_t)bytes, data, err) != ST_OK)
        return ST_FAIL;
    if (m->rank != root && bytes > 0)
        memcpy(data, m->group->posts[root].data, bytes);
    return meet(m, "broadcast", err);
}

static void loop_abort(void *self, int exit_code)
{
    (void)exit_code; /* one process: its end is the caller's */
    struct group *g = ((struct member *)self)->group;
    pthread_mutex_lock(&g->lock);
    g->broken = true;
    pthread_cond_broadcast(&g->met);
    pthread_mutex_unlock(&g->lock);
}

static void loop_close(void *self)
{
    struct group *g = ((struct member *)self)->group;
    pthread_mutex_lock(&g->lock);
    const bool last = --g->members == 0;
    pthread_mutex_unlock(&g->lock);
    if (last) {
        pthread_cond_destroy(&g->met);
        pthread_mutex_destroy(&g->lock);
        mem_free(g);
    }
    mem_free(self);
}

static const struct dist_ops loopback_ops = {
    .name = "loopback",
    .barrier = loop_barrier,
    .reduce_scatter = loop_reduce_scatter,
    .all_gather = loop_all_gather,
    .all_sum = loop_all_sum,
    .all_max = loop_all_max,
    .broadcast = loop_broadcast,
    .abort = loop_abort,
    .close = loop_close,
};

static enum status group_make(struct group **out, int world, double deadline, struct error *err)
{
    pthread_condattr_t attr;
    struct group *g = mem_calloc(1, sizeof *g + (size_t)world * sizeof g->posts[0]);
    if (!g)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: group of %d ranks", world);
    g->world = g->members = world;
    g->deadline = deadline;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    const bool made = pthread_mutex_init(&g->lock, NULL) == 0;
    if (!made || pthread_cond_init(&g->met, &attr) != 0) {
        if (made)
            pthread_mutex_destroy(&g->lock);
        mem_free(g);
        g = NULL;
        error_set(err, ST_FAIL, CAUSE_NOMEM, "no lock for a group of %d ranks", world);
    }
    pthread_condattr_destroy(&attr);
    *out = g;
    return g ? ST_OK : ST_FAIL;
}

enum status dist_loopback_make(struct dist_backend *out, int world, const struct dist_options *opt,
                               struct error *err)
{
    struct group *g = NULL;
    if (group_make(&g, world, opt->deadline_seconds, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < world; r++) {
        struct member *m = mem_alloc(sizeof *m);
        if (!m) {
            g->members = r > 0 ? r : 1;
            for (int made = 0; made < r; made++)
                loop_close(out[made].self);
            if (r == 0)
                mem_free(g);
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: rank %d", r);
        }
        *m = (struct member){ .group = g, .rank = r };
        out[r] = (struct dist_backend){ &loopback_ops, m, r, world, world };
    }
    return ST_OK;
}
