/* trainer/placement.c: see placement.h. */
#include "trainer/placement.h"

#include <math.h>
#include <string.h>

#include "core/mem.h"
#include "kernels/adamw.h"
#include "trainer/tensor_file.h"

enum { STAGE = 1 << 20 }; /* numbers converted at a time */

struct placement {
    struct params *params;
    struct device *device;
    enum dtype storage;
    bool apart;
    uint8_t *values;
    float *gradients;
    uint16_t *stage; /* [STAGE] host memory, where the storage type is not float32 */
};

void placement_options_init(struct placement_options *opt)
{
    *opt = (struct placement_options){ .backend = BACKEND_CPU, .storage = DT_F32 };
    device_options_init(&opt->device);
}

enum status placement_open(struct placement **out, struct params *params,
                           const struct placement_options *opt, struct error *err)
{
    *out = NULL;
    if (opt->storage != DT_F32 && (opt->storage != DT_BF16 || opt->backend == BACKEND_CPU))
        return error_set(err, ST_FAIL, CAUSE_ARG, "the CPU backend stores float32 only");
    struct placement *p = mem_calloc(1, sizeof *p);
    if (!p)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: placement");
    p->params = params;
    p->storage = opt->storage;
    p->apart = opt->apart || opt->backend != BACKEND_CPU;
    void *stage = NULL;
    enum status st = device_open(&p->device, opt->backend, &opt->device, err);
    if (st == ST_OK && p->storage != DT_F32)
        st = device_alloc_host(p->device, &stage, STAGE * sizeof *p->stage, "staging", err);
    p->stage = stage;
    if (st != ST_OK) {
        placement_close(&p);
        return st;
    }
    *out = p;
    return ST_OK;
}

void placement_close(struct placement **pp)
{
    struct placement *p = *pp;
    if (!p)
        return;
    if (p->device) {
        device_free(p->device, p->values);
        device_free(p->device, p->gradients);
        device_free_host(p->device, p->stage);
    }
    device_close(&p->device);
    mem_free(p);
    *pp = NULL;
}

static enum status clear_device_gradients(struct placement *p, struct error *err)
{
    return device_clear(p->device, p->gradients,
                        (size_t)p->params->trainable_elements * sizeof *p->gradients, err);
}

enum status placement_allocate(struct placement *p, struct error *err)
{
    const struct params *host = p->params;
    const size_t one = dtype_size(p->storage);
    void *values = NULL, *gradients = NULL;

    if (!p->apart || p->values || !host->values)
        return ST_OK;
    enum status st =
        device_alloc(p->device, &values, (size_t)host->elements * one, "parameters", err);
    p->values = values;
    if (st == ST_OK && host->trainable_elements > 0)
        st =
            device_alloc(p->device, &gradients,
                         (size_t)host->trainable_elements * sizeof *p->gradients, "gradients", err);
    p->gradients = gradients;
    if (st == ST_OK && gradients) /* the host's start as zeros, too */
        st = clear_device_gradients(p, err);
    return st;
}

enum status placement_download_gradients(struct placement *p, struct error *err)
{
    const struct params *host = p->params;
    if (!p->apart || !p->gradients)
        return ST_OK;
    return placement_copy_out(p, host->gradients, p->gradients, host->trainable_elements, DT_F32,
                              err);
}

enum status placement_clear_gradients(struct placement *p, struct error *err)
{
    params_clear_gradients(p->params);
    if (!p->apart || !p->gradients)
        return ST_OK;
    return clear_device_gradients(p, err);
}

bool placement_apart(const struct placement *p)
{
    return p->apart;
}

enum dtype placement_storage(const struct placement *p)
{
    return p->storage;
}

struct device *placement_device(const struct placement *p)
{
    return p->device;
}

void *placement_values(const struct placement *p)
{
    return p->values;
}

float *placement_gradients(const struct placement *p)
{
    return p->gradients;
}

void *placement_value(const struct placement *p, const struct param *q)
{
    if (!p->apart)
        return q->value;
    return p->values ? p->values + (size_t)q->offset * dtype_size(p->storage) : NULL;
}

void *placement_gradient(const struct placement *p, const struct param *q)
{
    if (!p->apart)
        return q->gradient;
    return p->gradients && q->trainable ? p->gradients + q->offset : NULL;
}

typedef uint16_t round_fn(float v);

/* As the masters of the optimizer are cut (adamw.h), so that value and low bits fit together. */
static uint16_t round_value(float v)
{
    uint32_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    return isfinite(v) ? adamw_high(bits) : float_to_bf16(v);
}

static enum status copy_in(struct placement *p, uint8_t *to, const float *host, int64_t n,
                           enum dtype type, round_fn *round, struct error *err)
{
    if (type != DT_BF16) {
        if (device_copy_in(p->device, to, host, (size_t)n * sizeof *host, err) != ST_OK)
            return ST_FAIL;
        return device_wait(p->device, err);
    }
    for (int64_t done = 0; done < n; done += STAGE) {
        const int64_t some = n - done < STAGE ? n - done : STAGE;
        for (int64_t i = 0; i < some; i++)
            p->stage[i] = round(host[done + i]);
        if (device_copy_in(p->device, to + 2 * done, p->stage, 2 * (size_t)some, err) != ST_OK ||
            device_wait(p->device, err) != ST_OK)
            return ST_FAIL;
    }
    return ST_OK;
}

enum status placement_copy_in(struct placement *p, void *to, const float *host, int64_t n,
                              enum dtype type, struct error *err)
{
    return copy_in(p, to, host, n, type, float_to_bf16, err);
}

enum status placement_upload(struct placement *p, struct error *err)
{
    const struct params *host = p->params;
    if (!p->apart)
        return ST_OK;
    if (placement_allocate(p, err) != ST_OK)
        return ST_FAIL;
    return copy_in(p, p->values, host->values, host->elements, p->storage, round_value, err);
}

enum status placement_copy_out(struct placement *p, float *host, const void *from, int64_t n,
                               enum dtype type, struct error *err)
{
    const uint8_t *at = from;
    if (type != DT_BF16) {
        if (device_copy_out(p->device, host, at, (size_t)n * sizeof *host, err) != ST_OK)
            return ST_FAIL;
        return device_wait(p->device, err);
    }
    for (int64_t done = 0; done < n; done += STAGE) {
        const int64_t some = n - done < STAGE ? n - done : STAGE;
        if (device_copy_out(p->device, p->stage, at + 2 * done, 2 * (size_t)some, err) != ST_OK ||
            device_wait(p->device, err) != ST_OK)
            return ST_FAIL;
        for (int64_t i = 0; i < some; i++)
            host[done + i] = float_from_bf16(p->stage[i]);
    }
    return ST_OK;
}
