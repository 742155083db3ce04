/* ingest/masks/pascal_part.c: see pascal_part.h. */
#include "ingest/masks/pascal_part.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "ingest/masks/matfile.h"

/* Source: VLPart's reduction, as spec data.md 1.5 lists it; ids are the order of parts. */
static const struct {
    const char *object;
    const char *parts[14];
} objects[] = {
    { "aeroplane", { "body", "wing", "tail", "wheel" } },
    { "bicycle", { "wheel", "handlebar", "saddle" } },
    { "bird", { "beak", "head", "eye", "leg", "foot", "wing", "neck", "tail", "torso" } },
    { "bottle", { "body", "cap" } },
    { "bus", { "license plate", "headlight", "door", "mirror", "window", "wheel" } },
    { "car", { "license plate", "headlight", "door", "mirror", "window", "wheel" } },
    { "cat", { "head", "leg", "ear", "eye", "paw", "neck", "nose", "tail", "torso" } },
    { "cow", { "head", "leg", "ear", "eye", "neck", "horn", "muzzle", "tail", "torso" } },
    { "dog", { "head", "leg", "ear", "eye", "paw", "neck", "nose", "muzzle", "tail", "torso" } },
    { "horse", { "head", "leg", "ear", "eye", "neck", "muzzle", "tail", "torso" } },
    { "motorbike", { "wheel", "handlebar", "headlight", "saddle" } },
    { "person",
      { "hair", "head", "ear", "eye", "nose", "neck", "mouth", "arm", "hand", "leg", "foot",
        "torso" } },
    { "potted plant", { "plant", "pot" } },
    { "sheep", { "head", "leg", "ear", "eye", "neck", "horn", "muzzle", "tail", "torso" } },
};
enum { OBJECTS = sizeof objects / sizeof *objects };

static const char *short_name(const char *part)
{
    if (strcmp(part, "license plate") == 0)
        return "liplate";
    return strcmp(part, "paw") == 0 ? "pa" : part;
}

int pascal_part_reduce(const char *object, const char *part, bool *known_object)
{
    const char *name = strcmp(object, "pottedplant") == 0 ? "potted plant" : object;
    int id = 1;

    *known_object = false;
    for (size_t i = 0; i < OBJECTS; i++) {
        const bool own = strcmp(objects[i].object, name) == 0;
        *known_object = *known_object || own;
        for (size_t k = 0; objects[i].parts[k]; k++, id++)
            if (own && strstr(part, short_name(objects[i].parts[k])))
                return id;
    }
    return 0;
}

/* "object:part" of an id into `out`; false outside. */
static bool category_name(char out[64], int id)
{
    for (size_t i = 0; i < OBJECTS; i++)
        for (size_t k = 0; objects[i].parts[k]; k++)
            if (--id == 0) {
                snprintf(out, 64, "%s:%s", objects[i].object, objects[i].parts[k]);
                return true;
            }
    return false;
}

struct pascal {
    struct mask_store *store;
    char *folder; /* of the MAT files */
    int64_t next_id;
    struct buffer file;
    struct arena arena;
    struct segmentation seg;
};

static bool is_matrix(const struct mat_value *v, uint64_t h, uint64_t w)
{
    return v && v->data && v->rank == 2 && (h == 0 || (v->dims[0] == h && v->dims[1] == w));
}

static enum status set_mask(struct pascal *p, const struct mat_value *v, struct error *err)
{
    const uint8_t *bytes = mat_bytes(v);
    uint8_t *copy = NULL;

    if (!bytes && v->count) { /* another storage type: look at each number */
        copy = arena_alloc(&p->arena, (size_t)v->count, 1);
        if (!copy)
            return error_set(err, ST_FAIL, CAUSE_NOMEM, "part mask");
        for (uint64_t i = 0; i < v->count; i++)
            copy[i] = mat_number(v, i) != 0;
        bytes = copy;
    }
    return segmentation_set_bytes(&p->seg, (int64_t)v->dims[0], (int64_t)v->dims[1], bytes, err);
}

