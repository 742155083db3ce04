/* cli/cmd_export.c: `deem export masks`: published mask sets as COCO-shaped and conversation files. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/options.h"
#include "core/log.h"
#include "core/pool.h"
#include "ingest/masks/export_masks.h"

struct export_arguments {
    struct export_masks_options opt;
    struct option_list annotations, images, compare;
    int set, preset;
    int64_t seed, max_regions, max_instances, min_area, jobs, tolerance;
    bool strict;
};

static const char *const presets[] = { "none", "paper200k", NULL };

static const struct command_help help = {
    .usage =
        "deem export masks --set SET --annotations PATH... --images PATH... --out DIR [OPTION...]",
    .about = "Turns a published mask set into the two files that stage III reads: one in COCO's "
             "shape and\n"
             "SET_SPLIT_conversation.json, with a manifest of counts, reasons and digests. Wording "
             "comes from\n"
             "recipes/templates/mask_text.json.",
    .examples =
        "  deem export masks --set coco --annotations instances_train2017.json --images train2017 "
        "--out masks\n"
        "  deem export masks --set refcoco --annotations refcoco --images train2014 --out masks\n"
        "  deem export masks --set pascal-part --annotations Annotations_Part --annotations "
        "train.txt \\\n"
        "      --images JPEGImages --out masks\n"
        "  deem export masks --set vcr --annotations train.jsonl --images vcr1images --out masks\n",
};

static void print_reasons(const char *what, const struct mask_count *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        log_line(LOG_INFO, "  %s %s: %" PRIu64, what, list[i].name, list[i].n);
}

static void print_report(const struct export_arguments *a, const struct export_masks_report *r)
{
    log_line(LOG_INFO,
             "%s %s: %" PRIu64 " regions seen, %" PRIu64 " stored, in %" PRIu64
             " instances on %" PRIu64 " pictures",
             mask_set_names[a->set], a->opt.split, r->regions.seen, r->regions.stored, r->instances,
             r->pictures);
    print_reasons("filtered", r->regions.filtered, r->regions.n_filtered);
    print_reasons("quarantined", r->regions.quarantined, r->regions.n_quarantined);
    if (r->regions.bad_images)
        log_line(LOG_INFO, "  damaged image rows: %" PRIu64, r->regions.bad_images);
    if (r->regions_over_cap)
        log_line(LOG_INFO, "  regions over --max-regions, left out of conversations: %" PRIu64,
                 r->regions_over_cap);
    log_line(LOG_INFO, "contamination: %" PRIu64 " instances on pictures of COCO",
             r->coco_pictures);
    for (size_t i = 0; i < r->overlap_count; i++)
        log_line(LOG_INFO, "contamination: %s: %" PRIu64 " pictures, %" PRIu64 " instances overlap",
                 r->overlaps[i].file, r->overlaps[i].pictures, r->overlaps[i].instances);
    if (a->opt.image_count == 0)
        log_line(LOG_WARN, "no --images: sizes of pictures are taken on trust");
}

static enum status parse(int argc, char **argv, struct export_arguments *a, struct error *err)
{
    const struct option options[] = {
        { "set", OPTION_CHOICE, &a->set, "SET", "which set (required)", 0, 0, mask_set_names },
        { "annotations", OPTION_LIST, &a->annotations, "PATH",
          "annotation file (also .zip, .gz, .zst) or folder; repeatable", 0, 0, NULL },
        { "images", OPTION_LIST, &a->images, "PATH",
          "folder or tar of pictures, to check sizes; repeatable", 0, 0, NULL },
        { "out", OPTION_TEXT, &a->opt.out, "DIR", "where the products go", 0, 0, NULL },
        { "split", OPTION_TEXT, &a->opt.split, "NAME", "split, as the set names it (train)", 0, 0,
          NULL },
        { "seed", OPTION_INT, &a->seed, "N", "seed of all draws (0)", 0, 9e18, NULL },
        { "max-regions", OPTION_INT, &a->max_regions, "N",
          "regions of one conversation; 0 = all (15)", 0, 1e9, NULL },
        { "max-instances", OPTION_INT, &a->max_instances, "N", "instances of the set; 0 = all (0)",
          0, 1e12, NULL },
        { "preset", OPTION_CHOICE, &a->preset, "NAME",
          "none, or paper200k: the set's share of 200,000", 0, 0, presets },
        { "min-area", OPTION_INT, &a->min_area, "N", "pixels a mask has at least (16)", 0, 1e9,
          NULL },
        { "keep-crowds", OPTION_FLAG, &a->opt.masks.keep_crowds, NULL,
          "keep regions marked iscrowd", 0, 0, NULL },
        { "exclude-image-ids", OPTION_TEXT, &a->opt.exclude, "FILE",
          "pictures to leave out: ids or names", 0, 0, NULL },
        { "compare", OPTION_LIST, &a->compare, "FILE",
          "report the overlap with the pictures FILE names; repeatable", 0, 0, NULL },
        { "templates", OPTION_TEXT, &a->opt.templates, "FILE",
          "wording (recipes/templates/mask_text.json)", 0, 0, NULL },
        { "pickle-latin1", OPTION_FLAG, &a->opt.latin1, NULL,
          "read refer texts that are not UTF-8 as Latin-1", 0, 0, NULL },
        { "tolerance", OPTION_INT, &a->tolerance, "N", "damaged records in 10,000 (100)", 0, 10000,
          NULL },
        { "strict", OPTION_FLAG, &a->strict, NULL, "tolerance 0", 0, 0, NULL },
        { "jobs", OPTION_INT, &a->jobs, "N", "worker threads; 0 = all cores (0)", 0, 4096, NULL },
    };
    return options_parse(argc, argv, options, sizeof options / sizeof *options, &help, NULL, err);
}

static enum status complete(struct export_arguments *a, struct error *err)
{
    struct export_masks_options *o = &a->opt;

    if (a->set < 0 || a->annotations.count == 0 || !o->out)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--set, --annotations and --out are needed");
    if (strchr(o->split, '/') || !*o->split)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--split is a plain name");
    if (a->compare.count > 16)
        return error_set(err, ST_FAIL, CAUSE_ARG, "at most 16 files to --compare");
    o->set = (enum mask_set)a->set;
    o->annotations = a->annotations.items;
    o->annotation_count = a->annotations.count;
    o->images = a->images.items;
    o->image_count = a->images.count;
    o->compare = a->compare.items;
    o->compare_count = a->compare.count;
    o->seed = (uint64_t)a->seed;
    o->max_regions = (uint64_t)a->max_regions;
    o->max_instances = (uint64_t)a->max_instances;
    o->paper200k = a->preset == 1;
    o->masks.min_area = (uint64_t)a->min_area;
    o->masks.tolerance = a->strict ? 0 : (uint64_t)a->tolerance;
    o->masks.jobs = a->jobs ? (unsigned)a->jobs : cpu_count();
    return ST_OK;
}

int cmd_export(int argc, char **argv)
{
    struct export_arguments a = { .set = -1, .max_regions = 15, .min_area = 16, .tolerance = 100 };
    struct export_masks_report *report = NULL;
    struct error err = { 0 };
    const bool masks = argc > 1 && strcmp(argv[1], "masks") == 0;
    enum status st = ST_OK;

    export_masks_options_init(&a.opt);
    if (!masks && argc > 1 && argv[1][0] != '-')
        st = error_set(&err, ST_FAIL, CAUSE_ARG,
                       "export: %s is nothing that can be exported; masks is", argv[1]);
    if (st == ST_OK)
        st = parse(argc - masks, argv + masks, &a, &err);
    if (st == ST_OK)
        st = complete(&a, &err);
    if (st == ST_OK) {
        report = mem_calloc(1, sizeof *report);
        st = report ? export_masks_run(report, &a.opt, &err)
                    : error_set(&err, ST_FAIL, CAUSE_NOMEM, "report");
    }
    if (st == ST_OK)
        print_report(&a, report);
    else if (st == ST_FAIL)
        log_error(&err);
    mem_free(report);
    options_clear_list(&a.annotations);
    options_clear_list(&a.images);
    options_clear_list(&a.compare);
    return st == ST_FAIL ? error_exit_code(err.cause) : 0;
}
