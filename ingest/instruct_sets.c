/* ingest/instruct_sets.c: one function a set that turns an annotation record into an instruct_record, by
 * the rows of spec data.md 1.10 and 7.1. Files are streamed; one record at a time is held as a tree. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/file.h"
#include "core/unicode.h"
#include "ingest/instruct_private.h"
#include "ingest/masks/segmentation.h"

const char *const instruct_set_names[INSTRUCT_SETS + 1] = {
    "llava", "vqav2",        "okvqa",    "textvqa",   "aokvqa", "ocrvqa",
    "gqa",   "coco-caption", "textcaps", "mask-text", NULL
};

struct set_reader {
    struct instruct_list *l;
    struct instruct_record r;
    struct instruct_origin at;
    struct arena arena, answers_arena;
    struct hash_map *answers; /* vqav2, okvqa: question id -> answer (address of its text) */
    const char *key;          /* name of the member the record stands under; NULL in lists */
    struct buffer text;
    struct segmentation seg;
    struct rle mask;
    struct rle_scratch scratch;
    struct buffer runs;
};

static enum status bad(struct set_reader *s, const char *code, const char *what, struct error *err)
{
    struct error why = { 0 };
    error_set(&why, ST_SKIP, CAUSE_FORMAT, "%s", what);
    error_code(&why, ST_SKIP, code);
    return instruct_bad(s->l, &s->at, &why, err);
}

static const char *text_of(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    return m && m->type == JSON_T_STRING && !memchr(m->text, 0, m->size) ? m->text : NULL;
}

static const struct json_value *list_of(const struct json_value *v, const char *key)
{
    const struct json_value *m = json_get(v, key);
    return m && m->type == JSON_T_ARRAY ? m : NULL;
}

/* An id of either form, as text in the record's `id`; false: there is none. */
static bool take_id(struct set_reader *s, const struct json_value *v, const char *key,
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

static enum status key_is_id(struct set_reader *s, struct error *err)
{
    return instruct_text(&s->r.key, (const char *)s->r.id.data, s->r.id.size - 1, err);
}

static bool is_blank(const char *s)
{
    size_t offset = 0, size = strlen(s);
    unicode_strip(s, &offset, &size);
    return size == 0;
}

/* The question and answer of a record whose id and pictures are set; empty ones are filtered. */
static enum status keep_pair(struct set_reader *s, const char *question, const char *answer,
                             struct error *err)
{
    if (is_blank(answer))
        return instruct_filter(s->l, "empty-answer", &s->at, err);
    enum status st = key_is_id(s, err);
    if (st == ST_OK)
        st = instruct_add_turn(&s->r, question, strlen(question), err);
    if (st == ST_OK)
        st = instruct_add_turn(&s->r, answer, strlen(answer), err);
    return st == ST_OK ? instruct_keep(s->l, &s->r, &s->at, err) : st;
}

/* Lower case, Unicode's simple mapping, into s->text. */
static enum status lower(struct set_reader *s, const char *text, struct error *err)
{
    const size_t size = strlen(text);
    enum status st = ST_OK;

    s->text.size = 0;
    for (size_t i = 0; st == ST_OK && i < size;) {
        uint32_t code = 0;
        char out[4];
        i += utf8_next(&code, text + i, size - i);
        st = buffer_append(&s->text, out, utf8_put(out, unicode_lower(code)), err);
    }
    return st == ST_OK ? buffer_append(&s->text, "", 1, err) : st;
}

/* ---- LLaVA ---- */

/* A human turn without <image> and the newline beside it. */
static enum status add_human(struct set_reader *s, const char *text, struct error *err)
{
    s->text.size = 0;
    while (*text) {
        if (strncmp(text, "\n<image>", 8) == 0)
            text += 8;
        else if (strncmp(text, "<image>", 7) == 0)
            text += text[7] == '\n' ? 8 : 7;
        else if (buffer_append(&s->text, text++, 1, err) != ST_OK)
            return ST_FAIL;
    }
    return instruct_add_turn(&s->r, (const char *)s->text.data, s->text.size, err);
}

static enum status add_conversation(struct set_reader *s, const struct json_value *list, bool strip,
                                    const char **wrong, struct error *err)
{
    enum status st = ST_OK;
    unsigned n = 0;

    for (const struct json_value *c = list->child; st == ST_OK && c; c = c->next, n++) {
        const char *from = text_of(c, "from"), *value = text_of(c, "value");
        if (!from || !value || strcmp(from, n % 2 ? "gpt" : "human") != 0) {
            *wrong = "turns that are no human and gpt texts by turns";
            return ST_OK;
        }
        st = n % 2 == 0 && strip ? add_human(s, value, err)
                                 : instruct_add_turn(&s->r, value, strlen(value), err);
    }
    if (n == 0 || n % 2)
        *wrong = "a human turn without an answer";
    return st;
}

static enum status read_llava(struct set_reader *s, const struct json_value *v, struct error *err)
{
    const char *image = text_of(v, "image"), *wrong = NULL;
    const struct json_value *turns = list_of(v, "conversations");
    enum status st = ST_OK;

    if (!take_id(s, v, "id", err, &st) || !turns)
        return st == ST_OK ? bad(s, "llava-schema", "no id or no conversations", err) : st;
    if (!image)
        return instruct_filter(s->l, "text-only", &s->at, err);
    st = key_is_id(s, err);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "%s%c", image, 0);
    if (st == ST_OK)
        st = add_conversation(s, turns, true, &wrong, err);
    if (st != ST_OK)
        return st;
    return wrong ? bad(s, "llava-turns", wrong, err) : instruct_keep(s->l, &s->r, &s->at, err);
}

