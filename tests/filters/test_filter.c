/* tests/filters/test_filter.c: documents and captions get the fate of the reference cases. Which
 * records are damaged is the sources' to say, so cases of outcome "error" are left to them. */
#include "tests/support/support.h"

#include "tests/support/jsonl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filters/filter.h"

static struct text text_of(const struct json_value *v)
{
    return v && v->type == JSON_T_STRING ? (struct text){ v->text, v->size } : (struct text){ 0 };
}

static void fill_image(struct document_image *m, const struct json_value *v)
{
    const struct json_value *name = json_get(v, "image_name"), *sim = json_get(v, "matched_sim");
    *m = (struct document_image){ .usable = name && name->type == JSON_T_STRING };
    if (!m->usable)
        return;
    m->name = text_of(name);
    m->has_similarity = sim && sim->type == JSON_T_NUMBER;
    m->similarity = m->has_similarity ? sim->number : 0.0;
    const struct json_value *index = json_get(v, "matched_text_index");
    m->has_sentence = index && json_value_int64(index, &m->sentence);
}

/* False where the record is damaged. */
static bool fill_document(struct document *d, struct arena *a, const struct json_value *raw)
{
    const struct json_value *texts = json_get(raw, "text_list"),
                            *infos = json_get(raw, "image_info");
    if (!texts || !infos || texts->type != JSON_T_ARRAY || infos->type != JSON_T_ARRAY)
        return false;
    struct text *sentences = arena_alloc(a, texts->count + 1, sizeof *sentences);
    struct document_image *images = arena_alloc(a, infos->count + 1, sizeof *images);
    d->arena = a;
    d->sentences = sentences;
    d->images = images;
    for (const struct json_value *v = texts->child; v; v = v->next)
        sentences[d->sentence_count++] = text_of(v);
    for (const struct json_value *v = infos->child; v; v = v->next)
        fill_image(&images[d->image_count++], v);
    return true;
}

static void expect_list(const struct json_value *c, const char *member, const void *data, size_t n,
                        size_t width, unsigned line)
{
    const struct json_value *list = jsonl_get(c, member);
    size_t i = 0;
    if (list->count != n)
        fail_msg("line %u: %zu %s, want %zu", line, n, member, list->count);
    for (const struct json_value *v = list->child; v; v = v->next, i++) {
        uint64_t got = 0;
        memcpy(&got, (const uint8_t *)data + i * width, width);
        if (got != strtoull(v->text, NULL, 10))
            fail_msg("line %u: %s[%zu] is %llu, want %s", line, member, i, (unsigned long long)got,
                     v->text);
    }
}

static void expect_dropped(const struct json_value *c, const struct filter_result *r, unsigned line)
{
    for (const struct json_value *v = jsonl_get(c, "dropped_images")->child; v; v = v->next) {
        const size_t index = strtoul(v->child->text, NULL, 10);
        const char *name = filter_reason_name(r->images[index].reason),
                   *want = v->child->next->text;
        const bool same = strcmp(want, "schema") == 0 ? strcmp(name, "F2-schema") == 0
                          : strcmp(want, "F2a") == 0  ? strcmp(name, "F2-index") == 0
                                                      : strcmp(name, "F1-similarity") == 0;
        if (!same)
            fail_msg("line %u: image %zu dropped by %s, want %s", line, index, name, want);
    }
}

static void expect_result(const struct json_value *c, const struct filter_result *r, unsigned line)
{
    expect_dropped(c, r, line);
    expect_list(c, "survivors", r->survivors, r->survivor_count, sizeof *r->survivors, line);
    if (json_get(c, "walk"))
        expect_list(c, "walk", r->walk, r->survivor_count, sizeof *r->walk, line);
    if (jsonl_is(c, "outcome", "drop")) {
        const char *rule = jsonl_get(c, "rule")->text;
        if (strncmp(filter_reason_name(r->reason), rule, strlen(rule)) != 0)
            fail_msg("line %u: %s, want %s", line, filter_reason_name(r->reason), rule);
        return;
    }
    if (r->reason != FILTER_NONE)
        fail_msg("line %u: dropped by %s", line, filter_reason_name(r->reason));
    const struct json_value *images = jsonl_get(c, "images");
    size_t i = 0;
    assert_int_equal(images->count, r->place_count);
    for (const struct json_value *v = images->child; v; v = v->next, i++) {
        assert_int_equal(r->places[i].index, jsonl_int(v, "index"));
        assert_int_equal(r->places[i].sentence, jsonl_int(v, "sentence"));
        assert_int_equal(r->places[i].before, jsonl_get(v, "before")->boolean);
    }
}

