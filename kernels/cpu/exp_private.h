/* kernels/cpu/exp_private.h: exp of a row of scores. Branch-free, so that the compiler makes vectors of
 * it: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; within 2 units of the last place. */
#ifndef DEEM_KERNELS_CPU_EXP_PRIVATE_H
#define DEEM_KERNELS_CPU_EXP_PRIVATE_H

#include <stdint.h>
#include <string.h>

/* x is at most a few units above 0; below -87 the result is 0. NaN stays NaN. */
static inline float exp_one(float x)
{
    const float shift = 12582912.0f; /* 1.5 x 2^23: adding it leaves an integer in the low bits */
    const float low = x < -87.0f ? -87.0f : x;
    const float shifted = low * 1.44269504f + shift;
    const float n = shifted - shift;
    const float r = (low - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    uint32_t bits;
    float power; /* 2^n */
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23; /* the shift's own bits fall out at the top */
    memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : p * power;
}

/* s[j] = exp(s[j] - top); returns the sum. */
static inline float exp_row(float *s, float top, int64_t n)
{
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < n; j++) {
        s[j] = exp_one(s[j] - top);
        sum += s[j];
    }
    return sum;
}

/* The largest of s[0..n) and `top`. */
static inline float max_row(const float *s, float top, int64_t n)
{
#ifndef __clang__ /* clang 14 makes no vector of it, and says so */
#pragma omp simd reduction(max : top)
#endif
    for (int64_t j = 0; j < n; j++)
        top = s[j] > top ? s[j] : top;
    return top;
}

#endif
