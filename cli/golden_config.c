/* cli/golden_config.c: the configuration of a whole-model case, and its optimizer. */
#include "cli/golden_model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static void read_ids(struct golden *g, struct deem_config *c)
{
    c->ids.bos = (int32_t)golden_int_from(g, "config.ids.bos", 0);
    c->ids.eos = (int32_t)golden_int_from(g, "config.ids.eos", 0);
    c->ids.pad = (int32_t)golden_int_from(g, "config.ids.pad", 0);
    c->ids.soi = (int32_t)golden_int_from(g, "config.ids.soi", 0);
    c->ids.image = (int32_t)golden_int_from(g, "config.ids.image", 0);
    c->vocab = golden_int(g, "config.vocab_size");
    c->vocab_published = golden_int(g, "config.vocab_size_base");
    const int32_t ids[] = { c->ids.bos, c->ids.eos, c->ids.pad, c->ids.soi, c->ids.image };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i] >= c->vocab)
            golden_problem(
                g, "case.json: config.ids: %" PRId32 " is outside the table of %" PRId64 " rows",
                ids[i], c->vocab);
}

/* Members of one part, "config.PART.KEY". */
static int64_t part_int(struct golden *g, const char *part, const char *key)
{
    char path[96];
    snprintf(path, sizeof path, "config.%s.%s", part, key);
    return golden_int(g, path);
}

static int part_ints(struct golden *g, const char *part, const char *key, int64_t *out, int cap)
{
    char path[96];
    snprintf(path, sizeof path, "config.%s.%s", part, key);
    return golden_ints(g, path, out, cap);
}

static void read_qformer(struct golden *g, const char *part, struct qformer_config *q)
{
    char path[96];
    q->queries = part_int(g, part, "queries");
    q->hidden = part_int(g, part, "hidden");
    q->heads = part_int(g, part, "heads");
    q->layers = part_int(g, part, "layers");
    q->cross_every = part_int(g, part, "cross_every");
    q->ffn = part_int(g, part, "ffn");
    q->encoder = part_int(g, part, "encoder");
    snprintf(path, sizeof path, "config.%s.qk_norm", part);
    q->qk_norm = golden_flag(g, path);
}

static void read_tokenizer(struct golden *g, struct deem_config *c)
{
    struct vistok_config *t = &c->tokenizer;
    t->width = golden_int(g, "config.feature_width");
    t->side = golden_int(g, "config.image_side");
    t->grid = golden_int(g, "config.pos_grid");
    t->mask_side = golden_int(g, "config.mask_side");
    t->mask_align = golden_flag(g, "config.mask_align");
    t->llm_width = golden_int(g, "config.llm.hidden");
    t->diffusion_width = t->width;
    read_qformer(g, "perceiver1", &t->perceiver);
    if (part_ints(g, "convnext", "depths", c->trunk.depths, CONVNEXT_STAGES) != CONVNEXT_STAGES ||
        part_ints(g, "convnext", "dims", c->trunk.dims, CONVNEXT_STAGES) != CONVNEXT_STAGES)
        golden_problem(g, "case.json: config.convnext: want %d stages", CONVNEXT_STAGES);
    c->trunk.feature_width = t->width;
}

static void read_llm(struct golden *g, struct deem_config *c)
{
    struct llama_config *l = &c->llm;
    l->hidden = part_int(g, "llm", "hidden");
    l->heads = part_int(g, "llm", "heads");
    l->ffn = part_int(g, "llm", "ffn");
    l->layers = part_int(g, "llm", "layers");
    l->cross_every = part_int(g, "llm", "cross_every");
    l->rms_eps = (float)golden_positive(g, "config.llm.rms_eps");
    l->rope_base = golden_positive(g, "config.llm.rope_base");
    l->mmfs.query_width = l->mmfs.out_width = l->hidden;
    l->mmfs.value_width = c->tokenizer.width;
    l->mmfs.inner_width = part_int(g, "llm_mmfs", "inner");
    l->mmfs.heads = part_int(g, "llm_mmfs", "heads");
    l->mmfs.points = part_int(g, "llm_mmfs", "points");
    l->mmfs.max_images = part_int(g, "llm_mmfs", "max_images");
    l->mmfs.base = golden_positive(g, "config.llm_mmfs.base");
    l->mmfs.levels = part_ints(g, "llm_mmfs", "shapes", l->mmfs.shape, MMFS_LEVELS_MAX);
}

