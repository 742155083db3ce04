/* ingest/masks/export_coco.c: the COCO-shaped product (spec data.md 7.5, 1). Only pictures with regions
 * are listed; boxes and areas are those of the masks. */
#include <string.h>

#include "ingest/masks/export_private.h"

static bool is_refer(const struct exporter *x)
{
    return x->opt->set == MASK_SET_REFCOCO || x->opt->set == MASK_SET_REFCOCO_PLUS ||
           x->opt->set == MASK_SET_REFCOCOG;
}

static void number_member(struct json_writer *w, const char *key, int64_t v)
{
    json_key(w, key);
    json_int(w, v);
}

static void write_image(struct exporter *x, struct json_writer *w, const struct mask_instance *in)
{
    json_begin_object(w);
    number_member(w, "id", in->image_id);
    json_key(w, "file_name");
    json_string(w, in->file_name);
    number_member(w, "height", in->h);
    number_member(w, "width", in->w);
    if (is_refer(x)) {
        number_member(w, "original_id", in->original_id);
        json_key(w, "caption");
        json_string(w, in->caption);
    } else if (x->opt->set == MASK_SET_VG && in->original_id >= 0) {
        number_member(w, "coco_id", in->original_id);
    }
    json_end_object(w);
}

static void write_annotation(struct exporter *x, struct json_writer *w, uint32_t entry,
                             const struct mask_instance *in)
{
    const struct mask_entry *e = mask_store_entry_at(x->store, entry);

    json_begin_object(w);
    number_member(w, "id", e->id);
    number_member(w, "image_id", in->image_id);
    if (is_refer(x) && e->original_id >= 0)
        number_member(w, "original_id", e->original_id);
    number_member(w, "category_id", e->category);
    json_key(w, "bbox");
    export_bbox(x, w);
    json_key(w, "area");
    json_uint(w, rle_area(&x->mask));
    number_member(w, "iscrowd", e->crowd);
    json_key(w, "segmentation");
    export_segmentation(x, w, in);
    if (x->opt->set == MASK_SET_VG) {
        json_key(w, "caption");
        json_string_n(w, (const char *)x->caption.data, x->caption.size);
    }
    json_end_object(w);
}

static void write_categories(struct exporter *x, struct json_writer *w)
{
    json_begin_array(w);
    for (size_t i = 0; i < mask_store_categories(x->store); i++) {
        const struct mask_category *c = mask_store_category_at(x->store, i);
        if (mask_store_category_of(x->store, c->id) != c)
            continue; /* a later one of this id wins */
        json_begin_object(w);
        number_member(w, "id", c->id);
        json_key(w, "name");
        json_string(w, c->name);
        if (c->supercategory) {
            json_key(w, "supercategory");
            json_string(w, c->supercategory);
        }
        json_end_object(w);
    }
    json_end_array(w);
}

enum status export_write_coco(struct exporter *x, struct error *err)
{
    struct output_file *f = &x->files[EXPORT_COCO];
    struct json_writer w;
    const size_t n = mask_store_instances(x->store);
    enum status st = ST_OK;

    json_writer_init(&w, &f->pending);
    json_begin_object(&w);
    json_key(&w, "images");
    json_begin_array(&w);
    for (size_t k = 0; st == ST_OK && k < n; k++) {
        if (export_kept(x, k) == 0)
            continue;
        write_image(x, &w, mask_store_instance_at(x->store, k));
        st = output_file_piece(f, err);
    }
    json_end_array(&w);
    json_key(&w, "annotations");
    json_begin_array(&w);
    for (size_t k = 0; st == ST_OK && k < n; k++) {
        const size_t kept = export_kept(x, k);
        for (size_t i = 0; st == ST_OK && i < kept; i++) {
            st = export_load(x, x->kept[i], err);
            if (st == ST_OK)
                write_annotation(x, &w, x->kept[i], mask_store_instance_at(x->store, k));
            if (st == ST_OK)
                st = output_file_piece(f, err);
        }
    }
    json_end_array(&w);
    json_key(&w, "categories");
    write_categories(x, &w);
    json_end_object(&w);
    return st == ST_OK ? json_writer_finish(&w, err) : st;
}
