/* tests/ingest/test_faults.c: tokenizer, pieces, packer and whole runs of ingest while each of their
 * allocations and system calls fails: a cause that says so, nothing half-written, and the same command
 * afterwards ends with the same bytes. */
#include "tests/support/support.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "ingest/ingest.h"
#include "ingest/packer.h"
#include "shards/dataset.h"

#define MODEL TEST_GOLDENS "/data/tokenizer/tokenizer.model"
static char *folder, *docs, *pictures;

/* ---- tokenizer ---- */

static void opening_a_tokenizer_survives_every_failure(void **state)
{
    (void)state;
    for (int files = 0; files < 2; files++) {
        struct tokenizer *t = NULL;
        uint64_t k = 0;
        while (!t) {
            struct error err = { 0 };
            mem_fail_at(files ? 0 : ++k, false);
            file_fail_at(files ? ++k : 0, EIO, false);
            const enum status st = tokenizer_open(&t, MODEL, NULL, &err);
            mem_fail_at(0, false);
            file_fail_at(0, 0, false);
            assert_true((st == ST_OK) == (t != NULL));
            if (st != ST_OK)
                assert_int_equal(err.cause, files ? CAUSE_IO : CAUSE_NOMEM);
            assert_true(k < 1000);
        }
        assert_true(k > 2);
        tokenizer_close(&t);
    }
}

/* ---- pieces and packer ---- */

struct collected {
    struct packer *packer;
    uint64_t pieces, sequences;
};

static enum status take_piece(void *arg, const struct piece *p, struct error *err)
{
    struct collected *c = arg;
    const struct packer_item item = { .order = p->number * 7919u % 101u,
                                      .bin = p->number,
                                      .tokens = (uint32_t)p->count,
                                      .images = (uint32_t)p->image_count,
                                      .payload = c };
    c->pieces++;
    return packer_push(c->packer, &item, err);
}

static enum status take_sequence(void *arg, const struct packer_item *items, size_t count,
                                 uint32_t tokens, uint32_t images, struct error *err)
{
    struct collected *c = arg;
    (void)items;
    (void)count;
    (void)tokens;
    (void)images;
    (void)err;
    c->sequences++;
    return ST_OK;
}

/* A document that is split, and one of a single piece. */
static enum status pack(const struct tokenizer *t, struct collected *c, struct error *err)
{
    static const struct text sentences[] = {
        { "The pond liner lies on sand.", 28 }, { "", 0 },       { "Irises grow at the edge.", 24 },
        { "Frogs came in June.", 19 },          { " wide ", 6 }, { "And stayed.", 11 },
    };
    static const struct filter_place places[] = { { 0, 0, true }, { 1, 3, false }, { 2, 3, true } };
    const struct piece_options small = { .seq_len = 40, .max_images = 2, .image_tokens = 7 };
    struct piece_maker m;
    struct packer_options p;

    *c = (struct collected){ 0 };
    packer_options_init(&p);
    p.seq_len = small.seq_len;
    p.max_images = small.max_images;
    piece_maker_init(&m, t, &small);
    enum status st = packer_open(&c->packer, &p, take_sequence, c, err);
    if (st == ST_OK)
        st = piece_document(&m, sentences, 6, places, 3, take_piece, c, err);
    if (st == ST_OK)
        st = piece_document(&m, sentences, 1, places, 1, take_piece, c, err);
    if (st == ST_OK)
        st = packer_finish(c->packer, err);
    packer_close(&c->packer);
    piece_maker_clear(&m);
    return st;
}

static void pieces_and_packing_survive_every_failed_allocation(void **state)
{
    (void)state;
    struct tokenizer *t = NULL;
    struct collected want, got;
    struct error err = { 0 };
    enum status st = ST_FAIL;
    uint64_t k = 0;

    assert_int_equal(tokenizer_open(&t, MODEL, NULL, &err), ST_OK);
    assert_int_equal(pack(t, &want, &err), ST_OK);
    assert_true(want.pieces > 2 && want.sequences > 0);
    while (st != ST_OK) {
        error_clear(&err);
        mem_fail_at(++k, false);
        st = pack(t, &got, &err);
        mem_fail_at(0, false);
        if (st != ST_OK)
            assert_int_equal(err.cause, CAUSE_NOMEM);
        assert_true(k < 1000);
    }
    assert_true(k > 5);
    assert_int_equal(got.pieces, want.pieces);
    assert_int_equal(got.sequences, want.sequences);
    tokenizer_close(&t);
}

/* ---- whole runs ---- */

static void put(const char *name, const void *data, size_t size)
{
    char *path = path_join(folder, name), *base = path_folder(path);
    struct error err = { 0 };
    assert_int_equal(file_make_folders(base, &err), ST_OK);
    assert_int_equal(file_replace(path, data, size, &err), ST_OK);
    mem_free(base);
    mem_free(path);
}

