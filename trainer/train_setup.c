/* trainer/train_setup.c: opens a run: see train_private.h. */
#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "trainer/train_private.h"
#include "trainer/weights.h"

static enum status open_recipe(struct train *t, struct error *err)
{
    const struct train_options *o = t->opt;
    if (recipe_open(&t->recipe, o->recipe, o->assignments, o->n_assignments, err) != ST_OK ||
        recipe_print(&t->printed, t->recipe, false, err) != ST_OK ||
        model_config(&t->config, t->recipe, err) != ST_OK)
        return ST_FAIL;
    model_options(&t->options, t->recipe);
    group_rules_from_recipe(&t->rules, t->recipe);
    t->end = t->recipe->steps;
    if (o->stop_after > 0 && o->stop_after < t->end)
        t->end = o->stop_after;
    t->checkpoints = path_join(t->recipe->out, "checkpoints");
    return t->checkpoints ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: train");
}

static enum status open_ranks(struct train *t, struct error *err)
{
    struct dist_options o;
    dist_options_init(&o);
    o.deadline_seconds = t->recipe->collective_seconds;
    if (dist_open(&t->dist, &o, err) != ST_OK)
        return ST_FAIL;
    t->root = dist_rank(t->dist) == 0;
    t->micros = recipe_micro_batches(t->recipe);
    t->share = t->micros / dist_size(t->dist);
    if (t->share * dist_size(t->dist) != t->micros)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "%d ranks do not divide the %" PRId64
                         " micro-batches of a step (batch.global / batch.micro)",
                         dist_size(t->dist), t->micros);
    return ST_OK;
}

/* One run at a time in a folder, and no run over the checkpoints of another. */
static enum status take_folder(struct train *t, struct error *err)
{
    int64_t refused = 0;
    enum status st = ST_OK;
    if (t->root) {
        char *path = path_join(t->recipe->out, "lock");
        st = file_make_folders(t->recipe->out, err);
        if (st == ST_OK)
            st = path ? file_lock(&t->lock, path, err)
                      : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: train");
        mem_free(path);
        if (st == ST_OK && !t->opt->resume && checkpoint_any(t->checkpoints))
            st = error_set(err, ST_FAIL, CAUSE_ARG,
                           "%s holds checkpoints: go on with --resume, or choose another out",
                           t->checkpoints);
        refused = st != ST_OK;
    }
    if (dist_all_max(t->dist, &refused, 1, t->root && st != ST_OK ? NULL : err) != ST_OK)
        return ST_FAIL;
    if (refused && !t->root)
        return error_set(err, ST_FAIL, CAUSE_PEER, "rank 0 could not take %s", t->recipe->out);
    return st;
}

static enum status open_loader(struct train *t, struct error *err)
{
    const struct recipe *r = t->recipe;
    const bool pictures = t->options.weight_nip > 0 || t->options.weight_csr > 0;
    struct loader_options o;

    t->sources = mem_calloc(r->n_sources ? r->n_sources : 1, sizeof *t->sources);
    if (!t->sources)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: train");
    for (size_t i = 0; i < r->n_sources; i++)
        t->sources[i] = (struct loader_source){ .name = r->sources[i].name,
                                                .datasets = r->sources[i].datasets,
                                                .n_datasets = r->sources[i].n_datasets,
                                                .weight = (uint64_t)r->sources[i].weight };
    loader_options_init(&o);
    o.seed = (uint64_t)r->seed;
    o.sources = t->sources;
    o.n_sources = r->n_sources;
    o.mixing = r->mixing == MIXING_IID ? PLAN_IID : PLAN_STRATIFIED;
    o.order = r->order == ORDER_BLOCK ? PLAN_BLOCK : PLAN_PERMUTATION;
    o.batch_global = (uint64_t)r->batch_global;
    o.batch_micro = (uint64_t)r->batch_micro;
    o.world = (uint64_t)dist_size(t->dist);
    o.rank = (uint64_t)dist_rank(t->dist);
    o.decode.geometry = r->geometry == GEOMETRY_SQUASH ? RESAMPLE_SQUASH : RESAMPLE_CROP;
    o.decode.mode = r->fast_decode ? DECODE_FAST : DECODE_EXACT;
    o.decode.side_a = (uint32_t)r->image_side;
    o.decode.side_b = pictures ? (uint32_t)r->decode_side : 0;
    o.flip = r->flip;
    o.masks = r->stage == STAGE_3;
    o.seq_len = r->seq_len;
    o.memory = r->loader_memory;
    o.skip_damaged = r->damaged == DAMAGED_SKIP;
    if (r->loader_threads > 0)
        o.threads = (unsigned)r->loader_threads;
    return loader_open(&t->loader, &o, err);
}

