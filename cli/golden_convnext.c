/* cli/golden_convnext.c: module case "convnext": trunk, adapters and the tokens they make. */
#include <stdio.h>

#include "cli/golden.h"
#include "trainer/nn_convnext.h"
#include "trainer/nn_picture.h"

struct convnext_case {
    struct convnext_config c;
    int64_t I, R;
};

static void read_config(struct golden *g, struct convnext_case *m)
{
    if (golden_ints(g, "config.depths", m->c.depths, CONVNEXT_STAGES) != CONVNEXT_STAGES ||
        golden_ints(g, "config.dims", m->c.dims, CONVNEXT_STAGES) != CONVNEXT_STAGES)
        golden_problem(g, "case.json: config: want %d depths and dims", CONVNEXT_STAGES);
    m->c.feature_width = golden_int(g, "config.feature_width");
    m->R = golden_int(g, "config.side");
    m->I = golden_int(g, "config.images");
}

static int cotangent(struct program *p, const char *name, int64_t I, int64_t C, int64_t s)
{
    return op_nhwc(p, program_batch(p, name, ROLE_STORAGE, (int64_t[]){ I, C, s, s }, 4));
}

static void write_program(struct program *p, const struct convnext_case *m)
{
    const int64_t I = m->I, R = m->R, F = m->c.feature_width, T = 1 + (R / 16) * (R / 16),
                  three = 3;
    const int image = program_batch(p, "image", ROLE_STORAGE, (int64_t[]){ I, 3, R, R }, 4);
    const int scale = program_batch(p, "scale", ROLE_STORAGE, &three, 1);
    const int shift = program_batch(p, "shift", ROLE_STORAGE, &three, 1);
    struct convnext_out out;
    char name[40];

    nn_convnext(p, &m->c, "", op_nhwc(p, image), scale, shift, NULL, &out);
    const int cls = program_reshape(p, out.cls, (int64_t[]){ I, 1, F }, 3);
    const int tokens = op_concat(p, cls, nn_tokens(p, out.level[2]), 1);
    for (int s = 0; s < CONVNEXT_STAGES; s++) {
        program_probe(p, out.stage[s], "c%d", s + 2);
        program_probe(p, out.level[s], "f_c%d", s + 2);
        snprintf(name, sizeof name, "cotangent.f_c%d", s + 2);
        program_gradient_seed(p, out.level[s], cotangent(p, name, I, F, R >> (s + 2)));
    }
    program_probe(p, out.pooled, "pooled");
    program_probe(p, tokens, "tokens");
    program_gradient_seed(
        p, tokens, program_batch(p, "cotangent.tokens", ROLE_STORAGE, (int64_t[]){ I, T, F }, 3));
    program_backward(p, 0, p->n_nodes);
}

static void set_inputs(struct golden *g, struct runner *r, const struct program *p)
{
    const float *mean = golden_input(g, "clip_mean", 4, (int64_t[]){ 1, 3, 1, 1 });
    const float *std = golden_input(g, "clip_std", 4, (int64_t[]){ 1, 3, 1, 1 });
    char name[40];
    golden_set(g, r, p, "image");
    golden_set(g, r, p, "cotangent.tokens");
    for (int s = 0; s < CONVNEXT_STAGES; s++) {
        snprintf(name, sizeof name, "cotangent.f_c%d", s + 2);
        golden_set(g, r, p, name);
    }
    if (mean && std)
        convnext_normalise(runner_data(r, program_find(p, "scale")),
                           runner_data(r, program_find(p, "shift")), mean, std);
}

enum status golden_convnext(struct golden *g, struct error *err)
{
    struct convnext_case m = { 0 };
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
    golden_put_gradients(g, params);
    st = ST_OK;
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
