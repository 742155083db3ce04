/* tests/core/test_log.c: what reaches stderr. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/json.h"
#include "core/log.h"

static char *folder;
static char path[300];
static int saved = -1;

/* stderr goes to a file between the two calls. */
static void capture(void)
{
    folder = test_temp_folder();
    snprintf(path, sizeof path, "%s/err", folder);
    fflush(stderr);
    saved = dup(2);
    assert_non_null(freopen(path, "w", stderr));
}
static char *captured(void)
{
    fflush(stderr);
    dup2(saved, 2);
    close(saved);
    char *text = (char *)test_read_file(path, NULL);
    test_remove_tree(folder);
    free(folder);
    return text;
}

static void lines_carry_their_level_and_no_control_bytes(void **state)
{
    struct error err = { 0 };
    (void)state;

    capture();
    log_setup(false, false);
    log_line(LOG_INFO, "read %d", 3);
    log_line(LOG_WARN, "name \x1b[31m");
    error_set(&err, ST_FAIL, CAUSE_FORMAT, "x: bad");
    log_error(&err);
    log_setup(true, false);
    log_line(LOG_INFO, "not shown");
    log_line(LOG_WARN, "shown");
    assert_null(progress_open("ingest", "documents", 3));
    char *text = captured();
    assert_string_equal(text, "read 3\nwarning: name \\x1b[31m\nerror: x: bad\nwarning: shown\n");
    free(text);
    log_setup(false, false);
}

static void json_lines_are_json(void **state)
{
    struct arena a;
    struct json_value *v = NULL;
    (void)state;

    capture();
    log_setup(false, true);
    log_line(LOG_WARN, "a \"quoted\" \n line");
    struct progress *p = progress_open("ingest", "documents", 4);
    progress_add(p, 3);
    progress_close(&p);
    log_setup(false, false);
    char *text = captured(), *second = strchr(text, '\n') + 1;
    arena_init(&a, 0);
    assert_int_equal(json_parse(&a, &v, text, (size_t)(second - text), NULL, NULL), ST_OK);
    assert_string_equal(json_get(v, "level")->text, "warning");
    assert_string_equal(json_get(v, "message")->text, "a \"quoted\" \\x0a line");
    assert_int_equal(json_parse(&a, &v, second, strlen(second), NULL, NULL), ST_OK);
    assert_string_equal(json_get(v, "done")->text, "3");
    assert_string_equal(json_get(v, "total")->text, "4");
    arena_clear(&a);
    free(text);
}

static void progress_ends_with_a_plain_line_where_no_terminal_is(void **state)
{
    (void)state;
    capture();
    struct progress *p = progress_open("ingest", "documents", 4);
    progress_note(p, "%d damaged", 1);
    progress_add(p, 4);
    progress_close(&p);
    assert_null(p);
    progress_add(NULL, 1);
    progress_note(NULL, "x");
    progress_close(&p);
    char *text = captured();
    assert_non_null(strstr(text, "ingest: 4 of 4 (100.0 %) documents, "));
    assert_non_null(strstr(text, "in all, 1 damaged\n"));
    assert_null(strchr(text, '\x1b'));
    free(text);
}

static void what_an_earlier_run_did_is_not_in_the_rate(void **state)
{
    (void)state;
    capture();
    struct progress *p = progress_open("train", "steps", 2000000);
    progress_skip(p, 1000000);
    progress_close(&p);
    progress_skip(NULL, 1);
    char *text = captured();
    assert_non_null(strstr(text, "train: 1000000 of 2000000 (50.0 %) steps, 0.0/s"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_carry_their_level_and_no_control_bytes),
        cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(progress_ends_with_a_plain_line_where_no_terminal_is),
        cmocka_unit_test(what_an_earlier_run_did_is_not_in_the_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
