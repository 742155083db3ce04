/* kernels/cpu/groupnorm.c: one picture and group at a time, sums in double; silu is fused. */
#include "kernels/groupnorm.h"

#include "kernels/cpu/cpu_private.h"

/* The sizes of a call. A group is `width` neighbouring channels of all P pixels of a picture. */
struct sizes {
    int64_t I, P, C, groups, width;
};

static struct sizes sizes_of(const struct view *x, int groups)
{
    struct sizes z = { x->rank > 1 ? x->shape[0] : 1, 1, view_last(x), groups, 0 };
    for (int i = 1; i + 1 < x->rank; i++)
        z.P *= x->shape[i];
    if (groups > 0 && z.C % groups == 0)
        z.width = z.C / groups;
    return z;
}

static void group_stats(double *mean, double *rstd, const float *x, const struct sizes *z,
                        double eps)
{
    const double count = (double)(z->P * z->width);
    double sum = 0.0, squares = 0.0;
    for (int64_t p = 0; p < z->P; p++)
        for (int64_t c = 0; c < z->width; c++)
            sum += (double)x[p * z->C + c];
    *mean = sum / count;
    for (int64_t p = 0; p < z->P; p++)
        for (int64_t c = 0; c < z->width; c++)
            squares += ((double)x[p * z->C + c] - *mean) * ((double)x[p * z->C + c] - *mean);
    *rstd = 1.0 / sqrt(squares / count + eps);
}

static void group_fwd(float *y, const float *x, const float *w, const float *b,
                      const struct sizes *z, double mean, double rstd, int silu)
{
    for (int64_t p = 0; p < z->P; p++)
        for (int64_t c = 0; c < z->width; c++) {
            const float u = (float)(((double)x[p * z->C + c] - mean) * rstd) * w[c] + b[c];
            y[p * z->C + c] = silu ? u / (1.0f + expf(-u)) : u;
        }
}

enum status groupnorm_fwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct groupnorm_attrs *at = attrs;
    const struct sizes z = sizes_of(&in[0], at->groups);
    const int64_t n = z.I * z.P * z.C, G = z.groups;
    float *y = out[0].data, *mean = out[1].data, *rstd = out[2].data;
    const float *x = in[0].data, *w = in[1].data, *b = in[2].data;
    (void)k;

    if (z.width < 1 || !(at->eps > 0.0f) || !view_f32(&out[0], n) || !view_f32(&in[0], n) ||
        !view_maybe_f32(&out[1], z.I * G) || !view_maybe_f32(&out[2], z.I * G) ||
        !view_f32(&in[1], z.C) || !view_f32(&in[2], z.C))
        return check_refuse("groupnorm", out, 3, in, 3, err);
#pragma omp parallel for schedule(static) if (n > PARALLEL_MIN)
    for (int64_t j = 0; j < z.I * G; j++) {
        const int64_t first = j % G * z.width, at_x = j / G * z.P * z.C + first;
        double m, r;
        group_stats(&m, &r, x + at_x, &z, (double)at->eps);
        group_fwd(y + at_x, x + at_x, w + first, b + first, &z, m, r, at->silu);
        if (mean)
            mean[j] = (float)m;
        if (rstd)
            rstd[j] = (float)r;
    }
    return ST_OK;
}

/* Gradient at u = xhat w + b, the input of silu. */
static double at_norm(double dy, double xhat, float w, float b, int silu)
{
    if (!silu)
        return dy;
    const double u = xhat * (double)w + (double)b, s = 1.0 / (1.0 + exp(-u));
    return dy * s * (1.0 + u * (1.0 - s));
}

/* One picture and group: adds to dw and db of its channels, then writes dx where asked. */
static void group_bwd(float *dx, double *dw, double *db, const float *dy, const float *x,
                      const float *w, const float *b, const struct sizes *z, double mean,
                      double rstd, const struct groupnorm_attrs *at)
{
    const double count = (double)(z->P * z->width);
    double sum = 0.0, dot = 0.0;
    for (int64_t p = 0; p < z->P; p++)
        for (int64_t c = 0; c < z->width; c++) {
            const double xhat = ((double)x[p * z->C + c] - mean) * rstd;
            const double g = at_norm((double)dy[p * z->C + c], xhat, w[c], b[c], at->silu);
            dw[c] += g * xhat;
            db[c] += g;
            sum += g * (double)w[c];
            dot += g * (double)w[c] * xhat;
        }
    for (int64_t p = 0; p < (dx ? z->P : 0); p++)
        for (int64_t c = 0; c < z->width; c++) {
            const double xhat = ((double)x[p * z->C + c] - mean) * rstd;
            const double g = at_norm((double)dy[p * z->C + c], xhat, w[c], b[c], at->silu);
            const double d = rstd * (g * (double)w[c] - sum / count - xhat * dot / count);
            dx[p * z->C + c] = blend((float)d, dx[p * z->C + c], at->beta_dx);
        }
}

static bool bwd_fits(const struct view *out, const struct view *in, const struct sizes *z)
{
    const int64_t n = z->I * z->P * z->C, stats = z->I * z->groups;
    return z->width >= 1 && view_maybe_f32(&out[0], n) && view_maybe_f32(&out[1], z->C) &&
           view_maybe_f32(&out[2], z->C) && view_f32(&in[0], n) && view_f32(&in[1], n) &&
           view_f32(&in[2], z->C) && view_f32(&in[3], z->C) && view_f32(&in[4], stats) &&
           view_f32(&in[5], stats);
}

enum status groupnorm_bwd_cpu(struct kctx *k, const struct view *out, const struct view *in,
                              const void *attrs, struct error *err)
{
    const struct groupnorm_attrs *at = attrs;
    const struct sizes z = sizes_of(&in[1], at->groups);
    const int64_t G = z.groups, C = z.C;
    float *dx = out[0].data, *dw = out[1].data, *db = out[2].data;
    const float *dy = in[0].data, *x = in[1].data, *w = in[2].data, *b = in[3].data;
    const float *mean = in[4].data, *rstd = in[5].data;
    (void)k;

    if (!bwd_fits(out, in, &z))
        return check_refuse("groupnorm_bwd", out, 3, in, 6, err);
    double *sums = mem_calloc((size_t)C * 2, sizeof *sums); /* dw, then db */
    if (!sums)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: groupnorm gradients");
#pragma omp parallel for schedule(static) if (z.I * z.P * C > PARALLEL_MIN)
    for (int64_t g = 0; g < G; g++)
        for (int64_t i = 0; i < z.I;
             i++) { /* pictures in order: the sums are those of one thread */
            const int64_t first = g * z.width, at_x = i * z.P * C + first;
            group_bwd(dx ? dx + at_x : NULL, sums + first, sums + C + first, dy + at_x, x + at_x,
                      w + first, b + first, &z, (double)mean[i * G + g], (double)rstd[i * G + g],
                      at);
        }
    for (int64_t c = 0; c < (dw ? C : 0); c++)
        dw[c] = blend((float)sums[c], dw[c], at->beta_dw);
    for (int64_t c = 0; c < (db ? C : 0); c++)
        db[c] = blend((float)sums[C + c], db[c], at->beta_db);
    mem_free(sums);
    return ST_OK;
}
