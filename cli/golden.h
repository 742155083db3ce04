/* cli/golden.h: one reference case while it runs. A runner (golden_MODULE.c, one function) takes sizes
 * and inputs from here, runs a program and hands over every tensor it made; golden_compare then
 * walks the expected tensors: one that nobody handed over fails. Formats: goldens/README.md.
 *
 * Findings about the case (missing key, wrong shape) are collected, not returned one by one: a runner
 * reads all it needs, then calls golden_ready, which refuses the case if there are any. The command
 * prints them all. */
#ifndef DEEM_CLI_GOLDEN_H
#define DEEM_CLI_GOLDEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/mem.h"
#include "trainer/finding.h"
#include "trainer/nn_mmfs.h"
#include "trainer/params.h"
#include "trainer/program.h"
#include "trainer/runner.h"
#include "trainer/safetensors.h"

struct golden_tensor; /* what a runner handed over */

struct golden {
    const char *folder;
    struct placement_options place;
    struct placement *where; /* of the case's parameters */
    struct arena memory;     /* lives as long as the case */
    struct json_value *root; /* case.json */
    struct tensor_file *weights, *inputs, *expected;
    struct hash_map *made; /* name -> index into list */
    struct golden_tensor *list;
    size_t count, cap;
    struct buffer findings; /* texts, each with its terminating zero */
    int n_findings;
    int n_flaws; /* of them, those that let the case run */
};

/* How far a tensor may be off. */
struct golden_bound {
    double rel, abs;
    bool skip; /* not compared in bfloat16 */
};
/* False: the case has none for it. */
bool golden_bound(const struct golden *g, const char *name, struct golden_bound *b);
/* Whether the case has tolerances for bfloat16 storage; without, it is float32 on every backend. */
bool golden_has_bf16(const struct golden *g);
/* The least cosine of all gradients as one vector, in bfloat16. False: the case asks for none. */
bool golden_bound_cosine(const struct golden *g, double *least);

/* A module's or kind's runner. ST_FAIL: the case cannot be run. */
typedef enum status golden_fn(struct golden *g, struct error *err);

/* A file that is missing or broken is a finding. A case without tolerances for bfloat16 runs in float32,
 * whatever `place` says. ST_FAIL: CAUSE_NOMEM. */
enum status golden_open(struct golden **out, const char *folder,
                        const struct placement_options *place, struct error *err);
