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
struct conv_geometry {
    int stride;
    int pad_top, pad_left, pad_bottom, pad_right; /* zeros */
};
/* [I,H,W,C], [D,C,kh,kw], [D] or none -> [I,H',W',D]. */
int op_conv2d(struct program *p, int x, int w, int bias, struct conv_geometry g);
int op_depthwise(struct program *p, int x, int w, int bias); /* k x k, same size; w [C,1,k,k] */

/* Norms over the last axis; weights may be left out. Statistics are exact. */
int op_layernorm(struct program *p, int x, int weight, int bias, float eps);
int op_rmsnorm(struct program *p, int x, int weight, float eps);
/* [I,H,W,C] in `groups` groups of channels, then silu if asked. */
int op_groupnorm(struct program *p, int x, int weight, int bias, int groups, float eps, bool silu);

/* Element by element. */
int op_gelu(struct program *p, int x); /* erf */
int op_silu(struct program *p, int x);
int op_relu(struct program *p, int x);
int op_swiglu(struct program *p, int gate, int up); /* silu(gate) up */
int op_geglu(struct program *p, int x);             /* [..., a|b] -> a gelu(b) */
int op_add(struct program *p, int x, int y);        /* same shape */
/* x [..., tail] + table [tail], the table's shape being the end of x's. */
int op_add_table(struct program *p, int x, int table);
int op_add_image(struct program *p, int x, int y);           /* [I,H,W,C] + [I,C] */
int op_scale_channels(struct program *p, int x, int gamma);  /* [...,C] times [C] */
int op_gated_add(struct program *p, int x, int y, int gate); /* x + tanh(gate[1]) y */
int op_mask_rows(struct program *p, int x, int mask);        /* x [N...,C] times mask [N...] */
/* x + scale[i] y over [I,...]: residual with per-sample drop path; the scales are data. */
int op_add_scaled(struct program *p, int x, int y, int scale);

/* Moving data. */
int op_concat_last(struct program *p, int x, int y); /* [...,C], [...,D] -> [...,C+D] */
int op_concat_rows(struct program *p, int x, int y); /* [I,S,C], [I,T,C] -> [I,S+T,C] */
/* rows [N,C], index [M] (-1: zeros) -> [M,C]; its gradient adds rows up. */
int op_gather(struct program *p, int rows, int index);
int op_upsample2(struct program *p, int x);   /* nearest, [I,H,W,C] -> [I,2H,2W,C] */
int op_mean_pixels(struct program *p, int x); /* [I,H,W,C] -> [I,C] */
/* Fills t with zeros: gradients that several runs add to. */
void op_zero(struct program *p, int t);

#endif
