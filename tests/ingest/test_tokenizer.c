/* tests/ingest/test_tokenizer.c: ids equal the reference texts in every variant, and models that
 * break a limit are refused. */
#include "tests/support/support.h"

#include "tests/support/jsonl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/piece.h"
#include "ingest/spm.h"
#include "ingest/tokenizer.h"

#define MODEL     TEST_GOLDENS "/data/tokenizer/tokenizer.model"
#define TEXTS     TEST_GOLDENS "/data/tokenizer/texts.jsonl"
#define PAD_PIECE "\xe7\xbb\x99"
static const char SOI[] = "<|startofimage|>", SNIFFER[] = "<|sniffer|>";

static struct tokenizer *open_variant(enum tokenizer_variant variant)
{
    struct tokenizer *t = NULL;
    struct tokenizer_options opt;
    struct error err = { 0 };
    tokenizer_options_init(&opt);
    opt.variant = variant;
    if (tokenizer_open(&t, MODEL, &opt, &err) != ST_OK)
        fail_msg("%s", err.text);
    return t;
}

static void expect_ids(const struct json_value *c, const char *member, const uint16_t *ids,
                       size_t n, unsigned line)
{
    const struct json_value *list = jsonl_get(c, member);
    size_t i = 0;
    for (const struct json_value *v = list->child; v; v = v->next, i++) {
        int64_t id = 0;
        assert_true(json_value_int64(v, &id));
        if (i >= n || ids[i] != id)
            fail_msg("line %u %s: id %zu of %zu: got %d, want %d", line, member, i, n,
                     i < n ? ids[i] : -1, (int)id);
    }
    if (i != n)
        fail_msg("line %u %s: got %zu ids, want %zu", line, member, n, i);
}

/* A template string into elements: bos, segments and slots, eos. */
static void encode_template(const struct tokenizer *t, struct id_list *out, const char *text,
                            struct error *err)
{
    const struct special_ids *s = tokenizer_special(t);
    const char *end = text + strlen(text) - strlen("</s>");
    bool after = false;
    assert_string_equal(end, "</s>");
    id_list_push(out, s->bos, 1, err);
    while (text < end) {
        const char *slot = strstr(text, SOI);
        const char *stop = slot ? slot : end;
        assert_int_equal(tokenizer_encode_segment(t, out, text, (size_t)(stop - text), after, err),
                         ST_OK);
        text = stop;
        if (!slot)
            break;
        id_list_push(out, s->soi, 1, err);
        text += strlen(SOI);
        for (; strncmp(text, SNIFFER, strlen(SNIFFER)) == 0; text += strlen(SNIFFER))
            id_list_push(out, s->sniffer, 1, err);
        after = true;
    }
    id_list_push(out, s->eos, 1, err);
}

static void bare_and_packed_ids_equal_the_reference_texts(void **state)
{
    (void)state;
    struct tokenizer *t = open_variant(TOKENIZER_A);
    struct id_list ids = { 0 };
    struct jsonl f;
    struct error err = { 0 };
    unsigned n = 0;

    jsonl_open(&f, TEXTS);
    for (const struct json_value *c; (c = jsonl_next(&f)); n++) {
        const struct json_value *text = jsonl_get(c, "text");
        ids.size = 0;
        assert_int_equal(tokenizer_encode_plain(t, &ids, text->text, text->size, &err), ST_OK);
        expect_ids(c, "ids_plain", ids.data, ids.size, f.line);
        ids.size = 0;
        if (jsonl_is(c, "kind", "template-pair") || jsonl_is(c, "kind", "template-mmc4")) {
            encode_template(t, &ids, text->text, &err);
        } else {
            id_list_push(&ids, tokenizer_special(t)->bos, 1, &err);
            assert_int_equal(tokenizer_encode_segment(t, &ids, text->text, text->size, false, &err),
                             ST_OK);
        }
        expect_ids(c, "ids_ours", ids.data, ids.size, f.line);
    }
    assert_true(n > 600);
    jsonl_close(&f);
    id_list_clear(&ids);
    tokenizer_close(&t);
}

static void variants_equal_the_reference_templates(void **state)
{
    (void)state;
    static const char *const members[] = { "ids_A", "ids_B", "ids_C" };
    struct error err = { 0 };

    for (int v = TOKENIZER_A; v <= TOKENIZER_C; v++) {
        struct tokenizer *t = open_variant((enum tokenizer_variant)v);
        struct id_list ids = { 0 };
        struct jsonl f;
        unsigned n = 0;
        jsonl_open(&f, TEXTS);
        for (const struct json_value *c; (c = jsonl_next(&f));) {
            if (!jsonl_is(c, "kind", "template-pair") && !jsonl_is(c, "kind", "template-mmc4"))
                continue;
            const char *text = jsonl_get(c, "text")->text;
            if (text[0] == ' ' || strstr(text, PAD_PIECE))
                continue; /* there our rule differs on purpose */
            ids.size = 0;
            encode_template(t, &ids, text, &err);
            expect_ids(c, members[v], ids.data, ids.size, f.line);
            n++;
        }
        assert_true(n > 50);
        jsonl_close(&f);
        id_list_clear(&ids);
        tokenizer_close(&t);
    }
}

