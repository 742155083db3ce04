/* trainer/train.c: opens a run, walks its steps, and leaves it so that `--resume` goes on bit for bit. */
#include "trainer/train.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/pool.h"
#include "core/stop.h"
#include "trainer/peak.h"
#include "trainer/setup.h"
#include "trainer/train_private.h"
#include "trainer/train_profile.h"
#include "trainer/weights.h"

void train_options_init(struct train_options *opt)
{
    *opt = (struct train_options){ .backend = BACKEND_CPU, .storage = DT_F32 };
}

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: training");
}

static int64_t end_step(const struct train *t)
{
    const int64_t asked = t->opt->stop_after, all = t->recipe->steps;
    return asked > 0 && asked < all ? asked : all;
}

static void rates_of(const void *arg, const char *name, double *lr, double *weight_decay)
{
    const struct param_rates r = param_rates(arg, name);
    *lr = r.lr;
    *weight_decay = r.weight_decay;
}

/* Recipe, ranks, the lock on OUT, and whether OUT may be used. */
static enum status open_out(struct train *t, struct error *err)
{
    const struct train_options *o = t->opt;
    enum status st = recipe_open(&t->recipe, o->recipe, o->assignments, o->n_assignments, err);
    if (st != ST_OK)
        return st;
    const struct dist_options d = { .deadline_seconds = t->recipe->collective_seconds };
    st = dist_open(&t->dist, &d, err);
    if (st != ST_OK)
        return st;
    if (t->recipe->n_sources == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: data has no source", o->recipe);
    if (recipe_micro_batches(t->recipe) % dist_size(t->dist) != 0)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "%d ranks do not divide the %" PRId64 " micro-batches of a step",
                         dist_size(t->dist), recipe_micro_batches(t->recipe));
    if (dist_rank(t->dist) != 0)
        return ST_OK;
    char *lock = path_join(t->recipe->out, "lock");
    st = lock ? file_make_folders(t->recipe->out, err) : no_memory(err);
    if (st == ST_OK)
        st = file_lock(&t->lock, lock, err);
    mem_free(lock);
    return st;
}

/* The datasets must be those the recipe means. */
static enum status check_data(const struct train *t, struct error *err)
{
    const struct recipe *r = t->recipe;
    struct loader_facts f;

    loader_facts(t->loader, &f);
    if (f.pieces != r->model.vocab_base)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "model.vocab_base: %" PRId64 ", but the datasets' tokenizer has %d pieces",
                         r->model.vocab_base, (int)f.pieces);
    if (f.image_tokens != r->image_tokens)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "image_tokens: %" PRId64 ", but the datasets have %" PRId64,
                         r->image_tokens, f.image_tokens);
    if (f.seq_len != r->seq_len)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "seq_len: %" PRId64 ", but the datasets have %" PRId64, r->seq_len,
                         f.seq_len);
    return ST_OK;
}

static enum status open_data(struct train *t, struct error *err)
{
    struct loader_options opt;
    const unsigned share = cpu_count() / (unsigned)dist_local_size(t->dist);
    const unsigned threads = t->recipe->loader_threads > 0 ? (unsigned)t->recipe->loader_threads
                                                           : (share > 0 ? share : 1);

    t->sources = mem_calloc(t->recipe->n_sources, sizeof *t->sources);
    if (!t->sources)
        return no_memory(err);
    setup_loader(&opt, t->sources, t->recipe, dist_size(t->dist), dist_rank(t->dist), threads);
    enum status st = loader_open(&t->loader, &opt, err);
    if (st == ST_OK)
        st = check_data(t, err);
    return st == ST_OK ? loader_identity(t->loader, &t->identity, err) : st;
}

/* The ranks of a host take its GPUs in order. */
static enum status open_placement(struct train *t, struct error *err)
{
    struct placement_options opt;
    placement_options_init(&opt);
    opt.backend = t->opt->backend;
    opt.storage = t->opt->storage;
    opt.device.index = dist_rank(t->dist) % dist_local_size(t->dist);
    return placement_open(&t->where, t->params, &opt, err);
}

/* Every parameter of the model, with memory, and the optimizer of those that train. */
static enum status open_model(struct train *t, struct error *err)
{
    setup_model(&t->config, t->recipe);
    setup_losses(&t->losses, t->recipe);
    group_rules_from_recipe(&t->rules, t->recipe);
    enum status st = params_open(&t->params, param_reached, &t->rules, err);
    if (st == ST_OK)
        st = open_placement(t, err);
    if (st == ST_OK)
        st = setup_declare(t->params, &t->config, t->recipe, err);
    if (st == ST_OK)
        st = params_allocate(t->params, err);
    if (st != ST_OK)
        return st;
    const size_t n = (size_t)t->params->trainable_elements + 1;
    const struct optimizer_settings s = { t->recipe->beta1, t->recipe->beta2, t->recipe->eps,
                                          t->recipe->clip_norm, 1e-6 };
    t->m = mem_calloc(n, sizeof *t->m);
    t->v = mem_calloc(n, sizeof *t->v);
    if (!t->m || !t->v)
        return no_memory(err);
    st = optimizer_open(&t->optimizer, t->params, t->where, t->dist, &s, rates_of, &t->rules, err);
    if (st == ST_OK)
        st = deem_cache_open(&t->programs, &t->config, &t->losses, t->params, t->where,
                             DEEM_CACHE_MAX, err);
    return st;
}

