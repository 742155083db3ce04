/* trainer/runner.h: walks a planned program on a backend. Holds the arena and the batch tensors; the
 * parameters are those of the program's table, which must have memory. One thread.
 *
 *     runner_open(&r, p, BACKEND_CPU, err);
 *     memcpy(runner_data(r, x), host, bytes);
 *     runner_run(r, 0, p->n_nodes, err);
 *     ... runner_data(r, y) ...                 kept tensors only
 */
#ifndef DEEM_TRAINER_RUNNER_H
#define DEEM_TRAINER_RUNNER_H

#include "trainer/planner.h"
#include "trainer/program.h"

struct runner;

/* ST_FAIL: CAUSE_ARG (an operation has no kernel on this backend, the program has a fault),
 * CAUSE_NOMEM. The program must outlive the runner and not change any more. */
enum status runner_open(struct runner **out, const struct program *p, enum backend backend,
                        struct error *err);
void runner_close(struct runner **r);
/* Runs nodes [begin, end). ST_FAIL names the node. */
enum status runner_run(struct runner *r, int begin, int end, struct error *err);
enum status runner_run_span(struct runner *r, int span, struct error *err);
/* Memory of tensor t: batch tensors any time, kept ones after the run. NULL for TENSOR_NONE and for
 * tensors without memory. */
void *runner_data(struct runner *r, int t);
const struct memory_plan *runner_plan(const struct runner *r);

#endif
