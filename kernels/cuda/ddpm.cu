/* kernels/cuda/ddpm.cu: the noise schedule, the draws and the loss around the UNet. */
#include "kernels/ddpm.h"

#include "kernels/cuda/cuda_private.cuh"

enum { COLUMNS = 4 }; /* of the table: beta, abar, sqrt(abar), sqrt(1 - abar) */

/* One thread: a running product of 1000, once a run. */
static __global__ void schedule(float *table)
{
    const float first = (float)sqrt(0.00085), last = (float)sqrt(0.012);
    const float step = __fdiv_rn(__fsub_rn(last, first), (float)(DDPM_STEPS - 1));
    double product = 1.0;
    for (int t = 0; t < DDPM_STEPS; t++) {
        /* rounded after each operation, as the reference's library */
        const float root = t < DDPM_STEPS / 2
                               ? __fadd_rn(first, __fmul_rn(step, (float)t))
                               : __fsub_rn(last, __fmul_rn(step, (float)(DDPM_STEPS - 1 - t)));
        const float beta = __fmul_rn(root, root);
        product *= (double)__fsub_rn(1.0f, beta);
        const float abar = (float)product;
        float *row = table + t * COLUMNS;
        row[0] = beta;
        row[1] = abar;
        row[2] = sqrtf(abar);
        row[3] = sqrtf(1.0f - abar);
    }
}

enum status ddpm_table_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                const void *attrs, struct error *err)
{
    (void)attrs;
    if (!view_f32(&out[0], DDPM_STEPS * COLUMNS))
        return check_refuse("ddpm_table", out, 1, in, 0, err);
    LAUNCH(k, schedule, 1, 1, 0, (float *)out[0].data);
    return launched("ddpm_table", err);
}

static __global__ void add_noise(struct ref z, struct ref z0, struct ref noise,
                                 const int32_t *steps, const float *table, int64_t n, int64_t per,
                                 int32_t *fault)
{
    FOR_ITEMS(j, n)
    {
        int32_t t = steps[j / per];
        if (t < 0 || t >= DDPM_STEPS) {
            note_fault(fault, FAULT_STEP, t);
            t = 0;
        }
        const float *row = table + t * COLUMNS;
        ref_put(z, j, row[2] * ref_get(z0, j) + row[3] * ref_get(noise, j));
    }
}

enum status ddpm_noise_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                const void *attrs, struct error *err)
{
    const int64_t n = view_count(&out[0]), U = view_count(&in[2]), N = U > 0 ? n / U : 0;
    (void)attrs;
    if (n != U * N || !view_float(&out[0], n) || !view_float(&in[0], n) || !view_float(&in[1], n) ||
        !view_is(&in[2], DT_I32, U) || !view_f32(&in[3], DDPM_STEPS * COLUMNS))
        return check_refuse("ddpm_noise", out, 1, in, 4, err);
    LAUNCH(k, add_noise, blocks_for(n, THREADS), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), (const int32_t *)in[2].data, (const float *)in[3].data, n, N,
           state_of(k)->fault);
    return launched("ddpm_noise", err);
}

struct loss_call {
    int64_t U, N, per; /* passes, elements of each, elements under one weight */
    float *map, *sum;
    struct ref dpred, pred, noise;
    const float *weight, *scale;
};

/* A block to a pass. */
static __global__ void pass_loss(const struct loss_call c)
{
    __shared__ double room[BLOCK_WARPS_MAX];
    for (int64_t u = blockIdx.x; u < c.U; u += gridDim.x) {
        double sum = 0.0;
        for (int64_t j = u * c.N + threadIdx.x; j < (u + 1) * c.N; j += blockDim.x) {
            const float d = ref_get(c.pred, j) - ref_get(c.noise, j), w = c.weight[j / c.per];
            const float e = w * (d * d);
            sum += (double)e;
            if (c.map)
                c.map[j] = e;
            if (c.dpred.data)
                ref_put(c.dpred, j, 2.0f * w * d * c.scale[u]);
        }
        sum = block_sum(sum, room);
        if (threadIdx.x == 0)
            c.sum[u] = (float)sum;
    }
}

