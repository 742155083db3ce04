/* ingest/instruct_unit.c: one work unit: a run of records, each with its picture, into one shard. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/log.h"
#include "core/stop.h"
#include "ingest/inputs.h"
#include "ingest/instruct_private.h"
#include "shards/shard_writer.h"

enum { SMALLEST_SIDE = 10 /* pixels; F11 */, WINDOW = 10000 };

struct unit {
    const struct instruct_run *run;
    const struct driver_unit *driver;
    struct instruct_builder builder;
    struct instruct_record record;
    struct buffer bytes, raw, stored, images;
    size_t input;
    uint32_t named; /* annotation file that `input` stands for, +1 */
    uint8_t window[WINDOW];
    uint32_t at, sum, row;
    /* the picture at hand */
    struct image_info info;
    uint32_t picture, own_width, own_height; /* as found, before any re-encoding */
    struct hash128 hash, original;
    uint64_t stored_bytes;
};

static struct unit_input *unit_input(struct unit *u)
{
    return &u->driver->facts->inputs[u->input];
}

static enum status name_input(struct unit *u, uint32_t input, struct error *err)
{
    const struct input *in = &u->run->inputs->list[input];
    if (u->named == input + 1)
        return ST_OK;
    u->named = input + 1;
    for (size_t i = 0; i < u->driver->facts->input_count; i++)
        if (strcmp(u->driver->facts->inputs[i].file, in->file) == 0) {
            u->input = i;
            return ST_OK;
        }
    return unit_facts_input(u->driver->facts, in->file, in->name, in->size, &u->input, err);
}

static enum status count_damage(struct unit *u, bool damaged, struct error *err)
{
    const uint32_t allowed = u->run->opt->base.tolerance, in_a_row = allowed > 100 ? allowed : 100;

    u->sum += (uint32_t)damaged - u->window[u->at];
    u->window[u->at] = damaged;
    u->at = (u->at + 1) % WINDOW;
    u->row = damaged ? u->row + 1 : 0;
    if (!damaged || (u->sum <= allowed && u->row < in_a_row))
        return ST_OK;
    return error_set(err, ST_FAIL, CAUSE_LIMIT,
                     "%s: damage beyond tolerance: %" PRIu32 " of the last %d records, %" PRIu32
                     " in a row; the same command with a higher --tolerance goes on",
                     unit_input(u)->file, u->sum, WINDOW, u->row);
}

static enum status drop(struct unit *u, const char *reason, struct error *err)
{
    return tally_add(&unit_input(u)->records.filtered, reason, 1, err);
}

static enum status quarantine(struct unit *u, const char *record, const char *stage,
                              const char *member, const char *code, const char *text,
                              uint64_t offset, uint64_t length, uint64_t hash, struct error *err)
{
    const struct quarantine_row row = { .file = unit_input(u)->file,
                                        .member = member,
                                        .record = record,
                                        .offset = offset,
                                        .stage = stage,
                                        .code = code,
                                        .found = text,
                                        .length = length,
                                        .hash = hash };
    const enum status st = shard_writer_quarantine(u->driver->writer, &row, err);
    return st == ST_OK ? tally_add(&unit_input(u)->records.quarantined, code, 1, err) : st;
}

static enum status bad_record(struct unit *u, const struct instruct_entry *e, struct error *err)
{
    const char *number = (const char *)u->bytes.data, *code = number + strlen(number) + 1;
    const enum status st = quarantine(u, number, "parse", NULL, code, code + strlen(code) + 1,
                                      e->from, e->length, e->hash, err);
    return st == ST_OK ? count_damage(u, true, err) : st;
}

/* The first of the record's places that has a picture: its bytes in u->raw. ST_END: none has. ST_SKIP:
 * it is too large to look at. */
static enum status read_picture(struct unit *u, struct found_picture *found, struct error *why,
                                struct error *err)
{
    const struct buffer *p = &u->record.pictures;
    enum status st = ST_END;

    for (size_t at = 0; st == ST_END && at < p->size; at += strlen((const char *)p->data + at) + 1)
        st = picture_folder_find(u->run->pictures, (const char *)p->data + at, found, err);
    buffer_clear(&u->raw);
    if (st == ST_OK)
        st = picture_folder_read(found, &u->raw, u->run->opt->base.pictures.max_bytes, why);
    if (st == ST_FAIL && err->cause == CAUSE_NONE)
        *err = *why;
    return st;
}

