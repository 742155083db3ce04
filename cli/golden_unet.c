/* cli/golden_unet.c: module case "unet": the UNet with the side network between middle and way up. */
#include <stdio.h>

#include "cli/golden.h"
#include "trainer/nn_picture.h"
#include "trainer/nn_unet.h"

struct unet_case {
    struct unet_config c;
    struct mmfsnet_config net;
    int64_t B, l, s; /* passes, length of the context, side of the latent */
};

static void read_config(struct golden *g, struct unet_case *m)
{
    struct mmfsnet_config *n = &m->net;
    if (golden_ints(g, "config.widths", m->c.widths, UNET_LEVELS) != UNET_LEVELS ||
        golden_ints(g, "config.heads", m->c.heads, UNET_LEVELS) != UNET_LEVELS)
        golden_problem(g, "case.json: config: want %d widths and heads", UNET_LEVELS);
    m->c.resnets = golden_int(g, "config.layers_per_block");
    m->c.groups = golden_int(g, "config.groups");
    m->c.cross = golden_int(g, "config.context_width");
    m->B = golden_int(g, "config.batch");
    m->l = golden_int(g, "config.context_length");
    m->s = golden_int(g, "config.latent_side");
    n->feature_width = golden_int(g, "config.feature_width");
    n->inner = golden_int(g, "config.mmfs_inner_width");
    n->heads = golden_int(g, "config.mmfs_heads");
    n->points = golden_int(g, "config.mmfs_points");
    n->max_images = golden_int(g, "config.max_images");
    n->grid = golden_int(g, "config.position_grid");
    n->levels = golden_ints(g, "config.feature_sides", n->sides, MMFS_LEVELS_MAX);
    if (golden_ints(g, "config.spatial_shapes", n->shapes, MMFS_LEVELS_MAX) != n->levels ||
        golden_ints(g, "config.base_spatial_shapes", n->bases, MMFSNET_BASES) != MMFSNET_BASES)
        golden_problem(g, "case.json: config: spatial_shapes, base_spatial_shapes: wrong number");
}

static int feature_rows(struct program *p, const struct unet_case *m)
{
    int rows = TENSOR_NONE;
    for (int i = 0; i < m->net.levels; i++) {
        char name[20];
        const int64_t s = m->net.sides[i];
        snprintf(name, sizeof name, "level%d", i);
        const int level = program_batch(p, name, ROLE_STORAGE,
                                        (int64_t[]){ m->B, s * s, m->net.feature_width }, 3);
        program_require_gradient(p, level);
        rows = i == 0 ? level : op_concat(p, rows, level, 1);
    }
    return rows;
}

static void write_program(struct program *p, const struct unet_case *m)
{
    static const struct unet_names names = { .sinusoid = "time_sinusoid",
                                             .time = "time_embedding",
                                             .before = { "skip", ".before" },
                                             .after = { "skip", ".after" },
                                             .mid_before = "mid.before",
                                             .mid_after = "mid.after",
                                             .up = { "up", ".out" } };
    const int64_t B = m->B, s = m->s, lists = B + 1;
    const int z = program_batch(p, "z", ROLE_STORAGE, (int64_t[]){ B, s, s, 4 }, 4);
    const int t = program_batch(p, "timesteps", ROLE_INDEX, &B, 1);
    const int context =
        program_batch(p, "context", ROLE_STORAGE, (int64_t[]){ B, m->l, m->c.cross }, 3);
    struct mmfsnet net;
    program_require_gradient(p, z);
    program_require_gradient(p, context);
    const struct mmfsnet_inputs in = { .features = feature_rows(p, m),
                                       .begin = program_batch(p, "begin", ROLE_INDEX, &lists, 1),
                                       .image = program_batch(p, "image", ROLE_INDEX, &B, 1),
                                       .rank = program_batch(p, "rank", ROLE_INDEX, &B, 1) };
    mmfsnet_begin(&net, p, &m->net, "mmfs_module.", &in);
    const int eps = nn_unet(p, &m->c, "unet.", z, t, context, &net, &names);
    program_probe(p, eps, "eps");
    program_gradient_seed(
        p, eps,
        op_nhwc(p, program_batch(p, "cotangent.eps", ROLE_STORAGE, (int64_t[]){ B, 4, s, s }, 4)));
    program_backward(p, 0, p->n_nodes);
}

