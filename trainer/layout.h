/* trainer/layout.h: everything the model derives from the token ids of a micro-batch: which picture a
 * token sees, where embeddings come from, the context of every picture, what counts in the losses.
 * Pure integer functions of the batch; spec model.md 2.3, 2.7, 3.1, 3.2. Pictures are numbered by the
 * row-major order of their soi tokens. Token t is row * L + position. */
#ifndef DEEM_TRAINER_LAYOUT_H
#define DEEM_TRAINER_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "loader/labels.h"
#include "trainer/finding.h"

enum { LAYOUT_IGNORE = LABEL_IGNORE }; /* target that counts in no loss */

struct layout_ids {
    int32_t bos, eos, pad, soi, image;
};

/* What the loader hands over; all borrowed. */
struct layout_batch {
    struct layout_ids ids;
    int64_t B, L;                  /* rows, tokens a row */
    int64_t image_tokens;          /* Q: slots after each soi */
    int64_t vocab;                 /* ids are in [0, vocab) */
    const int32_t *text_ids;       /* [B,L] */
    const int32_t *mask;           /* [B,L], 1 = real token */
    const int32_t *images_per_row; /* [B] */
    const int32_t *nearest_bos;    /* [I], or NULL: by the rule of 2.7 */
    bool context_from_zero;        /* generation: every context starts at position 0 */
};

struct layout_image {
    int64_t row, slot; /* n-th picture of its row */
    int64_t soi;       /* position of its soi */
    int64_t start;     /* b_i: where its document starts */
    int64_t length;    /* l_i = soi - start + 1 tokens of context */
    int64_t previous;  /* picture whose features condition it in NIP, or -1 */
    bool counts;       /* in L_NIP: more context than (bos, soi) */
};

struct layout {
    int64_t B, L, N, I; /* N: largest number of pictures in a row */
    struct layout_image *images;
    /* Visible pairs, by token: pairs [pair_begin[t], pair_begin[t+1]) are (picture, rank), oldest
     * picture first; rank 1 is the most recent one. */
    int32_t *pair_begin; /* [B L + 1] */
    int32_t *pair_image, *pair_rank;
    int64_t n_pairs, max_rank;
    /* -1: embedding row; -2: embedding row + soi_token; else row of the flattened picture embeddings */
    int32_t *source; /* [B,L] */
};

/* Says every row with an id outside the vocabulary or with soi tokens that do not match its pictures,
 * and image slots that do not match all pictures. Returns the number of pictures. */
int64_t layout_check(const struct layout_batch *b, struct findings *f);
/* ST_FAIL: CAUSE_FORMAT (what layout_check finds, in one text; a document that starts behind its soi),
 * CAUSE_NOMEM. */
enum status layout_open(struct layout **out, const struct layout_batch *b, struct error *err);
void layout_close(struct layout **l);

/* Context element j of picture i is token layout_context(l, i, j), the soi first. */
static inline int64_t layout_context(const struct layout *l, int64_t i, int64_t j)
{
    return l->images[i].row * l->L + l->images[i].soi - j;
}

/* Targets of L_NTP: out [B, L-1], position j for token j + 1. `prompt` [B] or NULL (rule 5);
 * `needs_image` switches rule 6 on. */
void layout_targets(int32_t *out, const struct layout_batch *b, const int32_t *prompt,
                    bool needs_image);
/* Targets given by the collator [B,L]: shifted by one, nothing else. */
void layout_given_targets(int32_t *out, const int32_t *given, int64_t B, int64_t L);

#endif