static void special_strings_in_text_never_become_special_ids(void **state)
{
    (void)state;
    static const char text[] = "<s> </s> <unk> <|startofimage|> <|sniffer|> <ref> </ref> <box> "
                               "\xe7\xbb\x99 </box> <pad>";
    struct tokenizer *t = open_variant(TOKENIZER_A);
    const struct special_ids *s = tokenizer_special(t);
    struct id_list ids = { 0 };
    struct error err = { 0 };

    assert_int_equal(tokenizer_encode_segment(t, &ids, text, strlen(text), false, &err), ST_OK);
    for (size_t i = 0; i < ids.size; i++) {
        assert_true(ids.data[i] < s->pad);
        assert_true(ids.data[i] != s->bos && ids.data[i] != s->eos && ids.data[i] != s->unk);
    }
    assert_int_equal(s->pad, s->pieces - 1);
    assert_int_equal(s->soi, s->pieces);
    assert_int_equal(s->box_end, s->pieces + 5);
    id_list_clear(&ids);
    tokenizer_close(&t);
}

static void a_model_cut_or_flipped_anywhere_is_refused_or_still_safe(void **state)
{
    (void)state;
    size_t size = 0;
    uint8_t *model = test_read_file(MODEL, &size);
    bool at_spaces = false;
    struct error err = { 0 };

    assert_int_equal(spm_check(model, size, 1000000, 4096, &at_spaces, &err), ST_OK);
    assert_true(at_spaces);
    assert_int_equal(spm_check(model, size, 1999, 4096, &at_spaces, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_LIMIT);
    error_clear(&err);
    assert_int_equal(spm_check(model, size, 2000, 4096, &at_spaces, &err), ST_OK);
    assert_int_equal(spm_check(model, size, 2000, 47, &at_spaces, &err),
                     ST_FAIL); /* 16 marks are 48 bytes */
    assert_int_equal(err.cause, CAUSE_LIMIT);
    error_clear(&err);
    assert_int_equal(spm_check("", 0, 2000, 48, &at_spaces, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    for (size_t cut = 1; cut < size; cut += 97) {
        uint8_t *part = test_copy_exact(model, cut);
        struct spm *s = NULL;
        error_clear(&err);
        if (spm_check(part, cut, 1000000, 4096, &at_spaces, &err) == ST_OK)
            spm_open(&s, part, cut, true, &err);
        spm_close(&s);
        free(part);
    }
    free(model);
}

/* A charsmap of one unit, in a model of one piece. */
static void a_normaliser_table_that_points_outside_is_refused(void **state)
{
    (void)state;
    uint8_t model[] = { 0x0a, 3,    0x0a, 1, 'a', /* pieces { piece: "a" } */
                        0x1a, 11,   0x12, 9,      /* normalizer_spec { precompiled_charsmap } */
                        4,    0,    0,    0,      /* trie of 4 bytes */
                        0,    0x04, 0,    0,      /* a unit with offset 1 */
                        0 };
    bool at_spaces = false;
    struct error err = { 0 };
    assert_int_equal(spm_check(model, sizeof model, 10, 10, &at_spaces, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_FORMAT);
    assert_non_null(strstr(err.text, "outside"));
}

/* A sound model with `more` behind it, which the format merges into what stands there. */
static bool may_pause_with(const char *more, size_t more_size)
{
    size_t size = 0;
    uint8_t *model = test_read_file(MODEL, &size);
    uint8_t *longer = malloc(size + more_size);
    bool at_spaces = false;
    struct error err = { 0 };
    assert_non_null(longer);
    memcpy(longer, model, size);
    memcpy(longer + size, more, more_size);
    assert_int_equal(spm_check(longer, size + more_size, 1000000, 4096, &at_spaces, &err), ST_OK);
    free(model);
    free(longer);
    return at_spaces;
}

static void a_model_that_sees_across_spaces_is_told_from_one_that_does_not(void **state)
{
    (void)state;
    assert_true(may_pause_with("", 0));
    assert_true(may_pause_with("\x0a\x06\x0a\x04\xe2\x96\x81q", 8));  /* piece "_q" */
    assert_false(may_pause_with("\x0a\x06\x0a\x04q\xe2\x96\x81", 8)); /* piece "q_" */
    assert_false(may_pause_with("\x0a\x05\x0a\x01q\x18\x04", 7));     /* user-defined */
    assert_false(may_pause_with("\x12\x02\x18\x01", 4));              /* unigram */
    assert_false(may_pause_with("\x1a\x02\x20\x01", 4));              /* removes spaces */
    assert_false(may_pause_with("\x1a\x02\x18\x00", 4));              /* no dummy prefix */
    assert_false(may_pause_with("\x12\x03\xc0\x01\x01", 5));          /* spaces behind words */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bare_and_packed_ids_equal_the_reference_texts),
        cmocka_unit_test(variants_equal_the_reference_templates),
        cmocka_unit_test(special_strings_in_text_never_become_special_ids),
        cmocka_unit_test(a_model_cut_or_flipped_anywhere_is_refused_or_still_safe),
        cmocka_unit_test(a_model_that_sees_across_spaces_is_told_from_one_that_does_not),
        cmocka_unit_test(a_normaliser_table_that_points_outside_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
