/* core/pool.h: bounded queue and workers. Every accepted job is called exactly once; after the first
 * failure the others are told `cancelled` and only release their argument. With 0 workers jobs run
 * inside pool_submit. */
#ifndef DEEM_CORE_POOL_H
#define DEEM_CORE_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

typedef enum status pool_run_fn(void *arg, bool cancelled, struct error *err);
struct pool;
enum status pool_open(struct pool **out, unsigned workers, size_t queue, struct error *err);
/* Blocks while the queue is full. ST_STOP: cancelled, the job was not taken. */
enum status pool_submit(struct pool *p, pool_run_fn *run, void *arg, struct error *err);
/* Takes one waiting job and runs it in the calling thread; false where none waits. Lets a consumer
 * help instead of sleeping. */
bool pool_help(struct pool *p);
/* Waits until every accepted job has run. ST_FAIL: the first failure. ST_STOP: pool_cancel was called. */
enum status pool_wait(struct pool *p, struct error *err);
void pool_cancel(struct pool *p);
/* Waits, joins, and reports the first failure like pool_wait. */
enum status pool_close(struct pool **p, struct error *err);
unsigned cpu_count(void); /* cores this process may use, at least 1 */

#endif
