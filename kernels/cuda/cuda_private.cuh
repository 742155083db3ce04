/* kernels/cuda/cuda_private.cuh: what the CUDA kernels share. An operand's element type is data (float32 or
 * bf16) and the arithmetic is float32, so every kernel takes every mix of types; a branch on a type is the
 * same for all threads. Threads take groups of 8 neighbouring elements where they can: 16 bytes of bf16.
 * The files compile as C++ for the host too, where tests run them thread by thread (LAUNCH and the names of
 * <cuda_runtime.h> are the emulator's then). */
#ifndef DEEM_KERNELS_CUDA_PRIVATE_CUH
#define DEEM_KERNELS_CUDA_PRIVATE_CUH

#include <cuda_runtime.h>
#include <stdint.h>
#include <string.h>

/* a struct and a function of it share a name, as C allows and C++ warns of */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#include "core/mem.h"
#pragma GCC diagnostic pop
#include "kernels/check.h"

#ifndef LAUNCH
#define LAUNCH(k, kernel, blocks, threads, shared_bytes, ...)                                      \
    kernel<<<(blocks), (threads), (shared_bytes), (cudaStream_t)(k)->stream>>>(__VA_ARGS__)
#endif

enum {
    GROUP = 8,     /* elements a thread takes at a time */
    THREADS = 256, /* of a block of the pointwise kernels */
    WARP = 32,
    BLOCKS_MAX = 8192, /* more work than that: threads go round */
};

/* Why a kernel could not use an index it met; the host learns it in device_wait(). */
enum fault { FAULT_NONE, FAULT_INDEX, FAULT_TARGET, FAULT_STEP, FAULT_LIST };

/* kctx.state on CUDA. */
struct cuda_state {
    int32_t *fault;               /* [2] on the device: enum fault, and the value met */
    void *lt;                     /* products.cuh */
    int compute, multiprocessors; /* compute capability x 10; how many */
};

static inline const struct cuda_state *state_of(const struct kctx *k)
{
    return (const struct cuda_state *)k->state;
}

/* After a launch. Does not wait. */
static inline enum status launched(const char *op, struct error *err)
{
    const cudaError_t e = cudaGetLastError();
    if (e == cudaSuccess)
        return ST_OK;
    return error_set(err, ST_FAIL, CAUSE_CUDA, "%s: launch: %s", op, cudaGetErrorString(e));
}

/* Blocks for n items, `per` a block, at least one. */
static inline unsigned blocks_for(int64_t n, int64_t per)
{
    const int64_t blocks = (n + per - 1) / per;
    return blocks < 1 ? 1u : blocks > BLOCKS_MAX ? (unsigned)BLOCKS_MAX : (unsigned)blocks;
}
static inline unsigned group_blocks(int64_t n)
{
    return blocks_for(n, (int64_t)GROUP * THREADS);
}

/* An operand inside a kernel. */
struct ref {
    void *data; /* NULL: left out */
    int f32;    /* else bf16 */
    int wide;   /* starts on a multiple of 16 bytes */
};
static inline struct ref ref_of(const struct view *v)
{
    struct ref r = { v->data, v->type == DT_F32, (uintptr_t)v->data % 16 == 0 };
    return r;
}
/* For groups counted from the start of each row of C: whole rows keep the alignment, or nothing is wide. */
static inline struct ref row_ref(const struct view *v, int64_t C)
{
    struct ref r = ref_of(v);
    r.wide = r.wide && C % GROUP == 0;
    return r;
}

/* There, float32 or bf16, with that many elements. */
static inline bool view_float(const struct view *v, int64_t count)
{
    return view_is(v, DT_F32, count) || view_is(v, DT_BF16, count);
}
static inline bool view_maybe_float(const struct view *v, int64_t count)
{
    return view_left_out(v) || view_float(v, count);
}

