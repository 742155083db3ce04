/* trainer/checkpoint.c: finds, checks and loads checkpoints. Nothing is used before its digest held. */
#include "trainer/checkpoint.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "trainer/checkpoint_private.h"
#include "trainer/safetensors.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: checkpoint");
}

bool checkpoint_any(const char *folder)
{
    char **names = NULL;
    size_t count = 0;
    bool any = false;
    if (!file_exists(folder) || file_list(folder, &names, &count, NULL) != ST_OK)
        return false;
    for (size_t i = 0; i < count; i++)
        any = any || strncmp(names[i], "step-", 5) == 0;
    file_list_free(&names, count);
    return any;
}

static enum status check_all(const char *path, struct error *err)
{
    struct checkpoint_digest files[CHECKPOINT_FILES];
    int64_t step = 0;
    enum status st = checkpoint_manifest_read(path, &step, files, err);
    for (int i = 0; i < CHECKPOINT_FILES && st == ST_OK; i++)
        st = checkpoint_file_check(path, (enum checkpoint_file)i, &files[i], err);
    return st;
}

enum status checkpoint_find(char **path, const char *folder, struct error *err)
{
    char **names = NULL;
    size_t count = 0;
    enum status st = ST_END;

    *path = NULL;
    if (!file_exists(folder))
        return ST_END;
    if (file_list(folder, &names, &count, err) != ST_OK)
        return ST_FAIL;
    while (st == ST_END) {
        struct error why = { 0 };
        size_t best = count;
        for (size_t i = 0; i < count; i++)
            if (names[i] && checkpoint_name_whole(names[i]) &&
                (best == count || checkpoint_name_later(names[i], names[best])))
                best = i;
        if (best == count)
            break;
        *path = path_join(folder, names[best]);
        mem_free(names[best]);
        names[best] = NULL;
        if (!*path) {
            st = no_memory(err);
        } else if (check_all(*path, &why) == ST_OK) {
            st = ST_OK;
        } else {
            log_line(LOG_WARN, "checkpoint passed over: %s", why.text);
            mem_free(*path);
            *path = NULL;
        }
    }
    for (size_t i = 0; i < count; i++)
        mem_free(names[i]);
    mem_free(names);
    return st;
}

static enum status read_state(struct checkpoint *c, const struct buffer *text, struct error *err)
{
    struct json_options opt;
    struct json_value *root = NULL;
    struct arena arena;

    json_options_init(&opt);
    arena_init(&arena, 0);
    enum status st = json_parse(&arena, &root, text->data, text->size, &opt, err);
    if (st == ST_OK &&
        (!json_value_int64(json_get(root, "step"), &c->step) ||
         !json_value_int64(json_get(root, "skipped"), &c->skipped) ||
         !json_value_int64(json_get(root, "damaged"), &c->damaged) || !json_get(root, "data")))
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s/state.json: a member is missing", c->path);
    if (st == ST_OK) { /* "data" is the last member: its text runs to the closing brace */
        const uint64_t at = json_get(root, "data")->offset;
        st = buffer_append(&c->data, text->data + at, text->size - 1 - at, err);
    }
    arena_clear(&arena);
    return st;
}

enum status checkpoint_open(struct checkpoint **out, const char *path, struct error *err)
{
    struct checkpoint *c = mem_calloc(1, sizeof *c);
    struct buffer state;
    enum status st = ST_FAIL;

    *out = NULL;
    if (!c)
        return no_memory(err);
    buffer_init(&state);
    c->path = mem_strdup(path);
    char *state_path = path_join(path, checkpoint_file_names[CHECKPOINT_STATE]);
    char *recipe_path = path_join(path, checkpoint_file_names[CHECKPOINT_RECIPE]);
    if (!c->path || !state_path || !recipe_path)
        no_memory(err);
    else
        st = check_all(path, err);
    if (st == ST_OK)
        st = file_read_all(&state, state_path, CHECKPOINT_TEXT_MAX, err);
    if (st == ST_OK)
        st = read_state(c, &state, err);
    if (st == ST_OK)
        st = file_read_all(&c->recipe, recipe_path, CHECKPOINT_TEXT_MAX, err);
    buffer_clear(&state);
    mem_free(state_path);
    mem_free(recipe_path);
    if (st != ST_OK)
        checkpoint_close(&c);
    *out = c;
    return st;
}

struct loading {
    struct params *params;
    struct buffer problems;
    struct error inner;
};

/* Reads `name` of the file into `to`, or notes why not. */
static void load_tensor(struct loading *l, const struct tensor_file *f, const char *name,
                        const struct param *p, float *to)
{
    const struct tensor_info *t = tensor_file_find(f, name);
    bool same = t && t->rank == p->rank && t->type == TENSOR_F32;
    for (int i = 0; same && i < p->rank; i++)
        same = t->shape[i] == p->shape[i];
    if (!t)
        buffer_printf(&l->problems, &l->inner, "; %s is missing", name);
    else if (!same)
        buffer_printf(&l->problems, &l->inner, "; %s has another shape", name);
    else if (l->inner.cause == CAUSE_NONE)
        tensor_file_read_f32(f, t, to, &l->inner);
}

