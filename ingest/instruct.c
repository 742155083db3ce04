/* ingest/instruct.c: see instruct.h. Annotations are read into a work file, capped, cut into units; the
 * driver, the plan's signature, seals and the manifest are those of web data. */
#include "ingest/instruct.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/pool.h"
#include "ingest/instruct_private.h"
#include "ingest/schedule.h"
#include "ingest/signature.h"
#include "shards/shard_reader.h"

#define TEMPLATES "recipes/templates/instruct.json"

/* LLaVA's records with pictures whole, the others by size, 800,000 together (spec data.md 7.1). */
static const uint64_t paper800k[INSTRUCT_SETS] = { 0,     26550, 540,   2070, 1020,
                                                   47900, 56400, 33900, 6600, 0 };

struct work {
    const struct instruct_options *opt;
    struct tokenizer *tokenizer;
    struct schedule schedule; /* inputs, and the signature of the command */
    struct signature signature;
    struct driver driver;
    struct picture_folder *pictures;
    struct mask_templates mask_templates;
    struct arena arena;
    struct json_value *templates;
    uint8_t templates_digest[32], exclude_digest[32];
    struct buffer pieces;
    struct shard_facts facts;
    const char *source;
    struct instruct_run run;
    unsigned threads;
};

void instruct_options_init(struct instruct_options *opt)
{
    memset(opt, 0, sizeof *opt);
    opt->base.jpeg = IMAGE_JPEG_BASELINE;
    opt->base.records_per_unit = 65536;
    opt->base.memory = UINT64_C(1) << 30;
    opt->base.tolerance = 100;
    filter_options_init(&opt->base.filter);
    piece_options_init(&opt->base.piece);
    source_limits_init(&opt->base.limits);
    image_limits_init(&opt->base.pictures);
    opt->base.piece.max_images = 26; /* slots of 78 tokens that 2,048 hold */
}

static enum status check_options(const struct instruct_options *opt, struct error *err)
{
    const struct ingest_options *o = &opt->base;

    if (!o->out || !o->tokenizer || o->input_count == 0 || o->image_count == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "--annotations, --images, --out and --tokenizer are needed");
    if (o->parts > 0 && o->part >= o->parts)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--part: I/N with I from 0 to N-1");
    return piece_options_check(&o->piece, err);
}

static int compare_inputs(const void *a, const void *b)
{
    const struct input *p = a, *q = b;
    const int order = strcmp(p->name, q->name);
    return order ? order : strcmp(p->file, q->file);
}

/* Without the last extension. */
static size_t stem_size(const char *name, size_t size)
{
    size_t n = size;
    while (n > 0 && name[n - 1] != '.')
        n--;
    return n > 1 ? n - 1 : size;
}

static enum status add_input(struct inputs *in, const char *path, struct error *err)
{
    struct input *p = &in->list[in->count];
    const char *base = path_base(path);
    const size_t size = strlen(base), plain = stem_size(base, size);
    struct file_info info;
    const enum status st = file_stat(path, &info, err);

    if (st == ST_END || (st == ST_OK && !info.is_regular))
        return error_set(err, ST_FAIL, CAUSE_ARG, "%s: no such file", path);
    if (st != ST_OK)
        return st;
    p->path = mem_strdup(path);
    p->file = mem_strdup(base);
    p->name = mem_strndup(base, json_file_is_packed(path) ? stem_size(base, plain) : plain);
    p->size = info.size;
    in->count++;
    in->bytes += info.size;
    return p->path && p->file && p->name ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "inputs");
}

/* Annotation files by name, whatever order they were given in; two of one name cannot be told apart in
 * a dataset. */
static enum status list_inputs(struct work *w, struct error *err)
{
    struct inputs *in = &w->schedule.inputs;
    const struct ingest_options *o = &w->opt->base;
    enum status st = ST_OK;

    in->list = mem_calloc(o->input_count, sizeof *in->list);
    if (!in->list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "inputs");
    for (size_t i = 0; st == ST_OK && i < o->input_count; i++)
        st = add_input(in, o->inputs[i], err);
    if (st != ST_OK)
        return st;
    qsort(in->list, in->count, sizeof *in->list, compare_inputs);
    for (size_t i = 1; i < in->count; i++)
        if (strcmp(in->list[i - 1].name, in->list[i].name) == 0)
            return error_set(err, ST_FAIL, CAUSE_FORMAT,
                             "%s: two inputs of this name; make two datasets", in->list[i].file);
    w->run.list.inputs = in;
    return ST_OK;
}

