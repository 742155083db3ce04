/* trainer/optimizer_private.h: what optimizer.c (the step, ranks) and optimizer_device.c (the same state in a
 * device's memory) share. */
#ifndef DEEM_TRAINER_OPTIMIZER_PRIVATE_H
#define DEEM_TRAINER_OPTIMIZER_PRIVATE_H

#include "kernels/adamw.h"
#include "kernels/reduce.h"
#include "trainer/optimizer.h"

/* A run of equal rates: the part of a parameter that this rank owns. */
struct piece {
    size_t param;
    int64_t begin, end; /* elements of the trainable block */
    double lr, weight_decay;
};

struct optimizer {
    struct params *params;
    struct placement *where; /* NULL: the host */
    struct dist *dist;
    struct optimizer_settings s;
    int rank, size;
    int64_t *offsets;     /* [size + 1] elements: who owns what */
    int64_t *run_offsets; /* [size + 1] bytes of the table of runs */
    int64_t n_runs;
    float *run_sums; /* [n_runs] */
    float *reduced;  /* this rank's part of the summed gradient; NULL with one rank */
    float *m, *v;    /* this rank's part */
    struct piece *pieces;
    size_t n_pieces;
    int64_t steps;
    struct optimizer_device *device; /* state in a device's memory; then m and v are NULL */
};

/* Moments, the low bits of bf16 masters, and what the norm needs, for the whole trainable block: one rank. */
enum status optimizer_device_open(struct optimizer *o, struct error *err);
void optimizer_device_close(struct optimizer *o);
/* Fills o->run_sums. */
enum status optimizer_device_squares(struct optimizer *o, struct error *err);
enum status optimizer_device_apply(struct optimizer *o, double scale, float clip, double factor,
                                   struct error *err);
enum status optimizer_device_gather(const struct optimizer *o, float *m, float *v,
                                    struct error *err);
enum status optimizer_device_restore(struct optimizer *o, const float *m, const float *v,
                                     struct error *err);
/* Low bits out of params->values, and params->values out of both halves. */
enum status optimizer_device_set_low(struct optimizer *o, struct error *err);
enum status optimizer_device_masters(const struct optimizer *o, struct error *err);

/* The attributes of AdamW for one piece of the next step. */
struct adamw_attrs optimizer_attrs(const struct optimizer *o, const struct piece *x, double scale,
                                   double factor);

#endif