static void read_diffusion(struct golden *g, struct deem_config *c)
{
    struct mmfsnet_config *n = &c->side_net;
    read_qformer(g, "perceiver2", &c->perceiver2);
    if (part_ints(g, "unet", "widths", c->unet.widths, UNET_LEVELS) != UNET_LEVELS ||
        part_ints(g, "unet", "heads", c->unet.heads, UNET_LEVELS) != UNET_LEVELS ||
        part_ints(g, "vae", "widths", c->vae.widths, VAE_LEVELS) != VAE_LEVELS)
        golden_problem(g, "case.json: config.unet, config.vae: want %d levels", UNET_LEVELS);
    c->unet.resnets = part_int(g, "unet", "resnets");
    c->unet.groups = part_int(g, "unet", "groups");
    c->unet.cross = part_int(g, "unet", "cross");
    c->vae.resnets = part_int(g, "vae", "resnets");
    c->vae.groups = part_int(g, "vae", "groups");
    c->vae_scale = (float)golden_positive(g, "config.vae.scale");
    n->feature_width = c->tokenizer.width;
    n->inner = part_int(g, "mmfs_net", "inner");
    n->heads = part_int(g, "mmfs_net", "heads");
    n->points = part_int(g, "mmfs_net", "points");
    n->max_images = part_int(g, "mmfs_net", "max_images");
    n->grid = part_int(g, "mmfs_net", "grid");
    if (part_ints(g, "mmfs_net", "shapes", n->shapes, MMFS_LEVELS_MAX) != VISTOK_LEVELS ||
        part_ints(g, "mmfs_net", "bases", n->bases, MMFSNET_BASES) != MMFSNET_BASES)
        golden_problem(g, "case.json: config.mmfs_net: want %d shapes and bases", MMFSNET_BASES);
}

bool golden_read_stage(struct golden *g)
{
    static const char *const stages[] = { "1", "2", "3", "baseline" };
    const char *stage = golden_text(g, "stage");
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
        if (strcmp(stage, stages[i]) == 0)
            return strcmp(stage, "3") == 0;
    golden_problem(g, "case.json: stage: unknown \"%s\"", stage);
    return false;
}

/* The schedule is built in. */
static void check_schedule(struct golden *g)
{
    if (golden_int(g, "config.ddpm.steps") != 1000 ||
        fabs(golden_real(g, "config.ddpm.beta_start") - 0.00085) > 1e-12 ||
        fabs(golden_real(g, "config.ddpm.beta_end") - 0.012) > 1e-12)
        golden_problem(g, "case.json: config.ddpm: want 1000 steps from 0.00085 to 0.012");
}

void golden_read_model(struct golden *g, struct deem_config *c)
{
    memset(c, 0, sizeof *c);
    read_ids(g, c);
    c->queries = golden_int(g, "config.num_queries");
    c->decode_side = golden_int(g, "config.decode_side");
    read_tokenizer(g, c);
    read_llm(g, c);
    read_diffusion(g, c);
    check_schedule(g);
}

/* Sizes against each other and against the weights, before the batch is read: what this finds is reported
 * with what is wrong there. The program of the smallest batch declares the parameters. */
enum status golden_check_model(struct golden *g, const struct deem_config *c,
                               const struct deem_options *o, struct error *err)
{
    const struct deem_shape smallest = {
        .B = 1, .L = c->queries + 2, .I = 1, .context = 1, .pairs = 1, .passes = 1
    };
    struct findings f = { .say = golden_note, .arg = g };
    struct params *params = NULL;
    struct deem *m = NULL;
    struct error one = { 0 };
    if (golden_ready(g, NULL) != ST_OK)
        return ST_OK;
    deem_check(c, o, &f);
    if (f.count)
        return ST_OK;
    enum status st = params_open(&params, NULL, NULL, err);
    if (st == ST_OK && deem_open(&m, c, &smallest, o, params, &one) == ST_OK)
        golden_check_weights(g, params);
    else if (one.cause == CAUSE_NOMEM)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", one.text);
    else if (st == ST_OK)
        golden_problem(g, "case.json: config: %s", one.text);
    if (st == ST_OK && m && golden_ready(g, NULL) == ST_OK &&
        golden_check_memory(g, m->p, &one) != ST_OK && one.cause == CAUSE_NOMEM)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", one.text);
    deem_close(&m);
    params_close(&params);
    return st;
}

