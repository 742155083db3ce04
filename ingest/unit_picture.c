/* ingest/unit_picture.c: a record's pictures: found, read, verified in full, put into the spool. */
#include <inttypes.h>
#include <stdio.h>

#include "core/hash.h"
#include "ingest/unit_private.h"

static enum status drop(struct filter_image *image, enum filter_reason reason)
{
    *image = (struct filter_image){ FILTER_DROPPED, reason };
    return ST_SKIP;
}

enum status unit_picture_exists(void *arg, const struct document *d, uint32_t index,
                                struct filter_image *image, struct error *err)
{
    struct unit *u = arg;
    const struct document_image *m = &d->images[index];
    if (exclude_url(u->c->exclude, &m->raw_url))
        return drop(image, FILTER_F16_EXCLUDED);
    const enum status st =
        picture_index_find(u->c->pictures, &u->places[index], &m->name, &m->raw_url, err);
    return st == ST_END ? drop(image, FILTER_F2_MISSING) : st;
}

/* What decoding may hold at once: pixels or coefficients of all components, and both encodings. */
static uint64_t decoding_bytes(const void *data, size_t size, const struct image_limits *limits)
{
    struct image_info info;
    struct error ignored = { 0 };
    if (image_probe(&info, data, size, limits, &ignored) != ST_OK)
        return 0;
    return 2 * (uint64_t)size + 8 * (uint64_t)info.width * info.height;
}

static enum status prepare(struct unit *u, struct image_info *info, const void *data, size_t size,
                           struct error *err)
{
    struct image_store_options opt;
    image_store_options_init(&opt);
    opt.limits = u->c->opt->pictures;
    opt.jpeg = u->c->opt->jpeg;
    opt.store_side = u->c->opt->store_side;
    const uint64_t bytes = decoding_bytes(data, size, &opt.limits);
    u->stored.size = 0;
    gate_enter(u->c->gate, bytes);
    unsigned notes = 0;
    enum status st = image_prepare(info, &u->stored, data, size, &opt, &notes, err);
    gate_leave(u->c->gate, bytes);
    if (st == ST_OK && notes > 0)
        st = tally_add(&unit_input(u)->notes, "picture-warnings", notes, err);
    return st;
}

/* A row for the damaged picture, and its code for the counts. */
static enum status reject(struct unit *u, uint32_t index, struct filter_image *image,
                          const char *member, const void *data, size_t size,
                          const struct error *why, struct error *err)
{
    *image = (struct filter_image){ FILTER_QUARANTINED, FILTER_NONE };
    snprintf(u->codes[index], sizeof u->codes[index], "%s",
             why->code[0] ? why->code : error_cause_name(why->cause));
    const enum status st = unit_quarantine(u, member, "picture", u->document->images[index].offset,
                                           size, hash_xxh3_64(data, size), why, err);
    return st == ST_OK ? ST_SKIP : st;
}

enum status unit_picture_take(struct unit *u, uint32_t index, struct filter_image *image,
                              const char *member, const void *data, size_t size, struct error *err)
{
    struct unit_picture *out = &u->pictures[index];
    struct error why = { 0 };

    out->original_hash = hash_xxh3_128(data, size);
    if (exclude_picture(u->c->exclude, out->original_hash))
        return drop(image, FILTER_F16_EXCLUDED);
    const enum status st = prepare(u, &out->info, data, size, &why);
    if (st == ST_SKIP)
        return reject(u, index, image, member, data, size, &why, err);
    if (st != ST_OK) {
        if (err)
            *err = why;
        return st;
    }
    const enum filter_reason small =
        filter_picture(&u->c->opt->filter, out->info.width, out->info.height, size);
    if (small != FILTER_NONE)
        return drop(image, small);
    const bool same = u->stored.size == 0;
    const void *bytes = same ? data : u->stored.data;
    out->size = same ? size : u->stored.size;
    if (!same && exclude_picture(u->c->exclude, hash_xxh3_128(bytes, (size_t)out->size)))
        return drop(image, FILTER_F16_EXCLUDED);
    return spool_put(&u->spool, bytes, (size_t)out->size, &out->offset, err);
}

enum status unit_picture_verify(void *arg, const struct document *d, uint32_t index,
                                struct filter_image *image, struct error *err)
{
    struct unit *u = arg;
    const char *member = d->images[index].name.data;
    struct error why = { 0 };
    const enum status st = picture_reader_read(u->reader, &u->raw, &u->places[index], &why);
    if (st == ST_SKIP) /* damaged where it lies: the member of a cut tar */
        return reject(u, index, image, member, u->raw.data, u->raw.size, &why, err);
    if (st != ST_OK) {
        if (err)
            *err = why;
        return st;
    }
    return unit_picture_take(u, index, image, member, u->raw.data, u->raw.size, err);
}
