/* tests/trainer/test_param_groups.c: what trains, and at which rates, equals the full-size list of names
 * of the reference (goldens/model/names-full.json). */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/mem.h"
#include "trainer/param_groups.h"

static struct json_value *read_names(struct arena *a)
{
    size_t size = 0;
    struct error err = { 0 };
    struct json_value *root = NULL;
    uint8_t *text = test_read_file(TEST_GOLDENS "/model/names-full.json", &size);
    arena_init(a, 0);
    if (json_parse(a, &root, text, size, NULL, &err) != ST_OK)
        fail_msg("%s", err.text);
    free(text);
    return root;
}

static const struct json_value *element(const struct json_value *array, size_t i)
{
    const struct json_value *v = array->child;
    static const struct json_value none = { .type = JSON_T_NULL };
    while (v && i-- > 0)
        v = v->next;
    return v ? v : &none;
}

static void assert_rates(const char *name, const struct json_value *want, size_t at,
                         const struct group_rules *r)
{
    const struct param_rates got = param_rates(r, name);
    const double lr = element(want, at)->number, wd = element(want, at + 1)->number;
    if (fabs(got.lr - lr) > 1e-12 || fabs(got.weight_decay - wd) > 1e-9)
        fail_msg("%s: stage %d: got %g %g, want %g %g", name, r->stage + 1, got.lr,
                 got.weight_decay, lr, wd);
}

static void check_column(const struct json_value *root, size_t column, enum recipe_stage stage)
{
    const struct json_value *palette = json_get(root, "palette");
    struct group_rules paper, released;
    group_rules_init(&paper, stage, GROUPS_PAPER);
    group_rules_init(&released, stage, GROUPS_RELEASED);
    size_t seen = 0;
    for (const struct json_value *n = json_get(root, "names")->child; n; n = n->next) {
        int64_t index = 0;
        assert_true(json_value_int64(element(n, column), &index));
        const struct json_value *want = element(palette, (size_t)index);
        const enum param_state got = param_state(&released, n->key);
        const bool listed = want->type == JSON_T_ARRAY;
        const bool absent = want->type == JSON_T_STRING && strcmp(want->text, "absent") == 0;
        if (got != (listed ? PARAM_TRAINS : absent ? PARAM_ABSENT : PARAM_FROZEN))
            fail_msg("%s: stage %d: state %d", n->key, stage + 1, (int)got);
        seen++;
        if (!listed)
            continue;
        assert_rates(n->key, want, want->count == 4 ? 2 : 0, &released);
        if (want->count == 4)
            assert_rates(n->key, want, 0, &paper);
    }
    assert_true(seen > 2000);
}

static void every_name_has_the_state_and_rates_of_the_reference(void **state)
{
    struct arena a;
    const struct json_value *root = read_names(&a);
    (void)state;
    check_column(root, 1, STAGE_1);
    check_column(root, 2, STAGE_2);
    check_column(root, 3, STAGE_3);
    check_column(root, 4, STAGE_BASELINE);
    arena_clear(&a);
}

static int64_t count_of(const struct json_value *shape)
{
    int64_t n = 1, axis = 0;
    for (const struct json_value *v = shape->child; v; v = v->next) {
        assert_true(json_value_int64(v, &axis));
        n *= axis;
    }
    return n;
}

static void the_trainable_counts_are_the_papers(void **state)
{
    static const int64_t want[] = { 494778830, 7012449358, 6950318222, 1270991890 };
    struct arena a;
    const struct json_value *root = read_names(&a);
    (void)state;
    for (int s = 0; s < 4; s++) {
        struct group_rules r;
        int64_t n = 0;
        group_rules_init(&r, (enum recipe_stage)s, GROUPS_RELEASED);
        for (const struct json_value *v = json_get(root, "names")->child; v; v = v->next)
            if (param_state(&r, v->key) == PARAM_TRAINS)
                n += count_of(element(v, 0));
        assert_int_equal(n, want[s]);
    }
    arena_clear(&a);
}

static void parameters_that_no_loss_reaches_get_no_gradient(void **state)
{
    struct group_rules r;
    (void)state;
    group_rules_init(&r, STAGE_2, GROUPS_PAPER);
    assert_false(param_reached(&r, "context_feat_proj.weight"));
    assert_false(param_reached(&r, "image_decoder.neg_prompt_embeds"));
    assert_true(param_reached(&r, "visual_tokenizer.proj_i.weight"));
    group_rules_init(&r, STAGE_3, GROUPS_PAPER);
    assert_false(param_reached(&r, "visual_tokenizer.proj_i.weight"));
    group_rules_init(&r, STAGE_1, GROUPS_RELEASED);
    assert_true(param_reached(&r, "context_feat_proj.weight"));
    r.csr = false;
    assert_false(param_reached(&r, "visual_tokenizer.proj_i.weight"));
    assert_true(
        param_reached(&r, "visual_tokenizer.encoder.mmfs_module.mmfs_mid_block.conv.weight"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_has_the_state_and_rates_of_the_reference),
        cmocka_unit_test(the_trainable_counts_are_the_papers),
        cmocka_unit_test(parameters_that_no_loss_reaches_get_no_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
