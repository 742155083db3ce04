/* kernels/random.h: tensors of counter-based random numbers. Element e of a picture or parameter is draw
 * e of its key, so nothing depends on ranks, chunks or threads. `draws` as dropout.h.
 * Backends agree to 1e-5 absolute for std 1 (normals in double on the CPU); uniforms exactly.
 * Source: spec model.md 3.5 (T3..T6, T9), data.md 2.3.1. */
#ifndef DEEM_KERNELS_RANDOM_H
#define DEEM_KERNELS_RANDOM_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct random_normal_attrs {
    double mean, std;
    int planar; /* 1: x is [I,...,C] and element e counts [C,...], the order of planar pictures */
};
/* out 0: x [I,...]. in 0: draws [I,4] i32. x = mean + std n[e]. */
kernel_fn random_normal_fwd_cpu, random_normal_fwd_cuda;
struct random_uniform_attrs {
    double low, high; /* x = low + (high - low) unit(w[e]); low = -high is T9's U(-a, a) */
};
/* out 0: x [I,...]. in 0: draws [I,4] i32. */
kernel_fn random_uniform_fwd_cpu, random_uniform_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
