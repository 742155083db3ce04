/* kernels/attention.h: scaled dot-product attention, tiled with a running softmax: memory grows with the
 * lengths, never with their product.
 *     s[i,j] = scale q[i].k[j] over the visible j     p = softmax over j     o[i] = sum of p[i,j] v[j]
 * Visible keys j of row b: first[b] <= j < first[b] + count[b], and with `causal` j <= i + Lk - Lq (the
 * last query sees the last key). A query that sees nothing gives zeros. Dropout of probabilities: draw
 * e = (h Lq + i) Lk + j of the row's key (dropout.h); the sum of exponentials is taken before it.
 * Tolerance between backends: 1e-5 relative (f32), 1e-2 (bf16). Source: Dao et al. 2022,
 * arXiv:2205.14135; spec model.md 2.2.7, 2.5, 3.5. */
#ifndef DEEM_KERNELS_ATTENTION_H
#define DEEM_KERNELS_ATTENTION_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct attention_attrs {
    int heads;     /* H; the last axes are H heads of D channels next to each other */
    int causal;    /* 0 or 1 */
    float scale;   /* usually 1 / sqrt(D) */
    float dropout; /* probability p in [0,1); 0 needs no keys */
    float beta_dq, beta_dk, beta_dv; /* backward: 0 overwrites that output, 1 adds to it */
};
/* out 0: o [B,Lq,H D]; out 1: lse [B,H,Lq] float32, log of the sum of exp(s); optional.
 * in 0: q [B,Lq,H D]; in 1: k [B,Lk,H D]; in 2: v [B,Lk,H D];
 * in 3: first [B] i32, optional (0); in 4: count [B] i32, optional (Lk - first);
 * in 5: draws [B,4] i32 (dropout.h), needed with dropout. k, v of batch 1 serve every row. */
kernel_fn attention_fwd_cpu, attention_fwd_cuda;
/* out 0: dq; out 1: dk; out 2: dv; each optional.
 * in 0: do [B,Lq,H D]; in 1: q; in 2: k; in 3: v; in 4: o; in 5: lse; in 6: first; in 7: count;
 * in 8: draws. k, v of batch B only. */
kernel_fn attention_bwd_cpu, attention_bwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
