/* trainer/weight_names.h: published names of weights against the composite names of the whole model; spec
 * model.md 2.9. Pure functions on strings. */
#ifndef DEEM_TRAINER_WEIGHT_NAMES_H
#define DEEM_TRAINER_WEIGHT_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* Where weights come from. */
enum weight_origin { ORIGIN_LLM, ORIGIN_CONVNEXT, ORIGIN_UNET, ORIGIN_VAE, ORIGIN_TEXT };

/* Composite name of a published one. False: the key is no part of our model and is known to be none
 * (rotary tables, the text tower of CLIP, its projection, integer buffers). *known says whether it was
 * expected at all. */
bool weight_name_composite(char *out, size_t size, enum weight_origin origin, const char *name,
                           bool *known);
/* The same tensor under its older name: VAE attention is `query, key, value, proj_attn` in published
 * files and `to_q, to_k, to_v, to_out.0` in newer ones and here. False where there is none. */
bool weight_name_older(char *out, size_t size, const char *name);
/* A second name that the authors' checkpoints carry for this one, or NULL; and the first of a second. */
const char *weight_name_alias(const char *name);
const char *weight_name_of_alias(const char *name);
/* Parameters that exist in the authors' checkpoints and have no use. */
bool weight_name_unused(const char *name);

#endif
