/* loader/loader.h: dataset folders to batches, in an order that is a pure function of (seed, step):
 * the same for every number of threads, ranks and prefetched batches. Reading, inflating, decoding and
 * resizing run on worker threads; batches are delivered in order. The face for other people's
 * trainers, too: docs/loader.md has a 40-line example.
 *
 *     struct loader_options opt;
 *     loader_options_init(&opt);
 *     opt.sources = sources; opt.n_sources = 2; ...
 *     loader_open(&l, &opt, &err);
 *     loader_seek(l, step, &err);
 *     while (loader_next(l, &batch, &err) == ST_OK) { train(batch); loader_release(l, batch); }
 *     loader_close(&l);
 *
 * One thread calls; the workers are the loader's own. */
#ifndef DEEM_LOADER_LOADER_H
#define DEEM_LOADER_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/mem.h"
#include "loader/batch.h"
#include "loader/decode.h"
#include "loader/plan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct loader_source {
    const char *name;
    const char *const *datasets; /* folders; their sequences follow each other in list order */
    size_t n_datasets;
    uint64_t weight; /* micro-batches per block */
};
struct loader_options {
    uint64_t seed;
    const struct loader_source *sources;
    size_t n_sources;
    enum plan_mixing mixing;
    enum plan_order order;
    uint64_t block;               /* sequences, for PLAN_BLOCK; default 256 */
    uint64_t batch_global;        /* sequences of a step */
    uint64_t batch_micro;         /* divides it */
    uint64_t world, rank;         /* default 1, 0; world divides the micro-batches of a step */
    struct decode_options decode; /* geometry, mode, side_a = R, side_b = Rd */
    bool flip;                    /* D9, both sides alike; default off */
    bool masks;                   /* stage III: region masks (R x R); default off */
    bool needs_image;             /* rule 6 of model.md 3.1; default off */
    int64_t seq_len;              /* longest row allowed; default 2048 */
    int64_t length_multiple, image_multiple; /* default 64, 8 */
    unsigned threads;       /* workers; 0: all work runs inside loader_next; default: all cores */
    unsigned stored_ahead;  /* batches whose stored bytes are ahead; default 16 */
    unsigned decoded_ahead; /* batches whose tensors are ahead; default 2 */
    uint64_t memory;        /* bytes of stored and decoded data ahead; default 1 GiB */
    unsigned open_shards;   /* default 64 */
    bool skip_damaged;      /* count and substitute instead of stopping */
    struct batch_memory batch_memory; /* default: core/mem */
};
void loader_options_init(struct loader_options *opt);

struct loader;
/* Reads manifests only. ST_FAIL: CAUSE_ARG, CAUSE_IO, CAUSE_FORMAT, CAUSE_CHECKSUM, CAUSE_NOMEM. */
enum status loader_open(struct loader **out, const struct loader_options *opt, struct error *err);
/* The next micro-batch of this rank. *out is valid until it is released; at most two may be held.
 * ST_FAIL: damage (CAUSE_CHECKSUM or CAUSE_FORMAT, text names dataset, shard and record), CAUSE_IO,
 * CAUSE_NOMEM, CAUSE_ARG. Endless: never ST_END. */
enum status loader_next(struct loader *l, const struct batch **out, struct error *err);
void loader_release(struct loader *l, const struct batch *b);
/* The step whose micro-batches loader_next has not all delivered; with *done of this rank's
 * delivered. */
uint64_t loader_tell(const struct loader *l, uint64_t *done);
/* Goes to the first micro-batch of `step`; batches held become invalid. Costs the same anywhere. */
enum status loader_seek(struct loader *l, uint64_t step, struct error *err);
void loader_close(struct loader **pointer);

/* What all datasets of the loader have in common, by their manifests. */
struct loader_facts {
    int32_t pieces;       /* of the tokenizer; special ids follow from it (labels.h) */
    int64_t image_tokens; /* slots a picture */
    int64_t seq_len;      /* the longest of the datasets */
    uint8_t tokenizer_sha256[32];
};
void loader_facts(const struct loader *l, struct loader_facts *out);

/* What a checkpoint keeps: which datasets, by digest, as JSON. A loader that is opened on other data is
 * refused by loader_check_identity: CAUSE_CHECKSUM, text names the dataset. */
enum status loader_identity(const struct loader *l, struct buffer *out, struct error *err);
enum status loader_check_identity(const struct loader *l, const void *json, size_t size,
                                  struct error *err);

/* Where time goes. Worker seconds add up over threads; wait seconds are the consumer's, by what the
 * batch it waited for still lacked. */
enum loader_work {
    LOADER_READ,     /* bytes from storage, checksums */
    LOADER_INFLATE,  /* records to ids */
    LOADER_DECODE,   /* pictures to pixels */
    LOADER_RESIZE,   /* pixels to tensors */
    LOADER_ASSEMBLE, /* ids, labels, masks */
    LOADER_IDLE,     /* workers: nothing allowed: everything ahead is done; consumer: not used */
    LOADER_WORK_COUNT
};
const char *loader_work_name(enum loader_work w);
struct loader_stats {
    double worker_seconds[LOADER_WORK_COUNT];
    double wait_seconds[LOADER_WORK_COUNT];
    uint64_t batches, sequences, pictures, tokens;
    uint64_t stored_bytes; /* of pictures read */
    uint64_t substituted;  /* sequences, with skip_damaged */
    uint64_t open_shards;  /* now */
    uint64_t peak_bytes;   /* stored and decoded data held at once */
};
/* Since loader_open. */
void loader_stats(struct loader *l, struct loader_stats *out);

/* For `deem inspect RECIPE --step K`: the rows of a step in plan order without decoding anything. */
struct loader_place {
    struct plan_sample sample;
    uint32_t dataset, shard; /* in the source's list; in the dataset */
    uint64_t index;          /* in the shard */
    uint64_t rank;           /* that gets it */
    const char *folder;      /* borrowed until loader_close */
    bool substituted;        /* by loader_resolve */
};
/* Row `i` of step `step` (0 <= i < batch_global). */
enum status loader_place(const struct loader *l, uint64_t step, uint64_t i,
                         struct loader_place *out, struct error *err);
/* Reads what lies at a place, pictures too but undecoded. Where it is damaged and skip_damaged is on, the
 * place becomes that of its substitute. ST_FAIL as loader_next. */
enum status loader_resolve(struct loader *l, struct loader_place *place, struct error *err);
/* Folder of a source's dataset; borrowed until loader_close. */
const char *loader_folder(const struct loader *l, uint32_t source, uint32_t dataset);

#ifdef __cplusplus
}
#endif
#endif
