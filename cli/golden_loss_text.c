/* cli/golden_loss_text.c: module case "loss-text": logits, the target rules, cross-entropy; gradients of
 * the stage I loss. */
#include <string.h>

#include "cli/golden.h"
#include "trainer/layout.h"
#include "trainer/nn_text_head.h"
#include "trainer/objective.h"
#include "trainer/op.h"

static const char *const settings[] = { "stage1", "stage2", "needs_image", "given" };
enum { SETTINGS = sizeof settings / sizeof settings[0] };

struct text_case {
    struct layout_batch b;
    int64_t C, vocab, published;
    int32_t *prompts;           /* [B] */
    const int32_t *given;       /* [B,L] */
    int32_t *targets[SETTINGS]; /* [B,L-1] */
};

static void read_config(struct golden *g, struct text_case *m)
{
    int64_t prompts[1024], shape[2] = { -1, -1 };
    struct layout_batch *b = &m->b;
    b->ids.bos = (int32_t)golden_int_from(g, "config.special_ids.bos", 0);
    b->ids.eos = (int32_t)golden_int_from(g, "config.special_ids.eos", 0);
    b->ids.pad = (int32_t)golden_int_from(g, "config.special_ids.pad", 0);
    b->ids.soi = (int32_t)golden_int_from(g, "config.special_ids.soi", 0);
    b->ids.image = (int32_t)golden_int_from(g, "config.special_ids.image", 0);
    m->C = golden_int(g, "config.hidden");
    m->vocab = golden_int(g, "config.vocab");
    m->published = golden_int(g, "config.published_vocab");
    b->text_ids = golden_ids(g, "text_ids", 2, shape);
    b->B = shape[0];
    b->L = shape[1];
    b->mask = golden_ids(g, "attention_mask", 2, shape);
    m->given = golden_ids(g, "given_targets", 2, shape);
    const struct json_value *v = golden_value(g, "config.prompt_offsets");
    int n = 0;
    for (const struct json_value *c = v ? v->child : NULL; c && n < 1024; c = c->next, n++)
        if (!json_value_int64(c, &prompts[n]) || prompts[n] < 0 || prompts[n] > INT32_MAX)
            golden_problem(g, "case.json: config.prompt_offsets: want integers from 0");
    if (n != b->B)
        golden_problem(g, "case.json: config.prompt_offsets: want one a row");
    m->prompts = golden_memory(g, n, sizeof *m->prompts);
    for (int i = 0; m->prompts && i < n; i++)
        m->prompts[i] = (int32_t)prompts[i];
}

static void check_targets(struct golden *g, const struct text_case *m, const char *setting,
                          const int32_t *targets)
{
    for (int64_t i = 0; i < m->b.B * (m->b.L - 1); i++)
        if (targets[i] != LAYOUT_IGNORE && (targets[i] < 0 || targets[i] >= m->vocab)) {
            golden_problem(g, "inputs.safetensors: target %d of %s is outside the table of %d rows",
                           (int)targets[i], setting, (int)m->vocab);
            return;
        }
}

static void make_targets(struct golden *g, struct text_case *m)
{
    const int64_t n = m->b.B * (m->b.L - 1);
    char name[64];
    for (int i = 0; i < SETTINGS; i++) {
        m->targets[i] = golden_memory(g, n, sizeof(int32_t));
        if (!m->targets[i])
            return;
    }
    layout_targets(m->targets[0], &m->b, NULL, false);
    layout_targets(m->targets[1], &m->b, m->prompts, false);
    layout_targets(m->targets[2], &m->b, NULL, true);
    layout_given_targets(m->targets[3], m->given, m->b.B, m->b.L);
    for (int i = 0; i < SETTINGS; i++) {
        check_targets(g, m, settings[i], m->targets[i]);
        snprintf(name, sizeof name, "targets.%s", settings[i]);
        golden_put_ids(g, name, m->targets[i], n);
    }
}

