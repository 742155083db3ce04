/* loader/plan.h: which sequence when: a pure function of seed, sources and position. Nothing is listed,
 * nothing is remembered; position 10^12 costs what position 0 costs. Spec data.md 2.3.1 (D5c, D6),
 * 5.2; draws: goldens/data/random. Thread-safe after plan_open.
 *
 * A micro-batch m (global number: step x micro-batches of a step + position) holds one source. A
 * source is an endless sequence of permutations of its S sequences: draw k is epoch k div S, sequence
 * perm_at(S, k mod S). Micro-batch q of a source (counted per source) takes draws q b .. q b + b - 1. */
#ifndef DEEM_LOADER_PLAN_H
#define DEEM_LOADER_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum plan_mixing {
    PLAN_STRATIFIED, /* in each block of (sum of weights) micro-batches every source has its weight,
                        in an order drawn by D6 */
    PLAN_IID,        /* the source of each micro-batch is drawn on its own, by weight; micro-batch m
                        takes draws m b .. of its source, so nothing repeats within an epoch */
};
enum plan_order {
    PLAN_PERMUTATION, /* all sequences of a source in random order */
    PLAN_BLOCK, /* runs of `block` neighbours in random order, random inside, so that a slow disk
                         reads near places; the rest S mod block comes last in each epoch */
};
struct plan_source {
    const char *name;   /* in the recipe: a field of D5c; borrowed until plan_close */
    uint64_t sequences; /* at least 1 */
    uint64_t weight;    /* at least 1; sum of all at most 1,000 */
};
struct plan_options {
    uint64_t seed;
    enum plan_mixing mixing; /* default stratified */
    enum plan_order order;   /* default permutation */
    uint64_t block;          /* sequences; default 256 */
    uint64_t batch_global;   /* sequences of a step */
    uint64_t batch_micro;    /* sequences of a micro-batch; divides batch_global */
    const struct plan_source *sources;
    size_t n_sources;
};
void plan_options_init(struct plan_options *opt);

struct plan;
/* ST_FAIL: CAUSE_ARG (no source, an empty one, weights, batch sizes), CAUSE_NOMEM. */
enum status plan_open(struct plan **out, const struct plan_options *opt, struct error *err);
void plan_close(struct plan **p);

uint64_t plan_micro_batches(const struct plan *p); /* of a step */
/* Rank r of `world` takes micro-batches [*begin, *end) of a step, counted from the step's first one.
 * ST_FAIL: CAUSE_ARG where `world` does not divide them. */
enum status plan_share(const struct plan *p, uint64_t world, uint64_t rank, uint64_t *begin,
                       uint64_t *end, struct error *err);

struct plan_sample {
    uint32_t source;      /* index into sources */
    uint64_t sequence;    /* in the source: its datasets' sequences in list order */
    uint64_t epoch;       /* of the source */
    uint64_t step;        /* from 0 */
    uint64_t position;    /* in the global batch of the step */
    uint64_t micro_batch; /* global number */
};
uint32_t plan_source(const struct plan *p, uint64_t micro_batch);
/* out[0 .. batch_micro). */
void plan_samples(const struct plan *p, uint64_t micro_batch, struct plan_sample *out);

#endif
