/* ingest/picture_scan.c: walks a PATH of pictures for the index: a folder and the folders in it, or a tar.
 * A name.json beside a picture, in a folder or a tar, is img2dataset's and names what was asked for.
 * Folders are read in the order of the file system: the index does not depend on it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/json.h"
#include "core/mem.h"
#include "ingest/picture_private.h"
#include "ingest/tar.h"

enum { JSON_MAX = 1 << 20, RECORD_FIXED = 41 };

static const char *const extensions[] = { "jpg", "jpeg", "png", "webp", "gif", "avif", "bmp" };
enum { EXTENSIONS = sizeof extensions / sizeof *extensions };

struct scan {
    struct table_writer *table;
    const struct source_limits *limits;
    const char *root; /* the PATH */
    uint32_t path;
    enum picture_level level;
    const char *folder; /* below the PATH, "" or ending in '/' */
    struct buffer value, key, json;
    struct arena arena;
};

static bool lower_is(const char *s, size_t size, const char *word)
{
    if (size != strlen(word))
        return false;
    for (size_t i = 0; i < size; i++) {
        const bool upper = s[i] >= 'A' && s[i] <= 'Z';
        if (s[i] + (upper ? 'a' - 'A' : 0) != word[i])
            return false;
    }
    return true;
}

static bool is_picture(const char *extension, size_t size)
{
    for (size_t i = 0; i < EXTENSIONS; i++)
        if (lower_is(extension, size, extensions[i]))
            return true;
    return false;
}

size_t picture_stem(const char *name, size_t size, bool *known)
{
    const char *dot = memrchr(name, '.', size);
    *known = true;
    if (!dot)
        return size;
    *known = is_picture(dot + 1, size - (size_t)(dot + 1 - name));
    return (size_t)(dot - name);
}

static enum status add(struct scan *s, char kind, const char *key, size_t key_size,
                       const struct picture_record *r, struct error *err)
{
    uint8_t fixed[RECORD_FIXED];
    fixed[0] = (uint8_t)r->level;
    store_u32le(fixed + 1, r->path);
    store_u64le(fixed + 5, r->offset);
    store_u64le(fixed + 13, r->size);
    store_u64le(fixed + 21, r->file_size);
    store_u64le(fixed + 29, (uint64_t)r->file_mtime_ns);
    store_u16le(fixed + 37, (uint16_t)r->name.size);
    store_u16le(fixed + 39, (uint16_t)r->file.size);
    s->value.size = s->key.size = 0;
    enum status st = buffer_append(&s->value, fixed, sizeof fixed, err);
    if (st == ST_OK)
        st = buffer_append(&s->value, r->name.data, r->name.size, err);
    if (st == ST_OK)
        st = buffer_append(&s->value, r->file.data, r->file.size, err);
    if (st == ST_OK)
        st = buffer_append(&s->value, r->member.data, r->member.size, err);
    if (st == ST_OK)
        st = buffer_append(&s->key, &kind, 1, err);
    if (st == ST_OK)
        st = buffer_append(&s->key, key, key_size, err);
    return st == ST_OK
               ? table_add(s->table, s->key.data, s->key.size, s->value.data, s->value.size, err)
               : st;
}

static enum status add_name(struct scan *s, struct picture_record *r, struct text name,
                            struct error *err)
{
    bool known = false;
    if (name.size > UINT16_MAX || r->file.size > UINT16_MAX)
        return ST_OK; /* no name of a document is that long */
    r->name = name;
    return add(s, 's', name.data, picture_stem(name.data, name.size, &known), r, err);
}

static struct text string_of(const struct json_value *v)
{
    return v && v->type == JSON_T_STRING ? (struct text){ v->text, v->size }
                                         : (struct text){ NULL, 0 };
}

/* What img2dataset's JSON in s->json says the picture is: by name, else by URL. *joined false: it
 * says nothing. */
