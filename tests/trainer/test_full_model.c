/* tests/trainer/test_full_model.c: the full-size model on paper: names, shapes, what trains and at which
 * rate against goldens/model/names-full.json; counts, FLOPs and planned memory of `--dry-run`. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/json.h"
#include "trainer/deem.h"
#include "trainer/dry_run.h"
#include "trainer/param_groups.h"
#include "trainer/setup.h"

struct names {
    struct arena memory;
    struct json_value *root;
};

static int open_names(void **state)
{
    struct names *n = calloc(1, sizeof *n);
    struct buffer text = { 0 };
    struct error err = { 0 };
    arena_init(&n->memory, 0);
    if (file_read_all(&text, TEST_GOLDENS "/model/names-full.json", 0, &err) != ST_OK ||
        json_parse(&n->memory, &n->root, text.data, text.size, NULL, &err) != ST_OK)
        return 1;
    buffer_clear(&text);
    *state = n;
    return 0;
}

static int close_names(void **state)
{
    struct names *n = *state;
    arena_clear(&n->memory);
    free(n);
    return 0;
}

static struct recipe *recipe_of(const char *file, const char *const *set, size_t n_set)
{
    struct recipe *r = NULL;
    struct error err = { 0 };
    char path[512];
    snprintf(path, sizeof path, "%s/recipes/%s", TEST_SOURCE_DIR, file);
    if (recipe_open(&r, path, set, n_set, &err) != ST_OK)
        fail_msg("%s", err.text);
    return r;
}

static const struct json_value *nth(const struct json_value *list, int n)
{
    const struct json_value *v = list->child;
    while (n-- > 0)
        v = v->next;
    return v;
}

/* What names-full says of a name in column `stage` (1..4). */
static const struct json_value *entry(const struct names *n, const struct json_value *name,
                                      int stage)
{
    int64_t index = 0;
    assert_true(json_value_int64(nth(name, stage), &index));
    return nth(json_get(n->root, "palette"), (int)index);
}

static bool is_word(const struct json_value *v, const char *word)
{
    return v->type == JSON_T_STRING && strcmp(v->text, word) == 0;
}

static bool unused(const struct names *n, const char *name)
{
    for (const struct json_value *v = json_get(n->root, "unused")->child; v; v = v->next)
        if (strcmp(v->text, name) == 0)
            return true;
    return false;
}

static void check_shape(const struct param *q, const struct json_value *shape)
{
    int64_t size = 0;
    assert_int_equal(q->rank, (int)shape->count);
    for (int i = 0; i < q->rank; i++) {
        assert_true(json_value_int64(nth(shape, i), &size));
        assert_int_equal(q->shape[i], size);
    }
}

static void check_rates(const char *name, const struct json_value *want, int at,
                        const struct group_rules *rules)
{
    const struct param_rates got = param_rates(rules, name);
    if (fabs(got.lr - nth(want, at)->number) > 1e-12 ||
        fabs(got.weight_decay - nth(want, at + 1)->number) > 1e-12)
        fail_msg("%s: lr %g, weight decay %g", name, got.lr, got.weight_decay);
}

static void check_name(const struct names *n, const struct json_value *name, int stage,
                       const struct params *params, const struct group_rules *paper,
                       const struct group_rules *released)
{
    const struct json_value *want = entry(n, name, stage);
    const struct param *q = params_find(params, name->key);
    if (unused(n, name->key) || is_word(want, "absent")) {
        if (q)
            fail_msg("%s is declared", name->key);
        return;
    }
    if (!q)
        fail_msg("%s is not declared", name->key);
    check_shape(q, nth(name, 0));
    if (is_word(want, "buffer") || is_word(want, "frozen")) {
        if (!q->buffer && param_state(paper, name->key) != PARAM_FROZEN)
            fail_msg("%s trains", name->key);
        return;
    }
    assert_false(q->buffer);
    if (param_state(paper, name->key) != PARAM_TRAINS)
        fail_msg("%s does not train", name->key);
    check_rates(name->key, want, 0, want->count == 4 ? paper : released);
    if (want->count == 4)
        check_rates(name->key, want, 2, released);
}

static void check_stage(const struct names *n, int column, enum recipe_stage stage,
                        const char *file)
{
    struct recipe *r = recipe_of(file, NULL, 0);
    struct deem_config config;
    struct group_rules paper, released;
    struct params *params = NULL;
    struct error err = { 0 };
    size_t expected = 0;
    group_rules_init(&paper, stage, GROUPS_PAPER);
    group_rules_init(&released, stage, GROUPS_RELEASED);
    setup_model(&config, r);
    assert_int_equal(params_open(&params, param_reached, &paper, &err), ST_OK);
    if (deem_declare(&config, stage != STAGE_3, params, &err) != ST_OK)
        fail_msg("%s", err.text);
    for (const struct json_value *v = json_get(n->root, "names")->child; v; v = v->next) {
        check_name(n, v, column, params, &paper, &released);
        expected += !unused(n, v->key) && !is_word(entry(n, v, column), "absent");
    }
    for (size_t i = 0; i < params->count; i++)
        if (!json_get(json_get(n->root, "names"), params->list[i].name))
            fail_msg("%s is no name of the model", params->list[i].name);
    assert_int_equal(params->count, expected);
    params_close(&params);
    recipe_close(&r);
}

