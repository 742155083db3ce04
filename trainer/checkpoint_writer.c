/* trainer/checkpoint_writer.c: copies the state of a run and writes it on one thread. A folder becomes
 * visible by one rename, after everything in it is on disk; old ones are removed after that. */
#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/pool.h"
#include "trainer/checkpoint_private.h"
#include "trainer/safetensors.h"

struct checkpoint_writer {
    const struct params *params;
    char *folder;
    int64_t keep;
    struct pool *pool;
    float *values, *m, *v; /* copies of the trainable elements */
    struct buffer data, recipe;
    int64_t step, skipped, damaged;
    char *last; /* folder of the last complete one, for the hard link */
    struct checkpoint_digest frozen;
    bool frozen_known;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: checkpoint");
}

enum status checkpoint_writer_open(struct checkpoint_writer **out, const char *folder, int64_t keep,
                                   const struct params *params, struct error *err)
{
    struct checkpoint_writer *w = mem_calloc(1, sizeof *w);
    const size_t n = (size_t)params->trainable_elements + 1;

    *out = NULL;
    if (!w)
        return no_memory(err);
    w->params = params;
    w->keep = keep < 2 ? 2 : keep;
    w->folder = mem_strdup(folder);
    w->values = mem_calloc(n, sizeof *w->values);
    w->m = mem_calloc(n, sizeof *w->m);
    w->v = mem_calloc(n, sizeof *w->v);
    enum status st = w->folder && w->values && w->m && w->v ? ST_OK : no_memory(err);
    if (st == ST_OK)
        st = file_make_folders(folder, err);
    if (st == ST_OK)
        st = pool_open(&w->pool, 1, 1, err);
    if (st != ST_OK)
        checkpoint_writer_close(&w, NULL);
    *out = w;
    return st;
}

/* The tensors of one file: the trainable or the frozen parameters, or both moments of the first. */
static enum status list_tensors(struct safetensors_entry **out, size_t *count,
                                const struct params *params, struct arena *names,
                                enum checkpoint_file which, struct error *err)
{
    const bool moments = which == CHECKPOINT_OPTIMIZER;
    struct safetensors_entry *list = mem_calloc(2 * params->count + 1, sizeof *list);

    *out = list;
    *count = 0;
    for (int part = 0; list && part < (moments ? 2 : 1); part++)
        for (size_t i = 0; i < params->count; i++) {
            const struct param *p = &params->list[i];
            const size_t size = strlen(p->name);
            if (p->trainable != (which != CHECKPOINT_FROZEN))
                continue;
            char *name = arena_alloc(names, size + 3, 1);
            if (!name)
                return no_memory(err);
            memcpy(name, part == 0 ? "m." : "v.", 2);
            memcpy(name + 2, p->name, size + 1);
            struct safetensors_entry *e = &list[(*count)++];
            *e = (struct safetensors_entry){ moments ? name : p->name, TENSOR_F32, p->rank, { 0 } };
            memcpy(e->shape, p->shape, (size_t)p->rank * sizeof e->shape[0]);
        }
    return list ? ST_OK : no_memory(err);
}

static enum status put_tensors(struct safetensors_writer *f, const struct checkpoint_writer *w,
                               enum checkpoint_file which, struct error *err)
{
    enum status st = ST_OK;
    for (int part = 0; part < (which == CHECKPOINT_OPTIMIZER ? 2 : 1); part++)
        for (size_t i = 0; i < w->params->count && st == ST_OK; i++) {
            const struct param *p = &w->params->list[i];
            const float *block = which == CHECKPOINT_WEIGHTS ? w->values : part == 0 ? w->m : w->v;
            if (p->trainable != (which != CHECKPOINT_FROZEN))
                continue;
            st = safetensors_writer_put(
                f, which == CHECKPOINT_FROZEN ? p->value : block + p->offset, p->count, err);
        }
    return st;
}

static enum status write_tensors(const struct checkpoint_writer *w, const char *folder,
                                 enum checkpoint_file which, struct checkpoint_digest *digest,
                                 struct error *err)
{
    struct safetensors_entry *list = NULL;
    struct safetensors_writer *f = NULL;
    struct file_info info;
    struct arena names;
    size_t count = 0;
    char *path = path_join(folder, checkpoint_file_names[which]);

