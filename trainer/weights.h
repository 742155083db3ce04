/* trainer/weights.h: where the values of a model's parameters come from: a composite file or checkpoint,
 * published folders (Vicuna or LLaMA, open_clip's ConvNeXt, Stable Diffusion 2.1-base in the diffusers
 * layout), or draws for what is new. Everything that does not fit is found before a number is read and
 * reported at once. Spec model.md 2.9, robustness.md SAF5.
 *
 *     weights_open(&w, &spec, params, err);       names and shapes only
 *     weights_load(w, params, err);               into allocated params, or
 *     weights_write(w, params, path, type, err);  one tensor at a time into a file
 *     weights_report(w, &text, err);              what was taken, new, left over
 *     weights_close(&w);
 */
#ifndef DEEM_TRAINER_WEIGHTS_H
#define DEEM_TRAINER_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "trainer/params.h"
#include "trainer/tensor_file.h"

/* "" or NULL: not given. */
struct weights_spec {
    const char *checkpoint; /* folder of a checkpoint, or a composite file or index */
    const char *llm, *convnext, *diffusion;
    uint64_t seed;     /* of the draws */
    int64_t published; /* rows of the token tables that published files have: V */
    bool allow_nonfinite;
};

struct weights;
/* Finds a source for every parameter that is no buffer. ST_FAIL: CAUSE_FORMAT, one text that names all
 * that is missing in a source that should have it, or of another shape; CAUSE_IO, CAUSE_NOMEM. */
enum status weights_open(struct weights **out, const struct weights_spec *spec,
                         const struct params *params, struct error *err);
void weights_close(struct weights **w);
/* ST_FAIL: CAUSE_FORMAT naming tensor and element for a value that is not finite. */
enum status weights_load(struct weights *w, struct params *params, struct error *err);
/* All parameters into one safetensors file of F32, BF16 or F16. */
enum status weights_write(struct weights *w, const struct params *params, const char *path,
                          enum tensor_type type, struct error *err);
/* Plain text for people. */
enum status weights_report(const struct weights *w, struct buffer *out, struct error *err);

/* Any file of tensors by its name: .safetensors, .bin, .pt, an index, a folder that holds one. */
enum status weights_open_file(struct tensor_file **out, const char *path, struct error *err);
/* Every tensor of a file, a set of shards or a checkpoint folder as one safetensors file. ST_FAIL also
 * where a tensor is no float. */
enum status weights_export(const char *from, const char *path, enum tensor_type type,
                           struct error *err);

#endif
