/* kernels/reduce.h: sums of whole tensors in a fixed order. Double on the CPU.
 * Tolerance between backends: 1e-6 relative. */
#ifndef DEEM_KERNELS_REDUCE_H
#define DEEM_KERNELS_REDUCE_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    REDUCE_RUN = 65536
}; /* elements of one partial sum: the unit of optimizer state (design.md 6) */
struct reduce_attrs {
    float scale; /* of the sum */
    float beta;  /* 0: overwrite, 1: add to out 0 */
};
/* out 0: y [1] float32 (+)= scale sum(x) / divisor. in 0: x; in 1: divisor [1] float32, optional; a
 * divisor of 0 gives 0 (a micro-batch without valid target). */
kernel_fn reduce_sum_fwd_cpu, reduce_sum_fwd_cuda;
/* out 0: y [ceil(n / REDUCE_RUN)] float32, the sum of squares of each run. in 0: x [n]. A value that is
 * not finite makes its run not finite. */
kernel_fn reduce_squares_fwd_cpu, reduce_squares_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
