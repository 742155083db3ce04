/* cli/golden_perceiver2.c: module case "perceiver2": contexts, Perceiver #2, the unconditional drop, the
 * normalisation of L_NIP. */
#include <string.h>

#include "cli/golden.h"
#include "trainer/layout.h"
#include "trainer/nn_perceiver2.h"
#include "trainer/objective.h"
#include "trainer/op.h"

struct context_case {
    struct qformer_config c;
    struct layout_batch b;
    struct layout *l;
    int64_t I, longest, latent;
    double drop;
};

static void read_config(struct golden *g, struct context_case *m)
{
    int64_t shape[2] = { -1, -1 }, images = -1;
    struct layout_batch *b = &m->b;
    m->c = (struct qformer_config){
        .queries = golden_int(g, "config.queries"),
        .hidden = golden_int(g, "config.width"),
        .heads = golden_int(g, "config.heads"),
        .layers = golden_int(g, "config.layers"),
        .cross_every = golden_int(g, "config.cross_every"),
        .ffn = golden_int(g, "config.ffn"),
        .encoder = golden_int(g, "config.llm_width"),
    };
    m->latent = golden_int(g, "config.latent_side");
    m->drop = golden_real(g, "config.drop_probability");
    b->ids.bos = (int32_t)golden_int_from(g, "config.special_ids.bos", 0);
    b->ids.soi = (int32_t)golden_int_from(g, "config.special_ids.soi", 0);
    b->ids.image = -1; /* the case has no slots to fill */
    b->vocab = INT32_MAX;
    b->text_ids = golden_ids(g, "text_ids", 2, shape);
    b->nearest_bos = golden_ids(g, "nearest_bos", 1, &images);
    b->B = shape[0];
    b->L = shape[1];
}

/* Pictures of a row are its soi tokens. */
static enum status make_layout(struct golden *g, struct context_case *m, struct error *err)
{
    int32_t *per_row = golden_memory(g, m->b.B, sizeof *per_row);
    for (int64_t t = 0; per_row && t < m->b.B * m->b.L; t++)
        per_row[t / m->b.L] += m->b.text_ids[t] == m->b.ids.soi;
    m->b.images_per_row = per_row;
    if (golden_ready(g, err) != ST_OK || layout_open(&m->l, &m->b, err) != ST_OK || !m->l)
        return ST_FAIL;
    m->I = m->l->I;
    for (int64_t i = 0; i < m->I; i++)
        m->longest = m->l->images[i].length > m->longest ? m->l->images[i].length : m->longest;
    if (m->I < 1)
        golden_problem(g, "inputs.safetensors: text_ids: no picture");
    return golden_ready(g, err);
}

static void write_program(struct program *p, const struct context_case *m)
{
    const int64_t T = m->b.B * m->b.L, C = m->c.encoder, n = m->I * m->longest;
    const int64_t Q = m->c.queries, F = m->c.hidden;
    const struct perceiver2_inputs in = {
        .hidden = program_batch(p, "h", ROLE_STORAGE, (int64_t[]){ T, C }, 2),
        .images = m->I,
        .length = m->longest,
        .index = program_batch(p, "index", ROLE_INDEX, &n, 1),
        .count = program_batch(p, "count", ROLE_INDEX, &m->I, 1),
    };
    const int place = program_batch(p, "place", ROLE_INDEX, &n, 1);
    const int row = program_batch(p, "condition", ROLE_INDEX, &m->I, 1);
    program_require_gradient(p, in.hidden);
    const struct perceiver2 out = nn_perceiver2(p, &m->c, &in);
    const int negative =
        program_param(p, (int64_t[]){ 1, Q, F }, 3, "image_decoder.neg_prompt_embeds");
    const int used = op_gather(p, op_concat(p, out.ctx, negative, 0), row);
    program_probe(p, out.ctx, "ctx");
    program_probe(p, used, "ctx_used");
    program_probe(p, out.table, "position_table");
    program_probe(p, op_gather(p, in.hidden, in.index), "context");
    program_probe(p, op_gather_sum(p, out.projected, in.index, out.table, place), "k");
    program_gradient_seed(
        p, used,
        program_batch(p, "cotangent.ctx_used", ROLE_STORAGE, (int64_t[]){ m->I, Q, F }, 3));
    program_backward(p, 0, p->n_nodes);
}

static void set_inputs(struct golden *g, struct runner *r, const struct program *p,
                       const struct context_case *m)
{
    int32_t *index = runner_data(r, program_find(p, "index"));
    int32_t *place = runner_data(r, program_find(p, "place"));
    int32_t *count = runner_data(r, program_find(p, "count"));
    int32_t *row = runner_data(r, program_find(p, "condition"));
    const float *draw = golden_input(g, "drop_draw", 1, (int64_t[]){ m->I });
    golden_set(g, r, p, "h");
    golden_set(g, r, p, "cotangent.ctx_used");
    for (int64_t i = 0; draw && i < m->I; i++) {
        count[i] = (int32_t)m->l->images[i].length;
        row[i] = (double)draw[i] < m->drop ? (int32_t)m->I : (int32_t)i;
        for (int64_t j = 0; j < m->longest; j++) {
            const bool there = j < count[i];
            index[i * m->longest + j] = there ? (int32_t)layout_context(m->l, i, j) : -1;
            place[i * m->longest + j] = there ? (int32_t)j : -1;
        }
    }
    golden_put_ids(g, "context_length", count, m->I);
}

/* L_NIP of errors that are given: pictures with too little context are zeros in the mean. */
static void put_loss(struct golden *g, const struct context_case *m)
{
    const int64_t k = m->latent;
    const float *error = golden_input(g, "squared_error", 4, (int64_t[]){ m->I, 4, k, k });
    float *w = golden_memory(g, m->I * k * k, sizeof *w);
    for (int64_t i = 0; w && i < m->I * k * k; i++)
        w[i] = m->l->images[i / (k * k)].counts ? 1.0f : 0.0f;
    if (error && w)
        golden_put_weighted(g, error, w, m->I, k * k, "loss");
}

enum status golden_perceiver2(struct golden *g, struct error *err)
{
    struct context_case m = { 0 };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;
    read_config(g, &m);
    if (golden_ready(g, err) != ST_OK || make_layout(g, &m, err) != ST_OK ||
        golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    write_program(p, &m);
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    set_inputs(g, r, p, &m);
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put_probes(g, r, p, "");
    golden_put_grad_in(g, r, p, "h");
    golden_put_gradients(g, params);
    put_loss(g, &m);
    st = golden_ready(g, err);
done:
    layout_close(&m.l);
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
