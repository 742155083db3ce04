/* kernels/sinusoid.h: sine and cosine tables. Frequencies and products in float32, as the reference makes them.
 * Tolerance between backends: 5e-4 absolute at large positions, else 1e-6. Source: spec model.md 2.2.4,
 * 2.7, 2.8.3, 7.5. */
#ifndef DEEM_KERNELS_SINUSOID_H
#define DEEM_KERNELS_SINUSOID_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out 0: y [h,w,C], C divisible by 4. Row i, column j: [sin i w | cos i w | sin j w | cos j w],
 * w[k] = 10000^(-k / (C/4)). No inputs, no attributes. */
kernel_fn sinusoid_grid_fwd_cpu, sinusoid_grid_fwd_cuda;
/* out 0: y [N,C], C even: [sin n w | cos n w], w[k] = 10000^(-k / (C/2)). */
kernel_fn sinusoid_row_fwd_cpu, sinusoid_row_fwd_cuda;
/* out 0: y [U,C], C even: [cos t f | sin t f], f[k] = 10000^(-k / (C/2)). in 0: t [U] i32. */
kernel_fn sinusoid_time_fwd_cpu, sinusoid_time_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
