/* cli/golden_compare.c: what a run handed over, held against expected.safetensors. A tensor passes iff
 * its relative L2 error or its largest absolute error is within the case's tolerance; one that was
 * not made, has another size, or holds a NaN fails. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/golden.h"

struct golden_tensor {
    const char *name; /* in the case's memory */
    float *data;
    int64_t count;
};

/* Room for a tensor of that name: a later hand-over of the same name takes the place of the first. */
static float *slot(struct golden *g, const char *name, int64_t count)
{
    uint64_t at = g->count;
    if (g->count == g->cap) {
        const size_t cap = g->cap ? 2 * g->cap : 256;
        struct golden_tensor *list = mem_realloc(g->list, cap, sizeof *list);
        if (!list)
            return NULL;
        g->list = list;
        g->cap = cap;
    }
    float *data = mem_alloc((size_t)(count > 0 ? count : 1) * sizeof *data);
    if (!data)
        return NULL;
    const enum status st = hash_map_insert(g->made, name, strlen(name), &at, NULL);
    if (st == ST_FAIL) {
        mem_free(data);
        return NULL;
    }
    if (st == ST_OK) {
        g->list[g->count] = (struct golden_tensor){ 0 };
        at = g->count++;
    }
    mem_free(g->list[at].data);
    g->list[at].data = data;
    g->list[at].count = count;
    return data;
}

void golden_close(struct golden **gp)
{
    struct golden *g = *gp;
    if (!g)
        return;
    for (size_t i = 0; i < g->count; i++)
        mem_free(g->list[i].data);
    mem_free(g->list);
    tensor_file_close(&g->weights);
    tensor_file_close(&g->inputs);
    tensor_file_close(&g->expected);
    hash_map_close(&g->made);
    placement_close(&g->where);
    buffer_clear(&g->findings);
    arena_clear(&g->memory);
    mem_free(g);
    *gp = NULL;
}

void golden_put(struct golden *g, const char *name, const float *data, int64_t count)
{
    float *to = slot(g, name, count);
    if (!to)
        golden_problem(g, "out of memory: %s", name);
    else if (count > 0)
        memcpy(to, data, (size_t)count * sizeof *to);
}

void golden_put_ids(struct golden *g, const char *name, const int32_t *data, int64_t count)
{
    float *to = slot(g, name, count);
    if (!to)
        golden_problem(g, "out of memory: %s", name);
    for (int64_t i = 0; to && i < count; i++)
        to[i] = (float)data[i];
}

void golden_put_nchw(struct golden *g, const char *name, const float *data, int64_t I, int64_t H,
                     int64_t W, int64_t C)
{
    float *to = slot(g, name, I * H * W * C);
    if (!to) {
        golden_problem(g, "out of memory: %s", name);
        return;
    }
    for (int64_t i = 0; i < I; i++)
        for (int64_t s = 0; s < H * W; s++)
            for (int64_t c = 0; c < C; c++)
                to[(i * C + c) * H * W + s] = data[(i * H * W + s) * C + c];
}

void golden_put_tensor(struct golden *g, const char *name, const void *data, const struct tensor *t)
{
    const float *values = data;
    if (t->role == ROLE_INDEX)
        golden_put_ids(g, name, data, t->count);
    else if (t->rank == 4 && t->place == PLACE_ARENA) /* batch pictures come channels first */
        golden_put_nchw(g, name, values, t->shape[0], t->shape[1], t->shape[2], t->shape[3]);
    else
        golden_put(g, name, values, t->count);
}

void golden_put_probes(struct golden *g, struct runner *r, const struct program *p,
                       const char *prefix)
{
    char name[256];
    for (int i = 1; i < p->n_tensors; i++) {
        const struct tensor *t = &p->tensors[i];
        if (t->place != PLACE_ARENA || !t->kept || t->name[0] == '\0' || !runner_data(r, i))
            continue;
        snprintf(name, sizeof name, "%s%s", prefix, t->name);
        golden_put_tensor(g, name, runner_data(r, i), t);
    }
}

