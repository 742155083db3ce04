/* Pictures: what the classifier says of other files, limits just below and just above, verdicts of the
 * storing path against the decoding path on damaged files, pixels that survive rewriting. The numbers
 * of goldens/data/pictures are compared in test_image_goldens.c. */
#include "tests/support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/image.h"

#define PICTURES TEST_GOLDENS "/data/pictures/"

static uint8_t *read_picture(const char *name, size_t *size)
{
    char path[512];

    snprintf(path, sizeof path, PICTURES "%s", name);
    return test_read_file(path, size);
}

static enum status decode_bytes(struct image *out, const void *data, size_t size, struct error *err)
{
    uint8_t *exact = test_copy_exact(data, size);
    const enum status st = image_decode(out, exact, size, NULL, NULL, err);

    free(exact);
    return st;
}

static void other_files_are_refused_by_what_they_look_like(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *name;
    } cases[] = {
        { "", 0, "an empty file" },
        { "<!DOCTYPE html><html>", 21, "HTML" },
        { "\n <html><body>404", 17, "HTML" },
        { "<?xml version='1.0'?><svg/>", 27, "SVG" },
        { "{\"error\":404}", 13, "JSON" },
        { "not found", 9, "text" },
        { "II*\0\0\0\0\0", 8, "TIFF" },
        { "\0\0\0\x1c"
          "ftypavif\0\0\0\0",
          16, "AVIF" },
        { "\0\0\0\x1c"
          "ftypheic\0\0\0\0",
          16, "HEIC" },
        { "\xff\x0a\0\0", 4, "JPEG XL" },
        { "%PDF-1.4", 8, "PDF" },
        { "\0\0\0\0\0\0\0\0", 8, "zero bytes" },
        { "\x80\x01\x02\x03", 4, "unknown binary data" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        struct image_info info;
        uint8_t *exact = test_copy_exact(cases[i].bytes, cases[i].size);

        assert_int_equal(image_probe(&info, exact, cases[i].size, NULL, &err), ST_SKIP);
        assert_string_equal(err.code, "picture-type");
        assert_non_null(strstr(err.text, cases[i].name));
        free(exact);
    }
}

/* A frame header of `width` x `height` and a scan that holds nothing. */
static size_t jpeg_header(uint8_t *to, unsigned width, unsigned height, unsigned sof)
{
    const uint8_t head[] = { 0xff,
                             0xd8,
                             0xff,
                             (uint8_t)sof,
                             0,
                             11,
                             8,
                             (uint8_t)(height >> 8),
                             (uint8_t)height,
                             (uint8_t)(width >> 8),
                             (uint8_t)width,
                             1,
                             1,
                             0x11,
                             0,
                             0xff,
                             0xda,
                             0,
                             8,
                             1,
                             1,
                             0,
                             0,
                             63,
                             0,
                             0xff,
                             0xd9 };

    memcpy(to, head, sizeof head);
    return sizeof head;
}

