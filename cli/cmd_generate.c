/* cli/cmd_generate.c: `deem generate CHECKPOINT`: a prompt goes on in words and pictures. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/generate_prompt.h"
#include "cli/options.h"
#include "cli/printable.h"
#include "cli/term_picture.h"
#include "core/file.h"
#include "core/json.h"
#include "core/log.h"

static const struct command_help help = {
    "deem generate CHECKPOINT [--prompt TEXT] [--image FILE ...] [--region WHERE ...] [OPTION...]",
    "Goes on with a prompt of text and pictures. Where the model starts a picture, it is painted "
    "and\n"
    "written as PNG, and the text goes on behind it. CHECKPOINT is a folder of a run's "
    "checkpoints/, or\n"
    "the run's `out`. <image> in TEXT is the next --image; <region1> the first --region of the "
    "first\n"
    "picture: X,Y,W,H in pixels, a COCO run-length mask as JSON, or a file that holds a mask.",
    "  deem generate runs/web --tokenizer tokenizer.model --prompt 'A quiet pond'\n"
    "  deem generate runs/web --tokenizer tokenizer.model --image pond.jpg --prompt '<image> "
    "Here'\n"
    "  deem generate runs/web --tokenizer tokenizer.model --prompt 'A pond' --paint --out pond\n"
    "  deem generate runs/web --image pond.jpg --temperature 0.8 --top-p 0.9 --seed 7 --json\n"
    "  deem generate runs/regions --tokenizer tokenizer.model --image pond.jpg --region "
    "40,30,100,80 \\\n"
    "      --prompt 'What is <region1>?'\n",
};

static const char *const backends[] = { "cpu", "cuda", NULL };
static const char *const dtypes[] = { "f32", "bf16", NULL };
static const char *const forms[] = { "stage", "plain", "question", "region", NULL };

struct arguments {
    struct option_list inputs, images, regions;
    const char *prompt, *tokenizer, *out;
    int64_t max_new, min_length, beams, seed, pictures, steps;
    double length_penalty, repetition_penalty, temperature, top_p, guidance;
    int form, backend, dtype;
    bool paint, json;
};

static enum status parse(struct arguments *a, int argc, char **argv, struct error *err)
{
    const struct option options[] = {
        { "prompt", OPTION_TEXT, &a->prompt, "TEXT", "what comes before", 0, 0, NULL },
        { "image", OPTION_LIST, &a->images, "FILE", "a picture of the prompt; repeatable", 0, 0,
          NULL },
        { "region", OPTION_LIST, &a->regions, "WHERE", "a part of the first picture; repeatable", 0,
          0, NULL },
        { "template", OPTION_CHOICE, &a->form, "FORM",
          "plain, question or region; stage (default): what the stage was trained with", 0, 0,
          forms },
        { "tokenizer", OPTION_TEXT, &a->tokenizer, "FILE",
          "the SentencePiece model of the datasets; not needed without text", 0, 0, NULL },
        { "max-new-tokens", OPTION_INT, &a->max_new, "N", "tokens of text at most (30)", 0, 65536,
          NULL },
        { "min-length", OPTION_INT, &a->min_length, "N", "no end before N tokens (8)", 0, 65536,
          NULL },
        { "beams", OPTION_INT, &a->beams, "N", "width of the search; 1: greedy (5; sampling: 1)", 1,
          64, NULL },
        { "length-penalty", OPTION_REAL, &a->length_penalty, "X",
          "a beam counts sum / length^X (1)", -10, 10, NULL },
        { "repetition-penalty", OPTION_REAL, &a->repetition_penalty, "X",
          "what stands already is X times less likely (1)", 0.01, 100, NULL },
        { "temperature", OPTION_REAL, &a->temperature, "T", "draws tokens; 0 (default): search", 0,
          100, NULL },
        { "top-p", OPTION_REAL, &a->top_p, "P", "draws among the likeliest that reach P (1)", 1e-6,
          1, NULL },
        { "seed", OPTION_INT, &a->seed, "N", "of all draws (0)", 0, 9e15, NULL },
        { "paint", OPTION_FLAG, &a->paint, NULL, "begin with a picture behind the prompt", 0, 0,
          NULL },
        { "pictures", OPTION_INT, &a->pictures, "N", "pictures painted at most (4)", 0, 1000,
          NULL },
        { "steps", OPTION_INT, &a->steps, "N", "denoising steps of a picture (250)", 1, 1000,
          NULL },
        { "guidance", OPTION_REAL, &a->guidance, "X", "weight of the condition (3.5)", 0, 1000,
          NULL },
        { "out", OPTION_TEXT, &a->out, "PREFIX", "pictures go to PREFIX-0.png ... (generated)", 0,
          0, NULL },
        { "backend", OPTION_CHOICE, &a->backend, "NAME", "cpu (default) or cuda", 0, 0, backends },
        { "dtype", OPTION_CHOICE, &a->dtype, "TYPE", "f32 (default), or bf16 with cuda", 0, 0,
          dtypes },
        { "json", OPTION_FLAG, &a->json, NULL, "one line of JSON instead of text", 0, 0, NULL },
    };
    enum status st = options_parse(argc, argv, options, sizeof options / sizeof options[0], &help,
                                   &a->inputs, err);
    if (st != ST_OK)
        return st;
    if (a->inputs.count != 1)
        return error_set(err, ST_FAIL, CAUSE_ARG, "want one CHECKPOINT; --help explains");
    if (a->temperature > 0.0 && a->beams > 1)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--temperature draws one row: --beams must be 1");
    if (a->paint && a->pictures == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--paint and --pictures 0 contradict each other");
    if (a->dtype == 1 && a->backend == 0)
        return error_set(err, ST_FAIL, CAUSE_ARG, "--dtype bf16 needs --backend cuda");
    a->beams = a->beams > 0 ? a->beams : a->temperature > 0.0 ? 1 : 5;
    return ST_OK;
}

/* What is said, as it is made. */
struct speaker {
    const struct arguments *a;
    struct generator *g;
    struct vocabulary words;
    struct term_picture *screen; /* NULL: none */
    struct json_writer json;
    struct buffer line, all; /* JSON; the text of all parts */
    int64_t painted;
};