void golden_close(struct golden **g);
/* Notes what is wrong with the case. */
void golden_problem(struct golden *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
finding_fn golden_note; /* the same as a listener; `arg` is the case */
/* Notes what is wrong with the expected tensors only: the case can run and be compared all the same. */
void golden_flaw(struct golden *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* ST_FAIL, CAUSE_FORMAT: there are findings, flaws apart. */
enum status golden_ready(const struct golden *g, struct error *err);
/* Logs every finding, one line each; returns their number. */
int golden_report(const struct golden *g);

/* Memory of the case, zeroed; NULL and a problem where there is none. */
void *golden_memory(struct golden *g, int64_t n, size_t size);

/* Values of case.json. `key` is a path from the root: "config.llm.hidden". A fault notes a problem and
 * gives 1, so that sizes computed from it stay harmless. */
const struct json_value *golden_value(const struct golden *g, const char *key); /* NULL: absent */
int64_t golden_int(struct golden *g, const char *key);                          /* 1 .. 2^20 */
int64_t golden_int_from(struct golden *g, const char *key, int64_t low);
double golden_real(struct golden *g, const char *key);
double golden_positive(struct golden *g, const char *key);
bool golden_flag(struct golden *g, const char *key);        /* true, false, 1 or 0 */
const char *golden_text(struct golden *g, const char *key); /* "" after a fault */
/* Integers >= 1 of a list into out[0..cap); returns how many. */
int golden_ints(struct golden *g, const char *key, int64_t *out, int cap);
int golden_reals(struct golden *g, const char *key, double *out, int cap);

/* Input tensors, read into the case's memory. `shape` holds -1 for axes of any size and gets them;
 * NULL: any shape. NULL and a problem where absent or of another shape. */
const float *golden_input(struct golden *g, const char *name, int rank, int64_t *shape);
const int32_t *golden_ids(struct golden *g, const char *name, int rank, int64_t *shape);
bool golden_has_input(const struct golden *g, const char *name);
/* Fills the batch tensor `name` of the program from the input of that name (same count). */
void golden_set(struct golden *g, struct runner *r, const struct program *p, const char *name);
/* The same from an input of another name. */
void golden_set_from(struct golden *g, struct runner *r, const struct program *p, const char *name,
                     const char *input);

/* The table of the case's parameters, and the placement they run in. */
enum status golden_params(struct golden *g, struct params **params, params_trainable_fn *trainable,
                          const void *arg, struct error *err);
/* Problems: parameters that weights.safetensors lacks or has in another shape or type; a computed table
 * may be absent. */
void golden_check_weights(struct golden *g, const struct params *params);
/* The above, then memory for the table and the values of every parameter. ST_FAIL: problems,
 * CAUSE_NOMEM. */
enum status golden_load(struct golden *g, struct params *params, struct error *err);

/* Hands over a tensor; values are copied. */
void golden_put(struct golden *g, const char *name, const float *data, int64_t count);
void golden_put_ids(struct golden *g, const char *name, const int32_t *data, int64_t count);
/* [I,H,W,C] as [I,C,H,W]. */
void golden_put_nchw(struct golden *g, const char *name, const float *data, int64_t I, int64_t H,
                     int64_t W, int64_t C);
/* A tensor of the program (arena pictures, rank 4: channels first). */
void golden_put_tensor(struct golden *g, const char *name, const void *data,
                       const struct tensor *t);
/* Every kept, named arena tensor under its name with `prefix` in front (rank 4: as pictures, channels
 * first). */
void golden_put_probes(struct golden *g, struct runner *r, const struct program *p,
                       const char *prefix);
/* grad_in.NAME: the gradient of tensor `name`, zeros where none flows. */
void golden_put_grad_in(struct golden *g, struct runner *r, struct program *p, const char *name);
/* grad.NAME of every parameter that trains. */
void golden_put_gradients(struct golden *g, const struct params *params);

/* Runs the case by its "kind" (cmd_golden.c). ST_FAIL: findings, or whatever stopped it. */
golden_fn golden_run;
/* Prints the table and the last line. Returns the number of failures. */
int golden_compare(struct golden *g, FILE *to);

/* Opens a program over fresh parameters that all train ("module" cases). */
enum status golden_program(struct golden *g, struct params **params, struct program **p,
                           struct error *err);
/* ST_FAIL: a program of these sizes needs more memory than a case may. */
enum status golden_check_memory(struct golden *g, const struct program *p, struct error *err);
/* Finishes the program: reports problems of the case and faults of the program, loads weights, opens
 * the runner. */
enum status golden_runner(struct golden *g, struct params *params, struct program *p,
                          struct runner **r, struct error *err);

/* The runners, by "module" or "kind" (cmd_golden.c). */
golden_fn golden_cliptext, golden_convnext, golden_ddpm, golden_llama, golden_loss_text,
    golden_masks, golden_mmfs, golden_optim, golden_perceiver2, golden_unet, golden_vae,
    golden_vistok;

/* Visible (query, picture) pairs made from a matrix visible [B,L,N]; pictures of row b are b N .. */
struct golden_pairs {
    int64_t T, n; /* queries, pairs */
    int32_t *begin, *image, *rank;
};
enum status golden_pairs_make(struct golden *g, struct golden_pairs *out, const int32_t *visible,
                              int64_t B, int64_t L, int64_t N, int64_t max_images,
                              struct error *err);
/* Batch tensors pair_begin, pair_image, pair_rank, reference_points [points,2]. */
struct mmfs_view golden_pairs_view(struct program *p, const struct golden_pairs *pairs,
                                   int64_t points);
void golden_pairs_set(struct runner *r, const struct program *p, const struct golden_pairs *pairs);

/* A diffusion loss of squared errors that are given: error [I,4,pixels], weight [I,pixels]. Hands over
 * the mean as `loss` and its gradient as grad_in.squared_error. */
void golden_put_weighted(struct golden *g, const float *error, const float *weight, int64_t I,
                         int64_t pixels, const char *loss);

/* Visibility and rank of a layout as the cases store them: [B,L,N]. */
struct layout;
void golden_put_visibility(struct golden *g, const struct layout *l, const char *visible,
                           const char *rank);

#endif
