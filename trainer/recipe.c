/* trainer/recipe.c: the table of settings, and what must hold between them. Defaults are the values of
 * stage I: the paper's Table 12 where it gives one, else the released code (spec model.md 4, 5). */
#include "trainer/recipe.h"

#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

static const char *const stages[] = { "1", "2", "3", "baseline", NULL };
static const char *const mixings[] = { "stratified", "iid", NULL };
static const char *const orders[] = { "permutation", "block", NULL };
static const char *const geometries[] = { "crop", "squash", NULL };
static const char *const groupings[] = { "paper", "released", NULL };
static const char *const csr_ts[] = { "remap", "uniform", NULL };
static const char *const nip_norms[] = { "all", "valid", NULL };
static const char *const trains[] = { "by-stage", "yes", "no", NULL };
static const char *const policies[] = { "stop", "skip", NULL };

#define AT(field) offsetof(struct recipe, field)
#define WHOLE(key, field, value, low, high, help)                                                  \
    {                                                                                              \
        key, SETTING_INT, AT(field), value, low, high, NULL, help, false                           \
    }
#define REAL(key, field, value, low, high, help)                                                   \
    {                                                                                              \
        key, SETTING_REAL, AT(field), value, low, high, NULL, help, false                          \
    }
#define TEXT(key, field, value, help)                                                              \
    {                                                                                              \
        key, SETTING_TEXT, AT(field), value, 0, 0, NULL, help, false                               \
    }
#define FLAG(key, field, value, help)                                                              \
    {                                                                                              \
        key, SETTING_BOOL, AT(field), value, 0, 0, NULL, help, false                               \
    }
#define PICK(key, field, value, names, help)                                                       \
    {                                                                                              \
        key, SETTING_CHOICE, AT(field), value, 0, 0, names, help, false                            \
    }
#define INTS(key, field, value, low, high, help)                                                   \
    {                                                                                              \
        key, SETTING_INTS, AT(field), value, low, high, NULL, help, false                          \
    }

