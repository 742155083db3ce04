/* cli/cmd_ingest_instruct.c: `deem ingest instruct`: options in, instruct_run, exit code out. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/log.h"
#include "core/stop.h"
#include "ingest/instruct.h"

struct instruct_arguments {
    struct instruct_options o;
    struct option_list annotations, images, compare;
    const char *seed, *part;
    int64_t max_instances, seq_len, image_tokens, images_per_seq, max_side, records, jobs,
        tolerance;
    int set, profile, preset, variant, jpeg;
    bool strict;
};

static const char *const profiles[] = { "default", "deem", NULL };
static const char *const presets[] = { "none", "paper800k", NULL };
static const char *const variants[] = { "A", "B", "C", NULL };
static const char *const jpegs[] = { "keep", "baseline", "optimise", NULL };

static const struct command_help help = {
    .usage = "deem ingest instruct --set SET --annotations PATH... --images PATH... --out DATASET "
             "--tokenizer FILE",
    .about = "Instruction sets of stages II and III become a dataset: one instance a sequence, "
             "answers trained,\n"
             "prompts not. mask-text takes the conversation files of `deem export masks`. Running "
             "the same\n"
             "command again resumes.",
    .examples = "  deem ingest instruct --set llava --annotations llava_v1_5_mix665k.json --images "
                "data \\\n"
                "      --out data/llava --tokenizer tokenizer.model\n"
                "  deem ingest instruct --set vqav2 --annotations "
                "v2_OpenEnded_mscoco_train2014_questions.json \\\n"
                "      --annotations v2_mscoco_train2014_annotations.json --images coco --out "
                "data/vqav2 \\\n"
                "      --tokenizer tokenizer.model\n"
                "  deem ingest instruct --set mask-text --annotations "
                "masks/coco_train_conversation.json \\\n"
                "      --images train2017 --out data/masks --tokenizer tokenizer.model\n",
};

static enum status parse(int argc, char **argv, struct instruct_arguments *a, struct error *err)
{
    struct instruct_options *o = &a->o;
    const struct option options[] = {
        { "set", OPTION_CHOICE, &a->set, "SET", "which set (required)", 0, 0, instruct_set_names },
        { "annotations", OPTION_LIST, &a->annotations, "PATH",
          "annotation file (also .zip, .gz, .zst); repeatable", 0, 0, NULL },
        { "images", OPTION_LIST, &a->images, "PATH",
          "folder or tar of pictures; repeatable, searched in order", 0, 0, NULL },
        { "out", OPTION_TEXT, &o->base.out, "DATASET", "the folder to make", 0, 0, NULL },
        { "tokenizer", OPTION_TEXT, &o->base.tokenizer, "FILE", "a SentencePiece model", 0, 0,
          NULL },
        { "profile", OPTION_CHOICE, &a->profile, "NAME",
          "default, or deem: the authors' strings and masks", 0, 0, profiles },
        { "max-instances", OPTION_INT, &a->max_instances, "N", "records of the set; 0 = all (0)", 0,
          1e12, NULL },
        { "preset", OPTION_CHOICE, &a->preset, "NAME",
          "none, or paper800k: the set's share of 800,000", 0, 0, presets },
        { "exclude-image-ids", OPTION_TEXT, &o->exclude, "FILE",
          "pictures to leave out: ids or names", 0, 0, NULL },
        { "compare", OPTION_LIST, &a->compare, "FILE",
          "report the overlap with the pictures FILE names; repeatable", 0, 0, NULL },
        { "raw-answer", OPTION_FLAG, &o->raw_answer, NULL,
          "okvqa: raw_answer instead of the stemmed answer", 0, 0, NULL },
        { "multi-round", OPTION_FLAG, &o->multi_round, NULL,
          "llava: all rounds of a record in one sequence", 0, 0, NULL },
        { "templates", OPTION_TEXT, &o->templates, "FILE",
          "strings (recipes/templates/instruct.json)", 0, 0, NULL },
        { "mask-templates", OPTION_TEXT, &o->mask_templates, "FILE",
          "styles (recipes/templates/mask_text.json)", 0, 0, NULL },
        { "seed", OPTION_TEXT, &a->seed, "N", "of every random decision (0)", 0, 0, NULL },
        { "seq-len", OPTION_INT, &a->seq_len, "N", "tokens of a sequence (2048)", 16, 65535, NULL },
        { "image-tokens", OPTION_INT, &a->image_tokens, "N", "tokens of an image (77)", 1, 65535,
          NULL },
        { "images-per-seq", OPTION_INT, &a->images_per_seq, "N", "slots of a sequence (26)", 1,
          65535, NULL },
        { "variant", OPTION_CHOICE, &a->variant, "A|B|C", "how text after an image is cut (A)", 0,
          0, variants },
        { "jpeg", OPTION_CHOICE, &a->jpeg, "keep|baseline|optimise",
          "how JPEGs are stored, without loss (baseline)", 0, 0, jpegs },
        { "max-side", OPTION_INT, &a->max_side, "N",
          "re-encode pictures of a longer side, with loss (off)", 0, 16384, NULL },
        { "records-per-unit", OPTION_INT, &a->records, "N", "records of a work unit (65536)", 1,
          1e9, NULL },
        { "jobs", OPTION_INT, &a->jobs, "N", "threads (all cores)", 1, 1024, NULL },
        { "part", OPTION_TEXT, &a->part, "I/N", "only the units i with i mod N = I", 0, 0, NULL },
        { "memory", OPTION_BYTES, &o->base.memory, "SIZE", "ceiling of the process (1G)", 0, 0,
          NULL },
        { "tolerance", OPTION_INT, &a->tolerance, "N",
          "damaged records of the last 10,000 that stop the run when passed (100)", 0, 10000,
          NULL },
        { "strict", OPTION_FLAG, &a->strict, NULL, "as --tolerance 0", 0, 0, NULL },
    };
    return options_parse(argc, argv, options, sizeof options / sizeof *options, &help, NULL, err);
}

static enum status read_numbers(struct instruct_arguments *a, struct error *err)
{
    struct ingest_options *o = &a->o.base;
    const enum status st = options_read_seed(&o->filter.seed, a->seed, err);
    return st == ST_OK ? options_read_part(&o->part, &o->parts, a->part, err) : st;
}

static enum status complete(struct instruct_arguments *a, struct error *err)
{
    struct instruct_options *o = &a->o;

    if (a->set < 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--set is needed");
    o->set = (enum instruct_set)a->set;
    o->deem = a->profile == 1;
    o->paper800k = a->preset == 1;
    o->max_instances = (uint64_t)a->max_instances;
    o->base.inputs = a->annotations.items;
    o->base.input_count = a->annotations.count;
    o->compare = a->compare.items;
    o->compare_count = a->compare.count;
    o->base.images = a->images.items;
    o->base.image_count = a->images.count;
    o->base.piece.seq_len = (uint32_t)a->seq_len;
    o->base.piece.image_tokens = (uint32_t)a->image_tokens;
    o->base.piece.max_images = (uint32_t)a->images_per_seq;
    o->base.store_side = (uint32_t)a->max_side;
    o->base.records_per_unit = (uint32_t)a->records;
    o->base.jobs = (unsigned)a->jobs;
    o->base.tolerance = a->strict ? 0 : (uint32_t)a->tolerance;
    o->base.variant = (enum tokenizer_variant)a->variant;
    o->base.jpeg = (enum image_jpeg_policy)a->jpeg;
    return read_numbers(a, err);
}

static void report_end(const struct ingest_report *r)
{
    if (!r->finished)
        log_line(LOG_INFO,
                 "this part is sealed; the same command without --part finishes the dataset");
    else
        log_line(LOG_INFO,
                 "%" PRIu64 " sequences; records: %" PRIu64 " stored, %" PRIu64
                 " filtered, %" PRIu64 " quarantined",
                 r->sequences, r->stored, r->filtered, r->quarantined);
}

int cmd_ingest_instruct(int argc, char **argv)
{
    struct instruct_arguments a = { .set = -1 };
    struct ingest_report report;
    struct error err = { 0 };

    instruct_options_init(&a.o);
    a.seq_len = a.o.base.piece.seq_len;
    a.image_tokens = a.o.base.piece.image_tokens;
    a.images_per_seq = a.o.base.piece.max_images;
    a.records = a.o.base.records_per_unit;
    a.tolerance = a.o.base.tolerance;
    a.variant = (int)a.o.base.variant;
    a.jpeg = (int)a.o.base.jpeg;
    enum status st = parse(argc, argv, &a, &err);
    if (st == ST_OK)
        st = complete(&a, &err);
    if (st == ST_OK) {
        stop_install();
        st = instruct_run(&report, &a.o, &err);
    }
    if (st == ST_OK)
        report_end(&report);
    else if (st == ST_FAIL)
        log_error(&err);
    options_clear_list(&a.annotations);
    options_clear_list(&a.images);
    options_clear_list(&a.compare);
    return st == ST_FAIL ? error_exit_code(err.cause) : 0;
}
