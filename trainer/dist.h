/* trainer/dist.h: the collectives of data-parallel training behind one table: one process alone, N
 * ranks in one process (loopback, for tests), N processes by MPI. Sums run in rank order 0, 1, ...,
 * so a given number of ranks repeats bitwise. A collective that some rank does not join within
 * the deadline, or joins with another call, fails on every rank that waits: CAUSE_PEER (exit 76), the
 * text names the collective, the rank and the running number.
 * A handle belongs to one thread; handles of one loopback group may be used by different threads. */
#ifndef DEEM_TRAINER_DIST_H
#define DEEM_TRAINER_DIST_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct dist;

struct dist_options {
    double deadline_seconds; /* of one collective; default 120 */
};
void dist_options_init(struct dist_options *opt);

/* What the environment says: alone where no launcher's variables are set, MPI under mpirun or
 * `srun --mpi=pmix`. MPI is neither loaded nor initialised otherwise. ST_FAIL: CAUSE_ARG (variables
 * that contradict each other, a launcher without MPI support in this build), CAUSE_PEER. */
enum status dist_open(struct dist **out, const struct dist_options *opt, struct error *err);
/* Under a launcher of several ranks the process it started only watches: a child goes on as the rank, signals
 * are passed to it, and a child that a signal killed ends the rank with exit 76 instead of the signal,
 * which a launcher would report. Returns ST_OK where the caller goes on (the child, or no launcher), ST_END
 * and *exit_code in the watcher. Call it before any thread starts. ST_FAIL: CAUSE_ARG, CAUSE_PEER. */
enum status dist_supervise(int *exit_code, struct error *err);
/* `world` handles of one group inside this process. On failure out[] holds NULLs. A collective fails on
 * every rank or on none; after a failure, or once a handle is closed, all further ones fail at once. */
enum status dist_open_loopback(struct dist **out, int world, const struct dist_options *opt,
                               struct error *err);
void dist_close(struct dist **d);

int dist_rank(const struct dist *d);
int dist_size(const struct dist *d);
int dist_local_size(const struct dist *d); /* ranks on this host, for dividing cores */

enum status dist_barrier(struct dist *d, struct error *err);
/* part[i] = sum over ranks r, in order, of their data[offsets[rank] + i]. offsets (size + 1) are element
 * offsets, alike on all ranks; part holds offsets[rank + 1] - offsets[rank] floats and must not
 * overlap data. */
enum status dist_reduce_scatter(struct dist *d, float *part, const float *data,
                                const int64_t *offsets, struct error *err);
/* In place: rank r's bytes [offsets[r], offsets[r + 1]) reach every rank. */
enum status dist_all_gather(struct dist *d, void *data, const int64_t *offsets, struct error *err);
/* values[i] = sum over ranks in order; the same bits on all ranks. */
enum status dist_all_sum(struct dist *d, double *values, int count, struct error *err);
enum status dist_all_max(struct dist *d, int64_t *values, int count, struct error *err);
enum status dist_broadcast(struct dist *d, void *data, size_t bytes, int root, struct error *err);
/* Tells the group that this rank gives up, so that the others fail at once instead of waiting; under
 * MPI the job ends with `exit_code`. */
void dist_abort(struct dist *d, int exit_code);

/* One implementation. The functions do what their namesakes above say; `self` is the backend's own. */
struct dist_ops {
    const char *name;
    enum status (*barrier)(void *self, struct error *err);
    enum status (*reduce_scatter)(void *self, float *part, const float *data,
                                  const int64_t *offsets, struct error *err);
    enum status (*all_gather)(void *self, void *data, const int64_t *offsets, struct error *err);
    enum status (*all_sum)(void *self, double *values, int count, struct error *err);
    enum status (*all_max)(void *self, int64_t *values, int count, struct error *err);
    enum status (*broadcast)(void *self, void *data, size_t bytes, int root, struct error *err);
    void (*abort)(void *self, int exit_code);
    void (*close)(void *self);
};
struct dist_backend {
    const struct dist_ops *ops;
    void *self;
    int rank, size, local_size;
};
/* What the module deem_mpi.so exports under the name "dist_mpi_open". */
typedef enum status dist_backend_open_fn(struct dist_backend *out, const struct dist_options *opt,
                                         struct error *err);

#endif
