/* Resampling: the tuned code against the plain one at all kinds of sizes; windows against whole
 * pictures; refusals. Equality with Pillow is in test_image_goldens.c. */
#include "tests/support/support.h"

#include <stdlib.h>
#include <string.h>

#include "core/resample.h"

static uint8_t *noise(size_t size, uint32_t seed)
{
    uint8_t *p = malloc(size);

    assert_non_null(p);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        p[i] = (seed & 0x40) ? (uint8_t)(seed >> 24) : (seed & 0x80) ? 255 : 0; /* overshoots */
    }
    return p;
}

static void compare_codes(uint32_t width, uint32_t height, uint32_t side,
                          enum resample_geometry geometry)
{
    const size_t bytes = 3 * (size_t)side * side;
    uint8_t *in = noise(3 * (size_t)width * height, width * 31 + height * 7 + side);
    uint8_t *a = malloc(bytes), *b = malloc(bytes);
    const struct resample_target plain = { a, side }, tuned = { b, side };

    assert_int_equal(resample_tensors(&plain, 1, geometry, in, width, height, RESAMPLE_PLAIN, NULL),
                     ST_OK);
    assert_int_equal(resample_tensors(&tuned, 1, geometry, in, width, height, RESAMPLE_AVX2, NULL),
                     ST_OK);
    if (memcmp(a, b, bytes) != 0)
        fail_msg("%u x %u to %u, geometry %d", width, height, side, (int)geometry);
    free(a);
    free(b);
    free(in);
}

static void the_tuned_code_gives_the_bytes_of_the_plain_one(void **state)
{
    static const uint32_t sides[] = { 1, 2, 7, 15, 16, 17, 31, 32, 33, 47, 64, 65, 96 };
    static const uint32_t sizes[] = { 1, 2, 3, 15, 16, 31, 32, 33, 63, 65, 100, 131, 200 };
    const size_t n_sides = sizeof sides / sizeof sides[0], n = sizeof sizes / sizeof sizes[0];

    (void)state;
    if (!resample_available(RESAMPLE_AVX2))
        skip();
    for (size_t s = 0; s < n_sides; s++)
        for (size_t i = 0; i < n; i++) {
            const uint32_t w = sizes[i], h = sizes[(i * 5 + s) % n];
            compare_codes(w, h, sides[s], RESAMPLE_CROP);
            compare_codes(w, h, sides[s], RESAMPLE_SQUASH);
        }
    compare_codes(640, 427, 448, RESAMPLE_SQUASH);
    compare_codes(427, 640, 256, RESAMPLE_CROP);
    compare_codes(3000, 40, 16, RESAMPLE_SQUASH); /* windows of 750 taps */
}

/* The centre crop computed through windows equals the middle of the whole resize. */
static void a_crop_is_the_middle_of_the_whole_resize(void **state)
{
    enum { W = 100, H = 60, SIDE = 32, WIDE = 53 }; /* rint(100 x 32 / 60) = 53; no halving */
    uint8_t *in = noise(3 * W * H, 5);
    uint8_t whole[3 * WIDE * SIDE], crop[3 * SIDE * SIDE];
    const struct resample_target target = { crop, SIDE };

    (void)state;
    assert_int_equal(resample_rgb(whole, WIDE, SIDE, in, W, H, RESAMPLE_BICUBIC, NULL), ST_OK);
    assert_int_equal(resample_tensors(&target, 1, RESAMPLE_CROP, in, W, H, RESAMPLE_BEST, NULL),
                     ST_OK);
    for (size_t c = 0; c < 3; c++)
        for (size_t y = 0; y < SIDE; y++)
            for (size_t x = 0; x < SIDE; x++)
                assert_int_equal(crop[(c * SIDE + y) * SIDE + x],
                                 whole[3 * (y * WIDE + x + (WIDE - SIDE) / 2) + c]);
    free(in);
}

static void a_size_that_stays_is_a_copy(void **state)
{
    enum { SIDE = 40 };
    uint8_t *in = noise(3 * SIDE * SIDE, 9);
    uint8_t out[3 * SIDE * SIDE];
    const struct resample_target target = { out, SIDE };

    (void)state;
    assert_int_equal(
        resample_tensors(&target, 1, RESAMPLE_SQUASH, in, SIDE, SIDE, RESAMPLE_BEST, NULL), ST_OK);
    for (size_t i = 0; i < SIDE * SIDE; i++)
        for (size_t c = 0; c < 3; c++)
            assert_int_equal(out[c * SIDE * SIDE + i], in[3 * i + c]);
    free(in);
}

static void a_side_of_zero_is_refused(void **state)
{
    uint8_t pixel[3] = { 0 };
    const struct resample_target target = { pixel, 0 };
    struct error err = { 0 };

    (void)state;
    assert_int_equal(resample_tensors(&target, 1, RESAMPLE_CROP, pixel, 1, 1, RESAMPLE_BEST, &err),
                     ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tuned_code_gives_the_bytes_of_the_plain_one),
        cmocka_unit_test(a_crop_is_the_middle_of_the_whole_resize),
        cmocka_unit_test(a_size_that_stays_is_a_copy),
        cmocka_unit_test(a_side_of_zero_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
