/* trainer/checkpoint.h: all state of a run, written whole or not at all. Format: docs/checkpoint-format.md.
 *
 *     OUT/checkpoints/step-000200/     written as .tmp beside it and renamed in
 *         weights.safetensors          what trains, composite names, float32
 *         frozen.safetensors           the rest; a hard link to the checkpoint before where it can be
 *         optimizer.safetensors        m.NAME and v.NAME, float32
 *         state.json                   step, counters, identity of the data
 *         recipe.yaml                  the effective recipe
 *         manifest.json                size and SHA-256 of every file above, and of itself; made last
 *
 * Tensors are whole and by name, so any number of ranks resumes. */
#ifndef DEEM_TRAINER_CHECKPOINT_H
#define DEEM_TRAINER_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "trainer/params.h"

/* What is saved beside the parameters. */
struct checkpoint_state {
    int64_t step;     /* optimizer steps done */
    int64_t skipped;  /* of them not applied: not finite */
    int64_t damaged;  /* records replaced so far */
    const char *data; /* loader_identity, JSON; "{}" where there is none */
    size_t data_bytes;
    const char *recipe; /* YAML */
    size_t recipe_bytes;
};

/* Writes in the background, one checkpoint at a time. */
struct checkpoint_writer;
/* `folder` is OUT/checkpoints (made when absent). `keep` >= 2 newest ones stay. `params` must outlive
 * the writer; its frozen values must not change. */
enum status checkpoint_writer_open(struct checkpoint_writer **out, const char *folder, int64_t keep,
                                   const struct params *params, struct error *err);
/* Copies the trainable values, m and v (params->trainable_elements floats each, in the order of the
 * blocks) and the state, then returns; the rest happens on a thread. Waits for the one before. ST_FAIL
 * also reports what the one before failed with. *blocked_seconds: how long the call took. */
enum status checkpoint_writer_start(struct checkpoint_writer *w, const float *m, const float *v,
                                    const struct checkpoint_state *state, double *blocked_seconds,
                                    struct error *err);
/* Until the last one is on disk. */
enum status checkpoint_writer_wait(struct checkpoint_writer *w, struct error *err);
enum status checkpoint_writer_close(struct checkpoint_writer **w, struct error *err);

/* The newest complete checkpoint below `folder`: its manifest and every digest hold. ST_OK and *path (a
 * fresh string); ST_END: there is none. Broken and unfinished ones are passed over with a warning. */
enum status checkpoint_find(char **path, const char *folder, struct error *err);
bool checkpoint_any(const char *folder); /* whether anything complete or not lies there */

struct checkpoint {
    int64_t step, skipped, damaged;
    struct buffer data;   /* loader identity */
    struct buffer recipe; /* YAML */
    char *path;
};
/* Reads and checks the manifest, digests and state, not the tensors. ST_FAIL: CAUSE_CHECKSUM or
 * CAUSE_FORMAT naming the file. */
enum status checkpoint_open(struct checkpoint **out, const char *path, struct error *err);
/* All of `params` (values), m and v. ST_FAIL: CAUSE_FORMAT naming every tensor that is missing, of
 * another shape or unknown. */
enum status checkpoint_load(const struct checkpoint *c, struct params *params, float *m, float *v,
                            struct error *err);
/* Values alone, whatever of them trained: for generation. ST_FAIL as checkpoint_load. */
enum status checkpoint_load_values(const struct checkpoint *c, struct params *params,
                                   struct error *err);
void checkpoint_close(struct checkpoint **c);

/* Every digest of one checkpoint folder; each finding is appended as a line. ST_OK also with
 * findings: *count says how many. */
enum status checkpoint_verify(const char *path, struct buffer *findings, size_t *count,
                              struct error *err);
/* Whether `path` is a checkpoint folder rather than a dataset: it has a manifest.json. */
bool checkpoint_is(const char *path);

#endif
