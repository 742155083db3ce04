/* kernels/cpu/exp_private.h: exp of a row of scores. Branch-free, so that the compiler makes vectors of
 * it: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; within 2 units of the last place. */
#ifndef DEEM_KERNELS_CPU_EXP_PRIVATE_H
#define DEEM_KERNELS_CPU_EXP_PRIVATE_H

#include <stdint.h>
#include <string.h>

/* x is at most a few units above 0; below -87 the result is 0. NaN stays NaN. */
static inline float exp_one(float x)
{
    const float shift = 12582912.0f; /* 1.5 x 2^23: adding it rounds to an integer */
    const float floor_x = x < -87.0f ? -87.0f : x;
    const float n = (floor_x * 1.44269504f + shift) - shift;
    const float r = (floor_x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    const uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < -87.0f ? 0.0f : p * power;
}

/* s[j] = exp(s[j] - top) for j < n, at least; returns the sum, taken in eight fixed parts. */
static inline float exp_row(float *s, float top, int64_t n)
{
    float part[8] = { 0 };
    int64_t j = 0;
    for (; j + 8 <= n; j += 8)
        for (int64_t l = 0; l < 8; l++) {
            s[j + l] = exp_one(s[j + l] - top);
            part[l] += s[j + l];
        }
    for (; j < n; j++) {
        s[j] = exp_one(s[j] - top);
        part[j % 8] += s[j];
    }
    return ((part[0] + part[1]) + (part[2] + part[3])) +
           ((part[4] + part[5]) + (part[6] + part[7]));
}

#endif
