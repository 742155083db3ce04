/* ingest/masks/export_masks.c: see export_masks.h. Read everything into the store, drop what options and
 * pictures exclude, write all products beside their names, rename them, the manifest last. */
#include "ingest/masks/export_masks.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/image.h"
#include "core/pool.h"
#include "ingest/masks/coco.h"
#include "ingest/masks/export_private.h"
#include "ingest/masks/pascal_part.h"
#include "ingest/masks/picture_folder.h"
#include "ingest/masks/picture_ids.h"
#include "ingest/masks/refer.h"
#include "ingest/masks/vcr.h"
#include "ingest/masks/visual_genome.h"

const char *const mask_set_names[MASK_SETS + 1] = { "coco",     "refcoco",     "refcoco+",
                                                    "refcocog", "pascal-part", "partimagenet",
                                                    "vg",       "vcr",         NULL };

/* Shares of 200,000: the two small sets whole, the others by size (spec data.md 7.2). */
static const uint64_t paper200k[MASK_SETS] = {
    31100, 32200, 31900, 21400, 5000, 16500, 26600, 56700
};

void export_masks_options_init(struct export_masks_options *opt)
{
    memset(opt, 0, sizeof *opt);
    opt->split = "train";
    opt->max_regions = 15;
    mask_options_init(&opt->masks);
}

const char *export_set_name(const struct exporter *x)
{
    return mask_set_names[x->opt->set];
}

size_t export_kept(struct exporter *x, size_t k)
{
    const uint32_t *first = mask_store_first(x->store), *order = mask_store_order(x->store);
    size_t n = 0;
    for (uint32_t i = first[k]; i < first[k + 1]; i++)
        if (!mask_store_entry_at(x->store, order[i])->dropped)
            x->kept[n++] = order[i];
    return n;
}

void export_draw(const struct exporter *x, struct rng *r, const char *purpose,
                 const struct mask_instance *in, const uint64_t *position)
{
    struct rng_key key;
    const char *set = export_set_name(x);

    rng_key_init(&key, x->opt->seed, purpose);
    rng_key_string(&key, set, strlen(set));
    rng_key_string(&key, in->key, strlen(in->key));
    if (strcmp(purpose, "D11") != 0)
        rng_key_integer(&key, 0); /* epoch: frozen here */
    if (position)
        rng_key_integer(&key, *position);
    rng_init(r, &key);
}

enum status export_load(struct exporter *x, uint32_t entry, struct error *err)
{
    const struct mask_entry *e = mask_store_entry_at(x->store, entry);
    const struct mask_instance *in = mask_store_instance_at(x->store, e->instance);

    if (mask_store_read(x->store, entry, &x->rle, &x->caption, err) != ST_OK)
        return ST_FAIL;
    const enum status st =
        rle_from_string(&x->mask, in->h, in->w, (const char *)x->rle.data, x->rle.size, err);
    return st == ST_SKIP ? ST_FAIL : st; /* our own string: the spill file was changed */
}

void export_segmentation(struct exporter *x, struct json_writer *w, const struct mask_instance *in)
{
    json_begin_object(w);
    json_key(w, "size");
    json_begin_array(w);
    json_uint(w, in->h);
    json_uint(w, in->w);
    json_end_array(w);
    json_key(w, "counts");
    json_string_n(w, (const char *)x->rle.data, x->rle.size);
    json_end_object(w);
}

void export_bbox(struct exporter *x, struct json_writer *w)
{
    uint32_t box[4];
    rle_bbox(&x->mask, box);
    json_begin_array(w);
    for (int i = 0; i < 4; i++)
        json_uint(w, box[i]);
    json_end_array(w);
}

static enum status read_coco(struct exporter *x, bool image_captions, struct error *err)
{
    const struct coco_options coco = { .image_captions = image_captions,
                                       .coco_pictures = x->opt->set != MASK_SET_PARTIMAGENET };
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < x->opt->annotation_count; i++)
        st = coco_read(x->store, x->opt->annotations[i], &coco, err);
    return st;
}

static enum status read_refer(struct exporter *x, struct error *err)
{
    const struct refer_options refer = { x->opt->split, x->opt->latin1 };
    struct file_info info;
    enum status st = file_stat(x->opt->annotations[0], &info, err);

