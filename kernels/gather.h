/* kernels/gather.h: rows by index: embeddings, assembly of sequences, contexts, condition rows.
 * An index outside the table is CAUSE_ARG; -1 stands for no row. CPU and CUDA agree exactly in the
 * deterministic form (sums in order of m), else to 1e-6 relative. */
#ifndef DEEM_KERNELS_GATHER_H
#define DEEM_KERNELS_GATHER_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct gather_attrs {
    float beta; /* 0: overwrite, 1: add */
};
/* out 0: y [M,...]. in 0: rows [N,...]; in 1: index [M] i32, -1: zeros.
 *     y[m] = rows[index[m]] */
kernel_fn gather_fwd_cpu, gather_fwd_cuda;
/* out 0: drows [N,...]. in 0: dy [M,...]; in 1: index [M]. Deterministic: for each row the terms are
 * added in order of m.
 *     drows[n] (+)= sum over m with index[m] = n of dy[m] */
kernel_fn gather_bwd_cpu, gather_bwd_cuda;
/* out 0: y [M,...]. in 0: rows [N,...]; in 1: index [M]; in 2: table [T,...]; in 3: index [M].
 * Contexts with their position term in one pass; each gradient is a gather_bwd.
 *     y[m] = rows[index[m]] + table[index'[m]] */
kernel_fn gather_sum_fwd_cpu, gather_sum_fwd_cuda;
/* out 0: y [N,...]. in 0: x [N,...]; in 1: rows [M,...]; in 2: index [M], no value but -1 twice.
 * y may be x. Image tokens written over the slots of a sequence. Its gradients: scatter_dx for x,
 * gather_fwd of dy by the same index for rows.
 *     y[n] = rows[m] where index[m] = n, else x[n] */
kernel_fn scatter_fwd_cpu, scatter_fwd_cuda;
/* out 0: dx [N,...]. in 0: dy [N,...]; in 1: index [M]. dx may be dy (beta 0).
 *     dx[n] (+)= dy[n], or 0 where n is in index */
kernel_fn scatter_dx_cpu, scatter_dx_cuda;

#ifdef __cplusplus
}
#endif
#endif