/* ---- VQAv2, OK-VQA: questions joined with annotations ---- */

/* The majority of a member over the answers, the first on ties. */
static const char *majority(const struct json_value *answers, const char *member)
{
    const char *best = NULL;
    unsigned most = 0;

    for (const struct json_value *a = answers ? answers->child : NULL; a; a = a->next) {
        const char *text = text_of(a, member);
        unsigned n = 0;
        for (const struct json_value *b = answers->child; text && b; b = b->next) {
            const char *other = text_of(b, member);
            n += other && strcmp(text, other) == 0;
        }
        if (n > most) {
            most = n;
            best = text;
        }
    }
    return best;
}

static const char *okvqa_answer(const struct set_reader *s, const struct json_value *v)
{
    const struct json_value *answers = list_of(v, "answers");
    if (s->l->opt->deem)
        return answers && answers->child ? text_of(answers->child, "answer") : NULL;
    return majority(answers, s->l->opt->raw_answer ? "raw_answer" : "answer");
}

/* An annotation row: its answer is kept until its question comes; the last of an id wins. */
static enum status read_vqa_answer(struct set_reader *s, const struct json_value *v,
                                   struct error *err)
{
    const char *answer = s->l->opt->set == INSTRUCT_VQAV2 ? text_of(v, "multiple_choice_answer")
                                                          : okvqa_answer(s, v);
    enum status st = ST_OK;

    if (!answer || !take_id(s, v, "question_id", err, &st) || st != ST_OK)
        return st; /* its question finds no answer and is filtered */
    const char *copy = arena_strndup(&s->answers_arena, answer, strlen(answer));
    uint64_t value = (uint64_t)(uintptr_t)copy;
    if (!copy)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "answers");
    st = hash_map_insert(s->answers, s->r.id.data, s->r.id.size, &value, err);
    if (st == ST_SKIP) {
        hash_map_set(s->answers, s->r.id.data, s->r.id.size, (uint64_t)(uintptr_t)copy);
        st = ST_OK;
    }
    return st;
}

static enum status read_vqa_question(struct set_reader *s, const struct json_value *v,
                                     struct error *err)
{
    const char *question = text_of(v, "question");
    const struct json_value *image = json_get(v, "image_id");
    int64_t picture = 0;
    uint64_t answer = 0;
    enum status st = ST_OK;

    if (!question || !image || !json_value_id64(image, &picture) || picture < 0 ||
        !take_id(s, v, "question_id", err, &st))
        return bad(s, "vqa-schema", "no question, image_id or question_id", err);
    if (st == ST_OK && !hash_map_get(s->answers, s->r.id.data, s->r.id.size, &answer))
        return instruct_filter(s->l, "no-answer", &s->at, err);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "train2014/COCO_train2014_%012" PRId64 ".jpg%c",
                           picture, 0);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "val2014/COCO_val2014_%012" PRId64 ".jpg%c",
                           picture, 0);
    return st == ST_OK ? keep_pair(s, question, (const char *)(uintptr_t)answer, err) : st;
}