    if (st == ST_OK && !info.is_folder)
        return read_coco(x, true, err);
    if (st == ST_OK && x->opt->annotation_count > 1)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "one folder of instances.json and refs(NAME).p at a time");
    return st == ST_FAIL ? st : refer_read(x->store, x->opt->annotations[0], &refer, err);
}

static enum status read_pascal(struct exporter *x, struct error *err)
{
    const char *folder = NULL, *list = NULL;
    enum status st = ST_OK;

    for (size_t i = 0; st == ST_OK && i < x->opt->annotation_count; i++) {
        struct file_info info;
        st = file_stat(x->opt->annotations[i], &info, err);
        if (st == ST_OK)
            *(info.is_folder ? &folder : &list) = x->opt->annotations[i];
    }
    if (st == ST_OK && !folder)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "pascal-part needs the folder Annotations_Part");
    return st == ST_OK ? pascal_part_read(x->store, folder, list, x->opt->split, err) : st;
}

/* Whether path n is the packed form of the one before it. */
static bool is_there_plain(char *const *paths, size_t n)
{
    const size_t plain = n > 0 ? strlen(paths[n - 1]) : 0;
    return n > 0 && strncmp(paths[n], paths[n - 1], plain) == 0 &&
           strcmp(paths[n] + plain, ".zip") == 0;
}

/* Each file is told by its first bytes; a folder stands for those of the usual names. */
static enum status read_genome(struct exporter *x, const char *spill, struct error *err)
{
    static const char *const usual[] = {
        "image_data.json",          "image_data.json.zip",
        "region_descriptions.json", "region_descriptions.json.zip",
        "vg_train_with_mask.json",  "vg_train_with_mask.json.zip",
    };
    enum { USUAL = sizeof usual / sizeof *usual };
    char *paths[16] = { 0 };
    size_t n = 0;
    struct visual_genome_paths p = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; st == ST_OK && i < x->opt->annotation_count; i++) {
        struct file_info info;
        st = file_stat(x->opt->annotations[i], &info, err);
        for (int k = 0; st == ST_OK && k < (info.is_folder ? USUAL : 1) && n < 16; k++) {
            paths[n] = info.is_folder ? path_join(x->opt->annotations[i], usual[k])
                                      : mem_strdup(x->opt->annotations[i]);
            if (!paths[n])
                st = error_set(err, ST_FAIL, CAUSE_NOMEM, "paths");
            else if (info.is_folder && (!file_exists(paths[n]) || is_there_plain(paths, n)))
                mem_free(paths[n]);
            else
                n++;
        }
    }
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        int kind = 0;
        st = visual_genome_kind(&kind, paths[i], err);
        if (st == ST_OK && kind == 0)
            st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: no file of Visual Genome that is known",
                           paths[i]);
        *(kind == 'i' ? &p.image_data : kind == 'r' ? &p.regions : &p.masks) = paths[i];
    }
    if (st == ST_OK)
        st = visual_genome_read(x->store, &p, &x->opt->masks, spill, err);
    for (size_t i = 0; i < n; i++)
        mem_free(paths[i]);
    return st;
}

static enum status read_vcr(struct exporter *x, struct error *err)
{
    const size_t n = x->opt->annotation_count + x->opt->image_count;
    const char **roots = mem_calloc(n + 1, sizeof(char *));
    enum status st = roots ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "roots");

    for (size_t i = 0; st == ST_OK && i < n; i++)
        roots[i] = i < x->opt->image_count ? x->opt->images[i]
                                           : x->opt->annotations[i - x->opt->image_count];
    for (size_t i = 0; st == ST_OK && i < x->opt->annotation_count; i++) {
        struct file_info info;
        char *lines = NULL;
        st = file_stat(x->opt->annotations[i], &info, err);
        if (st == ST_OK && info.is_folder)
            lines = str_format("%s/%s.jsonl", x->opt->annotations[i], x->opt->split);
        if (st == ST_OK && (!info.is_folder || (lines && file_exists(lines))))
            st = vcr_read(x->store, lines ? lines : x->opt->annotations[i], roots, n, err);
        mem_free(lines);
    }
    mem_free(roots);
    return st;
}

