/* cli/golden_ddpm.c: module case "ddpm": schedule, noising, the sampler step by step. */
#include <string.h>

#include "cli/golden.h"
#include "trainer/ddpm.h"
#include "trainer/objective.h"
#include "trainer/op.h"

/* The schedule of the case must be the one that is built in. */
static void check_config(struct golden *g)
{
    if (golden_int(g, "config.train_steps") != DDPM_STEPS ||
        golden_real(g, "config.beta_start") != 0.00085 ||
        golden_real(g, "config.beta_end") != 0.012 ||
        strcmp(golden_text(g, "config.beta_schedule"), "scaled_linear") != 0)
        golden_problem(g, "case.json: config: another noise schedule than Stable Diffusion's");
    if (strcmp(golden_text(g, "config.prediction"), "epsilon") != 0 ||
        strcmp(golden_text(g, "config.timestep_spacing"), "leading") != 0 ||
        golden_int(g, "config.steps_offset") != 1)
        golden_problem(g, "case.json: config: another sampler than leading, offset 1, epsilon");
}

static void put_tables(struct golden *g, const struct ddpm_sampler *s)
{
    float *betas = golden_memory(g, DDPM_STEPS, sizeof *betas);
    float *products = golden_memory(g, DDPM_STEPS, sizeof *products);
    int32_t *remap = golden_memory(g, DDPM_STEPS, sizeof *remap);
    int32_t *times = golden_memory(g, s->steps, sizeof *times);
    if (!betas || !products || !remap || !times)
        return;
    for (int32_t t = 0; t < DDPM_STEPS; t++) {
        betas[t] = s->table[(size_t)t * 4];
        products[t] = s->table[(size_t)t * 4 + 1];
        remap[t] = objective_csr_timestep(t);
    }
    for (int i = 0; i < s->steps; i++)
        times[i] = ddpm_sampler_timestep(s, i);
    golden_put(g, "betas", betas, DDPM_STEPS);
    golden_put(g, "alphas_cumprod", products, DDPM_STEPS);
    golden_put_ids(g, "csr_remap", remap, DDPM_STEPS);
    golden_put_ids(g, "sample_timesteps", times, s->steps);
}

/* z_t by the operations of the training step. */
static enum status put_noised(struct golden *g, struct error *err)
{
    int64_t shape[4] = { -1, -1, -1, -1 };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;

    golden_input(g, "z0", 4, shape);
    if (golden_ready(g, err) != ST_OK || golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    const int z0 = program_batch(p, "z0", ROLE_EXACT, shape, 4);
    const int eps = program_batch(p, "eps", ROLE_EXACT, shape, 4);
    const int t = program_batch(p, "t", ROLE_INDEX, &shape[0], 1);
    const int zt = program_keep(p, op_ddpm_noise(p, z0, eps, t, op_ddpm_table(p)));
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    golden_set(g, r, p, "z0");
    golden_set(g, r, p, "eps");
    golden_set(g, r, p, "t");
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put(g, "z_t", runner_data(r, zt), program_tensor(p, zt)->count);
    st = ST_OK;
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}

static enum status put_samples(struct golden *g, const struct ddpm_sampler *s, struct error *err)
{
    int64_t shape[4] = { -1, -1, -1, -1 };
    const float *start = golden_input(g, "z_start", 4, shape);
    const int64_t n = shape[0] * shape[1] * shape[2] * shape[3], all = n * s->steps;
    int64_t steps[5] = { s->steps, shape[0], shape[1], shape[2], shape[3] };
    const float *uncond = golden_input(g, "eps_uncond", 5, steps);
    const float *cond = golden_input(g, "eps_cond", 5, steps);
    const float *noise = golden_input(g, "noise", 5, steps);
    if (golden_ready(g, err) != ST_OK)
        return ST_FAIL;
    float *z = golden_memory(g, all + n, sizeof *z);
    float *x0 = golden_memory(g, all, sizeof *x0), *eps = golden_memory(g, n, sizeof *eps);
    if (!z || !x0 || !eps)
        return golden_ready(g, err);
    memcpy(z, start, (size_t)n * sizeof *z);
    for (int i = 0; i < s->steps; i++) {
        float *next = z + (i + 1) * n;
        memcpy(next, z + i * n, (size_t)n * sizeof *z);
        ddpm_guide(eps, uncond + i * n, cond + i * n, n, s->guidance);
        if (ddpm_sampler_step(s, i, next, x0 + i * n, eps, noise + i * n, n, err) != ST_OK)
            return ST_FAIL;
    }
    golden_put(g, "z", z + n, all);
    golden_put(g, "x0", x0, all);
    return ST_OK;
}

enum status golden_ddpm(struct golden *g, struct error *err)
{
    struct ddpm_sampler *s = golden_memory(g, 1, sizeof *s);
    check_config(g);
    const int64_t steps = golden_int(g, "config.inference_steps");
    const double guidance = golden_real(g, "config.guidance");
    if (golden_ready(g, err) != ST_OK || ddpm_sampler_init(s, steps, guidance, err) != ST_OK)
        return ST_FAIL;
    put_tables(g, s);
    if (put_noised(g, err) != ST_OK || put_samples(g, s, err) != ST_OK)
        return ST_FAIL;
    return golden_ready(g, err);
}
