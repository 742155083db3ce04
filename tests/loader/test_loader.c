/* The loader on real shards: one order for all threads, prefetch depths and ranks; resume anywhere; each
 * sequence once; damage stops or is substituted; memory, descriptors and shards stay bounded. */
#include "tests/support/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "loader/loader.h"
#include "shards/dataset.h"
#include "tests/loader/fixture.h"

struct fixture {
    char *root;
    char *paths[2];
    uint64_t sequences[2];
};

static int make_fixture(void **state)
{
    static struct fixture f;
    const struct fixture_options a = { .shards = 5, .per_shard = 23, .seed = 1, .regions = true };
    const struct fixture_options b = { .shards = 2, .per_shard = 11, .seed = 2 };

    f.root = test_temp_folder();
    f.paths[0] = path_join(f.root, "a");
    f.paths[1] = path_join(f.root, "b");
    f.sequences[0] = fixture_dataset(f.paths[0], &a);
    f.sequences[1] = fixture_dataset(f.paths[1], &b);
    *state = &f;
    return 0;
}

static int remove_fixture(void **state)
{
    struct fixture *f = *state;

    test_remove_tree(f->root);
    free(f->root);
    mem_free(f->paths[0]);
    mem_free(f->paths[1]);
    return 0;
}

static void base_options(struct loader_options *opt, struct loader_source sources[2],
                         const struct fixture *f, const char *paths[2])
{
    paths[0] = f->paths[0];
    paths[1] = f->paths[1];
    fixture_loader_options(opt, sources, paths);
    opt->masks = true;
    opt->flip = true;
}

/* Digests of the first `n` micro-batches, whatever rank gets them. */
static void collect(uint64_t *digests, uint64_t n, struct loader_options *opt, uint64_t world)
{
    opt->world = world;
    for (uint64_t rank = 0; rank < world; rank++) {
        opt->rank = rank;
        struct loader *l = fixture_open(opt);
        uint32_t yields = 12345 + (uint32_t)rank;
        for (uint64_t i = 0; i < n / world; i++) {
            const struct batch *b = fixture_next(l);
            assert_true(b->micro_batch < n);
            digests[b->micro_batch] = fixture_digest(b);
            yields = yields * 1664525u + 1013904223u;
            if (yields >> 30 == 0)
                usleep(200);
            loader_release(l, b);
        }
        loader_close(&l);
    }
}

static void the_order_is_the_same_for_threads_prefetch_and_ranks(void **state)
{
    enum { BATCHES = 64 };
    static const struct {
        unsigned threads, stored, decoded;
        uint64_t world, memory;
    } cases[] = { { 1, 1, 1, 1, 1 << 30 },  { 2, 2, 1, 1, 1 << 30 },   { 3, 16, 2, 1, 1 << 30 },
                  { 7, 64, 4, 1, 1 << 30 }, { 16, 16, 2, 1, 1 << 30 }, { 2, 16, 2, 2, 1 << 30 },
                  { 4, 3, 3, 4, 1 << 30 },  { 2, 64, 8, 1, 1 },        { 0, 16, 2, 4, 1 << 30 } };
    uint64_t want[BATCHES] = { 0 }, got[BATCHES];
    struct loader_source sources[2];
    struct loader_options opt;
    const char *paths[2];

    base_options(&opt, sources, *state, paths);
    opt.threads = 0;
    collect(want, BATCHES, &opt, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memset(got, 0, sizeof got);
        opt.threads = cases[i].threads;
        opt.stored_ahead = cases[i].stored;
        opt.decoded_ahead = cases[i].decoded;
        opt.memory = cases[i].memory;
        collect(got, BATCHES, &opt, cases[i].world);
        assert_memory_equal(got, want, sizeof want);
    }
}

