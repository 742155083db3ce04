/* cli/golden_vistok.c: module case "vistok": the visual tokenizer with mask tokens, and without them
 * ("plain") over the same parameters; the weighting of CSR. */
#include <string.h>

#include "cli/golden.h"
#include "trainer/nn_vistok.h"
#include "trainer/objective.h"
#include "trainer/op.h"

struct vistok_case {
    struct vistok_config c;
    int64_t I, latent;
};

static void read_config(struct golden *g, struct vistok_case *m)
{
    struct vistok_config *c = &m->c;
    c->width = golden_int(g, "config.feature_width");
    c->grid = golden_int(g, "config.position_grid");
    c->side = golden_int(g, "config.side");
    c->mask_side = golden_int(g, "config.mask_mlp_side");
    c->llm_width = golden_int(g, "config.llm_width");
    c->diffusion_width = golden_int(g, "config.diffusion_width");
    c->mask_align = golden_flag(g, "config.mask_align");
    c->perceiver = (struct qformer_config){
        .queries = golden_int(g, "config.queries"),
        .hidden = golden_int(g, "config.qformer_width"),
        .heads = golden_int(g, "config.heads"),
        .layers = golden_int(g, "config.layers"),
        .cross_every = golden_int(g, "config.cross_every"),
        .ffn = golden_int(g, "config.ffn"),
        .encoder = c->width,
        .qk_norm = true,
    };
    m->I = golden_int(g, "config.images");
    m->latent = golden_int(g, "config.latent_side");
}

/* Batch input [I,F,side,side] as channels-last; the gradient is asked for by the input's name. */
static int picture_input(struct program *p, const char *name, int64_t I, int64_t F, int64_t side)
{
    const int x = program_batch(p, name, ROLE_STORAGE, (int64_t[]){ I, F, side, side }, 4);
    program_require_gradient(p, x);
    return op_nhwc(p, x);
}

static void probe_all(struct program *p, const struct vistok *t, const struct vistok_config *c,
                      int64_t I)
{
    program_probe(p, t->pos_embed, "pos_embed");
    program_probe(p, t->pos_tokens, "pos.tokens");
    program_probe(p, t->tokens, "g");
    program_probe(p, t->mask_tokens, "mask_tokens");
    program_probe(p, t->mlp_input, "mask.mlp_input");
    program_probe(p, t->v, "v");
    program_probe(p, t->vis_embed, "vis_embed");
    program_probe(p, t->dif_embed, "dif_embed");
    for (int l = 0; l < VISTOK_LEVELS; l++) {
        program_probe(p, t->pos[l], "pos.level%d", l);
        program_probe(p, t->feature[l], "level%d", l);
        program_probe(p, t->mask[l], "mask.level%d", l);
        const int64_t n = vistok_side(c, l) * vistok_side(c, l);
        const int flat = program_reshape(p, t->mask[l], (int64_t[]){ I, n }, 2);
        program_probe(p, op_scale_rows(p, t->feature[l], flat), "masked_level%d", l);
    }
}

static void seed(struct program *p, int t, const char *name)
{
    if (p->failed)
        return;
    const struct tensor x = *program_tensor(p, t);
    program_gradient_seed(p, t, program_batch(p, name, ROLE_STORAGE, x.shape, x.rank));
}

static void write_program(struct program *p, const struct vistok_case *m)
{
    const struct vistok_config *c = &m->c;
    static const char *const names[] = { "f_c2", "f_c3", "f_c4", "f_c5" };
    struct vistok_inputs in = { 0 };
    in.cls = program_batch(p, "cls", ROLE_STORAGE, (int64_t[]){ m->I, c->width }, 2);
    program_require_gradient(p, in.cls);
    for (int l = 0; l < VISTOK_LEVELS; l++)
        in.adapted[l] = picture_input(p, names[l], m->I, c->width, vistok_side(c, l));
    in.mask = program_batch(p, "mask", ROLE_EXACT, (int64_t[]){ m->I, c->side, c->side }, 3);
    struct vistok t = nn_vistok(p, c, &in, "", "layer", ".out", true);
    probe_all(p, &t, c, m->I);
    program_probe(p, op_resize_mask(p, in.mask, m->latent, true), "mask.latent");
    seed(p, t.vis_embed, "cotangent.vis_embed");
    seed(p, t.dif_embed, "cotangent.dif_embed");
    program_backward(p, 0, p->n_nodes);
    struct vistok plain = { 0 };
    nn_vistok_perceive(p, c, &plain, t.tokens, "", NULL, "", false);
    program_probe(p, plain.v, "plain.v");
    program_probe(p, plain.vis_embed, "plain.vis_embed");
    program_probe(p, plain.dif_embed, "plain.dif_embed");
}

void golden_put_weighted(struct golden *g, const float *error, const float *weight, int64_t I,
                         int64_t pixels, const char *loss)
{
    const int64_t n = I * 4 * pixels;
    float *gradient = golden_memory(g, n, sizeof *gradient);
    double sum = 0.0;
    for (int64_t i = 0; gradient && i < n; i++) {
        const float w = weight[i / (4 * pixels) * pixels + i % pixels];
        sum += (double)error[i] * (double)w;
        gradient[i] = (float)((double)w / (double)n);
    }
    const float mean = (float)objective_mean(sum, n);
    golden_put(g, loss, &mean, 1);
    if (gradient)
        golden_put(g, "grad_in.squared_error", gradient, n);
}

/* CSR's weighting of errors that are given. */
static enum status put_csr(struct golden *g, const struct vistok_case *m, struct error *err)
{
    const int64_t I = m->I, k = m->latent;
    const float *error = golden_input(g, "squared_error", 4, (int64_t[]){ I, 4, k, k });
    const float *mask = golden_input(g, "mask", 4, (int64_t[]){ I, 1, m->c.side, m->c.side });
    float *w = golden_memory(g, I * k * k, sizeof *w);
    if (golden_ready(g, err) != ST_OK ||
        objective_region_weights(w, mask, I, m->c.side, k, err) != ST_OK)
        return ST_FAIL;
    golden_put_weighted(g, error, w, I, k * k, "csr_loss");
    return golden_ready(g, err);
}

static void set_inputs(struct golden *g, struct runner *r, const struct program *p)
{
    static const char *const names[] = {
        "cls", "f_c2", "f_c3", "f_c4", "f_c5", "mask", "cotangent.vis_embed", "cotangent.dif_embed"
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        golden_set(g, r, p, names[i]);
}

/* v is the last layer; a tensor has one name. */
static void put_last_layer(struct golden *g, struct runner *r, const struct program *p,
                           const struct vistok_case *m)
{
    char name[64];
    const int v = program_find(p, "v");
    snprintf(name, sizeof name, "layer%d.out", (int)m->c.perceiver.layers - 1);
    golden_put(g, name, runner_data(r, v), program_tensor(p, v)->count);
}

enum status golden_vistok(struct golden *g, struct error *err)
{
    static const char *const wanted[] = { "cls", "f_c2", "f_c3", "f_c4", "f_c5" };
    struct vistok_case m = { 0 };
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
    set_inputs(g, r, p);
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put_probes(g, r, p, "");
    put_last_layer(g, r, p, &m);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        golden_put_grad_in(g, r, p, wanted[i]);
    golden_put_gradients(g, params);
    st = put_csr(g, &m, err);
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