static void documents_get_the_fate_of_the_reference_cases(void **state)
{
    (void)state;
    struct jsonl f;
    unsigned n = 0;
    jsonl_open(&f, TEST_GOLDENS "/data/text/mmc4.jsonl");
    for (const struct json_value *c; (c = jsonl_next(&f)); n++) {
        if (jsonl_is(c, "outcome", "error"))
            continue;
        struct json_value *raw = NULL;
        struct document d = { 0 };
        struct filter_options opt;
        struct filter_result r;
        struct error err = { 0 };
        const struct json_value *line = jsonl_get(c, "raw");
        assert_int_equal(json_parse(&f.arena, &raw, line->text, line->size, NULL, &err), ST_OK);
        assert_true(fill_document(&d, &f.arena, raw));
        d.file = text_of(jsonl_get(c, "file"));
        d.line = (uint64_t)jsonl_int(c, "line");
        filter_options_init(&opt);
        opt.seed = jsonl_u64(c, "seed");
        assert_int_equal(filter_interleaved(&r, &d, &opt, NULL, &err), ST_OK);
        expect_result(c, &r, f.line);
    }
    assert_true(n >= 400);
    jsonl_close(&f);
}

static enum document_caption caption_of(struct document *d, struct arena *a,
                                        const struct json_value *v)
{
    struct text *list = arena_alloc(a, v && v->count ? v->count : 1, sizeof *list);
    d->sentences = list;
    if (!v)
        return DOCUMENT_CAPTION_ABSENT;
    if (v->type == JSON_T_STRING) {
        list[d->sentence_count++] = text_of(v);
        return DOCUMENT_CAPTION_STRING;
    }
    if (v->type != JSON_T_ARRAY)
        return DOCUMENT_CAPTION_OTHER;
    for (const struct json_value *e = v->child; e; e = e->next) {
        if (e->type != JSON_T_STRING)
            return DOCUMENT_CAPTION_OTHER;
        list[d->sentence_count++] = text_of(e);
    }
    return DOCUMENT_CAPTION_LIST;
}

static void captions_get_the_fate_of_the_reference_cases(void **state)
{
    (void)state;
    struct jsonl f;
    unsigned n = 0;
    jsonl_open(&f, TEST_GOLDENS "/data/text/captions.jsonl");
    for (const struct json_value *c; (c = jsonl_next(&f)); n++) {
        struct json_value *sample = NULL;
        struct document d = { .arena = &f.arena, .kind = DOCUMENT_PAIR };
        struct filter_options opt;
        struct error err = { 0 };
        const struct json_value *json = jsonl_get(c, "json");
        enum filter_reason reason = FILTER_NONE;
        struct text caption;
        uint64_t points = 0;
        assert_int_equal(json_parse(&f.arena, &sample, json->text, json->size, NULL, &err), ST_OK);
        d.caption = caption_of(&d, &f.arena, json_get(sample, "caption"));
        filter_options_init(&opt);
        assert_int_equal(filter_caption(&reason, &caption, &points, &d, &opt, NULL, NULL, &err),
                         ST_OK);
        const char *want = jsonl_is(c, "outcome", "keep") ? "" : jsonl_get(c, "rule")->text;
        if (strncmp(filter_reason_name(reason), want, *want ? strlen(want) : 1) != 0)
            fail_msg("line %u: %s, want %s", f.line, filter_reason_name(reason), want);
        if (!json_get(c, "caption"))
            continue;
        const struct text text = text_of(jsonl_get(c, "caption"));
        if (text.size != caption.size || memcmp(text.data, caption.data, text.size) != 0)
            fail_msg("line %u: caption '%s', want '%s'", f.line, caption.data, text.data);
        assert_int_equal(points, jsonl_int(c, "code_points"));
    }
    assert_true(n >= 128);
    jsonl_close(&f);
}

/* ---- pictures that are missing or bad ---- */

