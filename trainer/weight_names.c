/* trainer/weight_names.c: see weight_names.h. */
#include "trainer/weight_names.h"

#include <stdio.h>
#include <string.h>

static const char NEGATIVE[] = "image_decoder.neg_prompt_embeds";
static const char NEGATIVE_ALIAS[] = "visual_tokenizer.neg_prompt_embeds";

static bool begins(const char *name, const char *part)
{
    return strncmp(name, part, strlen(part)) == 0;
}

static bool put(char *out, size_t size, const char *prefix, const char *name)
{
    const int n = snprintf(out, size, "%s%s", prefix, name);
    return n > 0 && (size_t)n < size;
}

/* The part of `name` behind `old` replaced, if it holds `old`. */
static bool swap(char *out, size_t size, const char *name, const char *old, const char *new)
{
    const char *at = strstr(name, old);
    if (!at)
        return false;
    const int n = snprintf(out, size, "%.*s%s%s", (int)(at - name), name, new, at + strlen(old));
    return n > 0 && (size_t)n < size;
}

static const char *const attention[][2] = {
    { ".mid_block.attentions.0.to_q.", ".mid_block.attentions.0.query." },
    { ".mid_block.attentions.0.to_k.", ".mid_block.attentions.0.key." },
    { ".mid_block.attentions.0.to_v.", ".mid_block.attentions.0.value." },
    { ".mid_block.attentions.0.to_out.0.", ".mid_block.attentions.0.proj_attn." },
};

bool weight_name_older(char *out, size_t size, const char *name)
{
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
        if (swap(out, size, name, attention[i][0], attention[i][1]))
            return true;
    return false;
}

static bool from_llm(char *out, size_t size, const char *name, bool *known)
{
    *known = true;
    if (strstr(name, "rotary_emb.inv_freq"))
        return false;
    if (strcmp(name, "lm_head.weight") == 0)
        return put(out, size, "", "text_decoder.head.weight");
    if (begins(name, "model."))
        return put(out, size, "mm_decoder.", name + strlen("model."));
    *known = false;
    return false;
}

static bool from_convnext(char *out, size_t size, const char *name, bool *known)
{
    *known = true;
    if (begins(name, "visual.trunk."))
        return put(out, size, "visual_tokenizer.sniffer.vision_model.", name);
    *known = !begins(name, "visual.") || begins(name, "visual.head.");
    return false;
}

static bool from_vae(char *out, size_t size, const char *name, bool *known)
{
    char newer[256];
    *known = true;
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
        if (swap(newer, sizeof newer, name, attention[i][1], attention[i][0]))
            return put(out, size, "visual_tokenizer.encoder.vae.", newer);
    return put(out, size, "visual_tokenizer.encoder.vae.", name);
}

bool weight_name_composite(char *out, size_t size, enum weight_origin origin, const char *name,
                           bool *known)
{
    *known = true;
    switch (origin) {
    case ORIGIN_LLM:
        return from_llm(out, size, name, known);
    case ORIGIN_CONVNEXT:
        return from_convnext(out, size, name, known);
    case ORIGIN_UNET:
        return put(out, size, "visual_tokenizer.encoder.unet.", name);
    case ORIGIN_VAE:
        return from_vae(out, size, name, known);
    case ORIGIN_TEXT:
        return !strstr(name, "position_ids") && put(out, size, "", name);
    }
    return false;
}

const char *weight_name_alias(const char *name)
{
    return strcmp(name, NEGATIVE) == 0 ? NEGATIVE_ALIAS : NULL;
}

const char *weight_name_of_alias(const char *name)
{
    return strcmp(name, NEGATIVE_ALIAS) == 0 ? NEGATIVE : NULL;
}

bool weight_name_unused(const char *name)
{
    return strstr(name, "vision_model.visual.head.mlp.") != NULL ||
           strstr(name, "rotary_emb.inv_freq") != NULL || strstr(name, "position_ids") != NULL;
}
