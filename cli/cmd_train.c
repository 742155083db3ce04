/* cli/cmd_train.c: `deem train RECIPE`. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/log.h"
#include "core/mem.h"
#include "trainer/recipe.h"
#include "trainer/train.h"

static const struct command_help help = {
    "deem train RECIPE [OPTION...]",
    "Trains a stage on the datasets of a recipe. Leaves OUT/metrics.jsonl, OUT/checkpoints/,\n"
    "OUT/recipe.yaml. SIGTERM: checkpoint and exit 75; SIGUSR1: checkpoint and go on.",
    "  deem train recipes/tiny-stage1.yaml --steps 50\n"
    "  deem train recipes/tiny-stage1.yaml --resume\n"
    "  deem train recipes/stage1.yaml --set batch.micro=2 --set seed=7\n"
    "  mpirun -n 4 deem train recipes/stage1.yaml\n"
};

/* Every key of a recipe with type, default and source. */
static int print_keys(void)
{
    size_t count = 0;
    const struct setting *s = recipe_settings(&count);
    for (size_t i = 0; i < count; i++)
        printf("%-32s %-14s %s\n", s[i].key, s[i].by_default ? s[i].by_default : "", s[i].help);
    return 0;
}

int cmd_train(int argc, char **argv)
{
    static const char *const backends[] = { "cpu", "cuda", NULL };
    struct train_options t;
    struct option_list inputs = { 0 }, sets = { 0 }, overrides = { 0 };
    struct error err = { 0 };
    bool keys = false;
    int backend = BACKEND_CPU;
    train_options_init(&t);
    const struct option options[] = {
        { "set", OPTION_LIST, &sets, "KEY=VALUE", "changes a key of the recipe; repeatable", 0, 0,
          NULL },
        { "resume", OPTION_FLAG, &t.resume, NULL, "go on from the newest complete checkpoint", 0, 0,
          NULL },
        { "steps", OPTION_INT, &t.stop_after, "N", "end after step N (default: the recipe's)", 1,
          1e12, NULL },
        { "override", OPTION_LIST, &overrides, "KEY",
          "a key that may differ from the checkpoint's recipe; repeatable", 0, 0, NULL },
        { "hash-steps", OPTION_FLAG, &t.hash_steps, NULL,
          "a hash of weights and moments in every line of metrics.jsonl", 0, 0, NULL },
        { "backend", OPTION_CHOICE, &backend, "NAME", "cpu or cuda (default cpu)", 0, 0, backends },
        { "help-recipe", OPTION_FLAG, &keys, NULL, "print every key of a recipe", 0, 0, NULL },
    };
    enum status st =
        options_parse(argc, argv, options, sizeof options / sizeof *options, &help, &inputs, &err);
    if (st == ST_OK && keys)
        return print_keys();
    if (st == ST_OK && inputs.count != 1)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "want one RECIPE; --help shows examples");
    if (st == ST_OK) {
        t.recipe = inputs.items[0];
        t.assignments = sets.items;
        t.n_assignments = sets.count;
        t.overrides = overrides.items;
        t.n_overrides = overrides.count;
        t.backend = (enum backend)backend;
        st = train_run(&t, &err);
    }
    options_clear_list(&inputs);
    options_clear_list(&sets);
    options_clear_list(&overrides);
    if (st == ST_FAIL || st == ST_SKIP || st == ST_STOP) {
        log_error(&err);
        return error_exit_code(err.cause);
    }
    return 0;
}