static enum status read_templates(struct work *w, struct error *err)
{
    struct buffer text = { 0 };
    const char *path = w->opt->templates        ? w->opt->templates
                       : file_exists(TEMPLATES) ? TEMPLATES
                                                : DEEM_HOME "/" TEMPLATES;
    enum status st = file_read_all(&text, path, 4u << 20, err);

    if (st == ST_OK)
        st = json_parse(&w->arena, &w->templates, text.data, text.size, NULL, err);
    if (st == ST_OK) {
        const struct json_value *requests = json_get(w->templates, "caption_requests");
        w->run.profile =
            json_get(json_get(w->templates, "profiles"), w->opt->deem ? "deem" : "default");
        w->run.list.caption_requests = requests;
        if (!w->run.profile || !requests || requests->type != JSON_T_ARRAY || requests->count == 0)
            st = error_set(err, ST_FAIL, CAUSE_FORMAT, "profiles or caption_requests are missing");
        for (const struct json_value *c = requests ? requests->child : NULL; st == ST_OK && c;
             c = c->next)
            if (c->type != JSON_T_STRING)
                st = error_set(err, ST_FAIL, CAUSE_FORMAT, "caption_requests: not a list of texts");
        hash_sha256(w->templates_digest, text.data, text.size);
    }
    if (st != ST_OK)
        error_prefix(err, st, "%s", path);
    buffer_clear(&text);
    return st;
}

static enum status read_mask_templates(struct work *w, struct error *err)
{
    struct mask_template other;
    enum status st = mask_templates_open(&w->mask_templates, w->opt->mask_templates, err);

    if (st == ST_OK)
        st = mask_templates_get(&w->mask_templates, "other", &other, err);
    if (st == ST_OK && !other.description)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "template: other has no description");
    if (st == ST_OK)
        w->run.list.description_requests = other.description;
    return st;
}

/* The list of pictures to leave out, and the digest that stands for it in the signature. */
static enum status read_excluded(struct work *w, struct error *err)
{
    struct buffer text = { 0 };

    if (!w->opt->exclude)
        return ST_OK;
    enum status st = file_read_all(&text, w->opt->exclude, 1u << 30, err);
    if (st == ST_OK)
        hash_sha256(w->exclude_digest, text.data, text.size);
    buffer_clear(&text);
    return st == ST_OK ? picture_ids_open(&w->run.list.excluded, w->opt->exclude, err) : st;
}

static void put_number(struct json_writer *w, const char *key, uint64_t v)
{
    json_key(w, key);
    json_uint(w, v);
}

static void put_text(struct json_writer *w, const char *key, const char *v)
{
    json_key(w, key);
    json_string(w, v);
}

static void put_digest(struct json_writer *w, const char *key, const uint8_t digest[32])
{
    char hex[65];
    hash_hex(hex, digest, 32);
    put_text(w, key, hex);
}

static enum status sign(struct work *w, struct error *err)
{
    static const char *const jpeg[] = { "keep", "baseline", "optimise" };
    const struct instruct_options *opt = w->opt;
    const struct ingest_options *o = &opt->base;
    const char variant[2] = { (char)('A' + (int)o->variant), 0 };
    struct json_writer j;

    json_writer_init(&j, &w->signature.options);
    json_begin_object(&j);
    put_text(&j, "set", instruct_set_names[opt->set]);
    put_text(&j, "profile", opt->deem ? "deem" : "default");
    put_number(&j, "seed", o->filter.seed);
    put_number(&j, "max-instances", opt->max_instances);
    put_text(&j, "preset", opt->paper800k ? "paper800k" : "none");
    json_key(&j, "raw-answer");
    json_bool(&j, opt->raw_answer);
    json_key(&j, "multi-round");
    json_bool(&j, opt->multi_round);
    put_number(&j, "seq-len", o->piece.seq_len);
    put_number(&j, "image-tokens", o->piece.image_tokens);
    put_number(&j, "images-per-seq", o->piece.max_images);
    put_text(&j, "variant", variant);
    put_text(&j, "jpeg", jpeg[o->jpeg]);
    put_number(&j, "max-side", o->store_side);
    put_number(&j, "records-per-unit", o->records_per_unit);
    if (opt->exclude)
        put_digest(&j, "exclude-image-ids", w->exclude_digest);
    else
        put_text(&j, "exclude-image-ids", "none");
    put_digest(&j, "templates", w->templates_digest);
    put_digest(&j, "mask-templates", w->mask_templates.digest);
    json_end_object(&j);
    enum status st = json_writer_finish(&j, err);
    if (st == ST_OK)
        st = buffer_append(&w->signature.options, "", 1, err);
    return st == ST_OK ? signature_complete(&w->signature, "instruct", w->tokenizer,
                                            &w->schedule.inputs, err)
                       : st;
}

