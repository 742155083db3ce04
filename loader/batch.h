/* loader/batch.h: what the trainer gets: one micro-batch, in memory of the caller's allocator. Rows are
 * sequences; pictures of all rows follow each other, row by row, in the order of their soi tokens.
 * Shapes are padded so that few exist: L to a multiple of 64, pictures to a multiple of
 * `image_multiple`; padding is zero pictures behind the real ones, pad tokens behind a row, and
 * counts in no loss. Names as in goldens/README.md, inputs of the stage cases. */
#ifndef DEEM_LOADER_BATCH_H
#define DEEM_LOADER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "loader/labels.h"

/* One row. */
struct batch_row {
    uint32_t source;   /* index into the options' sources */
    uint64_t sequence; /* in the source, as planned */
    uint64_t taken;    /* what was read: differs where a damaged one was substituted */
    uint64_t epoch;
    uint64_t position;   /* in the global batch: a field of the trainer's draws (model.md 3.5) */
    uint32_t shard;      /* of the dataset it was read from */
    uint32_t dataset;    /* in the source's list */
    uint64_t index;      /* in the shard */
    uint64_t record_key; /* of its first document (data.md 4.5) */
    int32_t length;      /* tokens */
    int32_t first_image; /* index of its first picture in the batch */
    int32_t images;
};
struct batch_image {
    int32_t row, slot; /* slot: number in its row, a field of the trainer's draws */
    int32_t soi, nearest_bos, context_length; /* tokens nearest_bos..soi condition it */
    int32_t document;                         /* number in its row */
    bool loss, previous; /* counts in L_NIP; picture before it is a condition */
    bool flipped;        /* D9 */
};

struct batch {
    uint64_t step, micro_batch; /* micro_batch: global number */
    uint32_t source;
    int64_t B, L;                     /* rows; padded tokens a row */
    int64_t I, I_padded;              /* pictures; pictures with padding */
    int64_t R, Rd;                    /* sides of image and image_dec, pixels */
    const struct batch_row *rows;     /* [B] */
    const struct batch_image *images; /* [I] */
    /* in the allocator's memory: */
    int32_t *text_ids;          /* [B,L] */
    int32_t *attention_mask;    /* [B,L] 1 = real token */
    int32_t *targets;           /* [B,L-1] of L_NTP, LABEL_IGNORE = not counted */
    int32_t *num_image_per_seq; /* [B] */
    int32_t *nearest_bos_idxs;  /* [I_padded] */
    int32_t *prompt_offset;     /* [B] stage II, else 0 */
    int32_t
        *gt_text_ids;   /* [B,L] stage III: explicit targets; NULL where the sequences have none */
    uint8_t *image;     /* [I_padded,3,R,R] */
    uint8_t *image_dec; /* [I_padded,3,Rd,Rd]; NULL where Rd is 0 */
    uint8_t *mask;      /* [I_padded,R,R] 0 and 1, 1 where a picture has none; NULL: all ones */
    int64_t valid_targets; /* of L_NTP */
    double wait_seconds;   /* how long loader_next waited for it */
};

/* Where tensors lie; alloc returns NULL when there is no room. */
struct batch_memory {
    void *(*alloc)(void *arg, size_t bytes);
    void (*free)(void *arg, void *p, size_t bytes);
    void *arg;
};

#endif
