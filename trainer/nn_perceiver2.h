/* trainer/nn_perceiver2.h: the condition of a picture to be made: the hidden states of its document up to
 * its soi, reversed, through Perceiver #2; spec model.md 2.7. Every token is projected once, whatever
 * the number of pictures whose context it is in. */
#ifndef DEEM_TRAINER_NN_PERCEIVER2_H
#define DEEM_TRAINER_NN_PERCEIVER2_H

#include "trainer/nn_qformer.h"
#include "trainer/program.h"

struct perceiver2_inputs {
    int hidden;             /* h [T,C] */
    int64_t images, length; /* I, places of a context: at least the longest */
    int index;              /* [I*length] int32: token of each place, -1 past the end */
    int count;              /* [I] int32: tokens of each context, >= 1 */
};

struct perceiver2 {
    int projected; /* context_feat_proj of every token [T,C] */
    int table;     /* PE [length,C] */
    int ctx;       /* [I,Q,width] */
};

struct perceiver2 nn_perceiver2(struct program *p, const struct qformer_config *c,
                                const struct perceiver2_inputs *in);

#endif
