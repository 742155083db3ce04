/* tests/cli/test_inspect.c: what the views of a dataset say, and what they cannot be made to say. */
#include "tests/shards/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cli/inspect.h"
#include "cli/printable.h"
#include "core/json.h"

static char *folder;

static int set_up(void **state)
{
    const struct fixture_options mmc4 = {
        .seed = 1, .shards = 2, .sequences = 7, .max_picture = 200, .dictionary = true
    };
    const struct fixture_options instruct = {
        .seed = 2, .shards = 1, .sequences = 5, .max_picture = 200, .instruct = true
    };

    (void)state;
    folder = test_temp_folder();
    char *a = str_format("%s/mmc4", folder), *b = str_format("%s/<b>instruct", folder);
    fixture_dataset(&mmc4, a);
    fixture_dataset(&instruct, b);
    mem_free(a);
    mem_free(b);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_remove_tree(folder);
    free(folder);
    return 0;
}

/* Standard output and exit code of `deem ARGS`. */
static char *run(const char *args, int *code)
{
    char *command = str_format("cd '%s' && '%s' %s 2>stderr", folder, TEST_DEEM, args);
    FILE *f = popen(command, "r");
    struct buffer out;
    char piece[4096];
    size_t n;

    assert_non_null(f);
    buffer_init(&out);
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        assert_int_equal(buffer_append(&out, piece, n, NULL), ST_OK);
    assert_int_equal(buffer_append(&out, "", 1, NULL), ST_OK);
    const int status = pclose(f);
    *code = WEXITSTATUS(status);
    mem_free(command);
    return (char *)out.data;
}

static int64_t member(const struct json_value *object, const char *name)
{
    int64_t v = -1;
    assert_true(json_value_int64(json_get(object, name), &v));
    return v;
}

static void a_json_line_holds_what_the_sequence_holds(void **state)
{
    int code = -1;
    char *out = run("inspect mmc4 --json", &code), *line = out;
    struct shard_reader *r = NULL;
    struct arena arena;
    struct sample s;
    uint64_t n = 0;

    (void)state;
    assert_int_equal(code, 0);
    arena_init(&arena, 0);
    for (char *stop; (stop = strchr(line, '\n')); line = stop + 1, n++) {
        struct json_value *top = NULL;
        char *path = str_format("%s/mmc4/shards/%06u.mdb", folder, (unsigned)(n / 7));
        assert_int_equal(json_parse(&arena, &top, line, (size_t)(stop - line), NULL, NULL), ST_OK);
        assert_int_equal(shard_reader_open(&r, path, NULL, NULL), ST_OK);
        assert_int_equal(shard_reader_sequence(r, n % 7, &s, &arena, NULL), ST_OK);
        assert_int_equal(member(top, "sequence"), n);
        assert_int_equal(member(top, "shard"), n / 7);
        assert_int_equal(member(top, "index"), n % 7);
        assert_string_equal(json_get(top, "source")->text, "mmc4");
        const struct json_value *ids = json_get(top, "ids");
        assert_int_equal(ids->count, s.token_count);
        size_t i = 0;
        for (const struct json_value *v = ids->child; v; v = v->next)
            assert_int_equal((int)v->number, s.ids[i++]);
        i = 0;
        for (const struct json_value *v = json_get(top, "images")->child; v; v = v->next, i++) {
            char hash[33];
            hash128_hex(hash, s.images[i].hash);
            assert_string_equal(json_get(v, "hash")->text, hash);
            hash128_hex(hash, s.images[i].original_hash);
            assert_string_equal(json_get(v, "original_hash")->text, hash);
            assert_int_equal(member(v, "soi"), s.images[i].soi);
            assert_int_equal(member(v, "nearest_bos"), s.images[i].nearest_bos);
            assert_int_equal(member(v, "document"), s.images[i].document);
            assert_int_equal(member(v, "bytes"), s.images[i].bytes);
            assert_true(json_get(v, "similarity")->number == s.images[i].similarity);
            assert_string_equal(json_get(v, "side")->text, s.images[i].after ? "after" : "before");
            assert_int_equal(json_get(v, "loss")->boolean, s.images[i].loss);
            assert_int_equal(json_get(v, "prev")->boolean, s.images[i].prev);
        }
        assert_int_equal(i, s.image_count);
        i = 0;
        for (const struct json_value *v = json_get(top, "documents")->child; v; v = v->next, i++) {
            char *key = str_format("in_%u_%u:%u", (unsigned)(n / 7), s.documents[i].input,
                                   (unsigned)s.documents[i].line);
            assert_string_equal(json_get(v, "key")->text, key);
            assert_int_equal(member(v, "start"), s.documents[i].start);
            assert_int_equal(member(v, "length"), s.documents[i].length);
            assert_int_equal(json_get(v, "cont")->boolean, s.documents[i].cont);
            mem_free(key);
        }
        assert_int_equal(i, s.document_count);
        shard_reader_close(&r);
        mem_free(path);
    }
    assert_int_equal(n, 14);
    arena_clear(&arena);
    mem_free(out);
}