void golden_put_grad_in(struct golden *g, struct runner *r, struct program *p, const char *name)
{
    char full[256];
    const int id = program_find(p, name);
    snprintf(full, sizeof full, "grad_in.%s", name);
    if (id == TENSOR_NONE)
        return;
    const struct tensor *t = &p->tensors[id];
    const int root = program_root(p, id);
    const int gradient =
        p->tensors[root].count == t->count ? p->tensors[root].gradient : TENSOR_NONE;
    if (gradient != TENSOR_NONE && p->tensors[gradient].started && runner_data(r, gradient)) {
        golden_put_tensor(g, full, runner_data(r, gradient), t);
        return;
    }
    float *to = slot(g, full, t->count);
    if (to)
        memset(to, 0, (size_t)t->count * sizeof *to);
}

void golden_put_gradients(struct golden *g, const struct params *params)
{
    struct error one = { 0 };
    char name[256];
    if (placement_download_gradients(g->where, &one) != ST_OK)
        golden_problem(g, "%s", one.text);
    for (size_t i = 0; i < params->count; i++) {
        const struct param *q = &params->list[i];
        if (!q->gradient)
            continue;
        snprintf(name, sizeof name, "grad.%s", q->name);
        golden_put(g, name, q->gradient, q->count);
    }
}

/* One comparison. */
struct verdict {
    double rel, abs;
    bool passed, skipped;
    const char *text;
};

/* AdamW's first step is lr * sign(g): where the expected gradient is tiny beside its largest, the sign
 * is noise and the element is left out (goldens/README.md, step1_rule). NULL: every element counts. */
static enum status sign_mask(const struct golden *g, const char *name, int64_t count, bool **skip,
                             struct error *err)
{
    *skip = NULL;
    if (strncmp(name, "step1.", 6) != 0 || !json_get(g->root, "step1_rule"))
        return ST_OK;
    char grad[256];
    snprintf(grad, sizeof grad, "grad.%s", name + 6);
    const struct tensor_info *t = tensor_file_find(g->expected, grad);
    if (!t || t->count != count)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "expected.safetensors: %s is missing", grad);
    float *values = mem_alloc((size_t)count * sizeof *values);
    bool *mask = mem_calloc((size_t)count, sizeof *mask);
    enum status st = ST_FAIL;
    if (!values || !mask) {
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", grad);
        goto done;
    }
    if (tensor_file_read_f32(g->expected, t, values, err) != ST_OK)
        goto done;
    double largest = 0.0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)values[i]));
    for (int64_t i = 0; i < count; i++)
        mask[i] = values[i] != 0.0f && fabs((double)values[i]) < 1e-3 * largest;
    *skip = mask;
    mask = NULL;
    st = ST_OK;
done:
    mem_free(values);
    mem_free(mask);
    return st;
}

static void measure(struct verdict *v, const float *made, const float *want, const bool *skip,
                    int64_t count)
{
    double sum = 0.0, norm = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double e = (double)made[i] - (double)want[i];
        if (!isfinite(made[i]) || !isfinite(want[i])) {
            v->text = "FAIL: not finite";
            return;
        }
        if (skip && skip[i])
            continue;
        sum += e * e;
        norm += (double)want[i] * (double)want[i];
        v->abs = fmax(v->abs, fabs(e));
    }
    v->rel = norm > 0.0 ? sqrt(sum / norm) : sum > 0.0 ? HUGE_VAL : 0.0;
    v->text = "FAIL";
}

static bool listed(const struct golden *g, const char *list, const char *name)
{
    const struct json_value *all = json_get(g->root, list);
    for (const struct json_value *v = all ? all->child : NULL; v; v = v->next)
        if (v->type == JSON_T_STRING && strcmp(v->text, name) == 0)
            return true;
    return false;
}

