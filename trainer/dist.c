/* trainer/dist.c: chooses the implementation and passes calls on. MPI lives in a module of its own
 * (deem_mpi.so beside the program), loaded only under a launcher: a plain start needs no MPI. */
#include "trainer/dist.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "core/mem.h"
#include "core/module.h"
#include "trainer/dist_private.h"

struct dist {
    struct dist_backend backend;
    void *module; /* dlopen handle, NULL where there is none */
};

void dist_options_init(struct dist_options *opt)
{
    *opt = (struct dist_options){ .deadline_seconds = 120.0 };
}

static enum status wrap(struct dist **out, struct dist_backend backend, void *module,
                        struct error *err)
{
    struct dist *d = mem_alloc(sizeof *d);
    if (!d) {
        if (backend.ops)
            backend.ops->close(backend.self);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: collectives");
    }
    *d = (struct dist){ .backend = backend, .module = module };
    *out = d;
    return ST_OK;
}

/* A launcher's variable as a number; false where it is not set. */
static bool launcher_number(const char *name, long *value, enum status *st, struct error *err)
{
    const char *text = getenv(name);
    char *end = NULL;
    if (!text)
        return false;
    errno = 0;
    *value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *value < 0)
        *st = error_set(err, ST_FAIL, CAUSE_ARG, "%s: got \"%s\", want a number", name, text);
    return true;
}

enum status dist_launcher_world(long *world, struct error *err)
{
    enum status st = ST_OK;
    long rank = 0, tasks = 0;
    *world = 1;
    if (launcher_number("OMPI_COMM_WORLD_SIZE", world, &st, err)) {
        if (!launcher_number("OMPI_COMM_WORLD_RANK", &rank, &st, err) && st == ST_OK)
            st = error_set(err, ST_FAIL, CAUSE_ARG,
                           "OMPI_COMM_WORLD_SIZE is set, OMPI_COMM_WORLD_RANK is not");
        if (st == ST_OK && rank >= *world)
            st = error_set(err, ST_FAIL, CAUSE_ARG, "OMPI_COMM_WORLD_RANK %ld of %ld ranks", rank,
                           *world);
        return st;
    }
    if (!launcher_number("SLURM_NTASKS", &tasks, &st, err) || !getenv("SLURM_STEP_ID"))
        return ST_OK; /* no launcher, or a batch script that starts one process */
    if (st == ST_OK && tasks > 1 && !getenv("PMIX_RANK"))
        st = error_set(err, ST_FAIL, CAUSE_ARG,
                       "srun started %ld tasks without PMIx: use `srun --mpi=pmix` or mpirun",
                       tasks);
    *world = tasks;
    return st;
}

static enum status open_mpi(struct dist **out, long world, const struct dist_options *opt,
                            struct error *err)
{
    struct dist_backend backend = { 0 };
    union {
        void *symbol;
        dist_backend_open_fn *open;
    } entry;
    void *module = module_load("deem_mpi.so", true);
    if (!module)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "started as one of %ld ranks, but the MPI module cannot be loaded: %s",
                         world, dlerror());
    entry.symbol = dlsym(module, "dist_mpi_open");
    if (!entry.symbol) {
        dlclose(module);
        return error_set(err, ST_FAIL, CAUSE_ARG, "deem_mpi.so: no dist_mpi_open");
    }
    if (entry.open(&backend, opt, err) != ST_OK)
        return ST_FAIL; /* MPI may have been initialised: its module stays */
    return wrap(out, backend, module, err);
}

enum status dist_open(struct dist **out, const struct dist_options *opt, struct error *err)
{
    struct dist_options defaults;
    long world = 1;

    *out = NULL;
    dist_options_init(&defaults);
    if (!opt)
        opt = &defaults;
    if (dist_launcher_world(&world, err) != ST_OK)
        return ST_FAIL;
    if (world <= 1)
        return wrap(out, (struct dist_backend){ .size = 1, .local_size = 1 }, NULL, err);
    return open_mpi(out, world, opt, err);
}

enum status dist_open_loopback(struct dist **out, int world, const struct dist_options *opt,
                               struct error *err)
{
    struct dist_options defaults;
    struct dist_backend *backends = NULL;
    enum status st = ST_FAIL;

    dist_options_init(&defaults);
    for (int r = 0; r < world; r++)
        out[r] = NULL;
    if (world < 1)
        return error_set(err, ST_FAIL, CAUSE_ARG, "loopback: %d ranks", world);
    backends = mem_calloc((size_t)world, sizeof *backends);
    if (!backends)
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "out of memory: %d ranks", world);
    st = dist_loopback_make(backends, world, opt ? opt : &defaults, err);
    for (int r = 0; r < world && st == ST_OK; r++) {
        st = wrap(&out[r], backends[r], NULL, err);
        for (int rest = r + 1; rest < world && st != ST_OK; rest++)
            backends[rest].ops->close(backends[rest].self);
    }
    for (int r = 0; r < world && st != ST_OK; r++)
        dist_close(&out[r]);
    mem_free(backends);
    return st;
}

void dist_close(struct dist **d)
{
    if (!*d)
        return;
    if ((*d)->backend.ops)
        (*d)->backend.ops->close((*d)->backend.self);
    mem_free(*d); /* the module stays loaded: MPI's own threads may still be leaving */
    *d = NULL;
}

int dist_rank(const struct dist *d)
{
    return d->backend.rank;
}

int dist_size(const struct dist *d)
{
    return d->backend.size;
}

int dist_local_size(const struct dist *d)
{
    return d->backend.local_size;
}

enum status dist_barrier(struct dist *d, struct error *err)
{
    return d->backend.ops ? d->backend.ops->barrier(d->backend.self, err) : ST_OK;
}

enum status dist_reduce_scatter(struct dist *d, float *part, const float *data,
                                const int64_t *offsets, struct error *err)
{
    if (d->backend.ops)
        return d->backend.ops->reduce_scatter(d->backend.self, part, data, offsets, err);
    for (int64_t i = offsets[0]; i < offsets[1]; i++)
        part[i - offsets[0]] = data[i];
    return ST_OK;
}

enum status dist_all_gather(struct dist *d, void *data, const int64_t *offsets, struct error *err)
{
    return d->backend.ops ? d->backend.ops->all_gather(d->backend.self, data, offsets, err) : ST_OK;
}

enum status dist_all_sum(struct dist *d, double *values, int count, struct error *err)
{
    return d->backend.ops ? d->backend.ops->all_sum(d->backend.self, values, count, err) : ST_OK;
}

enum status dist_all_max(struct dist *d, int64_t *values, int count, struct error *err)
{
    return d->backend.ops ? d->backend.ops->all_max(d->backend.self, values, count, err) : ST_OK;
}

enum status dist_broadcast(struct dist *d, void *data, size_t bytes, int root, struct error *err)
{
    return d->backend.ops ? d->backend.ops->broadcast(d->backend.self, data, bytes, root, err)
                          : ST_OK;
}

void dist_abort(struct dist *d, int exit_code)
{
    if (d->backend.ops)
        d->backend.ops->abort(d->backend.self, exit_code);
}
