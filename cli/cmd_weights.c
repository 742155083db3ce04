/* cli/cmd_weights.c: `deem weights list|import|export`. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/log.h"
#include "core/mem.h"
#include "trainer/param_groups.h"
#include "trainer/setup.h"
#include "trainer/weights.h"

static const char *const dtypes[] = { "f32", "bf16", "f16", NULL };
static const enum tensor_type types[] = { TENSOR_F32, TENSOR_BF16, TENSOR_F16 };

static const struct command_help help = {
    "deem weights list PATH | import RECIPE -o FILE [OPTION...] | export CHECKPOINT -o FILE",
    "list: names, shapes and types of a file, a sharded set or a folder of published weights.\n"
    "import: the whole model of a recipe out of published folders; what is new is drawn.\n"
    "export: a checkpoint as one safetensors file. Files are never executed; a PyTorch .bin is "
    "read\n"
    "as data.",
    "  deem weights list weights/vicuna-7b-v1.5\n"
    "  deem weights import recipes/stage1.yaml --llm weights/vicuna-7b-v1.5 \\\n"
    "      --convnext weights/CLIP-convnext_base_w_320-laion_aesthetic-s13B-b82K \\\n"
    "      --diffusion weights/stable-diffusion-2-1-base -o stage0.safetensors --dtype bf16\n"
    "  deem weights export runs/stage1/checkpoints/step-010000 -o stage1.safetensors\n",
};

struct arguments {
    struct option_list inputs, set;
    const char *out, *llm, *convnext, *diffusion, *checkpoint;
    bool allow_nonfinite;
    int dtype;
};

static enum status parse(struct arguments *a, int argc, char **argv, struct error *err)
{
    const struct option options[] = {
        { "o", OPTION_TEXT, &a->out, "FILE", "the safetensors file to write", 0, 0, NULL },
        { "dtype", OPTION_CHOICE, &a->dtype, "TYPE", "f32 (default), bf16 or f16", 0, 0, dtypes },
        { "llm", OPTION_TEXT, &a->llm, "PATH", "LLaMA or Vicuna (default: init.llm)", 0, 0, NULL },
        { "convnext", OPTION_TEXT, &a->convnext, "PATH",
          "open_clip ConvNeXt (default: init.convnext)", 0, 0, NULL },
        { "diffusion", OPTION_TEXT, &a->diffusion, "PATH",
          "Stable Diffusion 2.1-base, diffusers layout (default: init.diffusion)", 0, 0, NULL },
        { "checkpoint", OPTION_TEXT, &a->checkpoint, "PATH",
          "composite file or checkpoint (default: init.checkpoint)", 0, 0, NULL },
        { "set", OPTION_LIST, &a->set, "KEY=VALUE", "replace a value of the recipe; repeatable", 0,
          0, NULL },
        { "allow-nonfinite", OPTION_FLAG, &a->allow_nonfinite, NULL,
          "take NaN and infinite values (default: refuse)", 0, 0, NULL },
    };
    return options_parse(argc, argv, options, sizeof options / sizeof options[0], &help, &a->inputs,
                         err);
}

static enum status list(const char *path, struct error *err)
{
    struct tensor_file *f = NULL;
    char text[200];
    int64_t elements = 0;
    const enum status st = weights_open_file(&f, path, err);

    for (size_t i = 0; st == ST_OK && i < tensor_file_count(f); i++) {
        const struct tensor_info *t = tensor_file_at(f, i);
        tensor_info_text(text, sizeof text, t);
        printf("%-80s %s\n", t->name, text);
        elements += t->count;
    }
    if (st == ST_OK)
        printf("%zu tensors, %" PRId64 " elements\n", tensor_file_count(f), elements);
    tensor_file_close(&f);
    return st;
}

static const char *either(const char *given, const char *recipe)
{
    return given ? given : recipe;
}

static enum status write_model(const struct arguments *a, const struct recipe *r, struct error *err)
{
    const struct weights_spec spec = { .checkpoint = either(a->checkpoint, r->init_checkpoint),
                                       .llm = either(a->llm, r->init_llm),
                                       .convnext = either(a->convnext, r->init_convnext),
                                       .diffusion = either(a->diffusion, r->init_diffusion),
                                       .seed = (uint64_t)r->seed,
                                       .published = r->model.vocab_base,
                                       .allow_nonfinite = a->allow_nonfinite };
    struct deem_config config;
    struct group_rules rules;
    struct params *params = NULL;
    struct weights *w = NULL;
    struct buffer report;

    buffer_init(&report);
    setup_model(&config, r);
    group_rules_from_recipe(&rules, r);
    enum status st = params_open(&params, param_reached, &rules, err);
    if (st == ST_OK)
        st = setup_declare(params, &config, r, err);
    if (st == ST_OK)
        st = weights_open(&w, &spec, params, err);
    if (st == ST_OK)
        st = weights_report(w, &report, err);
    if (st == ST_OK)
        fwrite(report.data, 1, report.size, stdout);
    if (st == ST_OK)
        st = weights_write(w, params, a->out, types[a->dtype], err);
    buffer_clear(&report);
    weights_close(&w);
    params_close(&params);
    return st;
}

static enum status import(const struct arguments *a, const char *path, struct error *err)
{
    struct recipe *r = NULL;
    enum status st = recipe_open(&r, path, a->set.items, a->set.count, err);
    if (st == ST_OK)
        st = write_model(a, r, err);
    recipe_close(&r);
    return st;
}

static enum status run(const struct arguments *a, struct error *err)
{
    const char *what = a->inputs.count > 0 ? a->inputs.items[0] : "";
    if (a->inputs.count != 2)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "want list PATH, import RECIPE or export CHECKPOINT; --help explains");
    if (strcmp(what, "list") == 0)
        return list(a->inputs.items[1], err);
    if (strcmp(what, "import") != 0 && strcmp(what, "export") != 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: want list, import or export", what);
    if (!a->out)
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: -o FILE is missing", what);
    if (strcmp(what, "import") == 0)
        return import(a, a->inputs.items[1], err);
    return weights_export(a->inputs.items[1], a->out, types[a->dtype], err);
}

int cmd_weights(int argc, char **argv)
{
    struct arguments a = { 0 };
    struct error err = { 0 };
    enum status st = parse(&a, argc, argv, &err);

    if (st == ST_OK)
        st = run(&a, &err);
    options_clear_list(&a.inputs);
    options_clear_list(&a.set);
    if (st == ST_FAIL)
        log_error(&err);
    return error_exit_code(err.cause);
}
