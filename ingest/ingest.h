/* ingest/ingest.h: a raw dump becomes a dataset (design.md 5): plan, work units in parallel, manifest.
 * The dataset is a pure function of inputs, options and library versions; threads, ranks, stops and
 * places do not show in it. */
#ifndef DEEM_INGEST_INGEST_H
#define DEEM_INGEST_INGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/image.h"
#include "filters/filter.h"
#include "ingest/piece.h"
#include "ingest/source.h"
#include "ingest/tokenizer.h"

enum ingest_kind { INGEST_MMC4, INGEST_PAIRS, INGEST_KINDS };
const char *ingest_kind_name(enum ingest_kind k); /* "mmc4": the `source` of its sequences */

struct ingest_options {
    enum ingest_kind kind;
    const char *out;       /* the DATASET folder */
    const char *tokenizer; /* SentencePiece model */
    const char *const *inputs;
    size_t input_count;
    const char *const *images; /* mmc4: PATHs of pictures, searched in this order */
    size_t image_count;
    const char *const *captions; /* pairs: JSON files that replace the captions */
    size_t caption_count;
    bool any_captions;   /* also BLIP's siblings: web captions, those of the smaller captioner */
    const char *exclude; /* list of URLs, picture hashes, record keys; NULL: none */

    /* What comes out. */
    struct filter_options filter; /* holds the seed */
    struct piece_options piece;
    enum tokenizer_variant variant;
    enum image_jpeg_policy jpeg;
    uint32_t store_side;          /* --max-side; 0: off */
    uint32_t inputs_per_shard;    /* default 32, pairs 1 */
    uint32_t records_per_unit;    /* a longer JSON file is cut; 65,536 */
    struct source_limits limits;  /* of records */
    struct image_limits pictures; /* of pictures */

    /* How it runs. */
    unsigned jobs;        /* 0: all cores */
    uint32_t part, parts; /* units i with i mod parts = part; parts 0: all, and the manifest */
    uint64_t memory;      /* bytes; default 1 GiB */
    uint32_t tolerance;   /* damaged records in 10,000; default 100 */
    struct buffer *plan;  /* not NULL: a dry run, which appends its text to it; default NULL */
};
void ingest_options_init(struct ingest_options *opt, enum ingest_kind kind);

/* What was done, for the last line and the exit code. */
struct ingest_report {
    uint64_t sequences, stored, filtered, quarantined, bad_pictures;
    bool incomplete; /* a container ended early or was damaged: exit 65, the dataset is whole */
    bool finished;   /* dataset.json is there */
};
/* ST_OK: *report is filled. ST_FAIL: err's cause gives the exit code: CAUSE_ARG (options, inputs or
 * versions differ from the dataset's; a ceiling too small), CAUSE_LOCKED, CAUSE_LIMIT (tolerance),
 * CAUSE_SIGNAL (asked to stop: the same command goes on), CAUSE_FORMAT, CAUSE_IO, CAUSE_CREATE,
 * CAUSE_NOMEM. */
enum status ingest_run(struct ingest_report *report, const struct ingest_options *opt,
                       struct error *err);

#endif