/* to [I,n,C] from [I,C,n]. */
static void turn(float *to, const float *from, int64_t I, int64_t C, int64_t n)
{
    for (int64_t i = 0; i < I; i++)
        for (int64_t c = 0; c < C; c++)
            for (int64_t e = 0; e < n; e++)
                to[(i * n + e) * C + c] = from[(i * C + c) * n + e];
}

static void set_turned(struct golden *g, struct runner *r, const struct program *p,
                       const char *name, const char *input, int64_t B, int64_t C, int64_t s)
{
    const float *x = golden_input(g, input, 4, (int64_t[]){ B, C, s, s });
    if (x)
        turn(runner_data(r, program_find(p, name)), x, B, C, s * s);
}

static void set_visible(struct golden *g, struct runner *r, const struct program *p,
                        const struct unet_case *m)
{
    const int32_t *visible = golden_ids(g, "mmfs_visible", 2, (int64_t[]){ m->B, 1 });
    int32_t *begin = runner_data(r, program_find(p, "begin"));
    int32_t *image = runner_data(r, program_find(p, "image"));
    int32_t *rank = runner_data(r, program_find(p, "rank"));
    int32_t n = 0;
    for (int64_t u = 0; visible && u < m->B; u++) {
        begin[u] = n;
        if (visible[u]) {
            image[n] = (int32_t)u;
            rank[n++] = 1;
        }
    }
    begin[m->B] = n;
    for (int64_t e = n; e < m->B; e++)
        image[e] = rank[e] = 0;
}

static void set_inputs(struct golden *g, struct runner *r, const struct program *p,
                       const struct unet_case *m)
{
    set_turned(g, r, p, "z", "z_t", m->B, 4, m->s);
    for (int i = 0; i < m->net.levels; i++) {
        char name[20];
        snprintf(name, sizeof name, "level%d", i);
        set_turned(g, r, p, name, name, m->B, m->net.feature_width, m->net.sides[i]);
    }
    golden_set(g, r, p, "timesteps");
    golden_set(g, r, p, "context");
    golden_set(g, r, p, "cotangent.eps");
    set_visible(g, r, p, m);
    for (int t = 0; t < p->n_tensors; t++) {
        const int64_t side = mmfsnet_points_side(p->tensors[t].name);
        if (side > 0)
            nn_pixel_centres(runner_data(r, t), side, side);
    }
}

static void put_turned(struct golden *g, struct runner *r, struct program *p, const char *name,
                       const char *as, int64_t B, int64_t C, int64_t s)
{
    const float *d = runner_data(r, program_gradient(p, program_find(p, name)));
    if (d)
        golden_put_nchw(g, as, d, B, s, s, C);
}

static void put_gradients(struct golden *g, struct runner *r, struct program *p,
                          const struct unet_case *m)
{
    put_turned(g, r, p, "z", "grad_in.z_t", m->B, 4, m->s);
    for (int i = 0; i < m->net.levels; i++) {
        char name[20], as[30];
        snprintf(name, sizeof name, "level%d", i);
        snprintf(as, sizeof as, "grad_in.level%d", i);
        put_turned(g, r, p, name, as, m->B, m->net.feature_width, m->net.sides[i]);
    }
    golden_put_grad_in(g, r, p, "context");
}

enum status golden_unet(struct golden *g, struct error *err)
{
    struct unet_case m = { 0 };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;

    read_config(g, &m);
    if (golden_ready(g, err) != ST_OK || golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    write_program(p, &m);
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    set_inputs(g, r, p, &m);
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put_probes(g, r, p, "");
    put_gradients(g, r, p, &m);
    golden_put_gradients(g, params);
    st = golden_ready(g, err);
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
