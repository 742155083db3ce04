/* trainer/dist_mpi.c: N processes by MPI 3. A module of its own (deem_mpi.so), so that the program
 * itself links no MPI. Collectives are the non-blocking ones, polled against the deadline. Sums are made
 * here, in rank order, from what an all-to-all brought: MPI's own reductions may choose their order. */
#include <limits.h>
#include <mpi.h>
#include <string.h>
#include <time.h>

#include "core/file.h"
#include "core/mem.h"
#include "trainer/dist.h"

enum { CHUNK = 1 << 22 }; /* elements of one part exchanged at a time; bounds the staging memory */

struct ranks {
    MPI_Comm comm;
    int rank, size;
    double deadline;
    uint64_t calls;
    float *staging; /* size x CHUNK */
    int *counts;    /* 4 x size: send counts, send offsets, receive counts, receive offsets */
};

static enum status mpi_failed(const struct ranks *m, const char *call, int code, struct error *err)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return error_set(err, ST_FAIL, CAUSE_PEER, "collective %s number %llu, rank %d of %d: %s", call,
                     (unsigned long long)m->calls, m->rank, m->size, text);
}

static enum status finish(const struct ranks *m, const char *call, int code, MPI_Request *request,
                          struct error *err)
{
    const double until = clock_seconds() + m->deadline;
    const struct timespec nap = { .tv_nsec = 20000 };
    int done = 0;

    for (unsigned spins = 0; code == MPI_SUCCESS && !done; spins++) {
        code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done || code != MPI_SUCCESS)
            break;
        if (clock_seconds() > until)
            return error_set(err, ST_FAIL, CAUSE_PEER,
                             "collective %s number %llu, rank %d of %d: not all ranks came in "
                             "%.0f s",
                             call, (unsigned long long)m->calls, m->rank, m->size, m->deadline);
        if (spins > 1000)
            nanosleep(&nap, NULL);
    }
    return code == MPI_SUCCESS ? ST_OK : mpi_failed(m, call, code, err);
}

static enum status mpi_barrier(void *self, struct error *err)
{
    struct ranks *m = self;
    MPI_Request request = MPI_REQUEST_NULL;
    m->calls++;
    return finish(m, "barrier", MPI_Ibarrier(m->comm, &request), &request, err);
}

/* Elements [at, at + CHUNK) of the part that begins at offsets[r]. */
static int chunk_count(const int64_t *offsets, int r, int64_t at)
{
    const int64_t left = offsets[r + 1] - offsets[r] - at;
    return left <= 0 ? 0 : left < CHUNK ? (int)left : CHUNK;
}

static enum status reduce_chunk(struct ranks *m, float *part, const float *data,
                                const int64_t *offsets, int64_t at, struct error *err)
{
    int *send = m->counts, *send_at = send + m->size, *take = send_at + m->size,
        *take_at = take + m->size;
    const int mine = chunk_count(offsets, m->rank, at);
    MPI_Request request = MPI_REQUEST_NULL;
    int64_t first = INT64_MAX;

    for (int r = 0; r < m->size; r++)
        if (chunk_count(offsets, r, at) > 0 && offsets[r] + at < first)
            first = offsets[r] + at;
    for (int r = 0; r < m->size; r++) {
        send[r] = chunk_count(offsets, r, at);
        const int64_t distance = send[r] > 0 ? offsets[r] + at - first : 0;
        if (distance > INT_MAX)
            return error_set(err, ST_FAIL, CAUSE_LIMIT, "reduce-scatter: block of %lld elements",
                             (long long)offsets[m->size]);
        send_at[r] = (int)distance;
        take[r] = mine;
        take_at[r] = r * CHUNK;
    }
    const float *base = first == INT64_MAX ? data : data + first;
    const int code = MPI_Ialltoallv(base, send, send_at, MPI_FLOAT, m->staging, take, take_at,
                                    MPI_FLOAT, m->comm, &request);
    if (finish(m, "reduce-scatter", code, &request, err) != ST_OK)
        return ST_FAIL;
    for (int r = 0; r < m->size; r++) {
        const float *theirs = m->staging + (size_t)r * CHUNK;
        for (int i = 0; i < mine; i++)
            part[at + i] = r == 0 ? theirs[i] : part[at + i] + theirs[i];
    }
    return ST_OK;
}

static enum status mpi_reduce_scatter(void *self, float *part, const float *data,
                                      const int64_t *offsets, struct error *err)
{
    struct ranks *m = self;
    int64_t longest = 0;
    enum status st = ST_OK;

    m->calls++;
    for (int r = 0; r < m->size; r++)
        if (offsets[r + 1] - offsets[r] > longest)
            longest = offsets[r + 1] - offsets[r];
    for (int64_t at = 0; at < longest && st == ST_OK; at += CHUNK)
        st = reduce_chunk(m, part, data, offsets, at, err);
    return st;
}

