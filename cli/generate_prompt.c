/* cli/generate_prompt.c: see generate_prompt.h. */
#include "cli/generate_prompt.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/generate_region.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"
#include "loader/decode.h"
#include "shards/dataset.h"

#define TEMPLATES "recipes/templates/instruct.json"

static const char IMAGE[] = "<image>";

/* ---- words ---- */

/* The table of a dataset, and whether `t` made it. */
static enum status ask_dataset(struct vocabulary *v, char *variant, const char *folder,
                               const struct generator *g, struct error *err)
{
    struct dataset *d = NULL;
    struct shard_reader *r = NULL;
    enum status st = dataset_open(&d, folder, err);
    if (st == ST_OK) {
        const struct shard_facts *f = &dataset_manifest(d)->facts;
        *variant = f->variant;
        if (f->pieces != generator_recipe(g)->model.vocab_base)
            st = error_set(err, ST_FAIL, CAUSE_ARG,
                           "%s: %" PRIu32 " pieces, but the model knows %" PRId64, folder,
                           f->pieces, generator_recipe(g)->model.vocab_base);
    }
    if (st == ST_OK && dataset_sequences(d) > 0) {
        uint32_t shard = 0;
        uint64_t index = 0;
        dataset_locate(d, 0, &shard, &index);
        st = dataset_shard(d, shard, &r, err);
        if (st == ST_OK)
            st = shard_reader_pieces(r, &v->pieces, err);
    }
    shard_reader_close(&r);
    dataset_close(&d);
    return st;
}

static enum status open_tokenizer(struct vocabulary *v, const struct generator *g, char variant,
                                  const char *path, struct error *err)
{
    struct tokenizer_options opt;
    struct buffer table;
    tokenizer_options_init(&opt);
    opt.variant = variant == 'B' ? TOKENIZER_B : variant == 'C' ? TOKENIZER_C : TOKENIZER_A;
    if (tokenizer_open(&v->tokenizer, path, &opt, err) != ST_OK)
        return ST_FAIL;
    const uint32_t pieces = tokenizer_special(v->tokenizer)->pieces;
    if (pieces != generator_recipe(g)->model.vocab_base)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "%s: %" PRIu32 " pieces, but the model knows %" PRId64, path, pieces,
                         generator_recipe(g)->model.vocab_base);
    buffer_init(&table);
    pieces_close(&v->pieces);
    enum status st = tokenizer_pieces(v->tokenizer, &table, err);
    if (st == ST_OK)
        st = pieces_open(&v->pieces, table.data, table.size, pieces, err);
    buffer_clear(&table);
    return st;
}

enum status vocabulary_open(struct vocabulary *v, const struct generator *g, const char *tokenizer,
                            struct error *err)
{
    const struct recipe *r = generator_recipe(g);
    char variant = 'A';
    enum status st = ST_OK;

    *v = (struct vocabulary){ 0 };
    for (size_t i = 0; i < r->n_sources && st == ST_OK && !v->pieces; i++)
        for (size_t k = 0; k < r->sources[i].n_datasets && st == ST_OK && !v->pieces; k++) {
            char *manifest = dataset_manifest_path(r->sources[i].datasets[k]);
            if (manifest && file_exists(manifest))
                st = ask_dataset(v, &variant, r->sources[i].datasets[k], g, err);
            mem_free(manifest);
        }
    if (st == ST_OK && tokenizer)
        st = open_tokenizer(v, g, variant, tokenizer, err);
    if (st != ST_OK)
        vocabulary_close(v);
    return st;
}

void vocabulary_close(struct vocabulary *v)
{
    tokenizer_close(&v->tokenizer);
    pieces_close(&v->pieces);
}

/* ---- pictures ---- */

/* The first picture stays for the regions. */
struct filler {
    struct generator *g;
    const struct prompt_spec *spec;
    const struct vocabulary *v;
    size_t image; /* next one */
    bool after_slot;
    uint8_t *rgb, *region; /* (3,R,R), (R,R) */
};

static enum resample_geometry geometry_of(const struct filler *f)
{
    return generator_recipe(f->g)->geometry == GEOMETRY_SQUASH ? RESAMPLE_SQUASH : RESAMPLE_CROP;
}

