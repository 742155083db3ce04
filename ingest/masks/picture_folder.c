/* ingest/masks/picture_folder.c: see picture_folder.h. */
#include "ingest/masks/picture_folder.h"

#include <string.h>

#include "core/file.h"
#include "core/hash.h"

struct place {
    const char *root, *relative;
    uint64_t next; /* the next place of this name, +1; 0 = none */
    uint64_t last; /* of the first place of a name: the last one */
};
struct picture_folder {
    struct arena arena;
    struct hash_map *by_name; /* 2017 name -> first place */
    struct buffer places;
    const char *root; /* being walked */
};

const char *picture_name_2017(const char *file_name)
{
    const char *base = path_base(file_name), *mark = strrchr(base, '_');
    if (strncmp(base, "COCO_", 5) != 0 || !mark || strspn(mark + 1, "0123456789") != 12)
        return base;
    return mark + 1;
}

static enum status add(void *arg, const char *relative, const struct file_info *info,
                       struct error *err)
{
    struct picture_folder *p = arg;
    const char *name = picture_name_2017(relative);
    struct place new = { .root = p->root,
                         .relative = arena_strndup(&p->arena, relative, strlen(relative)) };
    uint64_t at = p->places.size / sizeof new;
    (void)info;

    new.last = at;
    if (!new.relative)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "list of pictures");
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

enum status picture_folder_open(struct picture_folder **out, const char *const *folders,
                                size_t count, struct error *err)
{
    struct picture_folder *p = mem_calloc(1, sizeof *p);
    enum status st = p ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "list of pictures");

    *out = NULL;
    if (st != ST_OK)
        return st;
    arena_init(&p->arena, 0);
    st = hash_map_open(&p->by_name, 1024, err);
    for (size_t i = 0; st == ST_OK && i < count; i++) {
        p->root = arena_strndup(&p->arena, folders[i], strlen(folders[i]));
        st = p->root ? file_walk(folders[i], add, p, err)
                     : error_set(err, ST_FAIL, CAUSE_NOMEM, "list of pictures");
    }
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

static bool ends_with(const char *path, const char *tail)
{
    const size_t n = strlen(path), k = strlen(tail);
    return n >= k && strcmp(path + n - k, tail) == 0 && (n == k || path[n - k - 1] == '/');
}

enum status picture_folder_find(const struct picture_folder *p, const char *location, char **path,
                                struct error *err)
{
    const char *name = picture_name_2017(location);
    const struct place *list = (const struct place *)(const void *)p->places.data;
    uint64_t at = 0;

    *path = NULL;
    if (!hash_map_get(p->by_name, name, strlen(name), &at))
        return ST_END;
    const struct place *found = list[at].next ? NULL : &list[at];
    for (const struct place *c = &list[at]; !found; c = &list[c->next - 1]) {
        if (ends_with(c->relative, location))
            found = c;
        else if (!c->next)
            break;
    }
    if (!found && name != path_base(location))
        found = &list[at]; /* one picture in two trees of COCO */
    if (!found)
        return ST_END;
    *path = path_join(found->root, found->relative);
    return *path ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "%s", location);
}
