/* ingest/driver.h: what every kind of ingest shares: the dataset folder, its locks, units in parallel,
 * seals, the manifest (design.md 5). A unit is a call that fills one shard; the driver opens the
 * writer, seals it by rename, and skips what is sealed. */
#ifndef DEEM_INGEST_DRIVER_H
#define DEEM_INGEST_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "shards/facts.h"
#include "shards/manifest.h"
#include "shards/shard_writer.h"

struct driver {
    char *out, *work;     /* DATASET, DATASET/work */
    int lock, part_lock;  /* -1: not held */
    bool made_out;        /* the folder was not there before */
    uint32_t part, parts; /* parts 0: all units, and the manifest */
};
/* Makes the folders and takes the locks. ST_FAIL: CAUSE_LOCKED (another writer), CAUSE_CREATE,
 * CAUSE_IO. parts 0: nobody else may write; else only the same part and a whole run are shut out,
 * and planning waits for whoever plans. */
enum status driver_open(struct driver *d, const char *out, uint32_t part, uint32_t parts,
                        struct error *err);
/* Lets the other parts go on, once the plan is saved. */
void driver_planned(struct driver *d);
void driver_close(struct driver *d);

/* ST_OK: `out` is a finished dataset and *m is read; what its last run left to remove goes. ST_END: it is not. */
enum status driver_finished(struct manifest *m, const char *out, struct error *err);

struct driver_unit {
    uint32_t number;
    struct shard_writer *writer;
    struct unit_facts *facts; /* inputs and counts are the unit's to fill */
    const char *scratch;      /* path of a work file it may use */
    void **carry;             /* what the unit before left, where this one follows it, else NULL */
};
struct driver_job {
    const struct shard_facts *facts;
    const struct buffer *dictionary, *pieces; /* size 0: none */
    uint32_t units;
    unsigned threads; /* at least 1 */
    /* Fills the shard. Called on any thread; stop_requested() is asked by it. */
    enum status (*run)(void *arg, const struct driver_unit *unit, struct error *err);
    /* May `unit` go on where `unit - 1` stopped, on the same thread? NULL: never. */
    bool (*follows)(void *arg, uint32_t unit);
    void (*release)(void *arg, void *carry); /* what the last one left; NULL with `follows` */
    void *arg;
};
/* Runs the units of this part that are not sealed yet. */
enum status driver_run(struct driver *d, const struct driver_job *job, struct error *err);
/* Writes quarantine.jsonl and dataset.json from the shards and removes work/. Parts do nothing:
 * *whole tells. */
enum status driver_finish(struct driver *d, uint32_t units, bool *whole, struct error *err);

#endif
