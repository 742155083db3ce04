/* cli/bench_ingest.c: `deem ingest mmc4` over a made-up dump, beside what the libraries alone cost for the
 * same work in the same process: inflating the lines, one full decode of every picture, SentencePiece
 * over the text, zstd over the sequences, writing the bytes. They and ingest take turns. Then the memory
 * of ever larger dumps. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/bench.h"
#include "cli/bench_bare.h"
#include "cli/bench_dump.h"
#include "cli/options.h"
#include "core/file.h"
#include "core/log.h"
#include "ingest/ingest.h"
#include "shards/dataset.h"
#include "shards/shard_writer.h"

enum { ROUNDS_MAX = 50 };

static const struct command_help help = {
    .usage = "deem bench ingest --tokenizer FILE [OPTION...]",
    .about = "Documents, pictures and bytes a second of `deem ingest mmc4`, its time as a share of "
             "the bare "
             "libraries'\nfor the same work, and its memory on ever larger dumps. The dump is made "
             "up, in "
             "a folder that is removed.",
    .examples = "  deem bench ingest --tokenizer tokenizer.model\n"
                "  deem bench ingest --tokenizer tokenizer.model --documents 300 --largest 0\n",
};

struct settings {
    const char *tokenizer, *folder;
    int64_t documents, side, rounds, largest;
    bool json;
};

struct stopwatch {
    double wall, cpu;
};
struct round {
    struct stopwatch bare[BENCH_PARTS], sum; /* one thread */
    struct stopwatch jobs[2];                /* ingest with 1 and 2 threads */
};

struct bench {
    const struct settings *s;
    struct bench_dump dump;
    char *out;
    struct tokenizer *tokenizer;
    struct bench_work work;
};

static struct stopwatch now(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (struct stopwatch){ clock_seconds(),
                               (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                                   1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) };
}

static struct stopwatch since(struct stopwatch begin)
{
    const struct stopwatch end = now();
    return (struct stopwatch){ end.wall - begin.wall, end.cpu - begin.cpu };
}

/* ---- ingest ---- */

static enum status ingest(const struct bench *b, const struct bench_dump *dump, unsigned jobs,
                          struct stopwatch *took, struct error *err)
{
    struct ingest_options o;
    struct ingest_report report;
    const char *inputs = dump->docs, *images = dump->images;

    ingest_options_init(&o, INGEST_MMC4);
    o.out = b->out;
    o.tokenizer = b->s->tokenizer;
    o.inputs = &inputs;
    o.input_count = 1;
    o.images = &images;
    o.image_count = 1;
    o.inputs_per_shard = 1;
    o.jobs = jobs;
    enum status st = file_remove_tree(b->out, err);
    const struct stopwatch begin = now();
    if (st == ST_OK)
        st = ingest_run(&report, &o, err);
    *took = since(begin);
    return st;
}

/* ---- the bare libraries ---- */

static enum status run_bare(struct bench *b, struct round *r, struct error *err)
{
    enum status st = ST_OK;
    r->sum = (struct stopwatch){ 0 };
    for (int i = 0; i < BENCH_PARTS && st == ST_OK; i++) {
        const struct stopwatch begin = now();
        st = bench_bare((enum bench_part)i, &b->work, err);
        r->bare[i] = since(begin);
        r->sum.wall += r->bare[i].wall;
        r->sum.cpu += r->bare[i].cpu;
    }
    return st;
}

/* ---- what ingest wrote: what zstd and write have to do ---- */

static enum status gather_shard(struct bench *b, const struct dataset *d, uint32_t shard,
                                struct error *err)
{
    struct shard_reader *r = NULL;
    struct arena arena;
    struct sample s;
    arena_init(&arena, 0);
    enum status st = dataset_shard(d, shard, &r, err);
    if (st == ST_OK && b->work.dictionary.size == 0)
        st = shard_reader_dictionary(r, &b->work.dictionary, err);
    for (uint64_t i = 0; st == ST_OK && i < shard_reader_sequences(r); i++) {
        const struct sample_slot slot = shard_facts_slot(shard_reader_facts(r));
        const size_t before = b->work.sequences.size;
        st = shard_reader_sequence(r, i, &s, &arena, err);
        if (st == ST_OK)
            st = sample_encode(&b->work.sequences, &s, &slot, err);
        const size_t size = b->work.sequences.size - before;
        if (st == ST_OK)
            st = buffer_append(&b->work.sizes, &size, sizeof size, err);
    }
    b->work.written += r ? shard_reader_file_size(r) : 0;
    shard_reader_close(&r);
    arena_clear(&arena);
    return st;
}

