/* cli/generate_prompt.h: what a user types becomes a prompt of ids and pictures. "<image>" in the text
 * stands for the next picture, "<region2>" for the second region: a picture of its own, the first one
 * seen through a mask. Pictures that the text does not name come before it, regions behind it; spec
 * data.md 3.2, 7.1, 7.2. */
#ifndef DEEM_CLI_GENERATE_PROMPT_H
#define DEEM_CLI_GENERATE_PROMPT_H

#include "ingest/tokenizer.h"
#include "shards/pieces.h"
#include "trainer/generator.h"

enum prompt_template {
    PROMPT_BY_STAGE, /* plain in I, question in II, region in III */
    PROMPT_PLAIN,    /* a document that goes on */
    PROMPT_QUESTION, /* the wording of stage II around it */
    PROMPT_REGION,   /* a turn of stage III around it */
};

struct prompt_spec {
    const char *text;
    const char *const *images; /* files */
    size_t n_images;
    const char *const
        *regions; /* "X,Y,W,H", a COCO RLE as JSON, or a file: mask as PNG, RLE as JSON */
    size_t n_regions;
    int form; /* enum prompt_template */
};

/* The words of a model: its tokenizer, or the table of pieces in a dataset of its recipe. */
struct vocabulary {
    struct tokenizer *tokenizer; /* NULL: not given */
    struct pieces *pieces;       /* NULL: ids stay numbers */
};
/* ST_FAIL: CAUSE_ARG (a tokenizer that is not the model's), CAUSE_IO, CAUSE_FORMAT, CAUSE_NOMEM. */
enum status vocabulary_open(struct vocabulary *v, const struct generator *g, const char *tokenizer,
                            struct error *err);
void vocabulary_close(struct vocabulary *v);

/* Fills the empty prompt of `g`. ST_FAIL: CAUSE_ARG (more marks than pictures, a region without picture, text
 * without tokenizer), CAUSE_FORMAT and CAUSE_LIMIT (a picture or mask), CAUSE_IO, CAUSE_NOMEM. */
enum status prompt_fill(struct generator *g, const struct prompt_spec *spec,
                        const struct vocabulary *v, struct error *err);

#endif
