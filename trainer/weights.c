/* trainer/weights.c: see weights.h. */
#include "trainer/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "trainer/safetensors.h"
#include "trainer/torch_file.h"
#include "trainer/weight_init.h"
#include "trainer/weight_names.h"
#include "trainer/weight_text.h"

enum { SOURCES_MAX = 6, SHOWN = 12, ORIGIN_COMPOSITE = -1 };

struct source {
    int origin; /* enum weight_origin or ORIGIN_COMPOSITE */
    char *path;
    struct tensor_file *f;
    struct hash_map *by_composite; /* composite name -> index into f */
    size_t taken, skipped, left;
};

enum choice_kind { CHOICE_NEW, CHOICE_TAKEN, CHOICE_PROMPT, CHOICE_BUFFER };
struct choice {
    enum choice_kind kind;
    size_t source;
    const struct tensor_info *info;
};

struct weights {
    struct weights_spec spec;
    struct source sources[SOURCES_MAX];
    size_t n_sources;
    struct choice *choices; /* one a parameter */
    size_t n_choices, n_new, n_buffers;
    bool prompt_made;
    struct buffer left, problems, fresh;
    size_t n_problems, n_left, n_fresh;
};

static bool given(const char *s)
{
    return s && s[0] != '\0';
}

static bool begins(const char *name, const char *part)
{
    return strncmp(name, part, strlen(part)) == 0;
}

static void note(struct buffer *to, size_t *count, const char *name, const char *what)
{
    if ((*count)++ < SHOWN)
        buffer_printf(to, NULL, "%s%s%s", *count > 1 ? "; " : "", name, what);
}

/* The first of the names that is there, or the folder itself. */
static char *pick(const char *folder)
{
    static const char *const names[] = {
        "model.safetensors.index.json",
        "model.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
        "diffusion_pytorch_model.safetensors",
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
        "pytorch_model.bin.index.json",
        "pytorch_model.bin",
        "diffusion_pytorch_model.bin",
        "open_clip_pytorch_model.bin",
    };
    struct file_info info = { 0 };
    if (file_stat(folder, &info, NULL) != ST_OK || !info.is_folder)
        return mem_strdup(folder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = path_join(folder, names[i]);
        if (!path || file_exists(path))
            return path;
        mem_free(path);
    }
    return mem_strdup(folder);
}