static void a_resumed_loader_goes_on_at_any_step(void **state)
{
    enum { STEPS = 50, PER_STEP = 4 };
    uint64_t want[STEPS * PER_STEP], done = 0;
    struct loader_source sources[2];
    struct loader_options opt;
    const char *paths[2];

    base_options(&opt, sources, *state, paths);
    collect(want, STEPS * PER_STEP, &opt, 1);
    for (uint64_t world = 1; world <= 2; world++) {
        opt.world = world;
        opt.rank = world - 1;
        opt.threads = (unsigned)world * 2 - 1;
        struct loader *l = fixture_open(&opt);
        for (uint64_t step = STEPS - 1; step > 0; step--) {
            assert_int_equal(loader_seek(l, step, NULL), ST_OK);
            assert_int_equal(loader_tell(l, &done), step);
            assert_int_equal(done, 0);
            const struct batch *b = fixture_next(l);
            assert_int_equal(b->step, step);
            assert_int_equal(fixture_digest(b), want[b->micro_batch]);
            assert_int_equal(b->micro_batch, step * PER_STEP + opt.rank * (PER_STEP / world));
        }
        loader_close(&l);
    }
}

static void every_sequence_is_delivered_once_an_epoch(void **state)
{
    const struct fixture *f = *state;
    unsigned *seen = calloc(f->sequences[0], sizeof *seen);
    struct loader_source sources[2];
    struct loader_options opt;
    const char *paths[2];
    uint64_t left = f->sequences[0];

    base_options(&opt, sources, f, paths);
    struct loader *l = fixture_open(&opt);
    while (left > 0) {
        const struct batch *b = fixture_next(l);
        for (int64_t r = 0; r < b->B; r++)
            if (b->source == 0 && b->rows[r].epoch == 0) {
                const struct batch_row *row = &b->rows[r];
                const int32_t *ids = b->text_ids + r * b->L;
                /* the number that the sequence itself holds */
                assert_int_equal(ids[1] - 3 + 256 * (ids[2] - 3), row->sequence);
                assert_int_equal(seen[row->sequence]++, 0);
                left--;
            }
        loader_release(l, b);
    }
    loader_close(&l);
    free(seen);
}

static void batches_hold_what_the_shards_say(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    const char *paths[2];
    unsigned regions = 0;

    base_options(&opt, sources, *state, paths);
    opt.flip = false;
    struct loader *l = fixture_open(&opt);
    const struct label_ids ids = label_ids_of(FIXTURE_PIECES);
    for (unsigned n = 0; n < 40; n++) {
        const struct batch *b = fixture_next(l);
        assert_int_equal(b->L % 64, 0);
        assert_int_equal(b->I_padded % 8, 0);
        for (int64_t r = 0; r < b->B; r++) {
            const struct label_row row = { .ids = b->text_ids + r * b->L,
                                           .mask = b->attention_mask + r * b->L,
                                           .length = b->L };
            struct label_image found[16];
            const size_t count = labels_images(found, 16, &row, &ids);
            assert_int_equal(count, b->num_image_per_seq[r]);
            for (size_t k = 0; k < count; k++) {
                const struct batch_image *image = &b->images[b->rows[r].first_image + (int)k];
                assert_int_equal(image->soi, found[k].soi);
                assert_int_equal(image->nearest_bos, found[k].nearest_bos);
                assert_int_equal(image->previous, found[k].previous);
            }
        }
        for (int64_t i = 0; b->mask && i < b->I; i++) {
            const uint8_t first = b->mask[i * b->R * b->R];
            for (int64_t k = 0; k < b->R * b->R; k++)
                assert_int_equal(b->mask[i * b->R * b->R + k], first); /* whole or empty here */
            regions += first == 0;
        }
        loader_release(l, b);
    }
    assert_true(regions > 0);
    loader_close(&l);
}