/* The datasets' tokenizer, slots and length are the recipe's. */
static enum status check_data(struct train *t, struct error *err)
{
    const struct loader_facts f = loader_facts(t->loader);
    const struct recipe *r = t->recipe;
    if (f.image_tokens != r->image_tokens)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "recipe: image_tokens is %" PRId64 ", the datasets have %" PRId64,
                         r->image_tokens, f.image_tokens);
    if (f.ids.soi != t->config.ids.soi)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "recipe: model.vocab_base is %" PRId64
                         ", the datasets' tokenizer has %" PRId32 " pieces",
                         r->model.vocab_base, f.ids.soi);
    if (f.seq_len > r->seq_len)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "recipe: seq_len is %" PRId64 ", the datasets have rows of %" PRId64,
                         r->seq_len, f.seq_len);
    return loader_identity(t->loader, &t->identity, err);
}

static void find_rates(const void *arg, const char *name, double *lr, double *weight_decay)
{
    const struct param_rates x = param_rates(arg, name);
    *lr = x.lr;
    *weight_decay = x.weight_decay;
}

static enum status open_model(struct train *t, struct error *err)
{
    const struct recipe *r = t->recipe;
    const struct optimizer_settings s = { .beta1 = r->beta1,
                                          .beta2 = r->beta2,
                                          .eps = r->eps,
                                          .clip_norm = r->clip_norm,
                                          .clip_eps = 1e-6 };
    if (params_open(&t->params, param_reached, &t->rules, err) != ST_OK ||
        model_declare(t->params, &t->config, r, err) != ST_OK ||
        params_allocate(t->params, err) != ST_OK ||
        deem_cache_open(&t->cache, &t->config, &t->options, t->params, t->opt->backend,
                        DEEM_CACHE_MAX, err) != ST_OK ||
        optimizer_open(&t->optimizer, t->params, t->dist, &s, find_rates, &t->rules, err) != ST_OK)
        return ST_FAIL;
    const size_t n =
        (size_t)(t->params->trainable_elements > 0 ? t->params->trainable_elements : 1);
    t->m = mem_calloc(n, sizeof *t->m);
    t->v = mem_calloc(n, sizeof *t->v);
    return t->m && t->v ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: moments");
}

