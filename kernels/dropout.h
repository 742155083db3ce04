/* kernels/dropout.h: dropout and drop path by counter-based draws: nothing advances, so the same call gives
 * the same mask on recomputation, on resume and on every backend.
 * A row of `draws` is the state h0..h3 of one key of core/rng.h (rng_init(&r, &key); r.h), made by the
 * host for every picture: purpose, optimiser step, sequence, picture, name of the dropout. Kept values
 * are divided by 1 - p. Exact masks on every backend. Source: spec model.md 3.5 (T7, T8), data.md 2.3.1. */
#ifndef DEEM_KERNELS_DROPOUT_H
#define DEEM_KERNELS_DROPOUT_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

struct dropout_attrs {
    double p;   /* probability in [0,1) */
    float beta; /* 0: overwrite, 1: add */
};
/* out 0: y [I,...]. in 0: x [I,...]; in 1: draws [I,4] i32. Element e of a picture is dropped where
 * unit(w[e]) < p. The gradient is the same call on dy. y may be x. */
kernel_fn dropout_fwd_cpu, dropout_fwd_cuda;
/* out 0: scale [I] float32: 0 where bernoulli(p), else 1 / (1 - p). in 0: draws [I,4]. For
 * add_scaled (add.h). */
kernel_fn dropout_path_fwd_cpu, dropout_path_fwd_cuda;

#ifdef __cplusplus
}
#endif
#endif