static void stored_targets_take_the_place_of_the_rules(void **state)
{
    const struct fixture_options made = { .shards = 1, .per_shard = 6, .seed = 3, .losses = true };
    const struct fixture *f = *state;
    char *folder = path_join(f->root, "instruct");
    const char *path = folder;
    const struct loader_source source = { "instruct", &path, 1, 1 };
    struct loader_options opt;

    fixture_dataset(folder, &made);
    loader_options_init(&opt);
    opt.sources = &source;
    opt.n_sources = 1;
    opt.decode.side_a = 8;
    opt.decode.side_b = 0;
    opt.threads = 1;
    struct loader *l = fixture_open(&opt);
    const struct batch *b = fixture_next(l);
    const int64_t n = b->rows[0].length;
    assert_non_null(b->gt_text_ids);
    assert_null(b->image_dec);
    for (int64_t j = 0; j < b->L; j++) {
        const bool counts = j > n / 2 && j < n && b->text_ids[j] < FIXTURE_PIECES;
        assert_int_equal(b->gt_text_ids[j], counts ? b->text_ids[j] : LABEL_IGNORE);
        if (j > 0)
            assert_int_equal(b->targets[j - 1], b->gt_text_ids[j]);
    }
    assert_int_equal(b->prompt_offset[0] > n / 2, 1);
    loader_close(&l);
    mem_free(folder);
}