static void load_file(struct loading *l, const char *folder, enum checkpoint_file which, float *m,
                      float *v)
{
    const bool moments = which == CHECKPOINT_OPTIMIZER;
    struct tensor_file *f = NULL;
    size_t wanted = 0;
    char *path = path_join(folder, checkpoint_file_names[which]);

    if (!path)
        no_memory(&l->inner);
    else
        safetensors_open(&f, path, &l->inner);
    for (size_t i = 0; f && i < l->params->count; i++) {
        struct param *p = &l->params->list[i];
        if (p->trainable != (which != CHECKPOINT_FROZEN))
            continue;
        wanted += moments ? 2 : 1;
        if (!moments) {
            load_tensor(l, f, p->name, p, p->value);
            continue;
        }
        char *name = str_format("m.%s", p->name);
        if (!name) {
            no_memory(&l->inner);
            break;
        }
        load_tensor(l, f, name, p, m + p->offset);
        name[0] = 'v';
        load_tensor(l, f, name, p, v + p->offset);
        mem_free(name);
    }
    if (f && l->problems.size == 0 && tensor_file_count(f) != wanted)
        buffer_printf(&l->problems, &l->inner, "; %s holds %zu tensors, the model has %zu",
                      checkpoint_file_names[which], tensor_file_count(f), wanted);
    tensor_file_close(&f);
    mem_free(path);
}

/* The first fault, or all problems in one text. */
static enum status finish_loading(struct loading *l, const struct checkpoint *c, struct error *err)
{
    enum status st = ST_OK;
    if (l->inner.cause != CAUSE_NONE)
        st = error_set(err, ST_FAIL, l->inner.cause, "%s", l->inner.text);
    else if (l->problems.size > 0)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: %s", c->path,
                       (const char *)l->problems.data + 2);
    buffer_clear(&l->problems);
    return st;
}

enum status checkpoint_load(const struct checkpoint *c, struct params *params, float *m, float *v,
                            struct error *err)
{
    struct loading l = { .params = params };

    buffer_init(&l.problems);
    load_file(&l, c->path, CHECKPOINT_WEIGHTS, m, v);
    load_file(&l, c->path, CHECKPOINT_FROZEN, m, v);
    load_file(&l, c->path, CHECKPOINT_OPTIMIZER, m, v);
    return finish_loading(&l, c, err);
}

/* The file that has a tensor of this name, frozen ones being looked up last. */
static void load_value(struct loading *l, struct tensor_file *const files[2], struct param *p)
{
    const bool trained = tensor_file_find(files[0], p->name) != NULL;
    load_tensor(l, files[trained ? 0 : 1], p->name, p, p->value);
}

enum status checkpoint_load_values(const struct checkpoint *c, struct params *params,
                                   struct error *err)
{
    static const enum checkpoint_file from[2] = { CHECKPOINT_WEIGHTS, CHECKPOINT_FROZEN };
    struct loading l = { .params = params };
    struct tensor_file *files[2] = { NULL, NULL };

    buffer_init(&l.problems);
    for (int i = 0; i < 2 && l.inner.cause == CAUSE_NONE; i++) {
        char *path = path_join(c->path, checkpoint_file_names[from[i]]);
        if (!path)
            no_memory(&l.inner);
        else
            safetensors_open(&files[i], path, &l.inner);
        mem_free(path);
    }
    for (size_t i = 0; i < params->count && l.inner.cause == CAUSE_NONE; i++)
        load_value(&l, files, &params->list[i]);
    tensor_file_close(&files[0]);
    tensor_file_close(&files[1]);
    return finish_loading(&l, c, err);
}

void checkpoint_close(struct checkpoint **c)
{
    if (!*c)
        return;
    buffer_clear(&(*c)->data);
    buffer_clear(&(*c)->recipe);
    mem_free((*c)->path);
    mem_free(*c);
    *c = NULL;
}

bool checkpoint_is(const char *path)
{
    char *manifest = path_join(path, "manifest.json");
    const bool there = manifest && file_exists(manifest);
    mem_free(manifest);
    return there;
}

enum status checkpoint_verify(const char *path, struct buffer *findings, size_t *count,
                              struct error *err)
{
    struct checkpoint_digest files[CHECKPOINT_FILES];
    struct error why = { 0 };
    int64_t step = 0;
    enum status st = ST_OK;

    *count = 0;
    if (checkpoint_manifest_read(path, &step, files, &why) != ST_OK) {
        *count = 1;
        return buffer_printf(findings, err, "%s\n", why.text);
    }
    for (int i = 0; i < CHECKPOINT_FILES && st == ST_OK; i++) {
        error_clear(&why);
        if (checkpoint_file_check(path, (enum checkpoint_file)i, &files[i], &why) == ST_OK)
            continue;
        ++*count;
        st = buffer_printf(findings, err, "%s\n", why.text);
    }
    return st;
}
