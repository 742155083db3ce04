/* cli/bench_loader.c: the loader against its roof: the same pictures, already in memory, decoded and
 * resized by the same code on as many threads, with nothing else around it. Roof and loader take turns;
 * each round counts by its wall time, the best and the median round are shown. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/bench.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/pool.h"
#include "loader/loader.h"
#include "loader/store.h"

enum { ROUNDS_MAX = 100, STARTS = 7, FAR_STEP = 1000000 };
static const uint64_t gather_limit = (uint64_t)512 << 20; /* bytes of pictures held for the roof */

static const struct command_help help = {
    .usage = "deem bench loader DATASET... [OPTION...]",
    .about = "Pictures a second of the loader as a share of bare decoding and resizing of the same "
             "pictures on the same threads.",
    .examples = "  deem bench loader web --threads 2\n"
                "  deem bench loader web --size 448 --geometry squash --mode fast --json\n",
};

/* Of repeated figures. */
struct bench_figure {
    double best, lowest, median;
};

struct settings {
    struct option_list inputs;
    int64_t threads, batch, batches, rounds, side, decoder_side;
    int geometry, mode;
    bool json;
};

/* Pictures of the first batches, as the loader will meet them. */
struct gathered {
    struct store_sequence *sequences;
    size_t count;
    const struct store_picture **pictures;
    size_t n_pictures;
    uint64_t bytes;
};

/* Measured before the roof's copies are made. */
struct footprint {
    double resident_megabytes, start_seconds, far_start_seconds;
};

struct roof {
    const struct gathered *from;
    const struct decode_options *opt;
    atomic_size_t next;
};

static enum status roof_worker(void *arg, bool cancelled, struct error *err)
{
    struct roof *r = arg;
    const size_t a = 3 * (size_t)r->opt->side_a * r->opt->side_a;
    const size_t b = 3 * (size_t)r->opt->side_b * r->opt->side_b;
    uint8_t *out = cancelled ? NULL : mem_alloc(a + b);
    enum status st = ST_OK;

    if (cancelled)
        return ST_STOP;
    if (!out)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: roof");
    for (;;) {
        const size_t i = atomic_fetch_add(&r->next, 1);
        if (i >= r->from->n_pictures || st != ST_OK)
            break;
        const struct store_picture *p = r->from->pictures[i];
        st = decode_picture(out, b > 0 ? out + a : NULL, p->data, p->size, r->opt, NULL, err);
    }
    mem_free(out);
    return st == ST_OK ? ST_OK : ST_FAIL;
}

/* Pictures a second by the wall clock, and for each second that the process ran: the second one stands
 * also while others use the machine. */
struct rates {
    double wall[ROUNDS_MAX], cpu[ROUNDS_MAX];
};
struct stopwatch {
    double wall, cpu;
};

static struct stopwatch watch(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (struct stopwatch){ clock_seconds(),
                               (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                                   1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) };
}

static void book_rate(struct rates *r, int64_t round, uint64_t pictures, struct stopwatch begin,
                      struct stopwatch end)
{
    r->wall[round] = (double)pictures / (end.wall - begin.wall);
    r->cpu[round] = (double)pictures / (end.cpu - begin.cpu);
}

static enum status run_roof(struct rates *rates, int64_t round, const struct gathered *g,
                            const struct decode_options *opt, unsigned threads, struct error *err)
{
    struct roof r = { .from = g, .opt = opt };
    struct pool *pool = NULL;

    enum status st = pool_open(&pool, threads, threads, err);
    const struct stopwatch begin = watch();
    for (unsigned i = 0; i < threads && st == ST_OK; i++)
        st = pool_submit(pool, roof_worker, &r, err);
    if (pool) {
        const enum status closed = pool_close(&pool, err);
        st = st == ST_OK ? closed : st;
    }
    book_rate(rates, round, g->n_pictures, begin, watch());
    return st;
}

static enum status gather(struct gathered *g, const struct loader_options *opt, uint64_t sequences,
                          struct error *err)
{
    struct store_timing timing = { 0 };
    struct loader_place place;
    struct loader *l = NULL;
    struct store *store = NULL;
    size_t n = 0;

