/* tests/trainer/dist_mpi_check.c: started by mpirun; every rank checks each collective against what
 * it must give, bit for bit. Exit 0 where all agree. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trainer/dist.h"

static float element(int r, int64_t i)
{
    return (r % 2 ? 1e6f : 1e-3f) * (float)(i % 7 + 1) * (float)(r + 1);
}

static int wrong(const char *what, int rank)
{
    fprintf(stderr, "rank %d: %s\n", rank, what);
    return 1;
}

int main(void)
{
    enum { ELEMENTS = (1 << 23) + 5 }; /* more than one exchanged chunk for one and two ranks */
    struct dist *d = NULL;
    struct error err = { 0 };

    if (dist_open(&d, NULL, &err) != ST_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const int world = dist_size(d), rank = dist_rank(d);
    int64_t *offsets = calloc((size_t)world + 1, sizeof *offsets);
    float *data = malloc(ELEMENTS * sizeof *data), *part = malloc(ELEMENTS * sizeof *part);
    int bad = offsets && data && part ? 0 : wrong("out of memory", rank);
    for (int r = 0; r <= world && !bad; r++)
        offsets[r] = (int64_t)ELEMENTS * r * r / (world * world);
    for (int64_t i = 0; i < ELEMENTS && !bad; i++)
        data[i] = element(rank, i);
    if (!bad && dist_reduce_scatter(d, part, data, offsets, &err) != ST_OK)
        bad = wrong(err.text, rank);
    for (int64_t i = 0; !bad && i < offsets[rank + 1] - offsets[rank]; i++) {
        float want = element(0, offsets[rank] + i);
        for (int r = 1; r < world; r++)
            want += element(r, offsets[rank] + i);
        if (part[i] != want)
            bad = wrong("reduce-scatter", rank);
    }
    for (int r = 0; r <= world && !bad; r++)
        offsets[r] *= (int64_t)sizeof *data;
    if (!bad && dist_all_gather(d, data, offsets, &err) != ST_OK)
        bad = wrong(err.text, rank);
    for (int r = 0; r < world && !bad; r++)
        for (int64_t b = offsets[r]; b < offsets[r + 1] && !bad; b += (int64_t)sizeof *data)
            if (data[b / 4] != element(r, b / 4))
                bad = wrong("all-gather", rank);
    double sum = 1.0 / (rank + 1), want = 0.0;
    int64_t most = 10 - rank;
    int shared = rank == world - 1 ? 77 : 0;
    for (int r = 0; r < world; r++)
        want += 1.0 / (r + 1);
    if (!bad && (dist_all_sum(d, &sum, 1, &err) != ST_OK || sum != want))
        bad = wrong("all-sum", rank);
    if (!bad && (dist_all_max(d, &most, 1, &err) != ST_OK || most != 10))
        bad = wrong("all-max", rank);
    if (!bad && (dist_broadcast(d, &shared, sizeof shared, world - 1, &err) != ST_OK ||
                 (world > 1 && shared != 77)))
        bad = wrong("broadcast", rank);
    if (!bad && dist_barrier(d, &err) != ST_OK)
        bad = wrong(err.text, rank);
    free(offsets);
    free(data);
    free(part);
    dist_close(&d);
    return bad;
}