    arena_init(&names, 0);
    enum status st =
        path ? list_tensors(&list, &count, w->params, &names, which, err) : no_memory(err);
    if (st == ST_OK)
        st = safetensors_writer_open(&f, path, list, count, NULL, 0, err);
    if (st == ST_OK)
        st = put_tensors(f, w, which, err);
    if (st == ST_OK)
        st = safetensors_writer_finish(&f, digest->sha256, err);
    safetensors_writer_close(&f);
    if (st == ST_OK)
        st = file_stat(path, &info, err);
    if (st == ST_OK)
        digest->bytes = info.size;
    arena_clear(&names);
    mem_free(list);
    mem_free(path);
    return st;
}

/* The frozen part never changes in a run: a hard link to the checkpoint before, or a new file. */
static enum status write_frozen(struct checkpoint_writer *w, const char *folder, struct error *err)
{
    if (w->last && w->frozen_known) {
        char *from = path_join(w->last, checkpoint_file_names[CHECKPOINT_FROZEN]);
        char *to = path_join(folder, checkpoint_file_names[CHECKPOINT_FROZEN]);
        const bool linked = from && to && file_link(from, to, NULL) == ST_OK;
        mem_free(from);
        mem_free(to);
        if (linked)
            return ST_OK;
    }
    const enum status st = write_tensors(w, folder, CHECKPOINT_FROZEN, &w->frozen, err);
    w->frozen_known = st == ST_OK;
    return st;
}

static enum status write_text(const char *folder, enum checkpoint_file which, const void *data,
                              size_t size, struct checkpoint_digest *digest, struct error *err)
{
    char *path = path_join(folder, checkpoint_file_names[which]);
    const enum status st = path ? file_replace(path, data, size, err) : no_memory(err);
    hash_sha256(digest->sha256, data, size);
    digest->bytes = size;
    mem_free(path);
    return st;
}

static enum status write_state(const struct checkpoint_writer *w, const char *folder,
                               struct checkpoint_digest *digest, struct error *err)
{
    struct buffer text;
    struct json_writer j;

    buffer_init(&text);
    json_writer_init(&j, &text);
    json_begin_object(&j);
    json_key(&j, "step");
    json_int(&j, w->step);
    json_key(&j, "skipped");
    json_int(&j, w->skipped);
    json_key(&j, "damaged");
    json_int(&j, w->damaged);
    json_key(&j, "data");
    json_raw(&j, (const char *)w->data.data, w->data.size);
    json_end_object(&j);
    enum status st = json_writer_finish(&j, err);
    if (st == ST_OK)
        st = write_text(folder, CHECKPOINT_STATE, text.data, text.size, digest, err);
    buffer_clear(&text);
    return st;
}

/* Out of sight by one rename before anything in it goes: a folder with a whole name is complete. */
static enum status retire(const char *path, struct error *err)
{
    char *gone = str_format("%s.gone", path);
    enum status st = gone ? file_remove_tree(gone, err) : no_memory(err);
    if (st == ST_OK && file_exists(path)) {
        st = file_rename(path, gone, err);
        if (st == ST_OK)
            st = file_remove_tree(gone, err);
    }
    mem_free(gone);
    return st;
}

/* Removes unfinished ones that a cut run left, and complete ones of which `keep` are later. */
static enum status prune(const struct checkpoint_writer *w, struct error *err)
{
    char **names = NULL;
    size_t count = 0;
    enum status st = file_list(w->folder, &names, &count, err);

    for (size_t i = 0; i < count && st == ST_OK; i++) {
        int64_t later = 0;
        if (strncmp(names[i], "step-", 5) != 0)
            continue;
        for (size_t k = 0; k < count; k++)
            later += checkpoint_name_whole(names[k]) && checkpoint_name_later(names[k], names[i]);
        if (checkpoint_name_whole(names[i]) && later < w->keep)
            continue;
        char *path = path_join(w->folder, names[i]);
        st = !path                             ? no_memory(err)
             : checkpoint_name_whole(names[i]) ? retire(path, err)
                                               : file_remove_tree(path, err);
        mem_free(path);
    }
    file_list_free(&names, count);
    return st;
}

