/* cli/command.h: one row a command of the program. A command parses its own arguments, calls the
 * libraries, prints, and returns an exit code of robustness.md 2.2. */
#ifndef DEEM_CLI_COMMAND_H
#define DEEM_CLI_COMMAND_H

/* argv[0] is the command's own name. Returns the exit code of the process. */
typedef int command_fn(int argc, char **argv);

struct command {
    const char *name;    /* "ingest", "inspect", ... */
    const char *summary; /* one line for `deem --help` */
    command_fn *run;
};

/* The commands, one cmd_*.c each. */
command_fn cmd_bench;
command_fn cmd_decode;
command_fn cmd_generate;
command_fn cmd_golden;
command_fn cmd_export;
command_fn cmd_ingest_instruct; /* `deem ingest instruct` */
command_fn cmd_inspect;
command_fn cmd_ingest;
command_fn cmd_plot;
command_fn cmd_stats;
command_fn cmd_verify;
command_fn cmd_train;
command_fn cmd_weights;

#endif
