/* cli/bench_bare.h: what the libraries alone cost for the work of `deem ingest mmc4`: inflating the lines,
 * one full decode of every picture, SentencePiece over the text, zstd over the sequences, writing. */
#ifndef DEEM_CLI_BENCH_BARE_H
#define DEEM_CLI_BENCH_BARE_H

#include <stdint.h>

#include "cli/bench_dump.h"
#include "core/error.h"
#include "core/mem.h"
#include "ingest/tokenizer.h"

enum bench_part { BENCH_INFLATE, BENCH_DECODE, BENCH_TOKENS, BENCH_ZSTD, BENCH_WRITE, BENCH_PARTS };
const char *bench_part_name(enum bench_part p);

struct bench_work {
    const struct bench_dump *dump;
    const struct tokenizer *tokenizer;
    struct buffer sequences, sizes; /* encoded sequences behind each other; size_t each */
    struct buffer dictionary;
    uint64_t written; /* bytes of the shards */
    int level;        /* of zstd */
};
/* On the calling thread. ST_FAIL: CAUSE_IO, CAUSE_NOMEM. */
enum status bench_bare(enum bench_part part, const struct bench_work *work, struct error *err);

#endif
