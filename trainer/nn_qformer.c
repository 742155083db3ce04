/* trainer/nn_qformer.c: see nn_qformer.h. */
#include "trainer/nn_qformer.h"

#include <stdio.h>

#include "trainer/op.h"

static const float QFORMER_EPS = 1e-12f;

/* The stack while it is written: x is [I,Q,h] once the pictures differ, [1,Q,h] before. */
struct qformer {
    struct program *p;
    const struct qformer_config *c;
    const struct qformer_keys *keys;
    char at[200]; /* name of the current layer */
};

static int dense(struct qformer *q, int x, int64_t in, int64_t out, const char *name)
{
    const int w = program_param(q->p, (int64_t[]){ out, in }, 2, "%s%s.weight", q->at, name);
    const int b = program_param(q->p, (int64_t[]){ out }, 1, "%s%s.bias", q->at, name);
    return op_linear(q->p, x, w, b);
}

static int norm(struct qformer *q, int x, int64_t width, const char *name)
{
    const int w = program_param(q->p, (int64_t[]){ width }, 1, "%s%s.weight", q->at, name);
    const int b = program_param(q->p, (int64_t[]){ width }, 1, "%s%s.bias", q->at, name);
    return op_layernorm(q->p, x, w, b, QFORMER_EPS);
}

/* The batch tensor of the draws of one dropout. */
static int draws(struct qformer *q, const char *name)
{
    char full[300];
    snprintf(full, sizeof full, "T7:%s%s", q->at, name);
    return program_batch(q->p, full, ROLE_INDEX, (int64_t[]){ q->keys->images, 4 }, 2);
}

static int drop(struct qformer *q, int x, const char *name)
{
    return q->c->dropout > 0.0 ? op_dropout(q->p, x, draws(q, name), q->c->dropout) : x;
}

static int64_t images_of(const struct qformer *q, int x)
{
    return q->p->failed ? 1 : program_axis(q->p, x, 0);
}

/* The norm of queries and keys, over the channels of each head. */
static int head_norm(struct qformer *q, int x, const char *name)
{
    const int64_t H = q->c->heads, d = q->c->hidden / H;
    if (!q->c->qk_norm || q->p->failed)
        return x;
    const int64_t I = program_axis(q->p, x, 0), T = program_axis(q->p, x, 1);
    const int cut = program_reshape(q->p, x, (int64_t[]){ I, T, H, d }, 4);
    return program_reshape(q->p, norm(q, cut, d, name), (int64_t[]){ I, T, H * d }, 3);
}

/* Keys or values of a cross-attention: [I,T,h]. */
static int project_keys(struct qformer *q, const char *name)
{
    const struct qformer_keys *k = q->keys;
    const int64_t e = q->c->encoder, h = q->c->hidden;
    if (k->rows == TENSOR_NONE)
        return dense(q, k->tokens, e, h, name);
    const int w = program_param(q->p, (int64_t[]){ h, e }, 2, "%s%s.weight", q->at, name);
    const int b = program_param(q->p, (int64_t[]){ h }, 1, "%s%s.bias", q->at, name);
    const int rows = op_gather(q->p, op_linear(q->p, k->rows, w, TENSOR_NONE), k->index);
    const int table = op_linear(q->p, k->table, w, b);
    const int places = program_reshape(q->p, rows, (int64_t[]){ k->images, k->length, h }, 3);
    return op_add_table(q->p, places, table);
}

/* Before the first cross-attention all pictures share the queries. */
static int expand(struct qformer *q, int x)
{
    if (images_of(q, x) == q->keys->images)
        return x;
    return op_repeat(q->p, x, q->keys->images);
}

static int attend(struct qformer *q, int x, bool cross)
{
    const int64_t h = q->c->hidden;
    const char *kind = cross ? "crossattention" : "attention";
    char name[64];
    snprintf(name, sizeof name, "%s.attention.query", kind);
    const int query = dense(q, x, h, h, name);
    snprintf(name, sizeof name, "%s.attention.key", kind);
    const int key = cross ? project_keys(q, name) : dense(q, x, h, h, name);
    snprintf(name, sizeof name, "%s.attention.value", kind);
    const int value = cross ? project_keys(q, name) : dense(q, x, h, h, name);
    snprintf(name, sizeof name, "%s.attention.q_norm", kind);
    const int qn = head_norm(q, query, name);
    snprintf(name, sizeof name, "%s.attention.k_norm", kind);
    const int kn = head_norm(q, key, name);
    struct attention_geometry g = { .heads = q->c->heads,
                                    .count = cross ? q->keys->count : TENSOR_NONE };
    if (q->c->attention_dropout > 0.0) {
        snprintf(name, sizeof name, "%s.attention.dropout", kind);
        g.dropout = (float)q->c->attention_dropout;
        g.draws = draws(q, name);
    }
    const int y = op_attention(q->p, qn, kn, value, g);
    snprintf(name, sizeof name, "%s.output.dense", kind);
    int out = dense(q, y, h, h, name);
    snprintf(name, sizeof name, "%s.output.dropout", kind);
    out = drop(q, out, name);
    snprintf(name, sizeof name, "%s.output.LayerNorm", kind);
    return norm(q, op_add(q->p, out, x), h, name);
}

static int feed_forward(struct qformer *q, int x)
{
    const int64_t h = q->c->hidden;
    const int up = op_gelu(q->p, dense(q, x, h, q->c->ffn, "intermediate_query.dense"));
    const int dense_out = dense(q, up, q->c->ffn, h, "output_query.dense");
    const int down = drop(q, dense_out, "output_query.dropout");
    return norm(q, op_add(q->p, down, x), h, "output_query.LayerNorm");
}

int nn_qformer(struct program *p, const struct qformer_config *c, const struct qformer_keys *keys,
               const char *prefix, const char *probe, const char *probe_suffix, bool probe_last)
{
    struct qformer q = { .p = p, .c = c, .keys = keys };
    if (c->heads < 1 || c->hidden % c->heads)
        return program_fault(p, "%s: width %d is not divisible by %d heads", prefix, (int)c->hidden,
                             (int)c->heads);
    int x = program_param(p, (int64_t[]){ 1, c->queries, c->hidden }, 3, "%squeries", prefix);
    snprintf(q.at, sizeof q.at, "%sblip2qformer.", prefix);
    x = norm(&q, x, c->hidden, "layernorm");
    if (c->dropout > 0.0 || c->attention_dropout > 0.0)
        x = drop(&q, expand(&q, x), "dropout");
    for (int64_t i = 0; i < c->layers; i++) {
        snprintf(q.at, sizeof q.at, "%sblip2qformer.encoder.layer.%d.", prefix, (int)i);
        x = attend(&q, x, false);
        if (i % c->cross_every == 0)
            x = attend(&q, expand(&q, x), true);
        x = feed_forward(&q, x);
        if (probe && (probe_last || i + 1 < c->layers))
            program_probe(p, x, "%s%d%s", probe, (int)i, probe_suffix);
    }
    return x;
}
