/* tests/core/test_error.c */
#include "tests/support/support.h"

#include <errno.h>
#include <string.h>

#include "core/error.h"
#include "core/mem.h"

static void the_first_cause_wins(void **state)
{
    struct error err = { 0 };
    (void)state;

    assert_int_equal(error_set(&err, ST_SKIP, CAUSE_FORMAT, "a.jsonl: 3: byte %d", 7), ST_SKIP);
    assert_int_equal(error_set(&err, ST_FAIL, CAUSE_NOMEM, "late"), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_string_equal(err.text, "a.jsonl: 3: byte 7");
}

static void control_bytes_are_escaped(void **state)
{
    struct error err = { 0 };
    (void)state;

    error_set(&err, ST_SKIP, CAUSE_FORMAT, "name \x1b[31m\n");
    assert_string_equal(err.text, "name \\x1b[31m\\x0a");
}

static void system_errors_name_their_reason(void **state)
{
    struct error err = { 0 };
    (void)state;

    errno = ENOENT;
    error_set(&err, ST_FAIL, CAUSE_IO, "x");
    assert_int_equal(err.sys, ENOENT);
    assert_non_null(strstr(err.text, "No such file"));
    error_prefix(&err, ST_FAIL, "shard %d", 3);
    assert_int_equal(strncmp(err.text, "shard 3: x: ", 12), 0);
}

static void exit_codes_are_those_of_the_contract(void **state)
{
    (void)state;
    assert_int_equal(error_exit_code(CAUSE_ARG), 64);
    assert_int_equal(error_exit_code(CAUSE_CHECKSUM), 65);
    assert_int_equal(error_exit_code(CAUSE_LOCKED), 69);
    assert_int_equal(error_exit_code(CAUSE_NOMEM), 71);
    assert_int_equal(error_exit_code(CAUSE_IO), 74);
    assert_int_equal(error_exit_code(CAUSE_SIGNAL), 75);
    assert_int_equal(error_exit_code(CAUSE_PEER), 76);
}

static void an_arena_returns_to_its_mark(void **state)
{
    struct arena a;
    (void)state;

    arena_init(&a, 1 << 20);
    assert_non_null(arena_alloc(&a, 3, 5));
    const struct arena_mark m = arena_mark(&a);
    const size_t used = a.used;
    assert_non_null(arena_alloc(&a, 200000, 1));
    assert_null(arena_alloc(&a, 1 << 20, 1)); /* over the limit */
    assert_null(arena_alloc(&a, SIZE_MAX / 2, 3));
    arena_release(&a, m);
    assert_int_equal(a.used, used);
    arena_clear(&a);
}

static void the_chosen_allocation_fails(void **state)
{
    struct buffer b;
    struct error err = { 0 };
    (void)state;

    buffer_init(&b);
    mem_fail_at(1, false);
    assert_int_equal(buffer_append(&b, "x", 1, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_NOMEM);
    error_clear(&err);
    assert_int_equal(buffer_append(&b, "x", 1, &err), ST_OK);
    assert_int_equal(mem_fail_at(0, false), 2);
    buffer_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_cause_wins),
        cmocka_unit_test(control_bytes_are_escaped),
        cmocka_unit_test(system_errors_name_their_reason),
        cmocka_unit_test(exit_codes_are_those_of_the_contract),
        cmocka_unit_test(an_arena_returns_to_its_mark),
        cmocka_unit_test(the_chosen_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