static enum status prepare(struct unit *u, struct error *why)
{
    const struct ingest_options *o = &u->run->opt->base;
    struct image_store_options opt;
    struct image_info own = { 0 };
    struct error ignored = { 0 };

    image_store_options_init(&opt);
    opt.limits = o->pictures;
    opt.jpeg = o->jpeg;
    opt.store_side = o->store_side;
    u->stored.size = 0;
    uint64_t holds = 0;
    if (image_probe(&own, u->raw.data, u->raw.size, &opt.limits, &ignored) == ST_OK)
        holds = 2 * (uint64_t)u->raw.size + 8 * (uint64_t)own.width * own.height;
    u->own_width = own.width;
    u->own_height = own.height;
    gate_enter(u->run->gate, holds);
    const enum status st =
        image_prepare(&u->info, &u->stored, u->raw.data, u->raw.size, &opt, NULL, why);
    gate_leave(u->run->gate, holds);
    return st;
}

/* ST_OK: the picture is in the shard. ST_SKIP: the record was counted as filtered or quarantined. */
static enum status take_picture(struct unit *u, struct error *err)
{
    struct found_picture found = { 0 };
    struct error why = { 0 };
    enum status st = read_picture(u, &found, &why, err);

    if (st == ST_END) {
        st = drop(u, "F2-missing", err);
        return st == ST_OK ? ST_SKIP : st;
    }
    if (st == ST_OK)
        st = prepare(u, &why);
    if (st == ST_SKIP) {
        st = quarantine(u, (const char *)u->record.key.data, "picture", path_base(found.name),
                        why.code[0] ? why.code : error_cause_name(why.cause), why.text, 0,
                        u->raw.size, hash_xxh3_64(u->raw.data, u->raw.size), err);
        return st == ST_OK ? ST_SKIP : st;
    }
    if (st != ST_OK) {
        if (why.cause != CAUSE_NONE)
            *err = why;
        return st;
    }
    if (u->info.width < SMALLEST_SIDE || u->info.height < SMALLEST_SIDE) {
        st = drop(u, "F11-size", err);
        return st == ST_OK ? ST_SKIP : st;
    }
    const struct buffer *kept = u->stored.size ? &u->stored : &u->raw;
    u->original = hash_xxh3_128(u->raw.data, u->raw.size);
    u->stored_bytes = kept->size;
    return shard_writer_picture(u->driver->writer, kept->data, kept->size, &u->info, &u->picture,
                                &u->hash, err);
}

/* The mask of region k as the shard stores it. */
static struct sample_mask mask_of(const struct instruct_record *r, int32_t k)
{
    struct sample_mask m = { 0 };
    const uint8_t *p = r->masks.data;

    for (int32_t i = 0; k >= 0; i++, p += 12 + load_u32le(p + 8)) {
        if (i != k)
            continue;
        m.h = load_u32le(p);
        m.w = load_u32le(p + 4);
        m.size = load_u32le(p + 8);
        m.runs = p + 12;
        break;
    }
    return m;
}

static enum status put_images(struct unit *u, struct error *err)
{
    const struct instruct_slot *slots =
        (const struct instruct_slot *)(const void *)u->builder.slots.data;
    const size_t n = u->builder.slots.size / sizeof *slots;
    enum status st = ST_OK;

    u->images.size = 0;
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        const struct sample_image image = { .soi = slots[i].soi,
                                            .prev = i > 0,
                                            .picture = u->picture,
                                            .width = u->info.width,
                                            .height = u->info.height,
                                            .bytes = u->stored_bytes,
                                            .codec = u->info.codec,
                                            .hash = u->hash,
                                            .original_hash = u->original,
                                            .mask = mask_of(&u->record, slots[i].region) };
        st = buffer_append(&u->images, &image, sizeof image, err);
    }
    return st;
}

static enum status put_sequence(struct unit *u, uint32_t round, bool many, bool cut,
                                struct error *err)
{
    const struct instruct_builder *b = &u->builder;
    const char *key = (const char *)u->record.key.data;
    char *name = many ? str_format("%s#%" PRIu32, key, round) : mem_strdup(key);
    const char *set = instruct_set_names[u->run->opt->set];
    struct rng_key k;

