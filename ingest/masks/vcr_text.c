/* ingest/masks/vcr_text.c: which numbers of a VCR text are objects. The token list says it without
 * doubt: its digit runs, mentions and others, must be the text's digit runs in order; where they are
 * not, the tokens themselves are joined; where there are none, a number up to the count of objects is
 * taken as a mention. */
#include <stdlib.h>
#include <string.h>

#include "ingest/masks/vcr_private.h"

size_t vcr_place(struct vcr *r, size_t object)
{
    for (size_t i = 0; i < r->mentioned; i++)
        if (r->order[i] == object)
            return i;
    r->order[r->mentioned] = object;
    return r->mentioned++;
}

enum status vcr_append_clean(struct buffer *out, const char *s, size_t size, struct error *err)
{
    const size_t from = out->size;
    if (buffer_append(out, s, size, err) != ST_OK)
        return ST_FAIL;
    for (size_t i = from; i < out->size; i++)
        if (out->data[i] < 0x20)
            out->data[i] = ' ';
    return ST_OK;
}

static enum status append_mention(struct vcr *r, struct buffer *out, size_t object,
                                  struct error *err)
{
    return buffer_printf(out, err, "%c%zu%c", VCR_MENTION, vcr_place(r, object), VCR_MENTION);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The number of a digit run of `size` digits; large ones are no object anyway. */
static int64_t run_value(const char *s, size_t size)
{
    int64_t v = 0;
    for (size_t i = 0; i < size && v < 1000000; i++)
        v = 10 * v + (s[i] - '0');
    return v;
}

static size_t run_size(const char *s)
{
    size_t n = 0;
    while (is_digit(s[n]))
        n++;
    return n;
}

/* A place in the token list: a mention (item of an inner list) or a digit run inside a string. */
struct token_walk {
    const struct json_value *token, *inner;
    const char *text; /* rest of a string token */
};

/* The next digit run the tokens stand for; false: none. *object: its 0-based object, -1 where it is
 * plain text. A list with something else than whole numbers ends the walk with *bad. */
static bool next_run(struct token_walk *w, int64_t *value, int64_t *object, bool *bad)
{
    while (w->token) {
        if (w->token->type == JSON_T_ARRAY) {
            if (!w->inner)
                w->inner = w->token->child;
            const struct json_value *i = w->inner;
            if (i) {
                w->inner = i->next;
                if (!w->inner)
                    w->token = w->token->next;
                *bad = !json_value_int64(i, object) || *object < 0 || *object > 100000;
                *value = *object + 1;
                return !*bad;
            }
        } else if (w->token->type == JSON_T_STRING) {
            const char *s = w->text ? w->text : w->token->text;
            while (*s && !is_digit(*s))
                s++;
            if (*s) {
                const size_t n = run_size(s);
                *value = run_value(s, n);
                *object = -1;
                w->text = s + n;
                return true;
            }
        } else {
            *bad = true;
            return false;
        }
        w->text = NULL;
        w->token = w->token->next;
    }
    return false;
}

/* Whether text and tokens hold the same digit runs in order, with objects that exist. */
static bool agree(const struct vcr *r, const struct vcr_text *t)
{
    struct token_walk w = { t->tokens->child, NULL, NULL };
    int64_t value = 0, object = 0;
    bool bad = false;

    for (const char *s = t->orig; *s;) {
        const size_t n = run_size(s);
        if (n == 0) {
            s++;
            continue;
        }
        if (!next_run(&w, &value, &object, &bad) || value != run_value(s, n) ||
            object >= (int64_t)r->object_count)
            return false;
        s += n;
    }
    return !next_run(&w, &value, &object, &bad) && !bad;
}

/* The text as written; a number is a mention where the tokens, or its size, say so. */
static enum status mark_original(struct vcr *r, const struct vcr_text *t, bool by_tokens,
                                 struct error *err)
{
    struct token_walk w = { by_tokens ? t->tokens->child : NULL, NULL, NULL };
    enum status st = ST_OK;

    for (const char *s = t->orig ? t->orig : ""; st == ST_OK && *s;) {
        const size_t n = run_size(s);
        int64_t value = run_value(s, n), object = value - 1;
        bool bad = false;
        if (n == 0) {
            const size_t plain = strcspn(s, "0123456789");
            st = vcr_append_clean(&r->turns, s, plain, err);
            s += plain;
            continue;
        }
        if (by_tokens)
            next_run(&w, &value, &object, &bad);
        if (object >= 0 && object < (int64_t)r->object_count)
            st = append_mention(r, &r->turns, (size_t)object, err);
        else
            st = vcr_append_clean(&r->turns, s, n, err);
        s += n;
    }
    return st;
}

/* "[1, 2]" reads as "2 and 3" did: mentions joined by commas and a last "and". */
static enum status join_mentions(struct vcr *r, const struct json_value *list, struct error *err)
{
    enum status st = ST_OK;
    for (const struct json_value *i = list->child; st == ST_OK && i; i = i->next) {
        int64_t object = -1;
        if (i != list->child)
            st = buffer_append_str(&r->turns, i->next ? ", " : " and ", err);
        if (st == ST_OK && json_value_int64(i, &object) && object >= 0 &&
            object < (int64_t)r->object_count)
            st = append_mention(r, &r->turns, (size_t)object, err);
    }
    return st;
}

static enum status mark_tokens(struct vcr *r, const struct json_value *tokens, struct error *err)
{
    enum status st = ST_OK;
    for (const struct json_value *t = tokens->child; st == ST_OK && t; t = t->next) {
        const bool glued = t->type == JSON_T_STRING && t->size > 0 && strchr(".,?!;:'", t->text[0]);
        if (t != tokens->child && !glued)
            st = buffer_append(&r->turns, " ", 1, err);
        if (st == ST_OK && t->type == JSON_T_STRING)
            st = vcr_append_clean(&r->turns, t->text, t->size, err);
        else if (st == ST_OK && t->type == JSON_T_ARRAY)
            st = join_mentions(r, t, err);
    }
    return st;
}

enum status vcr_mark_text(struct vcr *r, const struct vcr_text *t, struct error *err)
{
    enum status st;

    if (t->orig && t->tokens && agree(r, t))
        st = mark_original(r, t, true, err);
    else if (t->tokens)
        st = mark_tokens(r, t->tokens, err);
    else
        st = mark_original(r, t, false, err);
    return st == ST_OK ? buffer_append(&r->turns, "\x1e", 1, err) : st;
}
