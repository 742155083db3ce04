/* cli/cmd_ingest.c: `deem ingest mmc4|pairs|instruct`: options in, ingest_run, exit code out. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/log.h"
#include "core/stop.h"
#include "ingest/ingest.h"

enum { EXIT_USAGE = 64, EXIT_DATA = 65 };

/* What the option table fills before it becomes struct ingest_options. */
struct arguments {
    const char *out, *tokenizer, *seed, *part, *exclude;
    struct option_list images, captions, limits, inputs;
    double min_similarity, keep_single, max_aspect;
    int64_t min_side;
    uint64_t min_bytes;
    int pick, caption_unit;
    bool drop_flagged, any_captions;
    int64_t max_images, min_caption, seq_len, image_tokens, images_per_seq, max_side;
    int64_t inputs_per_shard, jobs, tolerance;
    uint64_t memory;
    int variant, jpeg;
    bool strict, dry_run, show_limits;
};

static const char *const pick_names[] = { "random", "first", "top_sim", NULL };
static const char *const unit_names[] = { "characters", "words", "tokens", NULL };
static const char *const variant_names[] = { "A", "B", "C", NULL };
static const char *const jpeg_names[] = { "keep", "baseline", "optimise", NULL };

/* ---- limits ---- */

struct limit {
    const char *name, *about;
    uint64_t *wide;
    uint32_t *narrow;
    unsigned *plain;
};
enum { LIMITS = 14 };

static void list_limits(struct limit out[LIMITS], struct ingest_options *o)
{
    const struct limit all[LIMITS] = {
        { "line", "bytes of a JSON line", &o->limits.max_line, NULL, NULL },
        { "lines-file", "bytes of a JSON-lines file, unpacked", &o->limits.max_lines_member, NULL,
          NULL },
        { "member", "bytes of an archive member", &o->limits.max_member, NULL, NULL },
        { "members", "members of an archive", &o->limits.max_members, NULL, NULL },
        { "member-name", "bytes of a member's name", NULL, &o->limits.max_name, NULL },
        { "ratio", "expansion to one, past 16 MiB", &o->limits.max_ratio, NULL, NULL },
        { "json-depth", "nesting of JSON", NULL, NULL, &o->limits.max_depth },
        { "json-string", "bytes of a JSON string", &o->limits.max_string, NULL, NULL },
        { "json-members", "members of a JSON object", &o->limits.max_object, NULL, NULL },
        { "picture-bytes", "bytes of a picture", &o->pictures.max_bytes, NULL, NULL },
        { "picture-side", "pixels of a side", NULL, &o->pictures.max_side, NULL },
        { "picture-pixels", "pixels of a picture", &o->pictures.max_pixels, NULL, NULL },
        { "jpeg-scans", "scans of a JPEG", NULL, NULL, &o->pictures.max_scans },
        { "decoder-memory", "bytes a picture decoder may take", &o->pictures.max_memory, NULL,
          NULL },
    };
    memcpy(out, all, sizeof all);
}

static uint64_t limit_value(const struct limit *l)
{
    return l->wide ? *l->wide : l->narrow ? *l->narrow : *l->plain;
}

static void show_limits(struct ingest_options *o)
{
    struct limit limits[LIMITS];
    list_limits(limits, o);
    for (int i = 0; i < LIMITS; i++)
        printf("%-16s %14" PRIu64 "  %s\n", limits[i].name, limit_value(&limits[i]),
               limits[i].about);
    printf("%-16s %14" PRIu64 "  bytes of a process (--memory)\n", "memory", o->memory);
}

/* NAME=NUMBER */
static enum status set_limit(struct ingest_options *o, const char *text, struct error *err)
{
    struct limit limits[LIMITS];
    const size_t size = strcspn(text, "=");
    char *end = NULL;

    list_limits(limits, o);
    for (int i = 0; i < LIMITS; i++) {
        const char *name = limits[i].name;
        if (strlen(name) != size || memcmp(name, text, size) != 0)
            continue;
        errno = 0;
        const char *number = text[size] ? text + size + 1 : "";
        const unsigned long long v = strtoull(number, &end, 10);
        if (*number < '0' || *number > '9' || *end || errno || v < 1 ||
            (!limits[i].wide && v > INT32_MAX))
            return error_set(err, ST_FAIL, CAUSE_ARG, "--limit %s: want %s=NUMBER", text, name);
        if (limits[i].wide)
            *limits[i].wide = v;
        else if (limits[i].narrow)
            *limits[i].narrow = (uint32_t)v;
        else
            *limits[i].plain = (unsigned)v;
        return ST_OK;
    }
    return error_set(err, ST_FAIL, CAUSE_ARG, "--limit %s: no such limit; --show-limits lists them",
                     text);
}