static const struct setting settings[] = {
    PICK("stage", stage, "1", stages, "training stage; baseline: trunk frozen, UNet trained"),
    TEXT("out", out, "", "folder of metrics, checkpoints and the effective recipe"),
    WHOLE("seed", seed, "32", 0, 9e15, "of every random draw (model.md 4.2)"),
    WHOLE("steps", steps, "10000", 1, 1e9, "optimizer steps [Table 12]"),
    WHOLE("warmup", warmup, "1000", 0, 1e9, "steps of linear warm-up, then cosine [Table 12]"),
    WHOLE("seq_len", seq_len, "2048", 16, 65535,
          "tokens a sequence; must equal the datasets' [Table 12]"),
    WHOLE("image_tokens", image_tokens, "77", 1, 4096,
          "slots a picture; must equal the datasets' [P 3.1]"),
    { "data.*.datasets", SETTING_TEXT, 0, "", 0, 0, NULL, "dataset folders of the source", true },
    { "data.*.weight", SETTING_INT, 0, "1", 1, 64, NULL,
      "share of the source in a block of micro-batches [P: 2:1]", false },
    PICK("loader.mixing", mixing, "stratified", mixings,
         "exact shares in every block, or independent draws"),
    PICK("loader.order", order, "permutation", orders, "block keeps reads local on slow disks"),
    PICK("loader.damaged", damaged, "stop", policies, "a record that fails its checksum"),
    { "loader.memory", SETTING_BYTES, AT(loader_memory), "1G", 0, 0, NULL,
      "ceiling of what is read and decoded ahead", false },
    WHOLE("loader.threads", loader_threads, "0", 0, 1024, "decoding threads; 0: all cores"),
    WHOLE("batch.global", batch_global, "128", 1, 1e7,
          "sequences a step over all ranks [Table 12]"),
    WHOLE("batch.micro", batch_micro, "4", 1, 65536,
          "sequences a micro-batch; losses are means of micro-batch means"),
    WHOLE("batch.images", batch_images, "0", 0, 65536,
          "pictures of the micro-batch of a dry run; 0: 10, 1 or 8 a sequence in stage I, II, III"),
    WHOLE("batch.pictures", batch_pictures, "16", 1, 4096, "UNet passes at once; memory only"),
    WHOLE("image.side", image_side, "256", 32, 4096, "encoder side, a multiple of 32 [Table 12]"),
    WHOLE("image.decode_side", decode_side, "512", 64, 4096,
          "diffusion side, a multiple of 64 [P]"),
    PICK("image.geometry", geometry, "crop", geometries,
         "crop in stage I, squash in II and III [Table 12]"),
    FLAG("image.flip", flip, "false",
         "one flip for both sides; the paper has none (model.md 5 #3)"),
    FLAG("image.fast", fast_decode, "false", "DCT scaling inside the budget of data.md 6.3"),
    TEXT("init.checkpoint", init_checkpoint, "",
         "checkpoint of the stage before, or a weights file"),
    TEXT("init.llm", init_llm, "", "folder of Vicuna or LLaMA weights"),
    TEXT("init.convnext", init_convnext, "", "folder or file of open_clip ConvNeXt weights"),
    TEXT("init.diffusion", init_diffusion, "",
         "folder of Stable Diffusion 2.1-base (diffusers layout)"),
    PICK("train.trunk", train_trunk, "by-stage", trains, "ConvNeXt [Table 11]"),
    PICK("train.llm", train_llm, "by-stage", trains,
         "language model: layers, embeddings, final norm"),
    PICK("train.unet", train_unet, "by-stage", trains, "diffusion UNet [Table 11]"),
    PICK("train.head", train_head, "by-stage", trains,
         "text head; no stage trains it (model.md 5 #11)"),
    REAL("loss.txt", loss_txt, "1", 0, 1e6, "weight of L_NTP [P]"),
    REAL("loss.img", loss_img, "5", 0, 1e6, "weight of L_NIP; 0: not evaluated [P, Table 10]"),
    REAL("loss.sniffer", loss_sniffer, "5", 0, 1e6,
         "weight of L_CSR; 0: not evaluated [P, Tables 6, 7]"),
    PICK("loss.csr_t", csr_t, "remap", csr_ts, "timesteps 200..799, or all (model.md 5 #5)"),
    PICK("loss.nip_norm", nip_norm, "all", nip_norms,
         "L_NIP divides by all pictures, or by those with a context (model.md 5 #7)"),
    FLAG("loss.nip_double_normalise", nip_double_normalise, "false",
         "NIP learns 4x - 3 as the released code does; for comparison only (model.md 5 #2)"),
    PICK("optimizer.groups", groups, "released", groupings,
         "learning-rate groups (model.md 4.3): released in I, paper in II and III"),
    REAL("optimizer.lr_scale", lr_scale, "1", 0, 1e6, "multiplies every rate below"),
    REAL("optimizer.lr", lr, "1e-4", 0, 10, "of everything no other rate names [Table 12]"),
    REAL("optimizer.lr_trunk", lr_trunk, "2e-5", 0, 10, "image encoder [Table 12]"),
    REAL("optimizer.lr_offsets", lr_offsets, "1e-5", 0, 10, "sampling offsets (model.md 4.3)"),
    REAL("optimizer.lr_mmfsnet", lr_mmfsnet, "1e-4", 0, 10,
         "rest of MMFSNet; paper's reading 2e-5"),
    REAL("optimizer.lr_llm", lr_llm, "1e-6", 0, 10,
         "language model in II and III [Table 12]; released code 1e-5"),
    REAL("optimizer.lr_cross", lr_cross, "1e-4", 0, 10, "cross-attention of the language model"),
    REAL("optimizer.lr_unet", lr_unet, "1e-5", 0, 10,
         "UNet where it trains; paper 2e-5 [Table 11]"),
    REAL("optimizer.beta1", beta1, "0.9", 0, 1, "[Table 12]"),
    REAL("optimizer.beta2", beta2, "0.995", 0, 1, "0.995 in I, 0.999 in II and III [Table 12]"),
    REAL("optimizer.eps", eps, "1e-6", 0, 1, "1e-6 in I, 1e-8 in II and III [Table 12]"),
    REAL("optimizer.weight_decay", weight_decay, "0.05", 0, 1, "[Table 12]"),
    REAL("optimizer.clip_norm", clip_norm, "1", 0, 1e9,
         "global L2 norm; 0: no clipping (model.md 4.2)"),
    WHOLE("run.checkpoint_every", checkpoint_every, "500", 1, 1e9, "steps between checkpoints"),
    WHOLE("run.checkpoint_keep", checkpoint_keep, "2", 2, 1e6, "newest checkpoints kept"),
    WHOLE("run.pictures_every", pictures_every, "0", 0, 1e9,
          "steps between sample pictures for TensorBoard, of stages that paint; 0: none"),
    PICK("run.nonfinite", nonfinite, "stop", policies, "a loss or gradient that is not finite"),
    REAL("run.collective_seconds", collective_seconds, "120", 0.1, 86400,
         "deadline of a collective"),
    REAL("run.peak_flops", peak_flops, "0", 0, 1e18,
         "FLOP/s of a rank that MFU is a share of; 0: a product is measured at the start"),
    FLAG("model.mmfs_scale_actual", mmfs_scale_actual, "false",
         "MMFSNet scales by the real sides (model.md 5 #23)"),
    REAL("model.uncond_prob", uncond_prob, "0.1", 0, 1,
         "pictures whose condition is dropped (model.md 2.7)"),
    REAL("model.dropout", dropout, "0.1", 0, 0.999, "of Perceiver #1 (model.md 5 #12)"),
    REAL("model.drop_path", drop_path, "0.1", 0, 0.999,
         "of the trunk, rising to this; 0 where frozen (model.md 2.2.2)"),
    WHOLE("model.vocab", model.vocab, "32006", 16, 65535, "rows of the token tables: pieces + 6"),
    WHOLE("model.vocab_base", model.vocab_base, "32000", 8, 65529, "pieces of the tokenizer"),
    WHOLE("model.feature_width", model.feature_width, "1024", 4, 65536, "F (model.md 0)"),
    WHOLE("model.pos_grid", model.pos_grid, "16", 1, 1024, "side of the visual position table"),
    INTS("model.convnext.depths", model.convnext_depths, "3, 3, 27, 3", 1, 1000,
         "blocks a stage (model.md 2.2.2)"),
    INTS("model.convnext.dims", model.convnext_dims, "128, 256, 512, 1024", 1, 65536,
         "channels a stage"),
    WHOLE("model.llm.hidden", model.llm_hidden, "4096", 4, 65536, "(model.md 2.5)"),
    WHOLE("model.llm.heads", model.llm_heads, "32", 1, 1024, ""),
    WHOLE("model.llm.ffn", model.llm_ffn, "11008", 1, 1e6, ""),
    WHOLE("model.llm.layers", model.llm_layers, "32", 1, 1000, ""),
    WHOLE("model.llm.cross_every", model.llm_cross_every, "4", 1, 1000,
          "layers i with i mod this = 0 see pictures"),
    REAL("model.llm.rms_eps", model.llm_rms_eps, "1e-5", 0, 1, ""),
    REAL("model.llm.rope_base", model.llm_rope_base, "10000", 1, 1e12, ""),
    WHOLE("model.mmfs.heads", model.mmfs_heads, "16", 1, 1024, "(model.md 2.4)"),
    WHOLE("model.mmfs.points", model.mmfs_points, "8", 1, 1024, ""),
    WHOLE("model.mmfs.inner", model.mmfs_inner, "1024", 4, 65536, ""),
    WHOLE("model.mmfs.base", model.mmfs_base, "16", 1, 4096, "base size of the offsets"),
    WHOLE("model.mmfs.max_images", model.mmfs_max_images, "50", 2, 65536,
          "rows of the relative positions"),
    WHOLE("model.perceiver1.hidden", model.perceiver1_hidden, "768", 4, 65536, "(model.md 2.2.7)"),
    WHOLE("model.perceiver1.heads", model.perceiver1_heads, "12", 1, 1024, ""),
    WHOLE("model.perceiver1.layers", model.perceiver1_layers, "12", 1, 1000, ""),
    WHOLE("model.perceiver1.cross_every", model.perceiver1_cross_every, "2", 1, 1000, ""),
    WHOLE("model.perceiver1.ffn", model.perceiver1_ffn, "3072", 1, 1e6, ""),
    WHOLE("model.perceiver2.hidden", model.perceiver2_hidden, "1024", 4, 65536, ""),
    WHOLE("model.perceiver2.heads", model.perceiver2_heads, "16", 1, 1024, ""),
    WHOLE("model.perceiver2.layers", model.perceiver2_layers, "1", 1, 1000, ""),
    WHOLE("model.perceiver2.cross_every", model.perceiver2_cross_every, "1", 1, 1000, ""),
    WHOLE("model.perceiver2.ffn", model.perceiver2_ffn, "3072", 1, 1e6, ""),
    INTS("model.unet.widths", model.unet_widths, "320, 640, 1280, 1280", 1, 65536,
         "(model.md 2.8.3)"),
    INTS("model.unet.heads", model.unet_heads, "5, 10, 20, 20", 1, 1024, "a level"),
    WHOLE("model.unet.resnets", model.unet_resnets, "2", 1, 100, "a down level; up: one more"),
    WHOLE("model.unet.groups", model.unet_groups, "32", 1, 1024, ""),
    INTS("model.vae.widths", model.vae_widths, "128, 256, 512, 512", 1, 65536, "(model.md 2.8.1)"),
    WHOLE("model.vae.resnets", model.vae_resnets, "2", 1, 100, ""),
    WHOLE("model.vae.groups", model.vae_groups, "32", 1, 1024, ""),
    REAL("model.vae.scale", model.vae_scale, "0.18215", 1e-9, 1e9, ""),
    WHOLE("model.mmfs_net.heads", model.net_heads, "16", 1, 1024, "(model.md 2.8.4)"),
    WHOLE("model.mmfs_net.points", model.net_points, "8", 1, 1024, ""),
    WHOLE("model.mmfs_net.inner", model.net_inner, "1024", 4, 65536, ""),
    WHOLE("model.mmfs_net.grid", model.net_grid, "64", 1, 4096, "side of its position tables"),
    WHOLE("model.mmfs_net.max_images", model.net_max_images, "10", 2, 65536, ""),
    INTS("model.mmfs_net.shapes", model.net_shapes, "64, 32, 16, 8", 1, 4096,
         "s of 2.4, whatever the real sides"),
    INTS("model.mmfs_net.bases", model.net_bases, "64, 32, 16, 8", 1, 4096, ""),
    WHOLE("model.mask_side", model.mask_side, "112", 1, 4096,
          "side of the mask the shape MLP sees"),
    FLAG("model.mask_align", model.mask_align, "true", "mask tokens of stage III (model.md 5 #10)"),
};
enum { LEVELS = 4, SETTINGS = sizeof settings / sizeof settings[0] };

