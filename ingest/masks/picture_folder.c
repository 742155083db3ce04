/* ingest/masks/picture_folder.c: see picture_folder.h. Places of one name are chained in the order they
 * were found; a place is 64 bytes and its name. */
#include "ingest/masks/picture_folder.h"

#include <inttypes.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "ingest/tar.h"

enum { COCO_DIGITS = 12, NO_STEP = 3 };

struct place {
    struct found_picture picture;
    uint64_t next; /* the next place of this name, +1; 0 = none */
    uint64_t last; /* of the first place of a name: the last one */
};
struct picture_folder {
    struct arena arena;
    struct hash_map *by_name; /* 2017 name -> first place */
    struct buffer places;
    struct source_limits limits;
    const char *root; /* being walked */
};

const char *picture_name_2017(const char *file_name)
{
    const char *base = path_base(file_name), *mark = strrchr(base, '_');
    if (strncmp(base, "COCO_", 5) != 0 || !mark || strspn(mark + 1, "0123456789") != COCO_DIGITS)
        return base;
    return mark + 1;
}

bool picture_is_coco(const char *file_name)
{
    const char *name = picture_name_2017(file_name);
    return strspn(name, "0123456789") == COCO_DIGITS && name[COCO_DIGITS] == '.';
}

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "list of pictures");
}

static enum status add(struct picture_folder *p, const struct found_picture *found,
                       struct error *err)
{
    struct place new = { .picture = *found };
    const char *name = picture_name_2017(found->name);
    uint64_t at = p->places.size / sizeof new;

    new.last = at;
    new.picture.name = arena_strndup(&p->arena, found->name, strlen(found->name));
    if (!new.picture.name)
        return no_memory(err);
    const enum status st = hash_map_insert(p->by_name, name, strlen(name), &at, err);
    if (st == ST_FAIL)
        return st;
    if (st == ST_SKIP) { /* behind the last of its name, so that the first stays first */
        struct place *list = (struct place *)(void *)p->places.data;
        const uint64_t here = p->places.size / sizeof new;
        list[list[at].last].next = here + 1;
        list[at].last = here;
    }
    return buffer_append(&p->places, &new, sizeof new, err);
}

static char *path_of(const char *root, const char *below)
{
    return below[0] ? path_join(root, below) : mem_strdup(root);
}

/* The members of a tar; a damaged one is passed over. */
static enum status add_tar(struct picture_folder *p, const char *below, struct error *err)
{
    struct found_picture found = { .root = p->root,
                                   .archive = arena_strndup(&p->arena, below, strlen(below)) };
    struct tar *t = NULL;
    char *path = path_of(p->root, below);
    enum status st = path && found.archive ? tar_open(&t, path, &p->limits, err) : no_memory(err);

    while (st == ST_OK) {
        struct tar_member m;
        struct error bad = { 0 };
        st = tar_next(t, &m, &bad);
        if (st == ST_OK) {
            found.name = m.name;
            found.offset = m.data;
            found.size = m.size;
            st = add(p, &found, err);
        } else if (st == ST_SKIP) {
            st = ST_OK;
        } else if (st == ST_FAIL) {
            *err = bad;
        }
    }
    tar_close(&t);
    mem_free(path);
    return st == ST_END ? ST_OK : st;
}

static bool is_tar(const char *name)
{
    const size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".tar") == 0;
}

static enum status add_file(void *arg, const char *relative, const struct file_info *info,
                            struct error *err)
{
    struct picture_folder *p = arg;
    const struct found_picture found = { .root = p->root, .name = relative, .size = info->size };
    return is_tar(relative) ? add_tar(p, relative, err) : add(p, &found, err);
}

static enum status add_path(struct picture_folder *p, const char *path, struct error *err)
{
    struct file_info info;
    enum status st = file_stat(path, &info, err);

