/* trainer/optimizer.h: gradient norm, clipping, learning-rate schedule and AdamW over the trainable block
 * of params.h, its state cut over ranks (ZeRO-1). A rank owns a run of whole pieces of 64 Ki elements;
 * the norm is summed piece by piece in a fixed order, so that clipping is the same for any number of
 * ranks. Spec model.md 4.2, design.md 6. One thread. */
#ifndef DEEM_TRAINER_OPTIMIZER_H
#define DEEM_TRAINER_OPTIMIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "trainer/dist.h"
#include "trainer/params.h"

struct optimizer_settings {
    double beta1, beta2, eps;
    double clip_norm; /* 0: no clipping */
    double clip_eps;  /* 1e-6 */
};
/* Rate and decay of the parameter of this name. */
typedef void optimizer_rates_fn(const void *arg, const char *name, double *lr,
                                double *weight_decay);

struct optimizer;
/* After params_allocate. `dist` NULL: one rank. Both are borrowed. ST_FAIL: CAUSE_NOMEM. */
enum status optimizer_open(struct optimizer **out, struct params *params, struct dist *dist,
                           const struct optimizer_settings *settings, optimizer_rates_fn *rates,
                           const void *rates_arg, struct error *err);
void optimizer_close(struct optimizer **o);

struct optimizer_report {
    double grad_norm; /* of the scaled gradient over all ranks, before clipping */
    bool finite;
    const char
        *bad; /* a parameter with a gradient that is not finite on this rank's part, or NULL */
};
/* One step: sums the gradients over the ranks, scales by `grad_scale` (1 / micro-batches of the global
 * batch), clips, applies AdamW with rates times `factor`, spreads the new values. Not finite: nothing is
 * changed, ST_SKIP on every rank alike. ST_FAIL: CAUSE_PEER, CAUSE_NOMEM. Gradients are not cleared. */
enum status optimizer_step(struct optimizer *o, double grad_scale, double factor,
                           struct optimizer_report *report, struct error *err);
/* Updates made so far: t of AdamW. */
int64_t optimizer_steps(const struct optimizer *o);

/* Moments of a whole parameter, for checkpoints: gathered to every rank. m and v hold
 * params->trainable_elements floats each. Collective. */
enum status optimizer_gather(const struct optimizer *o, float *m, float *v, struct error *err);
/* Takes this rank's part out of whole moments, and the number of updates. */
void optimizer_restore(struct optimizer *o, const float *m, const float *v, int64_t steps);

/* The schedule: k steps done, warm-up W, total S. k < W: k / W; else half a cosine down to 0 at S. */
double schedule_factor(int64_t k, int64_t warmup, int64_t total);

#endif
