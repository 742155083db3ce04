/* cli/golden_stage.c: kind "stage": one micro-batch of the whole model, forward, losses, gradients and
 * the first optimizer step. */
#include <math.h>
#include <string.h>

#include "cli/golden_model.h"

struct stage_case {
    struct golden *g;
    struct deem_config c;
    struct deem_options o;
    struct golden_batch batch;
    struct hash_map *names;
    struct params *params;
    struct deem *m;
    struct runner *r;
    struct golden_rates rates;
    struct optimizer *optimizer;
    struct micro_losses losses;
};

/* After the passes of one loss: their intermediates, under that loss's name. */
static void put_passes(void *arg, enum deem_loss loss, int64_t n)
{
    struct stage_case *s = arg;
    const struct program *p = s->m->p;
    const char *prefix = loss == DEEM_CSR ? "csr." : "nip.";
    char name[128];
    for (int i = 1; i < p->n_tensors; i++) {
        const struct tensor *t = &p->tensors[i];
        if (t->place == PLACE_ARENA && strncmp(t->name, "pass.", 5) == 0 && t->kept) {
            snprintf(name, sizeof name, "%s%s", prefix, t->name + 5);
            golden_put_tensor(s->g, name, runner_data(s->r, i), t);
        }
    }
    const int map = program_find(p, "pass.map");
    const float *e = runner_data(s->r, map);
    const int64_t one = program_tensor(p, map)->count / s->m->shape.passes;
    float *mean = golden_memory(s->g, n, sizeof *mean);
    for (int64_t u = 0; mean && u < n; u++) {
        double sum = 0.0;
        for (int64_t i = 0; i < one; i++)
            sum += (double)e[u * one + i];
        mean[u] = (float)(sum / (double)one);
    }
    snprintf(name, sizeof name, "%sper_image", prefix);
    if (mean)
        golden_put(s->g, name, mean, n);
    snprintf(name, sizeof name, "%st_used", prefix);
    golden_put_ids(s->g, name, s->batch.t[loss], n);
}

/* V: features of the pictures of each row, zeros behind the last. */
static void put_packed(struct stage_case *s)
{
    const struct layout *l = s->batch.layout;
    const int t = program_find(s->m->p, "llm_features");
    const float *from = runner_data(s->r, t);
    const int64_t one = program_tensor(s->m->p, t)->count / s->m->shape.I;
    float *to = golden_memory(s->g, l->B * l->N * one, sizeof *to);
    for (int64_t i = 0; to && i < l->I; i++)
        memcpy(to + (l->images[i].row * l->N + l->images[i].slot) * one, from + i * one,
               (size_t)one * sizeof *to);
    if (to)
        golden_put(s->g, "V", to, l->B * l->N * one);
}

static void put_layout(struct stage_case *s)
{
    const struct layout *l = s->batch.layout;
    const int64_t n = l->B * (l->L - 1);
    int32_t *length = golden_memory(s->g, l->I, sizeof *length);
    int32_t *mask = golden_memory(s->g, l->I, sizeof *mask);
    golden_put_visibility(s->g, l, "A", "rank");
    golden_put_ids(s->g, "ntp.target", s->batch.targets, n);
    for (int64_t i = 0; length && mask && i < l->I; i++) {
        length[i] = (int32_t)l->images[i].length;
        mask[i] = l->images[i].previous >= 0;
    }
    if (length && mask) {
        golden_put_ids(s->g, "nip.context_len", length, l->I);
        golden_put_ids(s->g, "nip.mmfs_mask", mask, l->I);
    }
}

static void put_losses(struct stage_case *s)
{
    const int64_t L = s->batch.layout->L, n = s->batch.layout->B * (L - 1);
    const float ntp = (float)s->losses.ntp, nip = (float)s->losses.nip;
    const float csr = (float)s->losses.csr, total = (float)s->losses.total;
    golden_put(s->g, "loss.ntp", &ntp, 1);
    golden_put(s->g, "loss.nip", &nip, 1);
    golden_put(s->g, "loss.csr", &csr, 1);
    golden_put(s->g, "loss.total", &total, 1);
    float *token = golden_memory(s->g, n, sizeof *token);
    const float *all = s->m->n_chunks == 1 ? runner_data(s->r, s->m->token_loss[0]) : NULL;
    for (int64_t i = 0; token && all && i < n; i++)
        token[i] = all[i / (L - 1) * L + i % (L - 1)];
    if (token && all)
        golden_put(s->g, "ntp.token_loss", token, n);
}

