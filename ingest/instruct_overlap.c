/* ingest/instruct_overlap.c: which records lie on pictures that a list names, to leave them out or to report
 * them (spec data.md 7.6). A picture is known by its base name or, one of COCO's, by its id. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "ingest/instruct_private.h"

/* The id in a COCO name of either tree, else -1. */
static int64_t coco_id(const char *location)
{
    return picture_is_coco(location) ? strtoll(picture_name_2017(location), NULL, 10) : -1;
}

bool instruct_names_picture(const struct picture_ids *list, const struct instruct_record *r)
{
    for (size_t at = 0; at < r->pictures.size;
         at += strlen((const char *)r->pictures.data + at) + 1) {
        const char *location = (const char *)r->pictures.data + at;
        if (picture_ids_has(list, path_base(location), location, coco_id(location)))
            return true;
    }
    return false;
}

struct overlap {
    struct hash_map *pictures; /* by first location */
    uint64_t records;
};

static enum status count_record(struct overlap *o, const struct instruct_record *r,
                                struct error *err)
{
    const char *location = (const char *)r->pictures.data;
    uint64_t value = 0;
    const enum status st = hash_map_insert(o->pictures, location, strlen(location), &value, err);
    o->records++;
    return st == ST_SKIP ? ST_OK : st;
}

/* Kept records on pictures that `list` names, or, without one, on pictures of COCO. */
static enum status count_overlap(const struct instruct_list *l, const struct picture_ids *list,
                                 struct overlap *o, struct error *err)
{
    struct instruct_record r;
    struct buffer bytes = { 0 };
    enum status st = hash_map_open(&o->pictures, 1024, err);

    instruct_record_init(&r);
    for (size_t i = 0; st == ST_OK && i < instruct_count(l); i++) {
        const struct instruct_entry *e = instruct_entry_at(l, i);
        if (e->fate != INSTRUCT_KEPT)
            continue;
        st = instruct_load(l, e, &bytes, &r, err);
        if (st == ST_OK &&
            (list ? instruct_names_picture(list, &r) : coco_id((const char *)r.pictures.data) >= 0))
            st = count_record(o, &r, err);
    }
    instruct_record_clear(&r);
    buffer_clear(&bytes);
    return st;
}

enum status instruct_report_overlaps(const struct instruct_list *l, struct error *err)
{
    const struct instruct_options *opt = l->opt;
    struct overlap coco = { 0 };
    enum status st = count_overlap(l, NULL, &coco, err);

    if (st == ST_OK)
        log_line(LOG_INFO, "contamination: %" PRIu64 " records on %zu pictures of COCO",
                 coco.records, hash_map_count(coco.pictures));
    hash_map_close(&coco.pictures);
    for (size_t i = 0; st == ST_OK && i < opt->compare_count; i++) {
        struct overlap o = { 0 };
        struct picture_ids list = { 0 };
        st = picture_ids_open(&list, opt->compare[i], err);
        if (st == ST_OK)
            st = count_overlap(l, &list, &o, err);
        if (st == ST_OK)
            log_line(LOG_INFO, "contamination: %s: %zu pictures, %" PRIu64 " records overlap",
                     path_base(opt->compare[i]), hash_map_count(o.pictures), o.records);
        hash_map_close(&o.pictures);
        picture_ids_close(&list);
    }
    return st;
}
