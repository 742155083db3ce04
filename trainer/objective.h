/* trainer/objective.h: the arithmetic of the losses around the program: weights of pixels and pictures,
 * sums of what the program made. Spec model.md 3. Host memory, float32, sums in double. */
#ifndef DEEM_TRAINER_OBJECTIVE_H
#define DEEM_TRAINER_OBJECTIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* CSR's weight of each latent pixel: lambda = 1 where the region mask, resized to k x k, is > 0, times
 * k^2 / (sum of lambda + 1e-8). w [I,k,k]; mask [I,R,R], or NULL: all ones. ST_FAIL: CAUSE_ARG. */
enum status objective_region_weights(float *w, const float *mask, int64_t I, int64_t R, int64_t k,
                                     struct error *err);
/* How many targets are not ignored. */
int64_t objective_count_targets(const int32_t *targets, int64_t n);
/* The timestep CSR's UNet gets for a draw t of 0..999 (model.md 3.3): 200 + (6 t + 5) div 10. */
int32_t objective_csr_timestep(int32_t t);
/* Mean of `sum` over `count`, 0 where count is 0. */
double objective_mean(double sum, int64_t count);

#endif
