/* loader/labels.h: which text targets count, and what pictures are conditioned on, from token ids alone.
 * The one place for these rules: the trainer, `deem inspect` and the tests call it. Pure functions,
 * thread-safe. Spec data.md 4.2, model.md 2.7, 3.1, 3.2; numbers: goldens/model/mod-masks,
 * mod-loss-text. */
#ifndef DEEM_LOADER_LABELS_H
#define DEEM_LOADER_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LABEL_IGNORE = -100 };

struct label_ids {
    int32_t bos, eos, pad, soi, image; /* image: the slot token, 32001 */
};
/* From the pieces of a tokenizer (32000): pad V-1, soi V, image V+1, bos 1, eos 2. */
struct label_ids label_ids_of(int32_t pieces);

struct label_row {
    const int32_t *ids;  /* [length] */
    const int32_t *mask; /* [length] 1 = real token; NULL = all */
    int64_t length;
    int64_t prompt;   /* targets before this position are ignored (rule 5); 0 = none */
    bool needs_image; /* rule 6: targets without a soi since their document's bos are ignored */
};
/* out [length - 1]: the target of position j is token j + 1, or LABEL_IGNORE. */
void labels_text(int32_t *out, const struct label_row *row, const struct label_ids *ids);
/* Explicit targets, only shifted: out [length - 1] from given [length]. */
void labels_given(int32_t *out, const int32_t *given, int64_t length);

struct label_image {
    int32_t soi;            /* position of its soi */
    int32_t nearest_bos;    /* largest bos position before it, or 0 */
    int32_t context_length; /* soi - nearest_bos + 1 tokens condition it */
    bool loss;              /* counts in L_NIP: context_length > 2 */
    bool previous;          /* the picture before it lies in the same document */
};
/* Finds the pictures of a row; returns how many there are and fills the first `cap` of out. */
size_t labels_images(struct label_image *out, size_t cap, const struct label_row *row,
                     const struct label_ids *ids);

#endif
