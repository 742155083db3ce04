/* cli/golden_steps.c: kind "steps": several optimizer steps, each over several micro-batches of different
 * shapes. Loss and gradient of a step are plain means over its micro-batches. */
#include <string.h>

#include "cli/golden_model.h"
#include "trainer/deem_cache.h"

enum { STEPS_MAX = 64 };

struct steps_case {
    struct golden *g;
    struct deem_config c;
    struct deem_options o;
    struct hash_map *names;
    struct params *params;
    struct deem_cache *cache;
    struct golden_rates rates;
    struct optimizer *optimizer;
    int64_t steps, warmup, total, micro[STEPS_MAX];
};

static void put_one(struct golden *g, const char *prefix, const char *name, double value)
{
    char full[128];
    const float v = (float)value;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    golden_put(g, full, &v, 1);
}

static void put_losses(struct golden *g, const char *prefix, const struct micro_losses *l)
{
    put_one(g, prefix, "loss.ntp", l->ntp);
    put_one(g, prefix, "loss.nip", l->nip);
    put_one(g, prefix, "loss.csr", l->csr);
    put_one(g, prefix, "loss.total", l->total);
}

/* The first batch also gives the parameters their memory and values. */
static enum status prepare(struct steps_case *s, struct error *err)
{
    if (s->optimizer)
        return ST_OK;
    if (golden_load(s->g, s->params, err) != ST_OK || golden_ready(s->g, err) != ST_OK)
        return ST_FAIL;
    return golden_optimizer(s->g, s->params, &s->rates, &s->optimizer, err);
}

static enum status run_micro(struct steps_case *s, const char *prefix, struct micro_losses *out,
                             struct error *err)
{
    struct golden_batch batch;
    struct deem_shape shape;
    struct deem *m = NULL;
    struct runner *r = NULL;
    struct error one = { 0 };
    enum status st = golden_read_batch(s->g, &s->c, &s->o, prefix, &batch, err);
    if (st == ST_OK) {
        micro_batch_shape(&shape, batch.layout, 0);
        st = deem_cache_get(s->cache, &shape, &m, &r, &one);
        if (st != ST_OK && one.cause == CAUSE_NOMEM) {
            error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", one.text);
        } else if (st != ST_OK) {
            golden_problem(s->g, "%s", one.text);
            st = golden_ready(s->g, err);
        }
    }
    if (st == ST_OK)
        st = prepare(s, err);
    if (st == ST_OK)
        st = micro_batch_run(m, r, &batch.b, out, err);
    golden_batch_clear(&batch);
    return st;
}

static enum status run_step(struct steps_case *s, int64_t k, struct error *err)
{
    struct micro_losses mean = { 0 };
    struct optimizer_report report;
    const double share = 1.0 / (double)s->micro[k];
    char prefix[64];
    for (int64_t i = 0; i < s->micro[k]; i++) {
        struct micro_losses one;
        snprintf(prefix, sizeof prefix, "step%d.micro%d.", (int)k, (int)i);
        if (run_micro(s, prefix, &one, err) != ST_OK)
            return ST_FAIL;
        put_losses(s->g, prefix, &one);
        mean.ntp += share * one.ntp;
        mean.nip += share * one.nip;
        mean.csr += share * one.csr;
        mean.total += share * one.total;
    }
    const double factor = schedule_factor(k, s->warmup, s->total);
    if (optimizer_step(s->optimizer, share, factor, &report, err) != ST_OK)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: a gradient is not finite: %s",
                         s->g->folder, report.bad ? report.bad : "?");
    if (placement_clear_gradients(s->g->where, err) != ST_OK)
        return ST_FAIL;
    snprintf(prefix, sizeof prefix, "step%d.", (int)k);
    put_losses(s->g, prefix, &mean);
    put_one(s->g, prefix, "grad_norm", report.grad_norm);
    put_one(s->g, prefix, "lr_factor", factor);
    return ST_OK;
}

/* Parameters and moments after the last step. */
static enum status put_final(struct steps_case *s, struct error *err)
{
    const int64_t n = s->params->trainable_elements;
    char name[256];
    float *m = golden_memory(s->g, n, sizeof *m), *v = golden_memory(s->g, n, sizeof *v);
    if (golden_ready(s->g, err) != ST_OK || optimizer_gather(s->optimizer, m, v, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < s->params->count; i++) {
        const struct param *q = &s->params->list[i];
        if (!q->trainable)
            continue;
        snprintf(name, sizeof name, "final.%s", q->name);
        golden_put(s->g, name, q->value, q->count);
        snprintf(name, sizeof name, "final.m.%s", q->name);
        golden_put(s->g, name, m + q->offset, q->count);
        snprintf(name, sizeof name, "final.v.%s", q->name);
        golden_put(s->g, name, v + q->offset, q->count);
    }
    return golden_ready(s->g, err);
}

static enum status run(struct steps_case *s, struct error *err)
{
    if (golden_check_model(s->g, &s->c, &s->o, err) != ST_OK ||
        golden_trainable_open(s->g, &s->names, err) != ST_OK || golden_ready(s->g, err) != ST_OK ||
        golden_params(s->g, &s->params, golden_trains, s->names, err) != ST_OK ||
        deem_cache_open(&s->cache, &s->c, &s->o, s->params, s->g->where, 4, err) != ST_OK)
        return ST_FAIL;
    for (int64_t k = 0; k < s->steps; k++)
        if (run_step(s, k, err) != ST_OK)
            return ST_FAIL;
    return put_final(s, err);
}

enum status golden_steps(struct golden *g, struct error *err)
{
    struct steps_case s = { .g = g };
    golden_read_stage(g);
    golden_read_model(g, &s.c);
    golden_read_losses(g, &s.o);
    s.steps = golden_int(g, "optimizer.steps");
    s.warmup = golden_int_from(g, "optimizer.warmup", 0);
    s.total = golden_int(g, "optimizer.total");
    if (golden_ints(g, "optimizer.micro_batches", s.micro, STEPS_MAX) != s.steps)
        golden_problem(g, "case.json: optimizer.micro_batches: want one a step");
    const enum status st = run(&s, err);
    optimizer_close(&s.optimizer);
    golden_rates_clear(&s.rates);
    deem_cache_close(&s.cache);
    params_close(&s.params);
    hash_map_close(&s.names);
    return st;
}