static void limits_refuse_the_first_value_beyond_them(void **state)
{
    static const struct {
        unsigned width, height, sof;
        const char *code; /* "" = accepted */
    } cases[] = {
        { 16384, 4096, 0xc0, "" },
        { 16385, 1, 0xc0, "picture-side" },
        { 1, 16384, 0xc0, "" },
        { 1, 16385, 0xc0, "picture-side" },
        { 8192, 8192, 0xc0, "" },
        { 8193, 8192, 0xc0, "picture-pixels" },
        { 65500, 65500, 0xc2, "picture-pixels" },
        { 0, 10, 0xc0, "picture-undecodable" },
        { 10, 10, 0xc3, "picture-unsupported" },
        { 10, 10, 0xcb, "picture-unsupported" },
        { 10, 10, 0xf7, "picture-unsupported" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        struct image_info info;
        uint8_t bytes[64];
        const size_t size = jpeg_header(bytes, cases[i].width, cases[i].height, cases[i].sof);
        const enum status st = image_probe(&info, bytes, size, NULL, &err);

        assert_string_equal(err.code, cases[i].code);
        assert_int_equal(st, cases[i].code[0] ? ST_SKIP : ST_OK);
    }
}

static void a_jpeg_of_more_scans_than_allowed_is_refused(void **state)
{
    struct image_limits limits;
    size_t size = 0;
    uint8_t *data = read_picture("jpeg-progressive-420.jpg", &size);
    struct error err = { 0 };
    struct image_info info;

    (void)state;
    image_limits_init(&limits);
    assert_int_equal(image_probe(&info, data, size, &limits, &err), ST_OK);
    limits.max_scans = 10; /* libjpeg's simple progression has 10 */
    assert_int_equal(image_probe(&info, data, size, &limits, &err), ST_OK);
    limits.max_scans = 9;
    assert_int_equal(image_probe(&info, data, size, &limits, &err), ST_SKIP);
    assert_string_equal(err.code, "picture-scans");
    assert_int_equal(err.cause, CAUSE_LIMIT);
    free(data);
}

static void a_picture_of_more_bytes_than_allowed_is_refused(void **state)
{
    struct image_limits limits;
    size_t size = 0;
    uint8_t *data = read_picture("png-rgb8.png", &size);
    struct error err = { 0 };
    struct image_info info;

    (void)state;
    image_limits_init(&limits);
    limits.max_bytes = size;
    assert_int_equal(image_probe(&info, data, size, &limits, &err), ST_OK);
    limits.max_bytes = size - 1;
    assert_int_equal(image_probe(&info, data, size, &limits, &err), ST_SKIP);
    assert_string_equal(err.code, "picture-bytes");
    free(data);
}

/* Verdict and code of image_prepare must be those of image_decode; stored bytes must give the same
 * pixels. Returns whether the picture was accepted. */
static bool compare_paths(const uint8_t *data, size_t size, enum image_jpeg_policy policy)
{
    uint8_t *exact = test_copy_exact(data, size);
    struct error decode_err = { 0 }, prepare_err = { 0 };
    struct image_store_options opt;
    struct image_info info;
    struct image a = { 0 }, b = { 0 };
    struct buffer stored = { 0 };

    image_store_options_init(&opt);
    opt.jpeg = policy;
    const enum status st = image_decode(&a, exact, size, NULL, NULL, &decode_err);
    assert_int_equal(image_prepare(&info, &stored, exact, size, &opt, NULL, &prepare_err), st);
    assert_string_equal(prepare_err.code, decode_err.code);
    if (st == ST_OK && stored.size > 0) {
        assert_int_equal(image_decode(&b, stored.data, stored.size, NULL, NULL, NULL), ST_OK);
        assert_int_equal(a.width, b.width);
        assert_int_equal(a.height, b.height);
        assert_memory_equal(a.rgb, b.rgb, (size_t)a.width * a.height * 3);
    }
    image_clear(&a);
    image_clear(&b);
    buffer_clear(&stored);
    free(exact);
    return st == ST_OK;
}

static const char *const damaged[] = {
    "jpeg-size-33x15.jpg",       "jpeg-restart-1.jpg",           "jpeg-progressive-422.jpg",
    "jpeg-arithmetic.jpg",       "jpeg-noninterleaved.jpg",      "jpeg-ycck-progressive.jpg",
    "jpeg-mixed-chroma.jpg",     "jpeg-restart-progressive.jpg", "jpeg-arithmetic-progressive.jpg",
    "jpeg-grey-progressive.jpg", "jpeg-app-com-many.jpg",        "jpeg-cmyk-adobe.jpg",
};

static void a_damaged_jpeg_gets_the_same_verdict_when_stored_and_when_decoded(void **state)
{
    uint32_t seed = 12345;
    unsigned accepted = 0, refused = 0;

    (void)state;
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        size_t size = 0;
        uint8_t *data = read_picture(damaged[i], &size);
        for (unsigned n = 0; n < 150; n++) {
            seed = seed * 1664525u + 1013904223u;
            const size_t at = (seed >> 4) % size;
            const uint8_t before = data[at];
            data[at] ^= (uint8_t)(1u << (seed >> 29));
            const bool ok = compare_paths(data, size, (enum image_jpeg_policy)(n % 3));
            accepted += ok;
            refused += !ok;
            data[at] = before;
        }
        for (unsigned n = 0; n < 20; n++)
            compare_paths(data, size * n / 20, (enum image_jpeg_policy)(n % 3));
        free(data);
    }
    assert_true(accepted > 100); /* the corpus reaches both verdicts */
    assert_true(refused > 100);
}

static void a_picture_cut_at_any_byte_is_refused_or_whole(void **state)
{
    static const char *const names[] = {
        "png-size-5x2-interlaced.png", "webp-size-1x1.webp", "gif-1x1.gif", "bmp-1.bmp",
        "jpeg-size-2x3.jpg",           "webp-animated.webp", "bmp-rle8.bmp"
    };

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t size = 0;
        uint8_t *data = read_picture(names[i], &size);
        struct image whole = { 0 };
        const size_t step = size / 400 + 1;

        assert_int_equal(decode_bytes(&whole, data, size, NULL), ST_OK);
        for (size_t cut = 0; cut < size; cut += step) {
            struct image part = { 0 };
            if (decode_bytes(&part, data, cut, NULL) == ST_OK)
                assert_memory_equal(part.rgb, whole.rgb, (size_t)whole.width * whole.height * 3);
            image_clear(&part);
        }
        image_clear(&whole);
        free(data);
    }
}

static void a_flipped_bit_in_any_format_never_ends_the_process(void **state)
{
    static const char *const names[] = { "png-palette4-interlaced.png",
                                         "png-rgba16.png",
                                         "webp-alpha-lossy.webp",
                                         "webp-palette-lossless.webp",
                                         "gif-interlaced.gif",
                                         "gif-offset-transparent.gif",
                                         "bmp-rle8.bmp",
                                         "bmp-16-565.bmp",
                                         "webp-animated-offset.webp" };
    uint32_t seed = 777;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t size = 0;
        uint8_t *data = read_picture(names[i], &size);
        for (unsigned n = 0; n < 150; n++) {
            struct image picture = { 0 };
            struct error err = { 0 };
            seed = seed * 1664525u + 1013904223u;
            const size_t at = n < 60 ? n % size : (seed >> 4) % size; /* headers first */
            const uint8_t before = data[at];
            data[at] ^= (uint8_t)(1u << (seed >> 29));
            const enum status st = decode_bytes(&picture, data, size, &err);
            assert_true(st == ST_OK || (st == ST_SKIP && err.code[0] != '\0'));
            image_clear(&picture);
            data[at] = before;
        }
        free(data);
    }
}

