/* trainer/nn_mmfsnet.h: the side network that lets the UNet look at a picture: an MMFS on each of its
 * skip tensors (twelve in Stable Diffusion) and on the output of the middle block; spec model.md 2.8.4. The features are
 * normalised once: the 13 norms differ in their affine parameters only, which are folded into the
 * value projections (exact, 2.4.4). */
#ifndef DEEM_TRAINER_NN_MMFSNET_H
#define DEEM_TRAINER_NN_MMFSNET_H

#include "trainer/nn_mmfs.h"

enum { MMFSNET_BASES = 4 };

struct mmfsnet_config {
    int64_t feature_width, inner, heads, points, max_images;
    int levels;
    int64_t sides[MMFS_LEVELS_MAX];  /* real sides of the feature levels */
    int64_t shapes[MMFS_LEVELS_MAX]; /* s, whatever the real sides */
    int64_t bases[MMFSNET_BASES];    /* block j: bases[j div 3], the middle block the last */
    int64_t grid;                    /* side of the position table */
};

/* What the passes look at. */
struct mmfsnet_inputs {
    int features; /* [V,S,F], S rows of all levels, finest first */
    /* Pass u looks at pictures image[begin[u] .. begin[u+1]) of features, rank 1 each; at most one. */
    int begin, image, rank;
};

/* Opens the network for one UNet call: normalises the features. `passes` = U. The batch tensors of
 * pixel centres are made as "points.{side}" [side*side,2]; fill them by nn_pixel_centres (nn_picture.h). */
struct mmfsnet {
    struct program *p;
    const struct mmfsnet_config *c;
    struct mmfsnet_inputs in;
    const char *prefix; /* "visual_tokenizer.encoder.mmfs_module." */
    int normalised;
    int tables[8], points[8]; /* one a width, one a side */
    int64_t widths[8], sides[8];
    int n_tables, n_points;
};
void mmfsnet_begin(struct mmfsnet *n, struct program *p, const struct mmfsnet_config *c,
                   const char *prefix, const struct mmfsnet_inputs *in);
/* x + conv(MMFS(...)) for block j of the skip tensors, or the middle block with j = -1; x [U,s,s,c]. */
int mmfsnet_block(struct mmfsnet *n, int j, int x);

/* If `name` is that of a table of pixel centres, its side; else 0. */
int64_t mmfsnet_points_side(const char *name);

#endif