static enum status write_all(struct checkpoint_writer *w, const char *folder, struct error *err)
{
    struct checkpoint_digest files[CHECKPOINT_FILES] = { { 0 } };
    enum status st = file_remove_tree(folder, err);

    if (st == ST_OK)
        st = file_make_folder(folder, err);
    if (st == ST_OK)
        st = write_tensors(w, folder, CHECKPOINT_WEIGHTS, &files[CHECKPOINT_WEIGHTS], err);
    if (st == ST_OK)
        st = write_frozen(w, folder, err);
    files[CHECKPOINT_FROZEN] = w->frozen;
    if (st == ST_OK)
        st = write_tensors(w, folder, CHECKPOINT_OPTIMIZER, &files[CHECKPOINT_OPTIMIZER], err);
    if (st == ST_OK)
        st = write_state(w, folder, &files[CHECKPOINT_STATE], err);
    if (st == ST_OK)
        st = write_text(folder, CHECKPOINT_RECIPE, w->recipe.data, w->recipe.size,
                        &files[CHECKPOINT_RECIPE], err);
    if (st == ST_OK)
        st = checkpoint_manifest_write(folder, w->step, files, err);
    return st;
}

static enum status write_job(void *arg, bool cancelled, struct error *err)
{
    struct checkpoint_writer *w = arg;
    char *whole = str_format("%s/step-%06" PRId64, w->folder, w->step);
    char *part = str_format("%s/step-%06" PRId64 ".tmp", w->folder, w->step);
    enum status st = cancelled ? ST_STOP : whole && part ? ST_OK : no_memory(err);

    if (st == ST_OK)
        st = write_all(w, part, err);
    if (st == ST_OK)
        st = retire(whole, err); /* of a run that was cut after this step */
    if (st == ST_OK)
        st = file_rename(part, whole, err);
    if (st == ST_OK) {
        mem_free(w->last);
        w->last = whole;
        whole = NULL;
        st = prune(w, err);
    }
    mem_free(whole);
    mem_free(part);
    return st;
}

static enum status copy_text(struct buffer *to, const char *data, size_t size, struct error *err)
{
    to->size = 0;
    return buffer_append(to, data, size, err);
}

enum status checkpoint_writer_start(struct checkpoint_writer *w, const float *m, const float *v,
                                    const struct checkpoint_state *state, double *blocked_seconds,
                                    struct error *err)
{
    const double begin = clock_seconds();
    const size_t bytes = (size_t)w->params->trainable_elements * sizeof *m;
    enum status st = pool_wait(w->pool, err);

    if (st == ST_OK)
        st = copy_text(&w->data, state->data, state->data_bytes, err);
    if (st == ST_OK)
        st = copy_text(&w->recipe, state->recipe, state->recipe_bytes, err);
    if (st == ST_OK) {
        memcpy(w->values, w->params->values, bytes);
        memcpy(w->m, m, bytes);
        memcpy(w->v, v, bytes);
        w->step = state->step;
        w->skipped = state->skipped;
        w->damaged = state->damaged;
        st = pool_submit(w->pool, write_job, w, err);
    }
    *blocked_seconds = clock_seconds() - begin;
    return st;
}

enum status checkpoint_writer_wait(struct checkpoint_writer *w, struct error *err)
{
    return pool_wait(w->pool, err);
}

enum status checkpoint_writer_close(struct checkpoint_writer **w, struct error *err)
{
    if (!*w)
        return ST_OK;
    const enum status st = (*w)->pool ? pool_close(&(*w)->pool, err) : ST_OK;
    mem_free((*w)->folder);
    mem_free((*w)->values);
    mem_free((*w)->m);
    mem_free((*w)->v);
    mem_free((*w)->last);
    buffer_clear(&(*w)->data);
    buffer_clear(&(*w)->recipe);
    mem_free(*w);
    *w = NULL;
    return st;
}