static unsigned lines(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

static void a_range_is_half_open_and_clamped(void **state)
{
    static const struct {
        const char *args;
        unsigned lines;
        int code;
    } cases[] = {
        { "inspect mmc4 --json --range 6:9", 3, 0 },  { "inspect mmc4 --json --range 5:", 9, 0 },
        { "inspect mmc4 --json --range :2", 2, 0 },   { "inspect mmc4 --json --range 12:99", 2, 0 },
        { "inspect mmc4 --json --range 3:3", 0, 0 },  { "inspect mmc4 --json --range 4:3", 0, 64 },
        { "inspect mmc4 --json --range x:3", 0, 64 }, { "inspect mmc4 --json --range 3", 0, 64 },
        { "inspect nothing --json", 0, 74 },          { "inspect", 0, 64 }
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int code = -1;
        char *out = run(cases[i].args, &code);
        assert_int_equal(code, cases[i].code);
        assert_int_equal(lines(out), cases[i].lines);
        mem_free(out);
    }
}

static void pictures_are_written_under_their_hash(void **state)
{
    int code = -1;
    char *out = run("inspect mmc4 --json --pictures shots && ls shots", &code);
    const char *name = strstr(out, ".jpg");
    size_t size = 0;
    char hash[33], path[4200];

    (void)state;
    assert_int_equal(code, 0);
    assert_non_null(name);
    snprintf(path, sizeof path, "%s/shots/%.36s", folder, name - 32);
    uint8_t *bytes = test_read_file(path, &size);
    hash128_hex(hash, hash_xxh3_128(bytes, size));
    assert_memory_equal(hash, name - 32, 32);
    free(bytes);
    mem_free(out);
}

static void the_terminal_gets_no_control_sequence_from_a_dump(void **state)
{
    int code = -1;
    char *out = run("inspect mmc4 && '" TEST_DEEM "' inspect '<b>instruct'", &code);
    const char bad[] = "a\x1b[31m\x07\xc2\x9b\xe2\x80\xaez\xff\n";
    struct buffer text;

    (void)state;
    assert_int_equal(code, 0);
    for (const char *p = out; *p; p++)
        assert_true((unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t');
    mem_free(out);
    buffer_init(&text);
    assert_int_equal(printable_terminal(&text, bad, sizeof bad - 1, true, NULL), ST_OK);
    assert_int_equal(buffer_append(&text, "", 1, NULL), ST_OK);
    assert_string_equal((char *)text.data, "a\\x1b[31m\\x07\\x9b\\u{202e}z\xef\xbf\xbd\\x0a");
    buffer_clear(&text);
}

static void the_page_is_whole_and_holds_no_script(void **state)
{
    int code = -1;
    char *out = run("inspect '<b>instruct' --html page.html && cat page.html", &code);

    (void)state;
    assert_int_equal(code, 0);
    assert_null(strstr(out, "<script"));
    assert_null(strstr(out, "<b>instruct")); /* the folder's name is no markup */
    assert_non_null(strstr(out, "&lt;b&gt;instruct"));
    assert_non_null(strstr(out, "&lt;script&gt;&#39;&quot;&amp;\\x1b[31m"));
    assert_non_null(strstr(out, "default-src 'none'"));
    assert_non_null(strstr(out, "data:image/jpeg;base64,"));
    assert_non_null(strstr(out, "<svg class=\"mask\""));
    assert_non_null(strstr(out, "F3-no-image"));
    assert_non_null(strstr(out, "id=\"s4\""));
    assert_non_null(strstr(out, "</html>"));
    mem_free(out);
}

static const char recipe[] = "stage: 1\nout: run\nseed: 3\nseq_len: 256\nimage_tokens: 4\n"
                             "data:\n  web:\n    datasets: [mmc4]\n    weight: 2\n"
                             "  other:\n    datasets: [mmc4]\n    weight: 1\n"
                             "batch:\n  global: 12\n  micro: 2\n";

/* Lines of all ranks are those of the whole step, in order of micro-batches. */
static void a_step_shows_what_each_rank_will_get(void **state)
{
    char *path = str_format("%s/r.yaml", folder);
    FILE *f = fopen(path, "w");
    struct arena arena;
    struct buffer joined;
    int code = -1, n = 0;

    (void)state;
    assert_non_null(f);
    fputs(recipe, f);
    fclose(f);
    char *all = run("inspect r.yaml --step 5 --world 3 --json", &code);
    assert_int_equal(code, 0);
    arena_init(&arena, 0);
    buffer_init(&joined);
    for (int rank = 0; rank < 3; rank++) {
        char *args = str_format("inspect r.yaml --step 5 --world 3 --rank %d --json", rank);
        char *out = run(args, &code);
        assert_int_equal(code, 0);
        assert_int_equal(lines(out), 4);
        assert_int_equal(buffer_append_str(&joined, out, NULL), ST_OK);
        mem_free(out);
        mem_free(args);
    }
    assert_int_equal(buffer_append(&joined, "", 1, NULL), ST_OK);
    assert_string_equal(all, (char *)joined.data);
    unsigned web = 0;
    for (char *line = all, *stop; (stop = strchr(line, '\n')); line = stop + 1, n++) {
        struct json_value *top = NULL;
        assert_int_equal(json_parse(&arena, &top, line, (size_t)(stop - line), NULL, NULL), ST_OK);
        assert_int_equal(member(top, "micro_batch"), 5 * 6 + n / 2);
        assert_int_equal(member(top, "rank"), n / 4);
        web += strcmp(json_get(top, "recipe_source")->text, "web") == 0;
    }
    assert_int_equal(n, 12);
    assert_int_equal(web, 8); /* 2:1 in each block of three micro-batches */
    mem_free(run("inspect r.yaml --step 5 --world 5 --json", &code));
    assert_int_equal(code, 64);
    mem_free(run("inspect r.yaml --step 5 --set batch.micro=5 --json", &code));
    assert_int_equal(code, 64);
    mem_free(run("inspect r.yaml --step 5 --world 2 --rank 2", &code));
    assert_int_equal(code, 64);
    mem_free(all);
    mem_free(path);
    buffer_clear(&joined);
    arena_clear(&arena);
}

static void stats_add_up(void **state)
{
    int code = -1;
    char *out = run("stats mmc4 --json", &code);
    struct arena arena;
    struct json_value *top = NULL;
    int64_t sum = 0;

    (void)state;
    assert_int_equal(code, 0);
    arena_init(&arena, 0);
    assert_int_equal(json_parse(&arena, &top, out, strlen(out), NULL, NULL), ST_OK);
    assert_int_equal(member(top, "sequences"), 14);
    assert_int_equal(member(top, "documents"), 28);
    for (const struct json_value *v = json_get(top, "fill_histogram")->child; v; v = v->next)
        sum += (int64_t)v->number;
    assert_int_equal(sum, 14);
    const double fill = json_get(top, "fill")->number;
    assert_true(fill > 0.5 && fill < 1.0);
    const struct json_value *in = json_get(top, "inputs");
    assert_int_equal(in->count, 4);
    assert_string_equal(json_get(in->child, "file")->text, "sub/in_0_0.jsonl.zip");
    assert_int_equal(member(in->child, "seen"), 10);
    assert_int_equal(member(json_get(in->child, "filtered"), "F3-no-image"), 2);
    assert_int_equal(member(json_get(in->child, "quarantined"), "json-syntax"), 1);
    const struct json_value *pictures = json_get(top, "pictures");
    assert_int_equal(member(pictures, "stored"), member(top, "images"));
    assert_int_equal(member(json_get(pictures, "filtered"), "F1-similarity"), 4);
    arena_clear(&arena);
    mem_free(out);
    mem_free(run("stats mmc4", &code));
    assert_int_equal(code, 0);
}

static void verify_says_0_or_1_and_names_the_finding(void **state)
{
    int code = -1;
    char *path = str_format("%s/mmc4/shards/000001.mdb", folder);
    size_t size = 0;

    (void)state;
    mem_free(run("verify mmc4", &code));
    assert_int_equal(code, 0);
    mem_free(run("verify nothing", &code));
    assert_int_equal(code, 74);
    uint8_t *bytes = test_read_file(path, &size);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)size / 2, SEEK_SET), 0);
    fputc(bytes[size / 2] ^ 4, f);
    fclose(f);
    char *out = run("verify mmc4 2>verify.txt; c=$?; cat verify.txt; exit $c", &code);
    assert_int_equal(code, 1);
    assert_non_null(strstr(out, "000001.mdb"));
    mem_free(out);
    f = fopen(path, "r+b");
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
    free(bytes);
    mem_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_json_line_holds_what_the_sequence_holds),
        cmocka_unit_test(a_range_is_half_open_and_clamped),
        cmocka_unit_test(pictures_are_written_under_their_hash),
        cmocka_unit_test(the_terminal_gets_no_control_sequence_from_a_dump),
        cmocka_unit_test(the_page_is_whole_and_holds_no_script),
        cmocka_unit_test(a_step_shows_what_each_rank_will_get),
        cmocka_unit_test(stats_add_up),
        cmocka_unit_test(verify_says_0_or_1_and_names_the_finding),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