static bool ends(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

enum status weights_open_file(struct tensor_file **out, const char *path, struct error *err)
{
    char *file = pick(path);
    enum status st = ST_FAIL;
    *out = NULL;
    if (!file)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", path);
    if (ends(file, ".bin") || ends(file, ".pt") || ends(file, ".bin.index.json"))
        st = torch_file_open(out, file, err);
    else if (ends(file, ".safetensors") || ends(file, ".json"))
        st = safetensors_open(out, file, err);
    else
        error_set(err, ST_FAIL, CAUSE_FORMAT,
                  "%s: no weights found: want .safetensors, .bin or an index of either", path);
    mem_free(file);
    return st;
}

/* Names of a source under their composite names; unknown ones are left over. */
static enum status map_names(struct weights *w, struct source *s, struct error *err)
{
    char name[512];
    for (size_t i = 0; i < tensor_file_count(s->f); i++) {
        const char *published = tensor_file_at(s->f, i)->name;
        bool known = true;
        uint64_t index = i;
        if (s->origin == ORIGIN_COMPOSITE)
            known = snprintf(name, sizeof name, "%s",
                             weight_name_of_alias(published) ? weight_name_of_alias(published)
                                                             : published) < (int)sizeof name;
        else if (!weight_name_composite(name, sizeof name, (enum weight_origin)s->origin, published,
                                        &known)) {
            s->skipped += known;
            s->left += !known;
            if (!known)
                note(&w->left, &w->n_left, published, "");
            continue;
        }
        if (!known || hash_map_insert(s->by_composite, name, strlen(name), &index, err) == ST_FAIL)
            return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: a name is too long", s->path);
    }
    return ST_OK;
}

static enum status add_source(struct weights *w, int origin, const char *folder, const char *below,
                              struct error *err)
{
    struct source *s = &w->sources[w->n_sources++];
    s->origin = origin;
    s->path = below ? path_join(folder, below) : mem_strdup(folder);
    if (!s->path)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", folder);
    if (hash_map_open(&s->by_composite, 1024, err) != ST_OK ||
        weights_open_file(&s->f, s->path, err) != ST_OK)
        return ST_FAIL;
    return map_names(w, s, err);
}

static const char *text_member(const struct json_value *root, const char *key)
{
    const struct json_value *v = json_get(root, key);
    return v && v->type == JSON_T_STRING ? v->text : NULL;
}

/* Another noise schedule or prediction than the one that is built in would train another model. */
static enum status check_scheduler(const char *folder, struct error *err)
{
    struct buffer text;
    struct arena memory;
    struct json_value *root = NULL;
    char *path = path_join(folder, "scheduler/scheduler_config.json");
    enum status st = path ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory");

    buffer_init(&text);
    arena_init(&memory, 0);
    if (st == ST_OK && file_exists(path)) {
        st = file_read_all(&text, path, 1 << 20, err);
        if (st == ST_OK)
            st = json_parse(&memory, &root, text.data, text.size, NULL, err);
        const char *prediction = text_member(root, "prediction_type");
        if (st == ST_OK && prediction && strcmp(prediction, "epsilon") != 0)
            st =
                error_set(err, ST_FAIL, CAUSE_FORMAT,
                          "%s: prediction_type: got %s, want epsilon (2.1-base)", path, prediction);
        if (st == ST_FAIL)
            error_prefix(err, st, "scheduler");
    }
    buffer_clear(&text);
    arena_clear(&memory);
    mem_free(path);
    return st;
}

static enum status open_checkpoint(struct weights *w, const char *path, struct error *err)
{
    struct file_info info = { 0 };
    char *weights = path_join(path, "weights.safetensors");
    const bool folder =
        file_stat(path, &info, NULL) == ST_OK && info.is_folder && weights && file_exists(weights);
    enum status st = ST_OK;
    mem_free(weights);
    if (!folder)
        return add_source(w, ORIGIN_COMPOSITE, path, NULL, err);
    st = add_source(w, ORIGIN_COMPOSITE, path, "weights.safetensors", err);
    return st == ST_OK ? add_source(w, ORIGIN_COMPOSITE, path, "frozen.safetensors", err) : st;
}

static enum status open_sources(struct weights *w, struct error *err)
{
    const struct weights_spec *s = &w->spec;
    enum status st = ST_OK;
    if (given(s->checkpoint))
        st = open_checkpoint(w, s->checkpoint, err);
    if (st == ST_OK && given(s->llm))
        st = add_source(w, ORIGIN_LLM, s->llm, NULL, err);
    if (st == ST_OK && given(s->convnext))
        st = add_source(w, ORIGIN_CONVNEXT, s->convnext, NULL, err);
    if (st == ST_OK && given(s->diffusion))
        st = check_scheduler(s->diffusion, err);
    if (st == ST_OK && given(s->diffusion))
        st = add_source(w, ORIGIN_UNET, s->diffusion, "unet", err);
    if (st == ST_OK && given(s->diffusion))
        st = add_source(w, ORIGIN_VAE, s->diffusion, "vae", err);
    return st;
}

/* Which published model has a parameter of this name; ORIGIN_COMPOSITE: none. */
static int origin_of(const char *name)
{
    if (strcmp(name, "text_decoder.head.weight") == 0 ||
        (begins(name, "mm_decoder.") && !strstr(name, "llama_cross_attn")))
        return ORIGIN_LLM;
    if (begins(name, "visual_tokenizer.sniffer.vision_model.visual.trunk."))
        return ORIGIN_CONVNEXT;
    if (begins(name, "visual_tokenizer.encoder.unet."))
        return ORIGIN_UNET;
    if (begins(name, "visual_tokenizer.encoder.vae."))
        return ORIGIN_VAE;
    return ORIGIN_COMPOSITE;
}

static bool is_token_table(const char *name)
{
    return strcmp(name, "mm_decoder.embed_tokens.weight") == 0 ||
           strcmp(name, "text_decoder.head.weight") == 0;
}

/* Axes of 1 at the end do not count: some files keep dense layers as 1 x 1 convolutions. */
static int trimmed(const int64_t *shape, int rank)
{
    while (rank > 1 && shape[rank - 1] == 1)
        rank--;
    return rank;
}

/* Equal shapes, or a published token table with fewer rows. */
static bool fits(const struct weights *w, const struct param *q, const struct tensor_info *t)
{
    const int rank = trimmed(q->shape, q->rank);
    if (trimmed(t->shape, t->rank) != rank)
        return false;
    for (int i = 0; i < rank; i++)
        if (q->shape[i] != t->shape[i] &&
            !(i == 0 && is_token_table(q->name) && t->shape[0] == w->spec.published &&
              t->shape[0] < q->shape[0]))
            return false;
    return true;
}

static bool should_have(const struct weights *w, int origin)
{
    bool composite = false;
    for (size_t i = 0; i < w->n_sources; i++) {
        composite |= w->sources[i].origin == ORIGIN_COMPOSITE;
        if (origin != ORIGIN_COMPOSITE && w->sources[i].origin == origin)
            return true;
    }
    return composite && origin != ORIGIN_COMPOSITE;
}

static void choose(struct weights *w, const struct param *q, struct choice *c)
{
    char text[160], what[240];
    uint64_t index = 0;
    if (q->buffer) {
        c->kind = CHOICE_BUFFER;
        w->n_buffers++;
        return;
    }
    for (size_t i = 0; i < w->n_sources; i++) {
        struct source *s = &w->sources[i];
        if (!hash_map_get(s->by_composite, q->name, strlen(q->name), &index))
            continue;
        *c = (struct choice){ CHOICE_TAKEN, i, tensor_file_at(s->f, (size_t)index) };
        s->taken++;
        if (!fits(w, q, c->info)) {
            tensor_info_text(text, sizeof text, c->info);
            snprintf(what, sizeof what, ": got %s, want %" PRId64 " elements of rank %d", text,
                     q->count, q->rank);
            note(&w->problems, &w->n_problems, q->name, what);
        }
        return;
    }
    const bool prompt = strcmp(q->name, "image_decoder.neg_prompt_embeds") == 0;
    if (prompt && given(w->spec.diffusion)) {
        c->kind = CHOICE_PROMPT;
        return;
    }
    if (should_have(w, origin_of(q->name)))
        note(&w->problems, &w->n_problems, q->name, ": missing");
    w->n_new++;
    note(&w->fresh, &w->n_fresh, q->name, "");
}

/* What no parameter asked for. */
static void find_left(struct weights *w, const struct params *params)
{
    for (size_t i = 0; i < w->n_sources; i++) {
        struct source *s = &w->sources[i];
        for (size_t k = 0; k < hash_map_count(s->by_composite); k++) {
            const void *key;
            size_t size;
            uint64_t value;
            hash_map_at(s->by_composite, k, &key, &size, &value);
            char *name = mem_strndup(key, size);
            const struct param *q = name ? params_find(params, name) : NULL;
            if (name && (!q || q->buffer)) {
                const bool expected = weight_name_unused(name) || (q && q->buffer);
                s->skipped += expected;
                s->left += !expected;
                if (!expected)
                    note(&w->left, &w->n_left, name, "");
            }
            mem_free(name);
        }
    }
}

enum status weights_open(struct weights **out, const struct weights_spec *spec,
                         const struct params *params, struct error *err)
{
    struct weights *w = mem_calloc(1, sizeof *w);
    enum status st = ST_FAIL;
    *out = NULL;
    if (!w)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: weights");
    w->spec = *spec;
    w->n_choices = params->count;
    w->choices = mem_calloc(params->count ? params->count : 1, sizeof *w->choices);
    if (!w->choices)
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: weights");
    else
        st = open_sources(w, err);
    for (size_t i = 0; i < params->count && st == ST_OK; i++)
        choose(w, &params->list[i], &w->choices[i]);
    if (st == ST_OK && w->n_problems > 0)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "weights: %zu tensors do not fit: %.*s%s",
                       w->n_problems, (int)w->problems.size, (const char *)w->problems.data,
                       w->n_problems > SHOWN ? "; ..." : "");
    if (st == ST_OK)
        find_left(w, params);
    if (st != ST_OK)
        weights_close(&w);
    *out = w;
    return st;
}