struct world {
    uint32_t missing, bad; /* bit i: images[i] */
    unsigned verified;
};

static enum status world_exists(void *arg, const struct document *d, uint32_t index,
                                struct filter_image *image, struct error *err)
{
    const struct world *w = arg;
    (void)d;
    (void)err;
    if (!(w->missing >> index & 1))
        return ST_OK;
    *image = (struct filter_image){ FILTER_DROPPED, FILTER_F2_MISSING };
    return ST_SKIP;
}

static enum status world_verify(void *arg, const struct document *d, uint32_t index,
                                struct filter_image *image, struct error *err)
{
    struct world *w = arg;
    (void)d;
    (void)err;
    w->verified++;
    if (!(w->bad >> index & 1))
        return ST_OK;
    *image = (struct filter_image){ FILTER_QUARANTINED, FILTER_NONE };
    return ST_SKIP;
}

static void run_world(struct filter_result *r, struct world *w, uint32_t images, double keep,
                      struct arena *a)
{
    static struct document_image list[16];
    static const struct text sentence = { "a", 1 };
    struct document d = { .arena = a,
                          .file = { "f", 1 },
                          .sentences = &sentence,
                          .sentence_count = 1,
                          .images = list,
                          .image_count = images };
    struct filter_options opt;
    struct error err = { 0 };
    const struct filter_pictures pictures = { world_exists, world_verify, w };
    for (uint32_t i = 0; i < images; i++)
        list[i] = (struct document_image){
            .usable = true, .has_sentence = true, .has_similarity = true, .similarity = 0.24
        };
    filter_options_init(&opt);
    opt.keep_single = keep;
    w->verified = 0;
    assert_int_equal(filter_interleaved(r, &d, &opt, &pictures, &err), ST_OK);
}

/* ---- draws over many records ---- */

/* A document of `count` equal images at sentence 0, on line `line`. */
static struct document many_images(struct document_image *list, uint32_t count, uint64_t line,
                                   struct arena *a)
{
    static const struct text sentence = { "a", 1 };
    for (uint32_t i = 0; i < count; i++)
        list[i] = (struct document_image){
            .usable = true, .has_sentence = true, .has_similarity = true, .similarity = 0.3
        };
    return (struct document){ .arena = a,
                              .file = { "docs_no_face_shard_1_v3", 23 },
                              .line = line,
                              .sentences = &sentence,
                              .sentence_count = 1,
                              .images = list,
                              .image_count = count };
}

static void coins_are_fair_over_many_records(void **state)
{
    (void)state;
    enum { RECORDS = 100000 };
    struct document_image list[1];
    struct filter_options opt;
    struct filter_result r;
    struct error err = { 0 };
    struct arena a;
    unsigned kept = 0, before = 0, pairs = 0;
    arena_init(&a, 0);
    filter_options_init(&opt);
    const struct arena_mark start = arena_mark(&a);
    for (uint64_t line = 0; line < RECORDS; line++) {
        char key[16];
        struct document d = many_images(list, 1, line, &a);
        assert_int_equal(filter_interleaved(&r, &d, &opt, NULL, &err), ST_OK);
        kept += r.reason == FILTER_NONE;
        opt.keep_single = 1.0;
        assert_int_equal(filter_interleaved(&r, &d, &opt, NULL, &err), ST_OK);
        before += r.places[0].before;
        opt.keep_single = 0.5;
        const int n = snprintf(key, sizeof key, "%010u", (unsigned)line);
        d.kind = DOCUMENT_PAIR;
        d.key = (struct text){ key, (size_t)n };
        pairs += filter_pair_before(&d, 0);
        arena_release(&a, start);
    }
    arena_clear(&a);
    assert_in_range(kept, RECORDS / 2 - 500, RECORDS / 2 + 500);
    assert_in_range(before, RECORDS / 2 - 500, RECORDS / 2 + 500);
    assert_in_range(pairs, RECORDS / 2 - 500, RECORDS / 2 + 500);
}

