/* trainer/nn_cliptext.c: see nn_cliptext.h. Pre-LN blocks, causal attention, padding attended. */
#include "trainer/nn_cliptext.h"

#include <inttypes.h>
#include <stdio.h>

#include "trainer/nn_picture.h"

static int layer(struct program *p, const struct cliptext_config *c, const char *at, int x)
{
    const int64_t C = c->width;
    const struct attention_geometry g = { .heads = c->heads, .causal = true };
    int y = nn_layernorm(p, at, "layer_norm1", x, c->eps);
    const int q = nn_linear(p, at, "self_attn.q_proj", y, C, true);
    const int k = nn_linear(p, at, "self_attn.k_proj", y, C, true);
    const int v = nn_linear(p, at, "self_attn.v_proj", y, C, true);
    const int a = op_attention(p, q, k, v, g);
    x = op_add(p, nn_linear(p, at, "self_attn.out_proj", a, C, true), x);
    y = nn_layernorm(p, at, "layer_norm2", x, c->eps);
    y = op_gelu(p, nn_linear(p, at, "mlp.fc1", y, c->ffn, true));
    return op_add(p, nn_linear(p, at, "mlp.fc2", y, C, true), x);
}

int nn_cliptext(struct program *p, const struct cliptext_config *c, int64_t B, int ids)
{
    const int64_t C = c->width, T = c->positions;
    char at[100];

    if (c->heads < 1 || C % c->heads)
        return program_fault(
            p, "text encoder: width %" PRId64 " is not divisible by %" PRId64 " heads", C,
            c->heads);
    const int words = program_param(p, (int64_t[]){ c->vocab, C }, 2,
                                    "text_model.embeddings.token_embedding.weight");
    const int places =
        program_param(p, (int64_t[]){ T, C }, 2, "text_model.embeddings.position_embedding.weight");
    int x = program_reshape(p, op_gather(p, words, ids), (int64_t[]){ B, T, C }, 3);
    x = op_add_table(p, x, places);
    for (int64_t i = 0; i < c->layers; i++) {
        program_probe(p, x, "hidden.%d", (int)i);
        snprintf(at, sizeof at, "text_model.encoder.layers.%" PRId64 ".", i);
        x = layer(p, c, at, x);
    }
    program_probe(p, x, "hidden.%d", (int)c->layers);
    return nn_layernorm(p, "text_model.", "final_layer_norm", x, c->eps);
}

void cliptext_empty_prompt(int32_t *ids, int64_t positions, int32_t bos, int32_t eos, int32_t pad)
{
    for (int64_t i = 0; i < positions; i++)
        ids[i] = i == 0 ? bos : i == 1 ? eos : pad;
}