/* ---- options ---- */

static void fill_arguments(struct arguments *a, const struct ingest_options *o)
{
    *a = (struct arguments){ .min_similarity = o->filter.min_similarity,
                             .keep_single = o->filter.keep_single,
                             .max_images = o->filter.max_images,
                             .pick = (int)o->filter.pick,
                             .caption_unit = (int)o->filter.caption_unit,
                             .min_caption = o->filter.min_caption,
                             .seq_len = o->piece.seq_len,
                             .image_tokens = o->piece.image_tokens,
                             .images_per_seq = o->piece.max_images,
                             .max_side = o->store_side,
                             .inputs_per_shard = o->inputs_per_shard,
                             .tolerance = o->tolerance,
                             .memory = o->memory,
                             .variant = (int)o->variant,
                             .jpeg = (int)o->jpeg };
}

static enum status fill_options(struct ingest_options *o, const struct arguments *a,
                                struct error *err)
{
    o->out = a->out;
    o->tokenizer = a->tokenizer;
    o->exclude = a->exclude;
    o->inputs = a->inputs.items;
    o->input_count = a->inputs.count;
    o->images = a->images.items;
    o->image_count = a->images.count;
    o->captions = a->captions.items;
    o->caption_count = a->captions.count;
    o->filter.min_similarity = a->min_similarity;
    o->filter.keep_single = a->keep_single;
    o->filter.max_images = (uint32_t)a->max_images;
    o->filter.min_caption = (uint32_t)a->min_caption;
    o->filter.pick = (enum filter_pick)a->pick;
    o->filter.drop_flagged = a->drop_flagged;
    o->filter.caption_unit = (enum filter_unit)a->caption_unit;
    o->filter.min_side = (uint32_t)a->min_side;
    o->filter.max_aspect = a->max_aspect;
    o->filter.min_bytes = a->min_bytes;
    o->any_captions = a->any_captions;
    o->piece.seq_len = (uint32_t)a->seq_len;
    o->piece.image_tokens = (uint32_t)a->image_tokens;
    o->piece.max_images = (uint32_t)a->images_per_seq;
    o->store_side = (uint32_t)a->max_side;
    o->inputs_per_shard = (uint32_t)a->inputs_per_shard;
    o->jobs = (unsigned)a->jobs;
    o->tolerance = a->strict ? 0 : (uint32_t)a->tolerance;
    o->memory = a->memory;
    o->variant = (enum tokenizer_variant)a->variant;
    o->jpeg = (enum image_jpeg_policy)a->jpeg;
    enum status st = options_read_seed(&o->filter.seed, a->seed, err);
    if (st == ST_OK)
        st = options_read_part(&o->part, &o->parts, a->part, err);
    for (size_t i = 0; i < a->limits.count && st == ST_OK; i++)
        st = set_limit(o, a->limits.items[i], err);
    return st;
}

static const struct command_help help[INGEST_KINDS] = {
    { "deem ingest mmc4 --out DATASET --tokenizer FILE --images PATH [--images PATH ...] INPUT...",
      "Web documents with pictures (MMC4) become a dataset. INPUT is a file or a folder of .jsonl, "
      ".jsonl.zip,\n.jsonl.gz, .jsonl.zst. Running the same command again resumes.",
      "  deem ingest mmc4 --out data/mmc4 --tokenizer tokenizer.model --images pictures/ docs/\n"
      "  deem ingest mmc4 --out data/mmc4 --tokenizer tokenizer.model --images tars/ --part 0/8 "
      "docs/\n" },
    { "deem ingest pairs --out DATASET --tokenizer FILE INPUT...",
      "Image-text pairs become a dataset. INPUT is a tar as img2dataset writes it, or a folder of "
      "tars.\nRunning the same command again resumes.",
      "  deem ingest pairs --out data/pairs --tokenizer tokenizer.model tars/\n"
      "  deem ingest pairs --out data/pairs --tokenizer tokenizer.model --captions "
      "ccs_synthetic_filtered_large.json tars/\n" },
};

enum { OWN_OPTIONS = 6, SHARED_OPTIONS = 22, ALL_OPTIONS = OWN_OPTIONS + SHARED_OPTIONS };

