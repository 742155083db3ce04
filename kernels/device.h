/* kernels/device.h: a backend at run time: its kernels, its memory, its one stream of work. The CPU is part
 * of every build; CUDA lives in the module deem_cuda.so beside the program and is loaded when asked for, so
 * that deem starts where no driver is.
 *
 *     device_open(&d, BACKEND_CUDA, NULL, err);
 *     device_alloc(d, &x, bytes, "arena", err);
 *     device_copy_in(d, x, host, bytes, err);
 *     device_kernel(d, KERNEL_gelu_fwd)(device_context(d), out, in, attrs, err);
 *     device_copy_out(d, host, y, bytes, err);
 *     device_wait(d, err);                        now `host` is written
 *     device_free(d, x);
 *
 * Calls and kernels of one device run in the order they were made. One thread at a time. */
#ifndef DEEM_KERNELS_DEVICE_H
#define DEEM_KERNELS_DEVICE_H

#include <stdbool.h>

#include "kernels/table.h"

#ifdef __cplusplus
extern "C" {
#endif

struct device_options {
    int index;            /* which GPU; default 0 */
    size_t scratch_bytes; /* workspace of kernels on CUDA; default 256 MiB */
    bool deterministic;   /* take the forms whose sums have an order; default false */
};
void device_options_init(struct device_options *opt);

struct device;
/* `opt` may be NULL. ST_FAIL: CAUSE_CUDA (no module, driver, device, or one that deem cannot use: the text
 * names it and what is needed), CAUSE_NOMEM. */
enum status device_open(struct device **out, enum backend backend, const struct device_options *opt,
                        struct error *err);
struct device_driver;
/* The same with a given driver, which stays the caller's. */
enum status device_open_driver(struct device **out, const struct device_driver *driver,
                               const struct device_options *opt, struct error *err);
void device_close(struct device **d);
enum backend device_backend(const struct device *d);
/* For logs: "CPU", or the GPU's name with its compute capability, memory and library versions. */
const char *device_text(const struct device *d);
/* NULL: this backend does not have it. */
kernel_fn *device_kernel(const struct device *d, enum kernel id);
struct kctx *device_context(struct device *d);

/* Memory of the device, aligned to 256 bytes; `what` names it in the error. ST_FAIL: CAUSE_NOMEM, on CUDA
 * with what is free. */
enum status device_alloc(struct device *d, void **out, size_t bytes, const char *what,
                         struct error *err);
void device_free(struct device *d, void *p);
/* Memory of the host that copies to and from the device run fastest from (pinned). */
enum status device_alloc_host(struct device *d, void **out, size_t bytes, const char *what,
                              struct error *err);
void device_free_host(struct device *d, void *p);

/* In the order of the stream. `host` must stay as it is until device_wait(); memory of
 * device_alloc_host() is copied while the program goes on. ST_FAIL: CAUSE_CUDA. */
enum status device_copy_in(struct device *d, void *to, const void *host, size_t bytes,
                           struct error *err);
enum status device_copy_out(struct device *d, void *host, const void *from, size_t bytes,
                            struct error *err);
enum status device_copy(struct device *d, void *to, const void *from, size_t bytes,
                        struct error *err);
enum status device_clear(struct device *d, void *to, size_t bytes, struct error *err);
/* Waits for all calls so far. ST_FAIL: CAUSE_CUDA (one of them failed), CAUSE_ARG (a kernel met an index or
 * a target outside its table, which on CUDA shows only here). */
enum status device_wait(struct device *d, struct error *err);

/* What a backend implements; `self` is its own. */
struct device_driver {
    enum backend backend;
    enum status (*open)(void **self, struct kctx *k, const struct device_options *opt,
                        struct error *err);
    void (*close)(void *self);
    const char *(*text)(const void *self);
    enum status (*alloc)(void *self, void **out, size_t bytes, const char *what, struct error *err);
    void (*free)(void *self, void *p);
    enum status (*alloc_host)(void *self, void **out, size_t bytes, const char *what,
                              struct error *err);
    void (*free_host)(void *self, void *p);
    enum status (*copy)(void *self, void *to, const void *from, size_t bytes, struct error *err);
    enum status (*clear)(void *self, void *to, size_t bytes, struct error *err);
    enum status (*wait)(void *self, struct error *err);
    kernel_fn *const *kernels; /* by enum kernel */
};
extern const struct device_driver device_driver_cpu;
/* Of the module deem_cuda.so, found by name. */
typedef const struct device_driver *device_driver_fn(void);
device_driver_fn deem_cuda_driver;

#ifdef __cplusplus
}
#endif
#endif
