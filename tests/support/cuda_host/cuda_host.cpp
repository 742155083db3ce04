/* tests/support/cuda_host/cuda_host.cpp: see cuda_runtime.h. Fibers enter by ucontext once and change by jumps
 * from then on, which need no system call. */
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>

#include "cuda_runtime.h"
#include "kernels/cuda/products_private.cuh"

struct host_index threadIdx, blockIdx, blockDim, gridDim;

enum { THREADS_MAX = 1024, LANES = 32, STACK_BYTES = 128 << 10 };
enum turn { RUNS, AT_BLOCK, AT_WARP, DONE };

struct fiber {
    ucontext_t context;
    jmp_buf at;
    char *stack;
    enum turn turn;
    bool entered;
    unsigned phase; /* of exchanges: lanes read one slot while the next is written */
};
static struct fiber fibers[THREADS_MAX];
static uint64_t slots[2][THREADS_MAX];
static int votes[2];
static unsigned vote_phase;
static jmp_buf scheduler;
static int current, descending;
static void (*job)(void *arg);
static void *job_arg;

void host_order(int order)
{
    descending = order;
}

static void give_way(enum turn turn)
{
    struct fiber *f = &fibers[current];
    f->turn = turn;
    if (_setjmp(f->at) == 0)
        _longjmp(scheduler, 1);
}

static void fiber_main()
{
    for (;;) {
        job(job_arg);
        give_way(DONE);
    }
}

static void run_fiber(int t)
{
    struct fiber *f = &fibers[t];
    current = t;
    threadIdx.x = (unsigned)t;
    if (_setjmp(scheduler) != 0)
        return;
    if (f->entered)
        _longjmp(f->at, 1);
    f->entered = true;
    f->stack = (char *)malloc(STACK_BYTES);
    if (!f->stack || getcontext(&f->context) != 0)
        abort();
    f->context.uc_stack.ss_sp = f->stack;
    f->context.uc_stack.ss_size = STACK_BYTES;
    makecontext(&f->context, fiber_main, 0);
    setcontext(&f->context);
}

/* Lets on what waits for nothing more; false: somebody waits for ever. */
static bool release(int threads)
{
    bool any = false, whole_block = true;
    for (int w = 0; w < threads; w += LANES) {
        bool whole_warp = true, waits = false;
        for (int t = w; t < w + LANES && t < threads; t++) {
            whole_warp = whole_warp && (fibers[t].turn == AT_WARP || fibers[t].turn == DONE);
            waits = waits || fibers[t].turn == AT_WARP;
            whole_block = whole_block && (fibers[t].turn == AT_BLOCK || fibers[t].turn == DONE);
        }
        for (int t = w; whole_warp && waits && t < w + LANES && t < threads; t++)
            if (fibers[t].turn == AT_WARP) {
                fibers[t].turn = RUNS;
                any = true;
            }
    }
    if (!whole_block)
        return any;
    vote_phase++;
    votes[vote_phase % 2] = 0;
    for (int t = 0; t < threads; t++)
        if (fibers[t].turn == AT_BLOCK) {
            fibers[t].turn = RUNS;
            any = true;
        }
    return any;
}

static bool step(int threads)
{
    bool left = false;
    for (int n = 0; n < threads; n++) {
        const int t = descending ? threads - 1 - n : n;
        if (fibers[t].turn == RUNS)
            run_fiber(t);
        left = left || fibers[t].turn != DONE;
    }
    return left;
}

void host_launch(unsigned blocks, unsigned threads, void (*body)(void *arg), void *arg)
{
    if (threads < 1 || threads > THREADS_MAX || blocks < 1) {
        fprintf(stderr, "launch of %u blocks of %u threads\n", blocks, threads);
        abort();
    }
    job = body;
    job_arg = arg;
    gridDim.x = blocks;
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) {
        for (unsigned t = 0; t < threads; t++)
            fibers[t].turn = RUNS;
        while (step((int)threads))
            if (!release((int)threads)) {
                fprintf(stderr, "block %u: a barrier that not all threads reach\n", blockIdx.x);
                abort();
            }
    }
}

void __syncthreads(void)
{
    give_way(AT_BLOCK);
}
int __syncthreads_or(int predicate)
{
    const unsigned phase = vote_phase % 2;
    votes[phase] |= predicate != 0;
    give_way(AT_BLOCK);
    return votes[phase];
}
void __syncwarp(void)
{
    give_way(AT_WARP);
}
uint64_t host_exchange(uint64_t own, int from)
{
    struct fiber *f = &fibers[current];
    const int me = current;
    const unsigned slot = f->phase++ % 2;
    slots[slot][me] = own;
    give_way(AT_WARP);
    return slots[slot][me / LANES * LANES + from];
}

static int fail_at;
void host_fail_at(int k)
{
    fail_at = k;
}
cudaError_t cudaMalloc(void **out, size_t bytes)
{
    *out = NULL;
    if (fail_at > 0 && --fail_at == 0)
        return cudaErrorMemoryAllocation;
    *out = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (*out)
        memset(*out, 0xa5, bytes); /* nobody may rely on zeros */
    return *out ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *p)
{
    free(p);
    return cudaSuccess;
}
cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    return cudaMalloc(out, bytes);
}
cudaError_t cudaFreeHost(void *p)
{
    return cudaFree(p);
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, int, cudaStream_t)
{
    memmove(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *to, int byte, size_t bytes, cudaStream_t)
{
    memset(to, byte, bytes);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, int)
{
    *out = NULL;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t)
{
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t)
{
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int)
{
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *prop, int)
{
    memset(prop, 0, sizeof *prop);
    snprintf(prop->name, sizeof prop->name, "the host");
    prop->major = 9;
    prop->multiProcessorCount = 2;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *available = *total = 0;
    return cudaSuccess;
}
cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t)
{
    return "out of memory";
}
const char *cudaGetErrorName(cudaError_t)
{
    return "cudaErrorMemoryAllocation";
}

/* Without cuBLASLt every product is the plain kernel's. */
enum status products_open(void **lt, struct error *)
{
    *lt = NULL;
    return ST_OK;
}
void products_close(void **)
{
}
size_t products_version(void)
{
    return 0;
}
enum status product_lt(struct kctx *, const struct product *, bool *done, struct error *)
{
    *done = false;
    return ST_OK;
}
