/* ingest/inputs.c: see inputs.h. */
#include "ingest/inputs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"

struct search {
    struct inputs *in;
    const char *root;
    enum inputs_form form;
    bool folder; /* of a folder only files of known names are taken */
};

static bool ends_with(const char *s, size_t size, const char *end)
{
    const size_t n = strlen(end);
    return size >= n && memcmp(s + size - n, end, n) == 0;
}

/* Length of a base name without a final .gz, .zst or .zip and then .jsonl; *lines: it had that. */
static size_t stem_of_lines(const char *base, bool *lines)
{
    size_t n = strlen(base);
    static const char *const packed[] = { ".gz", ".zst", ".zip" };
    for (size_t i = 0; i < 3; i++)
        if (ends_with(base, n, packed[i])) {
            n -= strlen(packed[i]);
            break;
        }
    *lines = ends_with(base, n, ".jsonl");
    return *lines ? n - strlen(".jsonl") : n;
}

static bool is_input(const char *base, enum inputs_form form)
{
    bool lines = false;
    if (form == INPUTS_TARS)
        return ends_with(base, strlen(base), ".tar");
    stem_of_lines(base, &lines);
    return lines;
}

static char *name_of(const char *base, enum inputs_form form)
{
    bool lines = false;
    return form == INPUTS_TARS ? mem_strndup(base, strcspn(base, "."))
                               : mem_strndup(base, stem_of_lines(base, &lines));
}

static enum status add_input(void *arg, const char *relative, const struct file_info *info,
                             struct error *err)
{
    struct search *s = arg;
    struct inputs *in = s->in;
    if (s->folder && !is_input(path_base(relative), s->form)) {
        in->ignored++;
        return ST_OK;
    }
    struct input *list = mem_realloc(in->list, in->count + 1, sizeof *list);
    if (!list)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "input list");
    in->list = list;
    struct input *i = &list[in->count++];
    *i = (struct input){ .path = s->folder ? path_join(s->root, relative) : mem_strdup(s->root),
                         .file = mem_strdup(relative),
                         .name = name_of(path_base(relative), s->form),
                         .size = info->size };
    in->bytes += info->size;
    return i->path && i->file && i->name ? ST_OK
                                         : error_set(err, ST_FAIL, CAUSE_NOMEM, "input list");
}

static int by_file(const void *a, const void *b)
{
    const struct input *x = a, *y = b;
    const int order = strcmp(x->file, y->file);
    return order ? order : strcmp(x->path, y->path);
}

static int by_name(const void *a, const void *b)
{
    const struct input *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

/* Record keys must tell records apart, so no two inputs share a name. */
static enum status check_names(const struct inputs *in, struct error *err)
{
    const struct input **sorted = mem_calloc(in->count, sizeof *sorted);
    enum status st = ST_OK;
    if (!sorted)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "input list");
    for (size_t i = 0; i < in->count; i++)
        sorted[i] = &in->list[i];
    qsort(sorted, in->count, sizeof *sorted, by_name);
    for (size_t i = 1; i < in->count && st == ST_OK; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            st = error_set(err, ST_FAIL, CAUSE_FORMAT,
                           "%s and %s: both give records the name \"%s\"; make two datasets, a "
                           "recipe takes many",
                           sorted[i - 1]->path, sorted[i]->path, sorted[i]->name);
    mem_free(sorted);
    return st;
}

enum status inputs_find(struct inputs *in, const char *const *paths, size_t count,
                        enum inputs_form form, struct error *err)
{
    *in = (struct inputs){ 0 };
    for (size_t i = 0; i < count; i++) {
        struct file_info info;
        struct search s = { in, paths[i], form, false };
        enum status st = file_stat(paths[i], &info, err);
        if (st == ST_END)
            st = error_set(err, ST_FAIL, CAUSE_IO, "%s: no such file or folder", paths[i]);
        if (st != ST_OK)
            return st;
        s.folder = info.is_folder;
        st = file_walk(paths[i], add_input, &s, err);
        if (st != ST_OK)
            return st;
    }
    if (in->count == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "no input files found; wanted %s",
                         form == INPUTS_TARS ? ".tar"
                                             : ".jsonl, .jsonl.zip, .jsonl.gz, .jsonl.zst");
    qsort(in->list, in->count, sizeof *in->list, by_file);
    return check_names(in, err);
}

void inputs_clear(struct inputs *in)
{
    for (size_t i = 0; i < in->count; i++) {
        mem_free(in->list[i].path);
        mem_free(in->list[i].file);
        mem_free(in->list[i].name);
    }
    mem_free(in->list);
    *in = (struct inputs){ 0 };
}
