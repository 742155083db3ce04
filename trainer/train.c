/* trainer/train.c: see train.h. One step: micro-batches of this rank, sums over ranks, the optimizer, a
 * line of metrics, perhaps a checkpoint. Whether to stop or to save is agreed by all ranks. */
#include "trainer/train.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/stop.h"
#include "trainer/train_batch.h"
#include "trainer/train_private.h"

enum sum { SUM_NTP, SUM_NIP, SUM_CSR, SUM_TOTAL, SUM_TOKENS, SUM_IMAGES, SUM_COUNT };

/* What a step adds up. */
struct step {
    double sums[SUM_COUNT];
    double wait;           /* for data */
    double micro_seconds;  /* this rank's work before the collectives */
    struct buffer records; /* names of what was in the batch, for messages */
};

void train_options_init(struct train_options *opt)
{
    *opt = (struct train_options){ .backend = BACKEND_CPU };
}

static void name_records(struct train *t, struct step *s, const struct batch *b)
{
    for (int64_t i = 0; i < b->B; i++)
        buffer_printf(&s->records, NULL, "%s%s:%" PRIu32 ":%" PRIu64, s->records.size ? ", " : "",
                      t->recipe->sources[b->rows[i].source].name, b->rows[i].shard,
                      b->rows[i].index);
}

static enum status run_batch(struct train *t, const struct batch *from, struct step *s,
                             struct error *err)
{
    struct train_batch b;
    struct deem_shape shape;
    struct deem *m = NULL;
    struct runner *r = NULL;
    struct micro_losses losses = { 0 };
    enum status st =
        train_batch_make(&b, from, &t->config, t->recipe, (uint64_t)t->recipe->seed, err);
    if (st == ST_OK) {
        train_batch_shape(&shape, &b, t->recipe->batch_pictures);
        st = deem_cache_get(t->cache, &shape, &m, &r, err);
    }
    if (st == ST_OK)
        st = micro_batch_run(m, r, &b.b, &losses, err);
    s->sums[SUM_NTP] += losses.ntp;
    s->sums[SUM_NIP] += losses.nip;
    s->sums[SUM_CSR] += losses.csr;
    s->sums[SUM_TOTAL] += losses.total;
    s->sums[SUM_TOKENS] += (double)b.tokens;
    s->sums[SUM_IMAGES] += (double)b.pictures;
    name_records(t, s, from);
    train_batch_clear(&b);
    return st;
}

static enum status run_share(struct train *t, struct step *s, struct error *err)
{
    const double begin = clock_seconds();
    params_clear_gradients(t->params);
    for (int64_t i = 0; i < t->share; i++) {
        const struct batch *b = NULL;
        if (loader_next(t->loader, &b, err) != ST_OK)
            return ST_FAIL;
        s->wait += b->wait_seconds;
        const enum status st = run_batch(t, b, s, err);
        loader_release(t->loader, b);
        if (st != ST_OK)
            return error_prefix(err, st, "step %" PRId64, t->step);
    }
    s->micro_seconds = clock_seconds() - begin;
    return ST_OK;
}

/* A loss or gradient that is not finite, alike on all ranks: the end, or a step that is left out. */
static enum status not_finite(struct train *t, const struct step *s, const char *what,
                              struct error *err)
{
    t->skipped++;
    if (t->recipe->nonfinite == NONFINITE_SKIP) {
        log_line(LOG_WARN, "step=%" PRId64 " left out: %s is not finite, records %.*s", t->step,
                 what, (int)s->records.size, (const char *)s->records.data);
        return ST_OK;
    }
    return error_set(err, ST_FAIL, CAUSE_LIMIT,
                     "step %" PRId64 ": %s is not finite; records (source:shard:index) %.*s",
                     t->step, what, (int)s->records.size, (const char *)s->records.data);
}

static enum status update(struct train *t, struct step *s, struct metrics_row *row,
                          struct error *err)
{
    const double share = 1.0 / (double)t->micros;
    const double factor = schedule_factor(t->step, t->recipe->warmup, t->recipe->steps);
    struct optimizer_report report;

    row->loss = s->sums[SUM_TOTAL] * share;
    row->loss_ntp = s->sums[SUM_NTP] * share;
    row->loss_nip = s->sums[SUM_NIP] * share;
    row->loss_csr = s->sums[SUM_CSR] * share;
    row->tokens = (int64_t)s->sums[SUM_TOKENS];
    row->images = (int64_t)s->sums[SUM_IMAGES];
    row->lr = t->rules.lr * factor;
    if (!isfinite(row->loss))
        return not_finite(t, s, "the loss", err);
    const enum status st = optimizer_step(t->optimizer, share, factor, &report, err);
    row->grad_norm = report.grad_norm;
    if (st == ST_SKIP)
        return not_finite(t, s, report.bad ? report.bad : "a gradient of another rank", err);
    return st;
}