/* ---- TextVQA, A-OKVQA ---- */

static enum status read_textvqa(struct set_reader *s, const struct json_value *v, struct error *err)
{
    const char *question = text_of(v, "question"), *image = text_of(v, "image_id");
    const struct json_value *answers = list_of(v, "answers");
    struct rng g;
    enum status st = ST_OK;

    if (!question || !image || !take_id(s, v, "question_id", err, &st))
        return bad(s, "textvqa-schema", "no question, image_id or question_id", err);
    if (!answers || answers->count == 0)
        return instruct_filter(s->l, "no-answer", &s->at, err);
    for (const struct json_value *a = answers->child; a; a = a->next)
        if (a->type != JSON_T_STRING || memchr(a->text, 0, a->size))
            return bad(s, "textvqa-answers", "an answer that is no text", err);
    instruct_draw(s->l, &g, "D7a", (const char *)s->r.id.data);
    const char *answer = mask_template_text(answers, rng_below(&g, answers->count));
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "train_images/%s.jpg%c", image, 0);
    return st == ST_OK ? keep_pair(s, question, answer, err) : st;
}

enum { ANSWERS_MAX = 64 };

/* Draws one of the answers by how often each was given. */
static const char *weighted_answer(struct set_reader *s, const struct json_value *answers)
{
    const char *texts[ANSWERS_MAX];
    uint64_t weights[ANSWERS_MAX] = { 0 };
    size_t n = 0;
    struct rng g;

    for (const struct json_value *a = answers->child; a; a = a->next) {
        size_t i = 0;
        if (a->type != JSON_T_STRING)
            continue;
        while (i < n && strcmp(texts[i], a->text) != 0)
            i++;
        if (i == ANSWERS_MAX)
            continue;
        if (i == n)
            texts[n++] = a->text;
        weights[i]++;
    }
    if (n == 0)
        return NULL;
    instruct_draw(s->l, &g, "D7a", (const char *)s->r.id.data);
    return texts[rng_weighted(&g, weights, n)];
}

static enum status read_aokvqa(struct set_reader *s, const struct json_value *v, struct error *err)
{
    const char *question = text_of(v, "question"), *image = text_of(v, "image");
    const struct json_value *answers = list_of(v, "direct_answers"), *id = json_get(v, "image_id");
    int64_t picture = 0;
    enum status st = ST_OK;

    if (!question || !take_id(s, v, "question_id", err, &st) ||
        (!image && (!id || !json_value_id64(id, &picture) || picture < 0)))
        return bad(s, "aokvqa-schema", "no question, question_id, or neither image nor image_id",
                   err);
    const char *answer = answers ? weighted_answer(s, answers) : NULL;
    if (!answer)
        return instruct_filter(s->l, "no-answer", &s->at, err);
    if (st == ST_OK)
        st = image
                 ? buffer_printf(&s->r.pictures, err, "%s%c", image, 0)
                 : buffer_printf(&s->r.pictures, err, "train2017/%012" PRId64 ".jpg%c", picture, 0);
    return st == ST_OK ? keep_pair(s, question, answer, err) : st;
}

/* ---- OCR-VQA: a book with its questions is one record ---- */

static enum status read_ocrvqa(struct set_reader *s, const struct json_value *v, struct error *err)
{
    const struct json_value *questions = list_of(v, "questions"), *answers = list_of(v, "answers");
    const struct json_value *split = json_get(v, "split");
    const char *url = text_of(v, "imageURL"), *dot = url ? strrchr(url, '.') : NULL;
    int64_t number = 0;
    enum status st =
        instruct_text(&s->r.id, s->key ? s->key : "", s->key ? strlen(s->key) : 0, err);