static void fill_facts(struct work *w)
{
    const struct special_ids *s = tokenizer_special(w->tokenizer);
    const struct ingest_options *o = &w->opt->base;

    w->source = instruct_set_names[w->opt->set];
    w->facts = (struct shard_facts){ .kind = "instruct",
                                     .sources = &w->source,
                                     .source_count = 1,
                                     .seed = o->filter.seed,
                                     .variant = (char)('A' + (int)o->variant),
                                     .pieces = s->pieces,
                                     .bos = s->bos,
                                     .eos = s->eos,
                                     .unk = s->unk,
                                     .seq_len = o->piece.seq_len,
                                     .image_tokens = o->piece.image_tokens,
                                     .images_per_seq = o->piece.max_images,
                                     .options = (const char *)w->signature.options.data,
                                     .versions = (const char *)w->signature.versions.data };
    memcpy(w->facts.identity, w->signature.identity, sizeof w->facts.identity);
    memcpy(w->facts.tokenizer_sha256, tokenizer_sha256(w->tokenizer),
           sizeof w->facts.tokenizer_sha256);
}

static enum status open_work(struct work *w, struct error *err)
{
    const struct ingest_options *o = &w->opt->base;
    struct tokenizer_options t;

    tokenizer_options_init(&t);
    t.variant = o->variant;
    w->threads = o->jobs ? o->jobs : cpu_count();
    enum status st = gate_open(&w->run.gate, &w->threads, o->memory, &o->limits, &o->pictures, err);
    if (st == ST_OK)
        st = tokenizer_open(&w->tokenizer, o->tokenizer, &t, err);
    if (st == ST_OK)
        st = tokenizer_pieces(w->tokenizer, &w->pieces, err);
    if (st == ST_OK)
        st = list_inputs(w, err);
    if (st == ST_OK)
        st = read_templates(w, err);
    if (st == ST_OK)
        st = read_mask_templates(w, err);
    if (st == ST_OK)
        st = read_excluded(w, err);
    if (st == ST_OK)
        st = sign(w, err);
    if (st == ST_OK)
        fill_facts(w);
    return st;
}

static void close_work(struct work *w)
{
    spool_close(&w->run.list.spool);
    picture_ids_close(&w->run.list.excluded);
    buffer_clear(&w->run.list.entries);
    buffer_clear(&w->run.list.scratch);
    driver_close(&w->driver);
    picture_folder_close(&w->pictures);
    mask_templates_close(&w->mask_templates);
    arena_clear(&w->arena);
    schedule_clear(&w->schedule);
    signature_clear(&w->signature);
    tokenizer_close(&w->tokenizer);
    gate_close(&w->run.gate);
    buffer_clear(&w->pieces);
}

/* ST_OK: finished, and made by this very command. ST_END: not finished. */
static enum status check_finished(struct work *w, struct ingest_report *report, struct error *err)
{
    struct manifest m;
    struct buffer text = { 0 };
    struct arena arena;
    struct json_value *there = NULL;

    manifest_init(&m);
    arena_init(&arena, 0);
    enum status st = driver_finished(&m, w->opt->base.out, err);
    if (st == ST_OK)
        st = signature_of_dataset(&text, &m.facts, m.total.inputs, m.total.input_count, err);
    if (st == ST_OK)
        st = json_parse(&arena, &there, text.data, text.size, NULL, err);
    if (st == ST_OK)
        st = signature_compare(w->opt->base.out, there, &w->signature.text, err);
    if (st == ST_OK)
        *report = (struct ingest_report){ .sequences = m.total.sequences,
                                          .stored = m.records.stored,
                                          .filtered = tally_sum(&m.records.filtered),
                                          .quarantined = tally_sum(&m.records.quarantined),
                                          .bad_pictures = tally_sum(&m.pictures.quarantined),
                                          .finished = true };
    arena_clear(&arena);
    buffer_clear(&text);
    manifest_clear(&m);
    return st;
}

struct placed {
    uint64_t order;
    size_t entry;
};

static int compare_placed(const void *a, const void *b)
{
    const struct placed *p = a, *q = b;
    if (p->order != q->order)
        return p->order < q->order ? -1 : 1;
    return (p->entry > q->entry) - (p->entry < q->entry);
}