static enum status read_picture(struct filler *f, const char *path, struct image_info *info,
                                struct error *err)
{
    struct decode_options opt;
    struct buffer file;

    decode_options_init(&opt);
    opt.side_a = (uint32_t)generator_config(f->g)->tokenizer.side;
    opt.geometry = geometry_of(f);
    buffer_init(&file);
    enum status st = file_read_all(&file, path, opt.limits.max_bytes, err);
    if (st == ST_OK) {
        st = image_probe(info, file.data, file.size, NULL, err);
        if (st == ST_OK)
            st = decode_picture(f->rgb, NULL, file.data, file.size, &opt, NULL, err);
        if (st != ST_OK)
            error_prefix(err, st, "%s", path);
    }
    buffer_clear(&file);
    return st == ST_OK ? ST_OK : ST_FAIL;
}

static enum status add_image(struct filler *f, struct error *err)
{
    struct image_info info;
    if (f->image == f->spec->n_images)
        return error_set(err, ST_FAIL, CAUSE_ARG, "prompt: more %s than --image", IMAGE);
    enum status st = read_picture(f, f->spec->images[f->image++], &info, err);
    f->after_slot = true;
    return st == ST_OK ? generator_add_picture(f->g, f->rgb, NULL, err) : st;
}

static enum status add_region(struct filler *f, size_t i, struct error *err)
{
    const uint32_t side = (uint32_t)generator_config(f->g)->tokenizer.side;
    struct image_info info;
    enum status st = read_picture(f, f->spec->images[0], &info, err);
    if (st == ST_OK)
        st = region_read(f->region, side, f->spec->regions[i], info.width, info.height,
                         geometry_of(f), err);
    f->after_slot = true;
    return st == ST_OK ? generator_add_picture(f->g, f->rgb, f->region, err) : st;
}

/* ---- text ---- */

static enum status add_segment(struct filler *f, const char *text, size_t size, struct error *err)
{
    struct id_list ids = { 0 };
    enum status st = ST_OK;
    if (size == 0 || strspn(text, " \n\t\r") >= size)
        return ST_OK;
    if (!f->v->tokenizer)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "prompt: text needs the model's tokenizer: --tokenizer FILE");
    st = tokenizer_encode_segment(f->v->tokenizer, &ids, text, size, f->after_slot, err);
    for (size_t i = 0; i < ids.size && st == ST_OK; i++) {
        const int32_t id = ids.data[i];
        st = generator_add_ids(f->g, &id, 1, err);
    }
    id_list_clear(&ids);
    return st;
}

/* Bytes of a mark at s: *region from 1, 0 for "<image>". 0: there is none. */
static size_t mark_at(const struct filler *f, const char *s, unsigned long *region)
{
    char *end = NULL;
    *region = 0;
    if (strncmp(s, IMAGE, sizeof IMAGE - 1) == 0)
        return sizeof IMAGE - 1;
    if (strncmp(s, "<region", 7) != 0 || s[7] < '1' || s[7] > '9')
        return 0;
    *region = strtoul(s + 7, &end, 10);
    return *end == '>' && *region <= f->spec->n_regions ? (size_t)(end + 1 - s) : 0;
}

static enum status add_text(struct filler *f, const char *text, struct error *err)
{
    const char *from = text, *s = text;
    enum status st = ST_OK;
    while (st == ST_OK && *s) {
        unsigned long region = 0;
        const size_t size = mark_at(f, s, &region);
        if (size == 0) {
            s++;
            continue;
        }
        st = add_segment(f, from, (size_t)(s - from), err);
        if (st == ST_OK)
            st = region == 0 ? add_image(f, err) : add_region(f, region - 1, err);
        from = s += size;
    }
    return st == ST_OK ? add_segment(f, from, (size_t)(s - from), err) : st;
}

/* ---- wording ---- */

static size_t count_marks(const char *text, const char *mark)
{
    size_t n = 0;
    for (; (text = strstr(text, mark)) != NULL; text += strlen(mark))
        n++;
    return n;
}

