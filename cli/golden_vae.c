/* cli/golden_vae.c: module case "vae": both halves of the autoencoder and the posterior's draw. */
#include <math.h>

#include "cli/golden.h"
#include "trainer/nn_vae.h"
#include "trainer/op.h"

struct vae_case {
    struct vae_config c;
    int64_t I, R, k; /* pictures, side, side of the latent */
    double scale;
};

static void read_config(struct golden *g, struct vae_case *m)
{
    if (golden_ints(g, "config.widths", m->c.widths, VAE_LEVELS) != VAE_LEVELS)
        golden_problem(g, "case.json: config.widths: want %d", VAE_LEVELS);
    m->c.groups = golden_int(g, "config.groups");
    m->c.resnets = golden_int(g, "config.layers_per_block");
    m->R = golden_int(g, "config.side");
    m->I = golden_int(g, "config.images");
    m->scale = golden_positive(g, "config.scaling_factor");
    m->k = m->R / 8;
}

static int nchw(struct program *p, const char *name, int64_t I, int64_t C, int64_t s)
{
    return program_batch(p, name, ROLE_EXACT, (int64_t[]){ I, C, s, s }, 4);
}

/* x as the network wants it, [I,s,s,C], kept apart so that its gradient can be read. */
static int nhwc(struct program *p, const char *name, int64_t I, int64_t C, int64_t s)
{
    const int t = program_batch(p, name, ROLE_EXACT, (int64_t[]){ I, s, s, C }, 4);
    program_require_gradient(p, t);
    return t;
}

/* Returns where backward begins: training needs no gradient of the posterior's draw, so that of the
 * moments is made on the host between the two halves. */
static int write_program(struct program *p, const struct vae_case *m)
{
    const int x = nhwc(p, "x", m->I, 3, m->R), latent = nhwc(p, "latent", m->I, VAE_LATENT, m->k);
    const int noise = op_nhwc(p, nchw(p, "posterior_noise", m->I, VAE_LATENT, m->k));
    const int moments = nn_vae_encode(p, &m->c, "", x, "encoder.");
    const int z0 = op_posterior(p, moments, noise, (float)m->scale);
    const int decoded = nn_vae_decode(p, &m->c, "", latent, "decoder.");
    program_probe(p, moments, "moments");
    program_probe(p, z0, "z0");
    program_probe(p, decoded, "decoded");
    program_gradient_seed(p, moments,
                          program_batch(p, "cotangent.moments", ROLE_EXACT,
                                        (int64_t[]){ m->I, m->k, m->k, 2L * VAE_LATENT }, 4));
    program_gradient_seed(p, decoded, op_nhwc(p, nchw(p, "cotangent.decoded", m->I, 3, m->R)));
    const int end = p->n_nodes;
    program_backward(p, 0, end);
    return end;
}

/* to [I,s,s,C] = a from [I,C,s,s] + b. */
static void turn(float *to, const float *from, int64_t I, int64_t C, int64_t s, double a, double b)
{
    for (int64_t i = 0; i < I; i++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t e = 0; e < s * s; e++)
                to[(i * s * s + e) * C + c] =
                    (float)(a * (double)from[(i * C + c) * s * s + e] + b);
}

static void set_inputs(struct golden *g, struct runner *r, const struct program *p,
                       const struct vae_case *m)
{
    const float *image = golden_input(g, "image", 4, (int64_t[]){ m->I, 3, m->R, m->R });
    const float *z = golden_input(g, "z", 4, (int64_t[]){ m->I, VAE_LATENT, m->k, m->k });
    golden_set(g, r, p, "posterior_noise");
    golden_set(g, r, p, "cotangent.decoded");
    if (image)
        turn(runner_data(r, program_find(p, "x")), image, m->I, 3, m->R, 2.0, -1.0);
    if (z)
        turn(runner_data(r, program_find(p, "latent")), z, m->I, VAE_LATENT, m->k, 1.0 / m->scale,
             0.0);
}

static float clamp(float v, float low, float high)
{
    return v < low ? low : v > high ? high : v;
}