    if (!name)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", key);
    rng_key_init(&k, 0, "K");
    rng_key_string(&k, set, strlen(set));
    rng_key_string(&k, name, strlen(name));
    const struct sample_document d = { .length = (uint16_t)b->ids.size,
                                       .input = (uint32_t)u->input,
                                       .key = name,
                                       .key_size = strlen(name),
                                       .record_key = rng_record_id(&k) };
    enum status st = put_images(u, err);
    const struct sample s = { .flags = cut ? SAMPLE_TRUNCATED : 0,
                              .ids = b->ids.data,
                              .token_count = b->ids.size,
                              .documents = &d,
                              .document_count = 1,
                              .images = (const struct sample_image *)(const void *)u->images.data,
                              .image_count = u->images.size / sizeof(struct sample_image),
                              .loss = b->loss.data };
    if (st == ST_OK)
        st = shard_writer_sequence(u->driver->writer, &s, err);
    mem_free(name);
    return st;
}

/* Regions must be those of this picture: masks of another size are no masks on it. */
static bool masks_fit(const struct unit *u)
{
    const struct sample_mask m =
        u->record.mask_count ? mask_of(&u->record, 0) : (struct sample_mask){ 0 };
    return u->record.mask_count == 0 || (m.h == u->own_height && m.w == u->own_width);
}

static enum status take_record(struct unit *u, struct error *err)
{
    const uint32_t rounds = instruct_rounds(&u->builder, &u->record);
    uint32_t put = 0;
    uint64_t places = 0; /* of the picture in sequences */
    enum status st = take_picture(u, err);

    if (st != ST_OK)
        return st == ST_SKIP ? ST_OK : st;
    if (!masks_fit(u))
        return quarantine(u, (const char *)u->record.key.data, "picture", NULL, "mask-size-differs",
                          "masks of another size than the picture", 0, 0, 0, err);
    for (uint32_t i = 0; st == ST_OK && i < rounds; i++) {
        bool cut = false;
        st = instruct_build(&u->builder, &u->record, i, &cut, err);
        if (st == ST_SKIP) {
            st = ST_OK; /* this round is too long; others may fit */
            continue;
        }
        if (st == ST_OK)
            st = put_sequence(u, i, rounds > 1, cut, err);
        put++;
        places += u->builder.slots.size / sizeof(struct instruct_slot);
    }
    if (st != ST_OK)
        return st;
    if (put == 0)
        return drop(u, "F13-too-long", err);
    struct unit_input *in = unit_input(u);
    in->records.stored++;
    in->pictures.seen += places;
    in->pictures.stored += places;
    u->driver->facts->documents++;
    return ST_OK;
}

static enum status take_entry(struct unit *u, const struct instruct_entry *e, struct error *err)
{
    enum status st = name_input(u, e->input, err);

    if (st != ST_OK)
        return st;
    unit_input(u)->records.seen++;
    if (e->fate == INSTRUCT_FILTERED)
        st = drop(u, e->reason, err);
    else
        st = instruct_load(&u->run->list, e, &u->bytes, &u->record, err);
    if (st == ST_OK && e->fate == INSTRUCT_BAD)
        return bad_record(u, e, err);
    if (st == ST_OK && e->fate == INSTRUCT_KEPT)
        st = take_record(u, err);
    return st == ST_OK ? count_damage(u, false, err) : st;
}

static void clear(struct unit *u)
{
    instruct_builder_clear(&u->builder);
    instruct_record_clear(&u->record);
    buffer_clear(&u->bytes);
    buffer_clear(&u->raw);
    buffer_clear(&u->stored);
    buffer_clear(&u->images);
    mem_free(u);
}

enum status instruct_unit_run(void *arg, const struct driver_unit *unit, struct error *err)
{
    const struct instruct_run *run = arg;
    const size_t all = instruct_count(&run->list),
                 first = (size_t)unit->number * (size_t)run->per_unit;
    const size_t end = first + run->per_unit < all ? first + (size_t)run->per_unit : all;
    struct unit *u = mem_calloc(1, sizeof *u);
    enum status st = ST_OK;

    if (!u)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "unit %" PRIu32, unit->number);
    u->run = run;
    u->driver = unit;
    instruct_builder_init(&u->builder);
    u->builder.tokenizer = run->tokenizer;
    u->builder.opt = run->opt;
    u->builder.profile = run->profile;
    u->builder.mask_templates = run->mask_templates;
    /* the first unit names all inputs, also those that only join in */
    for (uint32_t i = 0; st == ST_OK && unit->number == 0 && i < run->inputs->count; i++)
        st = name_input(u, i, err);
    for (size_t i = first; st == ST_OK && i < end; i++) {
        st = stop_check(err);
        if (st == ST_OK)
            st = take_entry(u, instruct_entry_at(&run->list, i), err);
        progress_add(run->progress, 1);
    }
    clear(u);
    return st;
}