    g->sequences = mem_calloc(sequences, sizeof *g->sequences);
    if (!g->sequences)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: pictures");
    enum status st = loader_open(&l, opt, err);
    if (st == ST_OK)
        st = store_open(&store, opt->sources, opt->n_sources, opt->open_shards, err);
    for (uint64_t i = 0; i < sequences && st == ST_OK && g->bytes < gather_limit; i++) {
        st = loader_place(l, i / opt->batch_global, i % opt->batch_global, &place, err);
        if (st == ST_OK)
            st = store_read(store, place.sample.source, place.sample.sequence,
                            &g->sequences[g->count], &timing, err);
        if (st == ST_OK) {
            g->bytes += g->sequences[g->count].picture_bytes;
            g->n_pictures += g->sequences[g->count].sample.image_count;
            g->count++;
        }
    }
    if (st == ST_OK)
        g->pictures = mem_calloc(g->n_pictures + 1, sizeof(const struct store_picture *));
    if (st == ST_OK && !g->pictures)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: pictures");
    for (size_t i = 0; i < g->count && st == ST_OK; i++)
        for (size_t k = 0; k < g->sequences[i].sample.image_count; k++)
            if (g->sequences[i].twin[k] == k)
                g->pictures[n++] = &g->sequences[i].pictures[k];
    g->n_pictures = n;
    store_close(&store);
    loader_close(&l);
    return st;
}

static void gathered_clear(struct gathered *g)
{
    for (size_t i = 0; i < g->count; i++)
        store_sequence_clear(&g->sequences[i]);
    mem_free(g->sequences);
    mem_free(g->pictures);
}

/* The loader over the same sequences, from the delivery of the first batch to that of the last: then as
 * much work lies ahead at the end as at the beginning. It is closed while the roof runs. */
static enum status run_loader(struct rates *rates, int64_t round, struct loader_stats *stats,
                              const struct loader_options *opt, uint64_t batches, struct error *err)
{
    const struct batch *b = NULL;
    struct loader *l = NULL;
    uint64_t pictures = 0;
    struct stopwatch begin = watch(), end = begin;

    enum status st = loader_open(&l, opt, err);
    for (uint64_t i = 0; i <= batches && st == ST_OK; i++) {
        st = loader_next(l, &b, err);
        end = watch();
        if (i == 0)
            begin = end;
        else if (st == ST_OK)
            pictures += (uint64_t)b->I;
        if (st == ST_OK)
            loader_release(l, b);
    }
    if (st == ST_OK) {
        book_rate(rates, round, pictures, begin, end);
        loader_stats(l, stats);
    }
    loader_close(&l);
    return st;
}

/* ---- starting ---- */

/* When tensors were last laid out: after the last one pictures are decoded. */
static double laid_out;

static void *noting_alloc(void *arg, size_t bytes)
{
    (void)arg;
    laid_out = clock_seconds();
    return mem_alloc_aligned(64, bytes);
}

static void noting_free(void *arg, void *p, size_t bytes)
{
    (void)arg;
    (void)bytes;
    mem_free(p);
}

/* Best of several: seconds from nothing to the first picture being decoded, at `step`. */
static enum status run_start(double *seconds, const struct loader_options *opt, uint64_t step,
                             struct error *err)
{
    struct loader_options one = *opt;
    enum status st = ST_OK;

    one.threads = 0;
    one.stored_ahead = one.decoded_ahead = 1;
    one.batch_memory = (struct batch_memory){ noting_alloc, noting_free, NULL };
    for (int i = 0; i < STARTS && st == ST_OK; i++) {
        const struct batch *b = NULL;
        struct loader *l = NULL;
        const double begin = clock_seconds();
        st = loader_open(&l, &one, err);
        if (st == ST_OK)
            st = loader_seek(l, step, err);
        if (st == ST_OK)
            st = loader_next(l, &b, err);
        if (i == 0 || laid_out - begin < *seconds)
            *seconds = laid_out - begin;
        loader_close(&l);
    }
    return st;
}

