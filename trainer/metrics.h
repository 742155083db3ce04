/* trainer/metrics.h: what a run reports: OUT/metrics.jsonl (one object a step, appended whole), TensorBoard
 * scalars beside it, and a line on the terminal. Written by one rank, one thread. */
#ifndef DEEM_TRAINER_METRICS_H
#define DEEM_TRAINER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* One optimizer step. Losses are unweighted means over the micro-batches of the global batch whose loss is finite.
 * NaN stands as null in the file: losses where none is, grad_norm of a step that was not applied. */
struct metrics_row {
    int64_t step; /* from 0 */
    double loss, loss_ntp, loss_nip, loss_csr;
    double lr;                           /* of the default group, after the schedule */
    double grad_norm;                    /* before clipping */
    int64_t tokens, images;              /* real ones of the global batch */
    double seconds, loader_wait_seconds; /* wall time of the step; of it waiting for data */
    double collective_seconds;           /* of it in collectives */
    double rank_spread_seconds;          /* slowest minus fastest rank */
    double checkpoint_seconds; /* of the time since the last row, blocked by a checkpoint */
    double mfu;                /* model FLOP / seconds / peak (spec model.md 8.2) */
    int64_t skipped;           /* steps not applied so far: non-finite */
    int64_t damaged;           /* records replaced so far */
    char state[33]; /* hash of weights, moments and position after the step; "": not asked for */
};

struct metrics;

/* Opens OUT for steps from `first_step` up to `end_step`: lines of later steps, left by a run that was cut after its
 * last checkpoint, are dropped, so that each step stands once. ST_FAIL: CAUSE_IO, CAUSE_CREATE, CAUSE_NOMEM,
 * CAUSE_FORMAT (a file that is no metrics file). */
enum status metrics_open(struct metrics **out, const char *folder, int64_t first_step,
                         int64_t end_step, struct error *err);
enum status metrics_write(struct metrics *m, const struct metrics_row *row, struct error *err);
/* A sample picture for TensorBoard. */
enum status metrics_picture(struct metrics *m, int64_t step, const char *tag, int width, int height,
                            const uint8_t *png, size_t size, struct error *err);
void metrics_close(struct metrics **m);

/* All rows of OUT/metrics.jsonl, for plots; free with mem_free. */
enum status metrics_read(struct metrics_row **rows, size_t *count, const char *folder,
                         struct error *err);

#endif
