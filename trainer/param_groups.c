/* trainer/param_groups.c: see param_groups.h. */
#include "trainer/param_groups.h"

#include <string.h>

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

static const char TRUNK[] = "visual_tokenizer.sniffer.vision_model.visual.";
static const char UNET[] = "visual_tokenizer.encoder.unet.";
static const char VAE[] = "visual_tokenizer.encoder.vae.";
static const char NET[] = "visual_tokenizer.encoder.mmfs_module.";

void group_rules_init(struct group_rules *r, enum recipe_stage stage, enum recipe_groups groups)
{
    const bool first = stage == STAGE_1 || stage == STAGE_BASELINE;
    const bool released = groups == GROUPS_RELEASED;

    *r = (struct group_rules){
        .stage = (int)stage,
        .groups = (int)groups,
        .trunk = stage == STAGE_1,
        .llm = !first,
        .unet = stage == STAGE_BASELINE,
        .nip = first,
        .csr = stage == STAGE_1 || stage == STAGE_2,
        .lr = first ? 1e-4 : 1e-5,
        .lr_trunk = first ? 2e-5 : 5e-6,
        .lr_offsets = first ? (released ? 1e-5 : 1e-4) : (released ? 5e-6 : 1e-5),
        .lr_mmfsnet = first ? 1e-4 : 1e-5,
        .lr_llm = released ? 1e-5 : 1e-6,
        .lr_cross = first ? 1e-4 : (released ? 5e-6 : 1e-5),
        .lr_unet = first && !released ? 2e-5 : 1e-5,
        .weight_decay = 0.05,
    };
}

static bool chosen(int option, bool by_stage)
{
    return option == TRAINS_BY_STAGE ? by_stage : option == TRAINS_YES;
}

void group_rules_from_recipe(struct group_rules *r, const struct recipe *recipe)
{
    const double s = recipe->lr_scale;
    group_rules_init(r, (enum recipe_stage)recipe->stage, (enum recipe_groups)recipe->groups);
    r->trunk = chosen(recipe->train_trunk, r->trunk);
    r->llm = chosen(recipe->train_llm, r->llm);
    r->unet = chosen(recipe->train_unet, r->unet);
    r->head = chosen(recipe->train_head, r->head);
    r->nip = recipe_weight_nip(recipe) > 0;
    r->csr = recipe_weight_csr(recipe) > 0;
    r->lr = s * recipe->lr;
    r->lr_trunk = s * recipe->lr_trunk;
    r->lr_offsets = s * recipe->lr_offsets;
    r->lr_mmfsnet = s * recipe->lr_mmfsnet;
    r->lr_llm = s * recipe->lr_llm;
    r->lr_cross = s * recipe->lr_cross;
    r->lr_unet = s * recipe->lr_unet;
    r->weight_decay = recipe->weight_decay;
}

static bool is_language_model(const char *name)
{
    return begins(name, "mm_decoder.") && !has(name, "llama_cross_attn");
}

/* Modules that stage III does not build. */
static bool is_diffusion(const char *name)
{
    return begins(name, "visual_tokenizer.encoder.") || begins(name, "image_decoder.") ||
           strcmp(name, "visual_tokenizer.neg_prompt_embeds") == 0;
}

static bool is_fixed(const char *name)
{
    return ends(name, "pos_embed") || ends(name, "clip_mean") || ends(name, "clip_std") ||
           begins(name, VAE) || (begins(name, NET) && ends(name, "ignore_token")) ||
           has(name, "inv_freq");
}

static enum param_state trains(bool yes)
{
    return yes ? PARAM_TRAINS : PARAM_FROZEN;
}

enum param_state param_state(const struct group_rules *r, const char *name)
{
    if (begins(name, "visual_tokenizer.feature_extractor.") && r->stage != STAGE_3)
        return PARAM_ABSENT;
    if (r->stage == STAGE_3 && is_diffusion(name))
        return PARAM_ABSENT;
    if (is_fixed(name))
        return PARAM_FROZEN;
    if (begins(name, TRUNK))
        return trains(r->trunk);
    if (begins(name, UNET))
        return trains(r->unet);
    if (is_language_model(name))
        return trains(r->llm);
    if (begins(name, "text_decoder.head."))
        return trains(r->head);
    return PARAM_TRAINS;
}

bool param_reached(const void *rules, const char *name)
{
    const struct group_rules *r = rules;
    if (param_state(r, name) != PARAM_TRAINS)
        return false;
    if (!r->nip && (begins(name, "context_feat_proj.") || begins(name, "image_decoder.") ||
                    strcmp(name, "visual_tokenizer.neg_prompt_embeds") == 0))
        return false;
    if (!r->csr && begins(name, "visual_tokenizer.proj_i."))
        return false;
    return r->nip || r->csr || !begins(name, "visual_tokenizer.encoder.");
}

static bool is_layernorm(const char *name)
{
    if (has(name, ".trunk."))
        return has(name, ".norm.") || has(name, ".stem.1.") || has(name, ".downsample.0.");
    if (has(name, ".blip2qformer."))
        return has(name, "LayerNorm") || has(name, ".layernorm.") || has(name, "_norm.");
    if (has(name, ".transformer_blocks."))
        return has(name, ".norm1.") || has(name, ".norm2.") || has(name, ".norm3.");
    return has(name, "query_norm.") || has(name, "feat_norm.") || has(name, ".pos_ln.") ||
           has(name, ".post_ln.");
}

bool param_decays(const char *name)
{
    return !has(name, "bias") && !is_layernorm(name);
}

/* The released trainer's patterns in its order; its pattern of the language model is misspelt and
 * matches nothing, so that the model trains at the rate of everything else. */
static struct param_rates released(const struct group_rules *r, const char *name)
{
    if (has(name, "llama_cross_attn.gate"))
        return (struct param_rates){ r->lr_cross, 0.0 };
    if (has(name, "sampling_offsets"))
        return (struct param_rates){ r->lr_offsets, 0.0 };
    if (has(name, "llama_cross_attn"))
        return (struct param_rates){ r->lr_cross, r->weight_decay };
    if (begins(name, UNET))
        return (struct param_rates){ r->lr_unet, r->weight_decay };
    if (begins(name, TRUNK))
        return (struct param_rates){ r->lr_trunk, r->weight_decay };
    if (begins(name, NET))
        return (struct param_rates){ r->lr_mmfsnet, r->weight_decay };
    return (struct param_rates){ r->lr, r->weight_decay };
}

/* Table 12: the language model, the picture encoder and decoder, and the others. */
static struct param_rates paper(const struct group_rules *r, const char *name)
{
    if (is_language_model(name))
        return (struct param_rates){ r->lr_llm, r->weight_decay };
    if (begins(name, UNET))
        return (struct param_rates){ r->lr_unet, r->weight_decay };
    if (begins(name, TRUNK))
        return (struct param_rates){ r->lr_trunk, r->weight_decay };
    return (struct param_rates){ r->lr, r->weight_decay };
}

struct param_rates param_rates(const struct group_rules *r, const char *name)
{
    struct param_rates x = r->groups == GROUPS_RELEASED ? released(r, name) : paper(r, name);
    if (!param_decays(name))
        x.weight_decay = 0.0;
    return x;
}
