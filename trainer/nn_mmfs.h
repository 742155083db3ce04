/* trainer/nn_mmfs.h: the multi-image multi-scale feature synchroniser, deformable attention of a query
 * over the levels of the pictures it sees, with a null slot; spec model.md 2.4. Only visible (query,
 * picture) pairs are listed, so nothing is computed for the others (exact, 2.4.4). */
#ifndef DEEM_TRAINER_NN_MMFS_H
#define DEEM_TRAINER_NN_MMFS_H

#include "kernels/mmfs.h"
#include "trainer/program.h"

struct mmfs_config {
    int64_t query_width, value_width, inner_width, out_width;
    int64_t heads, points, max_images;
    int levels;
    int64_t height[MMFS_LEVELS_MAX], width[MMFS_LEVELS_MAX]; /* real sides of the maps */
    int64_t shape[MMFS_LEVELS_MAX];                          /* s of 2.4, not always the side */
    double base;                                             /* beta */
    bool probe; /* names the intermediates of the module's own reference case */
};

/* Rows of one picture over all levels. */
static inline int64_t mmfs_rows(const struct mmfs_config *c)
{
    int64_t n = 0;
    for (int i = 0; i < c->levels; i++)
        n += c->height[i] * c->width[i];
    return n;
}

/* Who sees what: pairs [begin[i], begin[i+1]) of list i are (picture, rank), rank 1 the most recent;
 * list i serves queries_per_list neighbouring queries. Query t is at point t mod P. */
struct mmfs_view {
    int begin;       /* [T / queries_per_list + 1] int32 */
    int image, rank; /* [pairs] int32 */
    int points;      /* [P,2] exact, (x,y) in [0,1] */
    int64_t queries_per_list;
};

/* A fault where a size cannot work. */
void nn_mmfs_check(struct program *p, const struct mmfs_config *c, const char *prefix);
/* value_proj of features that are normalised without weights [I,S,value_width]: the norm's weight
 * (and bias, or TENSOR_NONE) is folded into the projection. Returns [I,S,inner]. */
int nn_mmfs_value(struct program *p, const struct mmfs_config *c, const char *prefix, int features,
                  int norm_weight, int norm_bias);
/* query [T,query_width], value [I,S,inner] -> [T,out_width]. */
int nn_mmfs(struct program *p, const struct mmfs_config *c, const char *prefix, int query,
            int value, const struct mmfs_view *view);

#endif
