/* The loader under stress, by the numbers of spec robustness.md: T16 one order, T17 resume at every batch,
 * T18 exactly once, T21 soak, T22 stalls, T9 damage on the read path. Without an argument a part of each
 * in seconds, with `full` the counts of the commit tier (`full PATTERN`: tests of that name). Seeds are fixed; a failure prints its case. */
#include "tests/support/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/file.h"
#include "loader/loader.h"
#include "shards/dataset.h"
#include "tests/loader/fixture.h"

static bool full;

/* ---- storage and threads that are late ---- */

static atomic_bool slow_storage, slow_workers;
static atomic_uint turns, late_reads;

/* One step of a generator that all threads share: which of them waits is left to chance on purpose. */
static unsigned turn(void)
{
    return (atomic_fetch_add(&turns, 1) * 2654435761u) >> 16;
}

/* Takes the place of libc's in this program: single bytes, and late ones. */
ssize_t pread(int fd, void *data, size_t size, off_t offset)
{
    if (atomic_load(&slow_storage)) {
        const unsigned t = turn();
        atomic_fetch_add(&late_reads, 1);
        if (t % 3 == 0)
            usleep(t % 300);
        if (t % 2 == 0)
            size = size > 0 ? 1 + t % size : 0;
    }
    return syscall(SYS_pread64, fd, data, size, offset);
}

static void *late_alloc(void *arg, size_t bytes)
{
    const unsigned t = turn();

    (void)arg;
    if (t % 2 == 0)
        sched_yield();
    if (atomic_load(&slow_workers) && t % 16 == 0)
        usleep(20000); /* a worker that was stopped for a while */
    return malloc(bytes);
}

static void late_free(void *arg, void *p, size_t bytes)
{
    (void)arg;
    (void)bytes;
    free(p);
}

static const struct batch_memory late_memory = { late_alloc, late_free, NULL };

/* ---- datasets ---- */

struct fixture {
    char *root;
    char *paths[2];
    char *epoch; /* 2,000 sequences: 1,000 steps of 2 */
    char *tiny;  /* 12 sequences, for damage */
};

static int make_fixture(void **state)
{
    static struct fixture f;
    const struct fixture_options a = { .shards = 5, .per_shard = 23, .seed = 1, .regions = true };
    const struct fixture_options b = { .shards = 2, .per_shard = 11, .seed = 2 };
    const struct fixture_options epoch = { .shards = 8, .per_shard = 250, .seed = 6, .even = true };
    const struct fixture_options tiny = { .shards = 1, .per_shard = 12, .seed = 8 };

    f.root = test_temp_folder();
    f.paths[0] = path_join(f.root, "a");
    f.paths[1] = path_join(f.root, "b");
    f.epoch = path_join(f.root, "epoch");
    f.tiny = path_join(f.root, "tiny");
    fixture_dataset(f.paths[0], &a);
    fixture_dataset(f.paths[1], &b);
    assert_int_equal(fixture_dataset(f.epoch, &epoch), 2000);
    fixture_dataset(f.tiny, &tiny);
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
    mem_free(f->epoch);
    mem_free(f->tiny);
    return 0;
}

/* One source in one folder; `path` outlives the loader. */
static void one_source(struct loader_options *opt, struct loader_source *source,
                       const char *const *path)
{
    loader_options_init(opt);
    *source = (struct loader_source){ "mmc4", path, 1, 1 };
    opt->seed = 7;
    opt->sources = source;
    opt->n_sources = 1;
    opt->decode.side_a = 4;
    opt->decode.side_b = 8;
}

static uint64_t take_digest(struct loader *l, uint64_t *micro_batch)
{
    const struct batch *b = fixture_next(l);
    const uint64_t digest = fixture_digest(b);

    *micro_batch = b->micro_batch;
    if (turn() % 4 == 0)
        sched_yield();
    loader_release(l, b);
    return digest;
}

/* ---- T16 ---- */

/* The first n micro-batches over all ranks are those of `want`. */
static void check_order(struct loader_options *opt, const uint64_t *want, uint64_t n)
{
    uint64_t m = 0, seen = 0;

    for (opt->rank = 0; opt->rank < opt->world; opt->rank++) {
        struct loader *l = fixture_open(opt);
        for (uint64_t i = 0; i < n / opt->world; i++, seen++) {
            const uint64_t digest = take_digest(l, &m);
            if (m >= n || digest != want[m])
                fail_msg("threads %u, stored %u, decoded %u, world %d, rank %d: batch %d differs",
                         opt->threads, opt->stored_ahead, opt->decoded_ahead, (int)opt->world,
                         (int)opt->rank, (int)m);
        }
        loader_close(&l);
    }
    assert_int_equal(seen, n);
}

