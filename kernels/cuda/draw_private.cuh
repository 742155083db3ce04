/* kernels/cuda/draw_private.cuh: counter-based draws in kernels; a row of `draws` (dropout.h) is a key. */
#ifndef DEEM_KERNELS_CUDA_DRAW_PRIVATE_CUH
#define DEEM_KERNELS_CUDA_DRAW_PRIVATE_CUH

#include "core/philox.h"
#include "kernels/cuda/cuda_private.cuh"

/* The last block made: neighbours in order often share it. Start with row -1. */
struct draws {
    const int32_t *rows;
    int64_t row;
    uint64_t block;
    uint32_t words[4];
};
__device__ static inline struct draws draws_of(const int32_t *rows)
{
    struct draws d = { rows, -1, 0, { 0, 0, 0, 0 } };
    return d;
}
__device__ static inline void draws_to(struct draws *d, int64_t row, uint64_t block)
{
    uint32_t h[4];
    if (d->row == row && d->block == block)
        return;
    for (int j = 0; j < 4; j++)
        h[j] = (uint32_t)d->rows[4 * row + j];
    philox_key_block(d->words, h, block);
    d->row = row;
    d->block = block;
}
/* unit(w[e]) of the key of `row`: [0, 1). */
__device__ static inline double draw_unit(struct draws *d, int64_t row, uint64_t e)
{
    draws_to(d, row, e / 2);
    const uint64_t word = e % 2 ? (uint64_t)d->words[3] << 32 | d->words[2]
                                : (uint64_t)d->words[1] << 32 | d->words[0];
    return (double)(word >> 11) * 1.1102230246251565e-16; /* 2^-53 */
}
/* Element e of a standard normal tensor (model.md 3.5). */
__device__ static inline double draw_normal(struct draws *d, int64_t row, uint64_t e)
{
    draws_to(d, row, e / 4);
    const double u = (double)(e & 2 ? d->words[2] : d->words[0]);
    const double v = (double)(e & 2 ? d->words[3] : d->words[1]);
    const double rho = sqrt(-2.0 * log((u + 0.5) * 2.3283064365386963e-10)); /* 2^-32 */
    const double theta = 2.0 * 3.14159265358979323846 * v * 2.3283064365386963e-10;
    return rho * (e & 1 ? sin(theta) : cos(theta));
}

#endif
