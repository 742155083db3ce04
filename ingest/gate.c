/* ingest/gate.c: see gate.h. */
#include "ingest/gate.h"

#include <inttypes.h>
#include <pthread.h>

#include "core/mem.h"

/* Of one worker: read buffers, a record of ordinary size as text and tree, pieces of the open window,
 * sequences of the unsealed shard, a picture of 4 Mpx decoded. */
static const uint64_t ORDINARY_BYTES = UINT64_C(48) << 20;
/* Of the process: tokenizer, schedule, picture index pages, libraries. */
static const uint64_t SHARED_BYTES = UINT64_C(64) << 20;

struct gate {
    pthread_mutex_t large; /* held by whoever works beyond the ordinary */
};

uint64_t gate_ordinary(void)
{
    return ORDINARY_BYTES;
}

/* The largest need of one record: a picture with its decoder, or a line with its tree. */
static uint64_t largest(const struct source_limits *records, const struct image_limits *pictures)
{
    const uint64_t picture = pictures->max_bytes + pictures->max_memory;
    const uint64_t line = 3 * records->max_line;
    return picture > line ? picture : line;
}

enum status gate_open(struct gate **out, unsigned *workers, uint64_t memory,
                      const struct source_limits *records, const struct image_limits *pictures,
                      struct error *err)
{
    const uint64_t fixed = SHARED_BYTES + largest(records, pictures);
    *out = NULL;
    if (memory < fixed + ORDINARY_BYTES)
        return error_set(err, ST_FAIL, CAUSE_ARG,
                         "--memory: %" PRIu64 " MiB does not carry one record of the allowed size; "
                         "at least %" PRIu64 " MiB, or lower limits (--show-limits)",
                         memory >> 20, ((fixed + ORDINARY_BYTES) >> 20) + 1);
    const uint64_t carried = (memory - fixed) / ORDINARY_BYTES;
    if (*workers > carried)
        *workers = (unsigned)carried;
    struct gate *g = mem_calloc(1, sizeof *g);
    if (!g || pthread_mutex_init(&g->large, NULL) != 0) {
        mem_free(g);
        return error_set(err, ST_FAIL, CAUSE_NOMEM, "gate");
    }
    *out = g;
    return ST_OK;
}

void gate_close(struct gate **g)
{
    if (!*g)
        return;
    pthread_mutex_destroy(&(*g)->large);
    mem_free(*g);
    *g = NULL;
}

void gate_enter(struct gate *g, uint64_t bytes)
{
    if (bytes > ORDINARY_BYTES)
        pthread_mutex_lock(&g->large);
}

void gate_leave(struct gate *g, uint64_t bytes)
{
    if (bytes > ORDINARY_BYTES)
        pthread_mutex_unlock(&g->large);
}
