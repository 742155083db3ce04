/* ingest/piece.h: a document becomes ids: `bos, [text | slot]*, eos` (spec data.md 3.2), cut into
 * pieces that fit a sequence (4.4 step 1). Pure. */
#ifndef DEEM_INGEST_PIECE_H
#define DEEM_INGEST_PIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/document.h"
#include "core/error.h"
#include "filters/filter.h"
#include "ingest/tokenizer.h"

struct piece_options {
    uint32_t seq_len;      /* N; default 2,048, at most 65,535 */
    uint32_t max_images;   /* M; default 15 */
    uint32_t image_tokens; /* T, sniffers of a slot; default 77 */
};
void piece_options_init(struct piece_options *opt);
/* ST_FAIL: CAUSE_ARG where not even one image with a token of text fits a sequence. */
enum status piece_options_check(const struct piece_options *opt, struct error *err);

struct piece_image {
    uint32_t place; /* which of the document's places */
    uint16_t soi;   /* its position in the piece */
};
struct piece {
    const uint16_t *ids; /* expanded: as the model sees them */
    size_t count;
    const struct piece_image *images; /* in slot order */
    size_t image_count;
    uint32_t number; /* from 0 within the document */
    bool cont;       /* every piece but the first */
};
/* Called for each piece in order; the piece is borrowed. */
typedef enum status piece_emit_fn(void *arg, const struct piece *piece, struct error *err);

/* Workspace, kept between documents. */
struct piece_maker {
    const struct tokenizer *tokenizer;
    struct piece_options opt;
    struct id_list ids;
    struct buffer text;  /* of the open segment */
    struct buffer slots; /* struct piece_image */
};
void piece_maker_init(struct piece_maker *m, const struct tokenizer *t,
                      const struct piece_options *opt);
void piece_maker_clear(struct piece_maker *m);

/* `places` are sorted by sentence. */
enum status piece_document(struct piece_maker *m, const struct text *sentences, size_t n,
                           const struct filter_place *places, size_t place_count,
                           piece_emit_fn *emit, void *arg, struct error *err);
/* Tokens of a caption alone, as filter_tokens_fn; `maker` is a struct piece_maker. */
enum status piece_tokens(void *maker, uint64_t *tokens, const struct text *caption,
                         struct error *err);
/* One piece always: a caption of more than N-T-3 tokens is cut. */
enum status piece_pair(struct piece_maker *m, const struct text *caption, bool before,
                       piece_emit_fn *emit, void *arg, struct error *err);

#endif