/* The options of one kind first, then those of both. Returns their number. */
static size_t list_options(struct option *out, struct arguments *a, enum ingest_kind kind)
{
    const struct option mmc4[] = {
        { "images", OPTION_LIST, &a->images, "PATH",
          "pictures: a folder, a tar, a folder of tars; repeatable, searched in order", 0, 0,
          NULL },
        { "min-similarity", OPTION_REAL, &a->min_similarity, "X",
          "an image needs this similarity with its sentence (0.24)", -1e9, 1e9, NULL },
        { "max-images", OPTION_INT, &a->max_images, "N", "of a document (6)", 1, 1e9, NULL },
        { "keep-single", OPTION_REAL, &a->keep_single, "P",
          "probability to keep a document with one image (0.5)", 0, 1, NULL },
        { "pick", OPTION_CHOICE, &a->pick, "random|first|top_sim",
          "which images stay where there are more than --max-images (random)", 0, 0, pick_names },
        { "drop-flagged", OPTION_FLAG, &a->drop_flagged, NULL,
          "drop documents with could_have_url_duplicate; exact duplicates always go", 0, 0, NULL },
    };
    const struct option pairs[] = {
        { "captions", OPTION_LIST, &a->captions, "FILE.json",
          "captions by URL instead of the samples' own; repeatable, the first entry wins", 0, 0,
          NULL },
        { "min-caption", OPTION_INT, &a->min_caption, "N", "length of a caption (10)", 0, 1e9,
          NULL },
        { "caption-unit", OPTION_CHOICE, &a->caption_unit, "characters|words|tokens",
          "what --min-caption counts (characters)", 0, 0, unit_names },
        { "any-captions", OPTION_FLAG, &a->any_captions, NULL,
          "take BLIP's files of web captions and of the smaller captioner too", 0, 0, NULL },
    };
    const struct option shared[SHARED_OPTIONS] = {
        { "out", OPTION_TEXT, &a->out, "DATASET", "the folder to make", 0, 0, NULL },
        { "tokenizer", OPTION_TEXT, &a->tokenizer, "FILE", "a SentencePiece model", 0, 0, NULL },
        { "seed", OPTION_TEXT, &a->seed, "N", "of every random decision (0)", 0, 0, NULL },
        { "seq-len", OPTION_INT, &a->seq_len, "N", "tokens of a sequence (2048)", 16, 65535, NULL },
        { "image-tokens", OPTION_INT, &a->image_tokens, "N", "tokens of an image (77)", 1, 65535,
          NULL },
        { "images-per-seq", OPTION_INT, &a->images_per_seq, "N", "images of a sequence (15)", 1,
          65535, NULL },
        { "variant", OPTION_CHOICE, &a->variant, "A|B|C", "how text after an image is cut (A)", 0,
          0, variant_names },
        { "jpeg", OPTION_CHOICE, &a->jpeg, "keep|baseline|optimise",
          "how JPEGs are stored, always without loss (baseline)", 0, 0, jpeg_names },
        { "max-side", OPTION_INT, &a->max_side, "N",
          "re-encode pictures of a longer side, with loss (off)", 0, 16384, NULL },
        { "min-side", OPTION_INT, &a->min_side, "N",
          "pixels of a picture's shorter side (off; under 10 never)", 0, 16384, NULL },
        { "max-aspect", OPTION_REAL, &a->max_aspect, "X", "longer side by shorter (off)", 0, 1e9,
          NULL },
        { "min-bytes", OPTION_BYTES, &a->min_bytes, "SIZE", "of a picture file (off)", 0, 0, NULL },
        { "inputs-per-shard", OPTION_INT, &a->inputs_per_shard, "N",
          kind == INGEST_MMC4 ? "input files of a work unit (32)"
                              : "input files of a work unit (1)",
          1, 1e9, NULL },
        { "exclude", OPTION_TEXT, &a->exclude, "FILE",
          "URLs, picture hashes and record keys to leave out, one a line", 0, 0, NULL },
        { "limit", OPTION_LIST, &a->limits, "NAME=N", "another limit than --show-limits prints", 0,
          0, NULL },
        { "jobs", OPTION_INT, &a->jobs, "N", "threads (all cores)", 1, 1024, NULL },
        { "part", OPTION_TEXT, &a->part, "I/N", "only the units i with i mod N = I", 0, 0, NULL },
        { "memory", OPTION_BYTES, &a->memory, "SIZE", "ceiling of the process (1G)", 0, 0, NULL },
        { "tolerance", OPTION_INT, &a->tolerance, "N",
          "damaged records of the last 10,000 that stop the run when passed (100)", 0, 10000,
          NULL },
        { "strict", OPTION_FLAG, &a->strict, NULL, "as --tolerance 0", 0, 0, NULL },
        { "dry-run", OPTION_FLAG, &a->dry_run, NULL,
          "print units, pictures found and missing, expected size; write nothing", 0, 0, NULL },
        { "show-limits", OPTION_FLAG, &a->show_limits, NULL, "print the limits and end", 0, 0,
          NULL },
    };
    const size_t own =
        kind == INGEST_MMC4 ? sizeof mmc4 / sizeof *mmc4 : sizeof pairs / sizeof *pairs;
    memcpy(out, kind == INGEST_MMC4 ? mmc4 : pairs, own * sizeof *out);
    memcpy(out + own, shared, sizeof shared);
    return own + SHARED_OPTIONS;
}