void weights_close(struct weights **w)
{
    if (!*w)
        return;
    for (size_t i = 0; i < (*w)->n_sources; i++) {
        struct source *s = &(*w)->sources[i];
        tensor_file_close(&s->f);
        hash_map_close(&s->by_composite);
        mem_free(s->path);
    }
    buffer_clear(&(*w)->left);
    buffer_clear(&(*w)->problems);
    buffer_clear(&(*w)->fresh);
    mem_free((*w)->choices);
    mem_free(*w);
    *w = NULL;
}

static enum status check_finite(const struct weights *w, const struct param *q,
                                const struct choice *c, const float *values, struct error *err)
{
    if (w->spec.allow_nonfinite)
        return ST_OK;
    for (int64_t i = 0; i < c->info->count; i++)
        if (!isfinite(values[i]))
            return error_set(err, ST_FAIL, CAUSE_FORMAT,
                             "%s: tensor %s: element %" PRId64 " is not finite",
                             w->sources[c->source].path, q->name, i);
    return ST_OK;
}

/* All elements of one parameter. */
static enum status value_of(struct weights *w, const struct params *params, size_t i, float *out,
                            struct error *err)
{
    const struct param *q = &params->list[i];
    const struct choice *c = &w->choices[i];
    enum status st = ST_OK;

