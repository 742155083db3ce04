/* Labels and contexts against goldens/model/mod-masks and mod-loss-text, all rows and all rules. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "loader/labels.h"
#include "trainer/safetensors.h"

#define MODEL TEST_GOLDENS "/model/"

static int32_t *read_ints(const char *path, const char *name, int64_t *count)
{
    struct tensor_file *f = NULL;
    struct error err = { 0 };

    if (safetensors_open(&f, path, &err) != ST_OK)
        fail_msg("%s", err.text);
    const struct tensor_info *t = tensor_file_find(f, name);
    if (!t)
        fail_msg("%s: no %s", path, name);
    int32_t *out = malloc((size_t)t->count * sizeof *out);
    assert_non_null(out);
    assert_int_equal(tensor_file_read_i32(f, t, out, &err), ST_OK);
    *count = t->count;
    tensor_file_close(&f);
    return out;
}

static int32_t number(const struct json_value *v, const char *key)
{
    int64_t n = 0;

    assert_true(json_value_int64(json_get(v, key), &n));
    return (int32_t)n;
}

static struct label_ids read_ids(const char *path, struct arena *arena, int64_t *prompts)
{
    struct json_value *root = NULL;
    size_t size = 0;
    uint8_t *text = test_read_file(path, &size);

    assert_int_equal(json_parse(arena, &root, text, size, NULL, NULL), ST_OK);
    const struct json_value *config = json_get(root, "config");
    const struct json_value *v = json_get(config, "special_ids");
    const struct json_value *list = json_get(config, "prompt_offsets");
    for (const struct json_value *p = list ? list->child : NULL; p; p = p->next)
        assert_true(json_value_int64(p, prompts++));
    const struct label_ids ids = { number(v, "bos"), number(v, "eos"), number(v, "pad"),
                                   number(v, "soi"), number(v, "image") };
    free(text);
    return ids;
}

enum rule { STAGE1, STAGE2, NEEDS_IMAGE, GIVEN };

static void check_targets(const char *folder, const char *name, enum rule rule)
{
    char inputs[512], expected[512], json[512];
    int64_t prompts[64] = { 0 }, n = 0, n_want = 0;
    struct arena arena;

    snprintf(inputs, sizeof inputs, MODEL "%s/inputs.safetensors", folder);
    snprintf(expected, sizeof expected, MODEL "%s/expected.safetensors", folder);
    snprintf(json, sizeof json, MODEL "%s/case.json", folder);
    arena_init(&arena, 0);
    const struct label_ids ids = read_ids(json, &arena, prompts);
    int32_t *text = read_ints(inputs, "text_ids", &n);
    int32_t *mask = read_ints(inputs, "attention_mask", &n);
    int32_t *want = read_ints(expected, name, &n_want);
    int32_t *given = rule == GIVEN ? read_ints(inputs, "given_targets", &n) : NULL;
    const int64_t B = n - n_want, L = n / B; /* want is (B, L - 1) */
    int32_t *got = malloc((size_t)L * sizeof *got);

    for (int64_t r = 0; r < B; r++) {
        const struct label_row row = { .ids = text + r * L,
                                       .mask = mask + r * L,
                                       .length = L,
                                       .prompt = rule == STAGE2 ? prompts[r] : 0,
                                       .needs_image = rule == NEEDS_IMAGE };
        if (rule == GIVEN)
            labels_given(got, given + r * L, L);
        else
            labels_text(got, &row, &ids);
        for (int64_t j = 0; j + 1 < L; j++)
            if (got[j] != want[r * (L - 1) + j])
                fail_msg("%s: row %d, target %d: got %d, want %d", name, (int)r, (int)j,
                         (int)got[j], (int)want[r * (L - 1) + j]);
    }
    free(text);
    free(mask);
    free(want);
    free(given);
    free(got);
    arena_clear(&arena);
}

static void text_targets_are_those_of_the_model(void **state)
{
    (void)state;
    check_targets("mod-masks", "targets", STAGE1);
    check_targets("mod-loss-text", "targets.stage1", STAGE1);
    check_targets("mod-loss-text", "targets.stage2", STAGE2);
    check_targets("mod-loss-text", "targets.needs_image", NEEDS_IMAGE);
    check_targets("mod-loss-text", "targets.given", GIVEN);
}

static void contexts_and_flags_are_those_of_the_model(void **state)
{
    const char *inputs = MODEL "mod-masks/inputs.safetensors";
    const char *expected = MODEL "mod-masks/expected.safetensors";
    int64_t n = 0, B = 0, I = 0, i = 0;
    struct arena arena;

    (void)state;
    arena_init(&arena, 0);
    const struct label_ids ids = read_ids(MODEL "mod-masks/case.json", &arena, NULL);
    int32_t *text = read_ints(inputs, "text_ids", &n);
    int32_t *mask = read_ints(inputs, "attention_mask", &n);
    int32_t *per_row = read_ints(inputs, "images_per_row", &B);
    int32_t *bos = read_ints(expected, "nearest_bos", &I);
    int32_t *length = read_ints(expected, "context_length", &I);
    int32_t *counts = read_ints(expected, "nip_counts", &I);
    int32_t *previous = read_ints(expected, "previous_image", &I);
    const int64_t L = n / B;

    for (int64_t r = 0; r < B; r++) {
        const struct label_row row = { .ids = text + r * L, .mask = mask + r * L, .length = L };
        struct label_image images[16];
        const size_t found = labels_images(images, 16, &row, &ids);
        assert_int_equal(found, per_row[r]);
        for (size_t k = 0; k < found; k++, i++) {
            assert_int_equal(images[k].nearest_bos, bos[i]);
            assert_int_equal(images[k].context_length, length[i]);
            assert_int_equal(images[k].loss, counts[i]);
            assert_int_equal(images[k].previous, previous[i] >= 0);
        }
    }
    assert_int_equal(i, I);
    free(text);
    free(mask);
    free(per_row);
    free(bos);
    free(length);
    free(counts);
    free(previous);
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_targets_are_those_of_the_model),
        cmocka_unit_test(contexts_and_flags_are_those_of_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
