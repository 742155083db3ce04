/* ingest/instruct_talk.c: sets of conversations: LLaVA, and stage III (spec data.md 1.9, 1.10, 7.2): see
 * instruct_sets_private.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/unicode.h"
#include "ingest/instruct_sets_private.h"

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
        const char *from = instruct_text_of(c, "from"), *value = instruct_text_of(c, "value");
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

enum status instruct_read_llava(struct set_reader *s, const struct json_value *v, struct error *err)
{
    const char *image = instruct_text_of(v, "image"), *wrong = NULL;
    const struct json_value *turns = instruct_list_of(v, "conversations");
    enum status st = ST_OK;

    if (!instruct_take_id(s, v, "id", err, &st) || !turns)
        return st == ST_OK ? instruct_set_bad(s, "llava-schema", "no id or no conversations", err)
                           : st;
    if (!image)
        return instruct_filter(s->l, "text-only", &s->at, err);
    st = instruct_key_is_id(s, err);
    if (st == ST_OK)
        st = buffer_printf(&s->r.pictures, err, "%s%c", image, 0);
    if (st == ST_OK)
        st = add_conversation(s, turns, true, &wrong, err);
    if (st != ST_OK)
        return st;
    return wrong ? instruct_set_bad(s, "llava-turns", wrong, err)
                 : instruct_keep(s->l, &s->r, &s->at, err);
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

/* "<regionK>: text" of Osprey's descriptions: K and where the text begins; 0: it is none. */
static uint32_t described_region(const char *line, uint32_t regions, const char **text)
{
    char *end = NULL;

    while (*line == ' ')
        line++;
    if (strncmp(line, "<region", 7) != 0 || line[7] < '1' || line[7] > '9')
        return 0;
    const unsigned long k = strtoul(line + 7, &end, 10);
    if (k > regions || strncmp(end, ">:", 2) != 0)
        return 0;
    *text = end + 2 + strspn(end + 2, " \n");
    return **text ? (uint32_t)k : 0;
}

/* A request, drawn by D8b, and the description as its answer. */
static enum status add_description(struct set_reader *s, const char *line, uint64_t position,
                                   const char **wrong, struct error *err)
{
    static const char *const names[] = { "<region>", NULL };
    const struct json_value *requests = s->l->description_requests;
    char mention[32];
    const char *const values[] = { mention };
    const char *text = NULL;
    const uint32_t k = described_region(line, s->r.mask_count, &text);
    struct rng g;

    if (k == 0) {
        *wrong = "a description that is no <regionK>: text of a region in annotation";
        return ST_OK;
    }
    snprintf(mention, sizeof mention, "<region%" PRIu32 ">", k);
    instruct_draw(s->l, &g, "D8b", (const char *)s->r.id.data, &position);
    s->text.size = 0;
    enum status st = mask_template_fill(
        &s->text, mask_template_text(requests, rng_below(&g, requests->count)), names, values, err);
    if (st == ST_OK)
        st = instruct_add_turn(&s->r, (const char *)s->text.data, s->text.size, err);
    return st == ST_OK ? instruct_add_turn(&s->r, text, strlen(text), err) : st;
}

static enum status add_descriptions(struct set_reader *s, const struct json_value *list,
                                    const char **wrong, struct error *err)
{
    uint64_t position = 0;
    enum status st = ST_OK;

    for (const struct json_value *c = list->child; st == ST_OK && !*wrong && c; c = c->next) {
        if (c->type != JSON_T_STRING || memchr(c->text, 0, c->size))
            *wrong = "a description that is no text";
        else
            st = add_description(s, c->text, position++, wrong, err);
    }
    if (!list->child)
        *wrong = "an empty list of descriptions";
    return st;
}

enum status instruct_read_mask_text(struct set_reader *s, const struct json_value *v,
                                    struct error *err)
{
    const char *file = instruct_text_of(v, "file_name"), *source = instruct_text_of(v, "source"),
               *prefix = instruct_text_of(v, "list_prefix");
    const struct json_value *h = json_get(v, "height"), *w = json_get(v, "width");
    const struct json_value *regions = instruct_list_of(v, "annotation"),
                            *turns = instruct_list_of(v, "conversations"),
                            *lines = instruct_list_of(v, "description");
    int64_t height = 0, width = 0;
    const char *wrong = NULL;
    struct error why = { 0 };
    enum status st = ST_OK;

    if (!instruct_take_id(s, v, "id", err, &st) || !file || !regions || !h || !w ||
        !json_value_int64(h, &height) || !json_value_int64(w, &width))
        return instruct_set_bad(s, "mask-text-schema",
                                "no id, file_name, height, width or annotation", err);
    if (!turns && !lines)
        return instruct_filter(s->l, "no-conversations", &s->at, err);
    if (st == ST_OK)
        st = instruct_key_is_id(s, err);
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
        st = turns ? add_conversation(s, turns, true, &wrong, err)
                   : add_descriptions(s, lines, &wrong, err);
    if (st != ST_OK)
        return st;
    return wrong ? instruct_set_bad(s, "mask-text-turns", wrong, err)
                 : instruct_keep(s->l, &s->r, &s->at, err);
}
