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

/* ---- growing pieces against pieces built at once ---- */

struct growing {
    const struct tokenizer *t;
    const struct piece_options *opt;
    const struct text *sentences;
    const struct filter_place *places;
    size_t n, place_count;
    size_t unit, place; /* where the next piece begins */
    unsigned pieces;
};

/* A whole segment by the template: one space off next to a slot, then the tokenizer's rules. */
static void put_segment(const struct growing *g, struct id_list *ids, struct buffer *text,
                        bool after, bool before)
{
    struct error err = { 0 };
    const char *p = (const char *)text->data;
    size_t size = text->size;
    if (after && size > 0 && p[0] == ' ') {
        p++;
        size--;
    }
    size -= before && size > 0 && p[size - 1] == ' ';
    if (size > 0)
        assert_int_equal(tokenizer_encode_segment(g->t, ids, p, size, after, &err), ST_OK);
    text->size = 0;
}

/* Units [g->unit, end) at once. Returns the places used. */
static size_t build_at_once(const struct growing *g, struct id_list *ids, size_t end)
{
    const struct special_ids *s = tokenizer_special(g->t);
    struct buffer text = { 0 };
    struct error err = { 0 };
    bool after = false;
    size_t k = g->place;
    ids->size = 0;
    id_list_push(ids, s->bos, 1, &err);
    for (size_t u = g->unit; u < end; u++) {
        size_t last = k;
        while (last < g->place_count && g->places[last].sentence == u)
            last++;
        buffer_append(&text, " ", u > g->unit, &err);
        for (int side = 0; side < 2; side++) {
            if (side == 1)
                buffer_append(&text, g->sentences[u].data, g->sentences[u].size, &err);
            for (size_t i = k; i < last; i++) {
                if (g->places[i].before != (side == 0))
                    continue;
                put_segment(g, ids, &text, after, true);
                id_list_push(ids, s->soi, 1, &err);
                id_list_push(ids, s->sniffer, g->opt->image_tokens, &err);
                after = true;
            }
        }
        k = last;
    }
    put_segment(g, ids, &text, after, false);
    if (end == g->n)
        id_list_push(ids, s->eos, 1, &err);
    buffer_clear(&text);
    return k - g->place;
}

static bool equals(const struct id_list *ids, size_t images, const struct piece *p)
{
    return ids->size == p->count && images == p->image_count &&
           memcmp(ids->data, p->ids, p->count * sizeof *p->ids) == 0;
}

/* The piece is that of the most units that fit, built at once. */
static enum status check_greedy(void *arg, const struct piece *p, struct error *err)
{
    struct growing *g = arg;
    struct id_list ids = { 0 };
    size_t end = g->unit, used = 0;
    bool equal = false;
    (void)err;
    assert_int_equal(p->number, g->pieces++);
    while (end < g->n) {
        const size_t more = build_at_once(g, &ids, end + 1);
        if (ids.size > g->opt->seq_len || more > g->opt->max_images)
            break;
        equal = equals(&ids, more, p);
        used = more;
        end++;
    }
    if (!equal)
        fail_msg("piece %u of units %zu to %zu differs", p->number, g->unit, end);
    for (size_t i = 0; i < used; i++)
        assert_in_range(p->images[i].place, g->place, g->place + used - 1);
    g->unit = end;
    g->place += used;
    id_list_clear(&ids);
    return ST_OK;
}

static void a_piece_that_grows_equals_one_built_at_once(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "The pond liner.",
        "",
        " leads with a space",
        "ends with one ",
        "\xc2\xa0hard\xc2\xa0",
        "\t",
        "a\xe2\x96\x81mark\xe2\x96\x81",
        "\xe7\xbb\x99",
        "\xf0\x9f\x90\xb8 frog",
        "woman in",
        "  ",
        "iris\n",
        "\xe3\x80\x80wide",
        "</s> no end",
        "7 12 2048",
        "x",
    };
    enum { TEXTS = sizeof texts / sizeof *texts };
    uint32_t x = 7;
    unsigned pieces = 0;
    for (int variant = TOKENIZER_A; variant <= TOKENIZER_C; variant++) {
        struct tokenizer_options o;
        struct tokenizer *t = NULL;
        struct error err = { 0 };
        tokenizer_options_init(&o);
        o.variant = (enum tokenizer_variant)variant;
        assert_int_equal(
            tokenizer_open(&t, TEST_GOLDENS "/data/tokenizer/tokenizer.model", &o, &err), ST_OK);
        for (unsigned trial = 0; trial < 300; trial++) {
            struct text sentences[60];
            struct filter_place places[180];
            struct piece_options opt = { 50 + trial % 60, 1 + trial % 4, 5 };
            struct piece_maker m;
            size_t n = 0, k = 0;
            for (; n < 5 + trial % 55; n++) {
                x = x * 1664525u + 1013904223u;
                const char *s = texts[(x >> 10) % TEXTS];
                sentences[n] = (struct text){ s, strlen(s) };
                if ((x >> 20) % 4 == 0) {
                    places[k] = (struct filter_place){ (uint32_t)k, (uint32_t)n, (x >> 23) & 1 };
                    k++;
                }
            }
            struct growing g = { t, &opt, sentences, places, n, k, 0, 0, 0 };
            piece_maker_init(&m, t, &opt);
            assert_int_equal(piece_document(&m, sentences, n, places, k, check_greedy, &g, &err),
                             ST_OK);
            assert_int_equal(g.unit, n);
            pieces += g.pieces;
            piece_maker_clear(&m);
        }
        tokenizer_close(&t);
    }
    assert_true(pieces > 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_become_the_reference_pieces),
        cmocka_unit_test(a_piece_that_grows_equals_one_built_at_once),
        cmocka_unit_test(no_piece_passes_the_limits_whatever_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
