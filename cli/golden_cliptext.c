/* cli/golden_cliptext.c: module case "cliptext": the text encoder, forward only. */
#include "cli/golden.h"
#include "trainer/nn_cliptext.h"

static struct cliptext_config read_config(struct golden *g)
{
    return (struct cliptext_config){
        .vocab = golden_int(g, "config.vocab"),
        .positions = golden_int(g, "config.positions"),
        .width = golden_int(g, "config.width"),
        .heads = golden_int(g, "config.heads"),
        .ffn = golden_int(g, "config.ffn"),
        .layers = golden_int(g, "config.layers"),
        .eps = (float)golden_positive(g, "config.ln_eps"),
    };
}

enum status golden_cliptext(struct golden *g, struct error *err)
{
    const struct cliptext_config c = read_config(g);
    int64_t shape[2] = { -1, c.positions };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;

    const int32_t *ids = golden_ids(g, "ids", 2, shape);
    if (golden_ready(g, err) != ST_OK || !ids || golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    const int64_t tokens = shape[0] * c.positions;
    for (int64_t i = 0; i < tokens; i++)
        if (ids[i] < 0 || ids[i] >= c.vocab)
            golden_problem(g, "inputs.safetensors: ids: %d is not in the table", (int)ids[i]);
    const int t = program_batch(p, "ids", ROLE_INDEX, &tokens, 1);
    program_probe(p, nn_cliptext(p, &c, shape[0], t), "last_hidden_state");
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    golden_set(g, r, p, "ids");
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put_probes(g, r, p, "");
    st = ST_OK;
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
