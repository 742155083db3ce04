/* trainer/optimizer.c: see optimizer.h. */
#include "trainer/optimizer.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "trainer/optimizer_private.h"

double schedule_factor(int64_t k, int64_t warmup, int64_t total)
{
    const double pi = 3.14159265358979323846;
    if (k < warmup)
        return (double)k / (double)warmup;
    if (k >= total)
        return 0.0;
    return 0.5 * (1.0 + cos(pi * (double)(k - warmup) / (double)(total - warmup)));
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Whole runs, as even as they come; the last rank's part ends with the block. */
static void cut(struct optimizer *o)
{
    const int64_t n = o->params->trainable_elements;
    for (int r = 0; r <= o->size; r++) {
        const int64_t run = o->n_runs * r / o->size;
        o->offsets[r] = least(run * REDUCE_RUN, n);
        o->run_offsets[r] = run * (int64_t)sizeof(float);
    }
}

static int64_t own_begin(const struct optimizer *o)
{
    return o->offsets[o->rank];
}

static int64_t own_count(const struct optimizer *o)
{
    return o->offsets[o->rank + 1] - o->offsets[o->rank];
}

static void list_pieces(struct optimizer *o, optimizer_rates_fn *rates, const void *arg)
{
    const int64_t begin = own_begin(o), end = begin + own_count(o);
    for (size_t i = o->params->count; i-- > 0;) {
        const struct param *q = &o->params->list[i];
        struct piece *x = &o->pieces[o->n_pieces];
        if (!q->trainable || q->offset >= end || q->offset + q->count <= begin)
            continue;
        *x = (struct piece){ .param = i,
                             .begin = q->offset > begin ? q->offset : begin,
                             .end = least(q->offset + q->count, end) };
        rates(arg, q->name, &x->lr, &x->weight_decay);
        o->n_pieces++;
    }
}

static enum status allocate(struct optimizer *o, struct error *err)
{
    const size_t ranks = (size_t)o->size + 1;
    o->n_runs = (o->params->trainable_elements + REDUCE_RUN - 1) / REDUCE_RUN;
    o->offsets = mem_calloc(ranks, sizeof *o->offsets);
    o->run_offsets = mem_calloc(ranks, sizeof *o->run_offsets);
    if (!o->offsets || !o->run_offsets)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: optimizer");
    cut(o);
    const size_t own = own_count(o) > 0 ? (size_t)own_count(o) : 1;
    o->run_sums = mem_calloc(o->n_runs > 0 ? (size_t)o->n_runs : 1, sizeof(float));
    o->pieces = mem_calloc(o->params->count + 1, sizeof *o->pieces);
    if (o->size > 1)
        o->reduced = mem_calloc(own, sizeof(float));
    if (!o->run_sums || !o->pieces || (o->size > 1 && !o->reduced))
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: optimizer state of %lld",
                         (long long)own);
    if (o->where && placement_apart(o->where) && o->size == 1)
        return optimizer_device_open(o, err);
    o->m = mem_calloc(own, sizeof(float));
    o->v = mem_calloc(own, sizeof(float));
    if (!o->m || !o->v)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: moments of %lld",
                         (long long)own);
    return ST_OK;
}

enum status optimizer_open(struct optimizer **out, struct params *params, struct placement *where,
                           struct dist *dist, const struct optimizer_settings *settings,
                           optimizer_rates_fn *rates, const void *rates_arg, struct error *err)
{
    struct optimizer *o = mem_calloc(1, sizeof *o);
    *out = NULL;
    if (!o)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: optimizer");
    o->params = params;
    o->where = where;
    o->dist = dist;
    o->s = *settings;
    o->rank = dist ? dist_rank(dist) : 0;
    o->size = dist ? dist_size(dist) : 1;
    if (allocate(o, err) != ST_OK) {
        optimizer_close(&o);
        return ST_FAIL;
    }
    list_pieces(o, rates, rates_arg);
    *out = o;
    return ST_OK;
}

void optimizer_close(struct optimizer **o)
{
    if (!*o)
        return;
    optimizer_device_close(*o);
    mem_free((*o)->offsets);
    mem_free((*o)->run_offsets);
    mem_free((*o)->run_sums);
    mem_free((*o)->reduced);
    mem_free((*o)->m);
    mem_free((*o)->v);
    mem_free((*o)->pieces);
    mem_free(*o);
    *o = NULL;
}

static struct view floats(float *data, int64_t n)
{
    return (struct view){ .data = data, .type = DT_F32, .rank = 1, .shape = { n } };
}

/* Squares of every run, on all ranks, and their sum in the order of the runs. */
static enum status sum_squares(struct optimizer *o, const float *gradient, double *sum,
                               struct error *err)
{
    const int64_t first = o->run_offsets[o->rank] / (int64_t)sizeof(float);
    const int64_t runs = o->run_offsets[o->rank + 1] / (int64_t)sizeof(float) - first;
    const struct reduce_attrs attrs = { .scale = 1.0f };
    struct kctx k = { 0 };
    enum status st = ST_OK;

    if (o->device) {
        st = optimizer_device_squares(o, err);
    } else if (own_count(o) > 0) {
        const struct view out = floats(o->run_sums + first, runs);
        const struct view in = { .data = (void *)(uintptr_t)gradient,
                                 .type = DT_F32,
                                 .rank = 1,
                                 .shape = { own_count(o) } };
        st = reduce_squares_fwd_cpu(&k, &out, &in, &attrs, err);
    }
    if (st == ST_OK && o->size > 1)
        st = dist_all_gather(o->dist, o->run_sums, o->run_offsets, err);
    *sum = 0.0;
    for (int64_t i = 0; i < o->n_runs; i++)
        *sum += (double)o->run_sums[i];
    return st;
}

