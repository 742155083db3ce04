/* trainer/train_profile.c: see train_profile.h. */
#include "trainer/train_profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"

bool profile_plain(const struct train_profile *p)
{
    return p && p->steps > 0 && p->n_plain < p->plain_steps;
}

bool profile_ledger(const struct train_profile *p)
{
    return p && p->steps > 0 && !profile_plain(p) && p->n_ledger < p->ledger_steps;
}

int64_t profile_resident(bool most)
{
    struct buffer text;
    struct error ignored = { 0 };
    const char *key = most ? "VmHWM:" : "VmRSS:";
    int64_t bytes = 0;

    buffer_init(&text);
    if (file_read_all(&text, "/proc/self/status", 1 << 16, &ignored) == ST_OK &&
        buffer_append(&text, "", 1, &ignored) == ST_OK) {
        const char *at = strstr((const char *)text.data, key);
        bytes = at ? 1024 * strtoll(at + strlen(key), NULL, 10) : 0;
    }
    buffer_clear(&text);
    return bytes;
}

enum status profile_watch(struct deem *m, struct runner *r, struct error *err)
{
    struct runner_seconds *times = mem_calloc((size_t)m->p->n_nodes + 1, sizeof *times);
    if (!times)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: ledger");
    runner_watch(r, times);
    return ST_OK;
}

static struct profile_row *row_of(struct profile_row *rows, int *n, const char *name)
{
    for (int i = 0; i < *n; i++)
        if (strcmp(rows[i].name, name) == 0)
            return &rows[i];
    if (*n == PROFILE_ROWS_MAX) /* more than anybody reads: the last one takes the rest */
        return &rows[PROFILE_ROWS_MAX - 1];
    rows[*n] = (struct profile_row){ 0 };
    snprintf(rows[*n].name, sizeof rows[*n].name, "%s", name);
    return &rows[(*n)++];
}

/* The outermost span that holds the node, or NULL: spans lie in order of their begin. */
static const struct span *span_of(const struct program *p, int node)
{
    for (int i = 0; i < p->n_spans; i++)
        if (node >= p->spans[i].begin && node < p->spans[i].end)
            return &p->spans[i];
    return NULL;
}

struct runner_seconds profile_now(void)
{
    return (struct runner_seconds){ clock_seconds(), clock_thread_seconds() };
}

static struct runner_seconds since(struct runner_seconds begin)
{
    const struct runner_seconds now = profile_now();
    return (struct runner_seconds){ now.wall - begin.wall, now.thread - begin.thread };
}

static void add(struct runner_seconds *to, struct runner_seconds x, double times)
{
    to->wall += times * x.wall;
    to->thread += times * x.thread;
}

static void keep_best(struct runner_seconds *best, struct runner_seconds x, bool first)
{
    best->wall = first || x.wall < best->wall ? x.wall : best->wall;
    best->thread = first || x.thread < best->thread ? x.thread : best->thread;
}

/* Best of some runs of one node on what the micro-batch left. */
static enum status bare_seconds(struct runner_seconds *out, struct runner *r, int node,
                                struct error *err)
{
    for (int i = 0; i < PROFILE_REPEATS; i++) {
        struct runner_seconds begin = profile_now();
        if (runner_run(r, node, node + 1, err) != ST_OK)
            return ST_FAIL;
        keep_best(out, since(begin), i == 0);
    }
    return ST_OK;
}

static enum status book_nodes(struct train_profile *p, struct deem *m, struct runner *r,
                              double runs, const struct runner_seconds *times, struct error *err)
{
    for (int i = 0; i < m->p->n_nodes; i++) {
        const struct span *span = span_of(m->p, i);
        const double often = span && span->repeated ? runs : 1.0;
        const char *part = m->p->nodes[i].part;
        struct profile_row *rows[3] = {
            &p->nodes,
            row_of(p->part, &p->n_parts, part[0] ? part : "rest"),
            row_of(p->span, &p->n_spans, span ? span->name : "rest"),
        };
        struct runner_seconds bare;
        if (bare_seconds(&bare, r, i, err) != ST_OK)
            return ST_FAIL;
        for (int k = 0; k < 3; k++) {
            add(&rows[k]->step, times[i], 1.0);
            add(&rows[k]->bare, bare, often);
        }
    }
    return ST_OK;
}

enum status profile_book(struct train_profile *p, struct deem *m, struct runner *r, double runs,
                         struct params *params, struct error *err)
{
    const struct runner_seconds begin = profile_now();
    const size_t bytes = (size_t)params->trainable_elements * sizeof(float);
    struct runner_seconds *times = runner_watch(r, NULL);
    float *gradients = mem_alloc(bytes + 1); /* running an operation again adds to them again */
    enum status st =
        gradients ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: ledger");
    if (st == ST_OK && bytes > 0)
        memcpy(gradients, params->gradients, bytes);
    if (st == ST_OK)
        st = book_nodes(p, m, r, runs, times, err);
    if (st == ST_OK && bytes > 0)
        memcpy(params->gradients, gradients, bytes);
    mem_free(gradients);
    mem_free(times);
    add(&p->aside, since(begin), 1.0);
    return st;
}

void profile_update(struct train_profile *p, struct runner_seconds begin)
{
    const struct runner_seconds took = since(begin);
    add(&p->update.step, took, 1.0);
    keep_best(&p->update.bare, took, p->n_ledger == 0);
}

void profile_step_begin(struct train_profile *p)
{
    p->started = profile_now();
    p->aside = (struct runner_seconds){ 0 };
}

void profile_step(struct train_profile *p, double seconds, double waited)
{
    if (p->steps == 0)
        p->first_step = clock_seconds() - p->begin;
    if (profile_plain(p)) {
        p->plain[p->n_plain] = seconds;
        p->waits[p->n_plain++] = waited;
    } else if (profile_ledger(p)) {
        add(&p->ledger, since(p->started), 1.0);
        add(&p->ledger, p->aside, -1.0);
        p->n_ledger++;
    }
    p->steps++;
}
