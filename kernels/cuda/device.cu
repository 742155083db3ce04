/* kernels/cuda/device.cu: one GPU, one stream. Nothing here falls back to managed memory or to the CPU. */
#include "kernels/device.h"

#include <stdio.h>

#include "kernels/cuda/cuda_private.cuh"
#include "kernels/cuda/products_private.cuh"

enum { COMPUTE_MIN = 80, FAULT_WORDS = 2 };

struct cuda_device {
    struct cuda_state state;
    cudaStream_t stream;
    void *scratch;
    int32_t *fault_host; /* pinned, [FAULT_WORDS] */
    char text[400];
};

static enum status cuda_failed(const char *what, cudaError_t e, struct error *err)
{
    if (err)
        err->sys = (int)e;
    return error_set(err, ST_FAIL, CAUSE_CUDA, "%s: %s: %s", what, cudaGetErrorName(e),
                     cudaGetErrorString(e));
}

/* "13.0" of 13000. */
static void version_text(char *text, size_t size, int version)
{
    snprintf(text, size, "%d.%d", version / 1000, version % 1000 / 10);
}

static enum status check_driver(struct error *err)
{
    char have[16], need[16];
    int driver = 0, count = 0;
    const cudaError_t e = cudaGetDeviceCount(&count);

    if (cudaDriverGetVersion(&driver) != cudaSuccess)
        driver = 0;
    version_text(have, sizeof have, driver);
    version_text(need, sizeof need, CUDART_VERSION);
    if (driver == 0)
        return error_set(
            err, ST_FAIL, CAUSE_CUDA,
            "no NVIDIA driver on this machine (libcuda.so.1 does not load); CUDA %s is needed",
            need);
    if (e == cudaErrorInsufficientDriver)
        return error_set(err, ST_FAIL, CAUSE_CUDA,
                         "the NVIDIA driver serves CUDA %s, CUDA %s is needed", have, need);
    if (e == cudaErrorNoDevice || (e == cudaSuccess && count == 0))
        return error_set(err, ST_FAIL, CAUSE_CUDA, "the NVIDIA driver shows no GPU");
    return e == cudaSuccess ? ST_OK : cuda_failed("looking for a GPU", e, err);
}

static enum status choose_device(struct cuda_device *d, int index, struct error *err)
{
    struct cudaDeviceProp prop;
    char driver[16];
    int count = 0, version = 0;
    cudaError_t e = cudaGetDeviceCount(&count);

    if (e == cudaSuccess && (index < 0 || index >= count))
        return error_set(err, ST_FAIL, CAUSE_CUDA, "GPU %d: this machine shows %d", index, count);
    if (e == cudaSuccess)
        e = cudaSetDevice(index);
    if (e == cudaSuccess)
        e = cudaGetDeviceProperties(&prop, index);
    if (e == cudaSuccess)
        e = cudaDriverGetVersion(&version);
    if (e != cudaSuccess)
        return cuda_failed("opening the GPU", e, err);
    d->state.compute = prop.major * 10 + prop.minor;
    d->state.multiprocessors = prop.multiProcessorCount;
    if (d->state.compute < COMPUTE_MIN)
        return error_set(err, ST_FAIL, CAUSE_CUDA,
                         "GPU %d, %s, has compute capability %d.%d; %d.%d or higher is needed",
                         index, prop.name, prop.major, prop.minor, COMPUTE_MIN / 10,
                         COMPUTE_MIN % 10);
    version_text(driver, sizeof driver, version);
    snprintf(d->text, sizeof d->text,
             "%s, compute capability %d.%d, %zu MiB, driver for CUDA %s, cuBLASLt %zu", prop.name,
             prop.major, prop.minor, prop.totalGlobalMem >> 20, driver, products_version());
    return ST_OK;
}

static void close_cuda(void *self)
{
    struct cuda_device *d = (struct cuda_device *)self;
    if (d->stream)
        cudaStreamSynchronize(d->stream);
    products_close(&d->state.lt);
    cudaFree(d->scratch);
    cudaFree(d->state.fault);
    cudaFreeHost(d->fault_host);
    if (d->stream)
        cudaStreamDestroy(d->stream);
    mem_free(d);
}

static enum status alloc_cuda(void *self, void **out, size_t bytes, const char *what,
                              struct error *err)
{
    size_t available = 0, total = 0;
    const cudaError_t e = cudaMalloc(out, bytes ? bytes : 1);
    (void)self;
    if (e == cudaSuccess)
        return ST_OK;
    *out = NULL;
    if (e != cudaErrorMemoryAllocation)
        return cuda_failed(what, e, err);
    (void)cudaGetLastError(); /* this one is no fault of a later launch */
    if (cudaMemGetInfo(&available, &total) != cudaSuccess)
        available = total = 0;
    return error_set(err, ST_FAIL, CAUSE_NOMEM,
                     "out of GPU memory: %s of %zu bytes; %zu of %zu bytes are free", what, bytes,
                     available, total);
}