    if (c->kind == CHOICE_PROMPT)
        return weight_text_embedding(out, q->shape[1], q->shape[2], w->spec.diffusion, err);
    if (c->kind != CHOICE_TAKEN)
        return weight_draw(out, params, q, 0, w->spec.seed, w->spec.published, err);
    st = tensor_file_read_f32(w->sources[c->source].f, c->info, out, err);
    if (st == ST_OK)
        st = check_finite(w, q, c, out, err);
    if (st == ST_OK && c->info->count < q->count)
        st = weight_draw(out + c->info->count, params, q, c->info->count, w->spec.seed,
                         w->spec.published, err);
    return st;
}

enum status weights_load(struct weights *w, struct params *params, struct error *err)
{
    for (size_t i = 0; i < params->count; i++)
        if (w->choices[i].kind != CHOICE_BUFFER &&
            value_of(w, params, i, params->list[i].value, err) != ST_OK)
            return ST_FAIL;
    return ST_OK;
}

/* Entries of all parameters that are no buffers; free with mem_free. */
static struct safetensors_entry *entries(const struct params *params, enum tensor_type type,
                                         size_t *count, int64_t *largest)
{
    struct safetensors_entry *list = mem_calloc(params->count ? params->count : 1, sizeof *list);
    *count = 0;
    *largest = 1;
    for (size_t i = 0; list && i < params->count; i++) {
        const struct param *q = &params->list[i];
        if (q->buffer)
            continue;
        struct safetensors_entry *e = &list[(*count)++];
        *e = (struct safetensors_entry){ .name = q->name, .type = type, .rank = q->rank };
        memcpy(e->shape, q->shape, sizeof q->shape);
        *largest = q->count > *largest ? q->count : *largest;
    }
    return list;
}

static const struct safetensors_pair made_by[] = { { "format", "pt" }, { "layout", "deem" } };

enum status weights_write(struct weights *w, const struct params *params, const char *path,
                          enum tensor_type type, struct error *err)
{
    struct safetensors_writer *out = NULL;
    size_t n = 0;
    int64_t largest = 1;
    struct safetensors_entry *list = entries(params, type, &n, &largest);
    float *values = list ? mem_calloc((size_t)largest, sizeof *values) : NULL;
    enum status st = values ? safetensors_writer_open(&out, path, list, n, made_by, 2, err)
                            : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", path);

    for (size_t i = 0; i < params->count && st == ST_OK; i++) {
        if (params->list[i].buffer)
            continue;
        st = value_of(w, params, i, values, err);
        if (st == ST_OK)
            st = safetensors_writer_put(out, values, params->list[i].count, err);
    }
    if (st == ST_OK)
        st = safetensors_writer_finish(&out, NULL, err);
    safetensors_writer_close(&out);
    mem_free(values);
    mem_free(list);
    return st;
}

