/* ingest/masks/export_manifest.c: SET_SPLIT_manifest.json: what went in, by which options, what became of
 * every region, and the digests of the products. No time, host, job count or path of a machine. */
#include <string.h>

#include "core/file.h"
#include "ingest/masks/export_private.h"

static void text_member(struct json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    if (value)
        json_string(w, value);
    else
        json_null(w);
}

static void number_member(struct json_writer *w, const char *key, uint64_t value)
{
    json_key(w, key);
    json_uint(w, value);
}

static void digest_member(struct json_writer *w, const char *key, const uint8_t digest[32])
{
    char hex[65];
    hash_hex(hex, digest, 32);
    text_member(w, key, hex);
}

static void write_options(const struct exporter *x, struct json_writer *w)
{
    const struct export_masks_options *o = x->opt;

    json_key(w, "options");
    json_begin_object(w);
    number_member(w, "min_area", o->masks.min_area);
    number_member(w, "nearest_side", o->masks.nearest_side);
    json_key(w, "keep_crowds");
    json_bool(w, o->masks.keep_crowds);
    number_member(w, "max_regions", o->max_regions);
    number_member(w, "max_instances", o->max_instances);
    text_member(w, "preset", o->paper200k ? "paper200k" : NULL);
    text_member(w, "exclude_image_ids", o->exclude ? path_base(o->exclude) : NULL);
    json_key(w, "pickle_latin1");
    json_bool(w, o->latin1);
    json_key(w, "pictures_checked");
    json_bool(w, o->image_count > 0);
    digest_member(w, "templates_sha256", x->templates.digest);
    json_end_object(w);
}

struct folder_size {
    uint64_t files, bytes;
};

static enum status add_size(void *arg, const char *relative, const struct file_info *info,
                            struct error *err)
{
    struct folder_size *f = arg;
    (void)relative;
    (void)err;
    f->files++;
    f->bytes += info->size;
    return ST_OK;
}

static enum status write_inputs(const struct exporter *x, struct json_writer *w, struct error *err)
{
    enum status st = ST_OK;

    json_key(w, "inputs");
    json_begin_array(w);
    for (size_t i = 0; st == ST_OK && i < x->opt->annotation_count; i++) {
        struct folder_size size = { 0 };
        st = file_walk(x->opt->annotations[i], add_size, &size, err);
        json_begin_object(w);
        text_member(w, "file", path_base(x->opt->annotations[i]));
        number_member(w, "files", size.files);
        number_member(w, "size", size.bytes);
        json_end_object(w);
    }
    json_end_array(w);
    return st;
}

static void write_reasons(struct json_writer *w, const char *key, const struct mask_count *list,
                          size_t n)
{
    json_key(w, key);
    json_begin_object(w);
    for (size_t i = 0; i < n; i++)
        number_member(w, list[i].name, list[i].n);
    json_end_object(w);
}

static void write_counts(const struct exporter *x, struct json_writer *w)
{
    const struct mask_counts *c = mask_store_counts(x->store);

    json_key(w, "regions");
    json_begin_object(w);
    number_member(w, "seen", c->seen);
    number_member(w, "stored", c->stored);
    write_reasons(w, "filtered", c->filtered, c->n_filtered);
    write_reasons(w, "quarantined", c->quarantined, c->n_quarantined);
    number_member(w, "over_max_regions", x->report->regions_over_cap);
    json_end_object(w);
    json_key(w, "images");
    json_begin_object(w);
    number_member(w, "stored", x->report->pictures);
    number_member(w, "quarantined", c->bad_images);
    json_end_object(w);
    number_member(w, "instances", x->report->instances);
}

static void write_overlaps(const struct exporter *x, struct json_writer *w)
{
    json_key(w, "contamination");
    json_begin_object(w);
    number_member(w, "instances_on_coco_pictures", x->report->coco_pictures);
    json_key(w, "overlaps");
    json_begin_array(w);
    for (size_t i = 0; i < x->report->overlap_count; i++) {
        json_begin_object(w);
        text_member(w, "file", x->report->overlaps[i].file);
        number_member(w, "pictures", x->report->overlaps[i].pictures);
        number_member(w, "instances", x->report->overlaps[i].instances);
        json_end_object(w);
    }
    json_end_array(w);
    json_end_object(w);
}

static void write_files(const struct exporter *x, struct json_writer *w)
{
    static const char *const roles[] = { "coco", "conversation", "quarantine" };

    json_key(w, "products");
    json_begin_array(w);
    for (int i = 0; i < EXPORT_FILES; i++) {
        if (!x->files[i].path)
            continue;
        json_begin_object(w);
        text_member(w, "role", roles[i]);
        text_member(w, "file", path_base(x->files[i].path));
        number_member(w, "size", x->files[i].bytes);
        digest_member(w, "sha256", x->files[i].digest);
        json_end_object(w);
    }
    json_end_array(w);
}

enum status export_write_manifest(struct exporter *x, struct output_file *f, struct error *err)
{
    struct json_writer w;

    json_writer_init(&w, &f->pending);
    json_begin_object(&w);
    number_member(&w, "format", 1);
    text_member(&w, "deem", DEEM_VERSION);
    text_member(&w, "set", export_set_name(x));
    text_member(&w, "split", x->opt->split);
    number_member(&w, "seed", x->opt->seed);
    write_options(x, &w);
    const enum status st = write_inputs(x, &w, err);
    write_counts(x, &w);
    write_overlaps(x, &w);
    write_files(x, &w);
    json_end_object(&w);
    if (st != ST_OK)
        return st;
    if (json_writer_finish(&w, err) != ST_OK)
        return ST_FAIL;
    return buffer_append(&f->pending, "\n", 1, err);
}
