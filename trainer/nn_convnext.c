/* trainer/nn_convnext.c: see nn_convnext.h. */
#include "trainer/nn_convnext.h"

#include <inttypes.h>
#include <stdio.h>

#include "trainer/nn_picture.h"

static const float CONVNEXT_EPS = 1e-6f;

struct convnext {
    struct program *p;
    const struct convnext_config *c;
    const char *prefix;
    const int *draws;
    int64_t block; /* over all stages */
    char at[200];  /* name of the current layer, with a dot */
};

int64_t convnext_blocks(const struct convnext_config *c)
{
    int64_t n = 0;
    for (int s = 0; s < CONVNEXT_STAGES; s++)
        n += c->depths[s];
    return n;
}

void convnext_normalise(float scale[3], float shift[3], const float mean[3], const float std[3])
{
    for (int i = 0; i < 3; i++) {
        scale[i] = (float)(1.0 / (double)std[i]);
        shift[i] = (float)(-(double)mean[i] / (double)std[i]);
    }
}

static int residual(struct convnext *m, int x, int y)
{
    const int64_t n = convnext_blocks(m->c);
    const double rate =
        n > 1 ? m->c->drop_path * (double)m->block / (double)(n - 1) : m->c->drop_path;
    if (!m->draws || !(rate > 0))
        return op_add(m->p, y, x);
    return op_add_scaled(m->p, x, y, op_drop_path(m->p, m->draws[m->block], rate));
}

static int block(struct convnext *m, int x, int64_t C)
{
    struct program *p = m->p;
    const int span = program_span_begin(p, m->c->recompute ? SPAN_RECOMPUTE : 0, "%.150s", m->at);
    const int w = program_param(p, (int64_t[]){ C, 1, 7, 7 }, 4, "%sconv_dw.weight", m->at);
    const int b = program_param(p, (int64_t[]){ C }, 1, "%sconv_dw.bias", m->at);
    int y = nn_layernorm(p, m->at, "norm", op_depthwise(p, x, w, b), CONVNEXT_EPS);
    y = op_gelu(p, nn_linear(p, m->at, "mlp.fc1", y, 4 * C, true));
    y = nn_linear(p, m->at, "mlp.fc2", y, C, true);
    const int gamma = program_param(p, (int64_t[]){ C }, 1, "%sgamma", m->at);
    y = residual(m, x, op_scale_channels(p, y, gamma, TENSOR_NONE));
    program_span_end(p, span);
    m->block++;
    return y;
}

static int stage(struct convnext *m, int x, int s)
{
    const int64_t C = m->c->dims[s];
    if (s > 0) {
        snprintf(m->at, sizeof m->at, "%svisual.trunk.stages.%d.downsample.", m->prefix, s);
        x = nn_layernorm(m->p, m->at, "0", x, CONVNEXT_EPS);
        x = nn_conv(m->p, m->at, "1", x, C, 2, (struct conv_geometry){ .stride = 2 });
    }
    for (int64_t b = 0; b < m->c->depths[s]; b++) {
        snprintf(m->at, sizeof m->at, "%svisual.trunk.stages.%d.blocks.%" PRId64 ".", m->prefix, s,
                 b);
        x = block(m, x, C);
    }
    return x;
}

void nn_convnext(struct program *p, const struct convnext_config *c, const char *prefix, int image,
                 int scale, int shift, const int *draws, struct convnext_out *out)
{
    struct convnext m = { .p = p, .c = c, .prefix = prefix, .draws = draws };
    static const char *const adapters[] = { "adapter_c2", "adapter_c3", "adapter_c4",
                                            "adapter_c5" };
    *out = (struct convnext_out){ 0 };
    if (!p->failed && (program_axis(p, image, 1) % 32 || program_axis(p, image, 2) % 32))
        program_fault(p, "picture encoder: side %" PRId64 " is no multiple of 32",
                      program_axis(p, image, 1));
    int x = op_scale_channels(p, image, scale, shift);
    snprintf(m.at, sizeof m.at, "%svisual.trunk.stem.", prefix);
    x = nn_conv(p, m.at, "0", x, c->dims[0], 4, (struct conv_geometry){ .stride = 4 });
    x = nn_layernorm(p, m.at, "1", x, CONVNEXT_EPS);
    for (int s = 0; s < CONVNEXT_STAGES; s++) {
        x = stage(&m, x, s);
        out->stage[s] = x;
        out->level[s] = nn_linear(p, prefix, adapters[s], x, c->feature_width, true);
    }
    snprintf(m.at, sizeof m.at, "%svisual.trunk.head.", prefix);
    out->pooled = nn_layernorm(p, m.at, "norm", op_mean_pixels(p, x), CONVNEXT_EPS);
    out->cls = nn_linear(p, prefix, "adapter_cls", out->pooled, c->feature_width, true);
}
