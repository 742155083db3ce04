/* ingest/instruct_text.c: a record's turns become ids and a loss mask. The builder knows where training
 * begins and ends in the text, and carries these places over to the tokens: a place is the length of
 * the longest common start of the segment's ids and those of the text before it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/instruct_private.h"

/* From this byte of the segment on. */
struct instruct_mark {
    size_t at;
    enum { MARK_NOTHING, MARK_ALL, MARK_THREE } train; /* MARK_THREE: the next three tokens */
};

void instruct_builder_init(struct instruct_builder *b)
{
    memset(b, 0, sizeof *b);
}

void instruct_builder_clear(struct instruct_builder *b)
{
    id_list_clear(&b->ids);
    id_list_clear(&b->segment);
    id_list_clear(&b->prefix);
    buffer_clear(&b->loss);
    buffer_clear(&b->slots);
    buffer_clear(&b->text);
    buffer_clear(&b->marks);
}

static enum status push(struct instruct_builder *b, uint16_t id, size_t times, bool trained,
                        struct error *err)
{
    const uint8_t mark = trained;
    enum status st = id_list_push(&b->ids, id, times, err);
    for (size_t i = 0; st == ST_OK && i < times; i++)
        st = buffer_append(&b->loss, &mark, 1, err);
    return st;
}

/* The token at which byte `at` of the segment begins. White space at a prefix's end is stripped, so the
 * newlines there, one token each, are stepped over by hand. */
static enum status token_at(struct instruct_builder *b, size_t at, size_t *token, struct error *err)
{
    const char *text = (const char *)b->text.data;
    size_t newlines = 0, n = 0;

    b->prefix.size = 0;
    while (newlines < at && text[at - 1 - newlines] == '\n')
        newlines++;
    const enum status st =
        tokenizer_encode_segment(b->tokenizer, &b->prefix, text, at - newlines, b->after_slot, err);
    if (st != ST_OK)
        return st;
    while (n < b->prefix.size && n < b->segment.size && b->prefix.data[n] == b->segment.data[n])
        n++;
    if (n == b->prefix.size) {
        b->prefix.size = 0;
        if (tokenizer_encode_plain(b->tokenizer, &b->prefix, "\n", 1, err) != ST_OK)
            return ST_FAIL;
        const uint16_t newline = b->prefix.size ? b->prefix.data[b->prefix.size - 1] : 0;
        while (newlines-- > 0 && n > 0 && n < b->segment.size && b->segment.data[n] == newline)
            n++;
    }
    *token = n;
    return ST_OK;
}

/* The open segment goes into the sequence. */
static enum status flush(struct instruct_builder *b, struct error *err)
{
    const struct instruct_mark *marks = (const struct instruct_mark *)(const void *)b->marks.data;
    const size_t n = b->marks.size / sizeof *marks, start = b->loss.size;
    enum status st;

    b->segment.size = 0;
    st = tokenizer_encode_segment(b->tokenizer, &b->segment, (const char *)b->text.data,
                                  b->text.size, b->after_slot, err);
    for (size_t i = 0; st == ST_OK && i < b->segment.size; i++)
        st = push(b, b->segment.data[i], 1, false, err);
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        size_t from = 0, to = b->segment.size;
        st = token_at(b, marks[i].at, &from, err);
        if (st == ST_OK && i + 1 < n)
            st = token_at(b, marks[i + 1].at, &to, err);
        if (marks[i].train == MARK_THREE && to > from + 3)
            to = from + 3;
        for (size_t k = from; st == ST_OK && k < to; k++)
            b->loss.data[start + k] = marks[i].train != MARK_NOTHING;
    }
    b->text.size = b->marks.size = 0;
    return st;
}

static enum status add_text(struct instruct_builder *b, const char *text, size_t size, int train,
                            struct error *err)
{
    struct instruct_mark m = { .at = b->text.size };
    m.train = train == 1 ? MARK_ALL : train == 3 ? MARK_THREE : MARK_NOTHING;
    const enum status st = buffer_append(&b->marks, &m, sizeof m, err);
    return st == ST_OK && size ? buffer_append(&b->text, text, size, err) : st;
}

static enum status add_string(struct instruct_builder *b, const char *text, int train,
                              struct error *err)
{
    return add_text(b, text, strlen(text), train, err);
}

static enum status add_id(struct instruct_builder *b, uint16_t id, struct error *err)
{
    const enum status st = flush(b, err);
    b->after_slot = true;
    return st == ST_OK ? push(b, id, 1, false, err) : st;
}