static void every_name_of_stage_1_has_its_shape_and_group(void **state)
{
    check_stage(*state, 1, STAGE_1, "stage1.yaml");
}
static void every_name_of_stage_2_has_its_shape_and_group(void **state)
{
    check_stage(*state, 2, STAGE_2, "stage2.yaml");
}
static void every_name_of_stage_3_has_its_shape_and_group(void **state)
{
    check_stage(*state, 3, STAGE_3, "stage3.yaml");
}
static void every_name_of_the_baseline_has_its_shape_and_group(void **state)
{
    check_stage(*state, 4, STAGE_BASELINE, "stage1.yaml");
}

static void plan(struct dry_run *d, const char *file, const char *const *set, size_t n_set)
{
    struct recipe *r = recipe_of(file, set, n_set);
    struct error err = { 0 };
    if (dry_run_make(d, r, &err) != ST_OK)
        fail_msg("%s", err.text);
    recipe_close(&r);
}

static void near(const char *what, double got, double want, double share)
{
    if (fabs(got - want) > share * want)
        fail_msg("%s: %.3f, want %.3f", what, got, want);
}

static double tera(const struct dry_run *d, const char *part)
{
    const struct cost_part *c = cost_find(&d->cost, part);
    assert_non_null(c);
    return c->model * 1e-12;
}

/* gpu.md 5.1. Its UNet row lets the gradient pass through all of the UNet; nothing in front of the first
 * condition needs one, and what is not needed is not appended: 5 TFLOP less. Its perceivers' row leaves
 * most of the context projections out, model.md 8.2 has them. */
static void a_stage_1_step_of_forty_pictures_costs_what_the_table_says(void **state)
{
    struct dry_run d;
    (void)state;
    plan(&d, "stage1.yaml", NULL, 0);
    assert_int_equal(d.trainable, 492647630);
    near("LLM linears", tera(&d, "llm") + tera(&d, "head"), 216.5, 0.02);
    near("LLM attention", tera(&d, "llm attention"), 13.2, 0.02);
    near("LLM MMFS", tera(&d, "llm mmfs"), 12.1, 0.02);
    near("UNet", tera(&d, "unet"), 138.8 - 5.0, 0.02);
    near("MMFSNet", tera(&d, "mmfsnet"), 46.3, 0.02);
    near("VAE", tera(&d, "vae"), 44.7, 0.02);
    near("ConvNeXt", tera(&d, "convnext"), 5.1, 0.02);
    near("sum", d.cost.model * 1e-12, 480.0, 0.02);
}

static void the_largest_plan_is_within_a_twentieth_of_its_live_tensors(void **state)
{
    const char *const set[] = { "batch.images=60" };
    struct dry_run d;
    (void)state;
    plan(&d, "stage1.yaml", set, 1);
    assert_true(d.arena_bytes >= d.live_bytes);
    assert_true((double)d.arena_bytes <= 1.05 * (double)d.live_bytes);
    near("sum of memory, GB",
         2e-9 * (double)(d.parameters + d.buffers) + 14e-9 * (double)d.reached +
             1e-9 * (double)d.arena_bytes,
         77.0, 0.1);
}

static void the_reference_shapes_of_all_stages_have_their_model_flops(void **state)
{
    const char *const one[] = { "batch.images=44" }, *const two[] = { "seq_len=256" },
                      *const three[] = { "seq_len=1024" };
    struct dry_run d;
    (void)state;
    plan(&d, "stage1.yaml", one, 1);
    near("stage I", d.cost.model * 1e-12, 504.0, 0.02);
    plan(&d, "stage2.yaml", two, 1);
    near("stage II", d.cost.model * 1e-12, 244.0, 0.02);
    assert_int_equal(d.trainable, 7012449358);
    plan(&d, "stage3.yaml", three, 1);
    near("stage III", d.cost.model * 1e-12, 92.0, 0.02);
    assert_int_equal(d.trainable, 6950318222);
}

static void the_baseline_trains_what_the_authors_count(void **state)
{
    const char *const set[] = { "stage=baseline" };
    struct dry_run d;
    (void)state;
    plan(&d, "stage1.yaml", set, 1);
    assert_int_equal(d.trainable, 1270991890);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_of_stage_1_has_its_shape_and_group),
        cmocka_unit_test(every_name_of_stage_2_has_its_shape_and_group),
        cmocka_unit_test(every_name_of_stage_3_has_its_shape_and_group),
        cmocka_unit_test(every_name_of_the_baseline_has_its_shape_and_group),
        cmocka_unit_test(a_stage_1_step_of_forty_pictures_costs_what_the_table_says),
        cmocka_unit_test(the_largest_plan_is_within_a_twentieth_of_its_live_tensors),
        cmocka_unit_test(the_reference_shapes_of_all_stages_have_their_model_flops),
        cmocka_unit_test(the_baseline_trains_what_the_authors_count),
    };
    return cmocka_run_group_tests(tests, open_names, close_names);
}