/* Keys that say how a run goes, not what it computes: free to change at resume. Datasets may have moved: they
 * are told by their digests. */
static const char *const free_keys[] = {
    "out",
    "data.*.datasets",
    "loader.memory",
    "loader.threads",
    "loader.damaged",
    "batch.images",
    "batch.pictures",
    "init.checkpoint",
    "init.llm",
    "init.convnext",
    "init.diffusion",
    "run.checkpoint_every",
    "run.checkpoint_keep",
    "run.nonfinite",
    "run.collective_seconds",
    "run.peak_flops",
};
enum { FREE_KEYS = sizeof free_keys / sizeof free_keys[0] };

const struct setting *recipe_settings(size_t *count)
{
    *count = SETTINGS;
    return settings;
}

static struct recipe_source *source_named(struct recipe *r, const char *name, size_t size)
{
    for (size_t i = 0; i < r->n_sources; i++)
        if (strlen(r->sources[i].name) == size && memcmp(r->sources[i].name, name, size) == 0)
            return &r->sources[i];
    struct recipe_source *grown = mem_realloc(r->sources, r->n_sources + 1, sizeof *grown);
    if (!grown)
        return NULL;
    r->sources = grown;
    const char *copy = arena_strndup(&r->yaml.memory, name, size);
    if (!copy)
        return NULL;
    r->sources[r->n_sources] = (struct recipe_source){ .name = copy, .weight = 1 };
    return &r->sources[r->n_sources++];
}

