/* cli/golden.c: the case: its files, sizes and inputs. See golden.h. */
#include "cli/golden.h"

#include "trainer/weight_names.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/log.h"
#include "trainer/planner.h"

enum { CASE_MAX_BYTES = 64 << 20, FINDINGS_SHOWN = 100 };
static const int64_t CASE_SIZE_MAX = (int64_t)1 << 20; /* widths, sides, rows */
static const int64_t CASE_LOOP_MAX = 1024;             /* layers and the like */
static const double CASE_MEMORY_MAX = 8.0 * 1024 * 1024 * 1024;

/* A failed append loses the text, not the count. */
static void note(struct golden *g, const char *text)
{
    g->n_findings++;
    if (g->n_findings <= FINDINGS_SHOWN)
        (void)buffer_append(&g->findings, text, strlen(text) + 1, NULL);
}

void golden_note(void *arg, const char *text)
{
    note(arg, text);
}

void golden_problem(struct golden *g, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    note(g, text);
}

void golden_flaw(struct golden *g, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    note(g, text);
    g->n_flaws++;
}

enum status golden_ready(const struct golden *g, struct error *err)
{
    if (g->n_findings == g->n_flaws)
        return ST_OK;
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: the case cannot be run", g->folder);
}

int golden_report(const struct golden *g)
{
    const char *text = (const char *)g->findings.data;
    for (size_t at = 0; at < g->findings.size; at += strlen(text + at) + 1)
        log_line(LOG_ERROR, "%s: %s", g->folder, text + at);
    if (g->n_findings > FINDINGS_SHOWN)
        log_line(LOG_ERROR, "%s: and %d more", g->folder, g->n_findings - FINDINGS_SHOWN);
    return g->n_findings;
}

/* A file that does not open is a problem of the case; being out of memory is not. */
static enum status note_error(struct golden *g, struct error *one, struct error *err)
{
    if (one->cause == CAUSE_NOMEM)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", one->text);
    golden_problem(g, "%s", one->text);
    return ST_OK;
}

static enum status open_tensors(struct golden *g, struct tensor_file **out, const char *name,
                                struct error *err)
{
    struct error one = { 0 };
    char *path = path_join(g->folder, name);
    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: path");
    enum status st = safetensors_open(out, path, &one);
    if (st != ST_OK)
        st = note_error(g, &one, err);
    mem_free(path);
    return st;
}

