/* tests/trainer/test_recipe.c: the shipped recipes are read, print back to themselves, and contradictions are
 * refused together. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/recipe.h"

static struct recipe *open_shipped(const char *name, const char *const *set, size_t n)
{
    char path[4096];
    struct recipe *r = NULL;
    struct error err = { 0 };
    snprintf(path, sizeof path, "%s/recipes/%s.yaml", TEST_SOURCE_DIR, name);
    if (recipe_open(&r, path, set, n, &err) != ST_OK)
        fail_msg("%s", err.text);
    return r;
}

static void the_stages_carry_table_12(void **state)
{
    (void)state;
    struct recipe *r = open_shipped("stage1", NULL, 0);
    assert_true(r->stage == STAGE_1 && r->steps == 10000 && r->warmup == 1000);
    assert_true(r->batch_global == 128 && r->batch_micro == 4 && r->image_side == 256);
    assert_true(r->beta2 == 0.995 && r->eps == 1e-6 && r->lr == 1e-4 && r->lr_trunk == 2e-5);
    assert_true(r->n_sources == 2 && r->sources[0].weight == 2 && r->sources[1].weight == 1);
    assert_string_equal(r->sources[0].name, "mmc4");
    assert_int_equal(recipe_micro_batches(r), 32);
    recipe_close(&r);
    r = open_shipped("stage2", NULL, 0);
    assert_true(r->stage == STAGE_2 && r->warmup == 500 && r->batch_global == 512);
    assert_true(r->beta2 == 0.999 && r->eps == 1e-8 && r->lr_llm == 1e-6 && r->loss_img == 0.0);
    recipe_close(&r);
    r = open_shipped("stage3", NULL, 0);
    assert_true(r->stage == STAGE_3 && r->batch_global == 64 && r->loss_sniffer == 0.0);
    recipe_close(&r);
}

static void the_tiny_recipes_are_whole(void **state)
{
    (void)state;
    for (int stage = 1; stage <= 3; stage++) {
        char name[32];
        snprintf(name, sizeof name, "tiny-stage%d", stage);
        struct recipe *r = open_shipped(name, NULL, 0);
        assert_int_equal(r->stage, stage - 1);
        assert_true(recipe_micro_batches(r) >= 4);
        recipe_close(&r);
    }
}

static void an_effective_recipe_reads_back_without_difference(void **state)
{
    const char *const set[] = { "out=/tmp/x y", "data.mmc4.datasets=[a, b]" };
    struct error err = { 0 };
    struct buffer text, differences;
    size_t count = 1;
    (void)state;

    buffer_init(&text);
    buffer_init(&differences);
    struct recipe *r = open_shipped("stage1", set, 2), *again = NULL;
    assert_int_equal(recipe_print(&text, r, true, &err), ST_OK);
    char *folder = test_temp_folder(), path[4096];
    snprintf(path, sizeof path, "%s/recipe.yaml", folder);
    FILE *f = fopen(path, "w");
    assert_int_equal(fwrite(text.data, 1, text.size, f), text.size);
    fclose(f);
    if (recipe_open(&again, path, NULL, 0, &err) != ST_OK)
        fail_msg("%s", err.text);
    assert_int_equal(recipe_differences(&differences, &count, r, again, NULL, 0, &err), ST_OK);
    assert_int_equal(count, 0);
    assert_string_equal(again->out, "/tmp/x y");
    assert_int_equal(again->sources[0].n_datasets, 2);
    recipe_close(&again);
    const char *const other[] = { "out=/tmp/z", "data.mmc4.datasets=[a, b]", "batch.micro=8" };
    again = open_shipped("stage1", other, 3);
    assert_int_equal(recipe_differences(&differences, &count, r, again, NULL, 0, &err), ST_OK);
    assert_int_equal(count, 1);
    const char *const named[] = { "batch.micro" };
    assert_int_equal(recipe_differences(&differences, &count, r, again, named, 1, &err), ST_OK);
    assert_int_equal(count, 0);
    recipe_close(&r);
    recipe_close(&again);
    buffer_clear(&text);
    buffer_clear(&differences);
    test_remove_tree(folder);
    free(folder);
}

static void contradictions_are_reported_together(void **state)
{
    const char *const set[] = { "batch.micro=5", "warmup=20000", "image.side=100",
                                "model.llm.heads=7" };
    char path[4096];
    struct recipe *r = NULL;
    struct error err = { 0 };
    (void)state;

    snprintf(path, sizeof path, "%s/recipes/stage1.yaml", TEST_SOURCE_DIR);
    assert_int_equal(recipe_open(&r, path, set, 4, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    assert_non_null(strstr(err.text, "batch.micro"));
    assert_non_null(strstr(err.text, "warmup"));
    assert_non_null(strstr(err.text, "image.side"));
    assert_non_null(strstr(err.text, "llm.hidden"));
    assert_null(r);
}

static void a_list_of_a_wrong_length_is_named(void **state)
{
    static const char *const keys[] = { "model.convnext.depths", "model.convnext.dims",
                                        "model.unet.widths",     "model.unet.heads",
                                        "model.vae.widths",      "model.mmfs_net.shapes",
                                        "model.mmfs_net.bases" };
    static const char *const lists[] = { "[]", "[1, 1, 1]", "[1, 1, 1, 1, 1]",
                                         "[1, 1, 1, 1, 1, 1, 1, 1, 1]" };
    char path[4096], assignment[128];
    (void)state;

    snprintf(path, sizeof path, "%s/recipes/stage1.yaml", TEST_SOURCE_DIR);
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
        for (size_t l = 0; l < sizeof lists / sizeof lists[0]; l++) {
            const char *const set[] = { assignment };
            struct recipe *r = NULL;
            struct error err = { 0 };
            snprintf(assignment, sizeof assignment, "%s=%s", keys[k], lists[l]);
            assert_int_equal(recipe_open(&r, path, set, 1, &err), ST_FAIL);
            assert_int_equal(err.cause, CAUSE_ARG);
            assert_non_null(strstr(err.text, keys[k]));
            assert_non_null(strstr(err.text, "stage1.yaml"));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stages_carry_table_12),
        cmocka_unit_test(the_tiny_recipes_are_whole),
        cmocka_unit_test(an_effective_recipe_reads_back_without_difference),
        cmocka_unit_test(contradictions_are_reported_together),
        cmocka_unit_test(a_list_of_a_wrong_length_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
