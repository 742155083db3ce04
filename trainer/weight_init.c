/* trainer/weight_init.c: see weight_init.h. */
#include "trainer/weight_init.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/rng.h"

static bool has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

static bool begins(const char *name, const char *part)
{
    return strncmp(name, part, strlen(part)) == 0;
}

static bool ends(const char *name, const char *part)
{
    const size_t n = strlen(name), m = strlen(part);
    return n >= m && strcmp(name + n - m, part) == 0;
}

static const struct weight_rule zero = { LAW_CONSTANT, 0.0 }, one = { LAW_CONSTANT, 1.0 };

static struct weight_rule normal(double std)
{
    return (struct weight_rule){ LAW_NORMAL, std };
}

/* PyTorch's default of dense layers and convolutions, weight and bias alike. */
static struct weight_rule by_fan(int64_t fan_in)
{
    return (struct weight_rule){ LAW_UNIFORM, 1.0 / sqrt((double)(fan_in > 0 ? fan_in : 1)) };
}

static struct weight_rule xavier(int64_t fan_in, int64_t fan_out)
{
    return (struct weight_rule){ LAW_UNIFORM, sqrt(6.0 / (double)(fan_in + fan_out)) };
}

/* MMFS, spec model.md 2.4.3; `llm`: the instance in the language model. */
static struct weight_rule mmfs_rule(const char *name, bool llm, int64_t fan_in, int64_t fan_out)
{
    const bool bias = ends(name, ".bias");
    if (has(name, "sampling_offsets"))
        return bias ? (struct weight_rule){ LAW_UNIFORM, llm ? 3.0 : 1.0 } : zero;
    if (bias || ends(name, "ignore_token"))
        return zero;
    if (has(name, "query_relpos"))
        return normal(0.02);
    if (has(name, "value_proj") || has(name, "output_proj"))
        return xavier(fan_in, fan_out);
    return llm ? normal(0.02) : by_fan(fan_in);
}

static struct weight_rule qformer_rule(const char *name)
{
    if (ends(name, ".bias"))
        return zero;
    if (has(name, "LayerNorm") || has(name, ".layernorm.") || has(name, "_norm."))
        return one;
    return normal(0.02);
}

static struct weight_rule trunk_rule(const char *name)
{
    if (ends(name, ".bias"))
        return zero;
    if (ends(name, ".gamma"))
        return (struct weight_rule){ LAW_CONSTANT, 1e-6 };
    if (has(name, ".norm.") || has(name, ".stem.1.") || has(name, ".downsample.0."))
        return one;
    return normal(0.02);
}

static struct weight_rule diffusion_rule(const char *name, int64_t fan_in)
{
    if (has(name, "norm"))
        return ends(name, ".bias") ? zero : one;
    return by_fan(fan_in);
}

static struct weight_rule text_rule(const char *name)
{
    if (strcmp(name, "text_decoder.head.weight") == 0)
        return (struct weight_rule){ LAW_HEAD, 0.02 };
    if (strcmp(name, "text_decoder.head.bias") == 0)
        return (struct weight_rule){ LAW_HEAD_BIAS, -100.0 };
    if (strcmp(name, "text_decoder.head_new.bias") == 0)
        return (struct weight_rule){ LAW_CONSTANT, 95.0 };
    return zero; /* head_new.weight */
}

static struct weight_rule side_rule(const char *name, int64_t fan_in, int64_t fan_out)
{
    if (has(name, ".mmfs."))
        return mmfs_rule(name, false, fan_in, fan_out);
    if (has(name, "_norm."))
        return ends(name, ".bias") ? zero : one;
    return zero; /* conv */
}

static struct weight_rule llm_rule(const char *name, int64_t fan_in, int64_t fan_out)
{
    if (has(name, "llama_cross_attn.attn."))
        return mmfs_rule(name, true, fan_in, fan_out);
    if (ends(name, "llama_cross_attn.gate"))
        return zero;
    return has(name, "norm") ? one : normal(0.02);
}

struct weight_rule weight_rule(const char *name, int64_t fan_in, int64_t fan_out)
{
    if (begins(name, "mm_decoder."))
        return llm_rule(name, fan_in, fan_out);
    if (begins(name, "text_decoder."))
        return text_rule(name);
    if (strcmp(name, "soi_token") == 0)
        return zero;
    if (has(name, "perceiver_resampler."))
        return qformer_rule(name);
    if (ends(name, "neg_prompt_embeds"))
        return normal(1.0); /* of the size of a final LayerNorm's output */
    if (has(name, ".encoder.mmfs_module."))
        return side_rule(name, fan_in, fan_out);
    if (begins(name, "visual_tokenizer.encoder."))
        return diffusion_rule(name, fan_in);
    if (has(name, ".visual.trunk."))
        return trunk_rule(name);
    if (has(name, ".pos_ln.") || has(name, ".post_ln."))
        return ends(name, ".bias") ? zero : one;
    if (has(name, ".proj_t.") || has(name, ".proj_i."))
        return ends(name, ".bias") ? zero : normal(1e-3);
    return by_fan(fan_in);
}

static int64_t inputs_of(const struct param *w)
{
    int64_t n = 1;
    for (int i = 1; i < w->rank; i++)
        n *= w->shape[i];
    return n;
}

int64_t weight_fan_in(const struct params *params, const struct param *q)
{
    char name[300];
    const size_t n = strlen(q->name);
    if (!ends(q->name, ".bias"))
        return inputs_of(q);
    snprintf(name, sizeof name, "%.*s.weight", (int)(n - strlen(".bias")), q->name);
    const struct param *w = params_find(params, name);
    return w ? inputs_of(w) : 1;
}

static double element(const struct rng *r, struct weight_rule rule, int64_t e, bool published)
{
    switch (rule.law) {
    case LAW_CONSTANT:
        return rule.a;
    case LAW_NORMAL:
        return rule.a * rng_normal_at(r, (uint64_t)e);
    case LAW_UNIFORM: /* unit() of word e: 53 bits */
        return rule.a * (2.0 * ((double)(rng_word_at(r, (uint64_t)e) >> 11) * 0x1p-53) - 1.0);
    case LAW_HEAD:
        return published ? rule.a * rng_normal_at(r, (uint64_t)e) : 0.0;
    case LAW_HEAD_BIAS:
        return published ? 0.0 : rule.a;
    }
    return 0.0;
}

enum status weight_draw(float *out, const struct params *params, const struct param *q,
                        int64_t first, uint64_t seed, int64_t published, struct error *err)
{
    const int64_t fan_in = weight_fan_in(params, q), rows = q->rank > 0 ? q->shape[0] : 1;
    const struct weight_rule rule = weight_rule(q->name, fan_in, rows);
    const int64_t width = rows > 0 ? q->count / rows : 1;
    struct rng_key key;
    struct rng r;

    rng_key_init(&key, seed, "T9");
    rng_key_string(&key, q->name, strlen(q->name));
    if (key.overflow)
        return error_set(err, ST_FAIL, CAUSE_INTERNAL, "the name of %s is too long", q->name);
    rng_init(&r, &key);
    for (int64_t e = first; e < q->count; e++)
        out[e - first] = (float)element(&r, rule, e, e / width < published);
    return ST_OK;
}
