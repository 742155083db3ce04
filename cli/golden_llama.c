/* cli/golden_llama.c: module case "llama-mmfs": the training path with gradients, and the evaluation path
 * (left padding, positions counted over real tokens) over the same parameters. */
#include <string.h>

#include "cli/golden.h"
#include "trainer/nn_llama.h"
#include "trainer/op.h"

struct llama_case {
    struct llama_config c;
    int64_t B, L, N, S, vocab;
    const int32_t *visible, *left; /* [B,L,N]; [B,L] */
    struct golden_pairs pairs;
};

static void read_config(struct golden *g, struct llama_case *m)
{
    struct llama_config *c = &m->c;
    c->hidden = golden_int(g, "config.hidden");
    c->heads = golden_int(g, "config.heads");
    c->ffn = golden_int(g, "config.ffn");
    c->layers = golden_int(g, "config.layers");
    c->cross_every = golden_int(g, "config.cross_every");
    c->rms_eps = (float)golden_positive(g, "config.rms_eps");
    c->rope_base = golden_positive(g, "config.rope_base");
    c->mmfs.query_width = c->mmfs.out_width = c->hidden;
    c->mmfs.value_width = c->mmfs.inner_width = golden_int(g, "config.feature_width");
    c->mmfs.heads = golden_int(g, "config.mmfs_heads");
    c->mmfs.points = golden_int(g, "config.mmfs_points");
    c->mmfs.max_images = golden_int(g, "config.max_images");
    c->mmfs.base = golden_positive(g, "config.base_spatial_shape");
    c->mmfs.levels = golden_ints(g, "config.spatial_shapes", c->mmfs.shape, MMFS_LEVELS_MAX);
    for (int l = 0; l < c->mmfs.levels; l++)
        c->mmfs.height[l] = c->mmfs.width[l] = c->mmfs.shape[l];
    m->vocab = golden_int(g, "config.vocab");
    m->B = golden_int(g, "config.batch");
    m->L = golden_int(g, "config.length");
    m->N = golden_int(g, "config.images");
    m->S = mmfs_rows(&c->mmfs);
    m->visible = golden_ids(g, "visible", 3, (int64_t[]){ m->B, m->L, m->N });
    m->left = golden_ids(g, "left_mask", 2, (int64_t[]){ m->B, m->L });
    golden_ids(g, "attention_mask", 2, (int64_t[]){ m->B, m->L }); /* changes nothing: 2.5 */
}

static void write_program(struct program *p, const struct llama_case *m)
{
    static const struct llama_names names = { "layer", ".after_attention", ".mmfs", ".out" };
    const int64_t B = m->B, L = m->L, C = m->c.hidden, F = m->c.mmfs.value_width;
    const int ids = program_batch(p, "text_ids", ROLE_INDEX, (int64_t[]){ B * L }, 1);
    const int table = program_param(p, (int64_t[]){ m->vocab, C }, 2, "embed_tokens.weight");
    const int x = program_reshape(p, op_gather(p, table, ids), (int64_t[]){ B, L, C }, 3);
    struct llama_inputs in = {
        .x = program_probe(p, x, "x"),
        .positions = program_batch(p, "positions", ROLE_INDEX, (int64_t[]){ B, L }, 2),
        .features = program_batch(p, "features", ROLE_STORAGE, (int64_t[]){ B * m->N, m->S, F }, 3),
        .view = golden_pairs_view(p, &m->pairs, 1),
    };
    program_require_gradient(p, in.features);
    const int h = program_probe(p, nn_llama(p, &m->c, &in, "", &names), "h");
    program_gradient_seed(p, h,
                          program_batch(p, "cotangent.h", ROLE_STORAGE, (int64_t[]){ B, L, C }, 3));
    program_backward(p, 0, p->n_nodes);
    in.positions = program_batch(p, "eval.positions", ROLE_INDEX, (int64_t[]){ B, L }, 2);
    in.first = program_batch(p, "eval.first", ROLE_INDEX, &B, 1);
    program_probe(p, nn_llama(p, &m->c, &in, "", NULL), "eval.h");
}

/* Positions 0..L-1; in evaluation counted over real tokens, the padding's are 1. */
static void set_positions(struct golden *g, struct runner *r, const struct program *p,
                          const struct llama_case *m)
{
    int32_t *plain = runner_data(r, program_find(p, "positions"));
    int32_t *eval = runner_data(r, program_find(p, "eval.positions"));
    int32_t *first = runner_data(r, program_find(p, "eval.first"));
    for (int64_t b = 0; b < m->B; b++) {
        int32_t seen = 0;
        first[b] = 0;
        for (int64_t j = 0; j < m->L; j++) {
            const int64_t t = b * m->L + j;
            plain[t] = (int32_t)j;
            if (m->left[t] == 0 && seen > 0)
                golden_problem(g, "inputs.safetensors: left_mask: row %d has padding behind tokens",
                               (int)b);
            first[b] = m->left[t] || seen ? first[b] : (int32_t)j + 1;
            eval[t] = m->left[t] ? seen++ : 1;
        }
    }
}

/* Rows of padding are stored as 0. */
static void clear_padding(struct runner *r, const struct program *p, const struct llama_case *m)
{
    float *h = runner_data(r, program_find(p, "eval.h"));
    for (int64_t t = 0; t < m->B * m->L; t++)
        if (!m->left[t])
            memset(h + t * m->c.hidden, 0, (size_t)m->c.hidden * sizeof *h);
}

enum status golden_llama(struct golden *g, struct error *err)
{
    struct llama_case m = { 0 };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;
    read_config(g, &m);
    if (golden_ready(g, err) != ST_OK ||
        golden_pairs_make(g, &m.pairs, m.visible, m.B, m.L, m.N, m.c.mmfs.max_images, err) !=
            ST_OK ||
        golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    write_program(p, &m);
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    golden_set(g, r, p, "text_ids");
    golden_set(g, r, p, "features");
    golden_set(g, r, p, "cotangent.h");
    golden_pairs_set(r, p, &m.pairs);
    set_positions(g, r, p, &m);
    float *centre = runner_data(r, program_find(p, "reference_points"));
    centre[0] = centre[1] = 0.5f;
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    clear_padding(r, p, &m);
    golden_put_probes(g, r, p, "");
    golden_put_grad_in(g, r, p, "features");
    golden_put_gradients(g, params);
    st = golden_ready(g, err);
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
