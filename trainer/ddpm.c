/* trainer/ddpm.c: see ddpm.h. */
#include "trainer/ddpm.h"

#include <inttypes.h>

enum status ddpm_sampler_init(struct ddpm_sampler *s, int64_t steps, double guidance,
                              struct error *err)
{
    const struct view table = {
        .data = s->table, .type = DT_F32, .rank = 2, .shape = { DDPM_STEPS, 4 }
    };
    struct kctx k = { 0 };
    if (steps < 1 || steps > DDPM_STEPS)
        return error_set(err, ST_FAIL, CAUSE_ARG, "sampler: got %" PRId64 " steps, want 1 to %d",
                         steps, DDPM_STEPS);
    s->steps = (int)steps;
    s->stride = DDPM_STEPS / s->steps;
    s->guidance = guidance;
    return ddpm_table_fwd_cpu(&k, &table, NULL, NULL, err);
}

int32_t ddpm_sampler_timestep(const struct ddpm_sampler *s, int64_t i)
{
    const int32_t t = (int32_t)((s->steps - 1 - i) * s->stride) + 1;
    return t < DDPM_STEPS ? t : DDPM_STEPS - 1; /* 1000 steps end at 999 + 1 */
}

void ddpm_guide(float *eps, const float *uncond, const float *cond, int64_t n, double guidance)
{
    for (int64_t i = 0; i < n; i++)
        eps[i] = uncond[i] + (float)guidance * (cond[i] - uncond[i]);
}

static struct view floats(const float *data, int64_t n)
{
    return (
        struct view){ .data = (void *)(uintptr_t)data, .type = DT_F32, .rank = 1, .shape = { n } };
}

enum status ddpm_sampler_step(const struct ddpm_sampler *s, int64_t i, float *z, float *x0,
                              const float *eps, const float *noise, int64_t n, struct error *err)
{
    struct ddpm_step_attrs a;
    struct kctx k = { 0 };
    const struct view out = floats(z, n);
    const struct view in[3] = { floats(z, n), floats(eps, n), floats(noise, n) };

    ddpm_step_coefficients(&a, s->table, ddpm_sampler_timestep(s, i), s->stride);
    for (int64_t e = 0; x0 && e < n; e++)
        x0[e] = (z[e] - a.sqrt_rest * eps[e]) / a.sqrt_abar;
    return ddpm_step_fwd_cpu(&k, &out, in, &a, err);
}