/* init.checkpoint may name a run's OUT: its newest complete checkpoint is meant. */
static enum status resolve_checkpoint(char **path, const char *given, struct error *err)
{
    char *folder = path_join(given, "checkpoints");
    *path = NULL;
    if (!folder)
        return no_memory(err);
    enum status st = file_exists(folder) ? checkpoint_find(path, folder, err) : ST_END;
    if (st == ST_END && file_exists(folder))
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: holds no complete checkpoint", folder);
    mem_free(folder);
    return st == ST_END ? ST_OK : st;
}

/* What was taken from where, a line of the log each. */
static enum status log_report(const struct weights *w, const struct recipe *r, struct error *err)
{
    struct buffer text;
    if (!r->init_checkpoint[0] && !r->init_llm[0] && !r->init_convnext[0] &&
        !r->init_diffusion[0]) {
        log_line(LOG_INFO, "the recipe names no weights: everything is drawn from seed %" PRId64,
                 r->seed);
        return ST_OK;
    }
    buffer_init(&text);
    enum status st = weights_report(w, &text, err);
    if (st == ST_OK)
        st = buffer_append(&text, "", 1, err);
    for (char *line = (char *)text.data, *end; st == ST_OK && *line; line = end) {
        end = line + strcspn(line, "\n");
        log_line(LOG_INFO, "%.*s", (int)(end - line < 200 ? end - line : 200), line);
        end += *end == '\n';
    }
    buffer_clear(&text);
    return st;
}

static enum status start_weights(struct train *t, struct error *err)
{
    const struct recipe *r = t->recipe;
    struct weights *w = NULL;
    char *newest = NULL;

    enum status st =
        r->init_checkpoint[0] ? resolve_checkpoint(&newest, r->init_checkpoint, err) : ST_OK;
    const struct weights_spec spec = {
        .checkpoint = newest ? newest : r->init_checkpoint,
        .llm = r->init_llm,
        .convnext = r->init_convnext,
        .diffusion = r->init_diffusion,
        .seed = (uint64_t)r->seed,
        .published = r->model.vocab_base,
    };
    if (st == ST_OK)
        st = weights_open(&w, &spec, t->params, err);
    if (st == ST_OK)
        st = weights_load(w, t->params, err);
    if (st == ST_OK && dist_rank(t->dist) == 0)
        st = log_report(w, r, err);
    weights_close(&w);
    mem_free(newest);
    return st;
}

/* One text of the lines in `lines`, which it cuts up. */
static enum status refuse_differences(char *lines, struct error *err)
{
    struct buffer text;
    char *rest = NULL;

    buffer_init(&text);
    enum status st = ST_OK;
    for (char *line = strtok_r(lines, "\n", &rest); line && st == ST_OK;
         line = strtok_r(NULL, "\n", &rest))
        st = buffer_printf(&text, err, "; %s", line);
    if (st == ST_OK)
        st = error_set(err, ST_FAIL, CAUSE_ARG,
                       "the checkpoint was made with another recipe (--override KEY accepts one)%s",
                       (const char *)text.data);
    buffer_clear(&text);
    return st;
}

/* Differences between the checkpoint's recipe and this one that change numbers must have been named. */
static enum status check_recipe(const struct train *t, const struct checkpoint *c,
                                struct error *err)
{
    struct recipe *saved = NULL;
    struct buffer lines;
    size_t count = 0;
    char *path = path_join(c->path, "recipe.yaml");

    buffer_init(&lines);
    enum status st = path ? recipe_open(&saved, path, NULL, 0, err) : no_memory(err);
    if (st == ST_OK)
        st = recipe_differences(&lines, &count, saved, t->recipe, t->opt->overrides,
                                t->opt->n_overrides, err);
    if (st == ST_OK && count > 0)
        st = refuse_differences((char *)lines.data, err);
    recipe_close(&saved);
    buffer_clear(&lines);
    mem_free(path);
    return st;
}

static enum status load_checkpoint(struct train *t, const char *path, struct error *err)
{
    struct checkpoint *c = NULL;
    enum status st = checkpoint_open(&c, path, err);

