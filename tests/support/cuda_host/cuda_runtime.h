/* tests/support/cuda_host/cuda_runtime.h: the names of CUDA that the kernels use, for the host: every thread of a
 * block is a fiber, blocks run one after the other. What it proves: arithmetic, indices, barriers (a barrier that
 * some threads do not reach ends the run) and, by two orders of the threads, that shared memory is not read too
 * early. What it cannot: speed, races between warps in other orders, the libraries of CUDA. One thread. */
#ifndef DEEM_TESTS_CUDA_RUNTIME_H
#define DEEM_TESTS_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __shared__   static
#define __align__(n) __attribute__((aligned(n)))

struct host_index {
    unsigned x, y, z;
};
extern struct host_index threadIdx, blockIdx, blockDim, gridDim;

/* Runs `body(arg)` for every thread of every block. */
void host_launch(unsigned blocks, unsigned threads, void (*body)(void *arg), void *arg);
/* The order in which the threads of a block get their turns: 0 ascending, 1 descending. */
extern "C" void host_order(int descending);

/* Allocation number k from now on fails, and no other; 0: none. */
extern "C" void host_fail_at(int k);

template <typename F> static void host_call(void *f)
{
    (*(F *)f)();
}
template <typename F> static void host_run(unsigned blocks, unsigned threads, F f)
{
    host_launch(blocks, threads, host_call<F>, &f);
}
#define LAUNCH(k, kernel, blocks, threads, shared_bytes, ...)                                      \
    ((void)(k), (void)(shared_bytes), host_start(kernel, (blocks), (threads), __VA_ARGS__))
template <typename... P, typename... A>
static void host_start(void (*kernel)(P...), unsigned blocks, unsigned threads, A... args)
{
    host_run(blocks, threads, [=] { kernel(args...); });
}

void __syncthreads(void);
int __syncthreads_or(int predicate);
void __syncwarp(void);
/* Every lane of the warp gives 8 bytes and gets those of lane `from`. */
uint64_t host_exchange(uint64_t own, int from);
template <typename T> static T __shfl_sync(unsigned, T v, int from)
{
    uint64_t word = 0;
    memcpy(&word, &v, sizeof v);
    word = host_exchange(word, from);
    memcpy(&v, &word, sizeof v);
    return v;
}
template <typename T> static T __shfl_xor_sync(unsigned mask, T v, int bits)
{
    return __shfl_sync(mask, v, ((int)threadIdx.x % 32) ^ bits);
}

template <typename T> static T atomicAdd(T *at, T v)
{
    const T before = *at;
    *at = before + v;
    return before;
}
static inline int atomicCAS(int *at, int expected, int v)
{
    const int before = *at;
    if (before == expected)
        *at = v;
    return before;
}
static inline int atomicMax(int *at, int v)
{
    const int before = *at;
    if (v > before)
        *at = v;
    return before;
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fsub_rn(float a, float b)
{
    return a - b;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}

/* The calls of the runtime: memory is the host's, everything is done on return. */
typedef int cudaError_t;
enum {
    cudaSuccess = 0,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaMemcpyDefault = 4,
    cudaStreamNonBlocking = 1,
    CUDART_VERSION = 13000
};
typedef void *cudaStream_t;
struct cudaDeviceProp {
    char name[64];
    int major, minor, multiProcessorCount;
    size_t totalGlobalMem;
};
cudaError_t cudaMalloc(void **out, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **out, size_t bytes);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind,
                            cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, int flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int index);
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int index);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaMemGetInfo(size_t *available, size_t *total);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t e);
const char *cudaGetErrorName(cudaError_t e);

#endif
