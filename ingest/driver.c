/* ingest/driver.c: see driver.h. */
#include "ingest/driver.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/pool.h"
#include "core/stop.h"
#include "shards/dataset.h"

/* How long a part waits for whoever plans, or for a glance at a lock to end. */
enum { GLANCE_TRIES = 40, GLANCE_MS = 50, PLAN_TRIES = 864000, PLAN_MS = 100 };

/* ---- locks ---- */

static enum status take_lock(int *fd, const char *path, unsigned tries, unsigned wait_ms,
                             struct error *err)
{
    enum status st = ST_FAIL;
    for (unsigned i = 0; i < tries; i++) {
        struct error local = { 0 };
        if (i > 0)
            clock_sleep_ms(wait_ms);
        st = file_lock(fd, path, &local);
        if (st == ST_OK || local.cause != CAUSE_LOCKED || i + 1 == tries) {
            if (st != ST_OK && err && err->cause == CAUSE_NONE)
                *err = local;
            return st;
        }
        if (stop_check(err) != ST_OK)
            return ST_FAIL;
    }
    return st;
}

/* A whole run and a part shut each other out: each holds its own lock and looks at the other's. */
static enum status glance(const char *path, struct error *err)
{
    int fd = -1;
    const enum status st = take_lock(&fd, path, GLANCE_TRIES, GLANCE_MS, err);
    file_unlock(&fd);
    return st;
}

static enum status look_at_parts(const struct driver *d, struct error *err)
{
    char **names = NULL;
    size_t count = 0;
    enum status st = file_list(d->work, &names, &count, err);
    for (size_t i = 0; i < count && st == ST_OK; i++) {
        if (strncmp(names[i], "part-", 5) != 0)
            continue;
        char *path = path_join(d->work, names[i]);
        st = path ? glance(path, err) : error_set(err, ST_FAIL, CAUSE_NOMEM, "path");
        mem_free(path);
    }
    file_list_free(&names, count);
    return st;
}

static enum status lock_whole(struct driver *d, const char *path, struct error *err)
{
    const enum status st = take_lock(&d->lock, path, 1, 0, err);
    return st == ST_OK ? look_at_parts(d, err) : st;
}

/* Holds `lock` only while planning; driver_planned gives it back. */
static enum status lock_part(struct driver *d, const char *path, struct error *err)
{
    char *part = str_format("%s/part-%u-of-%u.lock", d->work, d->part, d->parts);
    char *plan = path_join(d->work, "plan.json");
    enum status st = part && plan ? take_lock(&d->part_lock, part, 1, 0, err)
                                  : error_set(err, ST_FAIL, CAUSE_NOMEM, "path");
    if (st == ST_OK)
        st = take_lock(&d->lock, path, file_exists(plan) ? GLANCE_TRIES : PLAN_TRIES,
                       file_exists(plan) ? GLANCE_MS : PLAN_MS, err);
    mem_free(part);
    mem_free(plan);
    return st;
}

enum status driver_open(struct driver *d, const char *out, uint32_t part, uint32_t parts,
                        struct error *err)
{
    *d = (struct driver){ .lock = -1, .part_lock = -1, .part = part, .parts = parts };
    d->out = mem_strdup(out);
    d->work = path_join(out, "work");
    char *shards = path_join(out, "shards"), *lock = NULL;
    enum status st = ST_FAIL;

    if (!d->out || !d->work || !shards) {
        error_set(err, st, CAUSE_NOMEM, "%s", out);
        goto done;
    }
    d->made_out = !file_exists(out);
    st = file_make_folders(out, err);
    if (st == ST_OK)
        st = file_make_folder(shards, err);
    if (st == ST_OK)
        st = file_make_folder(d->work, err);
    if (st != ST_OK)
        goto done;
    lock = path_join(d->work, "lock");
    if (!lock)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", out);
    else
        st = parts == 0 ? lock_whole(d, lock, err) : lock_part(d, lock, err);
done:
    mem_free(shards);
    mem_free(lock);
    if (st != ST_OK)
        driver_close(d);
    return st;
}

void driver_planned(struct driver *d)
{
    if (d->parts > 0)
        file_unlock(&d->lock);
}

void driver_close(struct driver *d)
{
    file_unlock(&d->lock);
    file_unlock(&d->part_lock);
    mem_free(d->out);
    mem_free(d->work);
    *d = (struct driver){ .lock = -1, .part_lock = -1 };
}