static void one_digest_for_threads_prefetch_ranks_memory_and_yields(void **state)
{
    static const unsigned threads[] = { 1, 2, 3, 4, 7, 8, 16 }, ahead[] = { 1, 2, 64 };
    const struct fixture *f = *state;
    const uint64_t n = full ? 120 : 8; /* 84 cases: 10,080 batches; 8 to a step */
    const char *paths[2] = { f->paths[0], f->paths[1] };
    struct loader_source sources[2];
    struct loader_options opt;
    uint64_t want[120], m = 0;
    unsigned cases = 0;

    fixture_loader_options(&opt, sources, paths);
    opt.batch_global = 16;
    opt.masks = true;
    opt.flip = true;
    opt.threads = 0;
    struct loader *l = fixture_open(&opt);
    for (uint64_t i = 0; i < n; i++)
        want[i] = take_digest(l, &m);
    loader_close(&l);
    for (size_t t = 0; t < 7; t++)
        for (size_t a = 0; a < 3; a++)
            for (opt.world = 1; opt.world <= 8; opt.world *= 2, cases++) {
                struct loader_options one = opt;
                one.threads = threads[t];
                one.stored_ahead = ahead[a];
                one.decoded_ahead = ahead[a] < 8 ? ahead[a] : 8;
                if (cases % 2 == 0)
                    one.batch_memory = late_memory;
                check_order(&one, want, n);
            }
    assert_int_equal(cases, 84);
}

/* ---- T17 ---- */

static void resume_at_every_batch_of_an_epoch_goes_on_as_if_unbroken(void **state)
{
    enum { STEPS = 1000, PER_STEP = 2 };
    static uint64_t want[STEPS * PER_STEP];
    const struct fixture *f = *state;
    const char *path = f->epoch;
    struct loader_source source;
    struct loader_options opt;
    struct loader *loaders[4] = { NULL };
    uint64_t m = 0;

    one_source(&opt, &source, &path);
    opt.batch_global = 2;
    opt.stored_ahead = 4;
    opt.threads = 2;
    struct loader *l = fixture_open(&opt);
    for (uint64_t i = 0; i < STEPS * PER_STEP; i++) {
        want[i] = take_digest(l, &m);
        assert_int_equal(m, i);
    }
    loader_close(&l);
    for (unsigned k = 0; k < 4; k++) { /* as before; other threads; two ranks */
        opt.threads = (const unsigned[]){ 2, 7, 1, 3 }[k];
        opt.world = k < 2 ? 1 : 2;
        opt.rank = k == 3;
        loaders[k] = fixture_open(&opt);
    }
    for (uint64_t step = 0; step < STEPS; step += full ? 1 : 25)
        for (unsigned k = 0; k < 4; k++) {
            const uint64_t rest = (STEPS - step) * (k < 2 ? 2 : 1),
                           some = full && k == 0 ? rest : 5;
            assert_int_equal(loader_seek(loaders[k], step, NULL), ST_OK);
            for (uint64_t i = 0; i < (rest < some ? rest : some); i++) {
                const uint64_t digest = take_digest(loaders[k], &m);
                if (digest != want[m] || m / PER_STEP != step + (k < 2 ? i / 2 : i))
                    fail_msg("resume at step %d, loader %u: batch %d differs", (int)step, k,
                             (int)m);
            }
        }
    for (unsigned k = 0; k < 4; k++)
        loader_close(&loaders[k]);
}

/* ---- T18 ---- */

/* `n` sequences over `world` ranks: in every whole epoch each comes once. */
static void check_once(const struct fixture *f, unsigned n, uint64_t world)
{
    enum { EPOCHS = 3 };
    const struct fixture_options made = { .shards = 1, .per_shard = n, .seed = 50 + n };
    char *folder = str_format("%s/once-%u", f->root, n);
    const char *path = folder;
    unsigned seen[EPOCHS][64] = { 0 };
    struct loader_source source;
    struct loader_options opt;

    if (!file_exists(folder))
        assert_int_equal(fixture_dataset(folder, &made), n);
    one_source(&opt, &source, &path);
    opt.batch_global = opt.world = world;
    opt.threads = 2;
    for (opt.rank = 0; opt.rank < world; opt.rank++) {
        struct loader *l = fixture_open(&opt);
        for (uint64_t i = 0; i < (EPOCHS * n + world - 1) / world; i++) {
            const struct batch *b = fixture_next(l);
            const struct batch_row *row = &b->rows[0];
            const int32_t *ids = b->text_ids;
            assert_int_equal(ids[1] - 3, row->sequence); /* what the sequence says of itself */
            if (row->epoch < EPOCHS)
                seen[row->epoch][row->sequence]++;
            loader_release(l, b);
        }
        loader_close(&l);
    }
    for (unsigned e = 0; e < EPOCHS; e++)
        for (unsigned i = 0; i < n; i++)
            if (seen[e][i] != 1)
                fail_msg("%u sequences, %d ranks, epoch %u: sequence %u came %u times", n,
                         (int)world, e, i, seen[e][i]);
    mem_free(folder);
}

