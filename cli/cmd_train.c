/* cli/cmd_train.c: `deem train RECIPE`. */
#include <stdio.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/stop.h"
#include "trainer/dist.h"
#include "trainer/dry_run.h"
#include "trainer/recipe.h"
#include "trainer/train.h"

static const struct command_help help = {
    "deem train RECIPE [--resume] [--set key=value ...] [--steps N]",
    "Trains a DEEM model by a recipe: metrics, checkpoints and the effective recipe go to its "
    "`out`.\n"
    "Under mpirun or srun the ranks share every step; SIGTERM, SIGINT,\n"
    "SIGHUP and SIGUSR2 end with a checkpoint and exit 75, SIGUSR1 asks for a checkpoint.\n"
    "mpirun passes on SIGUSR1 and SIGUSR2, but not SIGTERM.",
    "  deem train recipes/tiny-stage1.yaml\n"
    "  deem train recipes/tiny-stage1.yaml --resume\n"
    "  deem train recipes/stage1.yaml --set out=/scratch/run1 --set batch.micro=2\n"
    "  deem train recipes/stage1.yaml --dry-run --set batch.images=60\n"
    "  mpirun -n 4 deem train recipes/tiny-stage1.yaml --set out=/tmp/four\n"
    "  deem train --help-recipe\n",
};

static const char *const backends[] = { "cpu", "cuda", NULL };
static const char *const dtypes[] = { "f32", "bf16", NULL };

struct arguments {
    struct option_list inputs, set, overrides;
    bool resume, dry_run, help_recipe, hash_steps, skip_damaged;
    int64_t steps;
    int backend, dtype;
};

static enum status parse(struct arguments *a, int argc, char **argv, struct error *err)
{
    const struct option options[] = {
        { "resume", OPTION_FLAG, &a->resume, NULL,
          "go on from the newest complete checkpoint; start where there is none", 0, 0, NULL },
        { "set", OPTION_LIST, &a->set, "KEY=VALUE", "replace a value of the recipe; repeatable", 0,
          0, NULL },
        { "override", OPTION_LIST, &a->overrides, "KEY",
          "accept that the checkpoint has another value; repeatable", 0, 0, NULL },
        { "steps", OPTION_INT, &a->steps, "N", "end after step N; the schedule stays the recipe's",
          1, 1e12, NULL },
        { "backend", OPTION_CHOICE, &a->backend, "NAME", "cpu (default) or cuda", 0, 0, backends },
        { "dtype", OPTION_CHOICE, &a->dtype, "TYPE", "f32 (default), or bf16 with cuda", 0, 0,
          dtypes },
        { "skip-damaged", OPTION_FLAG, &a->skip_damaged, NULL,
          "count damaged sequences and train on their substitutes (loader.damaged=skip)", 0, 0,
          NULL },
        { "dry-run", OPTION_FLAG, &a->dry_run, NULL,
          "print parameters, operations, FLOPs and memory; train nothing", 0, 0, NULL },
        { "hash-steps", OPTION_FLAG, &a->hash_steps, NULL,
          "metrics carry a hash of the state after each step", 0, 0, NULL },
        { "help-recipe", OPTION_FLAG, &a->help_recipe, NULL, "print every key of a recipe", 0, 0,
          NULL },
    };
    enum status st = options_parse(argc, argv, options, sizeof options / sizeof options[0], &help,
                                   &a->inputs, err);
    if (st == ST_OK && a->skip_damaged)
        st = options_add(&a->set, "loader.damaged=skip", err);
    if (st == ST_OK && !a->help_recipe && a->inputs.count != 1)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "want one RECIPE; --help explains");
    if (st == ST_OK && a->dtype == 1 && a->backend == 0)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "--dtype bf16 needs --backend cuda");
    return st;
}

static enum status print_recipe_help(struct error *err)
{
    struct yaml empty;
    struct buffer text;
    size_t count = 0;
    const struct setting *table = recipe_settings(&count);

    yaml_init(&empty);
    buffer_init(&text);
    const enum status st = settings_print(&text, &empty, table, count, true, err);
    if (st == ST_OK)
        fwrite(text.data, 1, text.size, stdout);
    buffer_clear(&text);
    return st;
}

/* The recipe on paper. */
static enum status print_dry_run(const struct train_options *t, struct error *err)
{
    struct recipe *r = NULL;
    struct dry_run d;
    struct buffer text = { 0 };
    enum status st = recipe_open(&r, t->recipe, t->assignments, t->n_assignments, err);
    if (st == ST_OK)
        st = dry_run_make(&d, r, err);
    if (st == ST_OK)
        st = dry_run_print(&text, &d, r, err);
    if (st == ST_OK)
        fwrite(text.data, 1, text.size, stdout);
    buffer_clear(&text);
    recipe_close(&r);
    return st;
}

int cmd_train(int argc, char **argv)
{
    struct arguments a = { 0 };
    struct error err = { 0 };
    int watched = 0; /* exit code of the rank this process watched */
    enum status st = parse(&a, argc, argv, &err);

    if (st == ST_OK && a.help_recipe) {
        st = print_recipe_help(&err);
    } else if (st == ST_OK) {
        struct train_options opt;
        train_options_init(&opt);
        opt.recipe = a.inputs.items[0];
        opt.assignments = a.set.items;
        opt.n_assignments = a.set.count;
        opt.overrides = a.overrides.items;
        opt.n_overrides = a.overrides.count;
        opt.resume = a.resume;
        opt.stop_after = a.steps;
        opt.backend = a.backend == 1 ? BACKEND_CUDA : BACKEND_CPU;
        opt.storage = a.dtype == 1 ? DT_BF16 : DT_F32;
        opt.hash_steps = a.hash_steps;
        if (a.dry_run) {
            st = print_dry_run(&opt, &err);
        } else {
            stop_install_training();
            st = dist_supervise(&watched, &err);
            if (st == ST_OK)
                st = train_run(&opt, &err);
        }
    }
    options_clear_list(&a.inputs);
    options_clear_list(&a.set);
    options_clear_list(&a.overrides);
    if (st == ST_FAIL)
        log_error(&err);
    return st == ST_END ? watched : error_exit_code(err.cause);
}