static enum status gather(struct bench *b, struct error *err)
{
    struct shard_writer_options defaults;
    struct dataset *d = NULL;
    shard_writer_options_init(&defaults);
    b->work.level = defaults.zstd_level;
    enum status st = dataset_open(&d, b->out, err);
    for (uint32_t i = 0; st == ST_OK && i < dataset_manifest(d)->shard_count; i++)
        st = gather_shard(b, d, i, err);
    dataset_close(&d);
    return st;
}

/* ---- report ---- */

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Over the rounds, of a figure that `of` takes from each. */
struct spread {
    double low, median, high;
};
static struct spread spread_of(const struct round *rounds, int64_t n,
                               double (*of)(const struct round *))
{
    double v[ROUNDS_MAX];
    for (int64_t i = 0; i < n; i++)
        v[i] = of(&rounds[i]);
    qsort(v, (size_t)n, sizeof *v, ascending);
    return (struct spread){ v[0], v[n / 2], v[n - 1] };
}

static double share_of_processor(const struct round *r)
{
    return r->jobs[0].cpu / r->sum.cpu;
}
static double share_of_wall(const struct round *r)
{
    return r->jobs[0].wall / r->sum.wall;
}
static double efficiency(const struct round *r)
{
    return r->jobs[0].wall / (2 * r->jobs[1].wall);
}
static double seconds(const struct round *r)
{
    return r->jobs[0].wall;
}
static double seconds_by_two(const struct round *r)
{
    return r->jobs[1].wall;
}

static void print_spread(const char *name, struct spread s)
{
    printf("  %-34s %8.3f   (%.3f to %.3f)\n", name, s.median, s.low, s.high);
}

static void report(const struct bench *b, const struct round *rounds)
{
    const int64_t n = b->s->rounds;
    const struct spread one = spread_of(rounds, n, seconds);
    const struct spread two = spread_of(rounds, n, seconds_by_two);
    const double documents = (double)b->s->documents, pictures = (double)b->dump.images_count;
    const double mb = (double)(b->dump.line_bytes + b->dump.picture_bytes) / 1e6;

    if (b->s->json) {
        printf(
            "{\"documents\":%.0f,\"pictures\":%.0f,\"megabytes\":%.1f,\"seconds\":[%.3f,%.3f],"
            "\"share_of_processor_time\":%.4f,\"share_of_wall_time\":%.4f,\"efficiency\":%.4f}\n",
            documents, pictures, mb, one.median, two.median,
            spread_of(rounds, n, share_of_processor).median,
            spread_of(rounds, n, share_of_wall).median, spread_of(rounds, n, efficiency).median);
        return;
    }
    printf("%.0f documents, %.0f pictures of %.1f kB, %.1f MB; %" PRId64
           " rounds, median (lowest to "
           "highest)\n",
           documents, pictures, (double)b->dump.picture_bytes / pictures / 1e3, mb, n);
    printf("  1 thread  %8.1f documents/s %8.1f pictures/s %8.1f MB/s\n", documents / one.median,
           pictures / one.median, mb / one.median);
    printf("  2 threads %8.1f documents/s %8.1f pictures/s %8.1f MB/s\n", documents / two.median,
           pictures / two.median, mb / two.median);
    for (int i = 0; i < BENCH_PARTS; i++)
        printf("  bare %-14s %8.3f s of processor (last round)\n",
               bench_part_name((enum bench_part)i), rounds[n - 1].bare[i].cpu);
    printf("  bare sum            %8.3f s, ingest %.3f s\n", rounds[n - 1].sum.cpu,
           rounds[n - 1].jobs[0].cpu);
    print_spread("ingest by bare sum, processor", spread_of(rounds, n, share_of_processor));
    print_spread("ingest by bare sum, wall", spread_of(rounds, n, share_of_wall));
    print_spread("efficiency of 2 threads, wall", spread_of(rounds, n, efficiency));
}

/* ---- runs ---- */

