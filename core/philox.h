/* core/philox.h: the rounds of Philox4x32-10 inline, for the host and for CUDA kernels. Source: Salmon et al.
 * 2011, Random123; spec data.md 2.3.1. */
#ifndef DEEM_CORE_PHILOX_H
#define DEEM_CORE_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define PHILOX_INLINE __host__ __device__ static inline
#else
#define PHILOX_INLINE static inline
#endif

/* x holds the counter and becomes the block. */
PHILOX_INLINE void philox_block(uint32_t x[4], uint32_t k0, uint32_t k1)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
        x[0] = (uint32_t)(p1 >> 32) ^ x[1] ^ k0;
        x[1] = (uint32_t)p1;
        x[2] = (uint32_t)(p0 >> 32) ^ x[3] ^ k1;
        x[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}
/* Block b of the key with state h: words 2 b and 2 b + 1, low half first. */
PHILOX_INLINE void philox_key_block(uint32_t x[4], const uint32_t h[4], uint64_t b)
{
    x[0] = (uint32_t)b;
    x[1] = (uint32_t)(b >> 32);
    x[2] = h[2];
    x[3] = h[3];
    philox_block(x, h[0], h[1]);
}

#endif