    p->root = arena_strndup(&p->arena, path, strlen(path));
    if (st == ST_END)
        return error_set(err, ST_FAIL, CAUSE_IO, "%s: no such folder or tar of pictures", path);
    if (st == ST_OK && !p->root)
        return no_memory(err);
    if (st == ST_OK && info.is_folder)
        return file_walk(path, add_file, p, err);
    if (st == ST_OK && is_tar(path))
        return add_tar(p, "", err);
    return st == ST_OK ? error_set(err, ST_FAIL, CAUSE_FORMAT,
                                   "%s: neither a folder nor a .tar of pictures", path)
                       : st;
}

enum status picture_folder_open(struct picture_folder **out, const char *const *paths, size_t count,
                                struct error *err)
{
    struct picture_folder *p = mem_calloc(1, sizeof *p);
    enum status st = p ? ST_OK : no_memory(err);

    *out = NULL;
    if (st != ST_OK)
        return st;
    arena_init(&p->arena, 0);
    source_limits_init(&p->limits);
    st = hash_map_open(&p->by_name, 1024, err);
    for (size_t i = 0; st == ST_OK && i < count; i++)
        st = add_path(p, paths[i], err);
    if (st != ST_OK)
        picture_folder_close(&p);
    *out = p;
    return st;
}

void picture_folder_close(struct picture_folder **p)
{
    if (!*p)
        return;
    hash_map_close(&(*p)->by_name);
    buffer_clear(&(*p)->places);
    arena_clear(&(*p)->arena);
    mem_free(*p);
    *p = NULL;
}

/* Whether `path` is `tail`, or ends with it behind a '/'. */
static bool ends_with(const char *path, const char *tail)
{
    const size_t n = strlen(path), k = strlen(tail);
    return n >= k && strcmp(path + n - k, tail) == 0 && (n == k || path[n - k - 1] == '/');
}

static int step_of(const char *name, const char *location)
{
    if (ends_with(name, location) || ends_with(location, name))
        return 1;
    return picture_is_coco(location) ? 2 : NO_STEP; /* one chain has one 2017 name */
}

/* Places of one PATH come in the order of their files; members of a tar do not. */
static bool comes_first(const struct found_picture *a, const struct found_picture *b)
{
    return a->root == b->root && a->archive && a->archive == b->archive &&
           strcmp(a->name, b->name) < 0;
}

enum status picture_folder_find(const struct picture_folder *p, const char *location,
                                struct found_picture *found, struct error *err)
{
    const char *name = picture_name_2017(location);
    const struct place *list = (const struct place *)(const void *)p->places.data;
    uint64_t at = 0;
    int best = NO_STEP;
    (void)err;

    while (strncmp(location, "./", 2) == 0)
        location += 2;
    if (!hash_map_get(p->by_name, name, strlen(name), &at))
        return ST_END;
    for (const struct place *c = &list[at]; c; c = c->next ? &list[c->next - 1] : NULL) {
        const int step = step_of(c->picture.name, location);
        if (step < best || (step == best && step != NO_STEP && comes_first(&c->picture, found))) {
            best = step;
            *found = c->picture;
        }
    }
    return best == NO_STEP ? ST_END : ST_OK;
}

enum status picture_folder_read(const struct found_picture *found, struct buffer *out,
                                uint64_t most, struct error *err)
{
    char *path = path_of(found->root, found->archive ? found->archive : found->name);
    int fd = -1;
    enum status st = path ? ST_OK : no_memory(err);

    out->size = 0;
    if (st == ST_OK && found->size > most) {
        error_set(err, ST_SKIP, CAUSE_LIMIT, "got %" PRIu64 " bytes, want at most %" PRIu64,
                  found->size, most);
        st = error_code(err, ST_SKIP, "picture-bytes");
    }
    if (st == ST_OK)
        st = file_open_read(&fd, path, NULL, err);
    if (st == ST_OK)
        st = buffer_reserve(out, found->size ? (size_t)found->size : 1, err);
    if (st == ST_OK)
        st = file_pread(fd, path, out->data, (size_t)found->size, found->offset, err);
    if (st == ST_OK)
        out->size = (size_t)found->size;
    else if (st == ST_FAIL && err->cause == CAUSE_FORMAT)
        err->cause = CAUSE_IO; /* it was whole when the PATH was walked */
    if (fd >= 0)
        file_close(&fd, path, NULL);
    mem_free(path);
    return st;
}
