/* tests/trainer/test_safetensors.c: what is written is read back; every header that breaks the format is
 * refused (robustness.md SAF1 to SAF6). */
#include "tests/support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/mem.h"
#include "trainer/safetensors.h"

/* Header text plus `data` zero bytes as a file image; the size field is the text's length. */
static uint8_t *image(const char *header, size_t header_size, size_t data, size_t *size)
{
    *size = 8 + header_size + data;
    uint8_t *p = calloc(1, *size);
    assert_non_null(p);
    store_u64le(p, header_size);
    memcpy(p + 8, header, header_size);
    return p;
}

static enum status open_image(const char *header, size_t header_size, size_t data,
                              struct error *err)
{
    size_t size = 0;
    struct tensor_file *f = NULL;
    uint8_t *p = image(header, header_size, data, &size);
    const enum status st = safetensors_open_memory(&f, "t", p, size, err);
    assert_true((st == ST_OK) == (f != NULL));
    tensor_file_close(&f);
    free(p);
    return st;
}

static void assert_refused(const char *header, size_t data)
{
    struct error err = { 0 };
    if (open_image(header, strlen(header), data, &err) == ST_OK)
        fail_msg("accepted: %s", header);
    assert_int_equal(err.cause, CAUSE_FORMAT);
}

static void assert_accepted(const char *header, size_t data)
{
    struct error err = { 0 };
    if (open_image(header, strlen(header), data, &err) != ST_OK)
        fail_msg("refused: %s: %s", header, err.text);
}

#define F32(shape, a, b)                                                                           \
    "{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" #a "," #b "]}"

static void legal_headers_are_taken(void **state)
{
    (void)state;
    assert_accepted("{}", 0);
    assert_accepted("{}   ", 0);
    assert_accepted("{\"a\":" F32("2,3", 0, 24) "}", 24);
    assert_accepted("{\"a\":" F32("", 0, 4) "}", 4);                           /* scalar */
    assert_accepted("{\"a\":" F32("0,9", 0, 0) "}", 0);                        /* no element */
    assert_accepted("{\"b\":" F32("1", 4, 8) ",\"a\":" F32("1", 0, 4) "}", 8); /* unsorted */
    assert_accepted("{\"__metadata__\":{\"k\":\"v\"},\"a\":" F32("1", 0, 4) "}", 4);
    assert_accepted("{\"a\":{\"dtype\":\"F4\",\"shape\":[2],\"data_offsets\":[0,1]}}", 1);
}

static void offsets_that_do_not_tile_the_data_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"a\":" F32("1", 4, 0) "}", 4);
    assert_refused("{\"a\":" F32("1", 0, 4) ",\"b\":" F32("1", 3, 7) "}", 7); /* overlap by 1 */
    assert_refused("{\"a\":" F32("1", 0, 4) ",\"b\":" F32("1", 5, 9) "}", 9); /* hole of 1 */
    assert_refused("{\"a\":" F32("1", 0, 4) "}", 3);
    assert_refused("{\"a\":" F32("1", 0, 4) "}", 5); /* trailing byte */
    assert_refused("{\"a\":" F32("2", 0, 4) "}", 4);
    assert_refused("{\"a\":" F32("1", 18446744073709551612, 18446744073709551615) "}", 4);
    assert_refused("{\"a\":" F32("1", 0, 99999999999999999999) "}", 4);
    assert_refused("{\"a\":" F32("1", 0, 4.0) "}", 4);
    assert_refused("{\"a\":" F32("1", -4, 0) "}", 4);
    assert_refused("{}", 1);
}

static void shapes_and_types_that_cannot_be_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"a\":" F32("4294967296,4294967296,4294967296", 0, 0) "}", 0);
    assert_refused("{\"a\":" F32("9223372036854775808", 0, 0) "}", 0);
    assert_refused("{\"a\":" F32("9223372036854775807,0", 0, 4) "}", 4);
    assert_refused("{\"a\":" F32("1,1,1,1,1,1,1,1,1", 0, 4) "}", 4);
    assert_refused("{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    assert_refused("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1);
    assert_refused("{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    assert_refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],"
                   "\"data_offsets\":[0,4]}}",
                   4);
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4);
    assert_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,4]}}", 4);
}