static enum status add_joined(struct scan *s, struct picture_record *r, bool *joined,
                              struct error *err)
{
    struct json_value *v = NULL;
    struct error bad = { 0 };
    const struct arena_mark mark = arena_mark(&s->arena);
    *joined = false;
    enum status st = json_parse(&s->arena, &v, s->json.data, s->json.size, NULL, &bad);
    if (st != ST_OK && bad.cause == CAUSE_NOMEM) {
        if (err && err->cause == CAUSE_NONE)
            *err = bad;
        return st;
    }
    const struct text id =
        st == ST_OK ? string_of(json_get(v, "local_identifier")) : (struct text){ NULL, 0 };
    const struct text url = st == ST_OK ? string_of(json_get(v, "url")) : (struct text){ NULL, 0 };
    *joined = id.data || url.data;
    r->level = PICTURE_TOP; /* the name is given, wherever the file lies */
    if (id.data) {
        st = add_name(s, r, id, err);
    } else if (url.data) {
        r->name = (struct text){ "", 0 };
        st = add(s, 'u', url.data, url.size, r, err);
    } else {
        st = ST_OK;
    }
    arena_release(&s->arena, mark);
    return st;
}

/* The picture beside NAME.json. ST_END: there is none. */
static enum status find_beside(struct scan *s, const char *json, char **file,
                               struct file_info *info, struct error *err)
{
    const int stem = (int)(strlen(json) - strlen("json"));
    for (size_t i = 0; i < EXTENSIONS; i++) {
        *file = str_format("%s%.*s%s", s->folder, stem, json, extensions[i]);
        char *path = *file ? path_join(s->root, *file) : NULL;
        const enum status st = path ? file_stat(path, info, err)
                                    : error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index");
        mem_free(path);
        if (st == ST_FAIL || (st == ST_OK && info->is_regular))
            return st;
        mem_free(*file);
        *file = NULL;
    }
    return ST_END;
}

static enum status scan_json(struct scan *s, const char *name, const struct file_info *info,
                             struct error *err)
{
    char *file = NULL, *path = NULL;
    struct file_info picture = { 0 };
    bool joined = false;
    if (info->size > JSON_MAX)
        return ST_OK; /* something else: annotations, statistics */
    enum status st = find_beside(s, name, &file, &picture, err);
    if (st != ST_OK)
        goto done;
    path = str_format("%s/%s%s", s->root, s->folder, name);
    buffer_clear(&s->json);
    st = path ? file_read_all(&s->json, path, 0, err)
              : error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index");
    if (st == ST_OK) {
        struct picture_record r = { .path = s->path,
                                    .size = picture.size,
                                    .file_size = picture.size,
                                    .file_mtime_ns = picture.mtime_ns,
                                    .file = { file, strlen(file) } };
        st = add_joined(s, &r, &joined, err);
    }
done:
    mem_free(path);
    mem_free(file);
    return st == ST_END ? ST_OK : st;
}

/* The members of one stem of a tar. */
struct group {
    char *stem, *member; /* owned; of the picture */
    struct tar_member picture;
    bool has_picture, has_json;
};

static void group_clear(struct group *g)
{
    mem_free(g->stem);
    mem_free(g->member);
    *g = (struct group){ 0 };
}

static enum status finish_group(struct scan *s, struct group *g, const struct tar *t,
                                const char *file, struct error *err)
{
    bool joined = false;
    enum status st = ST_OK;
    if (g->has_picture) {
        struct picture_record r = { .path = s->path,
                                    .offset = g->picture.data,
                                    .size = g->picture.size,
                                    .file_size = tar_info(t)->size,
                                    .file_mtime_ns = tar_info(t)->mtime_ns,
                                    .file = { file, strlen(file) },
                                    .member = { g->member, strlen(g->member) } };
        const char *base = path_base(g->member);
        if (g->has_json)
            st = add_joined(s, &r, &joined, err);
        r.level = PICTURE_TOP;
        if (st == ST_OK && !joined)
            st = add_name(s, &r, (struct text){ base, strlen(base) }, err);
    }
    group_clear(g);
    return st;
}

static enum status scan_member(struct scan *s, struct group *g, const struct tar *t,
                               const char *file, const struct tar_member *m, struct error *err)
{
    const char *base = path_base(m->name), *dot = strchr(base, '.');
    const size_t stem = dot ? (size_t)(dot - m->name) : strlen(m->name);
    enum status st = ST_OK;
    if (!g->stem || strlen(g->stem) != stem || memcmp(g->stem, m->name, stem) != 0) {
        st = finish_group(s, g, t, file, err);
        g->stem = mem_strndup(m->name, stem);
        if (st == ST_OK && !g->stem)
            st = error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index");
        if (st != ST_OK)
            return st;
    }
    if (dot && lower_is(dot + 1, strlen(dot + 1), "json") && m->size <= JSON_MAX) {
        g->has_json = true;
        return tar_read(t, &s->json, m, err);
    }
    if (g->has_picture || (dot && !is_picture(dot + 1, strlen(dot + 1))))
        return ST_OK;
    g->member = mem_strdup(m->name);
    g->picture = *m;
    g->has_picture = g->member != NULL;
    return g->member ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index");
}

