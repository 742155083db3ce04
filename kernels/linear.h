/* kernels/linear.h: y = x W^T + b over the last axis; x is any number of rows.
 *     dx = dy W      dW = dy^T x      db = sum of rows of dy
 * Tolerance: as matmul.h. Source: PyTorch's Linear (weights are [out, in]). */
#ifndef DEEM_KERNELS_LINEAR_H
#define DEEM_KERNELS_LINEAR_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct linear_attrs {
    float beta; /* 0: the output is overwritten, 1: added to */
};
/* out 0: y [...,D]. in 0: x [...,C]; in 1: w [D,C]; in 2: b [D], optional. */
kernel_fn linear_fwd_cpu, linear_fwd_cuda;
/* out 0: dx [...,C]. in 0: dy [...,D]; in 1: w [D,C]. */
kernel_fn linear_dx_cpu, linear_dx_cuda;
/* out 0: dw [D,C]. in 0: dy [...,D]; in 1: x [...,C]. */
kernel_fn linear_dw_cpu, linear_dw_cuda;
/* out 0: db [D]. in 0: dy [...,D]. Also the bias gradient of convolutions. */
kernel_fn linear_db_cpu, linear_db_cuda;

#ifdef __cplusplus
}
#endif
#endif