static void every_subset_of_the_images_is_as_likely(void **state)
{
    (void)state;
    enum { IMAGES = 8, KEPT = 6, SUBSETS = 28, EACH = 1000 };
    struct document_image list[IMAGES];
    unsigned counts[1 << IMAGES] = { 0 }, seen = 0;
    struct filter_options opt;
    struct filter_result r;
    struct error err = { 0 };
    struct arena a;
    double chi = 0.0;
    arena_init(&a, 0);
    filter_options_init(&opt);
    const struct arena_mark start = arena_mark(&a);
    for (uint64_t line = 0; line < SUBSETS * EACH; line++) {
        const struct document d = many_images(list, IMAGES, line, &a);
        unsigned subset = 0;
        assert_int_equal(filter_interleaved(&r, &d, &opt, NULL, &err), ST_OK);
        assert_int_equal(r.place_count, KEPT);
        for (size_t i = 0; i < KEPT; i++)
            subset |= 1u << r.places[i].index;
        counts[subset]++;
        arena_release(&a, start);
    }
    arena_clear(&a);
    for (unsigned s = 0; s < 1u << IMAGES; s++) {
        const double off = (double)counts[s] - EACH;
        seen += counts[s] > 0;
        chi += counts[s] > 0 ? off * off / EACH : 0.0;
    }
    assert_int_equal(seen, SUBSETS);
    assert_true(chi < 55.5); /* 27 degrees of freedom, one in a thousand */
}

/* Eleven images, the similarity of image i from `sims`. */
static void pick_some(struct filter_result *r, enum filter_pick pick, struct world *w,
                      struct arena *a)
{
    static const double sims[11] = { 0.3, 0.31, 0.3, 0.9, 0.25, 0.3, 0.26, 0.8, 0.24, 0.3, 0.27 };
    static struct document_image list[11];
    static const struct text sentence = { "a", 1 };
    struct document d = { .arena = a,
                          .file = { "f", 1 },
                          .sentences = &sentence,
                          .sentence_count = 1,
                          .images = list,
                          .image_count = 11 };
    struct filter_options opt;
    struct error err = { 0 };
    const struct filter_pictures pictures = { world_exists, world_verify, w };
    for (uint32_t i = 0; i < 11; i++)
        list[i] = (struct document_image){
            .usable = true, .has_sentence = true, .has_similarity = true, .similarity = sims[i]
        };
    filter_options_init(&opt);
    opt.pick = pick;
    assert_int_equal(filter_interleaved(r, &d, &opt, &pictures, &err), ST_OK);
}

static uint32_t kept_of(const struct filter_result *r)
{
    uint32_t kept = 0;
    for (int i = 0; i < 11; i++)
        kept |= (uint32_t)(r->images[i].fate == FILTER_KEPT) << i;
    return kept;
}

static void the_first_or_the_most_similar_images_stay_by_option(void **state)
{
    (void)state;
    struct arena a;
    struct filter_result r;
    struct world sound = { 0 }, bad = { .missing = 0x002, .bad = 0x008 };
    arena_init(&a, 0);
    pick_some(&r, FILTER_PICK_FIRST, &sound, &a);
    assert_int_equal(kept_of(&r), 0x03f);
    pick_some(&r, FILTER_PICK_FIRST, &bad, &a); /* 1 is missing, 3 is bad: 6 and 7 move up */
    assert_int_equal(kept_of(&r), 0x0f5);
    pick_some(&r, FILTER_PICK_TOP_SIM, &sound, &a); /* 3, 7, 1, then of the equal 0, 2, 5 */
    assert_int_equal(kept_of(&r), 0x0af);
    pick_some(&r, FILTER_PICK_TOP_SIM, &bad, &a); /* then 9 and 10 */
    assert_int_equal(kept_of(&r), 0x6a5);
    arena_clear(&a);
}

static enum status seven_tokens(void *arg, uint64_t *tokens, const struct text *caption,
                                struct error *err)
{
    (void)err;
    *tokens = 7;
    *(size_t *)arg = caption->size;
    return ST_OK;
}