    if (st != ST_OK || !s->key || strlen(s->key) > 512 || !questions || !answers ||
        questions->count != answers->count || !split || !json_value_int64(split, &number))
        return st == ST_OK ? bad(s, "ocrvqa-schema",
                                 "no split, or questions and answers that do not match", err)
                           : st;
    if (number != 1)
        return instruct_filter(s->l, "split", &s->at, err);
    st = key_is_id(s, err);
    if (st == ST_OK && dot && !strchr(dot, '/'))
        st = buffer_printf(&s->r.pictures, err, "%s%s%c", s->key, dot, 0);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "%s.jpg%c", s->key, 0);
    const struct json_value *a = answers->child;
    for (const struct json_value *q = questions->child; st == ST_OK && q;
         q = q->next, a = a->next) {
        if (q->type != JSON_T_STRING || a->type != JSON_T_STRING || memchr(q->text, 0, q->size) ||
            memchr(a->text, 0, a->size))
            return bad(s, "ocrvqa-schema", "a question or answer that is no text", err);
        if (is_blank(a->text))
            continue;
        st = instruct_add_turn(&s->r, q->text, q->size, err);
        if (st == ST_OK)
            st = instruct_add_turn(&s->r, a->text, a->size, err);
    }
    if (st == ST_OK && s->r.turn_count == 0)
        return instruct_filter(s->l, "empty-answer", &s->at, err);
    return st == ST_OK ? instruct_keep(s->l, &s->r, &s->at, err) : st;
}

/* ---- GQA: a list (LAVIS), or an object keyed by question id ---- */

static enum status read_gqa(struct set_reader *s, const struct json_value *v, struct error *err)
{
    const char *question = text_of(v, "question"), *answer = text_of(v, "answer");
    const char *image = text_of(v, "image"), *image_id = text_of(v, "imageId");
    enum status st = ST_OK;

    const bool has_id = s->key
                            ? (st = instruct_text(&s->r.id, s->key, strlen(s->key), err)) == ST_OK
                            : take_id(s, v, "question_id", err, &st);
    if (st != ST_OK)
        return st;
    if (!has_id || !question || !answer || (!image && !image_id))
        return bad(s, "gqa-schema", "no question, answer, picture or id", err);
    st = image ? buffer_printf(&s->r.pictures, err, "%s%c", image, 0)
               : buffer_printf(&s->r.pictures, err, "%s.jpg%c", image_id, 0);
    return st == ST_OK ? keep_pair(s, question, answer, err) : st;
}

/* ---- captions ---- */

/* The first draw of a caption's stream is its request. */
static const char *draw_request(struct set_reader *s, struct rng *g)
{
    const struct json_value *requests = s->l->caption_requests;
    instruct_draw(s->l, g, "D7b", (const char *)s->r.id.data);
    return mask_template_text(requests, rng_below(g, requests->count));
}

static enum status keep_caption(struct set_reader *s, const char *request, const char *caption,
                                struct error *err)
{
    const enum status st = lower(s, caption, err);
    return st == ST_OK ? keep_pair(s, request, (const char *)s->text.data, err) : st;
}

static enum status read_coco_caption(struct set_reader *s, const struct json_value *v,
                                     struct error *err)
{
    const struct json_value *caption = json_get(v, "caption");
    const char *image = text_of(v, "image"), *text = text_of(v, "caption");
    struct rng g;
    enum status st = ST_OK;

    if (!image || !caption || !take_id(s, v, "image_id", err, &st))
        return bad(s, "caption-schema", "no caption, image or image_id", err);
    const char *request = draw_request(s, &g);
    for (const struct json_value *c = caption->child; c; c = c->next)
        if (c->type != JSON_T_STRING || memchr(c->text, 0, c->size))
            return bad(s, "caption-schema", "a caption that is no text", err);
    if (caption->type == JSON_T_ARRAY && caption->count > 0)
        text = mask_template_text(caption, rng_below(&g, caption->count));
    if (!text)
        return bad(s, "caption-schema", "a caption that is no text", err);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "%s%c", image, 0);
    return st == ST_OK ? keep_caption(s, request, text, err) : st;
}

static enum status read_textcaps(struct set_reader *s, const struct json_value *v,
                                 struct error *err)
{
    const char *image = text_of(v, "image_id"), *text = text_of(v, "caption_str");
    struct rng g;
    enum status st = ST_OK;

    if (!image || !text ||
        (!take_id(s, v, "caption_id", err, &st) && !take_id(s, v, "image_id", err, &st)))
        return bad(s, "caption-schema", "no caption_str, image_id or caption_id", err);
    const char *request = draw_request(s, &g);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "train_images/%s.jpg%c", image, 0);
    return st == ST_OK ? keep_caption(s, request, text, err) : st;
}

/* ---- mask-text: conversation files of stage III ---- */

/* One region's mask as size and varints; *wrong says what is the matter with it. */
static enum status add_mask(struct set_reader *s, const struct json_value *v, int64_t h, int64_t w,
                            struct error *why, struct error *err)
{
    const struct json_value *seg = json_get(v, "segmentation");
    uint8_t head[12];
    enum status st = seg ? segmentation_from_tree(&s->seg, seg, err) : ST_OK;

