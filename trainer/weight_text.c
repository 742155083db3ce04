/* trainer/weight_text.c: see weight_text.h. Sizes come from the tensors, head count and epsilon from
 * config.json. */
#include "trainer/weight_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/mem.h"
#include "trainer/nn_cliptext.h"
#include "trainer/runner.h"
#include "trainer/weights.h"

enum { JSON_MAX = 64 << 20 };

struct text {
    const char *folder; /* of Stable Diffusion */
    struct tensor_file *f;
    struct cliptext_config c;
    int32_t bos, eos, pad;
    struct arena memory;
    struct params *params;
    struct program *p;
    struct runner *r;
};

/* A JSON file below the folder; *root NULL where there is none. */
static enum status read_json(struct text *t, const char *name, struct json_value **root,
                             struct error *err)
{
    struct buffer text;
    char *path = path_join(t->folder, name);
    enum status st = path ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", name);

    *root = NULL;
    buffer_init(&text);
    if (st == ST_OK && file_exists(path)) {
        st = file_read_all(&text, path, JSON_MAX, err);
        if (st == ST_OK && json_parse(&t->memory, root, text.data, text.size, NULL, err) != ST_OK)
            st = error_prefix(err, ST_FAIL, "%s", path);
    }
    buffer_clear(&text);
    mem_free(path);
    return st;
}

static int64_t axis(const struct text *t, const char *name, int rank, int i)
{
    const struct tensor_info *x = tensor_file_find(t->f, name);
    return x && x->rank == rank ? x->shape[i] : 0;
}

static enum status read_sizes(struct text *t, struct error *err)
{
    struct json_value *root = NULL;
    char name[96];
    int64_t heads = 0;

    t->c.vocab = axis(t, "text_model.embeddings.token_embedding.weight", 2, 0);
    t->c.width = axis(t, "text_model.embeddings.token_embedding.weight", 2, 1);
    t->c.positions = axis(t, "text_model.embeddings.position_embedding.weight", 2, 0);
    t->c.ffn = axis(t, "text_model.encoder.layers.0.mlp.fc1.weight", 2, 0);
    for (t->c.layers = 0; t->c.layers < 1000; t->c.layers++) {
        snprintf(name, sizeof name, "text_model.encoder.layers.%" PRId64 ".mlp.fc1.weight",
                 t->c.layers);
        if (!tensor_file_find(t->f, name))
            break;
    }
    if (t->c.vocab < 3 || t->c.positions < 3 || t->c.ffn < 1 || t->c.layers < 1)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: text_encoder: no CLIP text model",
                         t->folder);
    if (read_json(t, "text_encoder/config.json", &root, err) != ST_OK)
        return ST_FAIL;
    const struct json_value *act = json_get(root, "hidden_act");
    const struct json_value *eps = json_get(root, "layer_norm_eps");
    if (act && act->type == JSON_T_STRING && strcmp(act->text, "gelu") != 0)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: text_encoder/config.json: hidden_act: got %s, want gelu", t->folder,
                         act->text);
    t->c.heads =
        json_value_int64(json_get(root, "num_attention_heads"), &heads) ? heads : t->c.width / 64;
    t->c.eps = eps && eps->type == JSON_T_NUMBER ? (float)eps->number : 1e-5f;
    return ST_OK;
}

/* CLIP's tables end with the start and the end token; Stable Diffusion 2 pads with "!", id 0. */
static enum status read_ids(struct text *t, struct error *err)
{
    struct json_value *map = NULL, *vocab = NULL;
    int64_t id = 0;

    t->bos = (int32_t)(t->c.vocab - 2);
    t->eos = (int32_t)(t->c.vocab - 1);
    if (read_json(t, "tokenizer/special_tokens_map.json", &map, err) != ST_OK ||
        read_json(t, "tokenizer/vocab.json", &vocab, err) != ST_OK)
        return ST_FAIL;
    const struct json_value *pad = json_get(map, "pad_token");
    if (pad && pad->type == JSON_T_OBJECT)
        pad = json_get(pad, "content");
    if (!pad || !vocab)
        return ST_OK;
    if (pad->type != JSON_T_STRING || !json_value_int64(json_get(vocab, pad->text), &id) ||
        id < 0 || id >= t->c.vocab)
        return error_set(err, ST_FAIL, CAUSE_FORMAT,
                         "%s: tokenizer: pad token is not in vocab.json", t->folder);
    t->pad = (int32_t)id;
    return ST_OK;
}

static enum status load(struct text *t, struct error *err)
{
    if (params_allocate(t->params, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = 0; i < t->params->count; i++) {
        const struct param *q = &t->params->list[i];
        const struct tensor_info *x = tensor_file_find(t->f, q->name);
        if (!x || x->count != q->count)
            return error_set(err, ST_FAIL, CAUSE_FORMAT,
                             "%s: text_encoder: %s is missing or of another size", t->folder,
                             q->name);
        if (tensor_file_read_f32(t->f, x, q->value, err) != ST_OK)
            return ST_FAIL;
    }
    return ST_OK;
}

static enum status run(struct text *t, float *out, struct error *err)
{
    const int64_t n = t->c.positions;
    if (params_open(&t->params, NULL, NULL, err) != ST_OK ||
        program_open(&t->p, t->params, false, err) != ST_OK)
        return ST_FAIL;
    const int ids = program_batch(t->p, "ids", ROLE_INDEX, &n, 1);
    const int y = program_keep(t->p, nn_cliptext(t->p, &t->c, 1, ids));
    if (program_finish(t->p, err) != ST_OK || load(t, err) != ST_OK ||
        runner_open(&t->r, t->p, NULL, err) != ST_OK)
        return ST_FAIL;
    cliptext_empty_prompt(runner_data(t->r, ids), n, t->bos, t->eos, t->pad);
    if (runner_run(t->r, 0, t->p->n_nodes, err) != ST_OK)
        return ST_FAIL;
    memcpy(out, runner_data(t->r, y), (size_t)(n * t->c.width) * sizeof *out);
    return ST_OK;
}

enum status weight_text_embedding(float *out, int64_t rows, int64_t width, const char *folder,
                                  struct error *err)
{
    struct text t = { .folder = folder };
    char *path = path_join(folder, "text_encoder");
    enum status st = path ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory");

    arena_init(&t.memory, 0);
    if (st == ST_OK)
        st = weights_open_file(&t.f, path, err);
    if (st == ST_OK)
        st = read_sizes(&t, err);
    if (st == ST_OK)
        st = read_ids(&t, err);
    if (st == ST_OK && (t.c.positions != rows || t.c.width != width))
        st = error_set(err, ST_FAIL, CAUSE_FORMAT,
                       "%s: text_encoder: makes [%" PRId64 ",%" PRId64
                       "], the model wants [%" PRId64 ",%" PRId64 "]",
                       folder, t.c.positions, t.c.width, rows, width);
    if (st == ST_OK)
        st = run(&t, out, err);
    runner_close(&t.r);
    program_close(&t.p);
    params_close(&t.params);
    tensor_file_close(&t.f);
    arena_clear(&t.memory);
    mem_free(path);
    return st;
}