/* Keys that change numbers are as they were, or named. */
static enum status compare_recipe(const struct train *t, const char *path, struct error *err)
{
    struct recipe *saved = NULL;
    struct buffer text;
    size_t count = 0;
    char *file = path_join(path, "recipe.yaml");
    enum status st = file ? recipe_open(&saved, file, NULL, 0, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: train");
    buffer_init(&text);
    if (st == ST_OK)
        st = recipe_differences(&text, &count, saved, t->recipe, t->opt->overrides,
                                t->opt->n_overrides, err);
    if (st == ST_OK && count > 0)
        st = error_set(err, ST_FAIL, CAUSE_ARG,
                       "the recipe differs from that of %s (accept a key with --override): %.*s",
                       path, (int)text.size, (const char *)text.data);
    buffer_clear(&text);
    recipe_close(&saved);
    mem_free(file);
    return st;
}

static enum status restore(struct train *t, const char *path, struct error *err)
{
    struct checkpoint *c = NULL;
    enum status st = checkpoint_open(&c, path, err);
    if (st == ST_OK)
        st = compare_recipe(t, path, err);
    if (st == ST_OK)
        st = loader_check_identity(t->loader, c->data.data, c->data.size, err);
    if (st == ST_OK)
        st = checkpoint_load(c, t->params, t->m, t->v, err);
    if (st == ST_OK) {
        optimizer_restore(t->optimizer, t->m, t->v, c->step - c->skipped);
        t->step = t->saved = c->step;
        t->skipped = c->skipped;
        log_line(LOG_INFO, "resumed step=%" PRId64 " from=%s", t->step, path);
        st = loader_seek(t->loader, (uint64_t)t->step, err);
    }
    checkpoint_close(&c);
    return st;
}

/* A run's folder stands for its newest checkpoint. */
static enum status start_path(char **out, const char *given, struct error *err)
{
    char *below = path_join(given, "checkpoints");
    enum status st = below ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: train");
    *out = NULL;
    if (st == ST_OK && given[0] != '\0' && file_exists(below)) {
        st = checkpoint_find(out, below, err);
        if (st == ST_END)
            st = error_set(err, ST_FAIL, CAUSE_ARG,
                           "init.checkpoint: %s holds none that is complete", below);
    } else if (st == ST_OK) {
        *out = mem_strdup(given);
        st = *out ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: train");
    }
    mem_free(below);
    return st;
}

static enum status start(struct train *t, struct error *err)
{
    const struct recipe *r = t->recipe;
    struct weights *w = NULL;
    struct buffer report;
    char *from = NULL;
    enum status st = start_path(&from, r->init_checkpoint, err);
    const struct weights_spec spec = { .checkpoint = from,
                                       .llm = r->init_llm,
                                       .convnext = r->init_convnext,
                                       .diffusion = r->init_diffusion,
                                       .seed = (uint64_t)r->seed,
                                       .published = r->model.vocab_base };
    buffer_init(&report);
    if (st == ST_OK)
        st = weights_open(&w, &spec, t->params, err);
    if (st == ST_OK)
        st = weights_load(w, t->params, err);
    if (st == ST_OK && t->root && weights_report(w, &report, err) == ST_OK)
        log_line(LOG_INFO, "weights: %.*s", (int)report.size, (const char *)report.data);
    buffer_clear(&report);
    weights_close(&w);
    mem_free(from);
    return st;
}

static enum status begin(struct train *t, struct error *err)
{
    char *path = NULL;
    enum status st = t->opt->resume ? checkpoint_find(&path, t->checkpoints, err) : ST_END;
    if (st == ST_OK)
        st = restore(t, path, err);
    else if (st == ST_END)
        st = start(t, err);
    mem_free(path);
    return st;
}

/* What only rank 0 writes. */
static enum status open_output(struct train *t, struct error *err)
{
    char *path = NULL;
    enum status st = ST_OK;
    if (!t->root)
        return ST_OK;
    path = path_join(t->recipe->out, "recipe.yaml");
    st = path ? file_replace(path, t->printed.data, t->printed.size, err)
              : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: train");
    if (st == ST_OK)
        st = metrics_open(&t->metrics, t->recipe->out, t->step, t->end, err);
    if (st == ST_OK)
        st = checkpoint_writer_open(&t->writer, t->checkpoints, t->recipe->checkpoint_keep,
                                    t->params, err);
    mem_free(path);
    return st;
}

enum status train_setup(struct train *t, const struct train_options *opt, struct error *err)
{
    *t = (struct train){ .opt = opt, .lock = -1, .saved = -1 };
    enum status st = open_recipe(t, err);
    if (st == ST_OK)
        st = open_ranks(t, err);
    if (st == ST_OK)
        st = open_loader(t, err);
    if (st == ST_OK)
        st = check_data(t, err);
    if (st == ST_OK)
        st = take_folder(t, err);
    if (st == ST_OK)
        st = open_model(t, err);
    if (st == ST_OK)
        st = begin(t, err);
    return st == ST_OK ? open_output(t, err) : st;
}

enum status train_teardown(struct train *t, struct error *err)
{
    enum status st = ST_OK;
    if (t->writer)
        st = checkpoint_writer_close(&t->writer, err);
    metrics_close(&t->metrics);
    loader_close(&t->loader);
    optimizer_close(&t->optimizer);
    deem_cache_close(&t->cache);
    params_close(&t->params);
    dist_close(&t->dist);
    file_unlock(&t->lock);
    recipe_close(&t->recipe);
    buffer_clear(&t->identity);
    buffer_clear(&t->printed);
    mem_free(t->sources);
    mem_free(t->checkpoints);
    mem_free(t->m);
    mem_free(t->v);
    return st;
}