static enum status quarantine(struct pascal *p, const struct mask_origin *at, const char *code,
                              const char *what, struct error *err)
{
    struct error why = { 0 };
    error_set(&why, ST_SKIP, CAUSE_FORMAT, "part %" PRIu64 ": %s", at->record, what);
    error_code(&why, ST_SKIP, code);
    return mask_store_quarantine(p->store, at, &why, err);
}

static enum status add_part(struct pascal *p, uint32_t instance, const char *object,
                            const struct mat_value *parts, uint64_t i, struct mask_origin *at,
                            struct error *err)
{
    const struct mat_value *name = mat_field(parts, i, "part_name"),
                           *mask = mat_field(parts, i, "mask");
    bool known = false;

    if (!name || name->class != MAT_CHAR || !name->text || !is_matrix(mask, 0, 0))
        return quarantine(p, at, "part-schema", "no part_name or no mask", err);
    const int category = pascal_part_reduce(object, name->text, &known);
    if (category == 0)
        return mask_store_filter(p->store, known ? "part-unmapped" : "object-unmapped", err);
    const struct mask_region region = {
        .instance = instance, .id = ++p->next_id, .original_id = -1, .category = category
    };
    if (mask->count == 0)
        return mask_store_filter(p->store, "empty", err);
    const enum status st = set_mask(p, mask, err);
    return st == ST_OK ? mask_store_region(p->store, &region, &p->seg, at, err) : st;
}

/* The picture's size is that of its first object's mask. */
static const struct mat_value *size_of(const struct mat_value *objects_of)
{
    for (uint64_t i = 0; i < objects_of->count; i++) {
        const struct mat_value *mask = mat_field(objects_of, i, "mask");
        if (is_matrix(mask, 0, 0) && mask->count > 0)
            return mask;
    }
    return NULL;
}

static enum status add_picture(struct pascal *p, const char *id, const char *path,
                               const struct mat_value *anno, struct error *err)
{
    const struct mat_value *list = mat_field(anno, 0, "objects");
    struct mask_origin at = { .path = path };
    char name[80];
    int64_t number = 0;
    uint32_t instance = 0;
    enum status st;

    if (!list || list->class != MAT_STRUCT)
        return list && list->count == 0
                   ? ST_OK
                   : error_set(err, ST_FAIL, CAUSE_FORMAT, "anno has no struct array objects");
    const struct mat_value *size = size_of(list);
    if (!size)
        return ST_OK;
    for (const char *c = id; *c; c++) /* 2008_000002 is 2008000002 */
        number =
            *c >= '0' && *c <= '9' && number < INT64_MAX / 100 ? 10 * number + (*c - '0') : number;
    snprintf(name, sizeof name, "%.64s.jpg", id);
    const struct mask_instance in = { .image_id = number,
                                      .key = id,
                                      .file_name = name,
                                      .original_id = -1,
                                      .h = (uint32_t)size->dims[0],
                                      .w = (uint32_t)size->dims[1] };
    st = mask_store_instance(p->store, &in, &instance, err);
    for (uint64_t i = 0; st == ST_OK && i < list->count; i++) {
        const struct mat_value *class = mat_field(list, i, "class"),
                               *parts = mat_field(list, i, "parts");
        if (!class || class->class != MAT_CHAR || !class->text)
            st = quarantine(p, &at, "object-schema", "an object without class", err);
        else if (parts && parts->class == MAT_STRUCT)
            for (uint64_t k = 0; st == ST_OK && k < parts->count; k++, at.record++)
                st = add_part(p, instance, class->text, parts, k, &at, err);
    }
    if (st != ST_SKIP)
        return st;
    struct error why = { 0 };
    error_set(&why, ST_SKIP, CAUSE_FORMAT, "%s: this id is there already", id);
    error_code(&why, ST_SKIP, "image-id-again");
    return mask_store_bad_image(p->store, &at, &why, err);
}

