/* kernels/mmfs.h: multi-image multi-scale feature sampling: deformable attention with a null slot, over
 * lists of visible images. Between the projections, exactly spec model.md 2.4.1:
 *     offset[p] = off_q[q,h,p,:] + off_r[rank,h,p,:]         logit[l,p] = att_q[q,h,l,p] + att_r[rank,h,l,p]
 *     x = ref_x w_l + offset_x s_l / beta - 1/2, y likewise   (pixels of level l, which is h_l x w_l)
 *     o[q,h] = (t[h] + sum over visible (n,l,p) of e^logit bilinear(value[n,l,h], x, y)) / (1 + sum e^logit)
 * The projections of queries and of the table of relative positions are made outside, once (2.4.4).
 * Entry P of each group of logits is the null slot of the published layout: never read, gradient 0.
 * Offsets, locations, softmax and weights are float32 or better on every backend. Tolerance: 1e-5
 * relative (f32), locations 1e-4 px, outputs 1e-2 (bf16). Source: spec model.md 2.4; Zhu et al. 2020,
 * arXiv:2010.04159. */
#ifndef DEEM_KERNELS_MMFS_H
#define DEEM_KERNELS_MMFS_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MMFS_LEVELS_MAX = 4 };
struct mmfs_attrs {
    int heads, points, levels;
    int height[MMFS_LEVELS_MAX], width[MMFS_LEVELS_MAX]; /* real sides, finest first */
    int shape[MMFS_LEVELS_MAX];                          /* s_l of the offsets' scale */
    float base;                                          /* beta of model.md 2.4, > 0 */
    int queries_per_list; /* list of query q: q / queries_per_list. LLM: 1; MMFSNet: H W */
    float beta_doff_q, beta_doff_r, beta_datt_q, beta_datt_r, beta_dvalue, beta_dignore;
};
/* Inputs, forward; Q queries, D = heads x head width, S = sum of h_l w_l:
 *   0 off_q [Q, heads points 2]            float32   (x, y)
 *   1 off_r [R, heads points 2]            float32   row = rank; row 0 is never read
 *   2 att_q [Q, heads levels (points+1)]   float32
 *   3 att_r [R, heads levels (points+1)]   float32
 *   4 value [N, S, D]                                rows level by level, each row-major
 *   5 ignore [D]                                     t, optional: zeros
 *   6 ref [K, 2]                           float32   (x, y) in [0,1]; query q uses row q mod K
 *   7 start [Q / queries_per_list + 1]     i32       list i is pairs start[i] .. start[i+1]
 *   8 image [pairs capacity]               i32       row of value, in [0,N)
 *   9 rank [pairs capacity]                i32       1 = most recent; in [1,R)
 * image and rank may be longer than the lists need: the rest is not read.
 * out 0: o [Q, D]. CAUSE_ARG: shapes, an image or rank outside its table, lists that do not ascend. */
kernel_fn mmfs_fwd_cpu, mmfs_fwd_cuda;
/* in 0: do [Q,D]; in 1..10: the forward's inputs 0..9.
 * out 0: doff_q; 1: doff_r; 2: datt_q; 3: datt_r; 4: dvalue; 5: dignore; each optional. The CPU sums in
 * a fixed order (heads in parallel). */
kernel_fn mmfs_bwd_cpu, mmfs_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
