/* cli/options.c: see options.h. */
#include "cli/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/yaml.h"

static void print_help(const struct option *options, size_t count, const struct command_help *help)
{
    printf("usage: %s\n\n%s\n\n", help->usage, help->about);
    for (size_t i = 0; i < count; i++) {
        char left[64];
        const struct option *o = &options[i];
        snprintf(left, sizeof left, "%s%s%s%s", o->name[1] ? "--" : "-", o->name,
                 o->argument ? " " : "", o->argument ? o->argument : "");
        printf("  %-26s %s\n", left, o->help);
    }
    printf("  %-26s %s\n", "--quiet", "only warnings and errors");
    printf("  %-26s %s\n", "--log-json", "log lines as JSON");
    printf("  %-26s %s\n", "--help", "this text");
    if (help->examples)
        printf("\nexamples:\n%s", help->examples);
}

enum status options_add(struct option_list *list, const char *item, struct error *err)
{
    const char **items = mem_realloc(list->items, list->count + 1, sizeof *items);
    if (!items)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: arguments");
    items[list->count] = item;
    list->items = items;
    list->count++;
    return ST_OK;
}

void options_clear_list(struct option_list *list)
{
    mem_free(list->items);
    *list = (struct option_list){ 0 };
}

static enum status bad_value(const struct option *o, const char *text, const char *want,
                             struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_ARG, "--%s: got \"%s\", want %s", o->name, text, want);
}

static enum status read_number(const struct option *o, const char *text, struct error *err)
{
    char *end = NULL, want[96];
    const bool ranged = o->low < o->high;
    double value = 0.0;
    long long whole = 0;

    errno = 0;
    if (o->kind == OPTION_INT) {
        whole = strtoll(text, &end, 10);
        value = (double)whole;
    } else {
        value = strtod(text, &end);
    }
    if (ranged)
        snprintf(want, sizeof want, "a number from %.10g to %.10g", o->low, o->high);
    else
        snprintf(want, sizeof want, "a number");
    if (errno != 0 || end == text || *end != '\0' || value != value ||
        (ranged && (value < o->low || value > o->high)))
        return bad_value(o, text, want, err);
    if (o->kind == OPTION_INT)
        *(int64_t *)o->value = whole;
    else
        *(double *)o->value = value;
    return ST_OK;
}

static enum status read_bytes(const struct option *o, const char *text, struct error *err)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    const char *unit = *end ? strchr(units, *end) : NULL;
    const unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    uint64_t bytes = 0;

    if (errno != 0 || end == text || text[0] == '-' || (*end && (!unit || end[1] != '\0')) ||
        __builtin_mul_overflow((uint64_t)n, (uint64_t)1 << shift, &bytes))
        return bad_value(o, text, "bytes such as 512M or 4G", err);
    *(uint64_t *)o->value = bytes;
    return ST_OK;
}

enum status options_read_seed(uint64_t *seed, const char *text, struct error *err)
{
    char *end = NULL;
    if (!text)
        return ST_OK;
    errno = 0;
    *seed = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--seed: got \"%s\", want 0 to 2^64-1", text);
    return ST_OK;
}

enum status options_read_part(uint32_t *part, uint32_t *parts, const char *text, struct error *err)
{
    char *end = NULL;
    if (!text)
        return ST_OK;
    const unsigned long i = strtoul(text, &end, 10);
    const char *rest = *end == '/' ? end + 1 : "";
    const unsigned long n = strtoul(rest, &end, 10);
    if (*text < '0' || *text > '9' || *rest < '0' || *rest > '9' || *end || n > UINT32_MAX ||
        i >= n)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "--part: got \"%s\", want I/N with I from 0 to N-1", text);
    *part = (uint32_t)i;
    *parts = (uint32_t)n;
    return ST_OK;
}

static enum status read_choice(const struct option *o, const char *text, struct error *err)
{
    char want[256] = "one of";
    for (int i = 0; o->choices[i]; i++) {
        const size_t used = strlen(want);
        if (strcmp(o->choices[i], text) == 0) {
            *(int *)o->value = i;
            return ST_OK;
        }
        snprintf(want + used, sizeof want - used, "%s %s", i ? "," : "", o->choices[i]);
    }
    return bad_value(o, text, want, err);
}

static enum status read_value(const struct option *o, const char *text, struct error *err)
{
    switch (o->kind) {
    case OPTION_TEXT:
        *(const char **)o->value = text;
        return ST_OK;
    case OPTION_LIST:
        return options_add(o->value, text, err);
    case OPTION_BYTES:
        return read_bytes(o, text, err);
    case OPTION_CHOICE:
        return read_choice(o, text, err);
    case OPTION_INT:
    case OPTION_REAL:
        return read_number(o, text, err);
    case OPTION_FLAG:
        break;
    }
    return error_set(err, ST_FAIL, CAUSE_INTERNAL, "--%s: no such kind of option", o->name);
}

static const struct option *find(const struct option *options, size_t count, const char *name,
                                 size_t length)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(options[i].name) == length && memcmp(options[i].name, name, length) == 0)
            return &options[i];
    return NULL;
}

static enum status unknown(const struct option *options, size_t count, const char *word,
                           struct error *err)
{
    const char *near = NULL;
    size_t least = strlen(word) / 2 + 1;
    for (size_t i = 0; i < count; i++) {
        const size_t d = word_distance(word, options[i].name);
        if (d < least) {
            near = options[i].name;
            least = d;
        }
    }
    if (near)
        return error_set(err, ST_FAIL, CAUSE_ARG, "unknown option --%s; did you mean --%s?", word,
                         near);
    return error_set(err, ST_FAIL, CAUSE_ARG, "unknown option --%s; --help lists them", word);
}

/* One option at argv[*at]; moves *at past its value. */
static enum status take_option(int argc, char **argv, int *at, const struct option *options,
                               size_t count, struct error *err)
{
    const char *word = argv[*at] + (argv[*at][1] == '-' ? 2 : 1);
    const char *equals = strchr(word, '=');
    const size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const struct option *o = find(options, count, word, length);

    if (!o)
        return unknown(options, count, word, err);
    if (o->kind == OPTION_FLAG) {
        if (equals)
            return error_set(err, ST_FAIL, CAUSE_ARG, "--%s takes no value", o->name);
        *(bool *)o->value = true;
        return ST_OK;
    }
    if (!equals && *at + 1 >= argc)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--%s wants a value", o->name);
    return read_value(o, equals ? equals + 1 : argv[++*at], err);
}

enum status options_parse(int argc, char **argv, const struct option *options, size_t count,
                          const struct command_help *help, struct option_list *inputs,
                          struct error *err)
{
    bool quiet = false, json = false, only_inputs = false;
    enum status st = ST_OK;

    for (int i = 1; i < argc && st == ST_OK; i++) {
        const char *word = argv[i];
        const bool option = !only_inputs && word[0] == '-' && word[1] != '\0';
        if (option && strcmp(word, "--") == 0)
            only_inputs = true;
        else if (option && (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)) {
            print_help(options, count, help);
            return ST_END;
        } else if (option && strcmp(word, "--quiet") == 0)
            quiet = true;
        else if (option && strcmp(word, "--log-json") == 0)
            json = true;
        else if (option)
            st = take_option(argc, argv, &i, options, count, err);
        else if (inputs)
            st = options_add(inputs, word, err);
        else
            st = error_set(err, ST_FAIL, CAUSE_ARG, "unexpected argument %s", word);
    }
    log_setup(quiet, json);
    return st;
}
