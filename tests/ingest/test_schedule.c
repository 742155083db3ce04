/* tests/ingest/test_schedule.c: units, duplicates and the saved plan. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "ingest/schedule.h"

static void add_inputs(struct schedule *p, size_t n)
{
    memset(p, 0, sizeof *p);
    p->inputs.list = mem_calloc(n, sizeof *p->inputs.list);
    p->inputs.count = n;
}

static void inputs_run_together_and_a_large_file_stands_alone_and_is_cut(void **state)
{
    (void)state;
    static const uint64_t records[] = { 1, 2, 3, 250, 4, 100, 0 };
    static const struct schedule_unit want[] = { { 0, 2, 0, 0 },   { 2, 1, 0, 0 },
                                                 { 3, 1, 0, 100 }, { 3, 1, 100, 100 },
                                                 { 3, 1, 200, 0 }, { 4, 2, 0, 0 },
                                                 { 6, 1, 0, 0 } };
    struct schedule p;
    struct error err = { 0 };
    add_inputs(&p, 7);
    assert_int_equal(schedule_cut(&p, records, 2, 100, &err), ST_OK);
    assert_int_equal(p.unit_count, 7);
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(p.units[i].first, want[i].first);
        assert_int_equal(p.units[i].count, want[i].count);
        assert_int_equal(p.units[i].skip, want[i].skip);
        assert_int_equal(p.units[i].take, want[i].take);
    }
    schedule_clear(&p);
}

static void all_but_the_first_of_equal_records_are_duplicates(void **state)
{
    (void)state;
    struct schedule_identity seen[] = {
        { "aaaaaaaaaaaaaaa", { 2, 0 } }, { "bbbbbbbbbbbbbbb", { 0, 7 } },
        { "aaaaaaaaaaaaaaa", { 1, 5 } }, { "aaaaaaaaaaaaaaa", { 1, 3 } },
        { "ccccccccccccccc", { 1, 4 } },
    };
    struct schedule p;
    struct error err = { 0 };
    add_inputs(&p, 3);
    assert_false(schedule_is_duplicate(&p, 1, 3));
    assert_int_equal(schedule_mark(&p, seen, 5, &err), ST_OK);
    assert_int_equal(p.duplicate_count, 2);
    assert_false(schedule_is_duplicate(&p, 1, 3)); /* the first in input order */
    assert_true(schedule_is_duplicate(&p, 1, 5));
    assert_true(schedule_is_duplicate(&p, 2, 0));
    assert_false(schedule_is_duplicate(&p, 0, 7));
    assert_false(schedule_is_duplicate(&p, 1, 4));
    schedule_clear(&p);
}

static struct buffer text_buffer(const char *s)
{
    struct buffer b = { 0 };
    struct error err = { 0 };
    assert_int_equal(buffer_append_str(&b, s, &err), ST_OK);
    return b;
}

static void a_saved_plan_reads_back_and_refuses_another_command(void **state)
{
    (void)state;
    char *work = test_temp_folder();
    struct buffer now = text_buffer("{\"options\":{\"seed\":1,\"jpeg\":\"keep\"}}");
    struct buffer other = text_buffer("{\"options\":{\"seed\":2,\"jpeg\":\"keep\"}}");
    static const uint64_t records[] = { 5, 250 };
    struct schedule_identity seen[] = { { "aaaaaaaaaaaaaaa", { 0, 0 } },
                                        { "aaaaaaaaaaaaaaa", { 1, 9 } } };
    struct schedule a, b;
    struct error err = { 0 };

    add_inputs(&a, 2);
    add_inputs(&b, 2);
    assert_int_equal(schedule_load(&b, work, &now, &err), ST_END);
    assert_int_equal(schedule_cut(&a, records, 1, 100, &err), ST_OK);
    assert_int_equal(schedule_mark(&a, seen, 2, &err), ST_OK);
    a.dictionary = text_buffer("dictionary bytes");
    a.records = 255;
    assert_int_equal(schedule_save(&a, work, &now, &err), ST_OK);
    assert_int_equal(schedule_load(&b, work, &now, &err), ST_OK);
    assert_int_equal(b.unit_count, a.unit_count);
    assert_memory_equal(b.units, a.units, a.unit_count * sizeof *a.units);
    assert_int_equal(b.records, 255);
    assert_true(schedule_is_duplicate(&b, 1, 9));
    assert_int_equal(b.dictionary.size, a.dictionary.size);
    assert_memory_equal(b.dictionary.data, a.dictionary.data, a.dictionary.size);
    schedule_clear(&b);
    add_inputs(&b, 2);
    assert_int_equal(schedule_load(&b, work, &other, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, "options.seed: 1 there, 2 now"));
    schedule_clear(&a);
    schedule_clear(&b);
    buffer_clear(&now);
    buffer_clear(&other);
    test_remove_tree(work);
    free(work);
}

static void a_plan_cut_anywhere_is_refused(void **state)
{
    (void)state;
    char *work = test_temp_folder(), *path = path_join(work, "plan.json");
    struct buffer now = text_buffer("{\"options\":{}}");
    static const uint64_t records[] = { 5, 6 };
    struct schedule a, b;
    struct error err = { 0 };
    size_t size = 0;

    add_inputs(&a, 2);
    assert_int_equal(schedule_cut(&a, records, 1, 100, &err), ST_OK);
    assert_int_equal(schedule_save(&a, work, &now, &err), ST_OK);
    uint8_t *whole = test_read_file(path, &size);
    for (size_t cut = 0; cut < size; cut++) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(whole, 1, cut, f), cut);
        fclose(f);
        add_inputs(&b, 2);
        error_clear(&err);
        assert_int_equal(schedule_load(&b, work, &now, &err), ST_FAIL);
        assert_int_not_equal(err.cause, CAUSE_NONE);
        schedule_clear(&b);
    }
    free(whole);
    schedule_clear(&a);
    buffer_clear(&now);
    mem_free(path);
    test_remove_tree(work);
    free(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_run_together_and_a_large_file_stands_alone_and_is_cut),
        cmocka_unit_test(all_but_the_first_of_equal_records_are_duplicates),
        cmocka_unit_test(a_saved_plan_reads_back_and_refuses_another_command),
        cmocka_unit_test(a_plan_cut_anywhere_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
