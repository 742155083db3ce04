/* trainer/generate.h: greedy search, beam search and sampling over a function that gives logits; spec
 * model.md 6.1. The history that processors see starts with one bos, which is not fed to the network;
 * every length here counts it. Processors: repetition penalty, then minimum length. */
#ifndef DEEM_TRAINER_GENERATE_H
#define DEEM_TRAINER_GENERATE_H

#include <stdint.h>

#include "core/error.h"

enum { GENERATE_STOPS_MAX = 4 };

struct generate_settings {
    int64_t beams; /* 1: greedy */
    int64_t max_new_tokens;
    int64_t min_length;        /* stop ids are forbidden while the history is shorter */
    double length_penalty;     /* score of a hypothesis: sum / length^penalty */
    double repetition_penalty; /* 1: none */
    /* Sampling, of one beam: 0 takes the best id, else an id is drawn from softmax(scores / temperature),
     * cut to the fewest best ids whose probabilities reach top_p. Draw n of row r is word n of the key
     * (seed, "G1", r). */
    double temperature, top_p;
    uint64_t seed;
    int32_t bos, pad;
    int32_t stops[GENERATE_STOPS_MAX];
    int n_stops;
};

/* Logits of the next token: out [rows,V] for rows * n generated ids (`n` so far, without the bos). Row
 * r continues prompt r / beams. */
typedef enum status generate_logits_fn(void *arg, float *out, const int32_t *ids, int64_t rows,
                                       int64_t n, struct error *err);

struct generated {
    int64_t B, length;
    int32_t *ids;    /* [B,length]: bos, ids, stop, pads */
    float *scores;   /* [B] of the winners; NULL for one beam */
    int64_t *counts; /* [B] ids behind the bos, without the stop and the pads behind it */
    int32_t *stops;  /* [B] the stop id that ended the row, -1: none did */
};

/* B prompts, vocabulary of V. ST_FAIL: CAUSE_ARG, CAUSE_NOMEM, the function's. */
enum status generate_run(struct generated *out, int64_t B, int64_t V,
                         const struct generate_settings *s, generate_logits_fn *logits, void *arg,
                         struct error *err);
void generated_clear(struct generated *g);

#endif
