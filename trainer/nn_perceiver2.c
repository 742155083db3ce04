/* trainer/nn_perceiver2.c: see nn_perceiver2.h. */
#include "trainer/nn_perceiver2.h"

#include "trainer/op.h"

struct perceiver2 nn_perceiver2(struct program *p, const struct qformer_config *c,
                                const struct perceiver2_inputs *in)
{
    struct perceiver2 out = { 0 };
    const int64_t C = c->encoder;
    if (C % 2 || c->qk_norm)
        program_fault(p, "context: width %d must be even and keys without a norm", (int)C);
    const int w = program_param(p, (int64_t[]){ C, C }, 2, "context_feat_proj.weight");
    const int b = program_param(p, &C, 1, "context_feat_proj.bias");
    out.projected = op_linear(p, in->hidden, w, b);
    out.table = op_row_table(p, in->length, C);
    const struct qformer_keys keys = { .images = in->images,
                                       .length = in->length,
                                       .rows = out.projected,
                                       .index = in->index,
                                       .table = out.table,
                                       .count = in->count };
    out.ctx = nn_qformer(p, c, &keys, "image_decoder.perceiver_resampler.", NULL, "", false);
    return out;
}