static void every_sequence_comes_once_an_epoch_over_ranks_at_awkward_sizes(void **state)
{
    static const unsigned sizes[] = { 1, 2, 3, 5, 7, 13, 31, 61 };
    static const uint64_t worlds[] = { 1, 2, 3, 4, 7, 8, 16 };

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (size_t w = full ? 0 : i % 3; w < sizeof worlds / sizeof worlds[0]; w += full ? 1 : 3)
            check_once(*state, sizes[i], worlds[w]);
}

/* ---- T21 ---- */

struct vitals {
    double resident; /* MiB */
    unsigned files, threads, mappings;
};

static unsigned count_entries(const char *folder)
{
    DIR *d = opendir(folder);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static struct vitals take_vitals(void)
{
    struct vitals v = { .files = count_entries("/proc/self/fd"),
                        .threads = count_entries("/proc/self/task") };
    FILE *f = fopen("/proc/self/statm", "r");
    long size = 0, resident = 0;

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    v.resident = (double)resident * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
    f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    for (int c = fgetc(f); c != EOF; c = fgetc(f))
        v.mappings += c == '\n';
    fclose(f);
    return v;
}

/* Every 1,500th byte of the shard, a bit each: some sequences are lost. */
static void damage_shard(const char *folder)
{
    char *shard = dataset_shard_path(folder, 0);
    struct file_info info;
    uint8_t byte = 0;

    assert_int_equal(file_stat(shard, &info, NULL), ST_OK);
    const int fd = open(shard, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (uint64_t at = info.size / 2; at < info.size - 4096; at += 1500) {
        assert_int_equal(syscall(SYS_pread64, fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    }
    close(fd);
    mem_free(shard);
}

/* With damaged sequences among them that are skipped. */
static void a_long_run_grows_by_nothing(void **state)
{
    const struct fixture *f = *state;
    const struct fixture_options made = { .shards = 1, .per_shard = 60, .seed = 12 };
    const unsigned batches = full ? 100000 : 2000, every = batches / 20, warm = batches / 4;
    char *noisy = path_join(f->root, "noisy");
    const char *paths[2] = { f->paths[0], noisy };
    struct loader_source sources[2];
    struct loader_options opt;
    struct loader_stats stats;
    struct vitals first = { 0 }, v;
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;

    fixture_dataset(noisy, &made);
    damage_shard(noisy);
    fixture_loader_options(&opt, sources, paths);
    opt.skip_damaged = true;
    opt.open_shards = 3;
    struct loader *l = fixture_open(&opt);
    for (unsigned i = 1; i <= batches; i++) {
        loader_release(l, fixture_next(l));
        if (i % every != 0 || i < warm)
            continue;
        v = take_vitals();
        if (i == warm)
            first = v;
        n++, sx += i, sy += v.resident, sxx += (double)i * i, sxy += (double)i * v.resident;
        assert_int_equal(v.threads, first.threads);
        assert_in_range(v.files, 3, first.files + 3); /* three shards come and go */
        assert_in_range(v.mappings, 1, first.mappings + 8);
    }
    loader_stats(l, &stats);
    const double slope = (n * sxy - sx * sy) / (n * sxx - sx * sx);
    printf("soak: %u batches, %d substituted, %.1f MiB resident, %+.3f MiB per 100,000 batches\n",
           batches, (int)stats.substituted, v.resident, 1e5 * slope);
    assert_true(stats.substituted > 0);
    if (full) /* a page is 0.2 MiB per 100,000 of the short run */
        assert_true(1e5 * slope < 1.0);
    assert_true(v.resident - first.resident < 2.0);
    assert_in_range(stats.open_shards, 1, 3);
    loader_close(&l);
    mem_free(noisy);
}

/* ---- T22 ---- */

static void stalled_storage_and_workers_delay_and_change_nothing(void **state)
{
    const struct fixture *f = *state;
    const unsigned n = full ? 400 : 60;
    const char *paths[2] = { f->paths[0], f->paths[1] };
    struct loader_source sources[2];
    struct loader_options opt;
    struct loader_stats stats;
    uint64_t want[400], m = 0;

    fixture_loader_options(&opt, sources, paths);
    opt.open_shards = 2;
    opt.memory = 1 << 20;
    opt.threads = 4;
    struct loader *l = fixture_open(&opt);
    for (unsigned i = 0; i < n; i++)
        want[i] = take_digest(l, &m);
    loader_close(&l);
    atomic_store(&slow_storage, true);
    atomic_store(&slow_workers, true);
    opt.batch_memory = late_memory;
    l = fixture_open(&opt);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(take_digest(l, &m), want[i]);
        if (i % 20 == 19) /* the consumer is late, too */
            usleep(5000);
    }
    assert_int_equal(loader_seek(l, 2, NULL), ST_OK); /* with work under way */
    assert_int_equal(take_digest(l, &m), want[8]);
    loader_stats(l, &stats);
    assert_in_range(stats.peak_bytes, 1, 2 * opt.memory);
    loader_close(&l); /* with work under way: it ends */
    assert_true(atomic_load(&late_reads) > n);
    atomic_store(&slow_storage, false);
    atomic_store(&slow_workers, false);
}

/* ---- T9 ---- */

/* All of the dataset through a loader: true when it stopped for damage. What comes is `want`. */
static bool read_damaged(const char *path, const struct loader_options *opt, const uint64_t *want,
                         unsigned n)
{
    const struct batch *b = NULL;
    struct loader *l = NULL;
    struct error err = { 0 };
    enum status st = loader_open(&l, opt, &err);

    for (unsigned i = 0; i < n && st == ST_OK; i++) {
        st = loader_next(l, &b, &err);
        if (st == ST_OK)
            assert_int_equal(fixture_digest(b), want[i]);
        loader_release(l, b);
    }
    loader_close(&l);
    if (st == ST_OK)
        return false;
    if (error_exit_code(err.cause) != 65 || !strstr(err.text, path) ||
        !strstr(err.text, "000000.mdb"))
        fail_msg("exit %d: %s", error_exit_code(err.cause), err.text);
    return true;
}

static void a_flipped_bit_stops_the_loader_or_changes_nothing(void **state)
{
    const struct fixture *f = *state;
    const unsigned flips = full ? 20000 : 400;
    const char *path = f->tiny;
    char *shard = dataset_shard_path(f->tiny, 0);
    struct loader_source source;
    struct loader_options opt;
    uint64_t want[12], m = 0, r = 88172645463325252u;
    unsigned noticed = 0;
    size_t size = 0;
    uint8_t *bytes = test_read_file(shard, &size);
    const int fd = open(shard, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    one_source(&opt, &source, &path);
    opt.threads = 0;
    opt.stored_ahead = opt.decoded_ahead = 1;
    struct loader *l = fixture_open(&opt);
    for (unsigned i = 0; i < 12; i++)
        want[i] = take_digest(l, &m);
    loader_close(&l);
    for (unsigned i = 0; i < flips; i++) {
        r ^= r << 13, r ^= r >> 7, r ^= r << 17;
        size_t at = (size_t)(r >> 8) % size;
        if (i % 4 == 0)
            at = at / 4096 * 4096 + at % 64; /* heads of pages */
        const uint8_t flipped = (uint8_t)(bytes[at] ^ (1u << (r & 7)));
        assert_int_equal(pwrite(fd, &flipped, 1, (off_t)at), 1);
        noticed += read_damaged(f->tiny, &opt, want, 12);
        assert_int_equal(pwrite(fd, &bytes[at], 1, (off_t)at), 1);
    }
    printf("damage: %u of %u flips stopped the loader, the others changed nothing\n", noticed,
           flips);
    assert_true(noticed > flips / 4);
    close(fd);
    free(bytes);
    mem_free(shard);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_digest_for_threads_prefetch_ranks_memory_and_yields),
        cmocka_unit_test(resume_at_every_batch_of_an_epoch_goes_on_as_if_unbroken),
        cmocka_unit_test(every_sequence_comes_once_an_epoch_over_ranks_at_awkward_sizes),
        cmocka_unit_test(a_long_run_grows_by_nothing),
        cmocka_unit_test(stalled_storage_and_workers_delay_and_change_nothing),
        cmocka_unit_test(a_flipped_bit_stops_the_loader_or_changes_nothing),
    };

    full = argc > 1 && strcmp(argv[1], "full") == 0;
    cmocka_set_test_filter(argc > 2 ? argv[2] : NULL);
    return cmocka_run_group_tests(tests, make_fixture, remove_fixture);
}