static void put_all(struct stage_case *s)
{
    static const char *const inner[] = { "X",      "vis_embed", "v",      "dif_embed", "ctx",
                                         "feat.0", "feat.1",    "feat.2", "feat.3" };
    golden_put_probes(s->g, s->r, s->m->p, "");
    for (size_t i = 0; i < sizeof inner / sizeof inner[0]; i++)
        golden_put_grad_in(s->g, s->r, s->m->p, inner[i]);
    golden_put_gradients(s->g, s->params);
    put_packed(s);
    put_layout(s);
    put_losses(s);
}

/* The first step of AdamW, moments zero before. */
static enum status step(struct stage_case *s, struct error *err)
{
    struct optimizer_report report;
    char name[256];
    const double factor = golden_real(s->g, "optimizer.lr_factor");
    if (golden_optimizer(s->g, s->params, &s->rates, &s->optimizer, err) != ST_OK)
        return ST_FAIL;
    if (optimizer_step(s->optimizer, 1.0, factor, &report, err) != ST_OK)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: a gradient is not finite: %s",
                         s->g->folder, report.bad ? report.bad : "?");
    if (optimizer_masters(s->optimizer, err) != ST_OK)
        return ST_FAIL;
    const float norm = (float)report.grad_norm;
    golden_put(s->g, "grad_norm", &norm, 1);
    for (size_t i = 0; i < s->params->count; i++) {
        const struct param *q = &s->params->list[i];
        snprintf(name, sizeof name, "step1.%s", q->name);
        if (q->trainable)
            golden_put(s->g, name, q->value, q->count);
    }
    return golden_ready(s->g, err);
}

static enum status run(struct stage_case *s, struct error *err)
{
    struct deem_shape shape;
    if (golden_check_model(s->g, &s->c, &s->o, err) != ST_OK ||
        golden_trainable_open(s->g, &s->names, err) != ST_OK ||
        golden_read_batch(s->g, &s->c, &s->o, "", &s->batch, err) != ST_OK ||
        golden_params(s->g, &s->params, golden_trains, s->names, err) != ST_OK)
        return ST_FAIL;
    micro_batch_shape(&shape, s->batch.layout, 0);
    struct error one = { 0 };
    if (deem_open(&s->m, &s->c, &shape, &s->o, s->params, &one) != ST_OK) {
        golden_problem(s->g, "%s", one.text);
        return golden_ready(s->g, err);
    }
    if (golden_runner(s->g, s->params, s->m->p, &s->r, err) != ST_OK)
        return ST_FAIL;
    s->batch.b.masked_passes = true;
    s->batch.b.after_passes = put_passes;
    s->batch.b.arg = s;
    if (micro_batch_run(s->m, s->r, &s->batch.b, &s->losses, err) != ST_OK)
        return ST_FAIL;
    put_all(s);
    return step(s, err);
}

enum status golden_stage(struct golden *g, struct error *err)
{
    struct stage_case s = { .g = g };
    if (golden_read_stage(g) && !golden_has_input(g, "gt_text_ids"))
        golden_problem(g, "inputs.safetensors: gt_text_ids is missing");
    golden_read_model(g, &s.c);
    golden_read_losses(g, &s.o);
    s.o.probes = true;
    s.o.region_masks = golden_has_input(g, "mask");
    const enum status st = run(&s, err);
    optimizer_close(&s.optimizer);
    golden_rates_clear(&s.rates);
    runner_close(&s.r);
    deem_close(&s.m);
    params_close(&s.params);
    hash_map_close(&s.names);
    golden_batch_clear(&s.batch);
    return st;
}
