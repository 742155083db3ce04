/* ingest/masks/export_conversation.c: the conversation product (spec data.md 7.5, 2): one record an
 * instance, region k of the texts is element k - 1 of `annotation`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/masks/export_private.h"
#include "ingest/masks/picture_folder.h"
#include "ingest/masks/vcr.h"

static uint64_t draw_below(const struct exporter *x, const char *purpose,
                           const struct mask_instance *in, const uint64_t *position, size_t n)
{
    struct rng r;
    if (n < 2)
        return 0;
    export_draw(x, &r, purpose, in, position);
    return rng_below(&r, n);
}

static void write_turn(struct json_writer *w, const char *from, const struct buffer *text)
{
    json_begin_object(w);
    json_key(w, "from");
    json_string(w, from);
    json_key(w, "value");
    json_string_n(w, (const char *)text->data, text->size);
    json_end_object(w);
}

/* The words of a region: its caption, its expression, or its category. */
static const char *label_of(const struct exporter *x, uint32_t entry,
                            const struct mask_instance *in)
{
    if (x->caption.size)
        return (const char *)x->caption.data;
    if (in->caption)
        return in->caption;
    return mask_store_category_of(x->store, mask_store_entry_at(x->store, entry)->category)->name;
}

/* One question and answer about region `number` (from 1). */
static enum status write_region_turns(struct exporter *x, struct json_writer *w, uint32_t entry,
                                      uint64_t number, const struct mask_instance *in,
                                      struct error *err)
{
    const struct mask_template *t = &x->template;
    const uint64_t position = number - 1;
    char mention[32];
    const char *const names[] = { "<region>", "{label}", "{objects}", "{parts}", NULL };
    const char *const values[] = { mention, label_of(x, entry, in),
                                   (const char *)x->vocabulary[0].data,
                                   (const char *)x->vocabulary[1].data };
    const char *question =
        t->question ? mask_template_text(t->question,
                                         draw_below(x, "D8b", in, &position, t->question->count))
                    : "<region>";
    enum status st = ST_OK;

    snprintf(mention, sizeof mention, "<region%" PRIu64 ">", number);
    x->text.size = 0;
    if (number == 1 && *t->preamble) {
        st = mask_template_fill(&x->text, t->preamble, names, values, err);
        if (st == ST_OK)
            st = buffer_append(&x->text, "\n", 1, err);
    }
    if (st == ST_OK)
        st = mask_template_fill(&x->text, question, names, values, err);
    if (st == ST_OK && *t->limit)
        st = buffer_printf(&x->text, err, " %s", t->limit);
    if (st != ST_OK)
        return st;
    write_turn(w, "human", &x->text);
    x->text.size = 0;
    st = mask_template_fill(&x->text, *t->answer ? t->answer : "{label}", names, values, err);
    write_turn(w, "gpt", &x->text);
    return st;
}

/* A prepared VCR text up to its end mark, mentions as <regionK> or, for objects whose region is not
 * there, as the name of their class. Returns where the next text begins. */
static const char *vcr_fill(struct exporter *x, const char *s, const size_t *place_of,
                            const char *const *names, struct error *err)
{
    while (*s && *s != VCR_END) {
        if (*s != VCR_MENTION) {
            if (buffer_append(&x->text, s++, 1, err) != ST_OK)
                return NULL;
            continue;
        }
        char *end = NULL;
        const size_t object = strtoul(s + 1, &end, 10);
        const enum status st = place_of[object]
                                   ? buffer_printf(&x->text, err, "<region%zu>", place_of[object])
                                   : buffer_append_str(&x->text, names[object], err);
        if (st != ST_OK)
            return NULL;
        s = end + 1;
    }
    return *s ? s + 1 : s;
}

enum { VCR_PLACES = 512 };

/* Class names behind the three texts; they stay in a copy with their end marks cut. */
static size_t vcr_names(const char **names, char *copy)
{
    char *s = copy;
    size_t n = 0;

    for (int i = 0; i < 3; i++)
        s = strchr(s, VCR_END) + 1;
    while (*s && n < VCR_PLACES) {
        char *end = strchr(s, VCR_END);
        *end = '\0';
        names[n++] = s;
        s = end + 1;
    }
    return n;
}