static double resident_megabytes(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss * 1024 / 1e6;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts values[0..n). */
static struct bench_figure bench_summary(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, ascending);
    return (struct bench_figure){ values[n - 1], values[0], values[n / 2] };
}

static void report(const struct settings *s, const struct gathered *g,
                   const struct footprint *footprint, const struct loader_stats *stats,
                   struct rates *roof_rates, struct rates *loader_rates)
{
    const int n = (int)s->rounds;
    const struct bench_figure roof = bench_summary(roof_rates->wall, n);
    const struct bench_figure roof_cpu = bench_summary(roof_rates->cpu, n);
    const struct bench_figure loader = bench_summary(loader_rates->wall, n);
    const struct bench_figure loader_cpu = bench_summary(loader_rates->cpu, n);
    const double per_picture = (double)g->bytes / (double)g->n_pictures;
    const double per_sequence = (double)g->n_pictures / (double)g->count;

    if (s->json) {
        printf("{\"threads\":%d,\"pictures_per_second\":%.1f,\"roof_pictures_per_second\":%.1f,"
               "\"share\":%.4f,\"share_of_processor_time\":%.4f,\"sequences_per_second\":%.2f,"
               "\"megabytes_per_second\":%.2f,\"peak_bytes\":%llu,\"resident_megabytes\":%.1f,"
               "\"start_seconds\":%.5f,\"start_seconds_step_1000000\":%.5f,\"resize\":\"%s\"}\n",
               (int)s->threads, loader.best, roof.best, loader.best / roof.best,
               loader_cpu.median / roof_cpu.median, loader.best / per_sequence,
               loader.best * per_picture / 1e6, (unsigned long long)stats->peak_bytes,
               footprint->resident_megabytes, footprint->start_seconds,
               footprint->far_start_seconds, resample_code_name(RESAMPLE_BEST));
        return;
    }
    printf("%zu pictures of %.1f kB in %zu sequences, %d thread%s, resize: %s\n", g->n_pictures,
           per_picture / 1e3, g->count, (int)s->threads, s->threads == 1 ? "" : "s",
           resample_code_name(RESAMPLE_BEST));
    printf("  roof     %8.1f pictures/s (median %.1f, lowest %.1f), %.1f a second of processor\n",
           roof.best, roof.median, roof.lowest, roof_cpu.median);
    printf("  loader   %8.1f pictures/s (median %.1f, lowest %.1f), %.1f a second of processor\n",
           loader.best, loader.median, loader.lowest, loader_cpu.median);
    printf("           %8.1f sequences/s, %.2f MB/s\n", loader.best / per_sequence,
           loader.best * per_picture / 1e6);
    printf("  share    %8.1f %% of the best rounds, %.1f %% of processor time (medians)\n",
           100.0 * loader.best / roof.best, 100.0 * loader_cpu.median / roof_cpu.median);
    printf("  ahead    %8.1f MB held at most, process of %.1f MB resident at most\n",
           (double)stats->peak_bytes / 1e6, footprint->resident_megabytes);
    printf("  start    %8.2f ms to the first picture at step 0, %.2f ms at step 1,000,000\n",
           1e3 * footprint->start_seconds, 1e3 * footprint->far_start_seconds);
    printf("  workers ");
    for (int w = 0; w < LOADER_WORK_COUNT; w++)
        printf(" %s %.2f s%s", loader_work_name((enum loader_work)w), stats->worker_seconds[w],
               w + 1 < LOADER_WORK_COUNT ? "," : "\n");
}

/* Also brings the pictures into the page cache. */
static enum status run_footprint(struct footprint *f, const struct settings *s,
                                 const struct loader_options *opt, struct error *err)
{
    struct loader_stats stats;
    struct rates unused;
    enum status st = run_loader(&unused, 0, &stats, opt, (uint64_t)s->batches, err);

    f->resident_megabytes = resident_megabytes();
    if (st == ST_OK)
        st = run_start(&f->start_seconds, opt, 0, err);
    return st == ST_OK ? run_start(&f->far_start_seconds, opt, FAR_STEP, err) : st;
}