static enum status read_one(struct pascal *p, const char *id, struct error *err)
{
    const struct arena_mark mark = arena_mark(&p->arena);
    struct mat_value *anno = NULL;
    char *path = str_format("%s/%s.mat", p->folder, id);
    enum status st = path ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", id);

    if (st == ST_OK && !file_exists(path)) {
        const struct mask_origin at = { .path = path };
        struct error why = { 0 };
        error_set(&why, ST_SKIP, CAUSE_FORMAT, "%s: listed, but there is no %s.mat", id, id);
        error_code(&why, ST_SKIP, "mat-missing");
        st = mask_store_bad_image(p->store, &at, &why, err);
        mem_free(path);
        return st;
    }
    buffer_clear(&p->file);
    if (st == ST_OK)
        st = file_read_all(&p->file, path, 256u << 20, err);
    if (st == ST_OK)
        st = mat_parse(&anno, &p->arena, p->file.data, p->file.size, "anno", NULL, err);
    if (st == ST_OK)
        st = add_picture(p, id, path, anno, err);
    if (st != ST_OK)
        error_prefix(err, st, "%s.mat", id);
    mem_free(path);
    arena_release(&p->arena, mark);
    return st;
}

/* The first of the paths that exists, as a fresh string; NULL: none. */
static char *first_there(const char *folder, const char *const *relative, size_t n,
                         const char *split)
{
    for (size_t i = 0; i < n; i++) {
        char *path = str_format("%s/%s%s%s", folder, relative[i], split, *split ? ".txt" : "");
        if (path && file_exists(path))
            return path;
        mem_free(path);
    }
    return NULL;
}

static enum status read_listed(struct pascal *p, const char *list, struct error *err)
{
    struct buffer text;
    enum status st;

    buffer_init(&text);
    st = file_read_all(&text, list, 64u << 20, err);
    if (st == ST_OK)
        st = buffer_append(&text, "", 1, err);
    for (char *line = st == ST_OK ? (char *)text.data : NULL; st == ST_OK && line && *line;) {
        char *next = line + strcspn(line, "\n");
        next = *next ? next + 1 : next;
        line += strspn(line, " \t");
        line[strcspn(line, " \t\r\n")] =
            '\0'; /* "ID", or "ID -1" as the lists of one class have it */
        if (strchr(line, '/') || strlen(line) > 64)
            st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: not a list of picture ids",
                           path_base(list));
        else if (*line)
            st = read_one(p, line, err);
        line = next;
    }
    buffer_clear(&text);
    return st;
}

enum status pascal_part_read(struct mask_store *store, const char *folder, const char *list,
                             const char *split, struct error *err)
{
    static const char *const folders[] = { "Annotations_Part", "." };
    static const char *const lists[] = { "ImageSets/Main/", "VOCdevkit/VOC2010/ImageSets/Main/",
                                         "" };
    struct pascal p = { .store = store, .folder = first_there(folder, folders, 2, "") };
    char *found = list ? mem_strdup(list) : first_there(folder, lists, 3, split);
    char name[64];
    enum status st = ST_OK;

    arena_init(&p.arena, 0);
    segmentation_init(&p.seg);
    if (!p.folder || !found)
        st = error_set(err, ST_FAIL, CAUSE_ARG,
                       "%s: no folder of MAT files with a split list %s.txt", folder, split);
    for (int id = 1; st == ST_OK && category_name(name, id); id++)
        st = mask_store_category(store, id, name, NULL, err);
    if (st == ST_OK)
        st = read_listed(&p, found, err);
    segmentation_clear(&p.seg);
    buffer_clear(&p.file);
    arena_clear(&p.arena);
    mem_free(p.folder);
    mem_free(found);
    return st;
}
