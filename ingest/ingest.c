/* ingest/ingest.c: see ingest.h. Puts tokenizer, schedule, picture index and driver together. */
#include "ingest/ingest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/ceiling.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "core/pool.h"
#include "ingest/driver.h"
#include "ingest/holes.h"
#include "ingest/scan.h"
#include "ingest/signature.h"
#include "ingest/unit.h"
#include "shards/dataset.h"
#include "shards/shard_reader.h"

/* All that a run holds. */
struct run {
    const struct ingest_options *opt;
    unsigned threads;
    struct tokenizer *tokenizer;
    struct schedule schedule;
    struct signature signature;
    struct driver driver;
    struct gate *gate;
    struct exclude *exclude;
    struct picture_index *pictures;
    struct captions *captions;
    struct buffer pieces;
    struct shard_facts facts;
    const char *source; /* name of the one source */
};

void ingest_options_init(struct ingest_options *opt, enum ingest_kind kind)
{
    *opt = (struct ingest_options){ .kind = kind,
                                    .jpeg = IMAGE_JPEG_BASELINE,
                                    .inputs_per_shard = kind == INGEST_PAIRS ? 1 : 32,
                                    .records_per_unit = 65536,
                                    .memory = UINT64_C(1) << 30,
                                    .tolerance = 100 };
    filter_options_init(&opt->filter);
    piece_options_init(&opt->piece);
    source_limits_init(&opt->limits);
    image_limits_init(&opt->pictures);
}

static enum status check_options(const struct ingest_options *opt, struct error *err)
{
    const enum status st = filter_options_check(&opt->filter, err);
    if (st != ST_OK)
        return st;
    if (!opt->out || !opt->tokenizer)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--out and --tokenizer are needed");
    if (opt->inputs_per_shard < 1 || opt->records_per_unit < 1)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--inputs-per-shard: at least 1");
    for (size_t i = 0; i < opt->caption_count && !opt->any_captions; i++)
        if (captions_sibling(opt->captions[i]))
            return error_set(err, ST_FAIL, CAUSE_ARG,
                             "%s: not the captions of BLIP's large captioner "
                             "(*_synthetic_filtered_large.json); --any-captions takes it",
                             opt->captions[i]);
    if (opt->parts > 0 && opt->part >= opt->parts)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--part: I/N with I from 0 to N-1");
    return piece_options_check(&opt->piece, err);
}

static void fill_facts(struct run *r)
{
    const struct special_ids *s = tokenizer_special(r->tokenizer);
    struct shard_facts *f = &r->facts;

    r->source = ingest_kind_name(r->opt->kind);
    *f = (struct shard_facts){ .kind = r->source,
                               .sources = &r->source,
                               .source_count = 1,
                               .seed = r->opt->filter.seed,
                               .variant = (char)('A' + (int)r->opt->variant),
                               .pieces = s->pieces,
                               .bos = s->bos,
                               .eos = s->eos,
                               .unk = s->unk,
                               .seq_len = r->opt->piece.seq_len,
                               .image_tokens = r->opt->piece.image_tokens,
                               .images_per_seq = r->opt->piece.max_images,
                               .options = (const char *)r->signature.options.data,
                               .versions = (const char *)r->signature.versions.data };
    memcpy(f->identity, r->signature.identity, sizeof f->identity);
    memcpy(f->tokenizer_sha256, tokenizer_sha256(r->tokenizer), sizeof f->tokenizer_sha256);
}

/* Everything that reads but does not write. */
static enum status open_run(struct run *r, struct error *err)
{
    const struct ingest_options *opt = r->opt;
    struct tokenizer_options t;

    tokenizer_options_init(&t);
    t.variant = opt->variant;
    r->threads = opt->jobs ? opt->jobs : cpu_count();
    enum status st =
        gate_open(&r->gate, &r->threads, opt->memory, &opt->limits, &opt->pictures, err);
    if (st == ST_OK)
        st = memory_ceiling(opt->memory, r->threads, err);
    if (st == ST_OK)
        st = tokenizer_open(&r->tokenizer, opt->tokenizer, &t, err);
    if (st == ST_OK)
        st = tokenizer_pieces(r->tokenizer, &r->pieces, err);
    if (st == ST_OK && opt->exclude)
        st = exclude_open(&r->exclude, opt->exclude, err);
    if (st == ST_OK)
        st = inputs_find(&r->schedule.inputs, opt->inputs, opt->input_count,
                         opt->kind == INGEST_MMC4 ? INPUTS_LINES : INPUTS_TARS, err);
    if (st == ST_OK)
        st = signature_make(&r->signature, opt, r->tokenizer, &r->schedule.inputs, err);
    if (st == ST_OK)
        fill_facts(r);
    return st;
}

static void close_run(struct run *r)
{
    driver_close(&r->driver);
    picture_index_close(&r->pictures);
    captions_close(&r->captions);
    exclude_close(&r->exclude);
    schedule_clear(&r->schedule);
    signature_clear(&r->signature);
    tokenizer_close(&r->tokenizer);
    gate_close(&r->gate);
    buffer_clear(&r->pieces);
}

