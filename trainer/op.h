/* trainer/op.h: the operations a module may append, one line each; the entries are in op_*.c. Every
 * call returns its output tensor (TENSOR_NONE after a fault). Activations are channels-last: [rows, C],
 * [I,T,C], [I,H,W,C]; weights keep their published layouts (Linear [out,in], Conv2d [out,in,kh,kw]).
 * "..." stands for any leading axes. TENSOR_NONE leaves an optional operand out. */
#ifndef DEEM_TRAINER_OP_H
#define DEEM_TRAINER_OP_H

#include "trainer/program.h"

/* Products. */
int op_linear(struct program *p, int x, int w,
              int bias); /* [...,C], [D,C], [D] or none -> [...,D] */
int op_linear_exact(struct program *p, int x, int w, int bias); /* the same with a float32 output */
struct conv_geometry {
    int stride;
    int pad_top, pad_left, pad_bottom, pad_right; /* zeros */
};
/* [I,H,W,C], [D,C,kh,kw], [D] or none -> [I,H',W',D]. */
int op_conv2d(struct program *p, int x, int w, int bias, struct conv_geometry g);
int op_depthwise(struct program *p, int x, int w, int bias); /* k x k, same size; w [C,1,k,k] */
/* softmax(q k' / sqrt(D)) v per head. Keys [first, first + count) of each row are there. */
struct attention_geometry {
    int64_t heads;
    bool causal;
    int first, count; /* [B] int32, or TENSOR_NONE: from 0, all */
    float dropout;    /* of the probabilities */
    int draws;        /* [B,4] int32, with dropout */
};
/* q [B,Lq,C], k and v [B,Lk,C] -> [B,Lq,C]. */
int op_attention(struct program *p, int q, int k, int v, struct attention_geometry g);
/* x [B,L,C], positions [B,L] or [L] int32: rotates the two halves of every head. */
int op_rope(struct program *p, int x, int positions, int64_t heads, double base);

/* Norms over the last axis; weights may be left out. Statistics are exact. */
int op_layernorm(struct program *p, int x, int weight, int bias, float eps);
int op_rmsnorm(struct program *p, int x, int weight, float eps);
/* [I,...,C] in `groups` groups of channels, then silu if asked. */
int op_groupnorm(struct program *p, int x, int weight, int bias, int64_t groups, float eps,
                 bool silu);

/* Element by element. */
int op_gelu(struct program *p, int x); /* erf */
int op_silu(struct program *p, int x);
int op_relu(struct program *p, int x);
int op_swiglu(struct program *p, int gate, int up);         /* silu(gate) up */
int op_geglu(struct program *p, int x);                     /* [..., a|b] -> a gelu(b) */
int op_add(struct program *p, int x, int y);                /* same count; the shape of x */
int op_add_table(struct program *p, int x, int table);      /* x [..., tail] + table [tail] */
int op_repeat(struct program *p, int table, int64_t times); /* [1,...] or [...] -> [times,...] */
int op_add_image(struct program *p, int x, int v);          /* [I,...,C] + [I,C] */
/* x [...,C] times g [C] plus b [C] (or TENSOR_NONE). */
int op_scale_channels(struct program *p, int x, int g, int b);
int op_scale_rows(struct program *p, int x, int mask); /* x[n] mask[n]; exact mask, no gradient */
int op_gated_add(struct program *p, int x, int y, int gate);   /* x + tanh(gate[1]) y */
int op_add_scaled(struct program *p, int x, int y, int scale); /* x[i] + scale[i] y[i] */
/* Dropout by draws [I,4]; scale [I] of drop path. */
int op_dropout(struct program *p, int x, int draws, double probability);
int op_drop_path(struct program *p, int draws, double probability);

/* Moving data. */
int op_concat(struct program *p, int x, int y, int axis);
int op_transpose(struct program *p, int x);            /* [I,A,B] -> [I,B,A] */
int op_nhwc(struct program *p, int x);                 /* [I,C,H,W] -> [I,H,W,C] */
int op_gather(struct program *p, int rows, int index); /* rows [N,...], index [M], -1: zeros */
/* rows[index] + table[place]. */
int op_gather_sum(struct program *p, int rows, int index, int table, int place);
int op_scatter(struct program *p, int x, int rows, int index); /* x with rows written over it */
void op_zero(struct program *p, int t); /* gradients that several runs add to */
int op_constant(struct program *p, enum role role, const int64_t *shape, int rank, float value);

/* Pictures. */
int op_upsample2(struct program *p, int x);           /* nearest, [I,H,W,C] -> [I,2H,2W,C] */
int op_mean_pixels(struct program *p, int x);         /* [I,...,C] -> [I,C] */
int op_pool_mask(struct program *p, int x, int mask); /* mean under the mask, model.md 2.2.6 */
int op_resize_table(struct program *p, int table, int64_t side); /* [g,g,C] -> [side,side,C] */
/* mask [I,h,w] -> [I,side,side] exact; binarised: 1 where > 0. */
int op_resize_mask(struct program *p, int mask, int64_t side, bool binarise);
int op_grid_table(struct program *p, int64_t side, int64_t C); /* 2-D sin-cos [side,side,C] */
int op_row_table(struct program *p, int64_t rows, int64_t C);  /* 1-D sin-cos [rows,C] */
int op_time_table(struct program *p, int t, int64_t C);        /* t [U] int32 -> [U,C] */

/* Deformable sampling, kernels/mmfs.h; nn_mmfs.h makes its operands. */
struct mmfs_attrs;
struct op_mmfs_operands {
    int offsets, rank_offsets, logits, rank_logits, value, token, points, begin, image, rank;
};
int op_mmfs(struct program *p, const struct op_mmfs_operands *in, const struct mmfs_attrs *attrs);

/* Diffusion. */
int op_ddpm_table(struct program *p); /* [1000,4] */
int op_ddpm_noise(struct program *p, int z0, int noise, int t, int table);
int op_posterior(struct program *p, int moments, int noise,
                 float scale); /* [I,..,2C] -> [I,..,C] */

/* Losses. Where the input needs a gradient they start its backward: the gradient is made here. */
/* logits [R,V], target [R], divisor [1] exact -> loss of each row [R] (not divided). The gradient is
 * that of scale / divisor * sum. */
int op_cross_entropy(struct program *p, int logits, int target, int divisor, float scale);
/* The same without a gradient. */
int op_cross_entropy_only(struct program *p, int logits, int target, int divisor);
/* weight (pred - noise)^2: *map [U,...] as pred; returns its sums [U]. weight [U] or one a pixel; the
 * gradient is that of sum over u of scale[u] * sums[u]. */
int op_noise_loss(struct program *p, int *map, int pred, int noise, int weight, int scale);

#endif
