/* ingest/instruct_answers.c: stage II sets of questions and answers, and of captions (spec data.md 1.10,
 * 7.1): see instruct_sets_private.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/bytes.h"
#include "core/unicode.h"
#include "ingest/instruct_sets_private.h"

/* The question and answer of a record whose id and pictures are set; empty ones are filtered. */
static enum status keep_pair(struct set_reader *s, const char *question, const char *answer,
                             struct error *err)
{
    if (instruct_is_blank(answer))
        return instruct_filter(s->l, "empty-answer", &s->at, err);
    enum status st = instruct_key_is_id(s, err);
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

/* ---- VQAv2, OK-VQA: questions joined with annotations ---- */

/* The majority of a member over the answers, the first on ties. */
static const char *majority(const struct json_value *answers, const char *member)
{
    const char *best = NULL;
    unsigned most = 0;

    for (const struct json_value *a = answers ? answers->child : NULL; a; a = a->next) {
        const char *text = instruct_text_of(a, member);
        unsigned n = 0;
        for (const struct json_value *b = answers->child; text && b; b = b->next) {
            const char *other = instruct_text_of(b, member);
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
    const struct json_value *answers = instruct_list_of(v, "answers");
    if (s->l->opt->deem)
        return answers && answers->child ? instruct_text_of(answers->child, "answer") : NULL;
    return majority(answers, s->l->opt->raw_answer ? "raw_answer" : "answer");
}

/* An annotation row: its answer is kept until its question comes; the last of an id wins. */
enum status instruct_read_vqa_answer(struct set_reader *s, const struct json_value *v,
                                     struct error *err)
{
    const char *answer = s->l->opt->set == INSTRUCT_VQAV2
                             ? instruct_text_of(v, "multiple_choice_answer")
                             : okvqa_answer(s, v);
    enum status st = ST_OK;

    if (!answer || !instruct_take_id(s, v, "question_id", err, &st) || st != ST_OK)
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

enum status instruct_read_vqa_question(struct set_reader *s, const struct json_value *v,
                                       struct error *err)
{
    const char *question = instruct_text_of(v, "question");
    const struct json_value *image = json_get(v, "image_id");
    int64_t picture = 0;
    uint64_t answer = 0;
    enum status st = ST_OK;

    if (!question || !image || !json_value_id64(image, &picture) || picture < 0 ||
        !instruct_take_id(s, v, "question_id", err, &st))
        return instruct_set_bad(s, "vqa-schema", "no question, image_id or question_id", err);
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

enum status instruct_read_textvqa(struct set_reader *s, const struct json_value *v,
                                  struct error *err)
{
    const char *question = instruct_text_of(v, "question"),
               *image = instruct_text_of(v, "image_id");
    const struct json_value *answers = instruct_list_of(v, "answers");
    struct rng g;
    enum status st = ST_OK;

    if (!question || !image || !instruct_take_id(s, v, "question_id", err, &st))
        return instruct_set_bad(s, "textvqa-schema", "no question, image_id or question_id", err);
    if (!answers || answers->count == 0)
        return instruct_filter(s->l, "no-answer", &s->at, err);
    for (const struct json_value *a = answers->child; a; a = a->next)
        if (a->type != JSON_T_STRING || memchr(a->text, 0, a->size))
            return instruct_set_bad(s, "textvqa-answers", "an answer that is no text", err);
    instruct_draw(s->l, &g, "D7a", (const char *)s->r.id.data, NULL);
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
    instruct_draw(s->l, &g, "D7a", (const char *)s->r.id.data, NULL);
    return texts[rng_weighted(&g, weights, n)];
}

enum status instruct_read_aokvqa(struct set_reader *s, const struct json_value *v,
                                 struct error *err)
{
    const char *question = instruct_text_of(v, "question"), *image = instruct_text_of(v, "image");
    const struct json_value *answers = instruct_list_of(v, "direct_answers"),
                            *id = json_get(v, "image_id");
    int64_t picture = 0;
    enum status st = ST_OK;

    if (!question || !instruct_take_id(s, v, "question_id", err, &st) ||
        (!image && (!id || !json_value_id64(id, &picture) || picture < 0)))
        return instruct_set_bad(s, "aokvqa-schema",
                                "no question, question_id, or neither image nor image_id", err);
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

enum status instruct_read_ocrvqa(struct set_reader *s, const struct json_value *v,
                                 struct error *err)
{
    const struct json_value *questions = instruct_list_of(v, "questions"),
                            *answers = instruct_list_of(v, "answers");
    const struct json_value *split = json_get(v, "split");
    const char *url = instruct_text_of(v, "imageURL"), *dot = url ? strrchr(url, '.') : NULL;
    int64_t number = 0;
    enum status st =
        instruct_text(&s->r.id, s->key ? s->key : "", s->key ? strlen(s->key) : 0, err);

    if (st != ST_OK || !s->key || strlen(s->key) > 512 || !questions || !answers ||
        questions->count != answers->count || !split || !json_value_int64(split, &number))
        return st == ST_OK
                   ? instruct_set_bad(s, "ocrvqa-schema",
                                      "no split, or questions and answers that do not match", err)
                   : st;
    if (number != 1)
        return instruct_filter(s->l, "split", &s->at, err);
    st = instruct_key_is_id(s, err);
    if (st == ST_OK && dot && !strchr(dot, '/'))
        st = buffer_printf(&s->r.pictures, err, "%s%s%c", s->key, dot, 0);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "%s.jpg%c", s->key, 0);
    const struct json_value *a = answers->child;
    for (const struct json_value *q = questions->child; st == ST_OK && q;
         q = q->next, a = a->next) {
        if (q->type != JSON_T_STRING || a->type != JSON_T_STRING || memchr(q->text, 0, q->size) ||
            memchr(a->text, 0, a->size))
            return instruct_set_bad(s, "ocrvqa-schema", "a question or answer that is no text",
                                    err);
        if (instruct_is_blank(a->text))
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

enum status instruct_read_gqa(struct set_reader *s, const struct json_value *v, struct error *err)
{
    const char *question = instruct_text_of(v, "question"), *answer = instruct_text_of(v, "answer");
    const char *image = instruct_text_of(v, "image"), *image_id = instruct_text_of(v, "imageId");
    enum status st = ST_OK;

    const bool has_id = s->key
                            ? (st = instruct_text(&s->r.id, s->key, strlen(s->key), err)) == ST_OK
                            : instruct_take_id(s, v, "question_id", err, &st);
    if (st != ST_OK)
        return st;
    if (!has_id || !question || !answer || (!image && !image_id))
        return instruct_set_bad(s, "gqa-schema", "no question, answer, picture or id", err);
    st = image ? buffer_printf(&s->r.pictures, err, "%s%c", image, 0)
               : buffer_printf(&s->r.pictures, err, "%s.jpg%c", image_id, 0);
    return st == ST_OK ? keep_pair(s, question, answer, err) : st;
}

/* ---- captions ---- */

/* The first draw of a caption's stream is its request. */
static const char *draw_request(struct set_reader *s, struct rng *g)
{
    const struct json_value *requests = s->l->caption_requests;
    instruct_draw(s->l, g, "D7b", (const char *)s->r.id.data, NULL);
    return mask_template_text(requests, rng_below(g, requests->count));
}

static enum status keep_caption(struct set_reader *s, const char *request, const char *caption,
                                struct error *err)
{
    const enum status st = lower(s, caption, err);
    return st == ST_OK ? keep_pair(s, request, (const char *)s->text.data, err) : st;
}

enum status instruct_read_coco_caption(struct set_reader *s, const struct json_value *v,
                                       struct error *err)
{
    const struct json_value *caption = json_get(v, "caption");
    const char *image = instruct_text_of(v, "image"), *text = instruct_text_of(v, "caption");
    struct rng g;
    enum status st = ST_OK;

    if (!image || !caption || !instruct_take_id(s, v, "image_id", err, &st))
        return instruct_set_bad(s, "caption-schema", "no caption, image or image_id", err);
    const char *request = draw_request(s, &g);
    for (const struct json_value *c = caption->child; c; c = c->next)
        if (c->type != JSON_T_STRING || memchr(c->text, 0, c->size))
            return instruct_set_bad(s, "caption-schema", "a caption that is no text", err);
    if (caption->type == JSON_T_ARRAY && caption->count > 0)
        text = mask_template_text(caption, rng_below(&g, caption->count));
    if (!text)
        return instruct_set_bad(s, "caption-schema", "a caption that is no text", err);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "%s%c", image, 0);
    return st == ST_OK ? keep_caption(s, request, text, err) : st;
}

enum status instruct_read_textcaps(struct set_reader *s, const struct json_value *v,
                                   struct error *err)
{
    const char *image = instruct_text_of(v, "image_id"), *text = instruct_text_of(v, "caption_str");
    struct rng g;
    enum status st = ST_OK;

    if (!image || !text ||
        (!instruct_take_id(s, v, "caption_id", err, &st) &&
         !instruct_take_id(s, v, "image_id", err, &st)))
        return instruct_set_bad(s, "caption-schema", "no caption_str, image_id or caption_id", err);
    const char *request = draw_request(s, &g);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "train_images/%s.jpg%c", image, 0);
    return st == ST_OK ? keep_caption(s, request, text, err) : st;
}