/* ---- the command ---- */

static enum status check_needed(const struct arguments *a, enum ingest_kind kind, struct error *err)
{
    if (!a->out || !a->tokenizer)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--%s is needed", a->out ? "tokenizer" : "out");
    if (a->inputs.count == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "no INPUT given");
    if (kind == INGEST_MMC4 && a->images.count == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--images is needed: where do the pictures lie?");
    return ST_OK;
}

static int report_end(const struct ingest_report *r, const struct ingest_options *o)
{
    if (!r->finished) {
        log_line(LOG_INFO,
                 "part %" PRIu32 "/%" PRIu32 " is sealed; the same command without --part "
                 "finishes the dataset",
                 o->part, o->parts);
        return 0;
    }
    log_line(LOG_INFO,
             "%" PRIu64 " sequences; records: %" PRIu64 " stored, %" PRIu64 " filtered, %" PRIu64
             " quarantined; %" PRIu64 " bad pictures",
             r->sequences, r->stored, r->filtered, r->quarantined, r->bad_pictures);
    if (!r->incomplete)
        return 0;
    log_line(LOG_WARN, "an input is incomplete (see quarantine.jsonl); the dataset is usable");
    return EXIT_DATA;
}

static int run_kind(enum ingest_kind kind, int argc, char **argv)
{
    struct ingest_options o;
    struct arguments a;
    struct ingest_report report;
    struct option options[ALL_OPTIONS];
    struct error err = { 0 };
    struct buffer plan;
    int code = 0;

    buffer_init(&plan);
    ingest_options_init(&o, kind);
    fill_arguments(&a, &o);
    const size_t count = list_options(options, &a, kind);
    enum status st = options_parse(argc, argv, options, count, &help[kind], &a.inputs, &err);
    if (st == ST_OK)
        st = fill_options(&o, &a, &err);
    if (st == ST_OK && a.show_limits) {
        show_limits(&o);
        goto done;
    }
    if (st == ST_OK)
        st = check_needed(&a, kind, &err);
    if (st == ST_OK) {
        stop_install();
        o.plan = a.dry_run ? &plan : NULL;
        st = ingest_run(&report, &o, &err);
        if (st == ST_OK && a.dry_run)
            fwrite(plan.data, 1, plan.size, stdout);
        else if (st == ST_OK)
            code = report_end(&report, &o);
    }
done:
    if (st != ST_OK && st != ST_END) {
        log_error(&err);
        code = error_exit_code(err.cause);
    }
    options_clear_list(&a.images);
    options_clear_list(&a.captions);
    options_clear_list(&a.limits);
    options_clear_list(&a.inputs);
    buffer_clear(&plan);
    return code;
}

int cmd_ingest(int argc, char **argv)
{
    static const char usage[] =
        "usage: deem ingest mmc4|pairs|instruct OPTION... INPUT...\n\n"
        "  mmc4       web documents with pictures (MMC4 JSON lines and a picture folder or tars)\n"
        "  pairs      image-text pairs (tars as img2dataset writes them)\n"
        "  instruct   instruction sets of stages II and III\n\n"
        "`deem ingest mmc4 --help` explains one.\n";
    if (argc >= 2 && strcmp(argv[1], "mmc4") == 0)
        return run_kind(INGEST_MMC4, argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "pairs") == 0)
        return run_kind(INGEST_PAIRS, argc - 1, argv + 1);
    if (argc >= 2 && strcmp(argv[1], "instruct") == 0)
        return cmd_ingest_instruct(argc - 1, argv + 1);
    const int asked = argc >= 2 && strcmp(argv[1], "--help") == 0;
    fputs(usage, asked ? stdout : stderr);
    return asked ? 0 : EXIT_USAGE;
}