/* Stage I with its gradient first; the other targets over the same logits. */
static void write_program(struct program *p, const struct text_case *m)
{
    const int64_t T = m->b.B * m->b.L, one = 1;
    char name[64];
    const int h = program_batch(p, "h", ROLE_STORAGE, (int64_t[]){ T, m->C }, 2);
    program_require_gradient(p, h);
    const struct text_head head = nn_text_head(p, m->vocab, m->published, m->C, "");
    const int logits = program_probe(p, nn_text_head_logits(p, &head, h), "logits");
    for (int i = 0; i < SETTINGS; i++) {
        snprintf(name, sizeof name, "target.%s", settings[i]);
        const int target = program_batch(p, name, ROLE_INDEX, &T, 1);
        snprintf(name, sizeof name, "divisor.%s", settings[i]);
        const int divisor = program_batch(p, name, ROLE_EXACT, &one, 1);
        const int loss = i == 0 ? op_cross_entropy(p, logits, target, divisor, 1.0f)
                                : op_cross_entropy_only(p, logits, target, divisor);
        program_probe(p, loss, "loss.%s", settings[i]);
    }
    program_backward(p, 0, p->n_nodes);
}

/* Targets by token: the last token of a row has none. */
static void set_targets(struct runner *r, const struct program *p, const struct text_case *m)
{
    const int64_t L = m->b.L;
    char name[64];
    for (int i = 0; i < SETTINGS; i++) {
        snprintf(name, sizeof name, "target.%s", settings[i]);
        int32_t *target = runner_data(r, program_find(p, name));
        for (int64_t t = 0; t < m->b.B * L; t++)
            target[t] = t % L == L - 1 ? LAYOUT_IGNORE : m->targets[i][t / L * (L - 1) + t % L];
        snprintf(name, sizeof name, "divisor.%s", settings[i]);
        float *divisor = runner_data(r, program_find(p, name));
        divisor[0] = (float)objective_count_targets(m->targets[i], m->b.B * (L - 1));
    }
}

static void put_losses(struct golden *g, struct runner *r, const struct program *p,
                       const struct text_case *m)
{
    const int64_t L = m->b.L, n = m->b.B * (L - 1);
    char name[64];
    for (int i = 0; i < SETTINGS; i++) {
        snprintf(name, sizeof name, "loss.%s", settings[i]);
        const float *all = runner_data(r, program_find(p, name));
        float *token = golden_memory(g, n, sizeof *token);
        double sum = 0.0;
        for (int64_t j = 0; token && j < n; j++) {
            token[j] = all[j / (L - 1) * L + j % (L - 1)];
            sum += (double)token[j];
        }
        const float loss = (float)objective_mean(sum, objective_count_targets(m->targets[i], n));
        golden_put(g, name, &loss, 1);
        snprintf(name, sizeof name, "token_loss.%s", settings[i]);
        if (token)
            golden_put(g, name, token, n);
    }
}

enum status golden_loss_text(struct golden *g, struct error *err)
{
    struct text_case m = { 0 };
    struct params *params = NULL;
    struct program *p = NULL;
    struct runner *r = NULL;
    enum status st = ST_FAIL;
    read_config(g, &m);
    if (golden_ready(g, err) != ST_OK)
        return ST_FAIL;
    make_targets(g, &m);
    if (golden_ready(g, err) != ST_OK || golden_program(g, &params, &p, err) != ST_OK)
        goto done;
    write_program(p, &m);
    if (golden_runner(g, params, p, &r, err) != ST_OK)
        goto done;
    golden_set(g, r, p, "h");
    set_targets(r, p, &m);
    if (golden_ready(g, err) != ST_OK || runner_run(r, 0, p->n_nodes, err) != ST_OK)
        goto done;
    golden_put_probes(g, r, p, "");
    put_losses(g, r, p, &m);
    golden_put_grad_in(g, r, p, "h");
    golden_put_gradients(g, params);
    st = golden_ready(g, err);
done:
    runner_close(&r);
    program_close(&p);
    params_close(&params);
    return st;
}