/* A tar that is cut or damaged gives what can be read of it. */
static enum status scan_tar(struct scan *s, const char *file, struct error *err)
{
    struct tar *t = NULL;
    struct group g = { 0 };
    struct error bad = { 0 };
    char *path = file[0] ? path_join(s->root, file) : mem_strdup(s->root);
    enum status st = path ? tar_open(&t, path, s->limits, err)
                          : error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index");
    while (st == ST_OK) {
        struct tar_member m;
        st = tar_next(t, &m, &bad);
        if (st == ST_OK)
            st = scan_member(s, &g, t, file, &m, err);
        else if (st == ST_SKIP)
            st = ST_OK;
        else if (st == ST_FAIL && err && err->cause == CAUSE_NONE)
            *err = bad;
        if (st == ST_OK)
            error_clear(&bad);
    }
    if (st == ST_END)
        st = finish_group(s, &g, t, file, err);
    group_clear(&g);
    tar_close(&t);
    mem_free(path);
    return st;
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static enum status scan_below(struct scan *s, const char *name, struct error *err);

static enum status scan_entry(void *arg, const char *name, const struct file_info *info, bool link,
                              struct error *err)
{
    struct scan *s = arg;
    if (info->is_folder)
        return link || s->level == PICTURE_BELOW ? ST_OK : scan_below(s, name, err);
    if (!info->is_regular || ends_with(name, ".txt") || ends_with(name, ".parquet"))
        return ST_OK;
    if (ends_with(name, ".json"))
        return scan_json(s, name, info, err);
    char *file = str_format("%s%s", s->folder, name);
    if (!file)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "picture index");
    enum status st = ST_OK;
    if (ends_with(name, ".tar")) {
        st = scan_tar(s, file, err);
    } else {
        struct picture_record r = { .level = s->level,
                                    .path = s->path,
                                    .size = info->size,
                                    .file_size = info->size,
                                    .file_mtime_ns = info->mtime_ns,
                                    .file = { file, strlen(file) } };
        st = add_name(s, &r, (struct text){ name, strlen(name) }, err);
    }
    mem_free(file);
    return st;
}

static enum status scan_below(struct scan *s, const char *name, struct error *err)
{
    char *folder = str_format("%s/", name), *path = path_join(s->root, name);
    enum status st = ST_FAIL;
    if (folder && path) {
        s->folder = folder;
        s->level = PICTURE_BELOW;
        st = file_each(path, scan_entry, s, err);
        s->folder = "";
        s->level = PICTURE_TOP;
    } else {
        error_set(err, st, CAUSE_NOMEM, "picture index");
    }
    mem_free(folder);
    mem_free(path);
    return st;
}

enum status picture_scan(struct table_writer *w, const char *const *paths, size_t path,
                         const struct source_limits *limits, struct error *err)
{
    struct scan s = { .table = w,
                      .limits = limits,
                      .root = paths[path],
                      .path = (uint32_t)path,
                      .level = PICTURE_TOP,
                      .folder = "" };
    struct file_info info;
    enum status st = file_stat(s.root, &info, err);
    buffer_init(&s.value);
    buffer_init(&s.key);
    buffer_init(&s.json);
    arena_init(&s.arena, 0);
    if (st == ST_END)
        st = error_set(err, ST_FAIL, CAUSE_IO, "%s: no such folder or tar of pictures", s.root);
    else if (st == ST_OK && info.is_folder)
        st = file_each(s.root, scan_entry, &s, err);
    else if (st == ST_OK && ends_with(s.root, ".tar"))
        st = scan_tar(&s, "", err);
    else if (st == ST_OK)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: neither a folder nor a .tar of pictures",
                       s.root);
    arena_clear(&s.arena);
    buffer_clear(&s.json);
    buffer_clear(&s.key);
    buffer_clear(&s.value);
    return st;
}