/* data.<source>.<datasets|weight>, in the order of the file. */
static enum status read_sources(struct recipe *r, struct error *err)
{
    for (size_t i = 0; i < r->yaml.count; i++) {
        const struct yaml_entry *e = &r->yaml.entries[i];
        if (strncmp(e->key, "data.", 5) != 0)
            continue;
        const char *name = e->key + 5, *dot = strchr(name, '.');
        struct recipe_source *s = source_named(r, name, (size_t)(dot - name));
        if (!s)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: sources");
        if (strcmp(dot, ".datasets") == 0) {
            s->datasets = e->items;
            s->n_datasets = e->count;
        } else {
            s->weight = strtol(e->items[0], NULL, 10); /* checked against the table before */
        }
    }
    return ST_OK;
}

static void fault(struct buffer *faults, struct error *err, bool holds, const char *what)
{
    if (!holds)
        buffer_printf(faults, err, "; %s", what);
}

/* The lists of a model have one number a stage or level. */
static void check_length(struct buffer *faults, struct error *err, const char *key,
                         const struct setting_ints *list)
{
    if (list->count != LEVELS)
        buffer_printf(faults, err, "; %s: %d numbers, want %d", key, list->count, LEVELS);
}

static void check_model(const struct recipe *r, struct buffer *faults, struct error *err)
{
    const struct recipe_model *m = &r->model;
    fault(faults, err, r->image_side % 32 == 0, "image.side must be a multiple of 32");
    fault(faults, err, r->decode_side % 64 == 0, "image.decode_side must be a multiple of 64");
    fault(faults, err, m->vocab == m->vocab_base + 6, "model.vocab must be model.vocab_base + 6");
    fault(faults, err, m->llm_hidden % m->llm_heads == 0 && m->llm_hidden / m->llm_heads % 2 == 0,
          "model.llm.hidden must divide into heads of even width");
    fault(faults, err, m->mmfs_inner % m->mmfs_heads == 0, "model.mmfs.heads must divide inner");
    fault(faults, err, m->net_inner % m->net_heads == 0, "model.mmfs_net.heads must divide inner");
    fault(faults, err, m->perceiver1_hidden % m->perceiver1_heads == 0,
          "model.perceiver1.heads must divide hidden");
    fault(faults, err, m->perceiver2_hidden % m->perceiver2_heads == 0,
          "model.perceiver2.heads must divide hidden");
    fault(faults, err, m->perceiver2_hidden == m->feature_width,
          "model.perceiver2.hidden must equal model.feature_width (the UNet's context)");
    fault(faults, err, m->feature_width % 4 == 0, "model.feature_width must be a multiple of 4");
    check_length(faults, err, "model.convnext.depths", &m->convnext_depths);
    check_length(faults, err, "model.convnext.dims", &m->convnext_dims);
    check_length(faults, err, "model.unet.widths", &m->unet_widths);
    check_length(faults, err, "model.unet.heads", &m->unet_heads);
    check_length(faults, err, "model.vae.widths", &m->vae_widths);
    check_length(faults, err, "model.mmfs_net.shapes", &m->net_shapes);
    check_length(faults, err, "model.mmfs_net.bases", &m->net_bases);
    for (int i = 0; i < LEVELS && m->unet_widths.count == LEVELS && m->unet_heads.count == LEVELS;
         i++)
        fault(faults, err,
              m->unet_widths.items[i] % m->unet_groups == 0 &&
                  m->unet_widths.items[i] % m->unet_heads.items[i] == 0,
              "model.unet.groups and heads must divide each width");
    for (int i = 0; i < LEVELS && m->vae_widths.count == LEVELS; i++)
        fault(faults, err, m->vae_widths.items[i] % m->vae_groups == 0,
              "model.vae.groups must divide each width");
}