static int set_up(void **state)
{
    static const char *const names[] = { "jpeg-420.jpg", "jpeg-444.jpg" };
    static const char lines[] =
        "{\"url\":\"a\",\"text_list\":[\"One sentence.\",\"Another one.\"],\"image_info\":["
        "{\"image_name\":\"000000000000.jpg\",\"matched_text_index\":0,\"matched_sim\":0.3},"
        "{\"image_name\":\"000000000001.jpg\",\"matched_text_index\":1,\"matched_sim\":0.3}]}\n"
        "{\"broken\n";
    (void)state;
    log_setup(true, false);
    folder = test_temp_folder();
    for (int i = 0; i < 2; i++) {
        char from[1024], to[64];
        size_t size = 0;
        snprintf(from, sizeof from, TEST_GOLDENS "/data/pictures/%s", names[i]);
        uint8_t *data = test_read_file(from, &size);
        snprintf(to, sizeof to, "pictures/00000000000%d.jpg", i);
        put(to, data, size);
        free(data);
    }
    put("docs/a.jsonl", lines, sizeof lines - 1);
    put("docs/b.jsonl", lines, 0);
    docs = path_join(folder, "docs");
    pictures = path_join(folder, "pictures");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    test_remove_tree(folder);
    free(folder);
    mem_free(docs);
    mem_free(pictures);
    return 0;
}

static enum status ingest(const char *out, struct error *err)
{
    struct ingest_options o;
    struct ingest_report report;
    const char *inputs = docs, *images = pictures;
    ingest_options_init(&o, INGEST_MMC4);
    o.out = out;
    o.tokenizer = MODEL;
    o.inputs = &inputs;
    o.input_count = 1;
    o.images = &images;
    o.image_count = 1;
    o.inputs_per_shard = 1;
    o.jobs = 1;
    return ingest_run(&report, &o, err);
}

static uint8_t *manifest_of(const char *out, size_t *size)
{
    char *path = dataset_manifest_path(out);
    uint8_t *bytes = access(path, F_OK) == 0 ? test_read_file(path, size) : NULL;
    mem_free(path);
    return bytes;
}

static void count_finding(void *arg, const struct error *finding)
{
    (void)finding;
    ++*(int *)arg;
}

/* Is the dataset that of `want`, whole? */
static void is_whole(const char *out, const uint8_t *want, size_t want_size)
{
    struct error err = { 0 };
    size_t size = 0;
    int findings = 0;
    uint8_t *got = manifest_of(out, &size);
    assert_non_null(got);
    assert_int_equal(size, want_size);
    assert_memory_equal(got, want, size);
    assert_int_equal(dataset_verify(out, count_finding, &findings, &err), ST_OK);
    assert_int_equal(findings, 0);
    free(got);
}

/* One run in which call k fails, in one in which all from k on fail. */
static void fail_at(uint64_t k, bool files, bool and_later)
{
    mem_fail_at(files ? 0 : k, and_later);
    file_fail_at(files ? k : 0, ENOSPC, and_later);
}

static void sweep(bool files, bool and_later, const uint8_t *want, size_t want_size)
{
    char *out = path_join(folder, "out");
    bool done = false;
    /* a step of one would be some thousand runs for allocations: every 13th, and the first hundred */
    for (uint64_t k = 1; !done; k += files || k < 100 ? 1 : 13) {
        struct error err = { 0 };
        size_t size = 0;
        fail_at(k, files, and_later);
        const enum status st = ingest(out, &err);
        fail_at(0, files, false);
        uint8_t *there = manifest_of(out, &size);
        if (st != ST_OK && err.cause != CAUSE_NOMEM && err.cause != CAUSE_IO &&
            err.cause != CAUSE_CREATE)
            fail_msg("call %llu: cause %d, %s", (unsigned long long)k, err.cause, err.text);
        if (st != ST_OK)
            assert_true(err.text[0] != 0);
        if (there) { /* written last, so all of it must stand */
            is_whole(out, want, want_size);
            free(there);
        }
        done = st == ST_OK;
        error_clear(&err);
        if (ingest(out, &err) != ST_OK)
            fail_msg("after call %llu: %s", (unsigned long long)k, err.text);
        is_whole(out, want, want_size);
        assert_int_equal(file_remove_tree(out, &err), ST_OK);
        assert_true(k < 50000);
    }
    mem_free(out);
}

static void a_run_survives_every_failure_and_the_next_one_finishes(void **state)
{
    (void)state;
    char *out = path_join(folder, "whole");
    struct error err = { 0 };
    size_t size = 0;
    assert_int_equal(ingest(out, &err), ST_OK);
    uint8_t *want = manifest_of(out, &size);
    assert_non_null(want);
    sweep(true, false, want, size);
    sweep(true, true, want, size);
    sweep(false, false, want, size);
    free(want);
    mem_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_a_tokenizer_survives_every_failure),
        cmocka_unit_test(pieces_and_packing_survive_every_failed_allocation),
        cmocka_unit_test(a_run_survives_every_failure_and_the_next_one_finishes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
