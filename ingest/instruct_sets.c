/* ingest/instruct_sets.c: annotation files are streamed, record by record: see instruct_sets_private.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/unicode.h"
#include "ingest/instruct_sets_private.h"

const char *const instruct_set_names[INSTRUCT_SETS + 1] = {
    "llava", "vqav2",        "okvqa",    "textvqa",   "aokvqa", "ocrvqa",
    "gqa",   "coco-caption", "textcaps", "mask-text", NULL
};

enum status instruct_set_bad(struct set_reader *s, const char *code, const char *what,
                             struct error *err)
{
    struct error why = { 0 };
    error_set(&why, ST_SKIP, CAUSE_FORMAT, "%s", what);
    error_code(&why, ST_SKIP, code);
    return instruct_bad(s->l, &s->at, &why, err);
}

const char *instruct_text_of(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    return m && m->type == JSON_T_STRING && !memchr(m->text, 0, m->size) ? m->text : NULL;
}

const struct json_value *instruct_list_of(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    return m && m->type == JSON_T_ARRAY ? m : NULL;
}

bool instruct_take_id(struct set_reader *s, const struct json_value *v, const char *key,
                      struct error *err, enum status *st)
{
    const struct json_value *m = json_get(v, key);
    char number[32];
    int64_t id = 0;

    if (m && m->type == JSON_T_STRING && m->size > 0 && m->size <= 512 &&
        !memchr(m->text, 0, m->size)) {
        *st = instruct_text(&s->r.id, m->text, m->size, err);
        return true;
    }
    if (!m || !json_value_int64(m, &id))
        return false;
    const int n = snprintf(number, sizeof number, "%" PRId64, id);
    *st = instruct_text(&s->r.id, number, (size_t)n, err);
    return true;
}

enum status instruct_key_is_id(struct set_reader *s, struct error *err)
{
    return instruct_text(&s->r.key, (const char *)s->r.id.data, s->r.id.size - 1, err);
}

bool instruct_is_blank(const char *s)
{
    size_t offset = 0, size = strlen(s);
    unicode_strip(s, &offset, &size);
    return size == 0;
}

/* ---- files ---- */

static enum status one_record(struct set_reader *s, struct json *j, set_record_fn *fn,
                              struct error *err)
{
    const struct arena_mark mark = arena_mark(&s->arena);
    struct json_value *v = NULL;
    enum status st = json_read_tree(j, &s->arena, &v, err);

    if (st == ST_OK) { /* ST_END: the list is over */
        s->at.offset = v->offset;
        s->at.length = json_offset(j) + 1 - v->offset;
        instruct_record_reset(&s->r);
        st = v->type == JSON_T_OBJECT ? fn(s, v, err)
                                      : instruct_set_bad(s, "record-type", "not an object", err);
        s->at.number++;
    }
    arena_release(&s->arena, mark);
    return st;
}

/* Elements of an array whose begin was just read; json_read_tree says ST_END at its end. */
static enum status each_element(struct set_reader *s, struct json *j, set_record_fn *fn,
                                struct error *err)
{
    enum status st = ST_OK;
    s->key = NULL;
    while (st == ST_OK)
        st = one_record(s, j, fn, err);
    return st == ST_END ? ST_OK : st;
}

/* The member that holds the records of a set whose file is an object, or NULL where every member is
 * a record. */
static const char *list_member(const struct set_reader *s)
{
    switch (s->l->opt->set) {
    case INSTRUCT_TEXTVQA:
    case INSTRUCT_TEXTCAPS:
        return "data";
    case INSTRUCT_VQAV2:
    case INSTRUCT_OKVQA:
        return "questions";
    default:
        return NULL;
    }
}

static enum status each_member(struct set_reader *s, struct json *j, set_record_fn *fn,
                               const char *list, struct error *err)
{
    enum json_event event;
    enum status st;
    bool found = false;

    while ((st = json_next(j, &event, err)) == ST_OK && event == JSON_KEY) {
        char key[516];
        size_t size = 0;
        const char *name = json_text(j, &size);
        snprintf(key, sizeof key, "%.515s", name);
        if (!list) {
            s->key = key;
            st = one_record(s, j, fn, err);
        } else if (strcmp(key, list) == 0) {
            found = true;
            st = json_next(j, &event, err);
            if (st == ST_OK && event != JSON_ARRAY_BEGIN)
                st = error_set(err, ST_FAIL, CAUSE_FORMAT, "byte %" PRIu64 ": %s is no list",
                               json_offset(j), list);
            if (st == ST_OK)
                st = each_element(s, j, fn, err);
        } else {
            st = json_skip(j, err);
        }
        if (st != ST_OK)
            return st;
    }
    if (st == ST_OK && list && !found)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "no list %s in it", list);
    return st;
}

