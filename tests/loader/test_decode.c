/* The loader's picture path: both sides from one decode equal two decodes; fast mode stays in its budget;
 * when it may shrink. Exact mode against Pillow is in tests/core/test_image_goldens.c. */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loader/decode.h"

#define PICTURES TEST_GOLDENS "/data/pictures/"

static uint8_t *decode_side(const char *name, uint32_t side, const struct decode_options *base)
{
    struct decode_options opt = *base;
    uint8_t *out = malloc(3 * (size_t)side * side);
    struct error err = { 0 };
    char path[512];
    size_t size = 0;

    snprintf(path, sizeof path, PICTURES "%s", name);
    uint8_t *data = test_read_file(path, &size);
    opt.side_a = side;
    if (decode_picture(out, NULL, data, size, &opt, NULL, &err) != ST_OK)
        fail_msg("%s: %s", name, err.text);
    free(data);
    return out;
}

static void both_sides_of_one_decode_equal_two_decodes(void **state)
{
    struct decode_options opt;
    size_t size = 0;
    uint8_t *data = test_read_file(PICTURES "jpeg-1100x1030.jpg", &size);
    uint8_t *a = malloc(3 * 256 * 256), *b = malloc(3 * 512 * 512);

    (void)state;
    decode_options_init(&opt);
    assert_int_equal(decode_picture(a, b, data, size, &opt, NULL, NULL), ST_OK);
    uint8_t *alone_a = decode_side("jpeg-1100x1030.jpg", 256, &opt);
    uint8_t *alone_b = decode_side("jpeg-1100x1030.jpg", 512, &opt);
    assert_memory_equal(a, alone_a, 3 * 256 * 256);
    assert_memory_equal(b, alone_b, 3 * 512 * 512);
    free(a);
    free(b);
    free(alone_a);
    free(alone_b);
    free(data);
}

/* A picture with the spectrum of photographs: waves whose amplitude falls with their frequency. */
static void make_photograph(struct buffer *out, uint32_t width, uint32_t height)
{
    enum { WAVES = 20 };
    struct image img = { malloc(3 * (size_t)width * height), width, height };
    double fx[WAVES], fy[WAVES], phase[WAVES];
    uint32_t seed = 99;

    for (size_t i = 0; i < WAVES; i++) {
        const double f = 0.01 * pow(1.25, (double)i); /* radians a pixel: up to 0.7 */
        seed = seed * 1664525u + 1013904223u;
        phase[i] = (seed >> 8) * 1e-5;
        fx[i] = f * cos(phase[i] * 7.0);
        fy[i] = f * sin(phase[i] * 7.0);
    }
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++) {
            uint8_t *rgb = img.rgb + 3 * ((size_t)y * width + x);
            double v = 0.0;
            for (size_t i = 0; i < WAVES; i++)
                v += sin(fx[i] * x + fy[i] * y + phase[i]) / (1.0 + (double)i * 0.8);
            for (size_t c = 0; c < 3; c++) /* v is within 5 */
                rgb[c] = (uint8_t)(128.0 + v * (10.0 + 6.0 * (double)c));
        }
    assert_int_equal(image_encode_jpeg(out, &img, 90, true, NULL), ST_OK);
    free(img.rgb);
}

static void check_budget(const struct buffer *file, uint32_t side, enum resample_geometry geometry)
{
    const size_t n = 3 * (size_t)side * side;
    uint8_t *exact = malloc(n), *fast = malloc(n);
    struct decode_options opt;
    double absolute = 0.0, squares = 0.0;

    decode_options_init(&opt);
    opt.geometry = geometry;
    opt.side_a = side;
    opt.side_b = 512;
    assert_int_equal(decode_picture(exact, NULL, file->data, file->size, &opt, NULL, NULL), ST_OK);
    opt.mode = DECODE_FAST;
    assert_int_equal(decode_picture(fast, NULL, file->data, file->size, &opt, NULL, NULL), ST_OK);
    assert_memory_not_equal(exact, fast, n); /* it did shrink */
    for (size_t i = 0; i < n; i++) {
        const double d = (double)exact[i] - fast[i];
        absolute += fabs(d);
        squares += d * d;
    }
    const double psnr = 10.0 * log10(255.0 * 255.0 * (double)n / squares);
    if (absolute / (double)n > 1.5 || psnr < 38.0)
        fail_msg("to %u: mean %.3f, PSNR %.2f dB", (unsigned)side, absolute / (double)n, psnr);
    free(exact);
    free(fast);
}

static void fast_mode_stays_within_its_budget(void **state)
{
    struct buffer file = { 0 };

    (void)state;
    make_photograph(&file, 1400, 1024);
    check_budget(&file, 512, RESAMPLE_CROP);
    check_budget(&file, 256, RESAMPLE_CROP);
    buffer_clear(&file);
    make_photograph(&file, 2060, 2048);
    check_budget(&file, 448, RESAMPLE_SQUASH);
    buffer_clear(&file);
}

static void fast_mode_shrinks_no_further_than_the_larger_side_allows(void **state)
{
    struct decode_options opt;

    (void)state;
    decode_options_init(&opt);
    assert_int_equal(decode_shrink(&opt, 4096, 4096), 0); /* exact */
    opt.mode = DECODE_FAST;
    assert_int_equal(decode_shrink(&opt, 1023, 4096), 0);
    assert_int_equal(decode_shrink(&opt, 1024, 4096), 1);
    assert_int_equal(decode_shrink(&opt, 4096, 4096), 3);
    assert_int_equal(decode_shrink(&opt, 16384, 16384), 3);
    assert_int_equal(decode_shrink(&opt, 4097, 4096), 0); /* odd: sizes would be rounded apart */
    assert_int_equal(decode_shrink(&opt, 4096, 4098), 1);
    assert_int_equal(decode_shrink(&opt, 4100, 4096), 2);
    opt.geometry = RESAMPLE_SQUASH;
    assert_int_equal(decode_shrink(&opt, 2047, 4096), 0);
    assert_int_equal(decode_shrink(&opt, 2048, 4096), 1);
}

static void a_flip_mirrors_every_row(void **state)
{
    uint8_t tensor[3 * 3 * 3];

    (void)state;
    for (size_t i = 0; i < sizeof tensor; i++)
        tensor[i] = (uint8_t)i;
    decode_flip(tensor, 3);
    for (size_t i = 0; i < sizeof tensor; i++)
        assert_int_equal(tensor[i], i / 3 * 3 + 2 - i % 3);
}

static void a_bad_picture_is_skipped_with_a_code(void **state)
{
    struct decode_options opt;
    struct error err = { 0 };
    uint8_t out[3];

    (void)state;
    decode_options_init(&opt);
    opt.side_a = 1;
    assert_int_equal(decode_picture(out, NULL, "<html>", 6, &opt, NULL, &err), ST_SKIP);
    assert_string_equal(err.code, "picture-type");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_of_one_decode_equal_two_decodes),
        cmocka_unit_test(fast_mode_stays_within_its_budget),
        cmocka_unit_test(fast_mode_shrinks_no_further_than_the_larger_side_allows),
        cmocka_unit_test(a_flip_mirrors_every_row),
        cmocka_unit_test(a_bad_picture_is_skipped_with_a_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