/* ---- a dataset that is there ---- */

static void fill_report(struct ingest_report *report, const struct manifest *m)
{
    *report = (struct ingest_report){ .sequences = m->total.sequences,
                                      .stored = m->records.stored,
                                      .filtered = tally_sum(&m->records.filtered),
                                      .quarantined = tally_sum(&m->records.quarantined),
                                      .bad_pictures = tally_sum(&m->pictures.quarantined),
                                      .finished = true };
    for (size_t i = 0; i < m->total.input_count; i++)
        report->incomplete = report->incomplete || m->total.inputs[i].incomplete;
}

/* ST_OK: finished, and made by this very command. ST_END: not finished. */
static enum status check_finished(struct run *r, struct ingest_report *report, struct error *err)
{
    struct manifest m;
    struct buffer text = { 0 };
    struct arena arena;
    struct json_value *there = NULL;

    manifest_init(&m);
    arena_init(&arena, 0);
    enum status st = driver_finished(&m, r->opt->out, err);
    if (st == ST_OK)
        st = signature_of_dataset(&text, &m.facts, m.total.inputs, m.total.input_count, err);
    if (st == ST_OK)
        st = json_parse(&arena, &there, text.data, text.size, NULL, err);
    if (st == ST_OK)
        st = signature_compare(r->opt->out, there, &r->signature.text, err);
    if (st == ST_OK)
        fill_report(report, &m);
    arena_clear(&arena);
    buffer_clear(&text);
    manifest_clear(&m);
    return st;
}

/* Shards without a plan: somebody took the plan away, or they are of another command. */
static enum status check_shards(const struct run *r, struct error *err)
{
    char *folder = path_join(r->opt->out, "shards"), *path = NULL;
    char **names = NULL;
    size_t count = 0;
    struct shard_reader *reader = NULL;
    enum status st = folder ? file_list(folder, &names, &count, err)
                            : error_set(err, ST_FAIL, CAUSE_NOMEM, "path");

    for (size_t i = 0; i < count && st == ST_OK; i++) {
        path = path_join(folder, names[i]);
        st = path ? shard_reader_open(&reader, path, NULL, err)
                  : error_set(err, ST_FAIL, CAUSE_NOMEM, "path");
        if (st == ST_OK && memcmp(shard_reader_facts(reader)->identity, r->facts.identity,
                                  SHARD_IDENTITY_BYTES) != 0)
            st = error_set(err, ST_FAIL, CAUSE_ARG,
                           "%s: a shard of other options, inputs or libraries", path);
        shard_reader_close(&reader);
        mem_free(path);
    }
    file_list_free(&names, count);
    mem_free(folder);
    return st;
}

/* ---- planning ---- */

static enum status warn_of_holes(const struct run *r, struct error *err)
{
    struct buffer text = { 0 };
    const enum status st = holes_describe(&text, &r->schedule.inputs, err);
    if (st == ST_OK && text.size > 0)
        log_line(LOG_WARN, "%.*s", (int)text.size, (const char *)text.data);
    buffer_clear(&text);
    return st;
}

static enum status open_lookups(struct run *r, const char *work, struct error *err)
{
    const struct ingest_options *opt = r->opt;
    if (opt->kind == INGEST_MMC4)
        return picture_index_open(&r->pictures, work, opt->images, opt->image_count, &opt->limits,
                                  err);
    if (opt->caption_count == 0)
        return ST_OK;
    return captions_open(&r->captions, work, opt->captions, opt->caption_count, &opt->limits, err);
}

static enum status plan(struct run *r, struct error *err)
{
    enum status st = schedule_load(&r->schedule, r->driver.work, &r->signature.text, err);
    if (st == ST_OK || st == ST_FAIL) {
        driver_planned(&r->driver);
        return st == ST_OK ? open_lookups(r, r->driver.work, err) : st;
    }
    st = check_shards(r, err);
    if (st == ST_OK)
        st = warn_of_holes(r, err);
    if (st == ST_OK)
        st = open_lookups(r, r->driver.work, err);
    if (st == ST_OK)
        st = scan_dump(&r->schedule, r->opt, r->tokenizer, r->threads, NULL, err);
    if (st == ST_OK)
        st = schedule_save(&r->schedule, r->driver.work, &r->signature.text, err);
    if (st == ST_OK)
        log_line(LOG_INFO, "planned: %zu inputs, %zu units, %zu exact duplicates",
                 r->schedule.inputs.count, r->schedule.unit_count, r->schedule.duplicate_count);
    driver_planned(&r->driver);
    return st;
}

/* ---- dry run ---- */