/* Weights, moments and step, for comparing runs. */
static enum status hash_state(struct train *t, struct metrics_row *row, struct error *err)
{
    const size_t bytes = (size_t)t->params->trainable_elements * sizeof(float);
    struct hash_stream *h = NULL;
    uint8_t digest[8] = { 0 };
    uint64_t v = 0;
    if (!t->opt->hash_steps)
        return ST_OK;
    if (optimizer_gather(t->optimizer, t->m, t->v, err) != ST_OK ||
        hash_stream_open(&h, HASH_XXH3_64, err) != ST_OK)
        return ST_FAIL;
    hash_stream_update(h, t->params->values, bytes);
    hash_stream_update(h, t->m, bytes);
    hash_stream_update(h, t->v, bytes);
    hash_stream_update(h, &t->step, sizeof t->step);
    hash_stream_digest(h, digest);
    hash_stream_close(&h);
    memcpy(&v, digest, sizeof v);
    row->state_hash = (int64_t)(v >> 11); /* 53 bits: any reader of JSON takes it whole */
    return ST_OK;
}

static enum status save(struct train *t, struct error *err)
{
    double blocked = 0.0;
    struct loader_stats stats;
    loader_stats(t->loader, &stats);
    const struct checkpoint_state state = { .step = t->step,
                                            .skipped = t->skipped,
                                            .damaged = (int64_t)stats.substituted,
                                            .data = (const char *)t->identity.data,
                                            .data_bytes = t->identity.size,
                                            .recipe = (const char *)t->printed.data,
                                            .recipe_bytes = t->printed.size };
    if (optimizer_gather(t->optimizer, t->m, t->v, err) != ST_OK)
        return ST_FAIL;
    t->saved = t->step;
    if (!t->root)
        return ST_OK;
    const enum status st = checkpoint_writer_start(t->writer, t->m, t->v, &state, &blocked, err);
    log_line(LOG_INFO, "checkpoint step=%" PRId64 " blocked_seconds=%.3f", t->step, blocked);
    return st;
}

/* After a step: the slowest and fastest rank, and what any rank was asked by a signal. */
struct agreement {
    bool stop, save;
    double spread;
};
static enum status agree(struct train *t, const struct step *s, struct agreement *a,
                         struct error *err)
{
    const int64_t us = (int64_t)(s->micro_seconds * 1e6);
    int64_t flags[4] = { stop_requested(), stop_save_requested(), us, -us };
    if (dist_all_max(t->dist, flags, 4, err) != ST_OK)
        return ST_FAIL;
    *a = (struct agreement){ flags[0] != 0, flags[1] != 0, (double)(flags[2] + flags[3]) * 1e-6 };
    return ST_OK;
}

static enum status one_step(struct train *t, struct step *s, struct agreement *a, struct error *err)
{
    struct metrics_row row = { .step = t->step };
    struct loader_stats stats;
    const double begin = clock_seconds();

    if (run_share(t, s, err) != ST_OK)
        return ST_FAIL;
    const double middle = clock_seconds();
    if (dist_all_sum(t->dist, s->sums, SUM_COUNT, err) != ST_OK ||
        update(t, s, &row, err) != ST_OK || agree(t, s, a, err) != ST_OK)
        return ST_FAIL;
    const double end = clock_seconds();
    t->step++;
    loader_stats(t->loader, &stats);
    row.seconds = end - begin;
    row.loader_wait_seconds = s->wait;
    row.collective_seconds = dist_size(t->dist) > 1 ? end - middle : 0.0;
    row.rank_spread_seconds = a->spread;
    row.skipped = t->skipped;
    row.damaged = (int64_t)stats.substituted;
    if (hash_state(t, &row, err) != ST_OK)
        return ST_FAIL;
    return t->root ? metrics_write(t->metrics, &row, err) : ST_OK;
}

static enum status run_steps(struct train *t, struct error *err)
{
    struct agreement a = { 0 };
    enum status st = ST_OK;
    while (t->step < t->end && st == ST_OK && !a.stop) {
        struct step s = { 0 };
        buffer_init(&s.records);
        st = one_step(t, &s, &a, err);
        if (st == ST_OK &&
            (a.stop || a.save || t->step == t->end || t->step % t->recipe->checkpoint_every == 0))
            st = save(t, err);
        buffer_clear(&s.records);
    }
    if (st == ST_OK && t->root && t->writer)
        st = checkpoint_writer_wait(t->writer, err);
    if (st == ST_OK && a.stop && t->step < t->end)
        st = error_set(err, ST_FAIL, CAUSE_SIGNAL,
                       "stopped on request after step %" PRId64 "; --resume goes on", t->step);
    return st;
}

enum status train_run(const struct train_options *opt, struct error *err)
{
    struct train t;
    stop_install_saving();
    enum status st = train_setup(&t, opt, err);
    if (st == ST_OK)
        st = run_steps(&t, err);
    if (st != ST_OK && t.dist && (!err || err->cause != CAUSE_SIGNAL))
        dist_abort(t.dist);
    const enum status end = train_teardown(&t, err);
    return st == ST_OK ? end : st;
}