static enum status read_set(struct exporter *x, const char *spill, struct error *err)
{
    for (size_t i = 0; i < x->opt->annotation_count; i++)
        if (!file_exists(x->opt->annotations[i]))
            return error_set(err, ST_FAIL, CAUSE_ARG, "%s: no such file or folder",
                             x->opt->annotations[i]);
    switch (x->opt->set) {
    case MASK_SET_COCO:
    case MASK_SET_PARTIMAGENET:
        return read_coco(x, false, err);
    case MASK_SET_REFCOCO:
    case MASK_SET_REFCOCO_PLUS:
    case MASK_SET_REFCOCOG:
        return read_refer(x, err);
    case MASK_SET_PASCAL_PART:
        return read_pascal(x, err);
    case MASK_SET_VG:
        return read_genome(x, spill, err);
    case MASK_SET_VCR:
        return read_vcr(x, err);
    case MASK_SETS:
        break;
    }
    return error_set(err, ST_FAIL, CAUSE_ARG, "no such set");
}

static void drop_instance(struct exporter *x, size_t k, const char *reason)
{
    const size_t n = export_kept(x, k);
    for (size_t i = 0; i < n; i++)
        mask_store_drop(x->store, x->kept[i], reason);
}

static enum status exclude(struct exporter *x, struct error *err)
{
    struct picture_ids list;

    if (!x->opt->exclude)
        return ST_OK;
    const enum status st = picture_ids_open(&list, x->opt->exclude, err);
    for (size_t k = 0; st == ST_OK && k < mask_store_instances(x->store); k++) {
        const struct mask_instance *in = mask_store_instance_at(x->store, k);
        if (picture_ids_has(&list, in->key, in->file_name, in->original_id))
            drop_instance(x, k, "excluded");
    }
    picture_ids_close(&list);
    return st;
}

/* One picture's header against what the annotations say. NULL: it is as they say. */
static const char *look_at_picture(const struct found_picture *found,
                                   const struct mask_instance *in)
{
    struct image_limits limits;
    struct buffer bytes;
    struct image_info info;
    struct error err = { 0 };
    const char *reason = NULL;

    image_limits_init(&limits);
    buffer_init(&bytes);
    if (picture_folder_read(found, &bytes, limits.max_bytes, &err) != ST_OK ||
        image_probe(&info, bytes.data, bytes.size, &limits, &err) != ST_OK)
        reason = "picture-unreadable";
    else if (info.width != in->w || info.height != in->h)
        reason = "picture-size";
    buffer_clear(&bytes);
    return reason;
}

struct look {
    struct exporter *x;
    const struct picture_folder *pictures;
    size_t from, to;      /* instances */
    const char **reasons; /* by instance */
};

static enum status look_at_run(void *arg, bool cancelled, struct error *err)
{
    struct look *l = arg;
    enum status st = ST_OK;

    for (size_t k = l->from; st == ST_OK && !cancelled && k < l->to; k++) {
        const struct mask_instance *in = mask_store_instance_at(l->x->store, k);
        struct found_picture found = { 0 };
        if (!l->reasons[k])
            continue; /* no region of it is left */
        st = picture_folder_find(l->pictures, in->location ? in->location : in->file_name, &found,
                                 err);
        l->reasons[k] = st == ST_OK ? look_at_picture(&found, in) : "picture-missing";
        st = st == ST_END ? ST_OK : st;
    }
    return st;
}

enum { LOOK_RUN = 64 };

static enum status look_at_all(struct exporter *x, const struct picture_folder *pictures,
                               const char **reasons, struct error *err)
{
    const size_t n = mask_store_instances(x->store), runs = (n + LOOK_RUN - 1) / LOOK_RUN;
    struct look *list = mem_calloc(runs + 1, sizeof *list);
    struct pool *pool = NULL;
    enum status st = list ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "pictures");

    if (st == ST_OK)
        st = pool_open(&pool, x->opt->masks.jobs, 16, err);
    for (size_t i = 0; st == ST_OK && i < runs; i++) {
        const size_t to = (i + 1) * LOOK_RUN < n ? (i + 1) * LOOK_RUN : n;
        list[i] = (struct look){ x, pictures, i * LOOK_RUN, to, reasons };
        st = pool_submit(pool, look_at_run, &list[i], err);
    }
    if (pool) {
        const enum status closed = pool_close(&pool, err);
        st = st == ST_OK || st == ST_STOP ? closed : st;
    }
    mem_free(list);
    return st;
}