__device__ static inline float float_of_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
__device__ static inline uint32_t bits_of_float(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
__device__ static inline float float_of_bf16(uint16_t h)
{
    return float_of_bits((uint32_t)h << 16);
}
/* To the nearest, halves to even; NaN stays one. */
__device__ static inline uint16_t bf16_of_float(float x)
{
#ifdef __CUDA_ARCH__
    uint16_t h;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
#else
    const uint32_t u = bits_of_float(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)0x7fff;
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
#endif
}

__device__ static inline float ref_get(struct ref r, int64_t i)
{
    return r.f32 ? ((const float *)r.data)[i] : float_of_bf16(((const uint16_t *)r.data)[i]);
}
__device__ static inline void ref_put(struct ref r, int64_t i, float v)
{
    if (r.f32)
        ((float *)r.data)[i] = v;
    else
        ((uint16_t *)r.data)[i] = bf16_of_float(v);
}
/* beta y + v, without reading y for beta 0. */
__device__ static inline void ref_blend(struct ref r, int64_t i, float v, float beta)
{
    ref_put(r, i, beta == 0.0f ? v : v + beta * ref_get(r, i));
}

struct __align__(16) words
{
    uint32_t w[4];
};

/* v[j] = r[i + j], i a multiple of 8; zeros from n on. */
__device__ static inline void get8(float v[GROUP], struct ref r, int64_t i, int64_t n)
{
    if (!r.wide || i + GROUP > n) {
        for (int j = 0; j < GROUP; j++)
            v[j] = i + j < n ? ref_get(r, i + j) : 0.0f;
    } else if (r.f32) {
        for (int h = 0; h < 2; h++) {
            const struct words u = *(const struct words *)((const float *)r.data + i + 4 * h);
            for (int j = 0; j < 4; j++)
                v[4 * h + j] = float_of_bits(u.w[j]);
        }
    } else {
        const struct words u = *(const struct words *)((const uint16_t *)r.data + i);
        for (int j = 0; j < 4; j++) {
            v[2 * j] = float_of_bits(u.w[j] << 16);
            v[2 * j + 1] = float_of_bits(u.w[j] & 0xffff0000u);
        }
    }
}
__device__ static inline void put8(struct ref r, int64_t i, int64_t n, const float v[GROUP])
{
    if (!r.wide || i + GROUP > n) {
        for (int j = 0; j < GROUP; j++)
            if (i + j < n)
                ref_put(r, i + j, v[j]);
    } else if (r.f32) {
        for (int h = 0; h < 2; h++) {
            struct words u;
            for (int j = 0; j < 4; j++)
                u.w[j] = bits_of_float(v[4 * h + j]);
            *(struct words *)((float *)r.data + i + 4 * h) = u;
        }
    } else {
        struct words u;
        for (int j = 0; j < 4; j++)
            u.w[j] = (uint32_t)bf16_of_float(v[2 * j]) | (uint32_t)bf16_of_float(v[2 * j + 1])
                                                             << 16;
        *(struct words *)((uint16_t *)r.data + i) = u;
    }
}
__device__ static inline void blend8(struct ref r, int64_t i, int64_t n, float v[GROUP], float beta)
{
    if (beta != 0.0f) {
        float y[GROUP];
        get8(y, r, i, n);
        for (int j = 0; j < GROUP; j++)
            v[j] += beta * y[j];
    }
    put8(r, i, n, v);
}

/* The groups of 8 of n elements that this thread takes. */
#define FOR_GROUPS(i, n)                                                                           \
    for (int64_t i = GROUP * ((int64_t)blockIdx.x * blockDim.x + threadIdx.x); i < (n);            \
         i += GROUP * (int64_t)gridDim.x * blockDim.x)
/* The elements of n that this thread takes. */
#define FOR_ITEMS(i, n)                                                                            \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                      \
         i += (int64_t)gridDim.x * blockDim.x)

/* Threads of a block that takes a row of C: no more than its groups need. */
static inline unsigned row_threads(int64_t C)
{
    const int64_t threads = ((C + GROUP - 1) / GROUP + WARP - 1) / WARP * WARP;
    return threads < WARP      ? (unsigned)WARP
           : threads > THREADS ? (unsigned)THREADS
                               : (unsigned)threads;
}

/* The groups of a row of C that this thread of its block takes. */
#define FOR_ROW(c, C)                                                                              \
    for (int64_t c = GROUP * (int64_t)threadIdx.x; c < (C); c += GROUP * (int64_t)blockDim.x)

/* v[j] = r[(i + j) % period]: a vector that every row of `period` elements repeats. */
__device__ static inline void get8_cycled(float v[GROUP], struct ref r, int64_t i, int64_t period)
{
    int64_t c = i % period;
    if (c + GROUP <= period) {
        struct ref at = r;
        at.wide = r.wide && c % GROUP == 0;
        get8(v, at, c, period);
        return;
    }
    for (int j = 0; j < GROUP; j++, c++)
        v[j] = ref_get(r, c % period);
}

/* The whole warp's sum, largest value, in every lane; the order of adding is fixed. T: float or double. */
template <typename T> __device__ static inline T warp_sum(T v)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}
__device__ static inline float warp_max(float v)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

enum { BLOCK_WARPS_MAX = 32 };
/* The block's sum in every thread; `room` is shared, BLOCK_WARPS_MAX of T, free again on return. */
template <typename T> __device__ static inline T block_sum(T v, T *room)
{
    const int lane = (int)threadIdx.x % WARP, warps = (int)blockDim.x / WARP;
    v = warp_sum(v);
    if (lane == 0)
        room[threadIdx.x / WARP] = v;
    __syncthreads();
    v = room[0];
    for (int w = 1; w < warps; w++)
        v += room[w];
    __syncthreads();
    return v;
}
__device__ static inline float block_max(float v, float *room)
{
    const int lane = (int)threadIdx.x % WARP, warps = (int)blockDim.x / WARP;
    v = warp_max(v);
    if (lane == 0)
        room[threadIdx.x / WARP] = v;
    __syncthreads();
    v = room[0];
    for (int w = 1; w < warps; w++)
        v = fmaxf(v, room[w]);
    __syncthreads();
    return v;
}

/* Notes the first fault; the kernel goes on as if the index were not there. */
__device__ static inline void note_fault(int32_t *fault, enum fault what, int32_t value)
{
    if (atomicCAS(&fault[0], (int)FAULT_NONE, (int)what) == (int)FAULT_NONE)
        fault[1] = value;
}

#endif