enum status driver_finished(struct manifest *m, const char *out, struct error *err)
{
    char *path = dataset_manifest_path(out);
    struct file_info info;
    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", out);
    enum status st = file_stat(path, &info, err);
    if (st == ST_OK)
        st = manifest_read(m, path, err);
    char *work = st == ST_OK ? path_join(out, "work") : NULL;
    if (work)
        file_remove_tree(work, NULL); /* of a run that was stopped between the manifest and this */
    mem_free(work);
    mem_free(path);
    return st;
}

/* ---- units ---- */

/* A run of units that one thread takes in order. */
struct chain {
    struct driver *d;
    const struct driver_job *job;
    uint32_t first, end;
    void *carry;
};

static enum status fill_and_seal(struct chain *c, uint32_t unit, const char *final,
                                 struct error *err)
{
    struct driver *d = c->d;
    const struct driver_job *job = c->job;
    char *unsealed = str_format("%s/%06u.mdb", d->work, unit),
         *scratch = str_format("%s/%06u.tmp", d->work, unit);
    char *digest = dataset_digest_path(d->out, unit);
    struct shard_writer *writer = NULL;
    struct shard_writer_options opt;
    struct unit_facts facts;
    uint8_t sha256[32];
    enum status st = ST_FAIL;

    unit_facts_init(&facts);
    facts.shard = unit;
    if (!unsealed || !scratch || !digest) {
        error_set(err, st, CAUSE_NOMEM, "unit %" PRIu32, unit);
        goto done;
    }
    shard_writer_options_init(&opt);
    opt.facts = job->facts;
    opt.shard = unit;
    opt.dictionary = job->dictionary->size ? job->dictionary->data : NULL;
    opt.dictionary_size = job->dictionary->size;
    opt.pieces = job->pieces->size ? job->pieces->data : NULL;
    opt.pieces_size = job->pieces->size;
    st = shard_writer_open(&writer, unsealed, &opt, err);
    if (st == ST_OK) {
        const struct driver_unit u = { unit, writer, &facts, scratch, &c->carry };
        st = job->run(job->arg, &u, err);
    }
    if (st == ST_OK)
        st = shard_writer_seal(writer, &facts, final, digest, sha256, err);
done:
    shard_writer_close(&writer);
    unit_facts_clear(&facts);
    mem_free(unsealed);
    mem_free(scratch);
    mem_free(digest);
    return st;
}

static bool is_ours(const struct driver *d, uint32_t unit)
{
    return d->parts == 0 || unit % d->parts == d->part;
}

static enum status run_chain(void *arg, bool cancelled, struct error *err)
{
    struct chain *c = arg;
    enum status st = ST_OK;

    for (uint32_t u = c->first; u < c->end && st == ST_OK && !cancelled; u++) {
        char *final = dataset_shard_path(c->d->out, u);
        st = final ? stop_check(err) : error_set(err, ST_FAIL, CAUSE_NOMEM, "unit %" PRIu32, u);
        if (st == ST_OK && is_ours(c->d, u) && !file_exists(final))
            st = fill_and_seal(c, u, final, err);
        mem_free(final);
    }
    if (c->carry)
        c->job->release(c->job->arg, c->carry);
    mem_free(c);
    return st;
}

static enum status submit_chains(struct driver *d, const struct driver_job *job, struct pool *pool,
                                 struct error *err)
{
    for (uint32_t u = 0; u < job->units;) {
        uint32_t end = u + 1;
        while (end < job->units && job->follows && job->follows(job->arg, end))
            end++;
        struct chain *c = mem_alloc(sizeof *c);
        if (!c)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "unit %" PRIu32, u);
        *c = (struct chain){ d, job, u, end, NULL };
        const enum status st = pool_submit(pool, run_chain, c, err);
        if (st != ST_OK) {
            mem_free(c);
            return st;
        }
        u = end;
    }
    return ST_OK;
}

enum status driver_run(struct driver *d, const struct driver_job *job, struct error *err)
{
    struct pool *pool = NULL;
    struct error later = { 0 };
    /* one thread: jobs run in submit, in order */
    enum status st = pool_open(&pool, job->threads > 1 ? job->threads : 0, job->threads, err);
    if (st != ST_OK)
        return st;
    st = submit_chains(d, job, pool, err);
    const enum status closed = pool_close(&pool, &later);
    if (closed != ST_OK && (st == ST_OK || st == ST_STOP)) {
        st = ST_FAIL;
        if (err)
            *err = later;
    }
    return st;
}

enum status driver_finish(struct driver *d, uint32_t units, bool *whole, struct error *err)
{
    *whole = d->parts == 0;
    if (!*whole)
        return ST_OK;
    const enum status st = dataset_finish(d->out, units, err);
    return st == ST_OK ? file_remove_tree(d->work, err) : st;
}
