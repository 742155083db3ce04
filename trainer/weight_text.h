/* trainer/weight_text.h: the embedding of the empty prompt, made once by running Stable Diffusion's text
 * encoder; spec model.md 2.8.5. */
#ifndef DEEM_TRAINER_WEIGHT_TEXT_H
#define DEEM_TRAINER_WEIGHT_TEXT_H

#include <stdint.h>

#include "core/error.h"

/* `folder` is the Stable Diffusion folder: text_encoder/ and, where it is there, tokenizer/ (for the pad
 * token). out [rows,width] must be the encoder's positions and width. ST_FAIL: CAUSE_FORMAT, ... */
enum status weight_text_embedding(float *out, int64_t rows, int64_t width, const char *folder,
                                  struct error *err);

#endif
