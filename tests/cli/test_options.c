/* tests/cli/test_options.c */
#include "tests/support/support.h"

#include <stdio.h>
#include <string.h>

#include "cli/options.h"

struct values {
    bool flag;
    const char *text;
    struct option_list list, inputs;
    int64_t whole;
    double real;
    uint64_t bytes;
    int choice;
};

static const char *const modes[] = { "crop", "squash", NULL };

enum { ARGUMENTS = 24 };

/* As main gets them: texts that may be written to. */
static enum status parse(struct values *v, int argc, const char *const *given, struct error *err)
{
    static char room[ARGUMENTS][32]; /* list values are borrowed from it */
    char *argv[ARGUMENTS];
    static const struct command_help help = { "deem test", "a test", NULL };
    const struct option options[] = {
        { "flag", OPTION_FLAG, &v->flag, NULL, "", 0, 0, NULL },
        { "text", OPTION_TEXT, &v->text, "T", "", 0, 0, NULL },
        { "images", OPTION_LIST, &v->list, "PATH", "", 0, 0, NULL },
        { "whole", OPTION_INT, &v->whole, "N", "", 1, 100, NULL },
        { "real", OPTION_REAL, &v->real, "X", "", 0, 1, NULL },
        { "memory", OPTION_BYTES, &v->bytes, "B", "", 0, 0, NULL },
        { "geometry", OPTION_CHOICE, &v->choice, "G", "", 0, 0, modes },
        { "o", OPTION_TEXT, &v->text, "FILE", "", 0, 0, NULL },
    };
    assert_true(argc <= ARGUMENTS);
    for (int i = 0; i < argc; i++) {
        snprintf(room[i], sizeof room[i], "%s", given[i]);
        argv[i] = room[i];
    }
    return options_parse(argc, argv, options, sizeof options / sizeof options[0], &help, &v->inputs,
                         err);
}

static void every_kind_is_read(void **state)
{
    struct values v = { 0 };
    struct error err = { 0 };
    const char *argv[] = { "t",       "--flag", "--images", "a",        "in1",  "--images=b",
                           "--whole", "7",      "--real=1", "--memory", "3G",   "--geometry",
                           "squash",  "-o",     "x.ppm",    "--",       "--in2" };
    (void)state;

    assert_int_equal(parse(&v, sizeof argv / sizeof argv[0], argv, &err), ST_OK);
    assert_true(v.flag && v.whole == 7 && v.real >= 1.0 && v.bytes == 3ull << 30 && v.choice == 1);
    assert_string_equal(v.text, "x.ppm");
    assert_int_equal(v.list.count, 2);
    assert_string_equal(v.list.items[1], "b");
    assert_int_equal(v.inputs.count, 2);
    assert_string_equal(v.inputs.items[1], "--in2");
    options_clear_list(&v.list);
    options_clear_list(&v.inputs);
}

static void bad_arguments_are_usage_errors_that_say_what_is_wanted(void **state)
{
    static const struct {
        const char *argv[3];
        const char *said;
    } cases[] = {
        { { "t", "--whole", "0" }, "1 to 100" },      { { "t", "--whole", "1x" }, "1 to 100" },
        { { "t", "--real", "nan" }, "number" },       { { "t", "--memory", "-1" }, "512M" },
        { { "t", "--memory", "99999999T" }, "512M" }, { { "t", "--geometry", "round" }, "crop" },
        { { "t", "--imges", "x" }, "--images" },      { { "t", "--flag=1", "x" }, "no value" },
        { { "t", "x", "--whole" }, "wants a value" },
    };
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct values v = { 0 };
        struct error err = { 0 };
        assert_int_equal(parse(&v, 3, cases[i].argv, &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_ARG);
        if (!strstr(err.text, cases[i].said))
            fail_msg("%s does not say %s", err.text, cases[i].said);
        options_clear_list(&v.list);
        options_clear_list(&v.inputs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_read),
        cmocka_unit_test(bad_arguments_are_usage_errors_that_say_what_is_wanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
