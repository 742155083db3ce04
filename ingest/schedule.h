/* ingest/schedule.h: what is decided before work starts, and what units must know of each other: inputs,
 * work units, exact duplicates, the zstd dictionary (design.md 5). Kept in DATASET/work, so that every
 * run of the same command works by the same plan. Read-only once made. */
#ifndef DEEM_INGEST_SCHEDULE_H
#define DEEM_INGEST_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "filters/filter.h"
#include "ingest/inputs.h"

/* A run of whole inputs, or a run of records of one. */
struct schedule_unit {
    uint32_t first, count; /* inputs */
    uint64_t skip, take;   /* records of the one input; take 0: all from `skip` on */
};

/* A record by its running number in its input, damaged ones counted, blank lines not. */
struct schedule_record {
    uint32_t input;
    uint64_t record;
};

struct schedule {
    struct inputs inputs;
    struct schedule_unit *units;
    size_t unit_count;
    struct schedule_record *duplicates; /* F10: all but the first; sorted */
    size_t duplicate_count;
    struct buffer dictionary; /* zstd; size 0: none */
    uint64_t records;         /* seen while planning; 0 where nothing was read */
};
void schedule_clear(struct schedule *p);

/* Cuts p->inputs into units. `records` of each input; NULL: none is cut. */
enum status schedule_cut(struct schedule *p, const uint64_t *records, uint32_t inputs_per_shard,
                         uint64_t records_per_unit, struct error *err);

struct schedule_identity {
    uint8_t id[FILTER_IDENTITY_BYTES];
    struct schedule_record at;
};
/* Marks all but the first of equal identities. Reorders `seen`. */
enum status schedule_mark(struct schedule *p, struct schedule_identity *seen, size_t n,
                          struct error *err);
bool schedule_is_duplicate(const struct schedule *p, uint32_t input, uint64_t record);

/* Everything but the inputs, under the signature of the command; the plan is written last. */
enum status schedule_save(const struct schedule *p, const char *work,
                          const struct buffer *signature, struct error *err);
/* ST_END: there is none. p->inputs are today's. ST_FAIL: CAUSE_ARG (made for another signature: the
 * text names the difference), CAUSE_FORMAT, CAUSE_CHECKSUM, CAUSE_IO. */
enum status schedule_load(struct schedule *p, const char *work, const struct buffer *signature,
                          struct error *err);

#endif
