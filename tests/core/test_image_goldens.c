/* goldens/data/pictures: verdict, pixels, both options and all tensors of every file there. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/image.h"
#include "core/json.h"
#include "core/resample.h"

#define PICTURES TEST_GOLDENS "/data/pictures/"

static const struct json_value *load(struct arena *arena, uint8_t **text)
{
    struct json_value *root = NULL;
    struct error err = { 0 };
    size_t size = 0;

    *text = test_read_file(PICTURES "expected.json", &size);
    arena_init(arena, 0);
    if (json_parse(arena, &root, *text, size, NULL, &err) != ST_OK)
        fail_msg("expected.json: %s", err.text);
    return json_get(root, "files");
}

static const char *text_of(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);

    return m && m->type == JSON_T_STRING ? m->text : NULL;
}

static void check_hash(const char *file, const char *what, const char *want, const uint8_t *data,
                       size_t size)
{
    uint8_t digest[32];
    char hex[65];

    hash_sha256(digest, data, size);
    hash_hex(hex, digest, sizeof digest);
    if (strcmp(hex, want) != 0)
        fail_msg("%s: %s: got %s, want %s", file, what, hex, want);
}

static void check_variant(const char *file, const char *what, const char *want, const uint8_t *data,
                          size_t size, const struct image_decode_options *opt)
{
    struct image picture = { 0 };

    if (!want)
        return;
    assert_int_equal(image_decode(&picture, data, size, opt, NULL, NULL), ST_OK);
    check_hash(file, what, want, picture.rgb, 3 * (size_t)picture.width * picture.height);
    image_clear(&picture);
}

static void check_tensors(const char *file, const struct json_value *tensors,
                          const struct image *picture, bool plain)
{
    static const struct {
        const char *name;
        uint32_t side;
        enum resample_geometry geometry;
    } all[] = { { "crop256", 256, RESAMPLE_CROP },
                { "crop512", 512, RESAMPLE_CROP },
                { "squash448", 448, RESAMPLE_SQUASH },
                { "squash512", 512, RESAMPLE_SQUASH } };
    uint8_t *tensor = malloc((size_t)3 * 512 * 512);

    for (size_t i = 0; i < 4; i++)
        for (int code = RESAMPLE_PLAIN; code <= RESAMPLE_AVX2; code++) {
            const struct resample_target target = { tensor, all[i].side };
            const char *want = text_of(tensors, all[i].name);
            if (!want || !resample_available((enum resample_code)code))
                continue;
            if (code == RESAMPLE_PLAIN && !plain && resample_available(RESAMPLE_AVX2))
                continue;
            assert_int_equal(resample_tensors(&target, 1, all[i].geometry, picture->rgb,
                                              picture->width, picture->height,
                                              (enum resample_code)code, NULL),
                             ST_OK);
            check_hash(file, all[i].name, want, tensor, 3 * (size_t)all[i].side * all[i].side);
        }
    free(tensor);
}

/* Files dropped for their side alone still decode: the filter is the ingest's. */
static void check_file(const struct json_value *f, bool plain)
{
    const struct json_value *policy = json_get(f, "policy");
    const char *file = text_of(f, "file"), *reason = text_of(policy, "reason");
    const bool good =
        strcmp(text_of(policy, "verdict"), "ok") == 0 || (reason && strcmp(reason, "side") == 0);
    struct image_decode_options opt;
    struct image picture = { 0 };
    struct buffer stored = { 0 };
    struct image_info info;
    struct error err = { 0 };
    char path[512];
    size_t size = 0;

    snprintf(path, sizeof path, PICTURES "%s", file);
    uint8_t *read = test_read_file(path, &size), *data = test_copy_exact(read, size);
    const enum status st = image_decode(&picture, data, size, NULL, NULL, &err);
    if (st != (good ? ST_OK : ST_SKIP))
        fail_msg("%s: status %d (%s), want %s", file, (int)st, err.text, good ? "ok" : "drop");
    error_clear(&err);
    if (image_prepare(&info, &stored, data, size, NULL, NULL, &err) != st)
        fail_msg("%s: stored with another verdict: %s", file, err.text);
    if (good) {
        const char *want = text_of(policy, "rgb_sha256");
        check_hash(file, "rgb", want, picture.rgb, 3 * (size_t)picture.width * picture.height);
        assert_int_equal(info.width, picture.width);
        if (stored.size > 0)
            check_variant(file, "stored", want, stored.data, stored.size, NULL);
        image_decode_options_init(&opt);
        opt.alpha = IMAGE_ALPHA_ON_WHITE;
        check_variant(file, "on white", text_of(f, "rgb_on_white_sha256"), data, size, &opt);
        opt.alpha = IMAGE_ALPHA_DISCARD;
        opt.apply_exif = true;
        check_variant(file, "EXIF", text_of(f, "rgb_exif_applied_sha256"), data, size, &opt);
        check_tensors(file, json_get(f, "tensors"), &picture, plain);
    } else {
        assert_string_not_equal(err.code, "");
    }
    buffer_clear(&stored);
    image_clear(&picture);
    free(read);
    free(data);
}

static void every_picture_gives_the_verdict_and_the_bytes_of_the_policy(void **state)
{
    struct arena arena;
    uint8_t *text = NULL;
    const struct json_value *files = load(&arena, &text);
    size_t n = 0;

    (void)state;
    assert_non_null(files);
    for (const struct json_value *f = files->child; f; f = f->next, n++)
        check_file(f, n % 8 == 0); /* test_resample.c holds the two codes against each other */
    assert_true(n >= 218);
    arena_clear(&arena);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_picture_gives_the_verdict_and_the_bytes_of_the_policy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