enum status ddpm_loss_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const int64_t n = view_count(&in[0]), U = view_count(&out[1]);
    const int64_t N = U > 0 ? n / U : 0, W = U > 0 ? view_count(&in[2]) / U : 0;
    struct loss_call c;
    (void)attrs;
    if (n != U * N || (U > 0 && (W < 1 || N % W != 0)) || !view_maybe_f32(&out[0], n) ||
        !view_f32(&out[1], U) || !view_maybe_float(&out[2], n) || !view_float(&in[0], n) ||
        !view_float(&in[1], n) || !view_f32(&in[2], U * W) || !view_maybe_f32(&in[3], U) ||
        (out[2].data && !in[3].data))
        return check_refuse("ddpm_loss", out, 3, in, 4, err);
    c.U = U;
    c.N = N;
    c.per = U > 0 ? N / W : 1;
    c.map = (float *)out[0].data;
    c.sum = (float *)out[1].data;
    c.dpred = ref_of(&out[2]);
    c.pred = ref_of(&in[0]);
    c.noise = ref_of(&in[1]);
    c.weight = (const float *)in[2].data;
    c.scale = (const float *)in[3].data;
    LAUNCH(k, pass_loss, blocks_for(U, 1), THREADS, 0, c);
    return launched("ddpm_loss", err);
}

static __global__ void sampler_step(struct ref next, struct ref z, struct ref eps, struct ref noise,
                                    int64_t n, struct ddpm_step_attrs at)
{
    FOR_ITEMS(j, n)
    {
        const float zj = ref_get(z, j);
        const float x0 = (zj - at.sqrt_rest * ref_get(eps, j)) / at.sqrt_abar;
        ref_put(next, j, at.c_x0 * x0 + at.c_z * zj + at.sigma * ref_get(noise, j));
    }
}

enum status ddpm_step_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                               const void *attrs, struct error *err)
{
    const struct ddpm_step_attrs *at = (const struct ddpm_step_attrs *)attrs;
    const int64_t n = view_count(&out[0]);
    if (!view_float(&out[0], n) || !view_float(&in[0], n) || !view_float(&in[1], n) ||
        !view_float(&in[2], n) || !(at->sqrt_abar > 0.0f))
        return check_refuse("ddpm_step", out, 1, in, 3, err);
    LAUNCH(k, sampler_step, blocks_for(n, THREADS), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), ref_of(&in[2]), n, *at);
    return launched("ddpm_step", err);
}

static __global__ void posterior(struct ref z0, struct ref moments, struct ref noise, int64_t N,
                                 int64_t C, float scale)
{
    FOR_ITEMS(j, N * C)
    {
        const int64_t n = j / C, c = j % C;
        const float mean = ref_get(moments, 2 * n * C + c);
        const float logvar = fminf(fmaxf(ref_get(moments, (2 * n + 1) * C + c), -30.0f), 20.0f);
        ref_put(z0, j, scale * (mean + expf(0.5f * logvar) * ref_get(noise, j)));
    }
}

enum status ddpm_posterior_fwd_cuda(struct kctx *k, const struct view *out, const struct view *in,
                                    const void *attrs, struct error *err)
{
    const struct ddpm_posterior_attrs *at = (const struct ddpm_posterior_attrs *)attrs;
    const int64_t N = view_rows(&out[0]), C = view_last(&out[0]);
    if (!view_float(&out[0], N * C) || !view_float(&in[0], 2 * N * C) ||
        view_last(&in[0]) != 2 * C || !view_float(&in[1], N * C))
        return check_refuse("ddpm_posterior", out, 1, in, 2, err);
    LAUNCH(k, posterior, blocks_for(N * C, THREADS), THREADS, 0, ref_of(&out[0]), ref_of(&in[0]),
           ref_of(&in[1]), N, C, at->scale);
    return launched("ddpm_posterior", err);
}
