/* trainer/optimizer.h: gradient norm, clipping, learning-rate schedule and AdamW over the trainable block
 * of params.h, its state cut over ranks (ZeRO-1). A rank owns a run of whole pieces of 64 Ki elements;
 * the norm is summed piece by piece in a fixed order, so that clipping is the same for any number of
 * ranks. Where a placement has the parameters apart and there is one rank, the step runs there and only
 * the sums of the norm come to the host; with bf16 storage a master is the bf16 value and 16 low bits
 * (spec gpu.md 4.6). Spec model.md 4.2, design.md 6. One thread. */
#ifndef DEEM_TRAINER_OPTIMIZER_H
#define DEEM_TRAINER_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "trainer/dist.h"
#include "trainer/params.h"
#include "trainer/placement.h"

struct optimizer_settings {
    double beta1, beta2, eps;
    double clip_norm; /* 0: no clipping */
    double clip_eps;  /* 1e-6 */
};
/* Rate and decay of the parameter of this name. */
typedef void optimizer_rates_fn(const void *arg, const char *name, double *lr,
                                double *weight_decay);

struct optimizer;
/* After params_allocate. `where` NULL: the host's memory. `dist` NULL: one rank. All are borrowed. ST_FAIL:
 * CAUSE_NOMEM, CAUSE_CUDA. */
enum status optimizer_open(struct optimizer **out, struct params *params, struct placement *where,
                           struct dist *dist, const struct optimizer_settings *settings,
                           optimizer_rates_fn *rates, const void *rates_arg, struct error *err);
void optimizer_close(struct optimizer **o);

struct optimizer_report {
    double grad_norm; /* of the scaled gradient over all ranks, before clipping */
    bool finite;
    const char
        *bad; /* a parameter with a gradient that is not finite on this rank's part, or NULL */
};
/* After values on the host have changed: they become the masters, and what programs read. */
enum status optimizer_take_masters(struct optimizer *o, struct error *err);
/* Brings the masters back into params->values. */
enum status optimizer_masters(const struct optimizer *o, struct error *err);

/* One step: sums the gradients over the ranks, scales by `grad_scale` (1 / micro-batches of the global
 * batch), clips, applies AdamW with rates times `factor`, spreads the new values. Not finite: nothing is
 * changed, ST_SKIP on every rank alike. ST_FAIL: CAUSE_PEER, CAUSE_NOMEM. Gradients are not cleared. */
enum status optimizer_step(struct optimizer *o, double grad_scale, double factor,
                           struct optimizer_report *report, struct error *err);
/* Updates made so far: t of AdamW. */
int64_t optimizer_steps(const struct optimizer *o);

/* For checkpoints: moments of whole parameters, gathered to every rank, and the masters as by
 * optimizer_masters. m and v hold params->trainable_elements floats each. Collective. */
enum status optimizer_gather(const struct optimizer *o, float *m, float *v, struct error *err);
/* Takes this rank's part out of whole moments, and the number of updates. ST_FAIL: CAUSE_CUDA. */
enum status optimizer_restore(struct optimizer *o, const float *m, const float *v, int64_t steps,
                              struct error *err);

/* The schedule: k steps done, warm-up W, total S. k < W: k / W; else half a cosine down to 0 at S. */
double schedule_factor(int64_t k, int64_t warmup, int64_t total);

#endif
