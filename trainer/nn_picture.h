/* trainer/nn_picture.h: the layers that the UNet and the VAE share; spec model.md 2.8. Weights are
 * declared as prefix + name + ".weight" and ".bias"; maps are [I,H,W,C]. */
#ifndef DEEM_TRAINER_NN_PICTURE_H
#define DEEM_TRAINER_NN_PICTURE_H

#include "trainer/op.h"

/* 3 x 3, stride 1, pad 1 or k x k as `g` says. */
int nn_conv3(struct program *p, const char *prefix, const char *name, int x, int64_t out);
int nn_conv(struct program *p, const char *prefix, const char *name, int x, int64_t out, int64_t k,
            struct conv_geometry g);
/* 1 x 1 with weight [out,in,1,1]. */
int nn_conv1(struct program *p, const char *prefix, const char *name, int x, int64_t out);
/* Weight [out,in]; `biased`: and a bias. */
int nn_linear(struct program *p, const char *prefix, const char *name, int x, int64_t out,
              bool biased);
int nn_layernorm(struct program *p, const char *prefix, const char *name, int x, float eps);
int nn_groupnorm(struct program *p, const char *prefix, const char *name, int x, int64_t groups,
                 float eps, bool silu);

struct resnet_config {
    int64_t groups;
    float eps;
    int time; /* silu(e) [I,E]: its projection is added between the convolutions; or TENSOR_NONE */
};
/* conv3(silu(GN(x))), + time, conv3(silu(GN(.))), + x or conv_shortcut(x). */
int nn_resnet(struct program *p, const struct resnet_config *c, const char *prefix, int x,
              int64_t out);

/* [I,H,W,C] as [I,HW,C] and back to the height and width of `like`. */
int nn_tokens(struct program *p, int x);
int nn_map(struct program *p, int x, int like);

/* Writes the points of pixel centres, ((x + 0.5) / W, (y + 0.5) / H), row-major: [H*W,2]. */
void nn_pixel_centres(float *out, int64_t H, int64_t W);

#endif
