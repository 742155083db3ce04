/* kernels/cpu/device.c: the host's own memory; every call is done on return. */
#include "kernels/device.h"

#include <string.h>

#include "core/mem.h"

enum { ALIGN = 256 };

static enum status open_cpu(void **self, struct kctx *k, const struct device_options *opt,
                            struct error *err)
{
    (void)err;
    *self = NULL;
    k->deterministic = opt->deterministic;
    return ST_OK;
}

static void close_cpu(void *self)
{
    (void)self;
}

static const char *text_cpu(const void *self)
{
    (void)self;
    return "CPU";
}

static enum status alloc_cpu(void *self, void **out, size_t bytes, const char *what,
                             struct error *err)
{
    (void)self;
    *out = mem_alloc_aligned(ALIGN, bytes ? bytes : ALIGN);
    return *out ? ST_OK
                : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s of %zu bytes", what,
                            bytes);
}

static void free_cpu(void *self, void *p)
{
    (void)self;
    mem_free(p);
}

static enum status copy_cpu(void *self, void *to, const void *from, size_t bytes, struct error *err)
{
    (void)self;
    (void)err;
    if (bytes && to != from)
        memcpy(to, from, bytes);
    return ST_OK;
}

static enum status clear_cpu(void *self, void *to, size_t bytes, struct error *err)
{
    (void)self;
    (void)err;
    if (bytes)
        memset(to, 0, bytes);
    return ST_OK;
}

static enum status wait_cpu(void *self, struct error *err)
{
    (void)self;
    (void)err;
    return ST_OK;
}

const struct device_driver device_driver_cpu = {
    .backend = BACKEND_CPU,
    .open = open_cpu,
    .close = close_cpu,
    .text = text_cpu,
    .alloc = alloc_cpu,
    .free = free_cpu,
    .alloc_host = alloc_cpu,
    .free_host = free_cpu,
    .copy = copy_cpu,
    .clear = clear_cpu,
    .wait = wait_cpu,
    .kernels = kernel_table_cpu,
};