static void names_and_metadata_that_mislead_are_refused(void **state)
{
    (void)state;
    assert_refused("{\"a\":" F32("0", 0, 0) ",\"a\":" F32("1", 0, 4) "}", 4);
    assert_refused("{\"a\\u0000b\":" F32("1", 0, 4) "}", 4);
    assert_refused("{\"a\\nb\":" F32("1", 0, 4) "}", 4);
    assert_refused("{\"a\\u001bb\":" F32("1", 0, 4) "}", 4);
    assert_refused("{\"\":" F32("1", 0, 4) "}", 4);
    assert_refused("{\"__metadata__\":{\"k\":{}}}", 0);
    assert_refused("{\"__metadata__\":{\"k\":1}}", 0);
    assert_refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0);
    assert_refused(" {}", 0);
    assert_refused("[]", 0);
    assert_refused("{}x", 0);
    assert_refused("{\"a\xff\":" F32("1", 0, 4) "}", 4);
    assert_refused("", 0);
}

static void header_sizes_that_lie_are_refused(void **state)
{
    static const uint64_t sizes[] = {
        0, 1, 7, 27, 100000001, 1ull << 63, UINT64_MAX, UINT64_MAX - 7
    };
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = 0;
        struct error err = { 0 };
        struct tensor_file *f = NULL;
        uint8_t *p = image("{\"a\":{}}          ", 18, 0, &size);
        store_u64le(p, sizes[i]);
        assert_int_equal(safetensors_open_memory(&f, "t", p, size, &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_FORMAT);
        free(p);
    }
}

static void a_file_cut_at_any_byte_is_refused(void **state)
{
    static const char header[] = "{\"a\":" F32("2", 0, 8) "}";
    size_t size = 0;
    uint8_t *p = image(header, sizeof header - 1, 8, &size);
    (void)state;
    for (size_t cut = 0; cut < size; cut++) {
        struct error err = { 0 };
        struct tensor_file *f = NULL;
        uint8_t *prefix = test_copy_exact(p, cut);
        assert_int_equal(safetensors_open_memory(&f, "t", prefix, cut, &err), ST_FAIL);
        assert_int_equal(err.cause, CAUSE_FORMAT);
        free(prefix);
    }
    free(p);
}

static char *write_one(const char *folder, const char *file, const char *name, enum tensor_type t,
                       const float *data, int64_t n)
{
    struct error err = { 0 };
    struct safetensors_writer *w = NULL;
    const struct safetensors_entry e = { name, t, 1, { n } };
    const struct safetensors_pair meta = { "format", "pt" };
    char *path = path_join(folder, file);
    assert_int_equal(safetensors_writer_open(&w, path, &e, 1, &meta, 1, &err), ST_OK);
    assert_int_equal(safetensors_writer_put(w, data, n, &err), ST_OK);
    assert_int_equal(safetensors_writer_finish(&w, NULL, &err), ST_OK);
    return path;
}

static void what_is_written_is_read_back(void **state)
{
    static const float data[6] = { 0.0f, -1.5f, 3.0e-8f, 65504.0f, 1.0f / 3.0f, -0.0f };
    static const enum tensor_type types[] = { TENSOR_F32, TENSOR_BF16, TENSOR_F16 };
    static const float tolerance[] = { 0.0f, 1.0f / 256, 1.0f / 2048 };
    char *folder = test_temp_folder();
    (void)state;
    for (int i = 0; i < 3; i++) {
        float back[6];
        struct error err = { 0 };
        struct tensor_file *f = NULL;
        char *path = write_one(folder, "a.safetensors", "x", types[i], data, 6);
        assert_int_equal(safetensors_open(&f, path, &err), ST_OK);
        assert_int_equal(tensor_file_count(f), 1);
        assert_int_equal(tensor_file_read_f32(f, tensor_file_find(f, "x"), back, &err), ST_OK);
        for (int k = 0; k < 6; k++)
            assert_true(fabsf(back[k] - data[k]) <= tolerance[i] * fabsf(data[k]) + 6e-8f);
        assert_null(tensor_file_find(f, "y"));
        tensor_file_close(&f);
        mem_free(path);
    }
    test_remove_tree(folder);
    free(folder);
}

static void every_half_float_survives_the_way_there_and_back(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        const float v = float_from_f16((uint16_t)h);
        if (!isnan(v))
            assert_int_equal(float_to_f16(v), h);
    }
    assert_int_equal(float_to_f16(65520.0f), 0x7c00);
    assert_int_equal(float_to_f16(65519.0f), 0x7bff);
    assert_int_equal(float_to_bf16(1.00390625f), 0x3f80); /* half way, to even */
    assert_int_equal(float_to_bf16(1.01171875f), 0x3f82);
    assert_true(float_to_bf16(NAN) & 0x7f);
}

