/* cli/cmd_golden.c: `deem golden CASE`: runs one reference case and prints how near it came. */
#include <string.h>

#include "cli/command.h"
#include "cli/golden_model.h"
#include "cli/options.h"
#include "core/log.h"

static const char *const backends[] = { "cpu", "cuda", NULL };
static const char *const dtypes[] = { "f32", "bf16", NULL };

/* One line a module; kinds that are no modules come below. */
static const struct {
    const char *name;
    golden_fn *run;
} modules[] = {
    { "cliptext", golden_cliptext },
    { "convnext", golden_convnext },
    { "ddpm", golden_ddpm },
    { "llama-mmfs", golden_llama },
    { "loss-text", golden_loss_text },
    { "masks", golden_masks },
    { "mmfs", golden_mmfs },
    { "optim", golden_optim },
    { "perceiver2", golden_perceiver2 },
    { "unet", golden_unet },
    { "vae", golden_vae },
    { "vistok", golden_vistok },
};

static enum status run_module(struct golden *g, struct error *err)
{
    const char *name = golden_text(g, "module");
    for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++)
        if (strcmp(modules[i].name, name) == 0)
            return modules[i].run(g, err);
    golden_problem(g, "case.json: module: unknown name \"%s\"", name);
    return golden_ready(g, err);
}

static const struct {
    const char *name;
    golden_fn *run;
} kinds[] = {
    { "generate", golden_generate },
    { "module", run_module },
    { "stage", golden_stage },
    { "steps", golden_steps },
};

enum status golden_run(struct golden *g, struct error *err)
{
    const char *name = golden_text(g, "kind");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].name, name) == 0)
            return kinds[i].run(g, err);
    golden_problem(g, "case.json: kind: unknown name \"%s\"", name);
    return golden_ready(g, err);
}

/* Exit code: 0 all passed, 1 some failed, 65 the case is damaged or asks for what cannot be, else the
 * error's. */
static int run_case(const char *folder, const struct placement_options *place)
{
    struct error err = { 0 };
    struct golden *g = NULL;
    int code = 0;
    if (golden_open(&g, folder, place, &err) == ST_OK && golden_ready(g, &err) == ST_OK &&
        golden_run(g, &err) == ST_OK)
        code = golden_compare(g, stdout) > 0;
    if (err.cause == CAUSE_ARG) /* whatever is asked for, the case asks for it */
        err.cause = CAUSE_FORMAT;
    if (err.cause != CAUSE_NONE)
        code = error_exit_code(err.cause);
    if (g && golden_report(g) > 0 && err.cause == CAUSE_NONE)
        code = error_exit_code(CAUSE_FORMAT);
    if (err.cause != CAUSE_NONE)
        log_error(&err);
    golden_close(&g);
    return code;
}

int cmd_golden(int argc, char **argv)
{
    int backend = 0, dtype = 0;
    struct placement_options place;
    placement_options_init(&place);
    struct option_list inputs = { 0 };
    struct error err = { 0 };
    const struct option options[] = {
        { "backend", OPTION_CHOICE, &backend, "NAME", "cpu or cuda (default cpu)", 0, 0, backends },
        { "dtype", OPTION_CHOICE, &dtype, "TYPE", "f32 or bf16, which needs cuda (default f32)", 0,
          0, dtypes },
        { "apart", OPTION_FLAG, &place.apart, NULL,
          "on the CPU too, keep the tensors apart from the host's, as on a GPU", 0, 0, NULL },
    };
    const struct command_help help = {
        .usage = "deem golden CASE [--backend cpu|cuda] [--dtype f32|bf16] [--apart]",
        .about = "Runs one numerical reference case and compares every tensor; exit 1 where one is "
                 "past its tolerance.",
        .examples = "  deem golden tests/goldens/model/mod-mmfs\n"
                    "  deem golden tests/goldens/model/stage1-tiny --backend cpu\n",
    };
    int code = 64;
    const enum status st = options_parse(argc, argv, options, sizeof options / sizeof options[0],
                                         &help, &inputs, &err);
    place.backend = backend == 1 ? BACKEND_CUDA : BACKEND_CPU;
    place.storage = dtype == 1 ? DT_BF16 : DT_F32;
    if (st == ST_END)
        code = 0;
    else if (st == ST_OK && inputs.count != 1)
        error_set(&err, ST_FAIL, CAUSE_ARG, "golden: one case folder is wanted, got %zu",
                  inputs.count);
    else if (st == ST_OK && dtype == 1 && backend == BACKEND_CPU)
        error_set(&err, ST_FAIL, CAUSE_ARG, "golden: --dtype bf16 needs --backend cuda");
    else if (st == ST_OK)
        code = run_case(inputs.items[0], &place);
    if (st != ST_END && err.cause != CAUSE_NONE) {
        log_error(&err);
        code = error_exit_code(err.cause);
    }
    options_clear_list(&inputs);
    return code;
}