static enum status check_pictures(struct exporter *x, struct error *err)
{
    const size_t n = mask_store_instances(x->store);
    struct picture_folder *pictures = NULL;

    if (x->opt->image_count == 0)
        return ST_OK;
    const char **reasons = mem_calloc(n + 1, sizeof(char *));
    enum status st = reasons
                         ? picture_folder_open(&pictures, x->opt->images, x->opt->image_count, err)
                         : error_set(err, ST_FAIL, CAUSE_NOMEM, "pictures");
    for (size_t k = 0; st == ST_OK && k < n; k++)
        reasons[k] = export_kept(x, k) ? "look" : NULL;
    if (st == ST_OK)
        st = look_at_all(x, pictures, reasons, err);
    for (size_t k = 0; st == ST_OK && k < n; k++)
        if (reasons[k])
            drop_instance(x, k, reasons[k]);
    picture_folder_close(&pictures);
    mem_free(reasons);
    return st;
}

struct placed {
    uint64_t order;
    size_t k;
};

static int compare_placed(const void *a, const void *b)
{
    const struct placed *p = a, *q = b;
    if (p->order != q->order)
        return p->order < q->order ? -1 : 1;
    return (p->k > q->k) - (p->k < q->k);
}

/* D11: the instances with the smallest values stay. */
static enum status cap_instances(struct exporter *x, struct error *err)
{
    const size_t n = mask_store_instances(x->store);
    const uint64_t cap = x->opt->paper200k ? paper200k[x->opt->set] : x->opt->max_instances;
    size_t used = 0;

    if (cap == 0)
        return ST_OK;
    struct placed *list = mem_calloc(n + 1, sizeof *list);
    if (!list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "%zu instances", n);
    for (size_t k = 0; k < n; k++) {
        struct rng r;
        if (export_kept(x, k) == 0)
            continue;
        export_draw(x, &r, "D11", mask_store_instance_at(x->store, k), NULL);
        list[used++] = (struct placed){ rng_order(&r), k };
    }
    qsort(list, used, sizeof *list, compare_placed);
    for (size_t i = (size_t)(cap < used ? cap : used); i < used; i++)
        drop_instance(x, list[i].k, "max-instances");
    mem_free(list);
    return ST_OK;
}

/* The two vocabularies of part sets: what stands before and behind the first mark of the names. */
static enum status list_vocabularies(struct exporter *x, struct error *err)
{
    const char mark = x->opt->set == MASK_SET_PASCAL_PART ? ':' : ' ';
    enum status st = ST_OK;

    for (int side = 0; st == ST_OK && side < 2; side++) {
        struct hash_map *seen = NULL;
        st = hash_map_open(&seen, 128, err);
        for (size_t i = 0; st == ST_OK && i < mask_store_categories(x->store); i++) {
            const char *name = mask_store_category_at(x->store, i)->name, *cut = strchr(name, mark);
            const char *part = side == 0 ? name : cut ? cut + 1 : name;
            const size_t size = side == 0 && cut ? (size_t)(cut - name) : strlen(part);
            uint64_t value = 0;
            st = hash_map_insert(seen, part, size, &value, err);
            if (st == ST_OK && hash_map_count(seen) > 1)
                st = buffer_append_str(&x->vocabulary[side], ", ", err);
            if (st == ST_OK)
                st = buffer_append(&x->vocabulary[side], part, size, err);
            st = st == ST_SKIP ? ST_OK : st;
        }
        if (st == ST_OK)
            st = buffer_append(&x->vocabulary[side], "", 1, err);
        hash_map_close(&seen);
    }
    return st;
}