/* Mean and clamped log-variance out of the moments; the picture out of what was decoded. */
static void put_derived(struct golden *g, struct runner *r, const struct program *p,
                        const struct vae_case *m)
{
    const int64_t n = m->I * m->k * m->k, pixels = m->I * m->R * m->R * 3;
    const float *moments = runner_data(r, program_find(p, "moments"));
    const float *decoded = runner_data(r, program_find(p, "decoded"));
    float *mean = golden_memory(g, n * VAE_LATENT, sizeof *mean);
    float *logvar = golden_memory(g, n * VAE_LATENT, sizeof *logvar);
    float *picture = golden_memory(g, pixels, sizeof *picture);
    if (!mean || !logvar || !picture)
        return;
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < VAE_LATENT; c++) {
            mean[i * VAE_LATENT + c] = moments[i * 2 * VAE_LATENT + c];
            logvar[i * VAE_LATENT + c] =
                clamp(moments[i * 2 * VAE_LATENT + VAE_LATENT + c], -30.0f, 20.0f);
        }
    for (int64_t i = 0; i < pixels; i++)
        picture[i] = clamp(decoded[i] / 2.0f + 0.5f, 0.0f, 1.0f);
    golden_put_nchw(g, "mean", mean, m->I, m->k, m->k, VAE_LATENT);
    golden_put_nchw(g, "logvar", logvar, m->I, m->k, m->k, VAE_LATENT);
    golden_put_nchw(g, "picture", picture, m->I, m->R, m->R, 3);
}

/* Backward of z0 = scale (mu + exp(logvar / 2) eps), logvar clamped to [-30, 20]. */
static void set_moments_cotangent(struct golden *g, struct runner *r, const struct program *p,
                                  const struct vae_case *m)
{
    int64_t shape[4] = { m->I, VAE_LATENT, m->k, m->k };
    const int64_t n = m->k * m->k;
    const float *d = golden_input(g, "cotangent.z0", 4, shape);
    const float *eps = golden_input(g, "posterior_noise", 4, shape);
    const float *moments = runner_data(r, program_find(p, "moments"));
    float *out = runner_data(r, program_find(p, "cotangent.moments"));
    for (int64_t e = 0; d && eps && e < m->I * VAE_LATENT * n; e++) {
        const int64_t i = e / (VAE_LATENT * n), c = e / n % VAE_LATENT;
        const int64_t at = (i * n + e % n) * 2 * VAE_LATENT + c;
        const double logvar = (double)moments[at + VAE_LATENT];
        const bool inside = logvar >= -30.0 && logvar <= 20.0;
        const double part = m->scale * (double)d[e];
        out[at] = (float)part;
        out[at + VAE_LATENT] =
            inside ? (float)(part * (double)eps[e] * 0.5 * exp(logvar / 2.0)) : 0.0f;
    }
}

/* The gradient of an input that was scaled by `a` on its way in. */
static void put_scaled(struct golden *g, struct runner *r, struct program *p, const char *from,
                       const char *name, int64_t C, int64_t s, double a, int64_t I)
{
    const int64_t n = I * s * s * C;
    const float *d = runner_data(r, program_gradient(p, program_find(p, from)));
    float *out = golden_memory(g, n, sizeof *out);
    if (!d || !out)
        return;
    for (int64_t i = 0; i < n; i++)
        out[i] = (float)(a * (double)d[i]);
    golden_put_nchw(g, name, out, I, s, s, C);
}

enum status golden_vae(struct golden *g, struct error *err)
{
    struct vae_case m = { 0 };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;

    read_config(g, &m);
    if (golden_ready(g, err) != ST_OK || golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    const int forward = write_program(p, &m);
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    set_inputs(g, r, p, &m);
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, forward, err) != ST_OK)
        goto done;
    set_moments_cotangent(g, r, p, &m);
    if (golden_ready(g, err) != ST_OK || runner_run(r, forward, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put_probes(g, r, p, "");
    put_derived(g, r, p, &m);
    put_scaled(g, r, p, "x", "grad_in.image", 3, m.R, 2.0, m.I);
    put_scaled(g, r, p, "latent", "grad_in.z", VAE_LATENT, m.k, 1.0 / m.scale, m.I);
    st = golden_ready(g, err);
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