/* Adds the names of a list of the case to the map, with a value. */
static void add_names(struct golden *g, struct hash_map *map, const char *list, uint64_t value)
{
    const struct json_value *v = golden_value(g, list);
    for (const struct json_value *c = v ? v->child : NULL; c; c = c->next) {
        uint64_t held = value;
        if (c->type != JSON_T_STRING)
            golden_problem(g, "case.json: %s: want names", list);
        else if (!tensor_file_find(g->weights, c->text))
            golden_problem(g, "weights.safetensors: %s is missing, and in %s", c->text, list);
        else if (hash_map_insert(map, c->text, c->size, &held, NULL) == ST_FAIL)
            golden_problem(g, "out of memory: names");
    }
}

enum status golden_trainable_open(struct golden *g, struct hash_map **names, struct error *err)
{
    if (hash_map_open(names, 1024, err) != ST_OK)
        return ST_FAIL;
    if (!golden_value(g, "trainable"))
        golden_problem(g, "case.json: trainable: is missing");
    /* The first insertion of a name stays: what no loss reaches counts as frozen. */
    add_names(g, *names, "trainable_without_gradient", 0);
    add_names(g, *names, "trainable_with_zero_gradient", 0);
    add_names(g, *names, "trainable", 1);
    return ST_OK;
}

bool golden_trains(const void *names, const char *name)
{
    uint64_t trains = 0;
    return hash_map_get(names, name, strlen(name), &trains) && trains == 1;
}

/* Rates by name from optimizer.groups. */
static void find_rates(const void *arg, const char *name, double *lr, double *weight_decay)
{
    const struct golden_rates *r = arg;
    uint64_t group = 0;
    *lr = *weight_decay = 0.0;
    if (hash_map_get(r->group_of, name, strlen(name), &group)) {
        *lr = r->lr[group];
        *weight_decay = r->weight_decay[group];
    }
}

static void read_groups(struct golden *g, struct golden_rates *r)
{
    const struct json_value *v = golden_value(g, "optimizer.groups");
    for (const struct json_value *c = v ? v->child : NULL; c && r->n < GOLDEN_GROUPS_MAX;
         c = c->next) {
        const struct json_value *lr = json_get(c, "lr"), *wd = json_get(c, "weight_decay");
        const struct json_value *names = json_get(c, "parameters");
        if (!lr || !wd || !names || lr->type != JSON_T_NUMBER || wd->type != JSON_T_NUMBER) {
            golden_problem(g, "case.json: optimizer.groups: want lr, weight_decay, parameters");
            return;
        }
        r->lr[r->n] = lr->number;
        r->weight_decay[r->n] = wd->number;
        for (const struct json_value *p = names->child; p; p = p->next) {
            uint64_t held = (uint64_t)r->n;
            if (p->type == JSON_T_STRING)
                (void)hash_map_insert(r->group_of, p->text, p->size, &held, NULL);
        }
        r->n++;
    }
    if (r->n == 0)
        golden_problem(g, "case.json: optimizer.groups: is missing");
}

enum status golden_optimizer(struct golden *g, struct params *params, struct golden_rates *rates,
                             struct optimizer **out, struct error *err)
{
    struct optimizer_settings s = { 0 };
    double betas[2] = { 0 };
    *rates = (struct golden_rates){ 0 };
    if (hash_map_open(&rates->group_of, 1024, err) != ST_OK)
        return ST_FAIL;
    read_groups(g, rates);
    if (golden_reals(g, "optimizer.betas", betas, 2) != 2)
        golden_problem(g, "case.json: optimizer.betas: want two");
    s.beta1 = betas[0];
    s.beta2 = betas[1];
    s.eps = golden_real(g, "optimizer.eps");
    s.clip_norm = golden_real(g, "optimizer.clip_norm");
    s.clip_eps = golden_real(g, "optimizer.clip_eps");
    for (size_t i = 0; i < params->count; i++)
        if (params->list[i].trainable &&
            !hash_map_get(rates->group_of, params->list[i].name, strlen(params->list[i].name),
                          &(uint64_t){ 0 }))
            golden_problem(g, "case.json: optimizer.groups: %s is in no group",
                           params->list[i].name);
    if (golden_ready(g, err) != ST_OK)
        return ST_FAIL;
    return optimizer_open(out, params, g->where, NULL, &s, find_rates, rates, err);
}

void golden_rates_clear(struct golden_rates *r)
{
    hash_map_close(&r->group_of);
}