static enum status report_overlaps(struct exporter *x, struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; st == ST_OK && i < x->opt->compare_count && i < 16; i++) {
        struct export_masks_overlap *o = &x->report->overlaps[x->report->overlap_count++];
        struct hash_map *pictures = NULL;
        struct picture_ids list;
        o->file = path_base(x->opt->compare[i]);
        st = picture_ids_open(&list, x->opt->compare[i], err);
        if (st == ST_OK)
            st = hash_map_open(&pictures, 64, err);
        for (size_t k = 0; st == ST_OK && k < mask_store_instances(x->store); k++) {
            const struct mask_instance *in = mask_store_instance_at(x->store, k);
            uint64_t value = 0;
            if (!export_kept(x, k) ||
                !picture_ids_has(&list, in->key, in->file_name, in->original_id))
                continue;
            o->instances++;
            st = hash_map_insert(pictures, in->file_name, strlen(in->file_name), &value, err);
            o->pictures += st == ST_OK;
            st = st == ST_SKIP ? ST_OK : st;
        }
        hash_map_close(&pictures);
        picture_ids_close(&list);
    }
    return st;
}

static enum status count_stored(struct exporter *x, struct error *err)
{
    struct hash_map *pictures = NULL;
    enum status st = hash_map_open(&pictures, 1024, err);

    for (size_t k = 0; st == ST_OK && k < mask_store_instances(x->store); k++) {
        const struct mask_instance *in = mask_store_instance_at(x->store, k);
        uint64_t value = 0;
        if (export_kept(x, k) == 0)
            continue;
        x->report->instances++;
        x->report->coco_pictures += in->original_id >= 0;
        st = hash_map_insert(pictures, in->file_name, strlen(in->file_name), &value, err);
        st = st == ST_SKIP ? ST_OK : st;
    }
    x->report->pictures = pictures ? hash_map_count(pictures) : 0;
    hash_map_close(&pictures);
    return st;
}

/* Working memory that depends on the largest instance. */
static enum status make_room(struct exporter *x, struct error *err)
{
    const uint32_t *first = mask_store_first(x->store);
    size_t most = 1;

    for (size_t k = 0; k < mask_store_instances(x->store); k++)
        most = first[k + 1] - first[k] > most ? first[k + 1] - first[k] : most;
    x->kept = mem_calloc(most, sizeof *x->kept);
    x->picks = mem_calloc(most, sizeof *x->picks);
    return x->kept && x->picks ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "%zu regions", most);
}

static enum status choose(struct exporter *x, struct error *err)
{
    enum status st = make_room(x, err);

    if (st == ST_OK)
        st = exclude(x, err);
    if (st == ST_OK)
        st = check_pictures(x, err);
    if (st == ST_OK)
        st = cap_instances(x, err);
    if (st == ST_OK)
        st = list_vocabularies(x, err);
    if (st == ST_OK)
        st = report_overlaps(x, err);
    return st == ST_OK ? count_stored(x, err) : st;
}

/* The name of the COCO-shaped product (spec data.md 7.2), fresh; NULL where the set has none. */
static char *coco_name(const struct exporter *x)
{
    const char *split = x->opt->split;
    switch (x->opt->set) {
    case MASK_SET_COCO:
        return str_format("%s/instances_%s2017.json", x->opt->out, split);
    case MASK_SET_REFCOCO:
    case MASK_SET_REFCOCO_PLUS:
    case MASK_SET_REFCOCOG:
        return str_format("%s/finetune_%s_%s_with_mask.json", x->opt->out, export_set_name(x),
                          split);
    case MASK_SET_PASCAL_PART:
        return str_format("%s/pascalpart_%s.json", x->opt->out, split);
    case MASK_SET_PARTIMAGENET:
        return str_format("%s/partImagenet_%s_format.json", x->opt->out, split);
    case MASK_SET_VG:
        return str_format("%s/vg_%s_with_mask.json", x->opt->out, split);
    default:
        return NULL;
    }
}

static enum status open_file(struct output_file *f, char *path, struct error *err)
{
    const enum status st =
        path ? output_file_open(f, path, err) : error_set(err, ST_FAIL, CAUSE_NOMEM, "file name");
    mem_free(path);
    return st;
}

