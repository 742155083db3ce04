/* cli/golden.c: the case: its files, sizes and inputs. See golden.h. */
#include "cli/golden.h"

#include "trainer/weight_names.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"

enum { CASE_MAX_BYTES = 64 << 20, CASE_PROBLEMS_SHOWN = 20 };
static const int64_t CASE_SIZE_MAX = (int64_t)1 << 30;

void golden_problem(struct golden *g, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    g->n_problems++;
    if (g->n_problems <= CASE_PROBLEMS_SHOWN) /* a failed append loses text, not the count */
        (void)buffer_printf(&g->problems, NULL, "%s%s", g->n_problems > 1 ? "; " : "", text);
}

enum status golden_ready(const struct golden *g, struct error *err)
{
    if (g->n_problems == 0)
        return ST_OK;
    const char *more = g->n_problems > CASE_PROBLEMS_SHOWN ? "; and more" : "";
    return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: %d problem%s: %.*s%s", g->folder,
                     g->n_problems, g->n_problems > 1 ? "s" : "", (int)g->problems.size,
                     g->problems.data ? (const char *)g->problems.data : "", more);
}

/* A file that does not open is a problem of the case; being out of memory is not. */
static enum status note(struct golden *g, struct error *one, struct error *err)
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
        st = note(g, &one, err);
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
        st = note(g, &one, err);
    }
    buffer_clear(&text);
    mem_free(path);
    return st;
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
        open_tensors(g, &g->expected, "expected.safetensors", err) != ST_OK ||
        golden_ready(g, err) != ST_OK) {
        golden_close(&g);
        return ST_FAIL;
    }
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

static int64_t checked_int(struct golden *g, const struct json_value *v, const char *key,
                           int64_t low)
{
    int64_t n = 0;
    if (v && json_value_int64(v, &n) && n >= low && n <= CASE_SIZE_MAX)
        return n;
    if (v)
        golden_problem(g, "case.json: %s: got %.40s, want an integer from %" PRId64, key,
                       v->text ? v->text : "?", low);
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

static void *read_input(struct golden *g, const struct tensor_info *t, bool ids)
{
    struct error one = { 0 };
    void *data = t ? arena_alloc(&g->memory, (size_t)t->count + 1, 4) : NULL;
    if (!t)
        return NULL;
    if (!data) {
        golden_problem(g, "out of memory: %s", t->name);
        return NULL;
    }
    const enum status st = ids ? tensor_file_read_i32(g->inputs, t, data, &one)
                               : tensor_file_read_f32(g->inputs, t, data, &one);
    if (st == ST_OK)
        return data;
    golden_problem(g, "%s", one.text);
    return NULL;
}

const float *golden_input(struct golden *g, const char *name, int rank, int64_t *shape)
{
    return read_input(g, find_input(g, name, rank, shape), false);
}

const int32_t *golden_ids(struct golden *g, const char *name, int rank, int64_t *shape)
{
    return read_input(g, find_input(g, name, rank, shape), true);
}

void golden_set_from(struct golden *g, struct runner *r, const struct program *p, const char *name,
                     const char *input)
{
    struct error one = { 0 };
    const int id = program_find(p, name);
    const struct tensor *x = program_tensor(p, id);
    const struct tensor_info *t = find_input(g, input, 0, NULL);
    if (!t)
        return;
    if (id == TENSOR_NONE || t->count != x->count) {
        golden_problem(g, "inputs.safetensors: %s: %" PRId64 " elements, want %" PRId64, input,
                       t->count, x->count);
        return;
    }
    const enum status st = x->role == ROLE_INDEX
                               ? tensor_file_read_i32(g->inputs, t, runner_data(r, id), &one)
                               : tensor_file_read_f32(g->inputs, t, runner_data(r, id), &one);
    if (st != ST_OK)
        golden_problem(g, "%s", one.text);
}

void golden_set(struct golden *g, struct runner *r, const struct program *p, const char *name)
{
    golden_set_from(g, r, p, name, name);
}

static void load_one(struct golden *g, struct param *q)
{
    struct error one = { 0 };
    const struct tensor_info *t = tensor_file_find(g->weights, q->name);
    char text[128], older[256];
    if (!t && weight_name_older(older, sizeof older, q->name))
        t = tensor_file_find(g->weights, older);
    if (!t) {
        golden_problem(g, "weights.safetensors: %s is missing", q->name);
        return;
    }
    bool fits = t->rank == q->rank;
    for (int i = 0; fits && i < q->rank; i++)
        fits = t->shape[i] == q->shape[i];
    if (!fits) {
        tensor_info_text(text, sizeof text, t);
        golden_problem(g, "weights.safetensors: %s: got %s, want %" PRId64 " elements of rank %d",
                       q->name, text, q->count, q->rank);
        return;
    }
    if (tensor_file_read_f32(g->weights, t, q->value, &one) != ST_OK)
        golden_problem(g, "%s", one.text);
}

enum status golden_load(struct golden *g, struct params *params, struct error *err)
{
    if (params_allocate(params, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < params->count; i++)
        if (!params->list[i].buffer)
            load_one(g, &params->list[i]);
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

enum status golden_runner(struct golden *g, struct params *params, struct program *p,
                          struct runner **r, struct error *err)
{
    struct error one = { 0 };
    if (program_finish(p, &one) != ST_OK) {
        if (one.cause == CAUSE_NOMEM)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", one.text);
        golden_problem(g, "%s", one.text);
    }
    if (golden_ready(g, err) != ST_OK || golden_load(g, params, err) != ST_OK ||
        golden_ready(g, err) != ST_OK)
        return ST_FAIL;
    return runner_open(r, p, g->where, err);
}