/* Marks for what the text does not name. */
static enum status add_marks(struct buffer *out, const struct prompt_spec *spec, bool images,
                             struct error *err)
{
    const size_t named = count_marks(spec->text, IMAGE);
    enum status st = ST_OK;
    for (size_t i = named; images && i < spec->n_images && st == ST_OK; i++)
        st = buffer_append_str(out, IMAGE, err);
    for (size_t i = 0; !images && i < spec->n_regions && st == ST_OK; i++) {
        char mark[32];
        snprintf(mark, sizeof mark, "<region%zu>", i + 1);
        if (count_marks(spec->text, mark) == 0)
            st = buffer_printf(out, err, "%s%s", out->size > 0 ? " " : "", mark);
    }
    return st;
}

static const char *word(const struct json_value *profile, const char *stage, const char *name)
{
    const struct json_value *v = json_get(json_get(profile, stage), name);
    return v && v->type == JSON_T_STRING ? v->text : "";
}

/* The whole text of the prompt with marks, by its form. */
static enum status compose(struct buffer *out, const struct prompt_spec *spec, int form,
                           const struct json_value *profile, struct error *err)
{
    const char *stage = form == PROMPT_QUESTION ? "stage2" : form == PROMPT_REGION ? "stage3" : "";
    enum status st = buffer_printf(out, err, "%s%s%s", word(profile, stage, "before"),
                                   word(profile, stage, "header"), word(profile, stage, "user"));
    if (st == ST_OK)
        st = add_marks(out, spec, true, err);
    if (st == ST_OK)
        st = buffer_printf(out, err, "%s%s", word(profile, stage, "overview"), spec->text);
    if (st == ST_OK)
        st = add_marks(out, spec, false, err);
    return st == ST_OK
               ? buffer_printf(out, err, "%s%s%s", word(profile, stage, "after"),
                               word(profile, stage, "end"), word(profile, stage, "assistant"))
               : st;
}

static enum status compose_by_templates(struct buffer *out, const struct prompt_spec *spec,
                                        int form, struct error *err)
{
    const char *path = file_exists(TEMPLATES) ? TEMPLATES : DEEM_HOME "/" TEMPLATES;
    struct json_value *root = NULL;
    struct arena arena;
    struct buffer text;

    if (form == PROMPT_PLAIN)
        return compose(out, spec, form, NULL, err);
    arena_init(&arena, 0);
    buffer_init(&text);
    enum status st = file_read_all(&text, path, 4u << 20, err);
    if (st == ST_OK)
        st = json_parse(&arena, &root, text.data, text.size, NULL, err);
    if (st != ST_OK)
        error_prefix(err, st, "%s", path);
    if (st == ST_OK)
        st = compose(out, spec, form, json_get(json_get(root, "profiles"), "default"), err);
    buffer_clear(&text);
    arena_clear(&arena);
    return st;
}

static int form_of(const struct generator *g, int asked)
{
    const int stage = generator_recipe(g)->stage;
    if (asked != PROMPT_BY_STAGE)
        return asked;
    return stage == STAGE_2 ? PROMPT_QUESTION : stage == STAGE_3 ? PROMPT_REGION : PROMPT_PLAIN;
}

enum status prompt_fill(struct generator *g, const struct prompt_spec *spec,
                        const struct vocabulary *v, struct error *err)
{
    const int32_t bos = generator_config(g)->ids.bos;
    const size_t pixels =
        (size_t)(generator_config(g)->tokenizer.side * generator_config(g)->tokenizer.side);
    struct filler f = { .g = g, .spec = spec, .v = v };
    struct buffer text;

    if (spec->n_regions > 0 && spec->n_images == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--region needs the --image it lies in");
    buffer_init(&text);
    f.rgb = mem_alloc(3 * pixels);
    f.region = mem_alloc(pixels);
    enum status st = f.rgb && f.region
                         ? compose_by_templates(&text, spec, form_of(g, spec->form), err)
                         : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: prompt");
    if (st == ST_OK)
        st = generator_add_ids(g, &bos, 1, err);
    if (st == ST_OK)
        st = add_text(&f, (const char *)text.data, err);
    buffer_clear(&text);
    mem_free(f.rgb);
    mem_free(f.region);
    return st;
}