static enum status write_products(struct exporter *x, struct output_file *manifest,
                                  struct error *err)
{
    const char *set = export_set_name(x), *split = x->opt->split, *out = x->opt->out;
    const struct buffer *rows = mask_store_quarantine_rows(x->store);
    enum status st = ST_OK;

    if (x->opt->set != MASK_SET_VCR)
        st = open_file(&x->files[EXPORT_COCO], coco_name(x), err);
    if (st == ST_OK && x->opt->set != MASK_SET_VCR)
        st = export_write_coco(x, err);
    if (st == ST_OK)
        st = open_file(&x->files[EXPORT_CONVERSATION],
                       str_format("%s/%s_%s_conversation.json", out, set, split), err);
    if (st == ST_OK)
        st = export_write_conversation(x, err);
    if (st == ST_OK)
        st = open_file(&x->files[EXPORT_QUARANTINE],
                       str_format("%s/%s_%s_quarantine.jsonl", out, set, split), err);
    if (st == ST_OK && rows->size)
        st = buffer_append(&x->files[EXPORT_QUARANTINE].pending, rows->data, rows->size, err);
    for (int i = 0; st == ST_OK && i < EXPORT_FILES; i++)
        if (x->files[i].path)
            st = output_file_seal(&x->files[i], err);
    if (st == ST_OK)
        st = open_file(manifest, str_format("%s/%s_%s_manifest.json", out, set, split), err);
    if (st == ST_OK)
        st = export_write_manifest(x, manifest, err);
    if (st == ST_OK)
        st = output_file_seal(manifest, err);
    for (int i = 0; st == ST_OK && i < EXPORT_FILES; i++)
        if (x->files[i].path)
            st = output_file_publish(&x->files[i], err);
    return st == ST_OK ? output_file_publish(manifest, err) : st;
}

static void close_exporter(struct exporter *x)
{
    for (int i = 0; i < EXPORT_FILES; i++)
        output_file_close(&x->files[i]);
    mask_store_close(&x->store);
    mask_templates_close(&x->templates);
    buffer_clear(&x->rle);
    buffer_clear(&x->caption);
    buffer_clear(&x->text);
    buffer_clear(&x->vocabulary[0]);
    buffer_clear(&x->vocabulary[1]);
    rle_clear(&x->mask);
    mem_free(x->kept);
    mem_free(x->picks);
}

enum status export_masks_run(struct export_masks_report *report,
                             const struct export_masks_options *opt, struct error *err)
{
    struct exporter x = { .opt = opt, .report = report };
    struct output_file manifest = { .fd = -1 };
    char *lock_path = path_join(opt->out, ".deem-export-lock");
    char *spill = str_format("%s/%s_%s.work", opt->out, mask_set_names[opt->set], opt->split);
    char *second =
        str_format("%s/%s_%s.masks.work", opt->out, mask_set_names[opt->set], opt->split);
    int lock = -1;
    enum status st =
        lock_path && spill && second ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "file names");

    memset(report, 0, sizeof *report);
    for (int i = 0; i < EXPORT_FILES; i++)
        x.files[i].fd = -1;
    arena_init(&x.templates.arena, 0);
    if (st == ST_OK)
        st = file_make_folders(opt->out, err);
    if (st == ST_OK)
        st = file_lock(&lock, lock_path, err);
    if (st == ST_OK)
        st = mask_templates_open(&x.templates, opt->templates, err);
    if (st == ST_OK)
        st = mask_templates_get(&x.templates, mask_set_names[opt->set], &x.template, err);
    if (st == ST_OK)
        st = mask_store_open(&x.store, spill, &opt->masks, err);
    if (st == ST_OK)
        st = read_set(&x, second, err);
    if (st == ST_OK)
        st = mask_store_finish(x.store, err);
    if (st == ST_OK)
        st = choose(&x, err);
    if (st == ST_OK)
        st = write_products(&x, &manifest, err);
    if (x.store)
        report->regions = *mask_store_counts(x.store);
    output_file_close(&manifest);
    close_exporter(&x);
    if (lock >= 0)
        file_unlock(&lock);
    mem_free(lock_path);
    mem_free(spill);
    mem_free(second);
    return st;
}
