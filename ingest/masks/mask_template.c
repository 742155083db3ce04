/* ingest/masks/mask_template.c: see mask_template.h. */
#include "ingest/masks/mask_template.h"

#include <string.h>

#include "core/file.h"
#include "core/hash.h"

#define FILE_NAME "recipes/templates/mask_text.json"

enum status mask_templates_open(struct mask_templates *t, const char *path, struct error *err)
{
    struct buffer text;
    const char *from = path;

    arena_init(&t->arena, 0);
    t->root = NULL;
    buffer_init(&text);
    if (!from)
        from = file_exists(FILE_NAME) ? FILE_NAME : DEEM_HOME "/" FILE_NAME;
    enum status st = file_read_all(&text, from, 4u << 20, err);
    if (st == ST_OK)
        st = json_parse(&t->arena, &t->root, text.data, text.size, NULL, err);
    if (st == ST_OK && !json_get(t->root, "sets"))
        st = error_set(err, ST_FAIL, CAUSE_FORMAT, "no member sets");
    if (st == ST_OK)
        hash_sha256(t->digest, text.data, text.size);
    else
        error_prefix(err, st, "%s", path ? path : FILE_NAME);
    buffer_clear(&text);
    return st;
}

void mask_templates_close(struct mask_templates *t)
{
    arena_clear(&t->arena);
    t->root = NULL;
}

/* A text member, "" where it is absent. */
static enum status text_member(const struct json_value *v, const char *key, const char **out,
                               struct error *err)
{
    const struct json_value *m = json_get(v, key);
    *out = m ? m->text : "";
    if (m && m->type != JSON_T_STRING)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "template: %s is no text", key);
    return ST_OK;
}

static enum status list_member(const struct json_value *v, const char *key,
                               const struct json_value **out, struct error *err)
{
    const struct json_value *m = json_get(v, key);
    *out = m;
    if (m && (m->type != JSON_T_ARRAY || m->count == 0))
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "template: %s is no list of texts", key);
    for (const struct json_value *c = m ? m->child : NULL; c; c = c->next)
        if (c->type != JSON_T_STRING)
            return error_set(err, ST_FAIL, CAUSE_FORMAT,
                             "template: %s holds something else than texts", key);
    return ST_OK;
}

enum status mask_templates_get(const struct mask_templates *t, const char *set,
                               struct mask_template *out, struct error *err)
{
    const struct json_value *v = json_get(json_get(t->root, "sets"), set);
    const char *style = "";

    if (!v)
        v = json_get(t->root, "other");
    if (!v)
        return error_set(err, ST_FAIL, CAUSE_FORMAT, "template: neither set %s nor other", set);
    enum status st = text_member(v, "style", &style, err);
    if (st == ST_OK && strcmp(style, "list") != 0 && strcmp(style, "inline") != 0)
        st = error_set(err, ST_FAIL, CAUSE_FORMAT,
                       "template: style of %s is neither inline nor list", set);
    out->style = strcmp(style, "list") == 0 ? MASK_LIST : MASK_INLINE;
    if (st == ST_OK)
        st = text_member(v, "preamble", &out->preamble, err);
    if (st == ST_OK)
        st = text_member(v, "limit", &out->limit, err);
    if (st == ST_OK)
        st = text_member(v, "answer", &out->answer, err);
    if (st == ST_OK)
        st = list_member(v, "question", &out->question, err);
    if (st == ST_OK)
        st = list_member(v, "description", &out->description, err);
    if (st == ST_OK)
        st = list_member(v, "list_prefix", &out->list_prefix, err);
    return st == ST_OK ? list_member(v, "why", &out->why, err) : st;
}

const char *mask_template_text(const struct json_value *list, uint64_t i)
{
    const struct json_value *c = list->child;
    while (i-- > 0 && c->next)
        c = c->next;
    return c->text;
}

enum status mask_template_fill(struct buffer *out, const char *text, const char *const *names,
                               const char *const *values, struct error *err)
{
    enum status st = ST_OK;

    while (st == ST_OK && *text) {
        size_t i = 0;
        while (names[i] && strncmp(text, names[i], strlen(names[i])) != 0)
            i++;
        if (names[i]) {
            st = buffer_append_str(out, values[i], err);
            text += strlen(names[i]);
        } else {
            st = buffer_append(out, text++, 1, err);
        }
    }
    return st;
}