static enum status print_units(struct buffer *out, const struct schedule *s, struct error *err)
{
    enum status st = ST_OK;
    for (size_t u = 0; u < s->unit_count && st == ST_OK; u++) {
        const struct schedule_unit *unit = &s->units[u];
        st = buffer_printf(out, err, "unit %06zu: %s", u, s->inputs.list[unit->first].file);
        if (st == ST_OK && unit->count > 1)
            st = buffer_printf(out, err, " to %s (%" PRIu32 " inputs)",
                               s->inputs.list[unit->first + unit->count - 1].file, unit->count);
        if (st == ST_OK && (unit->skip > 0 || unit->take > 0))
            st = buffer_printf(out, err, ", records from %" PRIu64, unit->skip);
        if (st == ST_OK)
            st = buffer_printf(out, err, "\n");
    }
    return st;
}

static enum status print_plan(const struct run *r, const struct scan_pictures *pictures,
                              struct error *err)
{
    const struct schedule *s = &r->schedule;
    const bool web = r->opt->kind == INGEST_MMC4;
    struct buffer *out = r->opt->plan;
    enum status st = print_units(out, s, err);
    if (st == ST_OK)
        st = buffer_printf(out, err, "inputs: %zu, %" PRIu64 " bytes\nunits: %zu\n",
                           s->inputs.count, s->inputs.bytes, s->unit_count);
    if (st == ST_OK && web)
        st = buffer_printf(out, err,
                           "records: %" PRIu64 ", %zu exact duplicates\npictures: %" PRIu64
                           " found, %" PRIu64 " missing\n",
                           s->records, s->duplicate_count, pictures->found, pictures->missing);
    if (st == ST_OK)
        st = buffer_printf(out, err, "expected size: at most about %" PRIu64 " bytes\n",
                           (web ? pictures->bytes : 0) + s->inputs.bytes);
    return st;
}

/* Plans in a folder of its own that goes away again; the dataset is not touched. */
static enum status dry_run(struct run *r, struct error *err)
{
    struct scan_pictures pictures = { 0 };
    char *work = str_format("%s.dry-run", r->opt->out);
    enum status st =
        work ? file_make_folders(work, err) : error_set(err, ST_FAIL, CAUSE_NOMEM, "path");
    if (st == ST_OK)
        st = open_lookups(r, work, err);
    pictures.index = r->pictures;
    if (st == ST_OK)
        st = scan_dump(&r->schedule, r->opt, r->tokenizer, r->threads,
                       r->pictures ? &pictures : NULL, err);
    if (st == ST_OK)
        st = print_plan(r, &pictures, err);
    picture_index_close(&r->pictures);
    captions_close(&r->captions);
    if (work)
        file_remove_tree(work, st == ST_OK ? err : NULL);
    mem_free(work);
    return st;
}

/* ---- the run ---- */

static enum status work_units(struct run *r, struct error *err)
{
    struct unit_context c = { .opt = r->opt,
                              .schedule = &r->schedule,
                              .tokenizer = r->tokenizer,
                              .pictures = r->pictures,
                              .captions = r->captions,
                              .exclude = r->exclude,
                              .gate = r->gate,
                              .progress = progress_open("ingest", "records", r->schedule.records) };
    const struct driver_job job = { .facts = &r->facts,
                                    .dictionary = &r->schedule.dictionary,
                                    .pieces = &r->pieces,
                                    .units = (uint32_t)r->schedule.unit_count,
                                    .threads = r->threads,
                                    .run = unit_run,
                                    .follows = unit_follows,
                                    .release = unit_release,
                                    .arg = &c };
    const enum status st = driver_run(&r->driver, &job, err);
    progress_close(&c.progress);
    return st;
}

static enum status make_dataset(struct run *r, struct ingest_report *report, struct error *err)
{
    bool whole = false;
    enum status st = driver_open(&r->driver, r->opt->out, r->opt->part, r->opt->parts, err);
    if (st != ST_OK)
        return st;
    st = check_finished(r, report, err); /* another may have finished while we waited */
    if (st != ST_END)
        return st;
    st = plan(r, err);
    if (st == ST_OK)
        st = work_units(r, err);
    if (st == ST_OK)
        st = driver_finish(&r->driver, (uint32_t)r->schedule.unit_count, &whole, err);
    if (st == ST_OK && whole)
        st = check_finished(r, report, err);
    return st == ST_END
               ? error_set(err, ST_FAIL, CAUSE_IO, "%s: dataset.json vanished", r->opt->out)
               : st;
}

enum status ingest_run(struct ingest_report *report, const struct ingest_options *opt,
                       struct error *err)
{
    struct run r = { .opt = opt, .driver = { .lock = -1, .part_lock = -1 } };
    *report = (struct ingest_report){ 0 };
    enum status st = check_options(opt, err);
    if (st != ST_OK)
        return st;
    mem_keep_freed();
    st = open_run(&r, err);
    if (st == ST_OK && opt->plan) {
        st = dry_run(&r, err);
    } else if (st == ST_OK) {
        st = check_finished(&r, report, err);
        if (st == ST_END)
            st = make_dataset(&r, report, err);
    }
    close_run(&r);
    return st;
}
