/* tests/kernels/cuda/trial.c: see trial.h. */
#include "tests/kernels/cuda/trial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/philox.h"

const int64_t trial_sizes[6] = { 1, 7, 31, 32, 33, 768 };

static struct device *device;

#ifdef TRIAL_HOST
void host_order(int descending);
#else
static void host_order(int descending)
{
    (void)descending;
}
#endif

struct device *trial_device(void)
{
    return device;
}

static float draw(struct trial *t)
{
    uint32_t x[4] = { (uint32_t)t->seed++, (uint32_t)t->kernel, 0, 0 };
    philox_block(x, 7, 11);
    return (float)x[0] * 0x1p-31f - 1.0f;
}

struct trial trial_make(enum kernel kernel, const char *what, const void *attrs)
{
    return (struct trial){ .kernel = kernel, .what = what, .attrs = attrs };
}

static struct trial_operand *add(struct trial_operand *list, int *n, enum trial_type type,
                                 const int64_t *shape, int rank)
{
    assert_true(*n < TRIAL_OPERANDS);
    struct trial_operand *o = &list[(*n)++];
    o->type = type;
    o->rank = rank;
    o->count = 1;
    for (int i = 0; i < rank; i++) {
        o->shape[i] = shape[i];
        o->count *= shape[i];
    }
    return o;
}

static void fill(struct trial *t, struct trial_operand *o, float scale)
{
    o->numbers = calloc((size_t)o->count + 1, sizeof(float));
    assert_non_null(o->numbers);
    for (int64_t i = 0; i < o->count; i++)
        o->numbers[i] = draw(t) * scale;
}

float *trial_in(struct trial *t, enum trial_type type, float scale, const int64_t *shape, int rank)
{
    struct trial_operand *o = add(t->in, &t->n_in, type, shape, rank);
    fill(t, o, scale);
    return o->numbers;
}

int32_t *trial_index(struct trial *t, int32_t low, int32_t high, const int64_t *shape, int rank)
{
    struct trial_operand *o = add(t->in, &t->n_in, TRIAL_INDEX, shape, rank);
    o->indices = calloc((size_t)o->count + 1, sizeof(int32_t));
    assert_non_null(o->indices);
    for (int64_t i = 0; i < o->count; i++)
        o->indices[i] =
            low + (int32_t)((double)(draw(t) + 1.0f) * 0.5 * ((double)high - (double)low));
    return o->indices;
}

void trial_in_none(struct trial *t)
{
    t->n_in++;
}

void trial_out(struct trial *t, enum trial_type type, const int64_t *shape, int rank)
{
    struct trial_operand *o = add(t->out, &t->n_out, type, shape, rank);
    fill(t, o, 1.0f);
}

void trial_out_none(struct trial *t)
{
    t->n_out++;
}