static void a_file_cut_while_open_ends_in_an_error(void **state)
{
    static const float data[3] = { 1, 2, 3 };
    float back[3];
    struct error err = { 0 };
    struct tensor_file *f = NULL;
    char *folder = test_temp_folder(), *path = write_one(folder, "a", "x", TENSOR_F32, data, 3);
    (void)state;
    assert_int_equal(safetensors_open(&f, path, &err), ST_OK);
    assert_int_equal(truncate(path, 40), 0);
    assert_int_equal(tensor_file_read_f32(f, tensor_file_at(f, 0), back, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    tensor_file_close(&f);
    mem_free(path);
    test_remove_tree(folder);
    free(folder);
}

static enum status open_index(const char *folder, const char *text, struct tensor_file **f,
                              struct error *err)
{
    char *path = path_join(folder, "model.safetensors.index.json");
    assert_int_equal(file_replace(path, text, strlen(text), err), ST_OK);
    const enum status st = safetensors_open(f, path, err);
    mem_free(path);
    return st;
}

static void an_index_joins_its_shards_and_names_all_faults_at_once(void **state)
{
    static const float data[1] = { 7 };
    struct error err = { 0 };
    struct tensor_file *f = NULL;
    char *folder = test_temp_folder();
    (void)state;
    mem_free(write_one(folder, "s1", "a", TENSOR_F32, data, 1));
    mem_free(write_one(folder, "s2", "b", TENSOR_F16, data, 1));
    assert_int_equal(open_index(folder,
                                "{\"metadata\":{},\"weight_map\":{\"a\":\"s1\",\"b\":\"s2\"}}", &f,
                                &err),
                     ST_OK);
    assert_int_equal(tensor_file_count(f), 2);
    tensor_file_close(&f);
    assert_int_equal(open_index(folder,
                                "{\"weight_map\":{\"a\":\"s1\",\"a\":\"s1\",\"b\":\"../s2\","
                                "\"c\":\"s3\"}}",
                                &f, &err),
                     ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_non_null(strstr(err.text, "listed twice: a"));
    assert_non_null(strstr(err.text, "../s2"));
    assert_non_null(strstr(err.text, "absent: s3"));
    error_clear(&err);
    assert_int_equal(open_index(folder, "{\"weight_map\":{\"a\":\"s2\",\"q\":\"s1\"}}", &f, &err),
                     ST_FAIL);
    assert_non_null(strstr(err.text, "another shard than listed: a"));
    assert_non_null(strstr(err.text, "no shard has q"));
    assert_non_null(strstr(err.text, "not listed: b"));
    test_remove_tree(folder);
    free(folder);
}

static void integers_are_read_as_integers(void **state)
{
    static const char header[] =
        "{\"a\":{\"dtype\":\"I64\",\"shape\":[2],\"data_offsets\":[0,16]}}";
    size_t size = 0;
    int32_t v[2];
    struct error err = { 0 };
    struct tensor_file *f = NULL;
    uint8_t *p = image(header, sizeof header - 1, 16, &size);
    (void)state;
    store_u64le(p + size - 16, (uint64_t)-5);
    assert_int_equal(safetensors_open_memory(&f, "t", p, size, &err), ST_OK);
    assert_int_equal(tensor_file_read_i32(f, tensor_file_at(f, 0), v, &err), ST_OK);
    assert_int_equal(v[0], -5);
    store_u64le(p + size - 8, 1ull << 31);
    assert_int_equal(tensor_file_read_i32(f, tensor_file_at(f, 0), v, &err), ST_FAIL);
    tensor_file_close(&f);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legal_headers_are_taken),
        cmocka_unit_test(offsets_that_do_not_tile_the_data_are_refused),
        cmocka_unit_test(shapes_and_types_that_cannot_be_are_refused),
        cmocka_unit_test(names_and_metadata_that_mislead_are_refused),
        cmocka_unit_test(header_sizes_that_lie_are_refused),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(every_half_float_survives_the_way_there_and_back),
        cmocka_unit_test(a_file_cut_while_open_ends_in_an_error),
        cmocka_unit_test(an_index_joins_its_shards_and_names_all_faults_at_once),
        cmocka_unit_test(integers_are_read_as_integers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