static enum status measure(const struct settings *s, const struct loader_options *opt,
                           struct error *err)
{
    struct rates roof, loader;
    struct gathered g = { 0 };
    struct footprint footprint = { 0 };
    struct loader_stats stats = { 0 };

    enum status st = run_footprint(&footprint, s, opt, err);
    if (st == ST_OK)
        st = gather(&g, opt, (uint64_t)(s->batch * s->batches), err);
    const uint64_t batches = g.count / (uint64_t)s->batch;
    if (st == ST_OK && (g.n_pictures == 0 || batches == 0))
        st = error_set(err, ST_FAIL, CAUSE_ARG, "no whole batch of pictures in these datasets");
    for (int64_t i = 0; i < s->rounds && st == ST_OK; i++) {
        st = run_roof(&roof, i, &g, &opt->decode, (unsigned)s->threads, err);
        if (st == ST_OK)
            st = run_loader(&loader, i, &stats, opt, batches, err);
    }
    if (st == ST_OK)
        report(s, &g, &footprint, &stats, &roof, &loader);
    gathered_clear(&g);
    return st;
}

int bench_loader(int argc, char **argv)
{
    static const char *const geometries[] = { "crop", "squash", NULL };
    static const char *const modes[] = { "exact", "fast", NULL };
    struct settings s = {
        .threads = 1, .batch = 4, .batches = 20, .rounds = 5, .side = 256, .decoder_side = 512
    };
    const struct option options[] = {
        { "threads", OPTION_INT, &s.threads, "N", "worker threads (1)", 1, 256, NULL },
        { "batch", OPTION_INT, &s.batch, "N", "sequences of a batch (4)", 1, 1024, NULL },
        { "batches", OPTION_INT, &s.batches, "N", "batches of a round (20)", 1, 100000, NULL },
        { "rounds", OPTION_INT, &s.rounds, "N", "rounds of roof and loader (5)", 1, ROUNDS_MAX,
          NULL },
        { "size", OPTION_INT, &s.side, "S", "encoder side, pixels (256)", 1, 4096, NULL },
        { "decoder-size", OPTION_INT, &s.decoder_side, "S", "decoder side, pixels (512); 0: none",
          0, 4096, NULL },
        { "geometry", OPTION_CHOICE, &s.geometry, "HOW", "crop (default) or squash", 0, 0,
          geometries },
        { "mode", OPTION_CHOICE, &s.mode, "MODE", "exact (default) or fast", 0, 0, modes },
        { "json", OPTION_FLAG, &s.json, NULL, "one line of JSON", 0, 0, NULL },
    };
    struct loader_source source = { .name = "bench", .weight = 1 };
    struct loader_options opt;
    struct error err = { 0 };

    enum status st = options_parse(argc, argv, options, sizeof options / sizeof options[0], &help,
                                   &s.inputs, &err);
    if (st == ST_OK && s.inputs.count == 0)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "no DATASET given; see deem bench loader --help");
    if (st == ST_OK) {
        loader_options_init(&opt);
        source.datasets = s.inputs.items;
        source.n_datasets = s.inputs.count;
        opt.sources = &source;
        opt.n_sources = 1;
        opt.batch_global = opt.batch_micro = (uint64_t)s.batch;
        opt.threads = (unsigned)s.threads;
        opt.decode.side_a = (uint32_t)s.side;
        opt.decode.side_b = (uint32_t)s.decoder_side;
        opt.decode.geometry = s.geometry == 0 ? RESAMPLE_CROP : RESAMPLE_SQUASH;
        opt.decode.mode = s.mode == 0 ? DECODE_EXACT : DECODE_FAST;
        opt.seq_len = 65535;
        st = measure(&s, &opt, &err);
    }
    options_clear_list(&s.inputs);
    if (st == ST_OK || st == ST_END)
        return 0;
    log_error(&err);
    return error_exit_code(err.cause);
}