/* ids as text; numbers where the words are not known. */
static enum status decode(struct buffer *out, const struct speaker *s, const int32_t *ids,
                          int64_t n, struct error *err)
{
    enum status st = ST_OK;
    if (!s->words.pieces) {
        for (int64_t i = 0; i < n && st == ST_OK; i++)
            st = buffer_printf(out, err, "%s%" PRId32, i ? " " : "", ids[i]);
        return st;
    }
    uint16_t *narrow = mem_alloc(((size_t)n + 1) * sizeof *narrow);
    if (!narrow)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: text");
    for (int64_t i = 0; i < n; i++)
        narrow[i] = (uint16_t)ids[i];
    st = pieces_decode(s->words.pieces, out, narrow, (size_t)n, err);
    mem_free(narrow);
    return st;
}

static void put_ids(struct json_writer *w, const int32_t *ids, int64_t n)
{
    json_key(w, "ids");
    json_begin_array(w);
    for (int64_t i = 0; i < n; i++)
        json_int(w, ids[i]);
    json_end_array(w);
}

static enum status say_text(struct speaker *s, const struct generated *made, struct error *err)
{
    const int64_t n = made->counts[0];
    const int32_t *ids = made->ids + 1, stop = made->stops[0];
    struct buffer text, shown;
    buffer_init(&text);
    buffer_init(&shown);
    enum status st = decode(&text, s, ids, n, err);
    if (st == ST_OK)
        st = buffer_append(&s->all, text.data, text.size, err);
    if (st == ST_OK)
        st = printable_terminal(&shown, text.data, text.size, false, err);
    if (st == ST_OK && s->a->json) {
        json_begin_object(&s->json);
        json_key(&s->json, "text");
        json_string_n(&s->json, (const char *)text.data, text.size);
        put_ids(&s->json, ids, n);
        json_key(&s->json, "stop");
        json_string(&s->json, stop < 0                                  ? "length"
                              : stop == generator_config(s->g)->ids.soi ? "picture"
                                                                        : "end");
        json_key(&s->json, "score");
        if (made->scores)
            json_number(&s->json, (double)made->scores[0]);
        else
            json_null(&s->json);
        json_end_object(&s->json);
    } else if (st == ST_OK && shown.size > 0) {
        printf("%.*s\n", (int)shown.size, (const char *)shown.data);
    }
    buffer_clear(&text);
    buffer_clear(&shown);
    return st;
}

static enum status show_picture(struct speaker *s, const char *path, const struct image *img,
                                struct error *err)
{
    struct buffer drawing;
    if (s->a->json) {
        json_begin_object(&s->json);
        json_key(&s->json, "picture");
        json_string(&s->json, path);
        json_key(&s->json, "width");
        json_uint(&s->json, img->width);
        json_key(&s->json, "height");
        json_uint(&s->json, img->height);
        json_end_object(&s->json);
        return ST_OK;
    }
    buffer_init(&drawing);
    enum status st = s->screen ? term_picture_draw(s->screen, &drawing, img, err) : ST_OK;
    if (st == ST_OK && drawing.size > 0)
        fwrite(drawing.data, 1, drawing.size, stdout);
    if (st == ST_OK)
        printf("[%s: %u x %u pixels]\n", path, (unsigned)img->width, (unsigned)img->height);
    buffer_clear(&drawing);
    return st;
}

static enum status paint(struct speaker *s, struct error *err)
{
    const struct generator_painting settings = { s->a->steps, s->a->guidance,
                                                 (uint64_t)s->a->seed };
    struct image img = { 0 };
    struct buffer png;
    char *path = str_format("%s-%" PRId64 ".png", s->a->out, s->painted++);
    buffer_init(&png);
    enum status st = path ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: picture");
    if (st == ST_OK)
        st = generator_paint(s->g, &settings, &img, err);
    if (st == ST_OK)
        st = image_encode_png(&png, &img, err);
    if (st == ST_OK)
        st = file_replace(path, png.data, png.size, err);
    if (st == ST_OK)
        st = show_picture(s, path, &img, err);
    buffer_clear(&png);
    image_clear(&img);
    mem_free(path);
    return st;
}

