/* trainer/optimizer_device.c: the optimizer's state in a device's memory, one rank. */
#include <string.h>

#include "core/mem.h"
#include "trainer/optimizer_private.h"

enum { LOW_STAGE = 1 << 20 }; /* numbers cut in halves at a time */

struct optimizer_device {
    struct device *device;
    enum dtype storage;
    float *m, *v, *sums, *clip;
    uint16_t *low; /* of bf16 masters, else NULL */
};

static size_t float_bytes(int64_t n)
{
    return (size_t)n * sizeof(float);
}

static struct view view_of(void *data, enum dtype type, int64_t n)
{
    return (struct view){ .data = data, .type = type, .rank = 1, .shape = { n } };
}

static enum status make(struct optimizer_device *d, void **out, size_t bytes, struct error *err)
{
    if (device_alloc(d->device, out, bytes, "optimizer state", err) != ST_OK)
        return ST_FAIL;
    return device_clear(d->device, *out, bytes, err);
}

enum status optimizer_device_open(struct optimizer *o, struct error *err)
{
    const int64_t n = o->params->trainable_elements > 0 ? o->params->trainable_elements : 1;
    struct optimizer_device *d = mem_calloc(1, sizeof *d);
    void *m = NULL, *v = NULL, *sums = NULL, *clip = NULL, *low = NULL;
    if (!d)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: optimizer");
    o->device = d;
    d->device = placement_device(o->where);
    d->storage = placement_storage(o->where);
    enum status st = make(d, &m, float_bytes(n), err);
    if (st == ST_OK)
        st = make(d, &v, float_bytes(n), err);
    if (st == ST_OK)
        st = make(d, &sums, float_bytes(o->n_runs > 0 ? o->n_runs : 1), err);
    if (st == ST_OK)
        st = make(d, &clip, sizeof *d->clip, err);
    if (st == ST_OK && d->storage == DT_BF16)
        st = make(d, &low, (size_t)n * sizeof *d->low, err);
    d->m = m;
    d->v = v;
    d->sums = sums;
    d->clip = clip;
    d->low = low;
    if (st == ST_OK)
        st = placement_allocate(o->where, err);
    return st == ST_OK ? optimizer_device_set_low(o, err) : st;
}

void optimizer_device_close(struct optimizer *o)
{
    struct optimizer_device *d = o->device;
    if (!d)
        return;
    device_free(d->device, d->m);
    device_free(d->device, d->v);
    device_free(d->device, d->sums);
    device_free(d->device, d->clip);
    device_free(d->device, d->low);
    mem_free(d);
    o->device = NULL;
}

/* The blocks of what trains begin the blocks of all parameters. */
static uint8_t *values(const struct optimizer *o)
{
    return placement_values(o->where);
}

enum status optimizer_device_squares(struct optimizer *o, struct error *err)
{
    struct optimizer_device *d = o->device;
    const struct reduce_attrs attrs = { .scale = 1.0f };
    const struct view out = view_of(d->sums, DT_F32, o->n_runs);
    const struct view in =
        view_of(placement_gradients(o->where), DT_F32, o->params->trainable_elements);
    if (device_kernel(d->device, KERNEL_reduce_squares_fwd)(device_context(d->device), &out, &in,
                                                            &attrs, err) != ST_OK ||
        device_copy_out(d->device, o->run_sums, d->sums, float_bytes(o->n_runs), err) != ST_OK)
        return ST_FAIL;
    return device_wait(d->device, err);
}

enum status optimizer_device_apply(struct optimizer *o, double scale, float clip, double factor,
                                   struct error *err)
{
    struct optimizer_device *d = o->device;
    kernel_fn *adamw = device_kernel(d->device, KERNEL_adamw_fwd);
    float *gradient = placement_gradients(o->where);
    const size_t one = dtype_size(d->storage);