/* D11: the records with the smallest values stay, in input order. */
static enum status cap(struct work *w, struct error *err)
{
    struct instruct_list *l = &w->run.list;
    const uint64_t most = w->opt->paper800k ? paper800k[w->opt->set] : w->opt->max_instances;
    size_t n = 0;

    if (most == 0)
        return ST_OK;
    struct placed *list = mem_calloc(instruct_count(l) + 1, sizeof *list);
    if (!list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%zu records", instruct_count(l));
    for (size_t i = 0; i < instruct_count(l); i++)
        if (instruct_entry_at(l, i)->fate == INSTRUCT_KEPT)
            list[n++] = (struct placed){ instruct_entry_at(l, i)->order, i };
    qsort(list, n, sizeof *list, compare_placed);
    for (size_t i = most < n ? (size_t)most : n; i < n; i++) {
        struct instruct_entry *e = instruct_entry_at(l, list[i].entry);
        e->fate = INSTRUCT_FILTERED;
        e->reason = "max-instances";
    }
    mem_free(list);
    return ST_OK;
}

/* The plan holds the command's signature, so that another command is told what differs. The records are
 * read again by every run: they are a function of what is signed. */
static enum status plan(struct work *w, struct error *err)
{
    char *spool = str_format("%s/records-%" PRIu32 ".tmp", w->driver.work, w->driver.part);
    enum status st = schedule_load(&w->schedule, w->driver.work, &w->signature.text, err);

    if (st == ST_END)
        st = schedule_save(&w->schedule, w->driver.work, &w->signature.text, err);
    driver_planned(&w->driver);
    if (st == ST_OK && !spool)
        st = error_set(err, ST_FAIL, CAUSE_NOMEM, "path");
    if (st == ST_OK)
        st = spool_open(&w->run.list.spool, spool, err);
    if (st == ST_OK)
        st = picture_folder_open(&w->pictures, w->opt->base.images, w->opt->base.image_count, err);
    if (st == ST_OK)
        st = instruct_read_set(&w->run.list, err);
    if (st == ST_OK)
        st = cap(w, err);
    if (st == ST_OK)
        st = instruct_report_overlaps(&w->run.list, err);
    mem_free(spool);
    return st;
}

static enum status work_units(struct work *w, uint32_t units, struct error *err)
{
    struct buffer none = { 0 };
    const struct driver_job job = { .facts = &w->facts,
                                    .dictionary = &none,
                                    .pieces = &w->pieces,
                                    .units = units,
                                    .threads = w->threads,
                                    .run = instruct_unit_run,
                                    .arg = &w->run };

    w->run.opt = w->opt;
    w->run.pictures = w->pictures;
    w->run.tokenizer = w->tokenizer;
    w->run.mask_templates = &w->mask_templates;
    w->run.inputs = &w->schedule.inputs;
    w->run.per_unit = w->opt->base.records_per_unit;
    w->run.progress = progress_open("ingest", "records", instruct_count(&w->run.list));
    const enum status st = driver_run(&w->driver, &job, err);
    progress_close(&w->run.progress);
    return st;
}

static enum status make_dataset(struct work *w, struct ingest_report *report, struct error *err)
{
    const uint64_t per_unit = w->opt->base.records_per_unit;
    bool whole = false;
    enum status st =
        driver_open(&w->driver, w->opt->base.out, w->opt->base.part, w->opt->base.parts, err);

    if (st == ST_OK)
        st = check_finished(w, report, err);
    if (st != ST_END)
        return st;
    st = plan(w, err);
    const uint64_t n = (instruct_count(&w->run.list) + per_unit - 1) / per_unit;
    const uint32_t units = n ? (uint32_t)n : 1;
    if (st == ST_OK)
        st = work_units(w, units, err);
    spool_close(&w->run.list.spool);
    if (st == ST_OK)
        st = driver_finish(&w->driver, units, &whole, err);
    return st == ST_OK && whole ? check_finished(w, report, err) : st;
}

enum status instruct_run(struct ingest_report *report, const struct instruct_options *opt,
                         struct error *err)
{
    struct work w = { .opt = opt, .driver = { .lock = -1, .part_lock = -1 } };

    *report = (struct ingest_report){ 0 };
    arena_init(&w.arena, 0);
    arena_init(&w.mask_templates.arena, 0);
    w.run.list.opt = opt;
    w.run.list.spool.fd = -1;
    enum status st = check_options(opt, err);
    if (st == ST_OK)
        st = open_work(&w, err);
    if (st == ST_OK)
        st = check_finished(&w, report, err);
    if (st == ST_END)
        st = make_dataset(&w, report, err);
    close_work(&w);
    return st;
}
