/* tests/ingest/test_piece.c: documents become the reference pieces (spec data.md 4.4 step 1). */
#include "tests/support/support.h"

#include "tests/support/jsonl.h"

#include <stdlib.h>
#include <string.h>

#include "ingest/piece.h"

struct check {
    const struct json_value *next; /* expected piece */
    unsigned line, pieces;
};

static enum status compare_piece(void *arg, const struct piece *p, struct error *err)
{
    struct check *k = arg;
    (void)err;
    if (!k->next)
        fail_msg("line %u: more pieces than expected", k->line);
    assert_int_equal(p->number, k->pieces);
    assert_int_equal(p->cont, jsonl_int(k->next, "cont") != 0);
    const struct json_value *ids = jsonl_get(k->next, "ids"),
                            *images = jsonl_get(k->next, "images");
    if (ids->count != p->count || images->count != p->image_count)
        fail_msg("line %u piece %u: %zu ids and %zu images, want %zu and %zu", k->line, k->pieces,
                 p->count, p->image_count, ids->count, images->count);
    size_t i = 0;
    for (const struct json_value *v = ids->child; v; v = v->next, i++)
        if (strtol(v->text, NULL, 10) != p->ids[i])
            fail_msg("line %u piece %u: id %zu: %d, want %s", k->line, k->pieces, i, p->ids[i],
                     v->text);
    i = 0;
    for (const struct json_value *v = images->child; v; v = v->next, i++)
        assert_int_equal(strtol(v->text, NULL, 10), p->images[i].place);
    k->next = k->next->next;
    k->pieces++;
    return ST_OK;
}

static void run_document(struct piece_maker *m, const struct json_value *c, struct check *k)
{
    struct text sentences[512];
    struct filter_place places[512];
    struct error err = { 0 };
    size_t n = 0, places_n = 0;

    for (const struct json_value *v = jsonl_get(c, "text_list")->child; v; v = v->next) {
        assert_true(n < 512);
        sentences[n++] = (struct text){ v->text, v->size };
    }
    for (const struct json_value *v = jsonl_get(c, "images")->child; v; v = v->next) {
        assert_true(places_n < 512);
        places[places_n] =
            (struct filter_place){ (uint32_t)places_n, (uint32_t)jsonl_int(v, "sentence"),
                                   jsonl_get(v, "before")->boolean };
        places_n++;
    }
    if (piece_document(m, sentences, n, places, places_n, compare_piece, k, &err) != ST_OK)
        fail_msg("line %u: %s", k->line, err.text);
}

static void documents_become_the_reference_pieces(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    struct error err = { 0 };
    struct jsonl f;
    unsigned n = 0, split = 0;

    assert_int_equal(tokenizer_open(&t, TEST_GOLDENS "/data/tokenizer/tokenizer.model", NULL, &err),
                     ST_OK);
    jsonl_open(&f, TEST_GOLDENS "/data/tokenizer/documents.jsonl");
    for (const struct json_value *c; (c = jsonl_next(&f)); n++) {
        struct piece_options opt;
        struct piece_maker m;
        piece_options_init(&opt);
        opt.seq_len = (uint32_t)jsonl_int(c, "N");
        opt.max_images = (uint32_t)jsonl_int(c, "M");
        piece_maker_init(&m, t, &opt);
        struct check k = { jsonl_get(c, "pieces")->child, f.line, 0 };
        if (jsonl_is(c, "kind", "mmc4")) {
            run_document(&m, c, &k);
        } else {
            const struct json_value *v = jsonl_get(c, "caption");
            const struct text caption = { v->text, v->size };
            assert_int_equal(
                piece_pair(&m, &caption, jsonl_get(c, "before")->boolean, compare_piece, &k, &err),
                ST_OK);
        }
        assert_null(k.next);
        split += k.pieces > 1;
        piece_maker_clear(&m);
    }
    assert_true(n > 200 && split > 10);
    jsonl_close(&f);
    tokenizer_close(&t);
}

static enum status check_bounds(void *arg, const struct piece *p, struct error *err)
{
    const struct piece_options *opt = arg;
    (void)err;
    assert_in_range(p->count, 1, opt->seq_len);
    assert_in_range(p->image_count, 0, opt->max_images);
    for (size_t i = 0; i < p->image_count; i++)
        assert_in_range((size_t)p->images[i].soi + opt->image_tokens, 1, p->count - 1);
    return ST_OK;
}

static void no_piece_passes_the_limits_whatever_the_document(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    struct error err = { 0 };
    static const char words[] = "pond liner frogs iris edge water tea boat tray pier";
    uint32_t x = 12345;

    assert_int_equal(tokenizer_open(&t, TEST_GOLDENS "/data/tokenizer/tokenizer.model", NULL, &err),
                     ST_OK);
    for (int trial = 0; trial < 300; trial++) {
        struct text sentences[12];
        struct filter_place places[40];
        struct piece_options opt = { 24 + (uint32_t)trial % 60, 1 + (uint32_t)trial % 5, 7 };
        struct piece_maker m;
        size_t n = 0, k = 0;
        for (; n < 1 + (size_t)trial % 12; n++) {
            x = x * 1664525u + 1013904223u;
            sentences[n] = (struct text){ words, (x >> 8) % sizeof words };
            for (uint32_t i = (x >> 20) % 4; i > 0 && k < 40; i--, k++)
                places[k] = (struct filter_place){ (uint32_t)k, (uint32_t)n, i > 1 };
        }
        piece_maker_init(&m, t, &opt);
        assert_int_equal(piece_document(&m, sentences, n, places, k, check_bounds, &opt, &err),
                         ST_OK);
        piece_maker_clear(&m);
    }
    tokenizer_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_the_reference_pieces),
        cmocka_unit_test(no_piece_passes_the_limits_whatever_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