    if (st != ST_OK)
        return st;
    if (!seg)
        segmentation_reset(&s->seg);
    st = segmentation_to_rle(&s->mask, &s->seg, h, w, &s->scratch, why);
    if (st == ST_OK && rle_area(&s->mask) == 0) {
        error_set(why, ST_SKIP, CAUSE_FORMAT, "region %" PRIu32 ": an empty mask",
                  s->r.mask_count + 1);
        st = error_code(why, ST_SKIP, "mask-empty");
    }
    if (st != ST_OK)
        return st;
    s->runs.size = 0;
    st = rle_to_varints(&s->runs, &s->mask, err);
    store_u32le(head, s->mask.h);
    store_u32le(head + 4, s->mask.w);
    store_u32le(head + 8, (uint32_t)s->runs.size);
    if (st == ST_OK)
        st = buffer_append(&s->r.masks, head, sizeof head, err);
    if (st == ST_OK)
        st = buffer_append(&s->r.masks, s->runs.data, s->runs.size, err);
    s->r.mask_count++;
    return st;
}

static enum status read_mask_text(struct set_reader *s, const struct json_value *v,
                                  struct error *err)
{
    const char *file = text_of(v, "file_name"), *source = text_of(v, "source"),
               *prefix = text_of(v, "list_prefix");
    const struct json_value *h = json_get(v, "height"), *w = json_get(v, "width");
    const struct json_value *regions = list_of(v, "annotation"),
                            *turns = list_of(v, "conversations");
    int64_t height = 0, width = 0;
    const char *wrong = NULL;
    struct error why = { 0 };
    enum status st = ST_OK;

    if (!take_id(s, v, "id", err, &st) || !file || !regions || !h || !w ||
        !json_value_int64(h, &height) || !json_value_int64(w, &width))
        return bad(s, "mask-text-schema", "no id, file_name, height, width or annotation", err);
    if (!turns)
        return instruct_filter(s->l, "no-conversations", &s->at, err);
    if (st == ST_OK)
        st = key_is_id(s, err);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "%s%c", file, 0);
    if (st == ST_OK)
        st = instruct_text(&s->r.source, source ? source : "other", source ? strlen(source) : 5,
                           err);
    if (st == ST_OK)
        st = instruct_text(&s->r.prefix, prefix ? prefix : "", prefix ? strlen(prefix) : 0, err);
    for (const struct json_value *a = regions->child; st == ST_OK && a; a = a->next)
        st = add_mask(s, a, height, width, &why, err);
    if (st == ST_SKIP)
        return instruct_bad(s->l, &s->at, &why, err);
    if (st == ST_OK)
        st = add_conversation(s, turns, true, &wrong, err);
    if (st != ST_OK)
        return st;
    return wrong ? bad(s, "mask-text-turns", wrong, err) : instruct_keep(s->l, &s->r, &s->at, err);
}

/* ---- files ---- */

typedef enum status set_record_fn(struct set_reader *s, const struct json_value *v,
                                  struct error *err);

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
        st = v->type == JSON_T_OBJECT ? fn(s, v, err) : bad(s, "record-type", "not an object", err);
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
    const struct ingest_options *o = &s->l->opt->base;
    bool any = false;
    enum status st = hash_map_open(&s->answers, 1024, err);

    for (int pass = 0; st == ST_OK && pass < 2; pass++)
        for (size_t i = 0; st == ST_OK && i < o->input_count; i++) {
            bool answers = false;
            s->at.input = (uint32_t)i;
            st = holds_list(o->inputs[i], "annotations", &answers, err);
            if (st != ST_OK || answers != (pass == 0))
                continue;
            any = any || answers;
            st = read_file(s, o->inputs[i], answers ? read_vqa_answer : read_vqa_question,
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
        read_llava,  read_vqa_question, read_vqa_question, read_textvqa,  read_aokvqa,
        read_ocrvqa, read_gqa,          read_coco_caption, read_textcaps, read_mask_text,
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
        for (size_t i = 0; st == ST_OK && i < l->opt->base.input_count; i++) {
            s.at.input = (uint32_t)i;
            st = read_file(&s, l->opt->base.inputs[i], record_fn(set), list_member(&s), err);
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
