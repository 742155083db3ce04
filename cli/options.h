/* cli/options.h: one table of options a command. From it come parsing, `--help`, and errors that name
 * the nearest known option. `--help`, `--quiet` and `--log-json` are added to every table. */
#ifndef DEEM_CLI_OPTIONS_H
#define DEEM_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_TEXT,   /* const char *, borrowed from argv; NULL = not given */
    OPTION_LIST,   /* struct option_list: repeatable */
    OPTION_INT,    /* int64_t within [low, high] */
    OPTION_REAL,   /* double within [low, high] */
    OPTION_BYTES,  /* uint64_t: a number with K, M, G or T (powers of 1024) */
    OPTION_CHOICE, /* int: position in `choices` */
};

/* Values in the order given, borrowed from argv; free with options_clear_list. */
struct option_list {
    const char **items;
    size_t count;
};

struct option {
    const char *name; /* without the dashes; a single letter takes one dash: "o" is -o */
    enum option_kind kind;
    void *value;                /* what the kind says; holds the default before parsing */
    const char *argument;       /* "PATH" in the help; NULL for flags */
    const char *help;           /* one line, with the default */
    double low, high;           /* INT, REAL: the range; both 0 = any */
    const char *const *choices; /* CHOICE: NULL-terminated */
};

struct command_help {
    const char *usage;    /* "deem ingest mmc4 --out DATASET ... INPUT..." */
    const char *about;    /* a sentence or two */
    const char *examples; /* whole lines, each ending in a newline */
};

/* Reads argv[1..argc). What is no option goes to *inputs (may be NULL: none is taken); `--` ends the
 * options. Sets up the log by --quiet and --log-json.
 * ST_OK: go on. ST_END: --help was printed, exit 0. ST_FAIL: CAUSE_ARG (exit 64), CAUSE_NOMEM. */
enum status options_parse(int argc, char **argv, const struct option *options, size_t count,
                          const struct command_help *help, struct option_list *inputs,
                          struct error *err);
/* Texts of --seed (0 to 2^64-1) and --part (I/N, I < N); NULL leaves the values alone. CAUSE_ARG. */
enum status options_read_seed(uint64_t *seed, const char *text, struct error *err);
enum status options_read_part(uint32_t *part, uint32_t *parts, const char *text, struct error *err);
/* One more item, borrowed: a flag that stands for a longer option. ST_FAIL: CAUSE_NOMEM. */
enum status options_add(struct option_list *list, const char *item, struct error *err);
void options_clear_list(struct option_list *list);

#endif