/* The files of a checkpoint folder, or the one that `from` means. */
struct exported {
    struct tensor_file *files[2];
    int count;
};

static enum status open_exported(struct exported *x, const char *from, struct error *err)
{
    static const char *const names[2] = { "weights.safetensors", "frozen.safetensors" };
    char *first = path_join(from, names[0]);
    const bool checkpoint = first && file_exists(first);
    enum status st = ST_OK;

    mem_free(first);
    *x = (struct exported){ .count = checkpoint ? 2 : 1 };
    for (int i = 0; i < 2 && i < x->count && st == ST_OK; i++) {
        char *path = checkpoint ? path_join(from, names[i]) : mem_strdup(from);
        st = path ? weights_open_file(&x->files[i], path, err)
                  : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", from);
        mem_free(path);
    }
    return st;
}

static size_t exported_count(const struct exported *x)
{
    size_t n = 0;
    for (int i = 0; i < x->count; i++)
        n += tensor_file_count(x->files[i]);
    return n;
}

static enum status copy_tensors(struct safetensors_writer *out, const struct exported *x,
                                int64_t largest, struct error *err)
{
    float *values = mem_calloc((size_t)largest, sizeof *values);
    enum status st = values ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: export");
    for (int f = 0; f < x->count; f++)
        for (size_t i = 0; i < tensor_file_count(x->files[f]) && st == ST_OK; i++) {
            const struct tensor_info *t = tensor_file_at(x->files[f], i);
            st = tensor_file_read_f32(x->files[f], t, values, err);
            if (st == ST_OK)
                st = safetensors_writer_put(out, values, t->count, err);
        }
    mem_free(values);
    return st;
}

enum status weights_export(const char *from, const char *path, enum tensor_type type,
                           struct error *err)
{
    struct exported x;
    struct safetensors_writer *out = NULL;
    struct safetensors_entry *list = NULL;
    size_t n = 0;
    int64_t largest = 1;
    enum status st = open_exported(&x, from, err);

    if (st == ST_OK && !(list = mem_calloc(exported_count(&x) + 1, sizeof *list)))
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", from);
    for (int f = 0; f < x.count && st == ST_OK; f++)
        for (size_t i = 0; i < tensor_file_count(x.files[f]); i++) {
            const struct tensor_info *t = tensor_file_at(x.files[f], i);
            list[n] = (struct safetensors_entry){ .name = t->name, .type = type, .rank = t->rank };
            memcpy(list[n++].shape, t->shape, sizeof t->shape);
            largest = t->count > largest ? t->count : largest;
        }
    if (st == ST_OK)
        st = safetensors_writer_open(&out, path, list, n, made_by, 2, err);
    if (st == ST_OK)
        st = copy_tensors(out, &x, largest, err);
    if (st == ST_OK)
        st = safetensors_writer_finish(&out, NULL, err);
    safetensors_writer_close(&out);
    for (int f = 0; f < x.count; f++)
        tensor_file_close(&x.files[f]);
    mem_free(list);
    return st;
}

enum status weights_report(const struct weights *w, struct buffer *out, struct error *err)
{
    enum status st =
        buffer_printf(out, err, "%-60s %8s %8s %9s\n", "source", "taken", "unused", "left over");
    for (size_t i = 0; i < w->n_sources && st == ST_OK; i++) {
        const struct source *s = &w->sources[i];
        st = buffer_printf(out, err, "%-60s %8zu %8zu %9zu\n", s->path, s->taken, s->skipped,
                           s->left);
    }
    if (st == ST_OK)
        st =
            buffer_printf(out, err, "new: %zu parameters%s%.*s%s\n", w->n_new, w->n_new ? ": " : "",
                          (int)w->fresh.size, w->fresh.data ? (const char *)w->fresh.data : "",
                          w->n_fresh > SHOWN ? "; ..." : "");
    if (st == ST_OK)
        st = buffer_printf(out, err, "left over: %zu tensors%s%.*s%s\n", w->n_left,
                           w->n_left ? ": " : "", (int)w->left.size,
                           w->left.data ? (const char *)w->left.data : "",
                           w->n_left > SHOWN ? "; ..." : "");
    return st;
}