static enum status add_slot(struct instruct_builder *b, int32_t region, struct error *err)
{
    const struct special_ids *s = tokenizer_special(b->tokenizer);
    enum status st = flush(b, err);
    const struct instruct_slot slot = { (uint16_t)b->ids.size, region };

    if (st == ST_OK)
        st = buffer_append(&b->slots, &slot, sizeof slot, err);
    if (st == ST_OK)
        st = push(b, s->soi, 1, false, err);
    b->after_slot = true;
    return st == ST_OK ? push(b, s->sniffer, b->opt->base.piece.image_tokens, false, err) : st;
}

static enum status begin(struct instruct_builder *b, struct error *err)
{
    b->ids.size = 0;
    b->loss.size = b->slots.size = b->text.size = b->marks.size = 0;
    b->after_slot = false;
    return push(b, tokenizer_special(b->tokenizer)->bos, 1, false, err);
}

static enum status finish(struct instruct_builder *b, struct error *err)
{
    const enum status st = flush(b, err);
    return st == ST_OK ? push(b, tokenizer_special(b->tokenizer)->eos, 1, true, err) : st;
}

static bool fits(const struct instruct_builder *b)
{
    const struct piece_options *p = &b->opt->base.piece;
    return b->ids.size <= p->seq_len &&
           b->slots.size / sizeof(struct instruct_slot) <= p->max_images;
}

/* A string of the profile, "" where it is absent. */
static const char *word(const struct instruct_builder *b, const char *stage, const char *name)
{
    const struct json_value *v = json_get(json_get(b->profile, stage), name);
    return v && v->type == JSON_T_STRING ? v->text : "";
}

static const char *turn_at(const struct instruct_record *r, uint32_t i)
{
    const char *s = (const char *)r->turns.data;
    while (i-- > 0)
        s += strlen(s) + 1;
    return s;
}

uint32_t instruct_rounds(const struct instruct_builder *b, const struct instruct_record *r)
{
    const bool whole = b->opt->set == INSTRUCT_MASK_TEXT || b->opt->multi_round;
    return whole ? r->turn_count > 0 : r->turn_count / 2;
}

/* ---- stage II ---- */

static enum status build_stage2(struct instruct_builder *b, const struct instruct_record *r,
                                uint32_t first, uint32_t rounds, struct error *err)
{
    enum status st = begin(b, err);

    for (uint32_t i = 0; st == ST_OK && i < rounds; i++) {
        st = add_string(b, word(b, "stage2", i == 0 ? "before" : "again"), 0, err);
        if (st == ST_OK && i == 0)
            st = add_slot(b, -1, err);
        if (st == ST_OK)
            st = add_string(b, turn_at(r, 2 * (first + i)), 0, err);
        if (st == ST_OK)
            st = add_string(b, word(b, "stage2", "after"), 0, err);
        if (st == ST_OK)
            st = add_string(b, word(b, "stage2", "gap"), 1, err);
        if (st == ST_OK)
            st = add_string(b, turn_at(r, 2 * (first + i) + 1), 1, err);
    }
    return st == ST_OK ? finish(b, err) : st;
}

/* ---- stage III ---- */

enum { REGIONS_MAX = 1024 };

struct talk {
    const struct instruct_record *r;
    enum mask_style style;
    bool shown[REGIONS_MAX]; /* its slot stands in the sequence */
};

/* <regionK> at s: K, and its bytes in *size; 0: it is none. */
static uint32_t mention_at(const char *s, const struct talk *t, size_t *size)
{
    char *end = NULL;

    if (strncmp(s, "<region", 7) != 0 || s[7] < '1' || s[7] > '9')
        return 0;
    const unsigned long k = strtoul(s + 7, &end, 10);
    if (*end != '>' || k > t->r->mask_count || k > REGIONS_MAX)
        return 0;
    *size = (size_t)(end + 1 - s);
    return (uint32_t)k;
}

/* Text with mentions: the first of a region is its slot where the style says so and slots may stand
 * here, every other one reads "regionK". */
static enum status add_content(struct instruct_builder *b, struct talk *t, const char *s, int train,
                               bool slots, struct error *err)
{
    enum status st = ST_OK;

    while (st == ST_OK && *s) {
        size_t size = 0;
        const uint32_t k = mention_at(s, t, &size);
        if (k == 0) {
            const char *next = strchr(s + 1, '<');
            size = next ? (size_t)(next - s) : strlen(s);
            st = add_text(b, s, size, train, err);
        } else if (slots && t->style == MASK_INLINE && !t->shown[k - 1]) {
            t->shown[k - 1] = true;
            st = add_slot(b, (int32_t)k - 1, err);
        } else {
            st = add_text(b, s + 1, size - 2, train, err);
        }
        s += size;
    }
    return st;
}

