/* cli/golden_optim.c: module case "optim": what trains and at which rate, AdamW with clipping, the
 * schedule. */
#include <stdio.h>
#include <string.h>

#include "cli/golden.h"
#include "trainer/optimizer.h"
#include "trainer/param_groups.h"

static const struct {
    const char *name;
    enum recipe_stage stage;
    bool paper;
} columns[] = {
    { "stage1", STAGE_1, false },
    { "stage2", STAGE_2, true },
    { "stage3", STAGE_3, true },
    { "baseline", STAGE_BASELINE, false },
};

static size_t count_of(const struct json_value *v)
{
    return v ? v->count : 0;
}

/* Rates of every listed name: 0 where it does not train. */
static void put_rates(struct golden *g, const struct json_value *names, enum recipe_stage stage,
                      enum recipe_groups groups, const char *prefix)
{
    const int64_t n = (int64_t)count_of(names);
    float *lr = golden_memory(g, n, sizeof *lr), *wd = golden_memory(g, n, sizeof *wd);
    char name[64];
    struct group_rules r;
    int64_t i = 0;

    if (!lr || !wd)
        return;
    group_rules_init(&r, stage, groups);
    for (const struct json_value *v = names->child; v; v = v->next, i++) {
        const struct param_rates x = param_rates(&r, v->text);
        const bool on = param_state(&r, v->text) == PARAM_TRAINS;
        lr[i] = on ? (float)x.lr : 0.0f;
        wd[i] = on ? (float)x.weight_decay : 0.0f;
    }
    snprintf(name, sizeof name, "%slr", prefix);
    golden_put(g, name, lr, n);
    snprintf(name, sizeof name, "%sweight_decay", prefix);
    golden_put(g, name, wd, n);
}

static void put_groups(struct golden *g)
{
    const struct json_value *names = golden_value(g, "config.names");
    if (!names || names->type != JSON_T_ARRAY) {
        golden_problem(g, "case.json: config.names: want a list of names");
        return;
    }
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
        int32_t *state = golden_memory(g, (int64_t)names->count, sizeof *state);
        char name[64];
        struct group_rules r;
        int64_t i = 0;
        group_rules_init(&r, columns[c].stage, GROUPS_RELEASED);
        for (const struct json_value *v = names->child; state && v; v = v->next, i++)
            state[i] = (int32_t)param_state(&r, v->text);
        snprintf(name, sizeof name, "%s.state", columns[c].name);
        if (state)
            golden_put_ids(g, name, state, i);
        snprintf(name, sizeof name, "%s.", columns[c].name);
        put_rates(g, names, columns[c].stage, GROUPS_RELEASED, name);
        snprintf(name, sizeof name, "%s.paper_", columns[c].name);
        if (columns[c].paper)
            put_rates(g, names, columns[c].stage, GROUPS_PAPER, name);
    }
}

static void put_schedules(struct golden *g)
{
    const struct json_value *list = golden_value(g, "config.schedules");
    const int64_t stride = golden_int(g, "config.schedule_stride");
    for (const struct json_value *s = list ? list->child : NULL; s; s = s->next) {
        int64_t warmup = 0, total = 0;
        char name[64];
        if (s->count != 2 || !json_value_int64(s->child, &warmup) ||
            !json_value_int64(s->child->next, &total) || warmup < 0 || total < 1 ||
            total / stride > 1 << 20) {
            golden_problem(g, "case.json: config.schedules: want pairs [warm-up, total]");
            return;
        }
        const int64_t n = total / stride + 1;
        float *f = golden_memory(g, n, sizeof *f);
        for (int64_t j = 0; f && j < n; j++)
            f[j] = (float)schedule_factor(j * stride, warmup, total);
        snprintf(name, sizeof name, "factor.%lld.%lld", (long long)warmup, (long long)total);
        if (f)
            golden_put(g, name, f, n);
    }
}

/* AdamW on the tensors of the case. */
struct adam {
    struct golden *g;
    const struct json_value *groups; /* name -> {lr, weight_decay} */
    struct params *params;
    struct optimizer *o;
    const char *setting; /* "I", "II" */
};

static void rates_of(const void *arg, const char *name, double *lr, double *weight_decay)
{
    const struct adam *a = arg;
    const struct json_value *v = json_get(a->groups, name);
    const struct json_value *x = json_get(v, "lr"), *y = json_get(v, "weight_decay");
    *lr = x ? x->number : 0.0;
    *weight_decay = y ? y->number : 0.0;
}

static bool everything(const void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return true;
}

static double setting_real(struct adam *a, const char *key)
{
    char path[64];
    snprintf(path, sizeof path, "config.adamw.%s.%s", a->setting, key);
    return golden_real(a->g, path);
}