static enum status write_vcr_turns(struct exporter *x, struct json_writer *w, size_t kept,
                                   const struct mask_instance *in, struct error *err)
{
    static const char *const from[] = { "human", "gpt", "human", "gpt" };
    const uint64_t position = 0;
    size_t place_of[VCR_PLACES] = { 0 };
    const char *names[VCR_PLACES];
    char *copy = mem_strdup(in->turns);
    const char *s = in->turns;

    if (!copy)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "turns of %s", in->key);
    vcr_names(names, copy);
    for (size_t i = 0; i < kept; i++)
        place_of[mask_store_entry_at(x->store, x->kept[i])->original_id] = i + 1;
    for (int turn = 0; s && turn < 4; turn++) {
        x->text.size = 0;
        if (turn == 2) {
            const struct json_value *why = x->template.why;
            const char *text =
                why ? mask_template_text(why, draw_below(x, "D8b", in, &position, why->count))
                    : "Why?";
            if (buffer_append_str(&x->text, text, err) != ST_OK)
                s = NULL;
        } else {
            s = vcr_fill(x, s, place_of, names, err);
        }
        if (s)
            write_turn(w, from[turn], &x->text);
    }
    mem_free(copy);
    return s ? ST_OK : ST_FAIL;
}

/* x->kept becomes the regions of the record, in their order: D8a picks; VCR keeps that of mention. */
static size_t choose_regions(struct exporter *x, size_t kept, const struct mask_instance *in)
{
    const size_t cap =
        x->opt->max_regions && kept > x->opt->max_regions ? (size_t)x->opt->max_regions : kept;
    struct rng r;

    x->report->regions_over_cap += kept - cap;
    if (x->opt->set == MASK_SET_VCR)
        return cap;
    export_draw(x, &r, "D8a", in, NULL);
    rng_pick(&r, x->picks, kept, cap);
    for (size_t i = 0; i < cap; i++)
        x->picks[i] = x->kept[x->picks[i]];
    for (size_t i = 0; i < cap; i++)
        x->kept[i] = (uint32_t)x->picks[i];
    return cap;
}

static enum status write_annotations(struct exporter *x, struct json_writer *w, size_t n,
                                     const struct mask_instance *in, struct error *err)
{
    enum status st = ST_OK;

    json_begin_array(w);
    for (size_t i = 0; st == ST_OK && i < n; i++) {
        st = export_load(x, x->kept[i], err);
        if (st != ST_OK)
            break;
        json_begin_object(w);
        json_key(w, "bbox");
        export_bbox(x, w);
        json_key(w, "segmentation");
        export_segmentation(x, w, in);
        json_end_object(w);
    }
    json_end_array(w);
    return st;
}

static enum status write_turns(struct exporter *x, struct json_writer *w, size_t n,
                               const struct mask_instance *in, struct error *err)
{
    enum status st = ST_OK;

    json_begin_array(w);
    if (in->turns)
        st = write_vcr_turns(x, w, n, in, err);
    for (size_t i = 0; st == ST_OK && !in->turns && i < n; i++) {
        st = export_load(x, x->kept[i], err);
        if (st == ST_OK)
            st = write_region_turns(x, w, x->kept[i], i + 1, in, err);
    }
    json_end_array(w);
    return st;
}

static void text_member(struct json_writer *w, const char *key, const char *a, const char *mark,
                        const char *b)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s%s", a, mark, b);
    json_key(w, key);
    json_string(w, text);
}

static enum status write_record(struct exporter *x, struct json_writer *w, size_t k, size_t kept,
                                struct error *err)
{
    const struct mask_instance *in = mask_store_instance_at(x->store, k);
    const struct json_value *prefix = x->template.list_prefix;
    const char *set = export_set_name(x);
    const size_t n = choose_regions(x, kept, in);
    enum status st;

    json_begin_object(w);
    text_member(w, "id", set, "-", in->key);
    json_key(w, "file_name");
    json_string(w, picture_is_coco(in->file_name) && x->opt->set != MASK_SET_VG
                       ? picture_name_2017(in->file_name)
                       : in->file_name);
    json_key(w, "height");
    json_uint(w, in->h);
    json_key(w, "width");
    json_uint(w, in->w);
    json_key(w, "annotation");
    st = write_annotations(x, w, n, in, err);
    json_key(w, "conversations");
    if (st == ST_OK)
        st = write_turns(x, w, n, in, err);
    json_key(w, "source");
    json_string(w, set);
    text_member(w, "seed_key", set, "/", in->key);
    if (prefix) {
        json_key(w, "list_prefix");
        json_string(w, mask_template_text(prefix, draw_below(x, "D8c", in, NULL, prefix->count)));
    }
    json_end_object(w);
    return st;
}

enum status export_write_conversation(struct exporter *x, struct error *err)
{
    struct output_file *f = &x->files[EXPORT_CONVERSATION];
    struct json_writer w;
    enum status st = ST_OK;

    json_writer_init(&w, &f->pending);
    json_begin_array(&w);
    for (size_t k = 0; st == ST_OK && k < mask_store_instances(x->store); k++) {
        const size_t kept = export_kept(x, k);
        if (kept == 0)
            continue;
        st = write_record(x, &w, k, kept, err);
        if (st == ST_OK)
            st = output_file_piece(f, err);
    }
    json_end_array(&w);
    return st == ST_OK ? json_writer_finish(&w, err) : st;
}