static void judge(const struct golden *g, const char *name, struct verdict *v)
{
    struct golden_bound b;
    if (!golden_bound(g, name, &b)) {
        v->text = "FAIL: case.json has no tolerance";
        return;
    }
    const bool null = strncmp(name, "grad.", 5) == 0 && listed(g, "null_gradient", name + 5);
    v->passed = v->abs <= b.abs || (!null && v->rel <= b.rel);
    v->skipped = b.skip && !v->passed;
    v->text = v->passed ? "pass" : v->skipped ? "not compared in bf16" : "FAIL";
}

/* All gradients as one vector: product with the expected one, and both norms squared. */
struct angle {
    double dot, made, want;
};
static void add_angle(struct angle *a, const char *name, const float *made, const float *want,
                      int64_t count)
{
    for (int64_t i = 0; i < (strncmp(name, "grad.", 5) == 0 ? count : 0); i++) {
        a->dot += (double)made[i] * (double)want[i];
        a->made += (double)made[i] * (double)made[i];
        a->want += (double)want[i] * (double)want[i];
    }
}

static struct verdict compare(const struct golden *g, const struct tensor_info *t, struct angle *a)
{
    struct verdict v = { .text = "FAIL: not made" };
    struct error one = { 0 };
    uint64_t at = 0;
    bool *skip = NULL;
    if (!hash_map_get(g->made, t->name, strlen(t->name), &at))
        return v;
    if (g->list[at].count != t->count) {
        v.text = "FAIL: another size";
        return v;
    }
    float *want = mem_alloc((size_t)(t->count > 0 ? t->count : 1) * sizeof *want);
    if (!want || tensor_file_read_f32(g->expected, t, want, &one) != ST_OK ||
        sign_mask(g, t->name, t->count, &skip, &one) != ST_OK) {
        v.text = "FAIL: cannot be read";
        goto done;
    }
    v.text = "";
    measure(&v, g->list[at].data, want, skip, t->count);
    add_angle(a, t->name, g->list[at].data, want, t->count);
    if (strcmp(v.text, "FAIL") == 0)
        judge(g, t->name, &v);
done:
    mem_free(want);
    mem_free(skip);
    return v;
}

static void print_row(FILE *to, const struct tensor_info *t, const struct verdict *v)
{
    char shape[64] = "[";
    size_t used = 1;
    for (int i = 0; i < t->rank && used < 48; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, i ? ",%" PRId64 : "%" PRId64,
                                 t->shape[i]);
    snprintf(shape + used, sizeof shape - used, "]");
    fprintf(to, "%-88s %-20s %10.3g %10.3g  %s\n", t->name, shape, v->rel, v->abs, v->text);
}

/* 1 where the gradients as one vector point elsewhere than the case allows in bfloat16. */
static int compare_angle(const struct golden *g, const struct angle *a, FILE *to)
{
    double least = 0.0;
    if (!golden_bound_cosine(g, &least))
        return 0;
    const double norms = sqrt(a->made) * sqrt(a->want), cosine = norms > 0.0 ? a->dot / norms : 0.0;
    const bool passed = cosine >= least;
    fprintf(to, "all gradients as one vector: cosine %.6f, at least %.6f: %s\n", cosine, least,
            passed ? "pass" : "FAIL");
    return !passed;
}

int golden_compare(struct golden *g, FILE *to)
{
    int passed = 0, failed = 0, skipped = 0;
    struct angle all = { 0 };
    fprintf(to, "%-88s %-20s %10s %10s  %s\n", "name", "shape", "relative", "absolute", "verdict");
    for (size_t i = 0; i < tensor_file_count(g->expected); i++) {
        const struct tensor_info *t = tensor_file_at(g->expected, i);
        const struct verdict v = compare(g, t, &all);
        print_row(to, t, &v);
        passed += v.passed;
        skipped += v.skipped;
        failed += !v.passed && !v.skipped;
    }
    if (skipped > 0)
        fprintf(to, "%d not compared in bf16, as case.json says\n", skipped);
    failed += compare_angle(g, &all, to);
    fprintf(to, "%d passed, %d failed\n", passed, failed);
    return failed;
}
