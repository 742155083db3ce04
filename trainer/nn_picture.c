/* trainer/nn_picture.c: see nn_picture.h. */
#include "trainer/nn_picture.h"

#include <stdio.h>

static int64_t width_of(const struct program *p, int x)
{
    const struct tensor *t = program_tensor(p, x);
    return p->failed || t->rank < 1 ? 1 : t->shape[t->rank - 1];
}

static int vector(struct program *p, const char *prefix, const char *name, const char *part,
                  int64_t n)
{
    return program_param(p, (int64_t[]){ n }, 1, "%s%s%s", prefix, name, part);
}

int nn_conv(struct program *p, const char *prefix, const char *name, int x, int64_t out, int64_t k,
            struct conv_geometry g)
{
    const int w =
        program_param(p, (int64_t[]){ out, width_of(p, x), k, k }, 4, "%s%s.weight", prefix, name);
    return op_conv2d(p, x, w, vector(p, prefix, name, ".bias", out), g);
}

int nn_conv3(struct program *p, const char *prefix, const char *name, int x, int64_t out)
{
    return nn_conv(p, prefix, name, x, out, 3, (struct conv_geometry){ 1, 1, 1, 1, 1 });
}

int nn_conv1(struct program *p, const char *prefix, const char *name, int x, int64_t out)
{
    const int64_t in = width_of(p, x);
    const int w = program_param(p, (int64_t[]){ out, in, 1, 1 }, 4, "%s%s.weight", prefix, name);
    return op_linear(p, x, program_reshape(p, w, (int64_t[]){ out, in }, 2),
                     vector(p, prefix, name, ".bias", out));
}

int nn_linear(struct program *p, const char *prefix, const char *name, int x, int64_t out,
              bool biased)
{
    const int w =
        program_param(p, (int64_t[]){ out, width_of(p, x) }, 2, "%s%s.weight", prefix, name);
    return op_linear(p, x, w, biased ? vector(p, prefix, name, ".bias", out) : TENSOR_NONE);
}

int nn_layernorm(struct program *p, const char *prefix, const char *name, int x, float eps)
{
    const int64_t C = width_of(p, x);
    return op_layernorm(p, x, vector(p, prefix, name, ".weight", C),
                        vector(p, prefix, name, ".bias", C), eps);
}

int nn_groupnorm(struct program *p, const char *prefix, const char *name, int x, int64_t groups,
                 float eps, bool silu)
{
    const int64_t C = width_of(p, x);
    if (groups < 1 || C % groups)
        return program_fault(p, "%s%s: width %d is not divisible by %d groups", prefix, name,
                             (int)C, (int)groups);
    return op_groupnorm(p, x, vector(p, prefix, name, ".weight", C),
                        vector(p, prefix, name, ".bias", C), groups, eps, silu);
}

int nn_resnet(struct program *p, const struct resnet_config *c, const char *prefix, int x,
              int64_t out)
{
    const int first = nn_groupnorm(p, prefix, "norm1", x, c->groups, c->eps, true);
    int h = nn_conv3(p, prefix, "conv1", first, out);
    if (c->time != TENSOR_NONE)
        h = op_add_image(p, h, nn_linear(p, prefix, "time_emb_proj", c->time, out, true));
    h = nn_groupnorm(p, prefix, "norm2", h, c->groups, c->eps, true);
    h = nn_conv3(p, prefix, "conv2", h, out);
    if (width_of(p, x) != out)
        x = nn_conv1(p, prefix, "conv_shortcut", x, out);
    return op_add(p, h, x);
}

int nn_tokens(struct program *p, int x)
{
    const int64_t *s = program_tensor(p, x)->shape;
    if (p->failed)
        return TENSOR_NONE;
    return program_reshape(p, x, (int64_t[]){ s[0], s[1] * s[2], s[3] }, 3);
}

int nn_map(struct program *p, int x, int like)
{
    const int64_t *s = program_tensor(p, like)->shape;
    if (p->failed)
        return TENSOR_NONE;
    return program_reshape(p, x, (int64_t[]){ s[0], s[1], s[2], width_of(p, x) }, 4);
}

void nn_pixel_centres(float *out, int64_t H, int64_t W)
{
    for (int64_t i = 0; i < H; i++)
        for (int64_t j = 0; j < W; j++) {
            *out++ = (float)(((double)j + 0.5) / (double)W);
            *out++ = (float)(((double)i + 0.5) / (double)H);
        }
}
