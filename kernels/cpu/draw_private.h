/* kernels/cpu/draw_private.h: a row of `draws` (dropout.h) as a generator of core/rng.h. */
#ifndef DEEM_KERNELS_CPU_DRAW_PRIVATE_H
#define DEEM_KERNELS_CPU_DRAW_PRIVATE_H

#include <string.h>

#include "core/rng.h"

static inline struct rng draw_row(const struct view *draws, int64_t i)
{
    const int32_t *row = (const int32_t *)draws->data + 4 * i;
    struct rng r;
    memset(&r, 0, sizeof r);
    for (int j = 0; j < 4; j++)
        r.h[j] = (uint32_t)row[j];
    return r;
}
/* `unit()` of a word: [0, 1). */
static inline double draw_unit(uint64_t word)
{
    return (double)(word >> 11) * 0x1p-53;
}

#endif
