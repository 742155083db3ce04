/* trainer/dist_loopback.c: N ranks of one process. All ranks post a pointer to their data and what they
 * call, and meet, which the deadline limits. Then each reads the others' data into its own result; none leaves
 * before the last has read, whatever became of the collective, for the posts point into its memory. */
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/mem.h"
#include "trainer/dist_private.h"

struct post {
    const char *call;
    int64_t count;          /* elements or bytes, as the call counts */
    int root;               /* broadcast; else 0 */
    const int64_t *offsets; /* NULL where the call has none */
    const void *data;
};

struct group {
    pthread_mutex_t lock;
    pthread_cond_t met;
    int world, members, arrived;
    int readers;      /* ranks of the last meeting that may still read what the others posted */
    uint64_t meeting; /* how many have been held */
    bool broken;      /* no further meeting */
    bool spoiled;     /* the last collective failed on some rank, so on all; then broken, too */
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

static void break_off(struct group *g)
{
    g->broken = true;
    pthread_cond_broadcast(&g->met);
}

/* Everybody arrives, or nobody passes. */
static enum status meet(struct member *m, const struct post *post, struct error *err)
{
    struct group *g = m->group;
    const struct timespec until = deadline_after(g->deadline);
    bool late = false;

    pthread_mutex_lock(&g->lock);
    const uint64_t mine = g->meeting;
    if (!g->broken) {
        g->posts[m->rank] = *post;
        if (++g->arrived == g->world) {
            g->arrived = 0;
            g->readers = g->world;
            g->meeting++;
            pthread_cond_broadcast(&g->met);
        }
    }
    while (g->meeting == mine && !g->broken && !late)
        late = pthread_cond_timedwait(&g->met, &g->lock, &until) != 0;
    const bool held = g->meeting != mine;
    if (!held)
        break_off(g);
    pthread_mutex_unlock(&g->lock);
    if (held)
        return ST_OK;
    return peer_lost(m, post->call, late ? "not all ranks came in time" : "another rank gave up",
                     err);
}

/* Waits until the last rank has read, which takes no longer than reading. Fails where any rank failed. */
static enum status finish(struct member *m, const char *call, enum status st, struct error *err)
{
    struct group *g = m->group;

    pthread_mutex_lock(&g->lock);
    if (st != ST_OK) {
        g->spoiled = true;
        break_off(g);
    }
    if (--g->readers == 0)
        pthread_cond_broadcast(&g->met);
    while (g->readers > 0)
        pthread_cond_wait(&g->met, &g->lock);
    const bool spoiled = g->spoiled;
    pthread_mutex_unlock(&g->lock);
    return st == ST_OK && spoiled ? peer_lost(m, call, "another rank failed", err) : st;
}

static bool alike(const struct post *a, const struct post *b, int world)
{
    return strcmp(a->call, b->call) == 0 && a->count == b->count && a->root == b->root &&
           (!a->offsets ||
            memcmp(a->offsets, b->offsets, ((size_t)world + 1) * sizeof a->offsets[0]) == 0);
}

/* Posts, meets, and checks that all ranks call the same thing. After ST_OK comes finish(). */
static enum status begin(struct member *m, struct post post, struct error *err)
{
    const struct group *g = m->group;
    m->calls++;
    if (meet(m, &post, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < g->world; r++)
        if (!alike(&post, &g->posts[r], g->world)) {
            peer_lost(m, post.call, "the ranks call different collectives", err);
            return finish(m, post.call, ST_FAIL, err);
        }
    return ST_OK;
}

static enum status loop_barrier(void *self, struct error *err)
{
    if (begin(self, (struct post){ .call = "barrier" }, err) != ST_OK)
        return ST_FAIL;
    return finish(self, "barrier", ST_OK, err);
}

static enum status loop_reduce_scatter(void *self, float *part, const float *data,
                                       const int64_t *offsets, struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;
    const int64_t from = offsets[m->rank], to = offsets[m->rank + 1];
    const struct post post = { "reduce-scatter", offsets[g->world], 0, offsets, data };

    if (begin(m, post, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < g->world; r++) {
        const float *theirs = g->posts[r].data;
        for (int64_t i = from; i < to; i++)
            part[i - from] = r == 0 ? theirs[i] : part[i - from] + theirs[i];
    }
    return finish(m, post.call, ST_OK, err);
}

static enum status loop_all_gather(void *self, void *data, const int64_t *offsets,
                                   struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;
    const struct post post = { "all-gather", offsets[g->world], 0, offsets, data };

    if (begin(m, post, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < g->world; r++)
        if (r != m->rank && offsets[r + 1] > offsets[r])
            memcpy((uint8_t *)data + offsets[r], (const uint8_t *)g->posts[r].data + offsets[r],
                   (size_t)(offsets[r + 1] - offsets[r]));
    return finish(m, post.call, ST_OK, err);
}

static enum status loop_all_sum(void *self, double *values, int count, struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;
    const struct post post = { .call = "all-sum", .count = count, .data = values };
    enum status st = begin(m, post, err);

    if (st != ST_OK)
        return st;
    double *sums = mem_calloc((size_t)count + 1, sizeof *sums);
    if (!sums)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sum of %d values", count);
    for (int r = 0; r < g->world && sums; r++)
        for (int i = 0; i < count; i++)
            sums[i] += ((const double *)g->posts[r].data)[i];
    st = finish(m, post.call, st, err);
    if (st == ST_OK && sums)
        memcpy(values, sums, (size_t)count * sizeof *sums);
    mem_free(sums);
    return st;
}

static enum status loop_all_max(void *self, int64_t *values, int count, struct error *err)
{
    struct member *m = self;
    const struct group *g = m->group;
    const struct post post = { .call = "all-max", .count = count, .data = values };
    enum status st = begin(m, post, err);

    if (st != ST_OK)
        return st;
    int64_t *most = mem_calloc((size_t)count + 1, sizeof *most);
    if (!most)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: maximum of %d values", count);
    for (int r = 0; r < g->world && most; r++)
        for (int i = 0; i < count; i++) {
            const int64_t v = ((const int64_t *)g->posts[r].data)[i];
            most[i] = r == 0 || v > most[i] ? v : most[i];
        }
    st = finish(m, post.call, st, err);
    if (st == ST_OK && most)
        memcpy(values, most, (size_t)count * sizeof *most);
    mem_free(most);
    return st;
}

static enum status loop_broadcast(void *self, void *data, size_t bytes, int root, struct error *err)
{
    struct member *m = self;
    const struct post post = { "broadcast", (int64_t)bytes, root, NULL, data };

    if (begin(m, post, err) != ST_OK)
        return ST_FAIL;
    if (m->rank != root && bytes > 0)
        memcpy(data, m->group->posts[root].data, bytes);
    return finish(m, post.call, ST_OK, err);
}

static void loop_abort(void *self, int exit_code)
{
    (void)exit_code; /* one process: its end is the caller's */
    struct group *g = ((struct member *)self)->group;
    pthread_mutex_lock(&g->lock);
    break_off(g);
    pthread_mutex_unlock(&g->lock);
}

static void loop_close(void *self)
{
    struct group *g = ((struct member *)self)->group;
    pthread_mutex_lock(&g->lock);
    const bool last = --g->members == 0;
    break_off(g); /* without this rank nobody can meet any more */
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