static void free_cuda(void *self, void *p)
{
    (void)self;
    cudaFree(p);
}

static enum status alloc_host_cuda(void *self, void **out, size_t bytes, const char *what,
                                   struct error *err)
{
    const cudaError_t e = cudaMallocHost(out, bytes ? bytes : 1);
    (void)self;
    if (e == cudaSuccess)
        return ST_OK;
    *out = NULL;
    (void)cudaGetLastError();
    return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of pinned memory: %s of %zu bytes: %s", what,
                     bytes, cudaGetErrorString(e));
}

static void free_host_cuda(void *self, void *p)
{
    (void)self;
    cudaFreeHost(p);
}

static enum status copy_cuda(void *self, void *to, const void *from, size_t bytes,
                             struct error *err)
{
    struct cuda_device *d = (struct cuda_device *)self;
    const cudaError_t e =
        bytes ? cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, d->stream) : cudaSuccess;
    return e == cudaSuccess ? ST_OK : cuda_failed("copy", e, err);
}

static enum status clear_cuda(void *self, void *to, size_t bytes, struct error *err)
{
    struct cuda_device *d = (struct cuda_device *)self;
    const cudaError_t e = bytes ? cudaMemsetAsync(to, 0, bytes, d->stream) : cudaSuccess;
    return e == cudaSuccess ? ST_OK : cuda_failed("clear", e, err);
}

/* What note_fault() left. */
static enum status check_fault(struct cuda_device *d, struct error *err)
{
    static const char *const texts[] = { "", "an index outside its table",
                                         "a target outside the vocabulary",
                                         "a diffusion step outside the schedule",
                                         "a list of images that is out of order" };
    const int32_t code = d->fault_host[0], value = d->fault_host[1];
    if (code == FAULT_NONE)
        return ST_OK;
    const cudaError_t e =
        cudaMemsetAsync(d->state.fault, 0, FAULT_WORDS * sizeof(int32_t), d->stream);
    if (e != cudaSuccess)
        return cuda_failed("clear", e, err);
    return error_set(err, ST_FAIL, CAUSE_ARG, "a kernel met %s: %d",
                     code > 0 && code <= FAULT_LIST ? texts[code] : "an unknown fault", value);
}

static enum status wait_cuda(void *self, struct error *err)
{
    struct cuda_device *d = (struct cuda_device *)self;
    cudaError_t e = cudaMemcpyAsync(d->fault_host, d->state.fault, FAULT_WORDS * sizeof(int32_t),
                                    cudaMemcpyDefault, d->stream);
    if (e == cudaSuccess)
        e = cudaStreamSynchronize(d->stream);
    return e == cudaSuccess ? check_fault(d, err) : cuda_failed("waiting for the GPU", e, err);
}

static const char *text_cuda(const void *self)
{
    return ((const struct cuda_device *)self)->text;
}

static enum status open_parts(struct cuda_device *d, struct kctx *k,
                              const struct device_options *opt, struct error *err)
{
    void *fault = NULL, *host = NULL;
    cudaError_t e;

    if (check_driver(err) != ST_OK || choose_device(d, opt->index, err) != ST_OK)
        return ST_FAIL;
    if ((e = cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking)) != cudaSuccess)
        return cuda_failed("stream", e, err);
    if (alloc_cuda(d, &d->scratch, opt->scratch_bytes, "workspace of kernels", err) != ST_OK ||
        alloc_cuda(d, &fault, FAULT_WORDS * sizeof(int32_t), "fault word", err) != ST_OK)
        return ST_FAIL;
    d->state.fault = (int32_t *)fault;
    if (alloc_host_cuda(d, &host, FAULT_WORDS * sizeof(int32_t), "fault word", err) != ST_OK)
        return ST_FAIL;
    d->fault_host = (int32_t *)host;
    if (clear_cuda(d, fault, FAULT_WORDS * sizeof(int32_t), err) != ST_OK ||
        products_open(&d->state.lt, err) != ST_OK)
        return ST_FAIL;
    k->stream = d->stream;
    k->scratch = d->scratch;
    k->scratch_bytes = opt->scratch_bytes;
    k->deterministic = opt->deterministic;
    k->state = &d->state;
    return ST_OK;
}

static enum status open_cuda(void **self, struct kctx *k, const struct device_options *opt,
                             struct error *err)
{
    struct cuda_device *d = (struct cuda_device *)mem_calloc(1, sizeof *d);
    *self = NULL;
    if (!d)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: device");
    if (open_parts(d, k, opt, err) != ST_OK) {
        close_cuda(d);
        return ST_FAIL;
    }
    *self = d;
    return ST_OK;
}

static const struct device_driver driver_cuda = {
    BACKEND_CUDA,    open_cuda,      close_cuda, text_cuda,  alloc_cuda, free_cuda,
    alloc_host_cuda, free_host_cuda, copy_cuda,  clear_cuda, wait_cuda,  kernel_table_cuda
};

const struct device_driver *deem_cuda_driver(void)
{
    return &driver_cuda;
}