static enum status open_json(struct golden *g, struct error *err)
{
    struct error one = { 0 };
    struct buffer text = { 0 };
    struct json_options opt;
    char *path = path_join(g->folder, "case.json");
    if (!path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: path");
    json_options_init(&opt);
    enum status st = file_read_all(&text, path, CASE_MAX_BYTES, &one);
    if (st == ST_OK)
        st = json_parse(&g->memory, &g->root, text.data, text.size, &opt, &one);
    if (st == ST_OK && g->root->type != JSON_T_OBJECT)
        st = error_set(&one, ST_FAIL, CAUSE_FORMAT, "not an object");
    if (st != ST_OK) {
        g->root = NULL;
        error_prefix(&one, st, "%s", path);
        st = note_error(g, &one, err);
    }
    buffer_clear(&text);
    mem_free(path);
    return st;
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static void check_numbers(struct golden *g, const struct tensor_info *t)
{
    struct error one = { 0 };
    float *values = mem_alloc((size_t)t->count * sizeof *values + 1);
    if (!values)
        golden_problem(g, "out of memory: %s", t->name);
    else if (tensor_file_read_f32(g->expected, t, values, &one) != ST_OK)
        golden_flaw(g, "%s", one.text);
    else if (!all_finite(values, t->count))
        golden_flaw(g, "expected.safetensors: %s: holds a number that is not finite", t->name);
    mem_free(values);
}

static bool is_bound(const struct json_value *v)
{
    return v && v->type == JSON_T_NUMBER && v->number >= 0.0;
}

/* Expected tensors and tolerances name each other. */
static void check_expected(struct golden *g)
{
    const struct json_value *all = g->root ? json_get(g->root, "tolerances") : NULL;
    if (!g->root || !g->expected)
        return;
    if (!all || all->type != JSON_T_OBJECT)
        golden_flaw(g, "case.json: tolerances: %s", all ? "is no object" : "is missing");
    for (const struct json_value *v = all ? all->child : NULL; v; v = v->next) {
        if (!tensor_file_find(g->expected, v->key))
            golden_flaw(g, "expected.safetensors: %s is missing", v->key);
        if (!is_bound(json_get(v, "rel_l2")) || !is_bound(json_get(v, "abs")))
            golden_flaw(g, "case.json: tolerances.%s: want rel_l2 and abs", v->key);
    }
    for (size_t i = 0; i < tensor_file_count(g->expected); i++) {
        const struct tensor_info *t = tensor_file_at(g->expected, i);
        if (t->type != TENSOR_F32 && t->type != TENSOR_I32)
            golden_flaw(g, "expected.safetensors: %s: %s, want F32 or I32", t->name,
                        tensor_type_name(t->type));
        check_numbers(g, t);
    }
}

enum status golden_open(struct golden **out, const char *folder,
                        const struct placement_options *place, struct error *err)
{
    struct golden *g = mem_calloc(1, sizeof *g);
    *out = NULL;
    if (!g)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: case");
    g->folder = folder;
    g->place = *place;
    arena_init(&g->memory, 0);
    if (hash_map_open(&g->made, 512, err) != ST_OK || open_json(g, err) != ST_OK ||
        open_tensors(g, &g->weights, "weights.safetensors", err) != ST_OK ||
        open_tensors(g, &g->inputs, "inputs.safetensors", err) != ST_OK ||
        open_tensors(g, &g->expected, "expected.safetensors", err) != ST_OK) {
        golden_close(&g);
        return ST_FAIL;
    }
    check_expected(g);
    if (g->place.storage == DT_BF16 && g->root && !golden_has_bf16(g))
        g->place.storage = DT_F32;
    *out = g;
    return ST_OK;
}

/* The member a dotted path leads to. */
const struct json_value *golden_value(const struct golden *g, const char *key)
{
    const struct json_value *v = g->root;
    while (v && *key) {
        char part[64];
        const size_t n = strcspn(key, ".");
        if (n >= sizeof part)
            return NULL;
        memcpy(part, key, n);
        part[n] = '\0';
        v = json_get(v, part);
        key += n + (key[n] == '.');
    }
    return v;
}

static const struct json_value *number(struct golden *g, const char *key)
{
    const struct json_value *v = golden_value(g, key);
    if (v && v->type == JSON_T_NUMBER && isfinite(v->number))
        return v;
    golden_problem(g, "case.json: %s: %s", key, v ? "is no number" : "is missing");
    return NULL;
}

/* Numbers that something is repeated by. */
static int64_t largest(const char *key)
{
    static const char *const loops[] = { "layers", "layers_per_block", "depths", "resnets",
                                         "steps",  "inference_steps" };
    const char *last = strrchr(key, '.');
    for (size_t i = 0; i < sizeof loops / sizeof loops[0]; i++)
        if (strcmp(last ? last + 1 : key, loops[i]) == 0)
            return CASE_LOOP_MAX;
    return CASE_SIZE_MAX;
}

static int64_t checked_int(struct golden *g, const struct json_value *v, const char *key,
                           int64_t low)
{
    int64_t n = 0;
    const int64_t high = largest(key);
    if (v && json_value_int64(v, &n) && n >= low && n <= high)
        return n;
    if (v)
        golden_problem(g, "case.json: %s: got %.40s, want an integer from %" PRId64 " to %" PRId64,
                       key, v->text ? v->text : "?", low, high);
    return low > 1 ? low : 1;
}

int64_t golden_int_from(struct golden *g, const char *key, int64_t low)
{
    return checked_int(g, number(g, key), key, low);
}

int64_t golden_int(struct golden *g, const char *key)
{
    return golden_int_from(g, key, 1);
}

double golden_real(struct golden *g, const char *key)
{
    const struct json_value *v = number(g, key);
    return v ? v->number : 1.0;
}

double golden_positive(struct golden *g, const char *key)
{
    const double v = golden_real(g, key);
    if (v > 0.0)
        return v;
    golden_problem(g, "case.json: %s: got %g, want more than 0", key, v);
    return 1.0;
}

bool golden_flag(struct golden *g, const char *key)
{
    const struct json_value *v = golden_value(g, key);
    int64_t n = 0;
    if (v && v->type == JSON_T_BOOL)
        return v->boolean;
    if (v && json_value_int64(v, &n) && (n == 0 || n == 1))
        return n == 1;
    golden_problem(g, "case.json: %s: %s", key, v ? "is no boolean" : "is missing");
    return false;
}

void *golden_memory(struct golden *g, int64_t n, size_t size)
{
    void *data = arena_alloc(&g->memory, (size_t)n + 1, size);
    if (!data)
        golden_problem(g, "out of memory: %" PRId64 " numbers", n);
    else
        memset(data, 0, ((size_t)n + 1) * size);
    return data;
}

const char *golden_text(struct golden *g, const char *key)
{
    const struct json_value *v = golden_value(g, key);
    if (v && v->type == JSON_T_STRING)
        return v->text;
    golden_problem(g, "case.json: %s: %s", key, v ? "is no text" : "is missing");
    return "";
}

static const struct json_value *list(struct golden *g, const char *key, int cap)
{
    const struct json_value *v = golden_value(g, key);
    if (v && v->type == JSON_T_ARRAY && v->count >= 1 && v->count <= (size_t)cap)
        return v;
    golden_problem(g, "case.json: %s: %s", key,
                   !v ? "is missing" : "is no list, empty or too long");
    return NULL;
}

int golden_ints(struct golden *g, const char *key, int64_t *out, int cap)
{
    const struct json_value *v = list(g, key, cap);
    int n = 0;
    for (const struct json_value *c = v ? v->child : NULL; c; c = c->next)
        out[n++] = checked_int(g, c, key, 1);
    if (n == 0)
        out[n++] = 1;
    for (int i = n; i < cap; i++)
        out[i] = 1;
    return n;
}

int golden_reals(struct golden *g, const char *key, double *out, int cap)
{
    const struct json_value *v = list(g, key, cap);
    int n = 0;
    for (const struct json_value *c = v ? v->child : NULL; c; c = c->next)
        out[n++] = c->type == JSON_T_NUMBER ? c->number : 1.0;
    if (n == 0)
        out[n++] = 1.0;
    return n;
}

bool golden_has_input(const struct golden *g, const char *name)
{
    return tensor_file_find(g->inputs, name) != NULL;
}

/* The input, if its shape fits; fills the open axes. */
static const struct tensor_info *find_input(struct golden *g, const char *name, int rank,
                                            int64_t *shape)
{
    const struct tensor_info *t = tensor_file_find(g->inputs, name);
    char text[128] = "";
    if (!t) {
        golden_problem(g, "inputs.safetensors: %s is missing", name);
        return NULL;
    }
    bool fits = !shape || t->rank == rank;
    for (int i = 0; shape && fits && i < rank; i++)
        fits = shape[i] < 0 || shape[i] == t->shape[i];
    for (int i = 0; shape && fits && i < rank; i++)
        shape[i] = t->shape[i];
    if (fits)
        return t;
    tensor_info_text(text, sizeof text, t);
    size_t used = strlen(text);
    for (int i = 0; i < rank && used < 100; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, i ? ",%" PRId64 : " [%" PRId64,
                                 shape[i]);
    golden_problem(g, "inputs.safetensors: %s: got and want %s]", name, text);
    return NULL;
}

static bool is_float(enum tensor_type type)
{
    return type == TENSOR_F32 || type == TENSOR_F64 || type == TENSOR_BF16 || type == TENSOR_F16;
}

/* Numbers of an input into `out`; a NaN is a problem, and so are integers where floats are wanted. */
static void read_values(struct golden *g, const struct tensor_info *t, bool ids, void *out)
{
    struct error one = { 0 };
    if (!ids && !is_float(t->type)) {
        golden_problem(g, "inputs.safetensors: %s: %s, want floats", t->name,
                       tensor_type_name(t->type));
        return;
    }
    const enum status st = ids ? tensor_file_read_i32(g->inputs, t, out, &one)
                               : tensor_file_read_f32(g->inputs, t, out, &one);
    if (st != ST_OK)
        golden_problem(g, "%s", one.text);
    else if (!ids && !all_finite(out, t->count))
        golden_problem(g, "inputs.safetensors: %s: holds a number that is not finite", t->name);
}

static void *read_input(struct golden *g, const struct tensor_info *t, bool ids)
{
    void *data = t ? arena_alloc(&g->memory, (size_t)t->count + 1, 4) : NULL;
    if (!t)
        return NULL;
    if (!data) {
        golden_problem(g, "out of memory: %s", t->name);
        return NULL;
    }
    const int before = g->n_findings;
    read_values(g, t, ids, data);
    return g->n_findings == before ? data : NULL;
}

const float *golden_input(struct golden *g, const char *name, int rank, int64_t *shape)
{
    return read_input(g, find_input(g, name, rank, shape), false);
}

const int32_t *golden_ids(struct golden *g, const char *name, int rank, int64_t *shape)
{
    return read_input(g, find_input(g, name, rank, shape), true);
}

/* Shapes agree where one has the other's axes cut finer: [B,L,C] is [B L,C], but not [C,B L]. */
static bool is_refined(const int64_t *coarse, int n_coarse, const int64_t *fine, int n_fine)
{
    int k = 0;
    for (int i = 0; i < n_coarse; i++) {
        int64_t product = 1;
        while (k < n_fine && product < coarse[i])
            product *= fine[k++];
        while (k < n_fine && fine[k] == 1 && product == coarse[i])
            k++;
        if (product != coarse[i])
            return false;
    }
    return k == n_fine;
}

void golden_set_from(struct golden *g, struct runner *r, const struct program *p, const char *name,
                     const char *input)
{
    const int id = program_find(p, name);
    const struct tensor *x = program_tensor(p, id);
    const struct tensor_info *t = find_input(g, input, 0, NULL);
    if (!t)
        return;
    if (id == TENSOR_NONE || t->count != x->count ||
        (t->count > 0 && !is_refined(t->shape, t->rank, x->shape, x->rank) &&
         !is_refined(x->shape, x->rank, t->shape, t->rank))) {
        char got[128], want[128];
        struct tensor_info w = { .type = t->type, .rank = x->rank };
        memcpy(w.shape, x->shape, (size_t)x->rank * sizeof *w.shape);
        tensor_info_text(got, sizeof got, t);
        tensor_info_text(want, sizeof want, &w);
        golden_problem(g, "inputs.safetensors: %s: got %s, want %s or finer", input, got, want);
        return;
    }
    read_values(g, t, x->role == ROLE_INDEX, runner_data(r, id));
}

void golden_set(struct golden *g, struct runner *r, const struct program *p, const char *name)
{
    golden_set_from(g, r, p, name, name);
}

static const struct tensor_info *find_weight(const struct golden *g, const char *name)
{
    char older[256];
    const struct tensor_info *t = tensor_file_find(g->weights, name);
    return t || !weight_name_older(older, sizeof older, name) ? t
                                                              : tensor_file_find(g->weights, older);
}

static bool same_shape(const struct tensor_info *t, const struct param *q)
{
    bool same = t->rank == q->rank;
    for (int i = 0; same && i < q->rank; i++)
        same = t->shape[i] == q->shape[i];
    return same;
}

static void check_weight(struct golden *g, const struct param *q)
{
    const struct tensor_info *t = find_weight(g, q->name);
    char got[128], want[128];
    if (!t && !q->buffer)
        golden_problem(g, "weights.safetensors: %s is missing", q->name);
    if (!t || (same_shape(t, q) && is_float(t->type)))
        return;
    struct tensor_info w = { .type = TENSOR_F32, .rank = q->rank };
    memcpy(w.shape, q->shape, (size_t)q->rank * sizeof *w.shape);
    tensor_info_text(got, sizeof got, t);
    tensor_info_text(want, sizeof want, &w);
    golden_problem(g, "weights.safetensors: %s: got %s, want %s", q->name, got, want);
}

void golden_check_weights(struct golden *g, const struct params *params)
{
    for (size_t i = 0; i < params->count; i++)
        check_weight(g, &params->list[i]);
}

static void load_one(struct golden *g, struct param *q)
{
    struct error one = { 0 };
    const struct tensor_info *t = find_weight(g, q->name);
    if (!t || tensor_file_read_f32(g->weights, t, q->value, &one) != ST_OK)
        golden_problem(g, "%s", t ? one.text : q->name);
    else if (!all_finite(q->value, q->count))
        golden_problem(g, "weights.safetensors: %s: holds a number that is not finite", q->name);
}

enum status golden_load(struct golden *g, struct params *params, struct error *err)
{
    golden_check_weights(g, params);
    if (golden_ready(g, err) != ST_OK || params_allocate(params, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < params->count; i++)
        if (!params->list[i].buffer)
            load_one(g, &params->list[i]);
    if (golden_ready(g, err) != ST_OK)
        return ST_FAIL;
    return placement_upload(g->where, err);
}

enum status golden_params(struct golden *g, struct params **params, params_trainable_fn *trainable,
                          const void *arg, struct error *err)
{
    if (params_open(params, trainable, arg, err) != ST_OK)
        return ST_FAIL;
    return placement_open(&g->where, *params, &g->place, err);
}

static bool everything_trains(const void *arg, const char *name)
{
    (void)arg;
    (void)name;
    return true;
}

enum status golden_program(struct golden *g, struct params **params, struct program **p,
                           struct error *err)
{
    if (golden_params(g, params, everything_trains, NULL, err) != ST_OK)
        return ST_FAIL;
    return program_open(p, *params, true, err);
}

/* The sum over all tensors is quick and bounds the plan from above; only a large one is planned. */
enum status golden_check_memory(struct golden *g, const struct program *p, struct error *err)
{
    struct memory_plan *plan = NULL;
    double arena = 0.0, batch = 0.0;
    for (int t = 1; t < p->n_tensors; t++) {
        const struct tensor *x = &p->tensors[t];
        arena += x->base == TENSOR_NONE && x->place == PLACE_ARENA ? 4.0 * (double)x->count : 0.0;
        batch += x->base == TENSOR_NONE && x->place == PLACE_BATCH ? 4.0 * (double)x->count : 0.0;
    }
    if (arena + batch > CASE_MEMORY_MAX && batch <= CASE_MEMORY_MAX) {
        if (planner_open(&plan, p, DT_F32, err) != ST_OK)
            return ST_FAIL;
        arena = (double)plan->arena_bytes;
        planner_close(&plan);
    }
    if (arena + batch > CASE_MEMORY_MAX)
        golden_problem(g, "case.json: sizes that need %.1f GiB, more than the %.0f a case may",
                       (arena + batch) / (1 << 30), CASE_MEMORY_MAX / (1 << 30));
    return golden_ready(g, err);
}

enum status golden_runner(struct golden *g, struct params *params, struct program *p,
                          struct runner **r, struct error *err)
{
    struct error one = { 0 };
    if (program_finish(p, &one) != ST_OK) {
        if (one.cause == CAUSE_NOMEM)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", one.text);
        golden_problem(g, "%s", one.text);
    }
    if (golden_ready(g, err) != ST_OK || golden_check_memory(g, p, err) != ST_OK ||
        golden_load(g, params, err) != ST_OK)
        return ST_FAIL;
    return runner_open(r, p, g->where, err);
}