static uint16_t to_bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
static float from_bf16(uint16_t h)
{
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static bool there(const struct trial_operand *o)
{
    return o->numbers || o->indices;
}
static bool halved(const struct trial_operand *o, bool bf16)
{
    return bf16 && o->type == TRIAL_STORAGE;
}
static size_t bytes_of(const struct trial_operand *o, bool bf16)
{
    return (size_t)o->count * (halved(o, bf16) ? 2 : 4);
}

/* The operand as the CPU sees it: bf16 numbers rounded. The caller frees view.data. */
static struct view cpu_view(const struct trial_operand *o, bool bf16)
{
    struct view v = { NULL, o->type == TRIAL_INDEX ? DT_I32 : DT_F32, o->rank, { 0 } };
    if (!there(o))
        return (struct view){ 0 };
    memcpy(v.shape, o->shape, sizeof v.shape);
    v.data = malloc(bytes_of(o, false) + 1);
    assert_non_null(v.data);
    memcpy(v.data, o->indices ? (const void *)o->indices : o->numbers, bytes_of(o, false));
    for (int64_t i = 0; halved(o, bf16) && i < o->count; i++)
        ((float *)v.data)[i] = from_bf16(to_bf16(o->numbers[i]));
    return v;
}

/* The same on the device. */
static struct view cuda_view(const struct trial_operand *o, bool bf16)
{
    struct view v = cpu_view(o, bf16);
    void *host = v.data, *data = NULL;
    struct error err = { 0 };
    if (!there(o))
        return v;
    v.type = o->type == TRIAL_INDEX ? DT_I32 : halved(o, bf16) ? DT_BF16 : DT_F32;
    for (int64_t i = 0; halved(o, bf16) && i < o->count; i++)
        ((uint16_t *)host)[i] = to_bf16(o->numbers[i]);
    if (device_alloc(device, &data, bytes_of(o, bf16), "operand", &err) != ST_OK ||
        device_copy_in(device, data, host, bytes_of(o, bf16), &err) != ST_OK ||
        device_wait(device, &err) != ST_OK)
        fail_msg("%s", err.text);
    free(host);
    v.data = data;
    return v;
}

static void compare(const struct trial *t, int i, const struct view *want, const struct view *got,
                    bool bf16, double tolerance)
{
    const struct trial_operand *o = &t->out[i];
    const bool half = halved(o, bf16);
    double error = 0.0, norm = 0.0;
    struct error err = { 0 };
    void *host = malloc(bytes_of(o, bf16) + 1);
    assert_non_null(host);
    if (device_copy_out(device, host, got->data, bytes_of(o, bf16), &err) != ST_OK ||
        device_wait(device, &err) != ST_OK)
        fail_msg("%s: %s: %s", kernel_name(t->kernel), t->what, err.text);
    for (int64_t e = 0; e < o->count; e++) {
        const double a = (double)((const float *)want->data)[e];
        const double b = half ? (double)from_bf16(((const uint16_t *)host)[e])
                              : (double)((const float *)host)[e];
        error += a == b ? 0.0 : (a - b) * (a - b); /* equal infinities are equal */
        norm += isfinite(a) ? a * a : 0.0;
    }
    error = sqrt(error / (norm > 0.0 ? norm : 1.0));
    if (half && tolerance < 4e-3)
        tolerance = 4e-3;
    if (!(error <= tolerance))
        fail_msg("%s: %s: output %d, %s storage: relative error %.3g, allowed %.3g",
                 kernel_name(t->kernel), t->what, i, bf16 ? "bf16" : "f32", error, tolerance);
    free(host);
}

static void run_once(const struct trial *t, bool bf16, double tolerance)
{
    struct view cpu_out[TRIAL_OPERANDS] = { 0 }, cpu_in[TRIAL_OPERANDS] = { 0 };
    struct view out[TRIAL_OPERANDS] = { 0 }, in[TRIAL_OPERANDS] = { 0 };
    struct kctx k = { 0 };
    struct error err = { 0 };

    for (int i = 0; i < t->n_out; i++) {
        cpu_out[i] = cpu_view(&t->out[i], bf16);
        out[i] = cuda_view(&t->out[i], bf16);
    }
    for (int i = 0; i < t->n_in; i++) {
        cpu_in[i] = cpu_view(&t->in[i], bf16);
        in[i] = cuda_view(&t->in[i], bf16);
    }
    if (kernel_table_cpu[t->kernel](&k, cpu_out, cpu_in, t->attrs, &err) != ST_OK ||
        device_kernel(device, t->kernel)(device_context(device), out, in, t->attrs, &err) !=
            ST_OK ||
        device_wait(device, &err) != ST_OK)
        fail_msg("%s: %s: %s", kernel_name(t->kernel), t->what, err.text);
    for (int i = 0; i < t->n_out; i++)
        if (there(&t->out[i]))
            compare(t, i, &cpu_out[i], &out[i], bf16, tolerance);
    for (int i = 0; i < TRIAL_OPERANDS; i++) {
        free(cpu_out[i].data);
        free(cpu_in[i].data);
        device_free(device, out[i].data);
        device_free(device, in[i].data);
    }
}

static void finish(struct trial *t)
{
    for (int i = 0; i < TRIAL_OPERANDS; i++) {
        free(t->out[i].numbers);
        free(t->in[i].numbers);
        free(t->in[i].indices);
    }
}

void trial_run_f32(struct trial *t, double tolerance)
{
    host_order(0);
    run_once(t, false, tolerance);
    host_order(1);
    run_once(t, false, tolerance);
    finish(t);
}

void trial_run(struct trial *t, double tolerance)
{
    host_order(0);
    run_once(t, false, tolerance);
    host_order(1);
    run_once(t, true, tolerance);
    finish(t);
}

void trial_cpu(const struct trial *t, float *const out[])
{
    struct view views[TRIAL_OPERANDS] = { 0 }, in[TRIAL_OPERANDS] = { 0 };
    struct kctx k = { 0 };
    struct error err = { 0 };
    for (int i = 0; i < t->n_out; i++)
        views[i] = cpu_view(&t->out[i], false);
    for (int i = 0; i < t->n_in; i++)
        in[i] = cpu_view(&t->in[i], false);
    if (kernel_table_cpu[t->kernel](&k, views, in, t->attrs, &err) != ST_OK)
        fail_msg("%s: %s: %s", kernel_name(t->kernel), t->what, err.text);
    for (int i = 0; i < t->n_out; i++)
        if (out[i])
            memcpy(out[i], views[i].data, bytes_of(&t->out[i], false));
    for (int i = 0; i < TRIAL_OPERANDS; i++) {
        free(views[i].data);
        free(in[i].data);
    }
}

int trial_main(const struct CMUnitTest *tests, size_t count, size_t again, const char *name)
{
    struct device_options opt;
    struct error err = { 0 };
    device_options_init(&opt);
#ifdef TRIAL_HOST
    opt.scratch_bytes = (size_t)1 << 20;
    if (device_open_driver(&device, deem_cuda_driver(), &opt, &err) != ST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
#else
    if (device_open(&device, BACKEND_CUDA, &opt, &err) != ST_OK) {
        printf("skipped: %s\n", err.text);
        return 77;
    }
#endif
    printf("%s\n", device_text(device));
    int failed = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    device_context(device)->deterministic = 1;
    if (again < count)
        failed += _cmocka_run_group_tests(name, tests + again, count - again, NULL, NULL);
    device_close(&device);
    return failed;
}