static enum status measure_speed(struct bench *b, struct error *err)
{
    struct round rounds[ROUNDS_MAX] = { 0 };
    const struct bench_dump_options o = { .documents = (uint32_t)b->s->documents,
                                          .documents_per_file = (uint32_t)(b->s->documents + 7) / 8,
                                          .side = (uint32_t)b->s->side,
                                          .keep_texts = true };
    enum status st = bench_dump_make(&b->dump, b->s->folder, &o, err);
    if (st == ST_OK)
        st = tokenizer_open(&b->tokenizer, b->s->tokenizer, NULL, err);
    b->work.dump = &b->dump;
    b->work.tokenizer = b->tokenizer;
    if (st == ST_OK) /* also fills the page cache */
        st = ingest(b, &b->dump, 2, &rounds[0].jobs[1], err);
    if (st == ST_OK)
        st = gather(b, err);
    for (int64_t i = 0; i < b->s->rounds && st == ST_OK; i++) {
        st = run_bare(b, &rounds[i], err);
        for (unsigned jobs = 1; jobs <= 2 && st == ST_OK; jobs++)
            st = ingest(b, &b->dump, jobs, &rounds[i].jobs[jobs - 1], err);
    }
    if (st == ST_OK)
        report(b, rounds);
    bench_dump_clear(&b->dump);
    return st;
}

/* Dumps of thousandfold, then tenfold size up to `largest`; pictures are small, for it is the documents
 * that grow. The peak is that of the process so far. */
static enum status measure_memory(const struct bench *b, struct error *err)
{
    enum status st = ST_OK;
    for (int64_t n = 1000; n <= b->s->largest && st == ST_OK; n *= 10) {
        const struct bench_dump_options o = {
            .documents = (uint32_t)n, .documents_per_file = 1000, .side = 64, .pictures = 500
        };
        struct bench_dump dump;
        struct stopwatch took = { 0 };
        struct rusage u;
        st = bench_dump_make(&dump, b->s->folder, &o, err);
        if (st == ST_OK)
            st = ingest(b, &dump, 2, &took, err);
        getrusage(RUSAGE_SELF, &u);
        if (st == ST_OK && b->s->json)
            printf("{\"documents\":%" PRId64 ",\"peak_resident_bytes\":%lld,\"seconds\":%.2f}\n", n,
                   (long long)u.ru_maxrss * 1024, took.wall);
        else if (st == ST_OK)
            printf("  %7" PRId64 " documents: peak resident set %7.1f MB, %8.1f documents/s\n", n,
                   (double)u.ru_maxrss * 1024 / 1e6, (double)n / took.wall);
        fflush(stdout);
        bench_dump_clear(&dump);
    }
    return st;
}

static enum status run(const struct settings *s, struct error *err)
{
    struct bench b = { .s = s, .out = str_format("%s.dataset", s->folder) };
    enum status st = b.out ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: path");
    if (st == ST_OK && file_exists(b.out))
        st = error_set(err, ST_FAIL, CAUSE_CREATE, "%s: is there already", b.out);
    else if (st == ST_OK)
        st = measure_memory(&b, err); /* first: the peak of the process is still its own */
    if (st == ST_OK)
        st = measure_speed(&b, err);
    if (st == ST_OK || err->cause != CAUSE_CREATE)
        file_remove_tree(b.out, NULL);
    tokenizer_close(&b.tokenizer);
    buffer_clear(&b.work.sequences);
    buffer_clear(&b.work.sizes);
    buffer_clear(&b.work.dictionary);
    mem_free(b.out);
    return st;
}

int bench_ingest(int argc, char **argv)
{
    struct settings s = { .folder = "deem-bench-ingest",
                          .documents = 1000,
                          .side = 640,
                          .rounds = 5,
                          .largest = 100000 };
    const struct option options[] = {
        { "tokenizer", OPTION_TEXT, &s.tokenizer, "FILE", "a SentencePiece model", 0, 0, NULL },
        { "folder", OPTION_TEXT, &s.folder, "FOLDER",
          "made for the dump and removed (deem-bench-ingest)", 0, 0, NULL },
        { "documents", OPTION_INT, &s.documents, "N", "of the dump for speed (1000)", 8, 1e6,
          NULL },
        { "side", OPTION_INT, &s.side, "N", "pixels of its pictures (640)", 16, 4096, NULL },
        { "rounds", OPTION_INT, &s.rounds, "N", "of bare libraries and ingest (5)", 1, ROUNDS_MAX,
          NULL },
        { "largest", OPTION_INT, &s.largest, "N",
          "documents of the largest dump for memory (100000); 0: none", 0, 1e7, NULL },
        { "json", OPTION_FLAG, &s.json, NULL, "lines of JSON", 0, 0, NULL },
    };
    struct error err = { 0 };
    enum status st =
        options_parse(argc, argv, options, sizeof options / sizeof options[0], &help, NULL, &err);
    if (st == ST_OK && !s.tokenizer)
        st = error_set(&err, ST_FAIL, CAUSE_ARG, "--tokenizer is needed");
    if (st == ST_OK)
        st = run(&s, &err);
    if (st == ST_OK || st == ST_END)
        return 0;
    log_error(&err);
    return error_exit_code(err.cause);
}
