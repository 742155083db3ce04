/* tests/kernels/cuda/trial.h: one call of a kernel on CUDA and on the CPU with the same operands, results
 * compared. A trial runs with float32 storage and with bf16 storage (the CPU gets the rounded numbers), each with
 * outputs overwritten or added to as its attributes say. The same tests run on a GPU (label gpu; without one they
 * skip) and, compiled for the host, thread by thread (tests/support/cuda_host). */
#ifndef DEEM_TESTS_TRIAL_H
#define DEEM_TESTS_TRIAL_H

#include "tests/support/support.h"

#include "kernels/device.h"

#define SHAPE(...)                                                                                 \
    (const int64_t[]){ __VA_ARGS__ }, (int)(sizeof(int64_t[]){ __VA_ARGS__ } / sizeof(int64_t))

enum { TRIAL_OPERANDS = 12 };
enum trial_type { TRIAL_STORAGE, TRIAL_EXACT, TRIAL_INDEX };
struct trial_operand {
    int rank;
    int64_t shape[VIEW_RANK_MAX], count;
    enum trial_type type;
    float *numbers;   /* values of an input, what an output holds before the call */
    int32_t *indices; /* of TRIAL_INDEX */
};
struct trial {
    enum kernel kernel;
    const char *what; /* printed where results differ */
    const void *attrs;
    struct trial_operand out[TRIAL_OPERANDS], in[TRIAL_OPERANDS];
    int n_out, n_in;
    uint64_t seed;
};

struct trial trial_make(enum kernel kernel, const char *what, const void *attrs);
/* Random numbers of [-1, 1) x scale. Returns them, to be changed before trial_run. */
float *trial_in(struct trial *t, enum trial_type type, float scale, const int64_t *shape, int rank);
/* Whole numbers of [low, high). */
int32_t *trial_index(struct trial *t, int32_t low, int32_t high, const int64_t *shape, int rank);
void trial_in_none(struct trial *t);
void trial_out(struct trial *t, enum trial_type type, const int64_t *shape, int rank);
void trial_out_none(struct trial *t);
/* Relative L2 error of each output below `tolerance` (of what is stored as bf16: below 4e-3 too where it is
 * tighter). Frees the trial. */
void trial_run(struct trial *t, double tolerance);
/* The same where the rounded inputs make another function: float32 storage only. */
void trial_run_f32(struct trial *t, double tolerance);
/* Output i of the CPU's kernel on the float32 numbers: statistics for a backward trial. */
void trial_cpu(const struct trial *t, float *const out[]);

/* The device of this program; skips it (exit 77) where there is none. */
struct device *trial_device(void);
/* Runs the tests, then those from `again` on in deterministic mode. */
int trial_main(const struct CMUnitTest *tests, size_t count, size_t again, const char *name);

/* Sizes that are odd, full and ragged warps, and a model's. */
extern const int64_t trial_sizes[6];

#endif
