/* trainer/runner.h: walks a planned program where a placement says. Holds the arena and the batch tensors;
 * the parameters are those of the program's table, which must have memory. The host always reads and
 * writes float32 and int32 in its own memory: on a device a run begins by copying the batch tensors that
 * the host has asked for since the last one, and ends by copying out the kept tensors it has written.
 * One thread.
 *
 *     runner_open(&r, p, NULL, err);
 *     memcpy(runner_data(r, x), host, bytes);
 *     runner_run(r, 0, p->n_nodes, err);
 *     ... runner_data(r, y) ...                 kept tensors only
 */
#ifndef DEEM_TRAINER_RUNNER_H
#define DEEM_TRAINER_RUNNER_H

#include "trainer/placement.h"
#include "trainer/planner.h"
#include "trainer/program.h"

struct runner;

/* `where` NULL: the CPU; borrowed. ST_FAIL: CAUSE_ARG (an operation has no kernel on this backend, the
 * program has a fault), CAUSE_NOMEM, CAUSE_CUDA. The program must outlive the runner and not change any
 * more. */
enum status runner_open(struct runner **out, const struct program *p, struct placement *where,
                        struct error *err);
/* The memory of arena tensors, for runners that work by turns: as large as the largest needs. What a runner
 * keeps is valid until another one of the arena opens or runs. Empty: all zero. */
struct runner_arena {
    uint8_t *data;
    int64_t bytes;
    struct device *device; /* NULL: the host */
};
void runner_arena_clear(struct runner_arena *a);
/* As runner_open; `arena` must outlive the runner, be of the same placement, and may be shared. */
enum status runner_open_in(struct runner **out, const struct program *p, struct placement *where,
                           struct runner_arena *arena, struct error *err);
void runner_close(struct runner **r);
/* Runs nodes [begin, end). ST_FAIL names the node. */
enum status runner_run(struct runner *r, int begin, int end, struct error *err);
enum status runner_run_span(struct runner *r, int span, struct error *err);
/* The host's memory of tensor t: batch tensors any time, to be written before the next run; kept ones after
 * the run. NULL for TENSOR_NONE and for tensors without memory. */
void *runner_data(struct runner *r, int t);
/* Seconds by the clock, and those of them that the calling thread ran. */
struct runner_seconds {
    double wall, thread;
};
/* From now on what every node takes is added to times[node], NULL: no longer. Returns the array before. A
 * device's kernels are launched, not waited for. */
struct runner_seconds *runner_watch(struct runner *r, struct runner_seconds *times);
/* Of the batch tensors, bytes. */
int64_t runner_batch_bytes(const struct runner *r);
const struct memory_plan *runner_plan(const struct runner *r);

#endif