    enum status st = device_copy_in(d->device, d->clip, &clip, sizeof clip, err);
    for (size_t i = 0; i < o->n_pieces && st == ST_OK; i++) {
        const struct piece *x = &o->pieces[i];
        const int64_t at = x->begin, n = x->end - x->begin;
        const struct adamw_attrs a = optimizer_attrs(o, x, scale, factor);
        const struct view out[4] = { view_of(values(o) + (size_t)at * one, d->storage, n),
                                     view_of(d->m + at, DT_F32, n), view_of(d->v + at, DT_F32, n),
                                     view_of(d->low ? d->low + at : NULL, DT_BF16, n) };
        const struct view in[2] = { view_of(gradient + at, DT_F32, n),
                                    view_of(d->clip, DT_F32, 1) };
        st = adamw(device_context(d->device), out, in, &a, err);
        if (st != ST_OK)
            error_prefix(err, st, "%s", o->params->list[x->param].name);
    }
    return st == ST_OK ? device_wait(d->device, err) : st;
}

enum status optimizer_device_gather(const struct optimizer *o, float *m, float *v,
                                    struct error *err)
{
    const struct optimizer_device *d = o->device;
    const size_t bytes = float_bytes(o->params->trainable_elements);
    if (device_copy_out(d->device, m, d->m, bytes, err) != ST_OK ||
        device_copy_out(d->device, v, d->v, bytes, err) != ST_OK)
        return ST_FAIL;
    return device_wait(d->device, err);
}

enum status optimizer_device_restore(struct optimizer *o, const float *m, const float *v,
                                     struct error *err)
{
    struct optimizer_device *d = o->device;
    const size_t bytes = float_bytes(o->params->trainable_elements);
    if (device_copy_in(d->device, d->m, m, bytes, err) != ST_OK ||
        device_copy_in(d->device, d->v, v, bytes, err) != ST_OK)
        return ST_FAIL;
    return device_wait(d->device, err);
}

enum status optimizer_device_set_low(struct optimizer *o, struct error *err)
{
    struct optimizer_device *d = o->device;
    const int64_t n = o->params->trainable_elements;
    if (!d->low)
        return ST_OK;
    uint16_t *stage = mem_calloc(LOW_STAGE, sizeof *stage);
    enum status st =
        stage ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: low bits");
    for (int64_t done = 0; done < n && st == ST_OK; done += LOW_STAGE) {
        const int64_t some = n - done < LOW_STAGE ? n - done : LOW_STAGE;
        for (int64_t i = 0; i < some; i++) {
            uint32_t bits = 0;
            memcpy(&bits, &o->params->values[done + i], sizeof bits);
            stage[i] = adamw_low(bits);
        }
        st = device_copy_in(d->device, d->low + done, stage, (size_t)some * sizeof *stage, err);
        if (st == ST_OK)
            st = device_wait(d->device, err);
    }
    mem_free(stage);
    return st;
}

/* Joins the halves of elements [done, done + some): stage[0..some) high, stage[some..2 some) low. */
static void join(float *to, const uint16_t *stage, int64_t some)
{
    for (int64_t i = 0; i < some; i++) {
        const uint32_t bits = adamw_join(stage[i], stage[some + i]);
        memcpy(&to[i], &bits, sizeof bits);
    }
}

enum status optimizer_device_masters(const struct optimizer *o, struct error *err)
{
    const struct optimizer_device *d = o->device;
    const int64_t n = o->params->trainable_elements;
    if (!d->low)
        return placement_copy_out(o->where, o->params->values, values(o), n, d->storage, err);
    uint16_t *stage = mem_calloc((size_t)2 * LOW_STAGE, sizeof *stage);
    enum status st = stage ? ST_OK : error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: masters");
    for (int64_t done = 0; done < n && st == ST_OK; done += LOW_STAGE) {
        const int64_t some = n - done < LOW_STAGE ? n - done : LOW_STAGE;
        const size_t bytes = (size_t)some * sizeof *stage;
        st = device_copy_out(d->device, stage, values(o) + 2 * done, bytes, err);
        if (st == ST_OK)
            st = device_copy_out(d->device, stage + some, d->low + done, bytes, err);
        if (st == ST_OK)
            st = device_wait(d->device, err);
        if (st == ST_OK)
            join(o->params->values + done, stage, some);
    }
    mem_free(stage);
    return st;
}
