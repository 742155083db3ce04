/* kernels/device.c: chooses the driver and passes calls on. */
#include "kernels/device.h"

#include <dlfcn.h>

#include "core/mem.h"
#include "core/module.h"

struct device {
    const struct device_driver *driver;
    void *self;
    struct kctx k;
};

void device_options_init(struct device_options *opt)
{
    *opt = (struct device_options){ .scratch_bytes = (size_t)256 << 20 };
}

static enum status load_cuda(const struct device_driver **out, struct error *err)
{
    union {
        void *symbol;
        device_driver_fn *driver;
    } entry;
    void *module = module_load("deem_cuda.so", false);
    if (!module)
        return error_set(
            err, ST_FAIL, CAUSE_CUDA,
            "the CUDA backend cannot be loaded: %s; it is built where nvcc is found and "
            "needs cuBLASLt of CUDA 13 at run time",
            dlerror());
    entry.symbol = dlsym(module, "deem_cuda_driver");
    if (!entry.symbol)
        return error_set(err, ST_FAIL, CAUSE_CUDA, "deem_cuda.so is of another build: no driver");
    *out = entry.driver();
    return ST_OK;
}

enum status device_open_driver(struct device **out, const struct device_driver *driver,
                               const struct device_options *opt, struct error *err)
{
    struct device_options defaults;
    struct device *d = mem_calloc(1, sizeof *d);

    *out = NULL;
    device_options_init(&defaults);
    if (!d)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: device");
    d->driver = driver;
    if (driver->open(&d->self, &d->k, opt ? opt : &defaults, err) != ST_OK) {
        mem_free(d);
        return ST_FAIL;
    }
    *out = d;
    return ST_OK;
}

enum status device_open(struct device **out, enum backend backend, const struct device_options *opt,
                        struct error *err)
{
    const struct device_driver *driver = &device_driver_cpu;
    *out = NULL;
    if (backend == BACKEND_CUDA && load_cuda(&driver, err) != ST_OK)
        return ST_FAIL;
    return device_open_driver(out, driver, opt, err);
}

void device_close(struct device **dp)
{
    struct device *d = *dp;
    if (!d)
        return;
    d->driver->close(d->self);
    mem_free(d);
    *dp = NULL;
}

enum backend device_backend(const struct device *d)
{
    return d->driver->backend;
}

const char *device_text(const struct device *d)
{
    return d->driver->text(d->self);
}

kernel_fn *device_kernel(const struct device *d, enum kernel id)
{
    return d->driver->kernels[id];
}

struct kctx *device_context(struct device *d)
{
    return &d->k;
}

enum status device_alloc(struct device *d, void **out, size_t bytes, const char *what,
                         struct error *err)
{
    return d->driver->alloc(d->self, out, bytes, what, err);
}

void device_free(struct device *d, void *p)
{
    if (p)
        d->driver->free(d->self, p);
}

enum status device_alloc_host(struct device *d, void **out, size_t bytes, const char *what,
                              struct error *err)
{
    return d->driver->alloc_host(d->self, out, bytes, what, err);
}

void device_free_host(struct device *d, void *p)
{
    if (p)
        d->driver->free_host(d->self, p);
}

enum status device_copy_in(struct device *d, void *to, const void *host, size_t bytes,
                           struct error *err)
{
    return d->driver->copy(d->self, to, host, bytes, err);
}

enum status device_copy_out(struct device *d, void *host, const void *from, size_t bytes,
                            struct error *err)
{
    return d->driver->copy(d->self, host, from, bytes, err);
}

enum status device_copy(struct device *d, void *to, const void *from, size_t bytes,
                        struct error *err)
{
    return d->driver->copy(d->self, to, from, bytes, err);
}

enum status device_clear(struct device *d, void *to, size_t bytes, struct error *err)
{
    return d->driver->clear(d->self, to, bytes, err);
}

enum status device_wait(struct device *d, struct error *err)
{
    return d->driver->wait(d->self, err);
}
