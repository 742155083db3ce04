/* trainer/nn_llama.c: see nn_llama.h. The features are normalised once: the RMSNorm of the pictures
 * is the same in every layer but for its weight, which is folded into the value projection. */
#include "trainer/nn_llama.h"

#include <inttypes.h>
#include <stdio.h>

#include "trainer/op.h"

struct llama {
    struct program *p;
    const struct llama_config *c;
    const struct llama_inputs *in;
    int64_t B, L;
    int features; /* normalised without weight, [I,S,F] */
    char at[160]; /* name of the current layer */
};

static int weight(struct llama *m, const char *name, int64_t out, int64_t in)
{
    return program_param(m->p, (int64_t[]){ out, in }, 2, "%s%s.weight", m->at, name);
}

static int norm(struct llama *m, int x, const char *name)
{
    const int w = program_param(m->p, (int64_t[]){ m->c->hidden }, 1, "%s%s.weight", m->at, name);
    return op_rmsnorm(m->p, x, w, m->c->rms_eps);
}

static int project(struct llama *m, int y, const char *name)
{
    const int64_t C = m->c->hidden;
    return op_linear(m->p, y, weight(m, name, C, C), TENSOR_NONE);
}

static int self_attention(struct llama *m, int x)
{
    struct program *p = m->p;
    const int64_t C = m->c->hidden;
    const int y = norm(m, x, "input_layernorm");
    const int64_t H = m->c->heads;
    const int q =
        op_rope(p, project(m, y, "self_attn.q_proj"), m->in->positions, H, m->c->rope_base);
    const int k =
        op_rope(p, project(m, y, "self_attn.k_proj"), m->in->positions, H, m->c->rope_base);
    const int v = project(m, y, "self_attn.v_proj");
    const struct attention_geometry g = {
        .heads = H, .causal = true, .first = m->in->first, .count = m->in->count
    };
    const char *part = program_part(p, "llm attention");
    const int a = op_attention(p, q, k, v, g);
    program_part(p, part);
    return op_add(p, op_linear(p, a, weight(m, "self_attn.o_proj", C, C), TENSOR_NONE), x);
}

static int cross_attention(struct llama *m, int x, int layer, const struct llama_names *names)
{
    struct program *p = m->p;
    const int64_t C = m->c->hidden;
    char prefix[200];
    snprintf(prefix, sizeof prefix, "%sllama_cross_attn.attn.", m->at);
    const char *part = program_part(p, "llm mmfs");
    const int w2 = program_param(p, (int64_t[]){ m->c->mmfs.value_width }, 1,
                                 "%sllama_cross_attn.norm2.weight", m->at);
    const int value = nn_mmfs_value(p, &m->c->mmfs, prefix, m->features, w2, TENSOR_NONE);
    const int y =
        program_reshape(p, norm(m, x, "llama_cross_attn.norm1"), (int64_t[]){ m->B * m->L, C }, 2);
    const int out = nn_mmfs(p, &m->c->mmfs, prefix, y, value, &m->in->view);
    const int z = program_reshape(p, out, (int64_t[]){ m->B, m->L, C }, 3);
    if (names)
        program_probe(p, z, "%s%d%s", names->layer, layer, names->mmfs);
    const int gate = program_param(p, (int64_t[]){ 1 }, 1, "%sllama_cross_attn.gate", m->at);
    const int sum = op_gated_add(p, x, z, gate);
    program_part(p, part);
    return sum;
}

static int feed_forward(struct llama *m, int x)
{
    const int64_t C = m->c->hidden, D = m->c->ffn;
    const int y = norm(m, x, "post_attention_layernorm");
    const int gate = op_linear(m->p, y, weight(m, "mlp.gate_proj", D, C), TENSOR_NONE);
    const int up = op_linear(m->p, y, weight(m, "mlp.up_proj", D, C), TENSOR_NONE);
    const int z = op_swiglu(m->p, gate, up);
    return op_add(m->p, op_linear(m->p, z, weight(m, "mlp.down_proj", C, D), TENSOR_NONE), x);
}

int nn_llama(struct program *p, const struct llama_config *c, const struct llama_inputs *in,
             const char *prefix, const struct llama_names *names)
{
    struct llama m = { .p = p, .c = c, .in = in };
    if (c->heads < 1 || c->hidden % c->heads || c->hidden / c->heads % 2)
        return program_fault(p, "%s: width %" PRId64 " cannot be cut into %" PRId64 " even heads",
                             prefix, c->hidden, c->heads);
    m.B = program_axis(p, in->x, 0);
    m.L = program_axis(p, in->x, 1);
    m.features = op_rmsnorm(p, in->features, TENSOR_NONE, c->rms_eps);
    int x = in->x;
    for (int i = 0; i < c->layers; i++) {
        snprintf(m.at, sizeof m.at, "%slayers.%d.", prefix, i);
        const int span = program_span_begin(p, c->recompute ? SPAN_RECOMPUTE : 0, "layer %d", i);
        x = self_attention(&m, x);
        if (names)
            program_probe(p, x, "%s%d%s", names->layer, i, names->attention);
        if (i % c->cross_every == 0)
            x = cross_attention(&m, x, i, names);
        x = feed_forward(&m, x);
        program_span_end(p, span);
        if (names)
            program_probe(p, x, "%s%d%s", names->layer, i, names->out);
    }
    snprintf(m.at, sizeof m.at, "%s", prefix);
    return norm(&m, x, "norm");
}