static enum status read_file(struct set_reader *s, const char *path, set_record_fn *fn,
                             const char *list, struct error *err)
{
    struct json_file f;
    enum json_event event = JSON_NULL;
    enum status st = json_file_open(&f, path, err);

    s->at.path = path;
    s->at.number = 0;
    if (st == ST_OK)
        st = json_next(f.json, &event, err);
    if (st == ST_OK && event == JSON_ARRAY_BEGIN)
        st = each_element(s, f.json, fn, err);
    else if (st == ST_OK && event == JSON_OBJECT_BEGIN)
        st = each_member(s, f.json, fn, list, err);
    else if (st == ST_OK)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "neither a list nor an object");
    if (st == ST_OK)
        st = json_next(f.json, &event, err);
    if (st != ST_OK)
        error_prefix(err, st, "%s", path);
    json_file_close(&f);
    return st;
}

/* Whether an object has a list `name` among its first members. */
static enum status holds_list(const char *path, const char *name, bool *yes, struct error *err)
{
    struct json_file f;
    enum json_event event = JSON_NULL;
    enum status st = json_file_open(&f, path, err);

    *yes = false;
    if (st == ST_OK)
        st = json_next(f.json, &event, err);
    if (st == ST_OK && event == JSON_OBJECT_BEGIN)
        while (!*yes && (st = json_next(f.json, &event, err)) == ST_OK && event == JSON_KEY) {
            *yes = json_key_is(f.json, name);
            if (!*yes && (st = json_skip(f.json, err)) != ST_OK)
                break;
        }
    if (st != ST_OK)
        error_prefix(err, st, "%s", path);
    json_file_close(&f);
    return st;
}

/* Answers first, so that each question finds its own. */
static enum status read_joined(struct set_reader *s, struct error *err)
{
    const struct inputs *in = s->l->inputs;
    bool any = false;
    enum status st = hash_map_open(&s->answers, 1024, err);

    for (int pass = 0; st == ST_OK && pass < 2; pass++)
        for (size_t i = 0; st == ST_OK && i < in->count; i++) {
            bool answers = false;
            s->at.input = (uint32_t)i;
            st = holds_list(in->list[i].path, "annotations", &answers, err);
            if (st != ST_OK || answers != (pass == 0))
                continue;
            any = any || answers;
            st = read_file(s, in->list[i].path,
                           answers ? instruct_read_vqa_answer : instruct_read_vqa_question,
                           answers ? "annotations" : "questions", err);
        }
    if (st == ST_OK && !any)
        st = error_set(err, ST_FAIL, CAUSE_ARG, "%s needs its questions and its annotations file",
                       instruct_set_names[s->l->opt->set]);
    return st;
}

static set_record_fn *record_fn(enum instruct_set set)
{
    static set_record_fn *const functions[INSTRUCT_SETS] = {
        instruct_read_llava,     instruct_read_vqa_question, instruct_read_vqa_question,
        instruct_read_textvqa,   instruct_read_aokvqa,       instruct_read_ocrvqa,
        instruct_read_gqa,       instruct_read_coco_caption, instruct_read_textcaps,
        instruct_read_mask_text,
    };
    return functions[set];
}

enum status instruct_read_set(struct instruct_list *l, struct error *err)
{
    struct set_reader s = { .l = l };
    const enum instruct_set set = l->opt->set;
    enum status st = ST_OK;

    instruct_record_init(&s.r);
    arena_init(&s.arena, 0);
    arena_init(&s.answers_arena, 0);
    segmentation_init(&s.seg);
    rle_init(&s.mask);
    rle_scratch_init(&s.scratch);
    if (set == INSTRUCT_VQAV2 || set == INSTRUCT_OKVQA) {
        st = read_joined(&s, err);
    } else {
        for (size_t i = 0; st == ST_OK && i < l->inputs->count; i++) {
            s.at.input = (uint32_t)i;
            st = read_file(&s, l->inputs->list[i].path, record_fn(set), list_member(&s), err);
        }
    }
    hash_map_close(&s.answers);
    instruct_record_clear(&s.r);
    segmentation_clear(&s.seg);
    rle_clear(&s.mask);
    rle_scratch_clear(&s.scratch);
    buffer_clear(&s.text);
    buffer_clear(&s.runs);
    arena_clear(&s.arena);
    arena_clear(&s.answers_arena);
    return st;
}
