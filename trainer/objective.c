/* trainer/objective.c: see objective.h. */
#include "trainer/objective.h"

#include "kernels/resize.h"
#include "trainer/layout.h"

enum status objective_region_weights(float *w, const float *mask, int64_t I, int64_t R, int64_t k,
                                     struct error *err)
{
    const struct resize_bilinear_attrs a = { .binarise = 1 };
    struct kctx host = { 0 };
    float *from = (float *)(uintptr_t)mask; /* views are not const; inputs are only read */
    const struct view in = { from, DT_F32, 3, { I, R, R } };
    const struct view out = { w, DT_F32, 3, { I, k, k } };
    if (mask && resize_bilinear_fwd_cpu(&host, &out, &in, &a, err) != ST_OK)
        return ST_FAIL;
    for (int64_t i = 0; i < I; i++) {
        float *one = w + i * k * k;
        double sum = 0.0;
        for (int64_t j = 0; j < k * k; j++) {
            one[j] = mask ? one[j] : 1.0f;
            sum += (double)one[j];
        }
        const float scale = (float)((double)(k * k) / (sum + 1e-8));
        for (int64_t j = 0; j < k * k; j++)
            one[j] *= scale;
    }
    return ST_OK;
}

int64_t objective_count_targets(const int32_t *targets, int64_t n)
{
    int64_t valid = 0;
    for (int64_t i = 0; i < n; i++)
        valid += targets[i] != LAYOUT_IGNORE;
    return valid;
}

int32_t objective_csr_timestep(int32_t t)
{
    return 200 + (6 * t + 5) / 10;
}

double objective_mean(double sum, int64_t count)
{
    return count > 0 ? sum / (double)count : 0.0;
}
