/* cli/main.c: finds the command and runs it. Everything else is in cmd_*.c. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/version.h"
#include "cli/wait_policy.h"

/* One line a command, in the order of `deem --help`. */
static const struct command commands[] = {
    { "ingest", "a raw dump becomes a dataset", cmd_ingest },
    { "decode", "the loader's picture path for one file", cmd_decode },
    { "train", "train a model by a recipe", cmd_train },
    { "generate", "go on with a prompt in words and pictures", cmd_generate },
    { "weights", "look into, import and export weights", cmd_weights },
    { "plot", "draw the curves of a training run", cmd_plot },
    { "golden", "run one numerical reference case and compare", cmd_golden },
    { "export", "mask sets as COCO-shaped and conversation files", cmd_export },
    { "bench", "measure a part as a share of its limit", cmd_bench },
    { "inspect", "look into a dataset, or at what a training step sees", cmd_inspect },
    { "stats", "counts, histograms and drop reasons of a dataset", cmd_stats },
    { "verify", "every checksum, digest and count of a dataset or checkpoint", cmd_verify },
    { NULL, NULL, NULL },
};

static void print_help(FILE *to)
{
    fprintf(to, "usage: deem COMMAND [OPTION...]\n\nfrom raw multimodal web dumps to a trained "
                "DEEM model\n\n");
    for (const struct command *c = commands; c->name; c++)
        fprintf(to, "  %-10s %s\n", c->name, c->summary);
    fprintf(to,
            "\nexamples:\n"
            "  deem ingest mmc4 --images pictures/ --tokenizer llama.model --out web "
            "dumps/*.jsonl.zip\n"
            "  deem stats web && deem verify web\n"
            "  deem inspect web --html page.html\n"
            "  deem train recipes/tiny-stage1.yaml --set out=runs/first\n"
            "\n`deem COMMAND --help` explains a command; `deem --version` names every library.\n");
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    wait_policy_passive(argv);
    signal(SIGXFSZ, SIG_IGN); /* a file that grows too large is an error of the write */
    if (argc < 2) {
        print_help(stderr);
        return 64;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        version_print(stdout);
        return 0;
    }
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(argv[1], c->name) == 0)
            return c->run(argc - 1, argv + 1);
    fprintf(stderr, "error: unknown command %s; `deem --help` lists them\n", argv[1]);
    return 64;
}
