/* cli/cmd_bench.c: `deem bench WHAT`: finds the bench and runs it. */
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/options.h"
#include "core/log.h"

/* One line a bench. */
static const struct command benches[] = {
    { "ingest", "documents a second against the bare libraries; memory", bench_ingest },
    { "kernels", "operations of the CPU backend against BLAS and memcpy", bench_kernels },
    { "loader", "pictures a second against bare decoding and resizing", bench_loader },
    { "masks", "polygons and masks a second beside the dense walk", bench_masks },
    { "train", "a training step against its operations' bare costs", bench_train },
    { NULL, NULL, NULL },
};

static const struct command_help help = {
    "deem bench WHAT [OPTION...]",
    "Measures a part of deem as a share of the limit measured in the same run.",
    "  deem bench kernels\n  deem bench kernels --only conv --seconds 1\n"
    "  deem bench train recipes/tiny-stage1.yaml\n",
};

int cmd_bench(int argc, char **argv)
{
    struct error err = { 0 };
    if (argc > 1)
        for (const struct command *c = benches; c->name; c++)
            if (strcmp(argv[1], c->name) == 0)
                return c->run(argc - 1, argv + 1);
    if (argc > 1 && argv[1][0] == '-') {
        const enum status st = options_parse(argc, argv, NULL, 0, &help, NULL, &err);
        if (st == ST_END)
            for (const struct command *c = benches; c->name; c++)
                printf("  %-10s %s\n", c->name, c->summary);
        if (st == ST_END)
            return 0;
    }
    if (argc > 1)
        error_set(&err, ST_FAIL, CAUSE_ARG, "unknown bench %s; `deem bench --help` lists them",
                  argv[1]);
    else
        error_set(&err, ST_FAIL, CAUSE_ARG, "bench: what? `deem bench --help` lists them");
    log_error(&err);
    return error_exit_code(err.cause);
}