static enum status check_together(const struct recipe *r, struct error *err)
{
    struct buffer faults;
    struct error inner = { 0 };
    enum status st = ST_OK;

    buffer_init(&faults);
    fault(&faults, &inner, r->batch_global % r->batch_micro == 0,
          "batch.micro must divide batch.global");
    fault(&faults, &inner, r->warmup <= r->steps, "warmup must not exceed steps");
    fault(&faults, &inner, r->out[0] != '\0', "out is missing");
    for (size_t i = 0; i < r->n_sources; i++)
        if (r->sources[i].n_datasets == 0)
            buffer_printf(&faults, &inner, "; data.%s.datasets is missing", r->sources[i].name);
    check_model(r, &faults, &inner);
    if (inner.cause != CAUSE_NONE)
        st = error_set(err, ST_FAIL, inner.cause, "%s", inner.text);
    else if (faults.size > 0)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "%s: %s", r->yaml.source,
                       (const char *)faults.data + 2);
    buffer_clear(&faults);
    return st;
}

enum status recipe_open(struct recipe **out, const char *path, const char *const *assignments,
                        size_t n_assignments, struct error *err)
{
    struct recipe *r = mem_calloc(1, sizeof *r);
    enum status st = ST_OK;

    *out = NULL;
    if (!r)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: recipe");
    yaml_init(&r->yaml);
    st = yaml_read(&r->yaml, path, err);
    for (size_t i = 0; i < n_assignments && st == ST_OK; i++)
        st = yaml_set(&r->yaml, assignments[i], err);
    if (st == ST_OK)
        st = settings_check(&r->yaml, settings, SETTINGS, err);
    if (st == ST_OK)
        st = settings_fill(r, &r->yaml, settings, SETTINGS, err);
    if (st == ST_OK)
        st = read_sources(r, err);
    if (st == ST_OK)
        st = check_together(r, err);
    if (st != ST_OK)
        recipe_close(&r);
    *out = r;
    return st;
}

