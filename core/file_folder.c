/* core/file_folder.c: folders and path strings of file.h. A folder's names are read and its
 * descriptor closed before anything below it is opened, so depth costs memory only. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/file_private.h"

static enum status no_memory(struct error *err, const char *path)
{
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "%s: out of memory", path);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

char *path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return mem_strdup(".");
    return slash == path ? mem_strdup("/") : mem_strndup(path, (size_t)(slash - path));
}

char *path_join(const char *a, const char *b)
{
    const size_t n = strlen(a);
    return str_format("%s%s%s", a, n == 0 || a[n - 1] == '/' ? "" : "/", b);
}

enum status file_make_folder(const char *path, struct error *err)
{
    struct file_info info;
    if (!file_fault() && mkdir(path, 0777) == 0)
        return ST_OK;
    if (errno != EEXIST)
        return file_error(err, CAUSE_CREATE, path, "create folder");
    if (file_stat(path, &info, err) != ST_OK || !info.is_folder)
        return error_set(err, ST_FAIL, CAUSE_CREATE, "%s: create folder", path);
    return ST_OK;
}

enum status file_make_folders(const char *path, struct error *err)
{
    char *copy = mem_strdup(path);
    enum status st = ST_OK;
    if (!copy)
        return no_memory(err, path);
    for (char *p = copy; st == ST_OK && *p;) {
        p += strspn(p, "/");
        p += strcspn(p, "/");
        const char after = *p;
        *p = '\0';
        st = file_make_folder(copy, err);
        *p = after;
    }
    mem_free(copy);
    return st;
}

enum entry_kind { ENTRY_OTHER, ENTRY_FILE, ENTRY_FOLDER };
struct entry {
    char *name; /* folders: with '/' at the end, which sorts them where their files belong */
    enum entry_kind kind;
    struct file_info info;
};
struct listing {
    struct entry *entries;
    size_t count, cap;
};

static void listing_clear(struct listing *l)
{
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->entries[i].name);
    mem_free(l->entries);
    *l = (struct listing){ 0 };
}

static int entry_order(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

enum status file_each(const char *folder, file_each_fn *fn, void *arg, struct error *err)
{
    enum status st = ST_OK;
    DIR *dir = file_fault() ? NULL : opendir(folder);
    if (!dir)
        return file_error(err, CAUSE_IO, folder, "open folder");
    while (st == ST_OK) {
        errno = 0;
        const struct dirent *e = file_fault() ? NULL : readdir(dir); /* one thread to a DIR */
        if (!e) {
            if (errno != 0)
                st = file_error(err, CAUSE_IO, folder, "read folder");
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        struct file_info info;
        bool link = false;
        st = file_stat_at(dirfd(dir), folder, e->d_name, &info, &link, err);
        if (st == ST_OK)
            st = fn(arg, e->d_name, &info, link, err);
        else if (st == ST_END)
            st = ST_OK; /* gone meanwhile */
    }
    closedir(dir);
    return st;
}

static enum status listing_add(void *arg, const char *name, const struct file_info *info, bool link,
                               struct error *err)
{
    struct listing *l = arg;
    const bool folder = info->is_folder && !link;
    if (l->count == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 64;
        struct entry *grown = mem_realloc(l->entries, cap, sizeof *grown);
        if (!grown)
            return no_memory(err, name);
        l->entries = grown;
        l->cap = cap;
    }
    char *copy = str_format("%s%s", name, folder ? "/" : "");
    if (!copy)
        return no_memory(err, name);
    l->entries[l->count++] = (struct entry){ copy,
                                             folder             ? ENTRY_FOLDER
                                             : info->is_regular ? ENTRY_FILE
                                                                : ENTRY_OTHER,
                                             *info };
    return ST_OK;
}

static enum status listing_read(struct listing *l, const char *folder, struct error *err)
{
    *l = (struct listing){ 0 };
    const enum status st = file_each(folder, listing_add, l, err);
    if (st != ST_OK)
        listing_clear(l);
    else if (l->count > 0)
        qsort(l->entries, l->count, sizeof *l->entries, entry_order);
    return st;
}

/* Walks `relative` below `root` ("" = root itself). */
static enum status walk(const char *root, const char *relative, file_walk_fn *fn, void *arg,
                        struct error *err)
{
    struct listing l = { 0 };
    char *folder = path_join(root, relative), *path = NULL;
    enum status st = folder ? listing_read(&l, folder, err) : no_memory(err, root);
    for (size_t i = 0; st == ST_OK && i < l.count; i++) {
        const struct entry *e = &l.entries[i];
        path = str_format("%s%s", relative, e->name);
        if (!path)
            st = no_memory(err, root);
        else if (e->kind == ENTRY_FOLDER)
            st = walk(root, path, fn, arg, err);
        else if (e->kind == ENTRY_FILE)
            st = fn(arg, path, &e->info, err);
        mem_free(path);
    }
    listing_clear(&l);
    mem_free(folder);
    return st;
}

enum status file_walk(const char *folder, file_walk_fn *fn, void *arg, struct error *err)
{
    struct file_info info;
    const enum status st = file_stat(folder, &info, err);
    if (st == ST_END) {
        errno = ENOENT;
        return error_set(err, ST_FAIL, CAUSE_IO, "%s: open", folder);
    }
    if (st != ST_OK)
        return st;
    if (info.is_folder)
        return walk(folder, "", fn, arg, err);
    if (!info.is_regular)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "%s: neither a regular file nor a folder",
                         folder);
    return fn(arg, path_base(folder), &info, err);
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum status file_list(const char *folder, char ***names, size_t *count, struct error *err)
{
    struct listing l;
    *names = NULL;
    *count = 0;
    enum status st = listing_read(&l, folder, err);
    if (st != ST_OK || l.count == 0)
        return st;
    *names = mem_calloc(l.count, sizeof **names);
    if (!*names) {
        listing_clear(&l);
        return no_memory(err, folder);
    }
    for (size_t i = 0; i < l.count; i++) {
        if (l.entries[i].kind == ENTRY_FOLDER)
            l.entries[i].name[strlen(l.entries[i].name) - 1] = '\0';
        (*names)[i] = l.entries[i].name;
        l.entries[i].name = NULL;
    }
    *count = l.count;
    qsort(*names, *count, sizeof **names, name_order); /* without the '/' of folders */
    listing_clear(&l);
    return ST_OK;
}

void file_list_free(char ***names, size_t count)
{
    for (size_t i = 0; *names && i < count; i++)
        mem_free((*names)[i]);
    mem_free(*names);
    *names = NULL;
}

enum status file_remove_tree(const char *path, struct error *err)
{
    struct listing l;
    struct stat sb;
    if (file_fault() || lstat(path, &sb) != 0)
        return errno == ENOENT ? ST_OK : file_error(err, CAUSE_IO, path, "stat");
    if (!S_ISDIR(sb.st_mode))
        return file_remove(path, err);
    enum status st = listing_read(&l, path, err);
    for (size_t i = 0; st == ST_OK && i < l.count; i++) {
        char *below = path_join(path, l.entries[i].name);
        if (below && l.entries[i].kind == ENTRY_FOLDER)
            below[strlen(below) - 1] = '\0';
        st = !below                              ? no_memory(err, path)
             : l.entries[i].kind == ENTRY_FOLDER ? file_remove_tree(below, err)
                                                 : file_remove(below, err);
        mem_free(below);
    }
    listing_clear(&l);
    if (st == ST_OK && (file_fault() || rmdir(path) != 0))
        st = file_error(err, CAUSE_IO, path, "remove folder");
    return st;
}