    if (st == ST_OK)
        st = check_recipe(t, c, err);
    if (st == ST_OK)
        st = loader_check_identity(t->loader, c->data.data, c->data.size, err);
    if (st == ST_OK)
        st = checkpoint_load(c, t->params, t->m, t->v, err);
    if (st == ST_OK)
        st = optimizer_restore(t->optimizer, t->m, t->v, c->step - c->skipped, err);
    if (st == ST_OK) {
        t->step = t->saved = c->step;
        t->skipped = c->skipped;
        t->damaged = c->damaged;
        log_line(LOG_INFO, "resumed from %s", path);
    }
    checkpoint_close(&c);
    return st;
}

/* Values to start from, and the files of OUT. */
static enum status open_state(struct train *t, struct error *err)
{
    char *folder = path_join(t->recipe->out, "checkpoints"), *path = NULL;
    char *effective = path_join(t->recipe->out, "recipe.yaml");
    enum status st = folder && effective ? ST_OK : no_memory(err);

    if (st == ST_OK && !t->opt->resume && checkpoint_any(folder))
        st = error_set(err, ST_FAIL, CAUSE_ARG,
                       "%s holds checkpoints: --resume goes on, another `out` starts anew", folder);
    if (st == ST_OK && t->opt->resume && checkpoint_find(&path, folder, err) == ST_FAIL)
        st = ST_FAIL;
    if (st == ST_OK)
        st = path ? load_checkpoint(t, path, err) : start_weights(t, err);
    if (st == ST_OK)
        st = optimizer_take_masters(t->optimizer, err);
    if (st == ST_OK)
        st = loader_seek(t->loader, (uint64_t)t->step, err);
    if (st == ST_OK)
        st = recipe_print(&t->recipe_text, t->recipe, true, err);
    if (st == ST_OK && dist_rank(t->dist) == 0) {
        st = file_replace(effective, t->recipe_text.data, t->recipe_text.size, err);
        if (st == ST_OK)
            st = metrics_open(&t->metrics, t->recipe->out, t->step, end_step(t), err);
        if (st == ST_OK)
            st = checkpoint_writer_open(&t->writer, folder, t->recipe->checkpoint_keep, t->params,
                                        err);
    }
    mem_free(folder);
    mem_free(path);
    mem_free(effective);
    return st;
}

/* Collective: the moments come from all ranks, rank 0 writes. */
static enum status save(struct train *t, struct error *err)
{
    const struct checkpoint_state state = {
        .step = t->step,
        .skipped = t->skipped,
        .damaged = t->damaged,
        .data = (const char *)t->identity.data,
        .data_bytes = t->identity.size,
        .recipe = (const char *)t->recipe_text.data,
        .recipe_bytes = t->recipe_text.size,
    };
    const double begin = clock_seconds();
    double blocked = 0.0;

    if (t->saved == t->step)
        return ST_OK;
    enum status st = train_check_weights(t, err);
    if (st == ST_OK)
        st = optimizer_gather(t->optimizer, t->m, t->v, err);
    if (st == ST_OK && t->writer)
        st = checkpoint_writer_start(t->writer, t->m, t->v, &state, &blocked, err);
    t->blocked_seconds += blocked;
    if (t->opt->profile)
        t->opt->profile->checkpoint_blocked = clock_seconds() - begin;
    if (st == ST_OK)
        t->saved = t->step;
    return st;
}

/* XXH3-128 of weights, moments and position after a step: what resume tests compare. Collective. */
static enum status hash_state(struct train *t, struct metrics_row *row, struct error *err)
{
    struct hash_stream *h = NULL;
    uint8_t digest[16];
    const size_t bytes = (size_t)t->params->trainable_elements * sizeof *t->m;
    enum status st = optimizer_gather(t->optimizer, t->m, t->v, err);

    if (st == ST_OK)
        st = hash_stream_open(&h, HASH_XXH3_128, err);
    if (st != ST_OK)
        return st;
    hash_stream_update(h, t->params->values, bytes);
    hash_stream_update(h, t->m, bytes);
    hash_stream_update(h, t->v, bytes);
    hash_stream_update(h, &t->step, sizeof t->step);
    hash_stream_digest(h, digest);
    hash_hex(row->state, digest, sizeof digest);
    hash_stream_close(&h);
    return ST_OK;
}

/* MFU's divisor: the recipe's, or what a product of each rank reaches while all of them multiply. */
static enum status find_peak(struct train *t, struct error *err)
{
    t->peak = t->recipe->peak_flops;
    enum status st = t->peak > 0.0 ? ST_OK : peak_measure(&t->peak, 0.05, err);
    if (st == ST_OK)
        st = dist_all_sum(t->dist, &t->peak, 1, err);
    if (st == ST_OK && dist_rank(t->dist) == 0)
        log_line(LOG_INFO, "MFU is a share of %.4g GFLOP/s, %s", t->peak * 1e-9,
                 t->recipe->peak_flops > 0.0 ? "run.peak_flops" : "the product measured now");
    return st;
}