void recipe_close(struct recipe **r)
{
    if (!*r)
        return;
    mem_free((*r)->sources);
    yaml_clear(&(*r)->yaml);
    mem_free(*r);
    *r = NULL;
}

enum status recipe_print(struct buffer *out, const struct recipe *r, bool help, struct error *err)
{
    return settings_print(out, &r->yaml, settings, SETTINGS, help, err);
}

enum status recipe_differences(struct buffer *out, size_t *count, const struct recipe *saved,
                               const struct recipe *now, const char *const *allowed,
                               size_t n_allowed, struct error *err)
{
    const char *ignore[FREE_KEYS + 64];
    size_t n = 0;

    if (n_allowed > 64)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%zu overridden keys, at most 64", n_allowed);
    for (; n < FREE_KEYS; n++)
        ignore[n] = free_keys[n];
    for (size_t i = 0; i < n_allowed; i++) {
        if (!settings_find(settings, SETTINGS, allowed[i]))
            return error_set(err, ST_FAIL, CAUSE_ARG, "--override: no key %s", allowed[i]);
        ignore[n++] = allowed[i];
    }
    return settings_compare(out, count, &saved->yaml, &now->yaml, settings, SETTINGS, ignore, n,
                            err);
}

int64_t recipe_micro_batches(const struct recipe *r)
{
    return r->batch_global / r->batch_micro;
}

double recipe_weight_nip(const struct recipe *r)
{
    return r->stage == STAGE_1 || r->stage == STAGE_BASELINE ? r->loss_img : 0.0;
}

double recipe_weight_csr(const struct recipe *r)
{
    return r->stage == STAGE_1 || r->stage == STAGE_2 ? r->loss_sniffer : 0.0;
}