/* "<ref>regionK</ref> slot, ..." for all regions. */
static enum status add_regions(struct instruct_builder *b, struct talk *t, struct error *err)
{
    const struct special_ids *s = tokenizer_special(b->tokenizer);
    enum status st = ST_OK;

    for (uint32_t k = 0; st == ST_OK && k < t->r->mask_count; k++) {
        char name[24];
        const int n = snprintf(name, sizeof name, "region%" PRIu32, k + 1);
        if (k > 0)
            st = add_string(b, ", ", 0, err);
        if (st == ST_OK)
            st = add_id(b, s->ref, err);
        if (st == ST_OK)
            st = add_text(b, name, (size_t)n, 0, err);
        if (st == ST_OK)
            st = add_id(b, s->ref_end, err);
        if (st == ST_OK)
            st = add_slot(b, (int32_t)k, err);
    }
    return st;
}

static enum status add_list(struct instruct_builder *b, struct talk *t, struct error *err)
{
    static const char mark[] = "{regions}";
    struct mask_template template;
    const char *prefix = (const char *)t->r->prefix.data;
    enum status st =
        mask_templates_get(b->mask_templates, (const char *)t->r->source.data, &template, err);

    if (st != ST_OK)
        return st;
    if (!*prefix)
        prefix = template.list_prefix ? mask_template_text(template.list_prefix, 0) : mark;
    const char *at = strstr(prefix, mark);
    st = add_text(b, prefix, at ? (size_t)(at - prefix) : strlen(prefix), 0, err);
    if (st == ST_OK && at)
        st = add_regions(b, t, err);
    if (st == ST_OK && at)
        st = add_string(b, at + sizeof mark - 1, 0, err);
    return st == ST_OK ? add_string(b, " ", 0, err) : st;
}

static enum status add_pair(struct instruct_builder *b, struct talk *t, uint32_t i,
                            struct error *err)
{
    const int all = b->opt->deem ? 1 : 0; /* the authors train the whole assistant turn */
    enum status st = add_string(b, word(b, "stage3", "user"), b->opt->deem ? 3 : 0, err);

    if (st == ST_OK && i == 0)
        st = add_slot(b, -1, err);
    if (st == ST_OK && i == 0)
        st = add_string(b, word(b, "stage3", "overview"), 0, err);
    if (st == ST_OK && i == 0 && t->style == MASK_LIST && t->r->mask_count > 0)
        st = add_list(b, t, err);
    if (st == ST_OK)
        st = add_content(b, t, turn_at(t->r, 2 * i), 0, true, err);
    if (st == ST_OK)
        st = add_string(b, word(b, "stage3", "end"), 0, err);
    if (st == ST_OK)
        st = add_string(b, word(b, "stage3", "assistant"), all, err);
    if (st == ST_OK)
        st = add_string(b, word(b, "stage3", "gap"), 1, err);
    if (st == ST_OK)
        st = add_content(b, t, turn_at(t->r, 2 * i + 1), 1, false, err);
    return st == ST_OK ? add_string(b, word(b, "stage3", "end"), 1, err) : st;
}

static enum status build_stage3(struct instruct_builder *b, const struct instruct_record *r,
                                uint32_t pairs, struct error *err)
{
    struct talk t = { .r = r };
    struct mask_template template;
    enum status st =
        mask_templates_get(b->mask_templates, (const char *)r->source.data, &template, err);

    t.style = template.style;
    if (st == ST_OK)
        st = begin(b, err);
    if (st == ST_OK)
        st = add_string(b, word(b, "stage3", "header"), 0, err);
    for (uint32_t i = 0; st == ST_OK && i < pairs; i++)
        st = add_pair(b, &t, i, err);
    return st == ST_OK ? finish(b, err) : st;
}

enum status instruct_build(struct instruct_builder *b, const struct instruct_record *r,
                           uint32_t round, bool *cut, struct error *err)
{
    const bool talk = b->opt->set == INSTRUCT_MASK_TEXT;
    const uint32_t all = talk || b->opt->multi_round ? r->turn_count / 2 : 1;

    *cut = false;
    for (uint32_t pairs = all; pairs > 0; pairs--) {
        const enum status st =
            talk ? build_stage3(b, r, pairs, err) : build_stage2(b, r, round, pairs, err);
        if (st != ST_OK || fits(b))
            return st;
        *cut = true;
    }
    return ST_SKIP;
}