/* What the ranks agree on after a step: anybody's wish counts. */
enum wish { WISH_STOP, WISH_CHECKPOINT, WISHES };

/* A last checkpoint, alone and waited for, and what all memory of the run adds up to. */
static enum status finish_profile(struct train *t, struct train_profile *p, struct error *err)
{
    const int64_t trains = t->params->trainable_elements * (int64_t)sizeof(float);
    struct loader_stats stats;
    const double begin = clock_seconds();

    t->saved = -1;
    enum status st = t->writer ? checkpoint_writer_wait(t->writer, err) : ST_OK;
    if (st == ST_OK)
        st = save(t, err);
    if (st == ST_OK && t->writer)
        st = checkpoint_writer_wait(t->writer, err);
    p->checkpoint_seconds = clock_seconds() - begin;
    loader_stats(t->loader, &stats);
    p->parameters = t->params->elements * (int64_t)sizeof(float);
    p->gradients = trains;
    p->optimizer = 2 * trains + 2 * trains / dist_size(t->dist);
    p->checkpoint = t->writer ? 3 * trains : 0;
    p->programs = deem_cache_bytes(t->programs);
    p->loader = (int64_t)stats.peak_bytes;
    p->resident = profile_resident(true);
    return st;
}

static enum status loop(struct train *t, struct error *err)
{
    const int64_t end = end_step(t);
    int64_t wishes[WISHES] = { 0 };
    enum status st = ST_OK;

    while (t->step < end && st == ST_OK && !wishes[WISH_STOP]) {
        struct metrics_row row;
        st = train_step(t, &row, err);
        if (st != ST_OK)
            break;
        t->step++;
        if (t->opt->profile)
            profile_step(t->opt->profile, row.seconds, row.loader_wait_seconds);
        if (t->opt->hash_steps)
            st = hash_state(t, &row, err);
        row.checkpoint_seconds = t->blocked_seconds;
        t->blocked_seconds = 0.0;
        if (st == ST_OK && t->metrics)
            st = metrics_write(t->metrics, &row, err);
        wishes[WISH_STOP] = stop_requested();
        wishes[WISH_CHECKPOINT] = stop_checkpoint_requested();
        if (st == ST_OK)
            st = dist_all_max(t->dist, wishes, WISHES, err);
        if (st == ST_OK && (t->step % t->recipe->checkpoint_every == 0 || wishes[WISH_CHECKPOINT]))
            st = save(t, err);
    }
    if (st == ST_OK && t->step > 0)
        st = save(t, err);
    if (st == ST_OK && t->writer)
        st = checkpoint_writer_wait(t->writer, err);
    if (st == ST_OK && t->opt->profile)
        st = finish_profile(t, t->opt->profile, err);
    if (st == ST_OK && wishes[WISH_STOP] && t->step < end)
        st = error_set(err, ST_FAIL, CAUSE_SIGNAL,
                       "stopped on request after step %" PRId64 "; --resume goes on", t->step);
    return st;
}

static void close_all(struct train *t, struct error *err)
{
    checkpoint_writer_close(&t->writer, err);
    metrics_close(&t->metrics);
    deem_cache_close(&t->programs);
    placement_close(&t->where);
    train_input_clear(&t->input);
    buffer_clear(&t->rows);
    optimizer_close(&t->optimizer);
    params_close(&t->params);
    loader_close(&t->loader);
    mem_free(t->sources);
    mem_free(t->m);
    mem_free(t->v);
    buffer_clear(&t->identity);
    buffer_clear(&t->recipe_text);
    file_unlock(&t->lock);
    recipe_close(&t->recipe);
    dist_close(&t->dist);
}

enum status train_run(const struct train_options *opt, struct error *err)
{
    struct train *t = mem_calloc(1, sizeof *t);
    if (!t)
        return no_memory(err);
    if (opt->profile) {
        opt->profile->begin = clock_seconds();
        opt->profile->resident_before = profile_resident(false);
    }
    t->opt = opt;
    t->lock = -1;
    t->saved = -1;
    train_input_init(&t->input);
    enum status st = open_out(t, err);
    if (st == ST_OK)
        st = open_data(t, err);
    if (st == ST_OK)
        st = open_model(t, err);
    if (st == ST_OK)
        st = open_state(t, err);
    if (st == ST_OK)
        st = find_peak(t, err);
    if (st == ST_OK)
        st = loop(t, err);
    const bool alike = t->agreed || err->cause == CAUSE_ARG || err->cause == CAUSE_SIGNAL;
    if (st != ST_OK && t->dist && !alike && dist_size(t->dist) > 1) {
        log_error(err);
        dist_abort(t->dist, error_exit_code(err->cause));
    }
    close_all(t, err);
    mem_free(t);
    return st;
}
