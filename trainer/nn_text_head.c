/* trainer/nn_text_head.c: see nn_text_head.h. */
#include "trainer/nn_text_head.h"

#include <inttypes.h>

#include "trainer/op.h"

struct text_head nn_text_head(struct program *p, int64_t vocab, int64_t published, int64_t width,
                              const char *prefix)
{
    struct text_head t = { .published = published };
    const int64_t fresh = vocab - published;
    if (published < 1 || fresh < 1) {
        program_fault(p, "vocabulary of %" PRId64 " rows, %" PRId64 " published", vocab, published);
        return t;
    }
    const int w = program_param(p, (int64_t[]){ vocab, width }, 2, "%shead.weight", prefix);
    const int b = program_param(p, &vocab, 1, "%shead.bias", prefix);
    const int wn = program_param(p, (int64_t[]){ fresh, width }, 2, "%shead_new.weight", prefix);
    const int bn = program_param(p, &fresh, 1, "%shead_new.bias", prefix);
    t.weight = program_rows(p, w, 0, published);
    t.bias = program_rows(p, b, 0, published);
    t.new_weight = op_add(p, program_rows(p, w, published, fresh), wn);
    t.new_bias = op_add(p, program_rows(p, b, published, fresh), bn);
    return t;
}

int nn_text_head_logits(struct program *p, const struct text_head *t, int h)
{
    const int old = op_linear_exact(p, h, t->weight, t->bias);
    const int fresh = op_linear_exact(p, h, t->new_weight, t->new_bias);
    return op_concat(p, old, fresh, 1);
}