/* A dataset of one shard, one byte of which is flipped in the middle. */
static char *damaged_dataset(const struct fixture *f, const char *name)
{
    const struct fixture_options made = { .shards = 1, .per_shard = 40, .seed = 4 };
    char *folder = path_join(f->root, name);
    struct file_info info;
    uint8_t byte = 0;

    fixture_dataset(folder, &made);
    char *shard = dataset_shard_path(folder, 0);
    assert_int_equal(file_stat(shard, &info, NULL), ST_OK);
    const int fd = open(shard, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (uint64_t at = info.size / 3; at < info.size - 4096; at += 1500) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    close(fd);
    mem_free(shard);
    return folder;
}

static void damage_stops_the_loader_and_names_the_shard(void **state)
{
    char *folder = damaged_dataset(*state, "damaged");
    const char *path = folder;
    const struct loader_source source = { "mmc4", &path, 1, 1 };
    struct loader_options opt;
    struct error err = { 0 };
    const struct batch *b = NULL;
    enum status st = ST_OK;

    loader_options_init(&opt);
    opt.sources = &source;
    opt.n_sources = 1;
    opt.decode.side_a = opt.decode.side_b = 8;
    struct loader *l = fixture_open(&opt);
    for (unsigned i = 0; i < 40 && st == ST_OK; i++) {
        st = loader_next(l, &b, &err);
        loader_release(l, b);
    }
    assert_int_equal(st, ST_FAIL);
    assert_int_equal(error_exit_code(err.cause), 65);
    assert_non_null(strstr(err.text, "damaged"));
    assert_non_null(strstr(err.text, "000000"));
    assert_int_equal(loader_next(l, &b, NULL), ST_FAIL); /* and stays so */
    loader_close(&l);
    mem_free(folder);
}

static void skipped_damage_is_counted_and_moves_nothing_else(void **state)
{
    char *folder = damaged_dataset(*state, "skipped");
    const char *path = folder;
    const struct loader_source source = { "mmc4", &path, 1, 1 };
    struct loader_options opt;
    struct loader_stats stats;
    uint64_t first[40];

    loader_options_init(&opt);
    opt.sources = &source;
    opt.n_sources = 1;
    opt.decode.side_a = opt.decode.side_b = 8;
    opt.skip_damaged = true;
    for (unsigned threads = 0; threads < 3; threads++) {
        unsigned moved = 0;
        opt.threads = threads;
        struct loader *l = fixture_open(&opt);
        for (unsigned i = 0; i < 40; i++) {
            const struct batch *b = fixture_next(l);
            const uint64_t digest = fixture_digest(b);
            if (threads == 0)
                first[i] = digest;
            assert_int_equal(digest, first[i]);
            moved += b->rows[0].taken != b->rows[0].sequence;
            loader_release(l, b);
        }
        loader_stats(l, &stats);
        assert_true(moved > 0 && moved < 40);
        assert_true(stats.substituted >= moved);
        loader_close(&l);
    }
    mem_free(folder);
}

static void a_rebuilt_dataset_is_refused_by_its_digest(void **state)
{
    const struct fixture *f = *state;
    const struct fixture_options other = { .shards = 2, .per_shard = 11, .seed = 77 };
    char *folder = path_join(f->root, "rebuilt");
    struct loader_source sources[2];
    struct loader_options opt;
    struct buffer identity = { 0 };
    struct error err = { 0 };
    const char *paths[2];

    base_options(&opt, sources, f, paths);
    struct loader *l = fixture_open(&opt);
    assert_int_equal(loader_identity(l, &identity, &err), ST_OK);
    assert_int_equal(loader_check_identity(l, identity.data, identity.size, &err), ST_OK);
    loader_close(&l);
    fixture_dataset(folder, &other);
    paths[1] = folder;
    l = fixture_open(&opt);
    assert_int_equal(loader_check_identity(l, identity.data, identity.size, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_CHECKSUM);
    assert_non_null(strstr(err.text, "rebuilt"));
    loader_close(&l);
    buffer_clear(&identity);
    mem_free(folder);
}

static void a_third_batch_is_not_handed_out_while_two_are_held(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    const struct batch *third = NULL;
    struct error err = { 0 };
    const char *paths[2];

    base_options(&opt, sources, *state, paths);
    struct loader *l = fixture_open(&opt);
    const struct batch *a = fixture_next(l), *b = fixture_next(l);
    const uint64_t before = fixture_digest(a);
    assert_int_equal(loader_next(l, &third, &err), ST_FAIL);
    assert_int_equal(err.cause, CAUSE_ARG);
    loader_release(l, b);
    b = fixture_next(l);
    assert_int_equal(fixture_digest(a), before); /* untouched while held */
    loader_release(l, a);
    loader_release(l, b);
    loader_close(&l);
}

static void places_name_what_is_delivered(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    struct loader_place place;
    const char *paths[2];

    base_options(&opt, sources, *state, paths);
    struct loader *l = fixture_open(&opt);
    for (uint64_t n = 0; n < 12; n++) {
        const struct batch *b = fixture_next(l);
        for (int64_t r = 0; r < b->B; r++) {
            const struct batch_row *row = &b->rows[r];
            assert_int_equal(loader_place(l, b->step, row->position, &place, NULL), ST_OK);
            assert_int_equal(place.sample.micro_batch, b->micro_batch);
            assert_int_equal(place.sample.source, b->source);
            assert_int_equal(place.dataset, row->dataset);
            assert_int_equal(place.shard, row->shard);
            assert_int_equal(place.index, row->index);
        }
        loader_release(l, b);
    }
    loader_close(&l);
}

static unsigned count_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static long resident_pages(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long size = 0, resident = 0;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident;
}

static void a_long_run_holds_no_more_than_a_short_one(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    struct loader_stats stats;
    const char *paths[2];
    long warm = 0;
    unsigned files = 0;

    base_options(&opt, sources, *state, paths);
    opt.open_shards = 3;
    struct loader *l = fixture_open(&opt);
    for (unsigned i = 0; i < 3000; i++) {
        loader_release(l, fixture_next(l));
        if (i == 1000) {
            warm = resident_pages();
            files = count_files();
        }
    }
#ifndef __SANITIZE_ADDRESS__                    /* it holds freed blocks back */
    assert_true(resident_pages() - warm < 256); /* 1 MiB */
#endif
    assert_true(warm > 0);
    assert_in_range(count_files(), 0, files + 2); /* readers come and go */
    loader_stats(l, &stats);
    assert_true(stats.open_shards <= 3);
    assert_int_equal(stats.batches, 3000);
    loader_close(&l);
}

static void ahead_stays_within_the_memory_allowed(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    struct loader_stats stats;
    const char *paths[2];

    base_options(&opt, sources, *state, paths);
    opt.stored_ahead = 64;
    opt.decoded_ahead = 8;
    opt.memory = 120000;
    struct loader *l = fixture_open(&opt);
    for (unsigned i = 0; i < 100; i++)
        loader_release(l, fixture_next(l));
    loader_stats(l, &stats);
    assert_in_range(stats.peak_bytes, 1, 2 * opt.memory);
    loader_close(&l);
}

static void the_ledger_accounts_for_the_work(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    struct loader_stats stats;
    const char *paths[2];

    base_options(&opt, sources, *state, paths);
    struct loader *l = fixture_open(&opt);
    for (unsigned i = 0; i < 20; i++)
        loader_release(l, fixture_next(l));
    loader_stats(l, &stats);
    assert_true(stats.worker_seconds[LOADER_DECODE] > 0.0);
    assert_true(stats.worker_seconds[LOADER_RESIZE] > 0.0);
    assert_true(stats.worker_seconds[LOADER_READ] > 0.0);
    assert_int_equal(stats.sequences, 40);
    loader_close(&l);
}

static void an_open_that_runs_out_of_memory_gives_everything_back(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    const char *paths[2];
    uint64_t k = 1;

    base_options(&opt, sources, *state, paths);
    for (;; k++) {
        struct loader *l = NULL;
        struct error err = { 0 };
        mem_fail_at(k, false);
        const enum status st = loader_open(&l, &opt, &err);
        mem_fail_at(0, false);
        loader_close(&l);
        if (st == ST_OK)
            break;
        assert_int_equal(err.cause, CAUSE_NOMEM);
        assert_null(l);
    }
    assert_true(k > 50);
}

static void a_batch_that_runs_out_of_memory_fails_and_the_loader_closes(void **state)
{
    struct loader_source sources[2];
    struct loader_options opt;
    const char *paths[2];
    unsigned failed = 0;

    base_options(&opt, sources, *state, paths);
    for (uint64_t k = 1; k < 300; k += 3) {
        struct loader *l = fixture_open(&opt);
        const struct batch *b = NULL;
        struct error err = { 0 };
        mem_fail_at(k, false);
        const enum status st = loader_next(l, &b, &err);
        mem_fail_at(0, false);
        if (st != ST_OK) {
            assert_int_equal(err.cause, CAUSE_NOMEM);
            failed++;
        }
        loader_close(&l);
    }
    assert_true(failed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_the_same_for_threads_prefetch_and_ranks),
        cmocka_unit_test(a_resumed_loader_goes_on_at_any_step),
        cmocka_unit_test(every_sequence_is_delivered_once_an_epoch),
        cmocka_unit_test(batches_hold_what_the_shards_say),
        cmocka_unit_test(stored_targets_take_the_place_of_the_rules),
        cmocka_unit_test(damage_stops_the_loader_and_names_the_shard),
        cmocka_unit_test(skipped_damage_is_counted_and_moves_nothing_else),
        cmocka_unit_test(a_rebuilt_dataset_is_refused_by_its_digest),
        cmocka_unit_test(a_third_batch_is_not_handed_out_while_two_are_held),
        cmocka_unit_test(places_name_what_is_delivered),
        cmocka_unit_test(a_long_run_holds_no_more_than_a_short_one),
        cmocka_unit_test(ahead_stays_within_the_memory_allowed),
        cmocka_unit_test(the_ledger_accounts_for_the_work),
        cmocka_unit_test(an_open_that_runs_out_of_memory_gives_everything_back),
        cmocka_unit_test(a_batch_that_runs_out_of_memory_fails_and_the_loader_closes),
    };
    return cmocka_run_group_tests(tests, make_fixture, remove_fixture);
}