static void a_caption_is_measured_by_the_unit_of_the_option(void **state)
{
    (void)state;
    static const struct text text = { "  Two  CUPS of\ttea ", 19 };
    static const struct {
        enum filter_unit unit;
        uint32_t least;
        uint64_t length;
        bool kept;
    } cases[] = { { FILTER_CHARACTERS, 15, 15, true }, { FILTER_CHARACTERS, 16, 15, false },
                  { FILTER_WORDS, 4, 4, true },        { FILTER_WORDS, 5, 4, false },
                  { FILTER_TOKENS, 7, 7, true },       { FILTER_TOKENS, 8, 7, false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct arena a;
        arena_init(&a, 0);
        struct document d = { .arena = &a,
                              .kind = DOCUMENT_PAIR,
                              .caption = DOCUMENT_CAPTION_STRING,
                              .sentences = &text,
                              .sentence_count = 1 };
        enum filter_reason reason = FILTER_NONE;
        struct filter_options opt;
        struct text caption;
        struct error err = { 0 };
        uint64_t length = 0;
        size_t size = 0;
        filter_options_init(&opt);
        opt.caption_unit = cases[i].unit;
        opt.min_caption = cases[i].least;
        assert_int_equal(
            filter_caption(&reason, &caption, &length, &d, &opt, seven_tokens, &size, &err), ST_OK);
        assert_string_equal(caption.data, "two cups of tea");
        assert_int_equal(length, cases[i].length);
        assert_int_equal(reason, cases[i].kept ? FILTER_NONE : FILTER_F7_SHORT_CAPTION);
        assert_int_equal(size, cases[i].unit == FILTER_TOKENS ? 15 : 0);
        arena_clear(&a);
    }
}

static void sides_aspect_and_bytes_of_a_picture_have_limits(void **state)
{
    (void)state;
    struct filter_options opt;
    struct error err = { 0 };
    filter_options_init(&opt);
    assert_int_equal(filter_picture(&opt, 10, 16000, 1), FILTER_NONE);
    assert_int_equal(filter_picture(&opt, 9, 16000, 1), FILTER_F11_SIZE);
    assert_int_equal(filter_picture(&opt, 16000, 9, 1), FILTER_F11_SIZE);
    opt.min_side = 64;
    opt.max_aspect = 2.5;
    opt.min_bytes = 1000;
    assert_int_equal(filter_options_check(&opt, &err), ST_OK);
    assert_int_equal(filter_picture(&opt, 64, 160, 1000), FILTER_NONE);
    assert_int_equal(filter_picture(&opt, 63, 100, 1000), FILTER_F11_SIZE);
    assert_int_equal(filter_picture(&opt, 161, 64, 1000), FILTER_F11_ASPECT);
    assert_int_equal(filter_picture(&opt, 64, 160, 999), FILTER_F11_BYTES);
    opt.max_aspect = 0.5;
    assert_int_equal(filter_options_check(&opt, &err), ST_FAIL);
}

static void disagreements_with_the_matrix_are_counted(void **state)
{
    (void)state;
    struct document_image list[] = {
        { .usable = true,
          .has_similarity = true,
          .similarity = 0.3,
          .has_matrix = true,
          .matrix = 0.30009 },
        { .usable = true,
          .has_similarity = true,
          .similarity = 0.3,
          .has_matrix = true,
          .matrix = 0.30011 },
        { .usable = true, .has_similarity = true, .similarity = 0.3 },
        { .usable = true,
          .has_similarity = true,
          .similarity = (double)NAN,
          .has_matrix = true,
          .matrix = (double)NAN },
        { .usable = true,
          .has_similarity = true,
          .similarity = (double)NAN,
          .has_matrix = true,
          .matrix = 0.3 },
        { .usable = true, .has_matrix = true, .matrix = 0.3 },
        { .usable = true,
          .has_similarity = true,
          .similarity = (double)INFINITY,
          .has_matrix = true,
          .matrix = (double)INFINITY },
    };
    const struct document d = { .images = list, .image_count = sizeof list / sizeof *list };
    assert_int_equal(filter_disagreements(&d), 2);
}

static void a_bad_picture_is_replaced_by_the_next_of_the_walk(void **state)
{
    (void)state;
    struct arena a;
    struct filter_result r;
    struct world w = { .bad = 0x2b }; /* 0, 1, 3 and 5 of 11 */
    unsigned kept = 0, dropped = 0, bad = 0;
    arena_init(&a, 0);
    run_world(&r, &w, 11, 0.5, &a);
    assert_int_equal(r.reason, FILTER_NONE);
    assert_int_equal(r.place_count, 6);
    for (int i = 0; i < 11; i++) {
        kept += r.images[i].fate == FILTER_KEPT;
        dropped += r.images[i].reason == FILTER_F4_MAX_IMAGES;
        bad += r.images[i].fate == FILTER_QUARANTINED;
    }
    assert_int_equal(kept, 6);
    assert_int_equal(kept + dropped + bad, 11);
    assert_int_equal(w.verified, kept + bad); /* nothing past the sixth good one is decoded */
    arena_clear(&a);
}

static void a_single_image_is_drawn_once_and_before_decoding(void **state)
{
    (void)state;
    struct arena a;
    struct filter_result r;
    arena_init(&a, 0);
    struct world one = { .missing = 2 }; /* 1 of 2 is there */
    run_world(&r, &one, 2, 0.0, &a);
    assert_int_equal(r.reason, FILTER_F5_SINGLE_IMAGE);
    assert_int_equal(one.verified, 0);
    struct world falls = { .bad = 3 }; /* 1 of 3 is sound */
    run_world(&r, &falls, 3, 0.0, &a);
    assert_int_equal(r.reason, FILTER_F5_SINGLE_IMAGE);
    assert_int_equal(falls.verified, 3);
    run_world(&r, &falls, 3, 1.0, &a);
    assert_int_equal(r.reason, FILTER_NONE);
    struct world none = { .bad = 7 };
    run_world(&r, &none, 3, 1.0, &a);
    assert_int_equal(r.reason, FILTER_F3_NO_IMAGE);
    struct world gone = { .missing = 7 };
    run_world(&r, &gone, 3, 1.0, &a);
    assert_int_equal(r.reason, FILTER_F3_NO_IMAGE);
    assert_int_equal(r.images[2].reason, FILTER_F2_MISSING);
    arena_clear(&a);
}

static void only_equal_url_and_sentences_are_duplicates(void **state)
{
    (void)state;
    const struct text ab[] = { { "a", 1 }, { "b", 1 } }, joined[] = { { "ab", 2 } },
                      moved[] = { { "", 0 }, { "ab", 2 } };
    struct document d = { .url = { "u", 1 }, .sentences = ab, .sentence_count = 2 };
    uint8_t first[16], other[16];
    struct error err = { 0 };
    assert_int_equal(filter_identity(first, &d, &err), ST_OK);
    assert_int_equal(filter_identity(other, &d, &err), ST_OK);
    assert_memory_equal(first, other, 16);
    d.sentences = joined;
    d.sentence_count = 1;
    assert_int_equal(filter_identity(other, &d, &err), ST_OK);
    assert_memory_not_equal(first, other, 16);
    d.sentences = moved;
    d.sentence_count = 2;
    assert_int_equal(filter_identity(other, &d, &err), ST_OK);
    assert_memory_not_equal(first, other, 16);
    d = (struct document){ .url = { "v", 1 }, .sentences = ab, .sentence_count = 2 };
    assert_int_equal(filter_identity(other, &d, &err), ST_OK);
    assert_memory_not_equal(first, other, 16);
}

static void every_reason_has_a_name_that_finds_it(void **state)
{
    (void)state;
    for (int r = 1; r < FILTER_REASONS; r++) {
        const char *name = filter_reason_name((enum filter_reason)r);
        assert_non_null(name);
        assert_int_equal(filter_reason_find(name, strlen(name)), r);
    }
    assert_int_equal(filter_reason_find("F99", 3), FILTER_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_get_the_fate_of_the_reference_cases),
        cmocka_unit_test(captions_get_the_fate_of_the_reference_cases),
        cmocka_unit_test(coins_are_fair_over_many_records),
        cmocka_unit_test(every_subset_of_the_images_is_as_likely),
        cmocka_unit_test(the_first_or_the_most_similar_images_stay_by_option),
        cmocka_unit_test(a_caption_is_measured_by_the_unit_of_the_option),
        cmocka_unit_test(sides_aspect_and_bytes_of_a_picture_have_limits),
        cmocka_unit_test(disagreements_with_the_matrix_are_counted),
        cmocka_unit_test(a_bad_picture_is_replaced_by_the_next_of_the_walk),
        cmocka_unit_test(a_single_image_is_drawn_once_and_before_decoding),
        cmocka_unit_test(only_equal_url_and_sentences_are_duplicates),
        cmocka_unit_test(every_reason_has_a_name_that_finds_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