/* Text and pictures in turns until the text ends. */
static enum status go_on(struct speaker *s, struct error *err)
{
    const struct arguments *a = s->a;
    const struct generate_settings settings = { .beams = a->beams,
                                                .max_new_tokens = a->max_new,
                                                .min_length = a->min_length,
                                                .length_penalty = a->length_penalty,
                                                .repetition_penalty = a->repetition_penalty,
                                                .temperature = a->temperature,
                                                .top_p = a->top_p,
                                                .seed = (uint64_t)a->seed };
    const int32_t soi = generator_config(s->g)->ids.soi;
    enum status st = a->paint ? paint(s, err) : ST_OK;
    bool more = a->max_new > 0;
    while (more && st == ST_OK) {
        struct generated made;
        st = generator_text(s->g, &settings, &made, err);
        if (st == ST_OK)
            st = say_text(s, &made, err);
        more = st == ST_OK && made.stops[0] == soi && s->painted < a->pictures &&
               generator_paints(s->g) && generator_fits_picture(s->g);
        generated_clear(&made);
        if (more)
            st = paint(s, err);
        more = more && generator_length(s->g) < generator_recipe(s->g)->seq_len;
    }
    return st;
}

static enum status begin_json(struct speaker *s, struct error *err)
{
    struct json_writer *w = &s->json;
    struct buffer text;
    buffer_init(&text);
    json_writer_init(w, &s->line);
    json_begin_object(w);
    json_key(w, "checkpoint");
    json_string(w, generator_path(s->g));
    json_key(w, "step");
    json_int(w, generator_step(s->g));
    json_key(w, "seed");
    json_int(w, s->a->seed);
    json_key(w, "prompt");
    json_begin_object(w);
    put_ids(w, generator_ids(s->g), generator_length(s->g));
    const enum status st = decode(&text, s, generator_ids(s->g), generator_length(s->g), err);
    json_key(w, "text");
    json_string_n(w, (const char *)text.data, text.size);
    json_end_object(w);
    json_key(w, "output");
    json_begin_array(w);
    buffer_clear(&text);
    return st;
}

static enum status end_json(struct speaker *s, struct error *err)
{
    json_end_array(&s->json);
    json_key(&s->json, "text");
    json_string_n(&s->json, (const char *)s->all.data, s->all.size);
    json_end_object(&s->json);
    const enum status st = json_writer_finish(&s->json, err);
    if (st == ST_OK)
        printf("%.*s\n", (int)s->line.size, (const char *)s->line.data);
    return st;
}

static enum status generate(const struct arguments *a, struct error *err)
{
    struct speaker s = { .a = a };
    const struct prompt_spec spec = { .text = a->prompt,
                                      .images = a->images.items,
                                      .n_images = a->images.count,
                                      .regions = a->regions.items,
                                      .n_regions = a->regions.count,
                                      .form = a->form };
    struct placement_options place;
    placement_options_init(&place);
    place.backend = a->backend == 1 ? BACKEND_CUDA : BACKEND_CPU;
    place.storage = a->dtype == 1 ? DT_BF16 : DT_F32;
    enum status st = generator_open(&s.g, a->inputs.items[0], &place, err);
    if (st == ST_OK)
        st = vocabulary_open(&s.words, s.g, a->tokenizer, err);
    if (st == ST_OK)
        st = prompt_fill(s.g, &spec, &s.words, err);
    if (st == ST_OK && !a->json)
        st = term_picture_open(&s.screen, err);
    if (st == ST_OK && a->json)
        st = begin_json(&s, err);
    if (st == ST_OK)
        st = go_on(&s, err);
    if (st == ST_OK && a->json)
        st = end_json(&s, err);
    term_picture_close(&s.screen);
    vocabulary_close(&s.words);
    generator_close(&s.g);
    buffer_clear(&s.line);
    buffer_clear(&s.all);
    return st;
}

int cmd_generate(int argc, char **argv)
{
    struct arguments a = { .prompt = "",
                           .out = "generated",
                           .max_new = 30,
                           .min_length = 8,
                           .pictures = 4,
                           .steps = 250,
                           .length_penalty = 1.0,
                           .repetition_penalty = 1.0,
                           .top_p = 1.0,
                           .guidance = 3.5 };
    struct error err = { 0 };
    enum status st = parse(&a, argc, argv, &err);
    if (st == ST_OK)
        st = generate(&a, &err);
    options_clear_list(&a.inputs);
    options_clear_list(&a.images);
    options_clear_list(&a.regions);
    if (st == ST_FAIL)
        log_error(&err);
    return error_exit_code(err.cause);
}