static enum status broadcast_bytes(struct ranks *m, const char *call, uint8_t *data, int64_t bytes,
                                   int root, struct error *err)
{
    enum status st = ST_OK;
    for (int64_t at = 0; at < bytes && st == ST_OK; at += INT_MAX) {
        MPI_Request request = MPI_REQUEST_NULL;
        const int count = bytes - at > INT_MAX ? INT_MAX : (int)(bytes - at);
        const int code = MPI_Ibcast(data + at, count, MPI_BYTE, root, m->comm, &request);
        st = finish(m, call, code, &request, err);
    }
    return st;
}

static enum status mpi_all_gather(void *self, void *data, const int64_t *offsets, struct error *err)
{
    struct ranks *m = self;
    enum status st = ST_OK;
    m->calls++;
    for (int r = 0; r < m->size && st == ST_OK; r++)
        st = broadcast_bytes(m, "all-gather", (uint8_t *)data + offsets[r],
                             offsets[r + 1] - offsets[r], r, err);
    return st;
}

/* Brings every rank's `bytes` to all, rank by rank, into a fresh block; NULL on failure. */
static void *gather_all(struct ranks *m, const char *call, const void *mine, size_t bytes,
                        struct error *err)
{
    MPI_Request request = MPI_REQUEST_NULL;
    uint8_t *all = mem_calloc((size_t)m->size, bytes + 1);
    m->calls++;
    if (!all || bytes > INT_MAX) {
        mem_free(all);
        error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %s", call);
        return NULL;
    }
    const int code =
        MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, m->comm, &request);
    if (finish(m, call, code, &request, err) == ST_OK)
        return all;
    mem_free(all);
    return NULL;
}

static enum status mpi_all_sum(void *self, double *values, int count, struct error *err)
{
    struct ranks *m = self;
    double *all = gather_all(m, "all-sum", values, (size_t)count * sizeof *values, err);
    if (!all)
        return ST_FAIL;
    for (int i = 0; i < count; i++) {
        values[i] = 0.0;
        for (int r = 0; r < m->size; r++)
            values[i] += all[(size_t)r * (size_t)count + (size_t)i];
    }
    mem_free(all);
    return ST_OK;
}

static enum status mpi_all_max(void *self, int64_t *values, int count, struct error *err)
{
    struct ranks *m = self;
    int64_t *all = gather_all(m, "all-max", values, (size_t)count * sizeof *values, err);
    if (!all)
        return ST_FAIL;
    for (int i = 0; i < count; i++)
        for (int r = 0; r < m->size; r++) {
            const int64_t v = all[(size_t)r * (size_t)count + (size_t)i];
            values[i] = v > values[i] ? v : values[i];
        }
    mem_free(all);
    return ST_OK;
}

static enum status mpi_broadcast(void *self, void *data, size_t bytes, int root, struct error *err)
{
    struct ranks *m = self;
    m->calls++;
    return broadcast_bytes(m, "broadcast", data, (int64_t)bytes, root, err);
}

static void mpi_abort(void *self, int exit_code)
{
    MPI_Abort(((struct ranks *)self)->comm, exit_code);
}

static void mpi_close(void *self)
{
    struct ranks *m = self;
    MPI_Finalize();
    mem_free(m->staging);
    mem_free(m->counts);
    mem_free(m);
}

static const struct dist_ops mpi_ops = {
    .name = "MPI",
    .barrier = mpi_barrier,
    .reduce_scatter = mpi_reduce_scatter,
    .all_gather = mpi_all_gather,
    .all_sum = mpi_all_sum,
    .all_max = mpi_all_max,
    .broadcast = mpi_broadcast,
    .abort = mpi_abort,
    .close = mpi_close,
};

static int ranks_on_this_host(MPI_Comm world)
{
    MPI_Comm host = MPI_COMM_NULL;
    int count = 1;
    if (MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host) == MPI_SUCCESS) {
        MPI_Comm_size(host, &count);
        MPI_Comm_free(&host);
    }
    return count;
}

dist_backend_open_fn dist_mpi_open;

enum status dist_mpi_open(struct dist_backend *out, const struct dist_options *opt,
                          struct error *err)
{
    int level = 0;
    struct ranks *m = mem_calloc(1, sizeof *m);
    if (!m)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: MPI ranks");
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS ||
        level < MPI_THREAD_FUNNELED) {
        mem_free(m);
        return error_set(err, ST_FAIL, CAUSE_PEER, "MPI cannot be initialised with threads");
    }
    m->comm = MPI_COMM_WORLD;
    m->deadline = opt->deadline_seconds;
    MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN);
    MPI_Comm_rank(m->comm, &m->rank);
    MPI_Comm_size(m->comm, &m->size);
    m->staging = mem_calloc((size_t)m->size, CHUNK * sizeof *m->staging);
    m->counts = mem_calloc((size_t)m->size, 4 * sizeof *m->counts);
    if (!m->staging || !m->counts) {
        mpi_close(m);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: MPI staging");
    }
    *out = (struct dist_backend){ &mpi_ops, m, m->rank, m->size, ranks_on_this_host(m->comm) };
    return ST_OK;
}