static void keep_stores_the_file_and_optimise_makes_it_smaller(void **state)
{
    struct image_store_options opt;
    struct buffer stored = { 0 };
    struct image_info info;
    size_t size = 0;
    uint8_t *data = read_picture("jpeg-1024x1024.jpg", &size);

    (void)state;
    image_store_options_init(&opt);
    assert_int_equal(image_prepare(&info, &stored, data, size, &opt, NULL, NULL), ST_OK);
    assert_int_equal(stored.size, 0);
    opt.jpeg = IMAGE_JPEG_KEEP;
    assert_int_equal(image_prepare(&info, &stored, data, size, &opt, NULL, NULL), ST_OK);
    assert_int_equal(stored.size, 0);
    opt.jpeg = IMAGE_JPEG_OPTIMISE;
    assert_int_equal(image_prepare(&info, &stored, data, size, &opt, NULL, NULL), ST_OK);
    assert_in_range(stored.size, 1, size - 1);
    buffer_clear(&stored);
    free(data);
}

static void a_rewritten_jpeg_keeps_its_markers(void **state)
{
    struct image_store_options opt;
    struct buffer stored = { 0 };
    struct image_info info;
    size_t size = 0;
    uint8_t *data = read_picture("jpeg-exif-6.jpg", &size);

    (void)state;
    image_store_options_init(&opt);
    opt.jpeg = IMAGE_JPEG_OPTIMISE;
    assert_int_equal(image_prepare(&info, &stored, data, size, &opt, NULL, NULL), ST_OK);
    assert_true(stored.size > 0);
    const uint8_t *exif = memmem(data, size, "Exif\0\0", 6);
    assert_non_null(exif);
    const size_t length = (size_t)(exif[-2] << 8 | exif[-1]) + 2; /* with marker and length */
    assert_non_null(memmem(stored.data, stored.size, exif - 4, length));
    buffer_clear(&stored);
    free(data);
}

static void max_side_shrinks_but_not_the_shorter_side_below_512(void **state)
{
    static const struct {
        uint32_t side, width, height;
    } cases[] = { { 1300, 1300, 579 }, { 900, 1149, 512 }, { 2300, 2300, 1025 } };
    size_t size = 0;
    uint8_t *data = read_picture("jpeg-2300x1025.jpg", &size);

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct image_store_options opt;
        struct buffer stored = { 0 };
        struct image_info info, again;

        image_store_options_init(&opt);
        opt.store_side = cases[i].side;
        assert_int_equal(image_prepare(&info, &stored, data, size, &opt, NULL, NULL), ST_OK);
        assert_int_equal(info.width, cases[i].width);
        assert_int_equal(info.height, cases[i].height);
        if (cases[i].width == 2300) {
            assert_int_equal(stored.size, 0);
        } else {
            assert_int_equal(image_probe(&again, stored.data, stored.size, NULL, NULL), ST_OK);
            assert_int_equal(again.width, cases[i].width);
        }
        buffer_clear(&stored);
    }
    free(data);
}

static void a_png_of_our_own_reads_back(void **state)
{
    uint8_t pixels[7 * 5 * 3];
    struct image img = { pixels, 7, 5 }, back = { 0 };
    struct buffer file = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 37);
    assert_int_equal(image_encode_png(&file, &img, NULL), ST_OK);
    assert_int_equal(image_decode(&back, file.data, file.size, NULL, NULL, NULL), ST_OK);
    assert_memory_equal(back.rgb, pixels, sizeof pixels);
    image_clear(&back);
    buffer_clear(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_files_are_refused_by_what_they_look_like),
        cmocka_unit_test(limits_refuse_the_first_value_beyond_them),
        cmocka_unit_test(a_jpeg_of_more_scans_than_allowed_is_refused),
        cmocka_unit_test(a_picture_of_more_bytes_than_allowed_is_refused),
        cmocka_unit_test(a_damaged_jpeg_gets_the_same_verdict_when_stored_and_when_decoded),
        cmocka_unit_test(a_picture_cut_at_any_byte_is_refused_or_whole),
        cmocka_unit_test(a_flipped_bit_in_any_format_never_ends_the_process),
        cmocka_unit_test(keep_stores_the_file_and_optimise_makes_it_smaller),
        cmocka_unit_test(a_rewritten_jpeg_keeps_its_markers),
        cmocka_unit_test(max_side_shrinks_but_not_the_shorter_side_below_512),
        cmocka_unit_test(a_png_of_our_own_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