static const char *find_bad(const struct optimizer *o, const float *gradient)
{
    for (size_t i = 0; i < o->n_pieces; i++)
        for (int64_t e = o->pieces[i].begin; e < o->pieces[i].end; e++)
            if (!isfinite(gradient[e - own_begin(o)]))
                return o->params->list[o->pieces[i].param].name;
    return NULL;
}

struct adamw_attrs optimizer_attrs(const struct optimizer *o, const struct piece *x, double scale,
                                   double factor)
{
    return (struct adamw_attrs){ .lr = x->lr * factor,
                                 .beta1 = o->s.beta1,
                                 .beta2 = o->s.beta2,
                                 .eps = o->s.eps,
                                 .weight_decay = x->weight_decay,
                                 .step = o->steps + 1,
                                 .grad_scale = scale };
}

static enum status apply(struct optimizer *o, float *gradient, double scale, float clip,
                         double factor, struct error *err)
{
    struct kctx k = { 0 };
    for (size_t i = 0; i < o->n_pieces; i++) {
        const struct piece *x = &o->pieces[i];
        const int64_t n = x->end - x->begin, at = x->begin - own_begin(o);
        const struct adamw_attrs a = optimizer_attrs(o, x, scale, factor);
        const struct view out[3] = { floats(o->params->values + x->begin, n), floats(o->m + at, n),
                                     floats(o->v + at, n) };
        const struct view in[2] = { floats(gradient + at, n), floats(&clip, 1) };
        if (adamw_fwd_cpu(&k, out, in, &a, err) != ST_OK)
            return error_prefix(err, ST_FAIL, "%s", o->params->list[x->param].name);
    }
    return ST_OK;
}

/* Values lie in float32 words; the gather counts bytes. */
static enum status spread(const struct optimizer *o, float *data, struct error *err)
{
    int64_t *bytes = mem_calloc((size_t)o->size + 1, sizeof *bytes);
    if (!bytes)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: optimizer");
    for (int r = 0; r <= o->size; r++)
        bytes[r] = o->offsets[r] * (int64_t)sizeof(float);
    const enum status st = dist_all_gather(o->dist, data, bytes, err);
    mem_free(bytes);
    return st;
}

enum status optimizer_step(struct optimizer *o, double grad_scale, double factor,
                           struct optimizer_report *report, struct error *err)
{
    float *gradient = o->params->gradients;
    double sum = 0.0;
    enum status st = ST_OK;

    *report = (struct optimizer_report){ .finite = true };
    if (o->params->trainable_elements == 0)
        return ST_OK;
    if (o->where && !o->device)
        st = placement_download_gradients(o->where, err);
    if (st == ST_OK && o->size > 1) {
        st = dist_reduce_scatter(o->dist, o->reduced, gradient, o->offsets, err);
        gradient = o->reduced;
    }
    if (st == ST_OK)
        st = sum_squares(o, gradient, &sum, err);
    if (st != ST_OK)
        return st;
    report->grad_norm = sqrt(sum) * grad_scale;
    report->finite = isfinite(report->grad_norm) != 0;
    if (!report->finite) {
        if (o->device && placement_download_gradients(o->where, err) != ST_OK)
            return ST_FAIL;
        report->bad = find_bad(o, gradient);
        return ST_SKIP;
    }
    double clip = o->s.clip_norm > 0 ? o->s.clip_norm / (report->grad_norm + o->s.clip_eps) : 1.0;
    clip = clip < 1.0 ? clip : 1.0;
    st = o->device ? optimizer_device_apply(o, grad_scale, (float)clip, factor, err)
                   : apply(o, gradient, grad_scale, (float)clip, factor, err);
    if (st != ST_OK)
        return st;
    o->steps++;
    if (o->size > 1)
        st = spread(o, o->params->values, err);
    return st == ST_OK && o->where && !o->device ? placement_upload(o->where, err) : st;
}

enum status optimizer_take_masters(struct optimizer *o, struct error *err)
{
    if (o->where && placement_upload(o->where, err) != ST_OK)
        return ST_FAIL;
    return o->device ? optimizer_device_set_low(o, err) : ST_OK;
}

enum status optimizer_masters(const struct optimizer *o, struct error *err)
{
    return o->device ? optimizer_device_masters(o, err) : ST_OK;
}

int64_t optimizer_steps(const struct optimizer *o)
{
    return o->steps;
}

enum status optimizer_gather(const struct optimizer *o, float *m, float *v, struct error *err)
{
    if (optimizer_masters(o, err) != ST_OK)
        return ST_FAIL;
    if (o->device)
        return optimizer_device_gather(o, m, v, err);
    const size_t bytes = (size_t)own_count(o) * sizeof(float);
    memset(m, 0, (size_t)o->params->trainable_elements * sizeof(float));
    memset(v, 0, (size_t)o->params->trainable_elements * sizeof(float));
    memcpy(m + own_begin(o), o->m, bytes);
    memcpy(v + own_begin(o), o->v, bytes);
    if (o->size == 1)
        return ST_OK;
    const enum status st = spread(o, m, err);
    return st == ST_OK ? spread(o, v, err) : st;
}

enum status optimizer_restore(struct optimizer *o, const float *m, const float *v, int64_t steps,
                              struct error *err)
{
    const size_t bytes = (size_t)own_count(o) * sizeof(float);
    o->steps = steps;
    if (o->device)
        return optimizer_device_restore(o, m, v, err);
    memcpy(o->m, m + own_begin(o), bytes);
    memcpy(o->v, v + own_begin(o), bytes);
    return ST_OK;
}