static enum status declare(struct adam *a, struct error *err)
{
    for (const struct json_value *v = a->groups ? a->groups->child : NULL; v; v = v->next) {
        char name[128];
        size_t index = 0;
        snprintf(name, sizeof name, "p0.%s", v->key);
        const struct tensor_info *t = tensor_file_find(a->g->inputs, name);
        if (!t || t->rank > VIEW_RANK_MAX)
            golden_problem(a->g, "inputs.safetensors: %s: missing", name);
        else if (params_declare(a->params, &index, v->key, t->shape, t->rank, err) != ST_OK)
            return ST_FAIL;
    }
    if (golden_ready(a->g, err) != ST_OK)
        return ST_FAIL;
    return params_allocate(a->params, err);
}

static void copy_in(struct adam *a, float *to, const char *prefix, const struct param *q)
{
    char name[128];
    int64_t shape[VIEW_RANK_MAX];
    memcpy(shape, q->shape, sizeof shape);
    snprintf(name, sizeof name, "%s.%s", prefix, q->name);
    const float *x = golden_input(a->g, name, q->rank, shape);
    if (x)
        memcpy(to, x, (size_t)q->count * sizeof *to);
}

static void copy_out(struct adam *a, const char *what, const struct param *q, const float *x)
{
    char name[160];
    snprintf(name, sizeof name, "%s.%s.%s", a->setting, what, q->name);
    golden_put(a->g, name, x, q->count);
}

static enum status steps(struct adam *a, struct error *err)
{
    const int64_t n = golden_int(a->g, "config.steps"), W = golden_int(a->g, "config.warmup");
    const int64_t S = golden_int(a->g, "config.total");
    float *norms = golden_memory(a->g, n, sizeof *norms);
    char what[40];
    for (int64_t t = 1; norms && t <= n; t++) {
        struct optimizer_report report;
        snprintf(what, sizeof what, "g%lld", (long long)(t - 1));
        for (size_t i = 0; i < a->params->count; i++)
            copy_in(a, a->params->list[i].gradient, what, &a->params->list[i]);
        if (golden_ready(a->g, err) != ST_OK ||
            optimizer_step(a->o, 1.0, schedule_factor(t - 1, W, S), &report, err) != ST_OK)
            return ST_FAIL;
        norms[t - 1] = (float)report.grad_norm;
        snprintf(what, sizeof what, "step%lld", (long long)t);
        for (size_t i = 0; i < a->params->count; i++)
            copy_out(a, what, &a->params->list[i], a->params->list[i].value);
    }
    snprintf(what, sizeof what, "%s.grad_norm", a->setting);
    if (norms)
        golden_put(a->g, what, norms, n);
    return golden_ready(a->g, err);
}

static enum status put_moments(struct adam *a, struct error *err)
{
    const int64_t n = a->params->trainable_elements;
    float *m = golden_memory(a->g, n, sizeof *m), *v = golden_memory(a->g, n, sizeof *v);
    if (!m || !v || optimizer_gather(a->o, m, v, err) != ST_OK)
        return golden_ready(a->g, err);
    for (size_t i = 0; i < a->params->count; i++) {
        const struct param *q = &a->params->list[i];
        copy_out(a, "m", q, m + q->offset);
        copy_out(a, "v", q, v + q->offset);
    }
    return ST_OK;
}

static enum status put_adamw(struct golden *g, const char *setting, struct error *err)
{
    struct adam a = { .g = g, .setting = setting, .groups = golden_value(g, "config.groups") };
    enum status st = params_open(&a.params, everything, NULL, err);
    if (st != ST_OK || declare(&a, err) != ST_OK) {
        st = ST_FAIL;
        goto done;
    }
    const struct optimizer_settings s = { .beta1 = setting_real(&a, "beta1"),
                                          .beta2 = setting_real(&a, "beta2"),
                                          .eps = setting_real(&a, "eps"),
                                          .clip_norm = golden_real(g, "config.clip"),
                                          .clip_eps = 1e-6 };
    for (size_t i = 0; i < a.params->count; i++)
        copy_in(&a, a.params->list[i].value, "p0", &a.params->list[i]);
    st = golden_ready(g, err);
    if (st == ST_OK)
        st = optimizer_open(&a.o, a.params, NULL, NULL, &s, rates_of, &a, err);
    if (st == ST_OK)
        st = steps(&a, err);
    if (st == ST_OK)
        st = put_moments(&a, err);
done:
    optimizer_close(&a.o);
    params_close(&a.params);
    return st;
}

enum status golden_optim(struct golden *g, struct error *err)
{
    const struct json_value *settings = golden_value(g, "config.adamw");
    put_groups(g);
    put_schedules(g);
    for (const struct json_value *v = settings ? settings->child : NULL; v; v = v->next)
        if (put_adamw(g, v->key, err) != ST_OK)
            return ST_FAIL;
    return golden_ready(g, err);
}
