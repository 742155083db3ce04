/* trainer/micro_batch.h: one micro-batch through a built model: fills its batch tensors from host data,
 * runs its spans and the table of UNet passes, sums the losses. Gradients are added to those of the
 * parameters; nothing is cleared or scaled by the number of micro-batches. */
#ifndef DEEM_TRAINER_MICRO_BATCH_H
#define DEEM_TRAINER_MICRO_BATCH_H

#include "trainer/deem.h"
#include "trainer/draws.h"
#include "trainer/layout.h"
#include "trainer/runner.h"

/* Of CLIP's pictures, per channel (model.md 2.2.1). */
extern const float micro_batch_clip_mean[3], micro_batch_clip_std[3];

/* Host data, borrowed; pictures planar, as the loader and the reference cases have them. What the
 * losses do not need may be NULL. k = latent side. */
struct micro_batch {
    const struct layout_batch *text;
    const struct layout *layout; /* of `text` */
    const int32_t *targets;      /* [B,L-1], LAYOUT_IGNORE where none */
    const float *image;          /* [I,3,R,R] in [0,1] */
    const float *image_dec;      /* [I,3,Rd,Rd] in [0,1] */
    const float *mask;           /* [I,R,R], or NULL: all ones */
    /* By enum deem_loss. */
    const int32_t *t[2];         /* [I] as the UNet gets them (CSR: after the remap) */
    const float *eps[2];         /* [I,4,k,k] */
    const float *vae_eps[2];     /* [I,4,k,k] */
    const int32_t *drop;         /* [I], 1: the condition of NIP is neg_prompt_embeds */
    const struct draw_key *keys; /* [I], for dropout and drop path; NULL where the model has none */
    bool masked_passes;          /* NIP passes that count nothing run as well: reference cases */
    /* Called after each run of the picture span: `first` is the first picture in it, n how many
     * passes, all of one loss (masked_passes only); NULL: not called. */
    void (*after_passes)(void *arg, enum deem_loss loss, int64_t n);
    void *arg;
};

struct micro_losses {
    double ntp, nip, csr; /* means, unweighted */
    double total;         /* weighted sum */
    int64_t targets, pictures, passes;
};

/* What a shape must hold for this batch. */
void micro_batch_shape(struct deem_shape *out, const struct layout *l, int64_t passes);
/* Runs everything. ST_FAIL: CAUSE_ARG (the batch does not fit the shape), or an operation's. */
enum status micro_batch_run(struct deem *m, struct runner *r, const struct micro_batch *b,
                            struct micro_losses *out, struct error *err);

/* Evaluation (deem_options.evaluation): fills pictures, text and contexts; positions count the real
 * tokens of a row, padding is at 1. Padding lies at one end of a row, or at both: CAUSE_FORMAT else. */
enum status micro_batch_fill_evaluation(struct deem *m, struct runner *r,
                                        const struct micro_batch *b, struct error *err);

#endif
